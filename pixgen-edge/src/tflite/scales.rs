//! What integers mean, and which of them are for a range of values.

use crate::quantise::scale::{Quantisation, stream_scale};

/// What the values of a tensor mean: real = scale (integer - zero point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// f32.
    Real,
    /// int8.
    Int8 {
        /// Real distance of two integers.
        scale: f64,
        /// Integer of the real number 0.
        zero_point: i32,
    },
    /// int16; its zero point is 0.
    Int16 {
        /// Real distance of two integers.
        scale: f64,
    },
}

impl Number {
    /// Real distance of two integers; 1 of real numbers.
    pub const fn scale(self) -> f64 {
        match self {
            Self::Real => 1.0,
            Self::Int8 { scale, .. } | Self::Int16 { scale } => scale,
        }
    }

    /// Element type by its number in the schema.
    pub(super) const fn element(self) -> u8 {
        match self {
            Self::Real => 0,
            Self::Int8 { .. } => INT8,
            Self::Int16 { .. } => 7,
        }
    }

    pub(super) const fn is_int8(self) -> bool {
        matches!(self, Self::Int8 { .. })
    }

    pub(super) const fn is_int16(self) -> bool {
        matches!(self, Self::Int16 { .. })
    }

    /// As the file holds it: scales are f32.
    pub(super) fn rounded(self) -> Self {
        let round = |scale: f64| f64::from(scale as f32);
        match self {
            Self::Real => self,
            Self::Int8 { scale, zero_point } => Self::Int8 { scale: round(scale), zero_point },
            Self::Int16 { scale } => Self::Int16 { scale: round(scale) },
        }
    }

    /// The same, with steps of int16 of at least this.
    pub(super) fn at_least(self, finest: f64) -> Self {
        match self {
            Self::Int16 { scale } => Self::Int16 { scale: scale.max(finest) },
            other => other,
        }
    }

    /// The nearest real number that has an integer.
    pub fn nearest(self, value: f32) -> f32 {
        let (scale, zero_point, low, high) = match self {
            Self::Real => return value,
            Self::Int8 { scale, zero_point } => (scale, f64::from(zero_point), -128.0, 127.0),
            Self::Int16 { scale } => (scale, 0.0, -32_768.0, 32_767.0),
        };
        let code = (f64::from(value) / scale).round() + zero_point;
        ((code.clamp(low, high) - zero_point) * scale) as f32
    }
}

/// int8 by its number in the schema.
pub(super) const INT8: u8 = 9;

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
