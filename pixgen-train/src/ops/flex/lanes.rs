//! Vector arithmetic: run-time choice of the instruction set, exponential, normal distribution, sums in fixed lanes.
//!
//! The functions are plain loops that the compiler vectorises. [`vectorised!`] compiles each three times, for the
//! baseline of the target, for AVX2 and for AVX-512, and picks one at run time. All three round alike: fused
//! multiply-adds are written out and sums keep [`LANES`] partial sums whatever the width of the registers.

use std::sync::atomic::{AtomicU8, Ordering};

/// Partial sums of a reduction; the width of the widest registers in `f32`.
pub const LANES: usize = 16;

/// Instruction sets that [`vectorised!`] compiles for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Whatever the target guarantees.
    Baseline = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The best level of this processor.
fn detect() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// The level in use. Never above what the processor has: the calls of [`vectorised!`] rest on that.
#[inline]
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let level = detect();
            LEVEL.store(level as u8, Ordering::Relaxed);
            level
        }
    }
}

/// Lowers the level in use to at most `ceiling`, to compare the levels; returns the level then in use.
#[cfg(test)]
pub fn limit_level(ceiling: Level) -> Level {
    let level = detect().min(ceiling);
    LEVEL.store(level as u8, Ordering::Relaxed);
    level
}

/// Compiles a function for every [`Level`] and calls the one in use.
macro_rules! vectorised {
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                /// # Safety
                /// The CPU has these features.
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($argument: $type),*) $(-> $output)? {
                    body($($argument),*)
                }
                /// # Safety
                /// The CPU has these features.
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $output)? {
                    body($($argument),*)
                }
                match $crate::ops::flex::lanes::level() {
                    $crate::ops::flex::lanes::Level::Avx512 => {
                        // SAFETY: `level` returns Avx512 only when the processor has the features enabled above.
                        return unsafe { avx512($($argument),*) };
                    }
                    $crate::ops::flex::lanes::Level::Avx2 => {
                        // SAFETY: `level` returns Avx2 only when the processor has the features enabled above.
                        return unsafe { avx2($($argument),*) };
                    }
                    $crate::ops::flex::lanes::Level::Baseline => {}
                }
            }
            body($($argument),*)
        }
    };
}
pub(super) use vectorised;

/// `e^x` with a relative error below 2e-7 on [-87, 88]; arguments outside are clamped to that range, NaN stays NaN.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and the polynomial of the Cephes library for `e^r`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let p = 1.987_569_1e-4f32
        .mul_add(r, 1.398_199_9e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 1.666_666_5e-1)
        .mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    e * power
}

/// Natural logarithm of a positive normal number, relative error below 3e-7 (near 1: absolute error below 1e-7).
///
/// `ln x = e ln 2 + ln m` with m between the roots of 1/2 and 2 and the polynomial of the Cephes library for `ln m`.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const ROOT_OF_HALF: u32 = 0x3f35_04f3;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let exponent = (x.to_bits().wrapping_sub(ROOT_OF_HALF) as i32) >> 23;
    let e = exponent as f32;
    let m = f32::from_bits(x.to_bits().wrapping_sub((exponent << 23) as u32)) - 1.0;
    let p = 7.037_683_6e-2f32
        .mul_add(m, -1.151_461e-1)
        .mul_add(m, 1.167_699_87e-1)
        .mul_add(m, -1.242_014_1e-1)
        .mul_add(m, 1.424_932_3e-1)
        .mul_add(m, -1.666_805_8e-1)
        .mul_add(m, 2.000_071_5e-1)
        .mul_add(m, -2.499_999_4e-1)
        .mul_add(m, 3.333_333e-1);
    let square = m * m;
    let small = e.mul_add(LN_2_LOW, (p * m).mul_add(square, -0.5 * square));
    e.mul_add(LN_2_HIGH, m + small)
}

/// Distribution function and density of the standard normal at `z`, absolute error below 3e-7.
///
/// Upper tail from Abramowitz and Stegun 7.1.26, `erfc(x) = t P(t) e^(-x^2)` with `t = 1 / (1 + p x)`, so both share one
/// exponential.
#[inline(always)]
pub fn normal(z: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let e = exp(-0.5 * z * z);
    let t = 1.0 / P.mul_add(z.abs(), 1.0);
    let p = 1.061_405_4f32
        .mul_add(t, -1.453_152_1)
        .mul_add(t, 1.421_413_8)
        .mul_add(t, -0.284_496_72)
        .mul_add(t, 0.254_829_6);
    let tail = 0.5 * e * t * p;
    let cdf = if z < 0.0 { tail } else { 1.0 - tail };
    (cdf, DENSITY_AT_0 * e)
}

/// Adds up the lanes pairwise.
#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `term(i)` over the elements of a pair of rows, in [`LANES`] partial sums.
#[inline(always)]
pub fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += term(a[i], b[i]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += term(a, b);
    }
    fold(lanes)
}

/// Sum of a row.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    sum_of(x, x, |x, _| x)
}

/// Largest element of a row; negative infinity for an empty one. NaN is passed over.
#[inline(always)]
pub fn highest(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_and_clamps() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        println!("exp: max relative error {worst:.2e}");
        assert!(worst < 2e-7, "relative error {worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), exp(-87.0));
        assert_eq!(exp(f32::INFINITY), exp(88.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_accurate() {
        let mut worst = 0.0f64;
        for i in 1..2_000_000 {
            let x = (i as f32 - 1_000_000.0) * 8e-5;
            let x = x.exp().clamp(f32::MIN_POSITIVE, f32::MAX);
            let exact = f64::from(x).ln();
            worst = worst.max((f64::from(ln(x)) - exact).abs() / exact.abs().max(0.5));
        }
        println!("ln: max error {worst:.2e}");
        assert!(worst < 3e-7, "error {worst:e}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn normal_matches_numerical_integration() {
        let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let step = 1e-3;
        let mut cdf = 0.0;
        let (mut worst_cdf, mut worst_gelu) = (0.0f64, 0.0f64);
        for i in 0..20_000 {
            let z = -10.0 + f64::from(i) * step;
            let (found, found_density) = normal(z as f32);
            worst_cdf = worst_cdf.max((f64::from(found) - cdf).abs());
            worst_gelu = worst_gelu.max((f64::from(z as f32 * found) - z * cdf).abs());
            assert!((f64::from(found_density) - density(z)).abs() < 3e-7, "density at {z}");
            // Simpson's rule, error about 1e-15 per step.
            cdf += step / 6.0 * (density(z) + 4.0 * density(z + step / 2.0) + density(z + step));
        }
        println!("normal: max error of the distribution {worst_cdf:.2e}, of the GELU {worst_gelu:.2e}");
        assert!(worst_cdf < 3e-7 && worst_gelu < 1e-6);
        assert_eq!(normal(50.0).0, 1.0);
        assert!(normal(-50.0).0 < 1e-37);
        assert!(normal(f32::NAN).0.is_nan());
    }

    #[test]
    fn sums_cover_every_length() {
        for length in 0..70 {
            let x: Vec<f32> = (1..=length).map(|i| i as f32).collect();
            assert_eq!(sum(&x), (length * (length + 1) / 2) as f32, "length {length}");
            assert_eq!(sum_of(&x, &x, |a, b| a - b), 0.0);
            let expected = if length == 0 { f32::NEG_INFINITY } else { length as f32 };
            assert_eq!(highest(&x), expected);
        }
    }
}
