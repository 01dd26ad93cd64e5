//! One random generator for host, GPU and chip (docs/reference/numerics.md section 1).
//!
//! Bits come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a pure function of
//! (seed, stream, counter), so nothing has to be saved to repeat or resume a sequence, and any index can be drawn first.
//! Gaussians come from those bits through an integer inverse-CDF table with linear interpolation, so they are the same bits on
//! every machine: 32 bits in, fixed point with 16 fractional bits out, tails to 6.3 standard deviations.

use crate::gaussian_table::{CELL_BITS, OCTAVES, QUANTILES};

/// Fractional bits of [`Rng::gaussian_q16`].
pub const GAUSSIAN_FRACTION_BITS: u32 = 16;

/// A stream of random numbers addressed by index.
///
/// `seed` separates runs, `stream` separates uses inside a run (latents, training noise, augmentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    stream: u64,
}

impl Rng {
    /// The stream `stream` of the generator `seed`.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self { seed, stream }
    }

    /// Four independent words for one counter value.
    pub const fn words(&self, counter: u64) -> [u32; 4] {
        self.words_in_place(counter)
    }

    /// [`words`](Self::words) without a call, for the loop that draws the noise of whole pictures; elsewhere code size counts more.
    #[inline(always)]
    const fn words_in_place(&self, counter: u64) -> [u32; 4] {
        philox4x32_10(
            [
                counter as u32,
                (counter >> 32) as u32,
                self.stream as u32,
                (self.stream >> 32) as u32,
            ],
            [self.seed as u32, (self.seed >> 32) as u32],
        )
    }

    /// The word at `index`.
    pub const fn u32(&self, index: u64) -> u32 {
        self.words(index >> 2)[(index & 3) as usize]
    }

    /// The standard Gaussian at `index`, as a fixed-point number with 16 fractional bits.
    pub const fn gaussian_q16(&self, index: u64) -> i32 {
        gaussian_from_bits(self.u32(index))
    }

    /// The standard Gaussian at `index`.
    pub const fn gaussian(&self, index: u64) -> f32 {
        self.gaussian_q16(index) as f32 * (1.0 / (1u32 << GAUSSIAN_FRACTION_BITS) as f32)
    }

    /// Writes the Gaussians at `start..start + out.len()`.
    pub fn fill_gaussian(&self, start: u64, out: &mut [f32]) {
        const SCALE: f32 = 1.0 / (1u32 << GAUSSIAN_FRACTION_BITS) as f32;
        for (value, gaussian) in out.iter_mut().zip(self.gaussians_q16(start)) {
            *value = gaussian as f32 * SCALE;
        }
    }

    /// The Gaussians from `start` on, as in [`gaussian_q16`](Self::gaussian_q16), without end.
    pub const fn gaussians_q16(&self, start: u64) -> Gaussians {
        Gaussians { rng: *self, next: start, words: self.words(start >> 2) }
    }
}

/// Gaussians in order; four share one evaluation of the generator.
#[derive(Clone, Debug)]
pub struct Gaussians {
    rng: Rng,
    next: u64,
    words: [u32; 4],
}

impl Gaussians {
    /// The next one, with new words from `words` where the last are used up.
    #[inline(always)]
    fn next_with(&mut self, words: impl Fn(&Rng, u64) -> [u32; 4]) -> i32 {
        let value = gaussian_from_bits(self.words[(self.next & 3) as usize]);
        self.next = self.next.wrapping_add(1);
        if self.next & 3 == 0 {
            self.words = words(&self.rng, self.next >> 2);
        }
        value
    }

    /// The same with the generator in place of a call.
    #[cfg(not(host_kernels))]
    #[inline(always)]
    pub(crate) fn in_place(&self) -> impl Iterator<Item = i32> + use<> {
        let mut gaussians = self.clone();
        core::iter::from_fn(move || Some(gaussians.next_with(Rng::words_in_place)))
    }

    /// The same with the generator in place of a call, many evaluations of it side by side.
    #[cfg(host_kernels)]
    #[inline(always)]
    pub(crate) fn in_place(&self) -> GaussianBlocks {
        GaussianBlocks::new(self.rng, self.next)
    }
}

impl Iterator for Gaussians {
    type Item = i32;

    #[inline]
    fn next(&mut self) -> Option<i32> {
        Some(self.next_with(Rng::words))
    }
}

