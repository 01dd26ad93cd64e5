//! x86 with AVX-VNNI: 32 products of 8 bits an instruction (VPDPBUSD) in 256 bits; and what the 512 bits of [`avx512`](super::avx512) share.
//!
//! The instruction multiplies bytes without a sign by bytes with one. Weights are packed as w + 128, and 128 times the sum of a row is what
//! that counts too much. A product fits in 16 bits and sums wrap modulo 2^32, so both are exact; VPDPBUSDS, which saturates, would not be.
#![allow(unsafe_code)]

use super::avx2::{self, sums_of_256_bits};
use super::lanes::{Lanes, PANEL, Work, copy};
use crate::kernels::TABLE_LEN;
use core::arch::x86_64::*;

/// Four weights of each of 16 outputs.
const STEP: usize = 4 * PANEL;

/// Weights are packed as w + 128: w ^ -128 without a sign.
pub(super) const FLIP: [i8; 4] = [-128; 4];

/// [`Lanes::widen`]: a copy, and 128 times the sum of the row.
#[inline(always)]
pub(super) fn widen(row: &[i8], out: &mut [i8]) -> i32 {
    copy(row, out);
    let sum = row.iter().fold(0i32, |sum, &value| sum.wrapping_add(i32::from(value)));
    sum.wrapping_mul(128)
}

/// Proof that the CPU has AVX2 and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct AvxVnni(());

impl AvxVnni {
    /// The proof.
    ///
    /// # Safety
    /// The CPU, and the system, have AVX2 and AVX-VNNI.
    pub const unsafe fn detected() -> Self {
        Self(())
    }
}

impl Lanes for AvxVnni {
    const NAME: &'static str = "avx-vnni";
    const GROUP: usize = 4;
    const FLIP: [i8; 4] = FLIP;
    // Twelve sums hide the latency of the instruction.
    const ROWS: usize = 6;
    type Value = i8;
    type Weight = i8;

    sums_of_256_bits!("avx2,avxvnni");

    #[inline(always)]
    fn widen(self, row: &[i8], out: &mut [i8]) -> i32 {
        widen(row, out)
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
        let (x, w) = (x.as_ptr(), w.as_ptr().cast::<__m256i>());
        for step in 0..steps {
            // SAFETY: `self` is the proof of the instructions. Step s reads vectors 2 s and 2 s + 1 of `w` and four bytes at 4 s of each of
            // the R rows of `len` bytes: all inside, as was checked.
            unsafe {
                let (a, b) = (_mm256_loadu_si256(w.add(2 * step)), _mm256_loadu_si256(w.add(2 * step + 1)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let four = x.add(r * len + 4 * step).cast::<i32>().read_unaligned();
                    let four = _mm256_set1_epi32(four);
                    sums[0] = _mm256_dpbusd_avx_epi32(sums[0], a, four);
                    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], b, four);
                }
            }
        }
        sums
    }
}
