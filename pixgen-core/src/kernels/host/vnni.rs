//! x86 with VNNI: 32 products of 8 bits an instruction (VPDPBUSD) in 256 bits, by AVX-512 VNNI or by AVX-VNNI.
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

macro_rules! vnni {
    ($Name:ident, $name:literal, $features:literal, $says:literal, $dot:ident) => {
        #[doc = concat!("Proof that the CPU has ", $says, ".")]
        #[derive(Clone, Copy, Debug)]
        pub struct $Name(());

        impl $Name {
            /// The proof.
            ///
            /// # Safety
            #[doc = concat!("The CPU, and the system, have ", $says, ".")]
            pub const unsafe fn detected() -> Self {
                Self(())
            }
        }

        impl Lanes for $Name {
            const NAME: &'static str = $name;
            const GROUP: usize = 4;
            const FLIP: [i8; 4] = [-128; 4];
            // Twelve sums hide the latency of the instruction.
            const ROWS: usize = 6;
            type Value = i8;
            type Weight = i8;

            sums_of_256_bits!($features);

            #[inline(always)]
            fn widen(self, row: &[i8], out: &mut [i8]) -> i32 {
                copy(row, out);
                let sum = row.iter().fold(0i32, |sum, &value| sum.wrapping_add(i32::from(value)));
                sum.wrapping_mul(128)
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
                    // SAFETY: `self` is the proof of the instructions. Step s reads vectors 2 s and 2 s + 1 of `w` and four bytes at 4 s of
                    // each of the R rows of `len` bytes: all inside, as was checked.
                    unsafe {
                        let (a, b) = (_mm256_loadu_si256(w.add(2 * step)), _mm256_loadu_si256(w.add(2 * step + 1)));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let four = x.add(r * len + 4 * step).cast::<i32>().read_unaligned();
                            let four = _mm256_set1_epi32(four);
                            sums[0] = $dot(sums[0], a, four);
                            sums[1] = $dot(sums[1], b, four);
                        }
                    }
                }
                sums
            }
        }
    };
}

vnni!(
    Avx512Vnni,
    "avx512-vnni",
    "avx2,avx512f,avx512bw,avx512vl,avx512vnni",
    "AVX2, and AVX-512 with F, BW, VL and VNNI",
    _mm256_dpbusd_epi32
);
vnni!(AvxVnni, "avx-vnni", "avx2,avxvnni", "AVX2 and AVX-VNNI", _mm256_dpbusd_avx_epi32);
