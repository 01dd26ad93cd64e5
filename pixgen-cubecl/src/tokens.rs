//! The input of a tower: `[prefix; patches] + position` (docs/reference/method.md section 2.1), `2 B T D` elements moved in one pass.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::columns::{self, ColumnPass};
use crate::error::{KernelError, Result};
use crate::launch::{array, contiguous, dims3, elementwise, empty, operand, stored, vector_size};
use crate::skip::split_last;
use crate::store::Store;
use crate::with_store;

/// `[prefix; patches] + position` along the token axis: prefix `[B, P, D]` and patches `[B, N, D]` of one type, `f32` or bf16, position
/// `[P + N, D]` in `f32`; returns `[B, P + N, D]`.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn tokens<R: CubeRuntime>(prefix: CubeTensor<R>, patches: CubeTensor<R>, position: CubeTensor<R>) -> Result<CubeTensor<R>> {
    const OP: &str = "tokens";
    let dtype = stored(OP, "patches", &patches)?;
    let [images, count, width] = dims3(OP, "patches", &patches)?;
    let [_, first, _] = dims3(OP, "prefix", &prefix)?;
    let prefix = operand(OP, "prefix", prefix, &[images, first, width], dtype)?;
    let position = operand(OP, "position", position, &[first + count, width], DType::F32)?;
    let patches = contiguous(OP, patches)?;
    let client = patches.client.clone();
    let size = vector_size(&client, dtype, width);
    let out = empty(&patches, &[images, first + count, width], dtype);
    let total = out.meta.num_elements() / size;
    let (cubes, dim) = elementwise(OP, &client, total)?;
    with_store!(OP, dtype, E => {
        // SAFETY: out holds `total` vectors, prefix and patches those of their tokens of each image, position those of an image; the
        // kernel compares the position with `total`.
        unsafe {
            join::launch_unchecked::<E, R>(
                &client,
                cubes,
                dim,
                size,
                array(&prefix),
                array(&patches),
                array(&position),
                array(&out),
                total as u32,
                first * width / size,
                count * width / size,
            );
        }
        Ok(())
    })?;
    Ok(out)
}

/// Gradients of prefix, patches and position of [`tokens`] with `prefix` tokens of prefix: dy `[B, T, D]`. That of position is `[T, D]` in
/// `f32`.
///
/// # Errors
/// As [`tokens`].
pub fn tokens_backward<R: CubeRuntime>(dy: CubeTensor<R>, prefix: usize, wanted: [bool; 3]) -> Result<[Option<CubeTensor<R>>; 3]> {
    const OP: &str = "tokens backward";
    let dtype = stored(OP, "dy", &dy)?;
    let [images, count, width] = dims3(OP, "dy", &dy)?;
    if prefix == 0 || prefix >= count {
        return Err(KernelError::setup(OP, format!("{prefix} of {count} tokens are prefix")));
    }
    let dy = contiguous(OP, dy)?;
    let shaped = |tensor: CubeTensor<R>, shape: &[usize], dtype| {
        CubeTensor::new_contiguous(tensor.client, tensor.device, shape.to_vec().into(), tensor.handle, dtype)
    };
    let joined = shaped(dy.clone(), &[images, count * width], dtype);
    let [mut dprefix, mut dpatches, mut dposition] = [None, None, None];
    if wanted[0] || wanted[1] {
        // Tokens of an image are next to each other: a split along the last axis.
        let (first, rest) = split_last(joined, prefix * width)?;
        dprefix = wanted[0].then(|| shaped(first, &[images, prefix, width], dtype));
        dpatches = wanted[1].then(|| shaped(rest, &[images, count - prefix, width], dtype));
    }
    if wanted[2] {
        let (sums, _) = columns::launch(OP, dy, ColumnPass::Sum, [1, images, count * width])?;
        dposition = Some(shaped(sums, &[count, width], DType::F32));
    }
    Ok([dprefix, dpatches, dposition])
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn join<E: Store, N: Size>(
    prefix: &Array<Vector<E, N>>,
    patches: &Array<Vector<E, N>>,
    position: &Array<Vector<f32, N>>,
    out: &mut Array<Vector<E, N>>,
    total: u32,
    #[comptime] first: usize,
    #[comptime] rest: usize,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let (image, place) = (at / (first + rest), at % (first + rest));
        let mut value = position[place];
        if place < first {
            value += E::widen::<N>(prefix[image * first + place]);
        } else {
            value += E::widen::<N>(patches[image * rest + place - first]);
        }
        out[at] = E::narrow::<N>(value);
    }
}
