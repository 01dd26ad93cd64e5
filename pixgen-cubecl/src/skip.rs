//! `[x, s]` before the product of a long skip (docs/reference/method.md section 2.3), and its backward. Each moves its elements once in and
//! once out, in vectors that divide both parts.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::error::{KernelError, Result};
use crate::launch::{array, contiguous, elementwise, empty, matrix, operand, stored, vector_size};
use crate::store::Store;
use crate::with_store;

/// `[x, s]`: x `[.., D]` and s `[.., E]` of one type, `f32` or bf16, with the same leading axes; returns `[.., D + E]`.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn concat_last<R: CubeRuntime>(x: CubeTensor<R>, s: CubeTensor<R>) -> Result<CubeTensor<R>> {
    const OP: &str = "join";
    let dtype = stored(OP, "x", &x)?;
    let (rows, left) = matrix(OP, "x", &x)?;
    let (_, right) = matrix(OP, "s", &s)?;
    let mut shape = x.meta.shape().to_vec();
    let last = shape.len() - 1;
    shape[last] = right;
    let s = operand(OP, "s", s, &shape, dtype)?;
    let x = contiguous(OP, x)?;
    shape[last] = left + right;
    let size = vector_size(&x.client, dtype, common_divisor(left, right));
    let out = empty(&x, &shape, dtype);
    let total = rows * (left + right) / size;
    let (cubes, dim) = elementwise(OP, &x.client, total)?;
    with_store!(OP, dtype, E => {
        // SAFETY: out holds `total` vectors, x and s those of their columns; the kernel compares the position with `total`.
        unsafe {
            join::launch_unchecked::<E, R>(
                &x.client,
                cubes,
                dim,
                size,
                array(&x),
                array(&s),
                array(&out),
                total as u32,
                left / size,
                right / size,
            );
        }
        Ok(())
    })?;
    Ok(out)
}

/// Gradients of x and s of [`concat_last`]: `joined` `[.., D + E]`, D is `left`.
///
/// # Errors
/// `left` leaves nothing for one of them, elements of another type, or more than the device can launch.
pub fn split_last<R: CubeRuntime>(joined: CubeTensor<R>, left: usize) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    const OP: &str = "split";
    let dtype = stored(OP, "joined", &joined)?;
    let (rows, width) = matrix(OP, "joined", &joined)?;
    if left == 0 || left >= width {
        return Err(KernelError::setup(OP, format!("{left} of {width} columns, which leaves a side empty")));
    }
    let right = width - left;
    let joined = contiguous(OP, joined)?;
    let mut shape = joined.meta.shape().to_vec();
    let last = shape.len() - 1;
    let [x, s] = [left, right].map(|columns| {
        shape[last] = columns;
        empty(&joined, &shape, dtype)
    });
    let size = vector_size(&joined.client, dtype, common_divisor(left, right));
    let total = rows * width / size;
    let (cubes, dim) = elementwise(OP, &joined.client, total)?;
    with_store!(OP, dtype, E => {
        // SAFETY: joined holds `total` vectors, x and s those of their columns; the kernel compares the position with `total`.
        unsafe {
            split::launch_unchecked::<E, R>(
                &joined.client,
                cubes,
                dim,
                size,
                array(&joined),
                array(&x),
                array(&s),
                total as u32,
                left / size,
                right / size,
            );
        }
        Ok(())
    })?;
    Ok((x, s))
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cube(launch_unchecked)]
fn join<E: Store, N: Size>(
    x: &Array<Vector<E, N>>,
    s: &Array<Vector<E, N>>,
    out: &mut Array<Vector<E, N>>,
    total: u32,
    #[comptime] left: usize,
    #[comptime] right: usize,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let (row, column) = (at / (left + right), at % (left + right));
        if column < left {
            out[at] = x[row * left + column];
        } else {
            out[at] = s[row * right + column - left];
        }
    }
}

#[cube(launch_unchecked)]
fn split<E: Store, N: Size>(
    joined: &Array<Vector<E, N>>,
    x: &mut Array<Vector<E, N>>,
    s: &mut Array<Vector<E, N>>,
    total: u32,
    #[comptime] left: usize,
    #[comptime] right: usize,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let (row, column) = (at / (left + right), at % (left + right));
        if column < left {
            x[row * left + column] = joined[at];
        } else {
            s[row * right + column - left] = joined[at];
        }
    }
}
