//! Armv7-M, or any Armv8-M mainline core without the DSP extension: Cortex-M3.
//!
//! 3 tokens x 2 outputs, byte by byte: 5 loads for 6 products.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// 3 tokens x 2 outputs with MLA.
#[derive(Clone, Copy, Debug)]
pub struct Armv7m;

impl Kernel for Armv7m {
    const NAME: &'static str = "armv7m";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, _scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 3, 2>(x, w, &mut [], sink);
    }
}

impl Tile<3, 2> for Armv7m {
    const STEP: usize = 4;
    const ALIGN: usize = 1;

    unsafe fn run(strip: &Strip) {
        // SAFETY: the caller's.
        unsafe { run(strip) }
    }
}

/// One value: 11 instructions for 6 products. r0, r1, r2 are the tokens, r3, r12 the weights, r4-r9 the sums.
macro_rules! step {
    () => {
        "ldrsb r10, [r3], #1
         ldrsb r11, [r12], #1
         ldrsb lr, [r0], #1
         mla r4, lr, r10, r4
         mla r5, lr, r11, r5
         ldrsb lr, [r1], #1
         mla r6, lr, r10, r6
         mla r7, lr, r11, r7
         ldrsb lr, [r2], #1
         mla r8, lr, r10, r8
         mla r9, lr, r11, r9"
    };
}

#[unsafe(naked)]
unsafe extern "C" fn run(strip: &Strip) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, lr}}",
        "ldm r0, {{r1, r2, r3, r4, r5, r6, r7, r8}}", // the fields of Strip
        "add r9, r3, r4",                             // weights of the second output
        "add r10, r3, r5",                            // end of those of the first
        "sub r11, r2, r5",                            // from the end of a token to the next
        "sub sp, sp, #32",
        "strd r3, r9, [sp]",
        "strd r11, r2, [sp, #8]",
        "strd r6, r7, [sp, #16]",
        "strd r8, r10, [sp, #24]",
        "sub r2, r1, r11",
        "2:", // three tokens
        "ldrd r3, r12, [sp]",
        "ldrd r10, r11, [sp, #8]",
        "add r0, r2, r10",
        "add r1, r0, r11",
        "add r2, r1, r11",
        "ldr lr, [sp, #24]",
        "ldm lr, {{r4, r5, r6, r7, r8, r9}}",
        "3:", // 4 values
        step!(),
        step!(),
        step!(),
        step!(),
        "ldr lr, [sp, #28]",
        "cmp r3, lr",
        "bne 3b",
        "ldrd r10, r11, [sp, #16]",
        "stm r10!, {{r4, r5, r6, r7, r8, r9}}",
        "str r10, [sp, #16]",
        "cmp r10, r11",
        "bne 2b",
        "add sp, sp, #32",
        "pop {{r4, r5, r6, r7, r8, r9, r10, r11, pc}}",
    )
}
