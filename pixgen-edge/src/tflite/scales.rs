//! Integers for a range of values.

use super::graph::Number;
use crate::quantise::scale::{Quantisation, stream_scale};

/// int16 for values up to `magnitude`.
pub(super) fn wide(magnitude: f64) -> Number {
    Number::Int16 { scale: stream_scale(magnitude) }
}

pub(super) fn int8(quantisation: &Quantisation) -> Number {
    Number::Int8 { scale: quantisation.scale[0], zero_point: quantisation.zero_point[0] }
}

/// The same integers for values that are `factor` times as large.
pub(super) fn scaled(number: Number, factor: f64) -> Number {
    match number {
        Number::Real => Number::Real,
        Number::Int8 { scale, zero_point } => Number::Int8 { scale: scale * factor, zero_point },
        Number::Int16 { scale } => Number::Int16 { scale: scale * factor },
    }
}

/// The greatest product of a channel's value and its factor.
pub(super) fn products(values: &[f32], factors: &[f64]) -> f64 {
    values
        .iter()
        .zip(factors)
        .fold(0.0, |most, (&value, factor)| most.max(f64::from(value) * factor.abs()))
}
