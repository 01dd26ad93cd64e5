//! AdaLN: layer norm with modulation, and the gated residual (docs/reference/method.md section 2.3).
//!
//! A modulation `m` is `[B, 6 D]`, six chunks of width D for each image. The norm's kernels are in [`crate::rows`]. The gated residual
//! moves `3 B T D` elements; its backward moves as many in one pass that writes dy and sums dgate ([`crate::columns`]).

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::columns::{self, ColumnPass, halves, vector};
use crate::error::{KernelError, Result};
use crate::launch::{array, contiguous, dims3, elementwise, empty, operand, stored, vector_size};
use crate::rows::{CHUNKS, Chunks, Gradients, launch_backward, launch_forward};
use crate::store::Store;
use crate::with_store;

/// `LN(x) (1 + scale) + shift`: x `[B, T, D]` in `f32` or bf16, gamma and beta `[D]` in `f32`, m `[B, 6 D]` of x's type; returns x's shape
/// and type.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn norm_modulate<R: CubeRuntime>(
    x: CubeTensor<R>,
    gamma: CubeTensor<R>,
    beta: CubeTensor<R>,
    m: CubeTensor<R>,
    chunks: Chunks,
) -> Result<CubeTensor<R>> {
    const OP: &str = "norm modulate";
    let dtype = stored(OP, "x", &x)?;
    let [images, tokens, width] = dims3(OP, "x", &x)?;
    let gamma = operand(OP, "gamma", gamma, &[width], DType::F32)?;
    let beta = operand(OP, "beta", beta, &[width], DType::F32)?;
    let m = operand(OP, "m", m, &[images, CHUNKS * width], dtype)?;
    check_chunks(OP, &[chunks.shift, chunks.scale])?;
    launch_forward(OP, contiguous(OP, x)?, gamma, beta, Some((m, chunks)), [images, tokens, width])
}

/// Gradients of x, gamma, beta and m of [`norm_modulate`] for the output gradient `dy`, of x's shape and type. That of m has m's shape and
/// type, zeros in the chunks that were not used; those of gamma and beta are `[D]` in `f32`.
///
/// # Errors
/// As [`norm_modulate`].
pub fn norm_modulate_backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    gamma: CubeTensor<R>,
    beta: CubeTensor<R>,
    m: CubeTensor<R>,
    chunks: Chunks,
    dy: CubeTensor<R>,
    wanted: [bool; 4],
) -> Result<[Option<CubeTensor<R>>; 4]> {
    const OP: &str = "norm modulate backward";
    let dtype = stored(OP, "x", &x)?;
    let [images, tokens, width] = dims3(OP, "x", &x)?;
    let gamma = operand(OP, "gamma", gamma, &[width], DType::F32)?;
    let beta = operand(OP, "beta", beta, &[width], DType::F32)?;
    let m = operand(OP, "m", m, &[images, CHUNKS * width], dtype)?;
    let dy = operand(OP, "dy", dy, &[images, tokens, width], dtype)?;
    check_chunks(OP, &[chunks.shift, chunks.scale])?;
    let dims = [images, tokens, width];
    let want_columns = wanted[1] || wanted[2] || wanted[3];
    let x = contiguous(OP, x)?;
    let modulation = Some((m.clone(), chunks));
    let Gradients { dx, columns: partial, strips } = launch_backward(OP, x, gamma.clone(), modulation, dy, dims, wanted[0], want_columns)?;
    let [mut dgamma, mut dbeta, mut dm] = [None, None, None];
    if let Some(partial) = partial {
        let (sums, _) = columns::launch(OP, partial, ColumnPass::Sum, [2 * images, strips.count, width])?;
        let gradient = empty(&m, &[images, CHUNKS * width], dtype);
        let weighted = launch_share(OP, &sums, &gamma, &beta, &m, &gradient, chunks, [images, width])?;
        if wanted[1] || wanted[2] {
            let [sum, along] = halves(columns::launch(OP, weighted, ColumnPass::Sum, [2, images, width])?.0);
            dgamma = wanted[1].then(|| vector(along));
            dbeta = wanted[2].then(|| vector(sum));
        }
        dm = wanted[3].then_some(gradient);
    }
    Ok([dx, dgamma, dbeta, dm])
}

