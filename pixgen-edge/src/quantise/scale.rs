//! Scales and zero points: what an integer means, multipliers of sums, and rounding into the file's types.

use super::range::Range;

/// An affine quantisation of activations: real = scale (integer - zero_point), by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantisation {
    /// Real distance of two integers, by channel.
    pub scale: Vec<f64>,
    /// Integer of the real number 0, by channel.
    pub zero_point: Vec<i32>,
}

/// The smallest scale: of a site that puts out nothing but zeros.
pub const LEAST: f64 = 1e-9;

impl Quantisation {
    /// The 256 values of int8 over a range, the same for all of `width` channels. The real number 0 is exact.
    pub fn asymmetric(range: Range, width: usize) -> Self {
        let scale = ((range.high - range.low) / 255.0).max(LEAST);
        let zero_point = (-128.0 - range.low / scale).round() as i32;
        Self { scale: vec![scale; width], zero_point: vec![zero_point.clamp(-128, 127); width] }
    }

    /// -127 to 127 over a range around zero, the same for all of `width` channels.
    pub fn symmetric(range: Range, width: usize) -> Self {
        Self::uniform((range.high / 127.0).max(LEAST), width)
    }

    /// One scale for all of `width` channels, and zero points of 0.
    pub fn uniform(scale: f64, width: usize) -> Self {
        Self { scale: vec![scale; width], zero_point: vec![0; width] }
    }

    /// Multiplies the scales by a factor for each channel.
    pub fn times(mut self, factors: &[f32]) -> Self {
        self.scale
            .iter_mut()
            .zip(factors)
            .for_each(|(scale, &factor)| *scale *= f64::from(factor));
        self
    }

    /// These channels, then those of `other`.
    pub fn chain(mut self, other: &Self) -> Self {
        self.scale.extend(&other.scale);
        self.zero_point.extend(&other.zero_point);
        self
    }
}

/// The scale of an i16 stream with values up to `magnitude`, half as much headroom again included.
pub fn stream_scale(magnitude: f64) -> f64 {
    (1.5 * magnitude / 32_767.0).max(LEAST)
}

/// The multiplier of `scale` after a shift by `left`: out = ((sum << left) multiplier) >> 32.
pub fn multiplier(scale: f64, left: u32) -> i32 {
    (scale * (32 - left as i32).exp2_f64()).round() as i32
}

/// The smallest left shift with which scales up to `greatest` have a multiplier.
pub fn left_shift(greatest: f64) -> u32 {
    (0..31)
        .find(|&left| greatest * (32 - left as i32).exp2_f64() < f64::from(i32::MAX))
        .unwrap_or(31)
}

/// The largest right shift, at most `most`, with which values up to `greatest` times 2^shift stay within `limit`.
pub fn right_shift(greatest: f64, limit: f64, most: u32) -> u32 {
    (0..=most).rev().find(|&shift| greatest * (shift as i32).exp2_f64() <= limit).unwrap_or(0)
}

/// 2 to an integer power.
pub trait Exp2 {
    /// 2^self.
    fn exp2_f64(self) -> f64;
}

impl Exp2 for i32 {
    fn exp2_f64(self) -> f64 {
        f64::from(self).exp2()
    }
}

/// The nearest i16.
pub fn to_i16(value: f64) -> i16 {
    value.round() as i16 // saturates
}

/// The nearest i32.
pub fn to_i32(value: f64) -> i32 {
    value.round() as i32 // saturates
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::kernels::multiply_high;

    #[test]
    fn integers_cover_their_range_and_hold_zero() {
        let Quantisation { scale, zero_point } = Quantisation::asymmetric(Range { low: -0.17, high: 3.0 }, 2);
        let real = |q: i32| scale[0] * f64::from(q - zero_point[0]);
        assert!((real(-128) + 0.17).abs() < scale[0] && (real(127) - 3.0).abs() < scale[0]);
        assert_eq!(real(zero_point[0]), 0.0);
        let empty = Quantisation::asymmetric(Range { low: 0.0, high: 0.0 }, 1);
        assert_eq!(empty.zero_point, [-128]);
        assert_eq!(Quantisation::symmetric(Range { low: -2.54, high: 2.54 }, 1).scale, [0.02]);
    }

    /// Shift and multiplier together scale to within rounding, for scales of 14 orders of two.
    #[test]
    fn multipliers_scale() {
        for i in 0..40 {
            let scale = 0.000_3 * 1.5f64.powi(i);
            let left = left_shift(scale);
            let m = multiplier(scale, left);
            for sum in [-3000, -1, 0, 1, 7, 2500] {
                let got = f64::from(multiply_high(sum << left, m));
                let want = f64::from(sum) * scale;
                assert!((got - want).abs() <= 0.5 + want.abs() * 1e-5, "{scale} {sum}: {got} {want}");
            }
        }
    }

    #[test]
    fn right_shifts_are_the_largest() {
        assert_eq!(right_shift(100.0, 32_767.0, 22), 8);
        assert_eq!(right_shift(0.0, 32_767.0, 15), 15);
        assert_eq!(right_shift(1e9, 32_767.0, 15), 0);
    }
}
