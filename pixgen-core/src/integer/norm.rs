//! Layer norm in 32-bit integers (docs/reference/numerics.md section 4.4).

#[cfg(host_kernels)]
use crate::kernels;
use crate::kernels::{NormAffine, NormScale, row_sums};
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

/// Mean and variance of a row; `epsilon` is added to the variance.
#[inline(never)]
pub(super) fn row_scale(values: &[i16], epsilon: u32) -> NormScale {
    of_sums(values.len(), row_sums(values), epsilon)
}

/// The same where the caller chose the instructions.
#[cfg(host_kernels)]
#[inline(always)]
pub(super) fn row_scale_inline(values: &[i16], epsilon: u32) -> NormScale {
    of_sums(values.len(), kernels::row_sums_inline(values), epsilon)
}

/// The scale of a row of `width` values with this sum and sum of squares.
#[inline(always)]
fn of_sums(width: usize, (sum, squares): (i32, u64), epsilon: u32) -> NormScale {
    let n = width as u64;
    // (n sigma)^2 = n * sum of squares - sum^2, which is not negative, and at least 1 so that a flat row divides by something.
    let square = u64::from(sum.unsigned_abs()).wrapping_mul(u64::from(sum.unsigned_abs()));
    let spread = n.wrapping_mul(squares).wrapping_sub(square);
    let spread = spread.wrapping_add(n.wrapping_mul(n).wrapping_mul(u64::from(epsilon))).max(1);
    // An even shift leaves 31 or 32 bits, whose root r has 16: n sigma = r 2^half.
    let half = (33 - spread.leading_zeros() as i32).div_euclid(2);
    let (left, right) = ((-2 * half).max(0) as u32, (2 * half).max(0) as u32);
    let root = (spread.wrapping_shl(left).wrapping_shr(right) as u32).isqrt().max(1);
    let shift = half + 16 - fraction_bits(width) as i32;
    let left = (-shift).max(0) as u32;
    NormScale {
        width: (n as i32).wrapping_shl(left),
        minus_sum: sum.wrapping_neg().wrapping_shl(left),
        shift: shift.max(0) as u32 & 31,
        inverse: ((1u32 << 31) / root) as i32,
    }
}

impl<'a> Norm<'a> {
    /// What becomes of normalised values.
    pub(super) const fn affine(&self) -> NormAffine<'a> {
        NormAffine { gain: self.gain, offset: self.offset, shift: self.shift }
    }
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
                let stats = row_scale(&row, 1);
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
        assert_eq!(row_scale(&[5; 64], 0).normalise(5), 0);
        assert_eq!(row_scale(&[], 0).normalise(0), 0);
        let mut row = [i16::MIN; 64];
        row[0] = i16::MAX;
        let got = f64::from(row_scale(&row, 0).normalise(i16::MAX)) / 4096.0;
        assert!((got - 63f64.sqrt()).abs() < 1e-3, "{got}");
    }
}
