//! Armv8.1-M with Helium (MVE): Cortex-M55, M85.
//!
//! 2 tokens x 4 outputs, 16 values of each at a time: VMLADAVA makes 16 products, and 8 of them need 6 loads. Its sums are in even registers,
//! and eight of those are all, lr among them: there are no low-overhead loops here. What is left of a row is predicated, so that lengths are
//! free.
#![allow(unsafe_code)]

use core::arch::asm;

use super::tile::{Strip, Tile, product};
use super::{Exponentials, Kernel, Rows, Sink};

/// 2 tokens x 4 outputs with VMLADAVA.
#[derive(Clone, Copy, Debug)]
pub struct Mve;

impl Kernel for Mve {
    const NAME: &'static str = "mve";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, _scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 2, 4>(x, w, &mut [], &mut [], sink);
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
            "vstrb.32 q2, [r1], #4",
            "letp lr, 2b",
            at = out(reg) _,
            scores = inout(reg) scores.as_ptr() => _,
            count = in(reg) scores.len(),
            greatest = inout(reg) i32::MIN => _,
            multiplier = in(reg) exponentials.multiplier,
            left = in(reg) exponentials.left % 32,
            table = in(reg) exponentials.table.as_ptr(),
            // A sum is in an even register, and a narrow store has its address in one below r8.
            inout("r0") sum,
            inout("r1") weights => _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _,
            options(nostack),
        );
    }
    sum
}

impl Tile<2, 4> for Mve {
    const STEP: usize = 1;
    const ALIGN: usize = 1;

    unsafe fn run(strip: &Strip, _x_prepared: bool) {
        let words = (strip.x.addr() | strip.w.addr()).is_multiple_of(4);
        // SAFETY: the caller's.
        unsafe {
            if words && strip.len == 64 && strip.x_stride == 64 && strip.w_stride == 64 {
                run_64(strip)
            } else {
                run(strip)
            }
        }
    }
}

/// The products of 16 values of two tokens, in q0 and q1, and four outputs, with the loads of all. Sums of the first token are in r0, r2, r4,
/// r6, those of the second in r8, r10, r12, lr.
macro_rules! vector {
    ($load:literal, $x:literal, $y:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            $load,
            " q0, ",
            $x,
            "\n",
            $load,
            " q1, ",
            $y,
            "\n",
            $load,
            " q2, ",
            $a,
            "\n",
            "vmladava.s8 r0, q0, q2\n",
            "vmladava.s8 r8, q1, q2\n",
            $load,
            " q3, ",
            $b,
            "\n",
            "vmladava.s8 r2, q0, q3\n",
            "vmladava.s8 r10, q1, q3\n",
            $load,
            " q2, ",
            $c,
            "\n",
            "vmladava.s8 r4, q0, q2\n",
            "vmladava.s8 r12, q1, q2\n",
            $load,
            " q3, ",
            $d,
            "\n",
            "vmladava.s8 r6, q0, q3\n",
            "vmladava.s8 lr, q1, q3\n",
        )
    };
}

/// Rows of 64 values without gaps, whose places are offsets from two registers: r1 at the tokens, r3 at the outputs.
///
/// # Safety
/// That of [`Tile::run`]; rows have 64 values without gaps and begin at words.
#[inline(never)]
unsafe fn run_64(strip: &Strip) {
    // SAFETY: the caller's. r6 and r7 cannot be named as operands and are saved by hand.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "ldrd r7, r9, [r0, #20]", // sums and their end
            "ldr r5, [r0, #28]",      // start
            "ldr r3, [r0, #8]",
            "ldr r1, [r0]",
            "2:", // two tokens
            "ldm r5, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            vector!("vldrw.u32", "[r1]", "[r1, #64]", "[r3]", "[r3, #64]", "[r3, #128]", "[r3, #192]"),
            vector!("vldrw.u32", "[r1, #16]", "[r1, #80]", "[r3, #16]", "[r3, #80]", "[r3, #144]", "[r3, #208]"),
            vector!("vldrw.u32", "[r1, #32]", "[r1, #96]", "[r3, #32]", "[r3, #96]", "[r3, #160]", "[r3, #224]"),
            vector!("vldrw.u32", "[r1, #48]", "[r1, #112]", "[r3, #48]", "[r3, #112]", "[r3, #176]", "[r3, #240]"),
            "stm r7!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "add r1, r1, #128",
            "cmp r7, r9",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r0") strip => _,
            out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r8") _,
            out("r9") _, out("r10") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
        );
    }
}

