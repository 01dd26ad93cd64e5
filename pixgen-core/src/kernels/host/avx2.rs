//! x86 with AVX2: 16 products of 16 bits an instruction (VPMADDWD), in pairs or crosswise.
#![allow(unsafe_code)]

use super::avx2;
use super::lanes::{Lanes, PANEL, Work};
use crate::kernels::TABLE_LEN;
use core::arch::x86_64::*;
use core::array;

/// Proof that the CPU has AVX2. `CROSSWISE` chooses how products are made.
///
/// In pairs, x0 w0 + x1 w1 is one product of vectors. Crosswise, the same is (x0 + w1)(x1 + w0) - x0 x1 - w0 w1 (Winograd 1968): two additions
/// and one product for what are two products otherwise, and what depends on x or w alone is subtracted once. A sum of two int8 fits in
/// 16 bits and two products of such sums in 32, so both are exact. Crosswise is faster where products of vectors are the
/// narrow port, as on Zen 1 and 2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2<const CROSSWISE: bool>(());

impl<const CROSSWISE: bool> Avx2<CROSSWISE> {
    /// The proof.
    ///
    /// # Safety
    /// The CPU, and the system, have AVX2.
    pub const unsafe fn detected() -> Self {
        Self(())
    }
}

/// Four weights of each of 16 outputs, expanded.
const STEP: usize = 4 * PANEL;

/// `run` and the methods that every 256-bit back end shares.
// `avx2` is this module where the macro is used.
macro_rules! sums_of_256_bits {
    ($features:literal) => {
        type Sums = [__m256i; 2];

        #[inline]
        fn run<W: Work>(self, work: W) -> W::Output {
            /// # Safety
            /// The CPU has these features.
            #[target_feature(enable = $features)]
            fn inside<W: Work>(work: W) -> W::Output {
                work.run()
            }
            // SAFETY: `self` is the proof that the CPU has the instructions.
            unsafe { inside(work) }
        }

        #[inline(always)]
        fn load(self, numbers: &[i32; PANEL]) -> Self::Sums {
            // SAFETY: `self` is the proof of AVX2, here and below; loads and stores are unaligned and inside the arrays.
            unsafe { avx2::load(numbers) }
        }

        #[inline(always)]
        fn less(self, sums: Self::Sums, less: i32) -> Self::Sums {
            // SAFETY: as above.
            unsafe {
                let less = _mm256_set1_epi32(less);
                [_mm256_sub_epi32(sums[0], less), _mm256_sub_epi32(sums[1], less)]
            }
        }

        #[inline(always)]
        fn scale(self, sums: Self::Sums, left: u32, multiplier: &[i32; PANEL]) -> Self::Sums {
            // SAFETY: as above.
            unsafe {
                let shift = _mm_cvtsi32_si128((left % 32) as i32);
                let [a, b] = avx2::load(multiplier);
                [
                    avx2::high(_mm256_sll_epi32(sums[0], shift), a),
                    avx2::high(_mm256_sll_epi32(sums[1], shift), b),
                ]
            }
        }

        #[inline(always)]
        fn scale_all(self, sums: Self::Sums, multiplier: i32) -> Self::Sums {
            // SAFETY: as above.
            unsafe {
                let multiplier = _mm256_set1_epi32(multiplier);
                [avx2::high(sums[0], multiplier), avx2::high(sums[1], multiplier)]
            }
        }

        #[inline(always)]
        fn store(self, [a, b]: Self::Sums, out: &mut [i32; PANEL]) {
            // SAFETY: as above.
            unsafe {
                let out = out.as_mut_ptr().cast::<__m256i>();
                _mm256_storeu_si256(out, a);
                _mm256_storeu_si256(out.add(1), b);
            }
        }

        #[inline(always)]
        fn store_i16(self, sums: Self::Sums, out: &mut [i16; PANEL]) {
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), avx2::words(sums)) }
        }

        #[inline(always)]
        fn store_i8(self, sums: Self::Sums, out: &mut [i8; PANEL]) {
            // SAFETY: as above.
            unsafe {
                let words = avx2::words(sums);
                let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
            }
        }

        #[inline(always)]
        fn store_lookup(self, sums: Self::Sums, table: &[i8; TABLE_LEN], out: &mut [i8; PANEL]) {
            let mut places = [0u16; PANEL];
            // SAFETY: as above.
            unsafe {
                let words = _mm256_max_epi16(avx2::words(sums), _mm256_setzero_si256());
                let words = _mm256_min_epi16(words, _mm256_set1_epi16(TABLE_LEN as i16 - 1));
                _mm256_storeu_si256(places.as_mut_ptr().cast(), words);
            }
            // Words of bytes, so that there are four stores.
            for (out, places) in out.as_chunks_mut::<4>().0.iter_mut().zip(places.as_chunks::<4>().0) {
                // SAFETY: places were clamped to the table.
                let look = |i: usize| unsafe { *table.get_unchecked(usize::from(places[i])) };
                *out = [look(0), look(1), look(2), look(3)];
            }
        }
    };
}
pub(super) use sums_of_256_bits;

