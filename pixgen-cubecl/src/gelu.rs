//! The exact GELU, `z cdf(z)`, and its slope (docs/reference/method.md section 2.1).

use cubecl::prelude::*;

/// `1 / sqrt(2)`.
const HALF_ROOT: f32 = core::f32::consts::FRAC_1_SQRT_2;

/// `1 / sqrt(2 pi)`: the normal density at 0.
const DENSITY: f32 = 0.398_942_3;

/// The normal distribution function.
#[cube]
pub(crate) fn cdf<N: Size>(z: Vector<f32, N>) -> Vector<f32, N> {
    (z * Vector::new(HALF_ROOT)).erf() * Vector::new(0.5) + Vector::new(0.5)
}

/// The slope of the GELU at z.
#[cube]
pub(crate) fn slope<N: Size>(z: Vector<f32, N>) -> Vector<f32, N> {
    let density = (z * z * Vector::new(-0.5)).exp() * Vector::new(DENSITY);
    cdf::<N>(z) + z * density
}