/// Makes the frame of [`run`] from the fields of [`Strip`] in r1-r8: outputs, from a token's end to the next token, stride of x, end of
/// output 0, entry, exit, sums, their end, start. What is left behind whole vectors becomes the predicate.
macro_rules! frame {
    () => {
        "sub sp, sp, #80
         strd r6, r7, [sp, #40]
         and r6, r5, #15 // values in no whole vector
         vctp.8 r6
         bic r5, r5, #15
         rsb r9, r5, #0
         and r9, r9, #48 // values of the first turn to skip
         adr.w r10, 3f
         rsb r11, r9, r9, lsl #3 // 56 bytes of code for 16 values
         add r10, r10, r11, lsr #1
         adr.w r12, 5f
         adr.w r0, 4f
         cmp r6, #0
         it ne
         movne r12, r0 // after whole vectors: the rest, or the end
         cmp r5, #0
         it eq
         moveq r10, r12
         orr r10, r10, #1
         orr r12, r12, #1
         strd r10, r12, [sp, #28]
         add r11, r9, #16
         sub r3, r3, r11
         add r6, r3, r4
         add r7, r6, r4
         add r12, r7, r4
         strd r3, r6, [sp]
         strd r7, r12, [sp, #8]
         add r12, r3, r5
         add r12, r12, r9
         str r12, [sp, #24]
         sub r4, r2, r5
         sub r4, r4, r9
         strd r4, r2, [sp, #16]
         sub r3, r1, r11
         sub r3, r3, r4
         add r12, sp, #48
         ldm r8, {{r0, r2, r4, r6, r8, r10, r11, lr}}
         stm r12, {{r0, r2, r4, r6, r8, r10, r11, lr}}"
    };
}

/// The products of what is left behind whole vectors, as those of [`vector`]. Loads make zeros of what is not there.
macro_rules! rest {
    () => {
        "vpstttt
         vldrbt.u8 q0, [r1, #16]
         vldrbt.u8 q1, [r3, #16]
         vldrbt.u8 q2, [r5, #16]
         vldrbt.u8 q3, [r7, #16]
         vmladava.s8 r0, q0, q2
         vmladava.s8 r8, q1, q2
         vmladava.s8 r2, q0, q3
         vmladava.s8 r10, q1, q3
         vpstt
         vldrbt.u8 q2, [r9, #16]
         vldrbt.u8 q3, [r11, #16]
         vmladava.s8 r4, q0, q2
         vmladava.s8 r12, q1, q2
         vmladava.s8 r6, q0, q3
         vmladava.s8 lr, q1, q3"
    };
}

/// Rows of any length: r1, r3 are the tokens, r5, r7, r9, r11 the outputs, each 16 bytes before the next vector. 64 values a turn; the first
/// turn is entered in the middle where the number of whole vectors asks for it, and what is left comes at the end, predicated.
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
            frame!(),
            "2:", // two tokens
            "ldrd r0, r2, [sp, #16]",
            "add r1, r3, r0",
            "add r3, r1, r2",
            "ldrd r5, r7, [sp]",
            "ldrd r9, r11, [sp, #8]",
            "add r0, sp, #48",
            "ldm r0, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "ldr pc, [sp, #28]",
            ".p2align 2",
            "3:", // 64 values
            vector!("vldrb.u8", "[r1, #16]", "[r3, #16]", "[r5, #16]", "[r7, #16]", "[r9, #16]", "[r11, #16]"),
            vector!("vldrb.u8", "[r1, #32]", "[r3, #32]", "[r5, #32]", "[r7, #32]", "[r9, #32]", "[r11, #32]"),
            vector!("vldrb.u8", "[r1, #48]", "[r3, #48]", "[r5, #48]", "[r7, #48]", "[r9, #48]", "[r11, #48]"),
            vector!("vldrb.u8", "[r1, #64]!", "[r3, #64]!", "[r5, #64]!", "[r7, #64]!", "[r9, #64]!", "[r11, #64]!"),
            "str lr, [sp, #36]",
            "ldr lr, [sp, #24]",
            "cmp r5, lr",
            "ldr lr, [sp, #36]",
            "bne 3b",
            "ldr pc, [sp, #32]",
            ".p2align 2",
            "4:",
            rest!(),
            ".p2align 2",
            "5:",
            "ldrd r1, r5, [sp, #40]",
            "stm r1!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "str r1, [sp, #40]",
            "cmp r1, r5",
            "bne 2b",
            "add sp, sp, #80",
            "pop {{r6, r7}}",
            inout("r0") strip => _,
            out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
        );
    }
}
