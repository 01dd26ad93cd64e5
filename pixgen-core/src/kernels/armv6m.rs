//! Armv6-M and Armv8-M baseline: Cortex-M0, M0+, M1, M23.
//!
//! 1 token x 4 outputs, two weights in a word ([`packed`]). Only r0-r7 can load and multiply, and a product overwrites a factor; sums live in
//! r8-r11, which can still add. Four values of a token are one load and six instructions that take them apart: 37 instructions for 16
//! products.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::packed;
use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// 1 token x 4 outputs with MULS.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Kernel for Armv6m {
    const NAME: &'static str = "armv6m";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 1, 4>(x, w, scratch, &mut [], sink);
    }
}

impl Tile<1, 4> for Armv6m {
    const STEP: usize = 4;
    const ALIGN: usize = 4;
    const PREPARED: usize = 2;

    unsafe fn prepare(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
        // SAFETY: the caller's.
        unsafe { pack(rows, stride, len, out) }
    }

    fn start(start: [i32; 4], len: usize) -> [i32; 4] {
        packed::start(start, len).map(i32::wrapping_neg)
    }

    unsafe fn run(strip: &Strip, _x_prepared: bool) {
        // SAFETY: the caller's.
        unsafe { run(strip) }
    }
}

/// One value of four rows: r0-r3 are the ends of the rows, r4 the place before the ends, r7 the result.
macro_rules! pack {
    () => {
        "ldrsb r5, [r0, r4]
         ldrsb r6, [r1, r4]
         lsls r6, r6, #16
         adds r5, r5, r6
         rsbs r5, r5, #0
         stm r7!, {{r5}}
         ldrsb r5, [r2, r4]
         ldrsb r6, [r3, r4]
         lsls r6, r6, #16
         adds r5, r5, r6
         rsbs r5, r5, #0
         stm r7!, {{r5}}
         adds r4, r4, #1"
    };
}

/// For every value the words of the first two rows and of the other two, negated: there is no MLS, and r8-r11 cannot subtract.
///
/// # Safety
/// That of [`Tile::prepare`].
#[unsafe(naked)]
unsafe extern "C" fn pack(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r7, r3",
        "adds r0, r0, r2",
        "rsbs r4, r2, #0",
        "mov r5, r1",
        "adds r1, r0, r5",
        "adds r2, r1, r5",
        "adds r3, r2, r5",
        "2:", // 4 values
        pack!(),
        pack!(),
        pack!(),
        pack!(),
        "bne 2b",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}

/// Products of one value, left in a register by `value`, from the word r1 of four.
macro_rules! products {
    ($value:literal, $ab:literal, $cd:literal) => {
        concat!($value, "\nmuls ", $ab, ", r3, ", $ab, "\nmuls ", $cd, ", r3, ", $cd, "\n")
    };
}

/// Adds two products of each pair of outputs to the sums. r12 is 2^15.
macro_rules! add {
    () => {
        "adds r4, r4, r6
         adds r5, r5, r7
         add r4, r4, r12
         add r8, r8, r4
         asrs r4, r4, #16
         add r9, r9, r4
         add r5, r5, r12
         add r10, r10, r5
         asrs r5, r5, #16
         add r11, r11, r5\n"
    };
}

/// Four values: 37 instructions of 2 bytes. r0 is the place in the weights, r2 that in the token.
macro_rules! step {
    () => {
        concat!(
            "ldm r2!, {{r1}}\n",
            "ldm r0!, {{r4, r5, r6, r7}}\n",
            products!("sxtb r3, r1", "r4", "r5"),
            products!("lsls r3, r1, #16\nasrs r3, r3, #24", "r6", "r7"),
            add!(),
            "ldm r0!, {{r4, r5, r6, r7}}\n",
            products!("lsls r3, r1, #8\nasrs r3, r3, #24", "r4", "r5"),
            products!("asrs r3, r1, #24", "r6", "r7"),
            add!(),
        )
    };
}

/// Pushes the frame of [`run`], from the fields of [`Strip`] at r0: entry, length, start, from the end of a token to the next, weights, sums,
/// their end. r2 becomes the first token, r12 2^15.
macro_rules! frame {
    () => {
        "ldm r0!, {{r1, r2, r3, r4, r5, r6, r7}} // the fields of Strip, the last apart
         ldr r0, [r0]
         push {{r7}}
         subs r2, r2, r5
         push {{r0, r2, r3, r6}}
         mov r2, r1
         rsbs r3, r5, #0
         lsls r3, r3, #27
         lsrs r3, r3, #27 // values to skip
         movs r4, #74 // bytes of code for four
         muls r3, r4, r3
         lsrs r3, r3, #2
         adr r4, 3f
         adds r3, r3, r4
         adds r3, r3, #1
         push {{r3, r5}}
         movs r4, #1
         lsls r4, r4, #15
         mov r12, r4"
    };
}

/// 32 values a turn; the first turn is entered in the middle where the length asks for it. lr is the end of the token.
///
/// # Safety
/// That of [`Tile::run`].
#[unsafe(naked)]
unsafe extern "C" fn run(strip: &Strip) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4, r5, r6, r7}}",
        frame!(),
        "2:", // a token
        "ldr r7, [sp, #8]",
        "ldm r7!, {{r3, r4, r5, r6}}",
        "mov r8, r3",
        "mov r9, r4",
        "mov r10, r5",
        "mov r11, r6",
        "ldr r7, [sp, #4]",
        "adds r7, r2, r7",
        "mov lr, r7",
        "ldr r0, [sp, #16]",
        "ldr r3, [sp]",
        "bx r3",
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
        "cmp r2, lr",
        "beq 4f",
        "b 3b", // a conditional branch does not reach as far
        "4:",
        "ldr r7, [sp, #20]",
        "mov r3, r8",
        "mov r4, r9",
        "lsls r5, r4, #16",
        "subs r3, r5, r3",
        "rsbs r4, r4, #0",
        "stm r7!, {{r3, r4}}",
        "mov r3, r10",
        "mov r4, r11",
        "lsls r5, r4, #16",
        "subs r3, r5, r3",
        "rsbs r4, r4, #0",
        "stm r7!, {{r3, r4}}",
        "str r7, [sp, #20]",
        "ldr r5, [sp, #12]",
        "adds r2, r2, r5",
        "ldr r5, [sp, #24]",
        "cmp r7, r5",
        "beq 5f",
        "b 2b",
        "5:",
        "add sp, #28",
        "pop {{r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}
