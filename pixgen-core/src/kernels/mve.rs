//! Armv8.1-M with Helium (MVE): Cortex-M55, M85.
//!
//! 3 tokens x 2 outputs, 16 values of each at a time: VMLADAVA makes 16 products. The end of a row is predicated, so that lengths are
//! free.
#![allow(unsafe_code)]

use core::arch::asm;

use super::tile::{Strip, Tile, product};
use super::{Exponentials, Kernel, Rows, Sink};

/// 3 tokens x 2 outputs with VMLADAVA.
#[derive(Clone, Copy, Debug)]
pub struct Mve;

impl Kernel for Mve {
    const NAME: &'static str = "mve";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, _scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 3, 2>(x, w, &mut [], sink);
    }

    fn exponentials(exponentials: &Exponentials<'_>, scores: &[i32], weights: &mut [i8]) -> u32 {
        if scores.is_empty() || weights.len() < scores.len() {
            return exponentials.row(scores, weights);
        }
        // SAFETY: `weights` is as long as `scores`, which is not empty, and places in the table are clamped to its 256 bytes.
        unsafe { exponentials_of(exponentials, scores, weights.as_mut_ptr()) }
    }
}

/// Four scores at a time: the greatest, then table entries by gather loads, and their sum.
///
/// # Safety
/// `weights` can take a byte for each score, and there is a score.
unsafe fn exponentials_of(exponentials: &Exponentials<'_>, scores: &[i32], weights: *mut i8) -> u32 {
    let mut sum = 0u32;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "mov {at}, {scores}",
            "dlstp.32 lr, {count}",
            "2:",
            "vldrw.u32 q0, [{at}], #16",
            "vmaxv.s32 {greatest}, q0",
            "letp lr, 2b",
            "vdup.32 q1, {multiplier}",
            "vdup.32 q3, {greatest}",
            "vmov.i32 q4, #255",
            "dlstp.32 lr, {count}",
            "2:",
            "vldrw.u32 q0, [{scores}], #16",
            "vsub.i32 q0, q3, q0",
            "vshl.s32 q0, {left}",
            "vrmulh.s32 q0, q0, q1",
            "vmin.u32 q0, q0, q4",
            "vldrb.u32 q2, [{table}, q0]",
            "vaddva.u32 r0, q2",
            "vstrb.32 q2, [{weights}], #4",
            "letp lr, 2b",
            at = out(reg) _,
            scores = inout(reg) scores.as_ptr() => _,
            count = in(reg) scores.len(),
            greatest = inout(reg) i32::MIN => _,
            multiplier = in(reg) exponentials.multiplier,
            left = in(reg) exponentials.left % 32,
            table = in(reg) exponentials.table.as_ptr(),
            weights = inout(reg) weights => _,
            inout("r0") sum,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _,
            options(nostack),
        );
    }
    sum
}

impl Tile<3, 2> for Mve {
    const STEP: usize = 1;
    const ALIGN: usize = 1;

    unsafe fn run(strip: &Strip) {
        // SAFETY: the caller's.
        unsafe { run(strip) }
    }
}

/// r1, r3, r5 are the tokens, r7, r9 the weights, r0, r2, r4, r6, r8, r10 the sums: VMLADAVA adds to even registers.
#[inline(never)]
unsafe fn run(strip: &Strip) {
    // SAFETY: the caller's. r6 and r7 cannot be named as operands and are saved by hand.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "ldm r0, {{r1, r2, r3, r4, r5, r6, r7, r8}}", // the fields of Strip
            "add r4, r3, r4",                         // weights of the second output
            "mov r11, r2",
            "add r9, r5, #15", // loads move on by whole vectors
            "bic r9, r9, #15",
            "sub r9, r2, r9", // from there to the next token
            "mov r12, r6",
            "push {{r3, r4, r5, r7, r8, r9}}",
            "sub r5, r1, r9",
            "2:", // three tokens
            "ldrd r7, r9, [sp]",
            "ldr lr, [sp, #20]",
            "add r1, r5, lr",
            "add r3, r1, r11",
            "add r5, r3, r11",
            "ldr lr, [sp, #16]",
            "ldrd r0, r2, [lr]",
            "ldrd r4, r6, [lr, #8]",
            "ldrd r8, r10, [lr, #16]",
            "ldr lr, [sp, #8]",
            "dlstp.8 lr, lr",
            "3:", // up to 16 values
            "vldrb.u8 q0, [r1], #16",
            "vldrb.u8 q1, [r7], #16",
            "vmladava.s8 r0, q0, q1",
            "vldrb.u8 q2, [r9], #16",
            "vmladava.s8 r2, q0, q2",
            "vldrb.u8 q3, [r3], #16",
            "vmladava.s8 r4, q3, q1",
            "vldrb.u8 q0, [r5], #16",
            "vmladava.s8 r6, q3, q2",
            "vmladava.s8 r8, q0, q1",
            "vmladava.s8 r10, q0, q2",
            "letp lr, 3b",
            "strd r0, r2, [r12], #8",
            "strd r4, r6, [r12], #8",
            "strd r8, r10, [r12], #8",
            "ldr r0, [sp, #12]",
            "cmp r12, r0",
            "bne 2b",
            "add sp, sp, #24",
            "pop {{r6, r7}}",
            inout("r0") strip => _,
            out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
        );
    }
}
