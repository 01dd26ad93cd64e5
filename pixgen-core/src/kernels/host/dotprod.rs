//! aarch64 with dot products: 16 products of 8 bits an instruction (SDOT), added modulo 2^32.
//!
//! The intrinsics of the instruction are not stable yet, hence `asm!`.
#![allow(unsafe_code)]

use super::lanes::{Lanes, PANEL, Work, copy};
use super::neon::{self, STEP, VECTORS, sums_of_neon};
use crate::kernels::TABLE_LEN;
use core::arch::aarch64::*;
use core::arch::asm;
use core::array;

/// Proof that the CPU has NEON with the dot product extension.
#[derive(Clone, Copy, Debug)]
pub struct Dotprod(());

impl Dotprod {
    /// The proof.
    ///
    /// # Safety
    /// The CPU, and the system, have NEON and the dot product extension.
    pub const unsafe fn detected() -> Self {
        Self(())
    }
}

/// Values of a row that are loaded at a time.
const BLOCK: usize = 16;

impl Lanes for Dotprod {
    const NAME: &'static str = "dotprod";
    const GROUP: usize = 4;
    // Sixteen sums, four rows and weights of 32 registers.
    const ROWS: usize = 4;
    type Value = i8;
    type Weight = i8;

    sums_of_neon!("neon,dotprod");

    #[inline(always)]
    fn widen(self, row: &[i8], out: &mut [i8]) -> i32 {
        copy(row, out);
        0
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
        let (x, w) = (x.as_ptr(), w.as_ptr());
        let blocks = len / BLOCK;
        for block in 0..blocks {
            // SAFETY: `self` is the proof of the instructions. Block b reads values 16 b .. 16 b + 16 of each of the R rows of `len`, and the
            // weights of steps 4 b .. 4 b + 4, of 64 bytes each: all inside, as was checked.
            unsafe {
                let x: [int8x16_t; R] = array::from_fn(|r| vld1q_s8(x.add(r * len + BLOCK * block)));
                let w = w.add(4 * STEP * block);
                add::<0, R>(&mut sums, w, x);
                add::<1, R>(&mut sums, w.add(STEP), x);
                add::<2, R>(&mut sums, w.add(2 * STEP), x);
                add::<3, R>(&mut sums, w.add(3 * STEP), x);
            }
        }
        for step in 4 * blocks..steps {
            // SAFETY: as above. Step s reads four values at 4 s of each row, and 64 bytes of `w` at 64 s.
            unsafe {
                let x = array::from_fn(|r| vreinterpretq_s8_s32(vdupq_n_s32(x.add(r * len + 4 * step).cast::<i32>().read_unaligned())));
                add::<0, R>(&mut sums, w.add(STEP * step), x);
            }
        }
        sums
    }
}

/// Adds the products of R times four values, the fours at `LANE` of `x`, and the 64 weights at `w`.
///
/// # Safety
/// The CPU has the instruction, and the weights can be read.
#[inline(always)]
unsafe fn add<const LANE: u32, const R: usize>(sums: &mut [[int32x4_t; VECTORS]; R], w: *const i8, x: [int8x16_t; R]) {
    for i in 0..VECTORS {
        // SAFETY: the caller's.
        let w = unsafe { vld1q_s8(w.add(16 * i)) };
        for (sums, x) in sums.iter_mut().zip(&x) {
            // SAFETY: the caller's; the instruction touches no memory and no flags.
            unsafe {
                asm!(
                    "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
                    sum = inout(vreg) sums[i],
                    w = in(vreg) w,
                    x = in(vreg) *x,
                    lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
}