/// Counters of the generator at a time: as many as the longest vectors have 32-bit lanes.
#[cfg(host_kernels)]
const BLOCK: usize = 16;

/// [`Gaussians`] of a host: many evaluations of the generator side by side, by the vector instructions that the caller chose.
#[cfg(host_kernels)]
#[derive(Clone, Debug)]
pub(crate) struct GaussianBlocks {
    rng: Rng,
    counter: u64,
    values: [[i32; 4]; BLOCK],
    at: usize,
}

#[cfg(host_kernels)]
impl GaussianBlocks {
    /// The Gaussians from `start` on.
    #[inline(always)]
    pub(crate) fn new(rng: Rng, start: u64) -> Self {
        let mut blocks = Self { rng, counter: start >> 2, values: [[0; 4]; BLOCK], at: (start & 3) as usize };
        blocks.fill();
        blocks
    }

    #[inline(always)]
    fn fill(&mut self) {
        let mut words = [[0; 4]; BLOCK];
        for (i, words) in words.iter_mut().enumerate() {
            *words = self.rng.words_in_place(self.counter.wrapping_add(i as u64));
        }
        for (value, &word) in self.values.as_flattened_mut().iter_mut().zip(words.as_flattened()) {
            *value = gaussian_from_bits(word);
        }
        self.counter = self.counter.wrapping_add(BLOCK as u64);
    }
}

#[cfg(host_kernels)]
impl Iterator for GaussianBlocks {
    type Item = i32;

    #[inline(always)]
    fn next(&mut self) -> Option<i32> {
        if self.at == 4 * BLOCK {
            self.fill();
            self.at = 0;
        }
        let value = self.values.as_flattened().get(self.at).copied();
        self.at += 1;
        value
    }
}

/// Weights of two noises whose sum is noise of the same variance: cosine and sine of a share of a quarter turn, so that a walk from one
/// picture's noise to another's never leaves the noises that a model knows. Integers, so the walk is the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blend {
    /// With [`WEIGHT_BITS`] fractional bits.
    from: i32,
    to: i32,
}

/// Fractional bits of the weights of a [`Blend`].
const WEIGHT_BITS: u32 = 30;

impl Blend {
    /// The share that is the whole way.
    pub const WHOLE: u32 = 1 << 16;

    /// `share` of the way in units of 1/65,536; at 0 and at [`WHOLE`](Self::WHOLE), and beyond, one noise alone.
    pub const fn new(share: u32) -> Self {
        let share = if share < Self::WHOLE { share } else { Self::WHOLE };
        Self { from: quarter_sine(Self::WHOLE - share), to: quarter_sine(share) }
    }

    /// The sum of two Gaussians with 16 fractional bits, rounded to nearest.
    pub const fn q16(&self, from: i32, to: i32) -> i32 {
        let sum = from as i64 * self.from as i64 + to as i64 * self.to as i64;
        ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS) as i32
    }
}

/// sin(pi/2 x) for x in units of 2^-16, from 0 to 1: x (a - b x^2 + c x^4 - d x^6), exact at both ends, elsewhere to 2e-5.
const fn quarter_sine(x: u32) -> i32 {
    // The first coefficients of the series; the last makes their sum 1.
    const A: i64 = 1_686_629_713;
    const B: i64 = 693_598_668;
    const C: i64 = 85_569_306;
    const D: i64 = A - B + C - (1 << WEIGHT_BITS);
    let x = (x as i64) << (WEIGHT_BITS - 16);
    let square = (x * x) >> WEIGHT_BITS;
    let inner = C - ((D * square) >> WEIGHT_BITS);
    let inner = B - ((inner * square) >> WEIGHT_BITS);
    let inner = A - ((inner * square) >> WEIGHT_BITS);
    ((inner * x) >> WEIGHT_BITS) as i32
}

/// Reads a stream one number after another.
#[derive(Clone, Debug)]
pub struct Draws {
    rng: Rng,
    next: u64,
}

impl Draws {
    /// Starts reading `rng` at index `start`.
    pub const fn new(rng: Rng, start: u64) -> Self {
        Self { rng, next: start }
    }

    /// The next word.
    pub fn u32(&mut self) -> u32 {
        let word = self.rng.u32(self.next);
        self.next += 1;
        word
    }

