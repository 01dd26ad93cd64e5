//! After a matrix product: the bias, the exact GELU with its slope, and their gradients (docs/reference/method.md section 2.1).
//!
//! The forward works in place where nobody else holds the product, so a layer moves `2 rows O` elements, `3 rows O` with the slope. The
//! backward writes `dy slope` and sums the bias's gradient in one pass ([`crate::columns`]).

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::columns::{self, ColumnPass, vector};
use crate::error::Result;
use crate::launch::{alias, array, contiguous, elementwise, empty, matrix, operand, stored, vector_size};
use crate::store::Store;
use crate::with_store;

/// `z + b`: z `[.., O]` in `f32` or bf16, b `[O]` in `f32`; returns z's shape and type, in z's memory if it is not shared.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn add_bias<R: CubeRuntime>(z: CubeTensor<R>, b: CubeTensor<R>) -> Result<CubeTensor<R>> {
    Ok(launch("bias", z, b, false, false)?.0)
}

/// `GELU(z + b)` with the exact (erf) GELU; shapes of [`add_bias`].
///
/// # Errors
/// As [`add_bias`].
pub fn bias_gelu<R: CubeRuntime>(z: CubeTensor<R>, b: CubeTensor<R>) -> Result<CubeTensor<R>> {
    Ok(launch("bias and GELU", z, b, true, false)?.0)
}

/// [`bias_gelu`] and the slope of the GELU at every output, of z's shape and type.
///
/// # Errors
/// As [`add_bias`].
pub fn bias_gelu_train<R: CubeRuntime>(z: CubeTensor<R>, b: CubeTensor<R>) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    const OP: &str = "bias and GELU";
    let (y, slope) = launch(OP, z, b, true, true)?;
    // The launch was asked for it.
    slope.map(|slope| (y, slope)).ok_or_else(|| crate::KernelError::setup(OP, "no slope"))
}

/// `dz = dy slope`, and the bias's gradient `[O]` in `f32`, the sum of dz over all axes but the last: dy and slope `[.., O]` of one type.
///
/// # Errors
/// As [`add_bias`].
pub fn gelu_backward<R: CubeRuntime>(dy: CubeTensor<R>, slope: CubeTensor<R>) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    const OP: &str = "GELU backward";
    let dtype = stored(OP, "dy", &dy)?;
    let (rows, width) = matrix(OP, "dy", &dy)?;
    let slope = operand(OP, "slope", slope, dy.meta.shape().as_slice(), dtype)?;
    let (db, dz) = columns::launch(OP, contiguous(OP, dy)?, ColumnPass::Product(slope), [1, rows, width])?;
    dz.map(|dz| (dz, vector(db))).ok_or_else(|| crate::KernelError::setup(OP, "no product"))
}

/// `1 / sqrt(2)`.
const HALF_ROOT: f32 = core::f32::consts::FRAC_1_SQRT_2;

/// `1 / sqrt(2 pi)`: the normal density at 0.
const DENSITY: f32 = 0.398_942_3;

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn activate<E: Store, N: Size>(
    z: &Array<Vector<E, N>>,
    b: &Array<Vector<f32, N>>,
    y: &mut Array<Vector<E, N>>,
    slope: &mut ComptimeOption<Array<Vector<E, N>>>,
    total: u32,
    #[comptime] vectors: usize,
    #[comptime] gelu: bool,
) {
    let at = ABSOLUTE_POS;
    if at < total as usize {
        let z = E::widen::<N>(z[at]) + b[at % vectors];
        if comptime!(gelu) {
            let cdf = (z * Vector::new(HALF_ROOT)).erf() * Vector::new(0.5) + Vector::new(0.5);
            #[comptime]
            match slope {
                ComptimeOption::Some(slope) => {
                    let density = (z * z * Vector::new(-0.5)).exp() * Vector::new(DENSITY);
                    slope[at] = E::narrow::<N>(cdf + z * density);
                }
                ComptimeOption::None => {}
            }
            y[at] = E::narrow::<N>(z * cdf);
        } else {
            y[at] = E::narrow::<N>(z);
        }
    }
}

fn launch<R: CubeRuntime>(
    op: &'static str,
    z: CubeTensor<R>,
    b: CubeTensor<R>,
    gelu: bool,
    slope: bool,
) -> Result<(CubeTensor<R>, Option<CubeTensor<R>>)> {
    let dtype = stored(op, "z", &z)?;
    let (rows, width) = matrix(op, "z", &z)?;
    let b = operand(op, "b", b, &[width], DType::F32)?;
    let z = contiguous(op, z)?;
    let client = z.client.clone();
    let size = vector_size(&client, dtype, width);
    let vectors = width / size;
    let total = rows * vectors;
    let (cubes, dim) = elementwise(op, &client, total)?;
    let slope = slope.then(|| empty(&z, z.meta.shape().as_slice(), dtype));
    let in_place = z.can_mut();
    let y = if in_place {
        z.clone()
    } else {
        empty(&z, z.meta.shape().as_slice(), dtype)
    };
    with_store!(op, dtype, E => {
        // SAFETY: z, y and slope hold `total` vectors, b a row of them; the kernel compares the position with `total`. Where y is z, each
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
                slope.as_ref().map(array).into(),
                total as u32,
                vectors,
                gelu,
            );
        }
        Ok(())
    })?;
    Ok((y, slope))
}
