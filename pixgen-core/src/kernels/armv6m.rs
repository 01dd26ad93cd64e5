//! Armv6-M and Armv8-M baseline: Cortex-M0, M0+, M1, M23.
//!
//! 1 token x 4 outputs. Only r0-r7 can load and multiply, and a product overwrites a factor, so every product needs a load; sums live in
//! r8-r11, which can still add. 14 instructions for 4 products.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// 1 token x 4 outputs with MULS.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Kernel for Armv6m {
    const NAME: &'static str = "armv6m";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, _scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 1, 4>(x, w, &mut [], sink);
    }
}

impl Tile<1, 4> for Armv6m {
    const STEP: usize = 4;
    const ALIGN: usize = 1;

    unsafe fn run(strip: &Strip) {
        // SAFETY: the caller's.
        unsafe { run(strip) }
    }
}

/// One value. r0 is the end of the token, r1-r4 those of the weights, r5 the place before the ends.
macro_rules! step {
    () => {
        "ldrsb r6, [r0, r5]
         ldrsb r7, [r1, r5]
         muls r7, r6, r7
         add r8, r8, r7
         ldrsb r7, [r2, r5]
         muls r7, r6, r7
         add r9, r9, r7
         ldrsb r7, [r3, r5]
         muls r7, r6, r7
         add r10, r10, r7
         ldrsb r7, [r4, r5]
         muls r7, r6, r7
         add r11, r11, r7
         adds r5, r5, #1"
    };
}

#[unsafe(naked)]
unsafe extern "C" fn run(strip: &Strip) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4, r5, r6, r7}}",
        "ldm r0!, {{r1, r2, r3, r4, r5, r6, r7}}", // the fields of Strip, the last apart
        "ldr r0, [r0]",
        "push {{r0, r2, r7}}", // start, stride of x, end of the sums
        "mov r12, r6",
        "adds r0, r1, r5",
        "adds r1, r3, r5",
        "adds r2, r1, r4",
        "adds r3, r2, r4",
        "adds r4, r3, r4",
        "rsbs r5, r5, #0",
        "mov lr, r5",
        "2:", // one token
        "ldr r7, [sp]",
        "ldm r7!, {{r5, r6}}",
        "mov r8, r5",
        "mov r9, r6",
        "ldm r7!, {{r5, r6}}",
        "mov r10, r5",
        "mov r11, r6",
        "mov r5, lr",
        "3:", // 4 values
        step!(),
        step!(),
        step!(),
        step!(),
        "bne 3b",
        "mov r7, r12",
        "mov r5, r8",
        "mov r6, r9",
        "stm r7!, {{r5, r6}}",
        "mov r5, r10",
        "mov r6, r11",
        "stm r7!, {{r5, r6}}",
        "mov r12, r7",
        "ldr r5, [sp, #4]",
        "adds r0, r0, r5",
        "ldr r5, [sp, #8]",
        "cmp r7, r5",
        "bne 2b",
        "add sp, #12",
        "pop {{r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}
