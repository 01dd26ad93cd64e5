//! aarch64 with NEON: 16 products of 8 bits by two instructions (SMULL, SMLSL), and one that adds them to sums (SADALP).
//!
//! Two products of int8 can exceed 16 bits: twice -128 times -128 is 32,768. So the weights of the second pair of each four are packed as
//! !w = -w - 1, and their products are subtracted: x0 w0 - x1 !w1 = x0 w0 + x1 w1 + x1 lies within +-32,640 for all int8. What is too much,
//! x1, depends on the row alone.
#![allow(unsafe_code)]

use super::lanes::{Lanes, PANEL, Work, copy};
use super::neon;
use crate::kernels::TABLE_LEN;
use core::arch::aarch64::*;
use core::array;

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The proof.
    ///
    /// # Safety
    /// The CPU, and the system, have NEON.
    pub const unsafe fn detected() -> Self {
        Self(())
    }
}

/// Vectors of the sums of a row and a panel.
pub(super) const VECTORS: usize = PANEL / 4;
/// Four weights of each of 16 outputs.
pub(super) const STEP: usize = 4 * PANEL;

/// `run` and the methods that both back ends of aarch64 share.
// `neon` is this module where the macro is used.
macro_rules! sums_of_neon {
    ($features:literal) => {
        type Sums = [int32x4_t; neon::VECTORS];

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
            let from = numbers.as_ptr();
            // SAFETY: `self` is the proof of NEON, here and below; the vectors are the array.
            array::from_fn(|i| unsafe { vld1q_s32(from.add(4 * i)) })
        }

        #[inline(always)]
        fn less(self, sums: Self::Sums, less: i32) -> Self::Sums {
            // SAFETY: as above.
            array::from_fn(|i| unsafe { vsubq_s32(sums[i], vdupq_n_s32(less)) })
        }

        #[inline(always)]
        fn scale(self, sums: Self::Sums, left: u32, multiplier: &[i32; PANEL]) -> Self::Sums {
            let multiplier = self.load(multiplier);
            // SAFETY: as above.
            array::from_fn(|i| unsafe { neon::high(vshlq_s32(sums[i], vdupq_n_s32((left % 32) as i32)), multiplier[i]) })
        }

        #[inline(always)]
        fn scale_all(self, sums: Self::Sums, multiplier: i32) -> Self::Sums {
            // SAFETY: as above.
            array::from_fn(|i| unsafe { neon::high(sums[i], vdupq_n_s32(multiplier)) })
        }

        #[inline(always)]
        fn store(self, sums: Self::Sums, out: &mut [i32; PANEL]) {
            for (i, sums) in sums.into_iter().enumerate() {
                // SAFETY: as above; the vectors are the array.
                unsafe { vst1q_s32(out.as_mut_ptr().add(4 * i), sums) }
            }
        }

        #[inline(always)]
        fn store_i16(self, sums: Self::Sums, out: &mut [i16; PANEL]) {
            // SAFETY: as above; the two vectors are the array.
            unsafe {
                let [low, high] = neon::words(sums);
                vst1q_s16(out.as_mut_ptr(), low);
                vst1q_s16(out.as_mut_ptr().add(8), high);
            }
        }

        #[inline(always)]
        fn store_i8(self, sums: Self::Sums, out: &mut [i8; PANEL]) {
            // SAFETY: as above; the vector is the array.
            unsafe {
                let [low, high] = neon::words(sums);
                vst1q_s8(out.as_mut_ptr(), vqmovn_high_s16(vqmovn_s16(low), high));
            }
        }

        #[inline(always)]
        fn store_lookup(self, sums: Self::Sums, table: &[i8; TABLE_LEN], out: &mut [i8; PANEL]) {
            let mut places = [0u16; PANEL];
            // SAFETY: as above; the two vectors are the array.
            unsafe {
                let last = vdupq_n_s16(TABLE_LEN as i16 - 1);
                for (i, words) in neon::words(sums).into_iter().enumerate() {
                    let words = vminq_s16(vmaxq_s16(words, vdupq_n_s16(0)), last);
                    vst1q_u16(places.as_mut_ptr().add(8 * i), vreinterpretq_u16_s16(words));
                }
            }
            for (out, place) in out.iter_mut().zip(places) {
                // SAFETY: places were clamped to the table.
                *out = unsafe { *table.get_unchecked(usize::from(place)) };
            }
        }
    };
}
pub(super) use sums_of_neon;

impl Lanes for Neon {
    const NAME: &'static str = "neon";
    const GROUP: usize = 2;
    const FLIP: [i8; 4] = [0, 0, -1, -1];
    // Twelve sums and eight halves of weights; with four rows LLVM runs out of its 32 registers, and the loop takes a third more instructions.
    const ROWS: usize = 3;
    type Value = i8;
    type Weight = i8;

    sums_of_neon!("neon");

    #[inline(always)]
    fn widen(self, row: &[i8], out: &mut [i8]) -> i32 {
        copy(row, out);
        let (whole, rest) = row.as_chunks::<16>();
        let second_pairs = |sum: i32, four: &[i8]| four.iter().skip(2).fold(sum, |sum, &value| sum.wrapping_add(i32::from(value)));
        // SAFETY: `self` is the proof of NEON; chunks have 16 values.
        let sum = unsafe {
            let mask = vreinterpretq_s8_u32(vdupq_n_u32(0xffff_0000));
            let mut sums = vdupq_n_s32(0);
            for values in whole {
                sums = vpadalq_s16(sums, vpaddlq_s8(vandq_s8(vld1q_s8(values.as_ptr()), mask)));
            }
            vaddvq_s32(sums)
        };
        rest.chunks(4).fold(sum, second_pairs)
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
        let (x, w) = (x.as_ptr().cast::<i16>(), w.as_ptr());
        for step in 0..steps {
            // SAFETY: `self` is the proof of NEON. Step s reads 64 bytes of `w` at 64 s, and pairs 2 s and 2 s + 1 of each of the R rows of
            // len / 2 pairs: all inside, as was checked.
            unsafe {
                let w = w.add(STEP * step);
                let first = [vld1q_s8(w), vld1q_s8(w.add(16))];
                let second = [vld1q_s8(w.add(32)), vld1q_s8(w.add(48))];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let at = x.add(r * (len / 2) + 2 * step);
                    let u = vreinterpretq_s8_s16(vdupq_n_s16(at.read_unaligned()));
                    let v = vreinterpretq_s8_s16(vdupq_n_s16(at.add(1).read_unaligned()));
                    for half in 0..2 {
                        let (a, b) = (first[half], second[half]);
                        let low = vmlsl_s8(vmull_s8(vget_low_s8(u), vget_low_s8(a)), vget_low_s8(v), vget_low_s8(b));
                        let high = vmlsl_high_s8(vmull_high_s8(u, a), v, b);
                        sums[2 * half] = vpadalq_s16(sums[2 * half], low);
                        sums[2 * half + 1] = vpadalq_s16(sums[2 * half + 1], high);
                    }
                }
            }
        }
        sums
    }
}

/// (a b + 2^31) >> 32 in 4 lanes.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn high(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let low = vrshrn_n_s64::<32>(vmull_s32(vget_low_s32(a), vget_low_s32(b)));
        vrshrn_high_n_s64::<32>(low, vmull_high_s32(a, b))
    }
}

/// 16 numbers, clamped to 16 bits.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn words([a, b, c, d]: [int32x4_t; VECTORS]) -> [int16x8_t; 2] {
    // SAFETY: the caller's.
    unsafe { [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)] }
}
