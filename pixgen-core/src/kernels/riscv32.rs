//! RV32 with the M extension: ESP32-C3, C6, CH32V3.
//!
//! 3 tokens x 4 outputs: 7 loads for 12 products, in all registers that the calling convention leaves.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// 3 tokens x 4 outputs with MUL.
#[derive(Clone, Copy, Debug)]
pub struct Riscv32;

impl Kernel for Riscv32 {
    const NAME: &'static str = "riscv32";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, _scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 3, 4>(x, w, &mut [], sink);
    }
}

impl Tile<3, 4> for Riscv32 {
    const STEP: usize = 4;
    const ALIGN: usize = 1;

    unsafe fn run(strip: &Strip) {
        // SAFETY: the caller's.
        unsafe { run(strip) }
    }
}

/// Value k of one token, at `x`, times those of four weights in t0-t3.
macro_rules! token {
    ($k:literal, $x:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "lb t4, ",
            $k,
            "(",
            $x,
            ")\n",
            "mul t5, t4, t0\n",
            "mul t6, t4, t1\n",
            "add ",
            $a,
            ", ",
            $a,
            ", t5\n",
            "mul t5, t4, t2\n",
            "add ",
            $b,
            ", ",
            $b,
            ", t6\n",
            "mul t6, t4, t3\n",
            "add ",
            $c,
            ", ",
            $c,
            ", t5\n",
            "add ",
            $d,
            ", ",
            $d,
            ", t6\n",
        )
    };
}

/// Value k: 31 instructions for 12 products. a0-a2 are the tokens, a3-a6 the weights, s0-s11 the sums.
macro_rules! step {
    ($k:literal) => {
        concat!(
            "lb t0, ",
            $k,
            "(a3)\n",
            "lb t1, ",
            $k,
            "(a4)\n",
            "lb t2, ",
            $k,
            "(a5)\n",
            "lb t3, ",
            $k,
            "(a6)\n",
            token!($k, "a0", "s0", "s1", "s2", "s3"),
            token!($k, "a1", "s4", "s5", "s6", "s7"),
            token!($k, "a2", "s8", "s9", "s10", "s11"),
        )
    };
}

/// Loads or stores the sums, at a register.
macro_rules! sums {
    ($word:literal, $at:literal) => {
        concat!(
            $word,
            " s0, 0(",
            $at,
            ")\n",
            $word,
            " s1, 4(",
            $at,
            ")\n",
            $word,
            " s2, 8(",
            $at,
            ")\n",
            $word,
            " s3, 12(",
            $at,
            ")\n",
            $word,
            " s4, 16(",
            $at,
            ")\n",
            $word,
            " s5, 20(",
            $at,
            ")\n",
            $word,
            " s6, 24(",
            $at,
            ")\n",
            $word,
            " s7, 28(",
            $at,
            ")\n",
            $word,
            " s8, 32(",
            $at,
            ")\n",
            $word,
            " s9, 36(",
            $at,
            ")\n",
            $word,
            " s10, 40(",
            $at,
            ")\n",
            $word,
            " s11, 44(",
            $at,
            ")\n",
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn run(strip: &Strip) {
    naked_asm!(
        ".option push",
        ".option arch, +m", // link-time optimisation forgets it
        "addi sp, sp, -80",
        sums!("sw", "sp"), // the caller's s0-s11
        "sw ra, 48(sp)",
        "lw t0, 24(a0)", // end of the sums
        "sw t0, 52(sp)",
        "lw t0, 28(a0)", // start
        "sw t0, 72(sp)",
        "lw ra, 20(a0)", // sums
        "lw t0, 8(a0)",  // weights
        "sw t0, 56(sp)",
        "lw t1, 12(a0)", // from an output to the next
        "sw t1, 60(sp)",
        "lw t2, 16(a0)", // length
        "add a7, t0, t2",
        "lw t3, 4(a0)", // from a token to the next
        "sw t3, 64(sp)",
        "sub t2, t3, t2", // from the end of a token to the next
        "sw t2, 68(sp)",
        "lw a2, 0(a0)",
        "sub a2, a2, t2",
        "2:", // three tokens
        "lw t2, 68(sp)",
        "lw t3, 64(sp)",
        "lw a3, 56(sp)",
        "lw t1, 60(sp)",
        "add a0, a2, t2",
        "add a1, a0, t3",
        "add a2, a1, t3",
        "add a4, a3, t1",
        "add a5, a4, t1",
        "add a6, a5, t1",
        "lw t0, 72(sp)",
        sums!("lw", "t0"),
        "3:", // 4 values
        step!("0"),
        step!("1"),
        step!("2"),
        step!("3"),
        "addi a3, a3, 4",
        "addi a4, a4, 4",
        "addi a5, a5, 4",
        "addi a6, a6, 4",
        "addi a0, a0, 4",
        "addi a1, a1, 4",
        "addi a2, a2, 4",
        "bne a3, a7, 3b",
        sums!("sw", "ra"),
        "lw t0, 52(sp)",
        "addi ra, ra, 48",
        "bne ra, t0, 2b",
        "lw ra, 48(sp)",
        sums!("lw", "sp"),
        "addi sp, sp, 80",
        "ret",
        ".option pop",
    )
}
