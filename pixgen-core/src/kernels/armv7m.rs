//! Armv7-M, or any Armv8-M mainline core without the DSP extension: Cortex-M3.
//!
//! 1 token x 4 outputs, two weights in a word ([`packed`]): 11 instructions for 8 products.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::packed;
use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// 1 token x 4 outputs with MLS.
#[derive(Clone, Copy, Debug)]
pub struct Armv7m;

impl Kernel for Armv7m {
    const NAME: &'static str = "armv7m";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 1, 4>(x, w, scratch, &mut [], sink);
    }
}

impl Tile<1, 4> for Armv7m {
    const STEP: usize = 4;
    const ALIGN: usize = 1;
    const PREPARED: usize = 2;

    unsafe fn prepare(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
        // SAFETY: the caller's.
        unsafe { pack(rows, stride, len, out) }
    }

    fn start(start: [i32; 4], len: usize) -> [i32; 4] {
        packed::start(start, len)
    }

    unsafe fn run(strip: &Strip, _x_prepared: bool) {
        // SAFETY: the caller's.
        unsafe { run(strip) }
    }
}

/// Two values of four rows, at r0, r4, r5, r6: 13 instructions.
macro_rules! pack {
    () => {
        "ldrsb r7, [r0], #1
         ldrsb r8, [r4], #1
         ldrsb r9, [r5], #1
         ldrsb r10, [r6], #1
         add r1, r7, r8, lsl #16
         add r2, r9, r10, lsl #16
         ldrsb r7, [r0], #1
         ldrsb r8, [r4], #1
         ldrsb r9, [r5], #1
         ldrsb r10, [r6], #1
         add r7, r7, r8, lsl #16
         add r8, r9, r10, lsl #16
         stm r3!, {{r1, r2, r7, r8}}"
    };
}

/// For every value the words of the first two rows and of the other two.
///
/// # Safety
/// That of [`Tile::prepare`].
#[unsafe(naked)]
unsafe extern "C" fn pack(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, lr}}",
        "add r4, r0, r1",
        "add r5, r4, r1",
        "add r6, r5, r1",
        "add lr, r0, r2",
        "2:", // 4 values
        pack!(),
        pack!(),
        "cmp r0, lr",
        "bne 2b",
        "pop {{r4, r5, r6, r7, r8, r9, r10, pc}}",
    )
}

/// Two values of a token: 11 instructions of 4 bytes. r0 is the token, r12 the weights, r3 2^15, r4-r7 the sums.
macro_rules! step {
    () => {
        "ldm.w r12!, {{r8, r9, r10, r11}}
         ldrsb r1, [r0], #1
         ldrsb r2, [r0], #1
         mls r8, r1, r8, r3
         mls r9, r1, r9, r3
         mls r8, r2, r10, r8
         mls r9, r2, r11, r9
         sub.w r4, r4, r8
         sub.w r5, r5, r8, asr #16
         sub.w r6, r6, r9
         sub.w r7, r7, r9, asr #16"
    };
}

/// 32 values a turn; the first turn is entered in the middle where the length asks for it.
///
/// Frame: entry, from the end of a token to the next, weights, sums, their end, start.
///
/// # Safety
/// That of [`Tile::run`].
#[unsafe(naked)]
unsafe extern "C" fn run(strip: &Strip) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, lr}}",
        "ldm r0, {{r1, r2, r3, r4, r5, r6, r7, r8}}", // the fields of Strip
        "ldm r8, {{r8, r9, r10, r11}}",
        "push {{r8, r9, r10, r11}}",
        "push {{r6, r7}}",
        "add lr, r3, r5, lsl #3", // end of the weights
        "mov r0, r1",
        "sub r2, r2, r5",
        "rsb r4, r5, #0",
        "and r4, r4, #31", // values to skip, 22 bytes of code each
        "movs r6, #22",
        "adr r1, 3f",
        "mla r1, r4, r6, r1",
        "orr r1, r1, #1",
        "push {{r1, r2, r3}}",
        "mov r3, #{half}",
        "sub r0, r0, r2",
        "2:", // a token
        "add r1, sp, #20",
        "ldm r1, {{r4, r5, r6, r7}}",
        "ldrd r2, r12, [sp, #4]",
        "add r0, r0, r2",
        "ldr pc, [sp]",
        ".p2align 2",
        "3:", // 32 values
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        step!(),
        "cmp r12, lr",
        "bne 3b",
        "ldrd r1, r2, [sp, #12]",
        "sub r4, r4, r5, lsl #16",
        "sub r6, r6, r7, lsl #16",
        "stm r1!, {{r4, r5, r6, r7}}",
        "str r1, [sp, #12]",
        "cmp r1, r2",
        "bne 2b",
        "add sp, sp, #36",
        "pop {{r4, r5, r6, r7, r8, r9, r10, r11, pc}}",
        half = const packed::HALF,
    )
}
