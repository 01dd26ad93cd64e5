//! Layer norm in 32-bit integers (docs/reference/numerics.md section 4.4).

use crate::kernels::Saturate;
use crate::pxg::Norm;

/// Fractional bits of a normalised value: as many as keep sqrt(width), the largest possible one, within 16 bits.
pub const fn fraction_bits(width: usize) -> u32 {
    let mut bits = 15;
    // Each bit less doubles the range; 2^(15 - bits) >= sqrt(width).
    while bits > 0 && (1u64 << (2 * (15 - bits))) < width as u64 {
        bits -= 1;
    }
    bits
}

/// Mean and spread of a row, prepared for its values.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowStats {
    /// d, times a power of two in a row of little spread.
    width: i32,
    /// Minus the sum, times the same.
    minus_sum: i32,
    /// Shift of their difference to 16 bits.
    shift: u32,
    /// 2^31 over the normalised root, 15 to 17 bits.
    inverse: i32,
}

impl RowStats {
    /// Mean and variance of a row; `epsilon` is added to the variance.
    #[inline(never)]
    pub(super) fn new(values: &[i16], epsilon: u32) -> Self {
        Self::of(values, epsilon)
    }

    /// The same where the caller chose the instructions.
    #[inline(always)]
    pub(super) fn of(values: &[i16], epsilon: u32) -> Self {
        let n = values.len() as u64;
        let (mut sum, mut squares) = (0i32, 0u64);
        for &value in values {
            let value = i32::from(value);
            sum = sum.wrapping_add(value);
            squares = squares.wrapping_add(u64::from(value.wrapping_mul(value) as u32));
        }
        // (n sigma)^2 = n * sum of squares - sum^2, which is not negative, and at least 1 so that a flat row divides by something.
        let square = u64::from(sum.unsigned_abs()).wrapping_mul(u64::from(sum.unsigned_abs()));
        let spread = n.wrapping_mul(squares).wrapping_sub(square);
        let spread = spread.wrapping_add(n.wrapping_mul(n).wrapping_mul(u64::from(epsilon))).max(1);
        // An even shift leaves 31 or 32 bits, whose root r has 16: n sigma = r 2^half.
        let half = (33 - spread.leading_zeros() as i32).div_euclid(2);
        let (left, right) = ((-2 * half).max(0) as u32, (2 * half).max(0) as u32);
        let root = (spread.wrapping_shl(left).wrapping_shr(right) as u32).isqrt().max(1);
        let inverse = ((1u32 << 31) / root) as i32;
        let shift = half + 16 - fraction_bits(values.len()) as i32;
        let left = (-shift).max(0) as u32;
        let width = (n as i32).wrapping_shl(left);
        Self {
            width,
            minus_sum: sum.wrapping_neg().wrapping_shl(left),
            shift: shift.max(0) as u32 & 31,
            inverse,
        }
    }

    /// (value - mean) / sigma with [`fraction_bits`] fractional bits.
    #[inline(always)]
    pub(super) fn normalise(&self, value: i16) -> i32 {
        let centred = i32::from(value).wrapping_mul(self.width).wrapping_add(self.minus_sum);
        (centred >> self.shift).wrapping_mul(self.inverse) >> 15
    }

    /// (n gain + offset) >> shift of every value. By itself, so that its loop has all registers.
    #[inline(never)]
    pub(super) fn write_i8(&self, values: &[i16], norm: &Norm<'_>, out: &mut [i8]) {
        self.write_i8_inline(values, norm, out);
    }

    /// The same where the caller chose the instructions.
    #[inline(always)]
    pub(super) fn write_i8_inline(&self, values: &[i16], norm: &Norm<'_>, out: &mut [i8]) {
        for (((&value, out), &gain), &offset) in values.iter().zip(out).zip(norm.gain).zip(norm.offset) {
            *out = i8::saturate(scale(self.normalise(value), gain, offset, norm.shift));
        }
    }

    /// The same in place, in 16 bits.
    #[inline(never)]
    pub(super) fn in_place(&self, values: &mut [i16], norm: &Norm<'_>) {
        self.in_place_inline(values, norm);
    }

    /// The same where the caller chose the instructions.
    #[inline(always)]
    pub(super) fn in_place_inline(&self, values: &mut [i16], norm: &Norm<'_>) {
        for ((value, &gain), &offset) in values.iter_mut().zip(norm.gain).zip(norm.offset) {
            *value = i16::saturate(scale(self.normalise(*value), gain, offset, norm.shift));
        }
    }
}

/// (n gain + offset) >> shift, not yet clamped.
#[inline(always)]
fn scale(normalised: i32, gain: i16, offset: i32, shift: u32) -> i32 {
    normalised.wrapping_mul(i32::from(gain)).wrapping_add(offset) >> (shift & 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Draws, Rng};
    use std::vec::Vec;

    #[test]
    fn range_of_fraction_bits() {
        assert_eq!([1, 4, 48, 64, 65, 96, 256, 257, 16_384].map(fraction_bits), [15, 14, 12, 12, 11, 11, 11, 10, 8]);
    }

    /// Against f64, from a spread of one unit to the whole range: the error is a few units of the last place.
    #[test]
    fn agrees_with_floats() {
        let mut draws = Draws::new(Rng::new(4, 255), 0);
        for width in [2usize, 12, 48, 64, 96, 192, 768, 1024] {
            for spread in [1.0, 3.0, 30.0, 500.0, 4000.0, 9000.0] {
                let mean = f64::from(draws.uniform() - 0.5) * 10_000.0;
                let row: Vec<i16> = (0..width).map(|_| (mean + f64::from(draws.gaussian()) * spread) as i16).collect();
                let stats = RowStats::new(&row, 1);
                let n = width as f64;
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
                let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n + 1.0;
                for &value in &row {
                    let want = (f64::from(value) - mean) / variance.sqrt();
                    let got = f64::from(stats.normalise(value)) / f64::from(1u32 << fraction_bits(width));
                    assert!(
                        (got - want).abs() < 3.0 / f64::from(1u32 << fraction_bits(width)) + want.abs() * 1e-4,
                        "{width} {spread}: {got} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn flat_and_extreme_rows() {
        assert_eq!(RowStats::new(&[5; 64], 0).normalise(5), 0);
        assert_eq!(RowStats::new(&[], 0).normalise(0), 0);
        let mut row = [i16::MIN; 64];
        row[0] = i16::MAX;
        let got = f64::from(RowStats::new(&row, 0).normalise(i16::MAX)) / 4096.0;
        assert!((got - 63f64.sqrt()).abs() < 1e-3, "{got}");
    }
}