impl<const CROSSWISE: bool> Lanes for Avx2<CROSSWISE> {
    const NAME: &'static str = if CROSSWISE { "avx2-crosswise" } else { "avx2-pairs" };
    const GROUP: usize = 2;
    const CROSSWISE: bool = CROSSWISE;
    // Eight sums, four weights, two values and two products are all 16 registers.
    const ROWS: usize = 4;
    type Value = i16;
    type Weight = i16;

    sums_of_256_bits!("avx2");

    #[inline(always)]
    fn widen(self, row: &[i8], out: &mut [i16]) -> i32 {
        // SAFETY: `self` is the proof of AVX2.
        unsafe { widen::<CROSSWISE>(row, out) }
    }

    #[inline(always)]
    fn expand<'a>(self, panel: &'a [i8], scratch: &'a mut [i16]) -> &'a [i16] {
        for (from, to) in panel.as_chunks::<16>().0.iter().zip(scratch.as_chunks_mut::<16>().0) {
            // SAFETY: `self` is the proof of AVX2; both chunks have 16 values.
            unsafe {
                let bytes = _mm_loadu_si128(from.as_ptr().cast());
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_cvtepi8_epi16(bytes));
            }
        }
        scratch
    }

    #[inline(always)]
    fn tile<const R: usize>(self, x: &[i16], len: usize, w: &[i16], mut sums: [Self::Sums; R]) -> [Self::Sums; R] {
        let steps = len / 4;
        if x.len() < R * len || w.len() < steps * STEP {
            return sums;
        }
        let (x, w) = (x.as_ptr().cast::<i32>(), w.as_ptr().cast::<__m256i>());
        for step in 0..steps {
            // SAFETY: `self` is the proof of AVX2. Step s reads vectors 4 s .. 4 s + 4 of `w` and words 2 s, 2 s + 1 of each of the R rows of
            // len / 2 words: all inside, as was checked.
            unsafe {
                let w = w.add(4 * step);
                let (a0, a1) = (_mm256_loadu_si256(w), _mm256_loadu_si256(w.add(1)));
                let (b0, b1) = (_mm256_loadu_si256(w.add(2)), _mm256_loadu_si256(w.add(3)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let at = x.add(r * (len / 2) + 2 * step);
                    let u = _mm256_set1_epi32(at.read_unaligned());
                    let v = _mm256_set1_epi32(at.add(1).read_unaligned());
                    if CROSSWISE {
                        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_add_epi16(u, b0), _mm256_add_epi16(v, a0)));
                        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_add_epi16(u, b1), _mm256_add_epi16(v, a1)));
                    } else {
                        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(u, a0));
                        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(u, a1));
                        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(v, b0));
                        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(v, b1));
                    }
                }
            }
        }
        sums
    }
}

/// 16 numbers as two vectors.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn load(numbers: &[i32; PANEL]) -> [__m256i; 2] {
    let from = numbers.as_ptr().cast::<__m256i>();
    // SAFETY: the caller's; both vectors are inside the array.
    unsafe { [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))] }
}

/// (a b + 2^31) >> 32 in 8 lanes: of the even ones, and of the odd ones.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn high(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let half = _mm256_set1_epi64x(1 << 31);
        let even = _mm256_add_epi64(_mm256_mul_epi32(a, b), half);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b)), half);
        _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd)
    }
}

/// 16 numbers, clamped to 16 bits, in order.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn words([a, b]: [__m256i; 2]) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b)) }
}

/// [`Lanes::widen`].
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn widen<const CROSSWISE: bool>(row: &[i8], out: &mut [i16]) -> i32 {
    let (whole, rest) = row.as_chunks::<16>();
    let (to, rest_to) = out.split_at_mut(out.len().min(16 * whole.len()));
    // SAFETY: the caller's; chunks have 16 values.
    let mut excess = unsafe {
        let mut sums = _mm256_setzero_si256();
        for (from, to) in whole.iter().zip(to.as_chunks_mut::<16>().0) {
            let values = _mm256_cvtepi8_epi16(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), values);
            if CROSSWISE {
                // Words 0 and 1 of each four meet words 2 and 3; words 2 and 3 meet zeros.
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(values, _mm256_srli_epi64::<32>(values)));
            }
        }
        let mut lanes = [0i32; 8];
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums);
        lanes.iter().fold(0i32, |sum, &lane| sum.wrapping_add(lane))
    };
    let mut rest = rest.iter();
    for to in rest_to.as_chunks_mut::<4>().0 {
        *to = array::from_fn(|_| rest.next().map_or(0, |&value| i16::from(value)));
        let [a, b, c, d] = to.map(i32::from);
        excess = excess.wrapping_add(if CROSSWISE { a * c + b * d } else { 0 });
    }
    excess
}
