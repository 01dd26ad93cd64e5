//! x86 with AVX-512 VNNI: 64 products of 8 bits an instruction (VPDPBUSD) in 512 bits, packed and corrected as in [`vnni`].
#![allow(unsafe_code)]

use super::lanes::{Lanes, PANEL, Work};
use super::vnni;
use crate::kernels::TABLE_LEN;
use core::arch::x86_64::*;

/// Proof that the CPU has AVX2, and AVX-512 with F, BW, VL and VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni(());

impl Avx512Vnni {
    /// The proof.
    ///
    /// # Safety
    /// The CPU, and the system, have AVX2, and AVX-512 with F, BW, VL and VNNI.
    pub const unsafe fn detected() -> Self {
        Self(())
    }
}

/// Four weights of each of 16 outputs: a vector.
const STEP: usize = 4 * PANEL;

impl Lanes for Avx512Vnni {
    const NAME: &'static str = "avx512-vnni";
    const GROUP: usize = 4;
    const FLIP: [i8; 4] = vnni::FLIP;
    // As many sums hide the latency of the instruction on two ports.
    const ROWS: usize = 12;
    type Value = i8;
    type Weight = i8;
    type Sums = __m512i;

    #[inline]
    fn run<W: Work>(self, work: W) -> W::Output {
        /// # Safety
        /// The CPU has these features.
        #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
        fn inside<W: Work>(work: W) -> W::Output {
            work.run()
        }
        // SAFETY: `self` is the proof that the CPU has the instructions.
        unsafe { inside(work) }
    }

    #[inline(always)]
    fn widen(self, row: &[i8], out: &mut [i8]) -> i32 {
        vnni::widen(row, out)
    }

    #[inline(always)]
    fn expand<'a>(self, panel: &'a [i8], _: &'a mut [i16]) -> &'a [i8] {
        panel
    }

    #[inline(always)]
    fn tile<const R: usize>(self, x: &[i8], len: usize, w: &[i8], mut sums: [Self::Sums; R]) -> [Self::Sums; R] {
        let steps = len / 4;
        if x.len() < R * len || w.len() < steps * STEP {
            return sums;
        }
        let (x, w) = (x.as_ptr(), w.as_ptr().cast::<__m512i>());
        for step in 0..steps {
            // SAFETY: `self` is the proof of the instructions. Step s reads vector s of `w` and four bytes at 4 s of each of the R rows of
            // `len` bytes: all inside, as was checked.
            unsafe {
                let weights = _mm512_loadu_si512(w.add(step));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let four = x.add(r * len + 4 * step).cast::<i32>().read_unaligned();
                    *sums = _mm512_dpbusd_epi32(*sums, weights, _mm512_set1_epi32(four));
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn load(self, numbers: &[i32; PANEL]) -> Self::Sums {
        // SAFETY: `self` is the proof of AVX-512, here and below; loads and stores are unaligned and inside the arrays.
        unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
    }

    #[inline(always)]
    fn less(self, sums: Self::Sums, less: i32) -> Self::Sums {
        // SAFETY: as above.
        unsafe { _mm512_sub_epi32(sums, _mm512_set1_epi32(less)) }
    }

    #[inline(always)]
    fn scale(self, sums: Self::Sums, left: u32, multiplier: &[i32; PANEL]) -> Self::Sums {
        // SAFETY: as above.
        unsafe {
            let shifted = _mm512_sll_epi32(sums, _mm_cvtsi32_si128((left % 32) as i32));
            high(shifted, _mm512_loadu_si512(multiplier.as_ptr().cast()))
        }
    }

    #[inline(always)]
    fn scale_all(self, sums: Self::Sums, multiplier: i32) -> Self::Sums {
        // SAFETY: as above.
        unsafe { high(sums, _mm512_set1_epi32(multiplier)) }
    }

    #[inline(always)]
    fn store(self, sums: Self::Sums, out: &mut [i32; PANEL]) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sums) }
    }

    #[inline(always)]
    fn store_i16(self, sums: Self::Sums, out: &mut [i16; PANEL]) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtsepi32_epi16(sums)) }
    }

    #[inline(always)]
    fn store_i8(self, sums: Self::Sums, out: &mut [i8; PANEL]) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(sums)) }
    }

    #[inline(always)]
    fn store_lookup(self, sums: Self::Sums, table: &[i8; TABLE_LEN], out: &mut [i8; PANEL]) {
        // Four places in a general register: an extraction for each would take the vector ports from the products.
        let mut places = [0u64; PANEL / 4];
        // SAFETY: as above.
        unsafe {
            let clamped = _mm512_max_epi32(sums, _mm512_setzero_si512());
            let clamped = _mm512_min_epi32(clamped, _mm512_set1_epi32(TABLE_LEN as i32 - 1));
            _mm256_storeu_si256(places.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(clamped));
        }
        for (out, four) in out.as_chunks_mut::<4>().0.iter_mut().zip(places) {
            // SAFETY: places were clamped to the table.
            let look = |i: usize| unsafe { *table.get_unchecked(usize::from((four >> (16 * i)) as u16)) };
            *out = [look(0), look(1), look(2), look(3)];
        }
    }
}

/// (a b + 2^31) >> 32 in 16 lanes: of the even ones, and of the odd ones.
///
/// # Safety
/// The CPU has AVX-512 with F.
#[inline(always)]
unsafe fn high(a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let half = _mm512_set1_epi64(1 << 31);
        let even = _mm512_add_epi64(_mm512_mul_epi32(a, b), half);
        let odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b)), half);
        _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64::<32>(even), odd)
    }
}