/// `x + gate y`: x and y `[B, T, D]` in `f32` or bf16, m `[B, 6 D]`, all of one type, the gate in chunk `gate` of m.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn gated_residual<R: CubeRuntime>(x: CubeTensor<R>, y: CubeTensor<R>, m: CubeTensor<R>, gate: usize) -> Result<CubeTensor<R>> {
    const OP: &str = "gated residual";
    let dtype = stored(OP, "x", &x)?;
    let dims = dims3(OP, "x", &x)?;
    let [images, tokens, width] = dims;
    let y = operand(OP, "y", y, &dims, dtype)?;
    let m = operand(OP, "m", m, &[images, CHUNKS * width], dtype)?;
    check_chunks(OP, &[gate])?;
    let x = contiguous(OP, x)?;
    let client = x.client.clone();
    let size = vector_size(&client, dtype, width);
    let vectors = width / size;
    let total = images * tokens * vectors;
    let out = empty(&x, &dims, dtype);
    let (cubes, dim) = elementwise(OP, &client, total)?;
    with_store!(OP, dtype, E => {
        // SAFETY: x, y and out hold `total` vectors, m six chunks for each image; the kernel compares the position with `total`.
        unsafe {
            add_gated::launch_unchecked::<E, R>(
                &client,
                cubes,
                dim,
                size,
                array(&x),
                array(&y),
                array(&m),
                array(&out),
                total as u32,
                tokens as u32,
                vectors,
                gate,
            );
        }
        Ok(())
    })?;
    Ok(out)
}

/// Gradients of x, y and m of [`gated_residual`] for the output gradient `dy`: that of x is `dy` itself, that of m is zero but for the
/// gate.
///
/// # Errors
/// As [`gated_residual`].
pub fn gated_residual_backward<R: CubeRuntime>(
    y: CubeTensor<R>,
    m: CubeTensor<R>,
    gate: usize,
    dy: CubeTensor<R>,
    wanted: [bool; 3],
) -> Result<[Option<CubeTensor<R>>; 3]> {
    const OP: &str = "gated residual backward";
    let dtype = stored(OP, "y", &y)?;
    let dims = dims3(OP, "y", &y)?;
    let [images, tokens, width] = dims;
    let m = operand(OP, "m", m, &[images, CHUNKS * width], dtype)?;
    let dx = wanted[0].then(|| dy.clone());
    check_chunks(OP, &[gate])?;
    if !wanted[1] && !wanted[2] {
        return Ok([dx, None, None]);
    }
    let dy = operand(OP, "dy", dy, &dims, dtype)?;
    let y = contiguous(OP, y)?;
    let pass = if wanted[1] {
        ColumnPass::Gated(y, m.clone(), gate)
    } else {
        ColumnPass::Along(y)
    };
    let (dgate, through) = columns::launch(OP, dy, pass, [images, tokens, width])?;
    let dm = if wanted[2] {
        Some(launch_place(OP, &dgate, &m, gate)?)
    } else {
        None
    };
    Ok([dx, through, dm])
}

