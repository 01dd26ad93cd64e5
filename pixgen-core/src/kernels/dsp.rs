//! Armv7E-M and Armv8-M with the DSP extension: Cortex-M4, M7, M33, M35P.
//!
//! Two rows of weights are expanded to 16 bits once, then meet all tokens, two at a time. SMLAD makes two products, and 16 products need
//! 10 instructions with tokens that were expanded too, as many as the scratch takes, and 15 with others. Every weight is loaded from flash
//! once per call.
#![allow(unsafe_code)]

use core::arch::asm;
use core::mem::MaybeUninit;

use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// Words of stack for expanded rows besides the scratch: two rows of weights of 64 values, and two of x.
const OWN: usize = 128;

/// 2 tokens x 2 outputs with SMLAD.
#[derive(Clone, Copy, Debug)]
pub struct Dsp;

impl Kernel for Dsp {
    const NAME: &'static str = "dsp";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 2, 2>(x, w, scratch, &mut [MaybeUninit::uninit(); OWN], sink);
    }
}

impl Tile<2, 2> for Dsp {
    const STEP: usize = 4;
    const ALIGN: usize = 4;
    const PREPARED: usize = 1;
    const PREPARES_X: bool = true;

    unsafe fn prepare(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
        // SAFETY: the caller's.
        unsafe { expand(rows, stride, len, out) }
    }

    unsafe fn run(strip: &Strip, x_prepared: bool) {
        // SAFETY: the caller's.
        unsafe { if x_prepared { run_expanded(strip) } else { run(strip) } }
    }
}

/// Of four values each of two rows, (even, odd) of the first, then of the second: even are values 0 and 2, odd 1 and 3.
///
/// # Safety
/// That of [`Tile::prepare`].
#[inline(never)]
unsafe fn expand(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "2:",
            "ldr r2, [{first}], #4",
            "ldr r4, [{second}], #4",
            "sxtb16 r3, r2, ror #8",
            "sxtb16 r2, r2",
            "sxtb16 r5, r4, ror #8",
            "sxtb16 r4, r4",
            "stm {out}!, {{r2, r3, r4, r5}}",
            "subs {len}, {len}, #4",
            "bne 2b",
            first = inout(reg) rows => _,
            second = inout(reg) rows.wrapping_add(stride) => _,
            len = inout(reg) len => _,
            out = inout(reg) out => _,
            out("r2") _, out("r3") _, out("r4") _, out("r5") _,
            options(nostack),
        );
    }
}

/// Four values: 15 instructions for 16 products. r0, r1 are the tokens, r12 the weights, r8-r11 the sums.
macro_rules! step {
    () => {
        "ldm r12!, {{r2, r3, r4, r5}}
         ldr r6, [r0], #4
         sxtb16 r7, r6, ror #8
         sxtb16 r6, r6
         smlad r8, r6, r2, r8
         smlad r9, r6, r4, r9
         smlad r8, r7, r3, r8
         smlad r9, r7, r5, r9
         ldr r6, [r1], #4
         sxtb16 r7, r6, ror #8
         sxtb16 r6, r6
         smlad r10, r6, r2, r10
         smlad r11, r6, r4, r11
         smlad r10, r7, r3, r10
         smlad r11, r7, r5, r11"
    };
}

/// The sums of a strip with tokens as they are and expanded weights.
///
/// # Safety
/// That of [`Tile::run`].
#[inline(never)]
unsafe fn run(strip: &Strip) {
    // SAFETY: the caller's. r6 and r7 cannot be named as operands and are saved by hand.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "ldm r0, {{r1, r2, r3, r4, r5, r6, r7, r8}}", // the fields of Strip
            "sub r0, r2, r5",                         // from the end of a token to the next
            "sub r1, r1, r0",
            "sub r5, r5, #16",
            "push {{r6, r7, r8}}",
            "push {{r0, r2, r3, r5}}",
            "2:", // two tokens
            "ldm sp, {{r2, r3, r12, lr}}",
            "add r0, r1, r2",
            "add r1, r0, r3",
            "ldr r6, [sp, #24]",
            "ldm r6, {{r8, r9, r10, r11}}",
            "cmp lr, #0",
            "blt 4f",
            "3:", // 16 values
            step!(),
            step!(),
            step!(),
            step!(),
            "subs lr, lr, #16",
            "bpl 3b",
            "4:",
            "adds lr, lr, #12",
            "bmi 6f",
            "5:", // 4 values
            step!(),
            "subs lr, lr, #4",
            "bpl 5b",
            "6:",
            "ldrd r6, r7, [sp, #16]",
            "stm r6!, {{r8, r9, r10, r11}}",
            "str r6, [sp, #16]",
            "cmp r6, r7",
            "bne 2b",
            "add sp, sp, #28",
            "pop {{r6, r7}}",
            inout("r0") strip => _,
            out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
        );
    }
}

/// Four values of two expanded tokens, at r1, and of two expanded outputs, at r0: 10 instructions of 4 bytes for 16 products.
macro_rules! expanded_step {
    () => {
        "ldm.w r0!, {{r2, r3, r4, r5}}
         ldm.w r1!, {{r6, r7, r12, lr}}
         smlad r8, r6, r2, r8
         smlad r9, r6, r4, r9
         smlad r10, r12, r2, r10
         smlad r11, r12, r4, r11
         smlad r8, r7, r3, r8
         smlad r9, r7, r5, r9
         smlad r10, lr, r3, r10
         smlad r11, lr, r5, r11"
    };
}

/// Like [`run`], with pairs of expanded tokens one after another. 64 values a turn; the first turn is entered in the middle where the length
/// asks for it.
///
/// Frame: weights, their end, entry, start, sums, where the tokens jump, end of the sums, place to jump to.
///
/// # Safety
/// That of [`Tile::run`].
#[inline(never)]
unsafe fn run_expanded(strip: &Strip) {
    // SAFETY: the caller's. r6 and r7 cannot be named as operands and are saved by hand.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "ldm r0, {{r1, r2, r3, r4, r5, r6, r7, r8}}", // the fields of Strip
            "ldrd r2, r4, [r0, #32]",
            "push {{r4}}",
            "push {{r7}}",
            "push {{r2}}",
            "push {{r6}}",
            "ldm r8, {{r8, r9, r10, r11}}",
            "push {{r8, r9, r10, r11}}",
            "add r4, r3, r5, lsl #2",
            "rsb r5, r5, #0",
            "and r5, r5, #60", // values to skip, 10 bytes of code each
            "add r5, r5, r5, lsl #2",
            "adr r6, 3f",
            "add r6, r6, r5, lsl #1",
            "orr r6, r6, #1",
            "push {{r3, r4, r6}}",
            "2:", // two tokens
            "ldr r0, [sp]",
            "add r6, sp, #12",
            "ldm r6, {{r8, r9, r10, r11}}",
            "ldr pc, [sp, #8]",
            ".p2align 2",
            "3:", // 64 values
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            expanded_step!(),
            "ldr r6, [sp, #4]",
            "cmp r0, r6",
            "bne 3b",
            "ldrd r6, r7, [sp, #28]",
            "stm r6!, {{r8, r9, r10, r11}}",
            "str r6, [sp, #28]",
            "cmp r6, r7",
            "bne 2b",
            "ldr r7, [sp, #36]",
            "cmp r6, r7",
            "beq 4f",
            "ldr r1, [sp, #40]", // the last two tokens lie elsewhere
            "str r7, [sp, #32]",
            "b 2b",
            "4:",
            "add sp, sp, #44",
            "pop {{r6, r7}}",
            inout("r0") strip => _,
            out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
        );
    }
}