    /// Uniform on [0, 1) with 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform on `0..n`, and 0 for `n = 0`. The bias is below n / 2^32.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.u32()) * u64::from(n)) >> 32) as u32
    }

    /// The next standard Gaussian.
    pub fn gaussian(&mut self) -> f32 {
        let value = self.rng.gaussian(self.next);
        self.next += 1;
        value
    }
}

/// Philox4x32 with ten rounds.
#[inline(always)]
const fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let a = counter[0] as u64 * 0xD251_1F53;
        let b = counter[2] as u64 * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key[0] = key[0].wrapping_add(0x9E37_79B9);
        key[1] = key[1].wrapping_add(0xBB67_AE85);
        round += 1;
    }
    counter
}

/// Inverse normal CDF of a 32-bit word, 16 fractional bits.
///
/// Bit 31 is the sign. The other 31 bits, plus one half, are the tail probability p in units of 2^-32, so p lies in (0, 1/2). p is
/// cut into octaves (its leading zeros), an octave into 2^CELL_BITS cells of equal width, and a cell is interpolated linearly.
#[cfg_attr(host_kernels, inline(always))]
const fn gaussian_from_bits(word: u32) -> i32 {
    // Doubled so that the half is an integer: v / 2^33 = p, v odd, below 2^32.
    let v = ((word & 0x7FFF_FFFF) << 1) | 1;
    let octave = v.leading_zeros();
    // The leading one moves to bit 31; below it CELL_BITS bits choose the cell and 16 bits place the point in it.
    let mantissa = v << octave;
    let cell = ((mantissa << 1) >> (32 - CELL_BITS)) as usize;
    let fraction = ((mantissa << (1 + CELL_BITS)) >> 16) as i64;
    // The table runs from the tail to p = 1/2; octave o covers p in [2^-(o+2), 2^-(o+1)).
    let at = ((OCTAVES - 1 - octave as usize) << CELL_BITS) + cell;
    let low = QUANTILES[at] as i64;
    let high = QUANTILES[at + 1] as i64;
    // Quantiles have 24 fractional bits; one rounding at the end.
    let z = (low << 16) + (high - low) * fraction;
    let magnitude = ((z + (1 << 23)) >> 24) as i32;
    if word >> 31 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 1.14, kat_vectors, philox4x32 with 10 rounds.
    #[test]
    fn philox_known_answers() {
        for (counter, key, want) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32_10(counter, key), want);
        }
    }

    /// The same bits everywhere: these values are part of the format of runs and pictures.
    #[test]
    fn gaussian_known_answers() {
        let rng = Rng::new(42, 1);
        let got: [i32; 6] = core::array::from_fn(|i| rng.gaussian_q16(i as u64));
        assert_eq!(got, [152_316, 74_994, 47_976, -52_484, 74_161, -1_399]);
        assert_eq!(gaussian_from_bits(0), gaussian_from_bits(1 << 31).wrapping_neg());
        // The extreme words: 6.34 sigma (p = 2^-33), and p just below 1/2.
        assert_eq!(gaussian_from_bits(0) as f64 / 65536.0, 6.337_951_660_156_25);
        assert_eq!(gaussian_from_bits(0x7FFF_FFFF), 0);
    }

    /// Table and interpolation against the normal distribution function: P(Z > z(word)) is the word's tail probability.
    #[test]
    fn quantiles_are_normal() {
        let mut worst = 0f64;
        for step in 0..200_000u32 {
            let word = step * 10_737 + (step & 7);
            let p = (f64::from(word & 0x7FFF_FFFF) + 0.5) / 4_294_967_296.0;
            let z = f64::from(gaussian_from_bits(word & 0x7FFF_FFFF)) / 65_536.0;
            let back = 0.5 * libm::erfc(z * core::f64::consts::FRAC_1_SQRT_2);
            let density = libm::exp(-z * z / 2.0) / 2.506_628_274_631;
            worst = worst.max((back - p).abs() / density);
        }
        // In units of z: half of the last bit is 7.6e-6, the interpolation adds up to 3e-5.
        assert!(worst < 4e-5, "{worst}");
    }

    /// Moments and tails of four million draws; limits are four standard errors or more.
    #[test]
    fn moments_and_tails() {
        const N: u64 = 1 << 22;
        let rng = Rng::new(1, 255);
        let (mut sums, mut beyond) = ([0f64; 4], [0u32; 4]);
        let mut block = [0f32; 4096];
        for start in (0..N).step_by(block.len()) {
            rng.fill_gaussian(start, &mut block);
            for &value in &block {
                let z = f64::from(value);
                let mut power = 1.0;
                for sum in &mut sums {
                    power *= z;
                    *sum += power;
                }
                for (count, limit) in beyond.iter_mut().zip([2.0, 3.0, 4.0, 4.5]) {
                    *count += u32::from(z.abs() > limit);
                }
            }
        }
        let n = N as f64;
        for (sum, want, variance) in [(sums[0], 0.0, 1.0), (sums[1], 1.0, 2.0), (sums[2], 0.0, 15.0), (sums[3], 3.0, 96.0)] {
            let error = (sum / n - want) / libm::sqrt(variance / n);
            assert!(error.abs() < 4.0, "moment off by {error} standard errors");
        }
        for (count, p) in beyond.into_iter().zip([4.550_026e-2, 2.699_796e-3, 6.334_248e-5, 6.795_346e-6]) {
            let error = (f64::from(count) - n * p) / libm::sqrt(n * p);
            assert!(error.abs() < 4.0, "tail count {count} off by {error} standard errors");
        }
    }

    /// Neighbouring indices, streams and seeds are uncorrelated.
    #[test]
    fn streams_are_independent() {
        const N: u64 = 1 << 18;
        let base = Rng::new(9, 9);
        for (other, shift) in [
            (Rng::new(9, 10), 0),
            (Rng::new(10, 9), 0),
            (Rng::new(9, 9 | 1 << 32), 0),
            (Rng::new(9 | 1 << 32, 9), 0),
            (base, 1),
            (base, 4),
        ] {
            let sum: f64 = (0..N).map(|i| f64::from(base.gaussian(i)) * f64::from(other.gaussian(i + shift))).sum();
            let error = sum / libm::sqrt(N as f64);
            assert!(error.abs() < 4.5, "{other:?} shift {shift}: {error}");
        }
    }

    #[test]
    fn filling_equals_indexing() {
        let rng = Rng::new(3, 5);
        for start in [0, 1, 2, 3, 7, (1 << 34) - 2] {
            let mut out = [0.0; 11];
            rng.fill_gaussian(start, &mut out);
            for (i, &value) in out.iter().enumerate() {
                assert_eq!(value, rng.gaussian(start + i as u64));
            }
        }
    }

    /// The ends are the two noises to the bit; between them the variance stays, and the way is a quarter turn.
    #[test]
    fn blends_keep_the_variance() {
        let (a, b) = (Rng::new(1, 1), Rng::new(2, 1));
        for (share, from, to) in [(0, 1.0, 0.0), (Blend::WHOLE, 0.0, 1.0), (u32::MAX, 0.0, 1.0)] {
            for i in 0..1000 {
                let (x, y) = (a.gaussian_q16(i), b.gaussian_q16(i));
                assert_eq!(Blend::new(share).q16(x, y), (f64::from(x) * from + f64::from(y) * to) as i32);
            }
        }
        for share in 0..=Blend::WHOLE {
            let blend = Blend::new(share);
            let [from, to] = [blend.from, blend.to].map(|weight| f64::from(weight) / f64::from(1 << WEIGHT_BITS));
            let angle = f64::from(share) / f64::from(Blend::WHOLE) * core::f64::consts::FRAC_PI_2;
            assert!((from - libm::cos(angle)).abs() < 2e-5 && (to - libm::sin(angle)).abs() < 2e-5, "{share}: {from} {to}");
            assert!((from * from + to * to - 1.0).abs() < 4e-5, "{share}");
        }
        // Part of the bytes that a chip draws.
        let blend = Blend::new(Blend::WHOLE / 3);
        let got: [i32; 4] = core::array::from_fn(|i| blend.q16(a.gaussian_q16(i as u64), b.gaussian_q16(i as u64)));
        assert_eq!(got, [94_586, 19_508, 74_679, 39_808]);
    }

    #[test]
    fn uniform_draws_are_in_range() {
        let mut draws = Draws::new(Rng::new(3, 5), 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            assert!((0.0..1.0).contains(&draws.uniform()));
            counts[draws.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
        assert_eq!(draws.below(0), 0);
    }
}