fn check_chunks(op: &'static str, chunks: &[usize]) -> Result<()> {
    match chunks.iter().find(|&&chunk| chunk >= CHUNKS) {
        Some(chunk) => Err(KernelError::setup(op, format!("chunk {chunk} of a modulation of {CHUNKS}"))),
        None => Ok(()),
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn add_gated<E: Store, N: Size>(
    x: &Array<Vector<E, N>>,
    y: &Array<Vector<E, N>>,
    m: &Array<Vector<E, N>>,
    out: &mut Array<Vector<E, N>>,
    total: u32,
    tokens: u32,
    #[comptime] vectors: usize,
    #[comptime] chunk: usize,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let image = at / vectors / tokens as usize;
        let gate = E::widen::<N>(m[(image * CHUNKS + chunk) * vectors + at % vectors]);
        out[at] = E::narrow::<N>(E::widen::<N>(x[at]) + gate * E::widen::<N>(y[at]));
    }
}

/// From the sums A and C of each image: its row of the gradient of m, and its share of the gradients of beta and gamma.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn share<E: Store, N: Size>(
    sums: &Array<Vector<f32, N>>,
    gamma: &Array<Vector<f32, N>>,
    beta: &Array<Vector<f32, N>>,
    m: &Array<Vector<E, N>>,
    dm: &mut Array<Vector<E, N>>,
    shares: &mut Array<Vector<f32, N>>,
    total: u32,
    #[comptime] vectors: usize,
    #[comptime] chunks: Chunks,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let column = at % vectors;
        let row = at / vectors * (CHUNKS * vectors) + column;
        let sum = sums[at];
        let along = sums[at + total as usize];
        let factor = Vector::new(1.0) + E::widen::<N>(m[row + chunks.scale * vectors]);
        shares[at] = factor * sum;
        shares[at + total as usize] = factor * along;
        #[unroll]
        for chunk in 0..CHUNKS {
            dm[row + chunk * vectors] = if comptime!(chunk == chunks.shift) {
                E::narrow::<N>(sum)
            } else if comptime!(chunk == chunks.scale) {
                E::narrow::<N>(gamma[column] * along + beta[column] * sum)
            } else {
                // Not narrowed: CUDA C++ cannot take the bits of a constant.
                Vector::new(E::from_int(0))
            };
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn launch_share<R: CubeRuntime>(
    op: &'static str,
    sums: &CubeTensor<R>,
    gamma: &CubeTensor<R>,
    beta: &CubeTensor<R>,
    m: &CubeTensor<R>,
    dm: &CubeTensor<R>,
    chunks: Chunks,
    [images, width]: [usize; 2],
) -> Result<CubeTensor<R>> {
    let size = vector_size(&sums.client, m.dtype, width);
    let vectors = width / size;
    let total = images * vectors;
    let shares = empty(sums, &[2 * images, width], DType::F32);
    let (cubes, dim) = elementwise(op, &sums.client, total)?;
    with_store!(op, m.dtype, E => {
        // SAFETY: sums and shares hold `2 total` vectors, m and dm six chunks for each image; the kernel compares the position with
        // `total`.
        unsafe {
            share::launch_unchecked::<E, R>(
                &sums.client,
                cubes,
                dim,
                size,
                array(sums),
                array(gamma),
                array(beta),
                array(m),
                array(dm),
                array(&shares),
                total as u32,
                vectors,
                chunks,
            );
        }
        Ok(())
    })?;
    Ok(shares)
}

/// A gradient of m that is `values` in one chunk and zero in the others.
#[cube(launch_unchecked)]
fn place<E: Store, N: Size>(
    values: &Array<Vector<f32, N>>,
    dm: &mut Array<Vector<E, N>>,
    total: u32,
    #[comptime] vectors: usize,
    #[comptime] chunk: usize,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let row = at / vectors * (CHUNKS * vectors) + at % vectors;
        #[unroll]
        for other in 0..CHUNKS {
            dm[row + other * vectors] = if comptime!(other == chunk) {
                E::narrow::<N>(values[at])
            } else {
                Vector::new(E::from_int(0))
            };
        }
    }
}

fn launch_place<R: CubeRuntime>(op: &'static str, values: &CubeTensor<R>, m: &CubeTensor<R>, chunk: usize) -> Result<CubeTensor<R>> {
    let width = m.meta.shape()[1] / CHUNKS;
    let size = vector_size(&m.client, m.dtype, width);
    let vectors = width / size;
    let total = m.meta.shape()[0] * vectors;
    let dm = empty(m, m.meta.shape().as_slice(), m.dtype);
    let (cubes, dim) = elementwise(op, &m.client, total)?;
    with_store!(op, m.dtype, E => {
        // SAFETY: values hold `total` vectors, dm six chunks for each image; the kernel compares the position with `total`.
        unsafe {
            place::launch_unchecked::<E, R>(&m.client, cubes, dim, size, array(values), array(&dm), total as u32, vectors, chunk);
        }
        Ok(())
    })?;
    Ok(dm)
}
