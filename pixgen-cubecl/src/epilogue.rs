//! After a matrix product: the bias, the exact GELU, and their gradients (docs/reference/method.md section 2.1).
//!
//! The forward moves `2 rows O` elements, in place where nobody else holds the product. Training holds it, and the backward takes the slope
//! of the GELU from it: kept instead, the slope would be a third pass over `rows O` elements. One pass writes `dy slope` and sums the
//! bias's gradient ([`crate::columns`]).

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::columns::{self, ColumnPass, vector};
use crate::error::Result;
use crate::gelu::cdf;
use crate::launch::{alias, array, contiguous, elementwise, empty, matrix, operand, stored, vector_size};
use crate::store::Store;
use crate::with_store;

/// `z + b`: z `[.., O]` in `f32` or bf16, b `[O]` in `f32`; returns z's shape and type, in z's memory if it is not shared.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn add_bias<R: CubeRuntime>(z: CubeTensor<R>, b: CubeTensor<R>) -> Result<CubeTensor<R>> {
    launch("bias", z, b, false)
}

/// `GELU(z + b)` with the exact (erf) GELU; shapes of [`add_bias`].
///
/// # Errors
/// As [`add_bias`].
pub fn bias_gelu<R: CubeRuntime>(z: CubeTensor<R>, b: CubeTensor<R>) -> Result<CubeTensor<R>> {
    launch("bias and GELU", z, b, true)
}

/// `dz = dy GELU'(z + b)`, and the bias's gradient `[O]` in `f32`, the sum of dz over all axes but the last: dy and z `[.., O]` of one
/// type, b `[O]` in `f32`.
///
/// # Errors
/// As [`add_bias`].
pub fn gelu_backward<R: CubeRuntime>(dy: CubeTensor<R>, z: CubeTensor<R>, b: CubeTensor<R>) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    const OP: &str = "GELU backward";
    let dtype = stored(OP, "dy", &dy)?;
    let (rows, width) = matrix(OP, "dy", &dy)?;
    let z = operand(OP, "z", z, dy.meta.shape().as_slice(), dtype)?;
    let b = operand(OP, "b", b, &[width], DType::F32)?;
    let (db, dz) = columns::launch(OP, contiguous(OP, dy)?, ColumnPass::Gelu(z, b), [1, rows, width])?;
    dz.map(|dz| (dz, vector(db))).ok_or_else(|| crate::KernelError::setup(OP, "no product"))
}

#[cube(launch_unchecked)]
fn activate<E: Store, N: Size>(
    z: &Array<Vector<E, N>>,
    b: &Array<Vector<f32, N>>,
    y: &mut Array<Vector<E, N>>,
    total: u32,
    #[comptime] vectors: usize,
    #[comptime] gelu: bool,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let z = E::widen::<N>(z[at]) + b[at % vectors];
        if comptime!(gelu) {
            y[at] = E::narrow::<N>(z * cdf::<N>(z));
        } else {
            y[at] = E::narrow::<N>(z);
        }
    }
}

fn launch<R: CubeRuntime>(op: &'static str, z: CubeTensor<R>, b: CubeTensor<R>, gelu: bool) -> Result<CubeTensor<R>> {
    let dtype = stored(op, "z", &z)?;
    let (rows, width) = matrix(op, "z", &z)?;
    let b = operand(op, "b", b, &[width], DType::F32)?;
    let z = contiguous(op, z)?;
    let client = z.client.clone();
    let size = vector_size(&client, dtype, width);
    let vectors = width / size;
    let total = rows * vectors;
    let (cubes, dim) = elementwise(op, &client, total)?;
    let in_place = z.can_mut();
    let y = if in_place {
        z.clone()
    } else {
        empty(&z, z.meta.shape().as_slice(), dtype)
    };
    with_store!(op, dtype, E => {
        // SAFETY: z and y hold `total` vectors, b a row of them; the kernel compares the position with `total`. Where y is z, each
        // unit reads its vector before it writes it.
        unsafe {
            activate::launch_unchecked::<E, R>(
                &client,
                cubes,
                dim,
                size,
                array(&z),
                array(&b),
                if in_place { alias(&y, 0) } else { array(&y) },
                total as u32,
                vectors,
                gelu,
            );
        }
        Ok(())
    })?;
    Ok(y)
}
