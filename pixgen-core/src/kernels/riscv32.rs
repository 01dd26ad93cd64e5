//! RV32 with the M extension: ESP32-C3, C6, CH32V3.
//!
//! 3 tokens x 4 outputs, two weights in a word ([`packed`]): 52 instructions for 24 products, in all registers that the calling convention
//! leaves.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::packed;
use super::tile::{Strip, Tile, product};
use super::{Kernel, Rows, Sink};

/// 3 tokens x 4 outputs with MUL.
#[derive(Clone, Copy, Debug)]
pub struct Riscv32;

impl Kernel for Riscv32 {
    const NAME: &'static str = "riscv32";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, 3, 4>(x, w, scratch, &mut [], sink);
    }
}

impl Tile<3, 4> for Riscv32 {
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

/// Value k of four rows, at a0, a4, a5, a6, as two words at a3.
macro_rules! pack {
    ($k:literal, $ab:literal, $cd:literal) => {
        concat!(
            "lb t0, ",
            $k,
            "(a0)\n",
            "lb t1, ",
            $k,
            "(a4)\n",
            "lb t2, ",
            $k,
            "(a5)\n",
            "lb t3, ",
            $k,
            "(a6)\n",
            "slli t1, t1, 16\n",
            "slli t3, t3, 16\n",
            "add t0, t0, t1\n",
            "add t2, t2, t3\n",
            "sw t0, ",
            $ab,
            "(a3)\n",
            "sw t2, ",
            $cd,
            "(a3)\n",
        )
    };
}

/// For every value the words of the first two rows and of the other two.
///
/// # Safety
/// That of [`Tile::prepare`].
#[unsafe(naked)]
unsafe extern "C" fn pack(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
    naked_asm!(
        "add a4, a0, a1",
        "add a5, a4, a1",
        "add a6, a5, a1",
        "add a7, a0, a2",
        "2:", // 4 values
        pack!("0", "0", "4"),
        pack!("1", "8", "12"),
        pack!("2", "16", "20"),
        pack!("3", "24", "28"),
        "addi a0, a0, 4",
        "addi a4, a4, 4",
        "addi a5, a5, 4",
        "addi a6, a6, 4",
        "addi a3, a3, 32",
        "bne a0, a7, 2b",
        "ret",
    )
}

/// Two values of one token, at `x`, times the words in a4-a7: 16 instructions for 8 products. t6 is 2^15.
macro_rules! token {
    ($k:literal, $l:literal, $x:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "lb t0, ",
            $k,
            "(",
            $x,
            ")\n",
            "lb t1, ",
            $l,
            "(",
            $x,
            ")\n",
            "mul t2, t0, a4\n",
            "mul t3, t1, a6\n",
            "mul t4, t0, a5\n",
            "mul t5, t1, a7\n",
            "add t2, t2, t3\n",
            "add t4, t4, t5\n",
            "sub t2, t6, t2\n",
            "sub t4, t6, t4\n",
            "sub ",
            $a,
            ", ",
            $a,
            ", t2\n",
            "srai t2, t2, 16\n",
            "sub ",
            $c,
            ", ",
            $c,
            ", t4\n",
            "srai t4, t4, 16\n",
            "sub ",
            $b,
            ", ",
            $b,
            ", t2\n",
            "sub ",
            $d,
            ", ",
            $d,
            ", t4\n",
        )
    };
}

/// Values k and l of three tokens: 52 instructions of 4 bytes. a0-a2 are the tokens, a3 the weights, s0-s11 the sums.
macro_rules! step {
    ($k:literal, $l:literal, $ab:literal, $cd:literal, $ef:literal, $gh:literal) => {
        concat!(
            "lw a4, ",
            $ab,
            "(a3)\n",
            "lw a5, ",
            $cd,
            "(a3)\n",
            "lw a6, ",
            $ef,
            "(a3)\n",
            "lw a7, ",
            $gh,
            "(a3)\n",
            token!($k, $l, "a0", "s0", "s1", "s2", "s3"),
            token!($k, $l, "a1", "s4", "s5", "s6", "s7"),
            token!($k, $l, "a2", "s8", "s9", "s10", "s11"),
        )
    };
}

/// The sum of output a, once that of b is known.
macro_rules! finish {
    ($a:literal, $b:literal) => {
        concat!("slli t0, ", $b, ", 16\n", "sub ", $a, ", ", $a, ", t0\n")
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

/// Fills the frame of [`run`] behind the caller's s0-s11 and ra, from the fields of [`Strip`] at a0: end of the sums, start, weights, stride
/// of x, entry, from the end of a token to where the next begins, sums. ra becomes the end of the weights, t6 2^15.
macro_rules! frame {
    () => {
        "lw t0, 8(a0) // weights
         lw t2, 16(a0) // length
         lw t3, 4(a0) // from a token to the next
         lw t4, 24(a0)
         sw t4, 52(sp)
         lw t4, 28(a0)
         sw t4, 56(sp)
         slli t4, t2, 3
         add ra, t0, t4 // end of the weights
         neg t1, t2
         andi t1, t1, 31 // values to skip
         slli t4, t1, 3
         sub t0, t0, t4
         sw t0, 60(sp)
         sw t3, 64(sp)
         li t5, 104 // bytes of code for each
         mul t4, t1, t5
         la t5, 3f
         add t5, t5, t4
         sw t5, 68(sp)
         sub t4, t3, t2
         sub t4, t4, t1
         sw t4, 72(sp)
         lw t5, 20(a0)
         sw t5, 76(sp)
         lw a2, 0(a0)
         sub a2, a2, t1
         sub a2, a2, t4
         li t6, {half}"
    };
}

/// 32 values of three tokens a turn; the first turn is entered in the middle where the length asks for it.
///
/// # Safety
/// That of [`Tile::run`].
#[unsafe(naked)]
unsafe extern "C" fn run(strip: &Strip) {
    naked_asm!(
        ".option push",
        ".option arch, +m", // link-time optimisation forgets it
        "addi sp, sp, -80",
        sums!("sw", "sp"),
        "sw ra, 48(sp)",
        frame!(),
        "2:", // three tokens
        "lw t2, 72(sp)",
        "lw t3, 64(sp)",
        "lw t0, 56(sp)",
        "lw a3, 60(sp)",
        "lw t1, 68(sp)",
        "add a0, a2, t2",
        "add a1, a0, t3",
        "add a2, a1, t3",
        sums!("lw", "t0"),
        "jr t1",
        ".option norvc",
        "3:", // 32 values
        step!("0", "1", "0", "4", "8", "12"),
        step!("2", "3", "16", "20", "24", "28"),
        step!("4", "5", "32", "36", "40", "44"),
        step!("6", "7", "48", "52", "56", "60"),
        step!("8", "9", "64", "68", "72", "76"),
        step!("10", "11", "80", "84", "88", "92"),
        step!("12", "13", "96", "100", "104", "108"),
        step!("14", "15", "112", "116", "120", "124"),
        step!("16", "17", "128", "132", "136", "140"),
        step!("18", "19", "144", "148", "152", "156"),
        step!("20", "21", "160", "164", "168", "172"),
        step!("22", "23", "176", "180", "184", "188"),
        step!("24", "25", "192", "196", "200", "204"),
        step!("26", "27", "208", "212", "216", "220"),
        step!("28", "29", "224", "228", "232", "236"),
        step!("30", "31", "240", "244", "248", "252"),
        ".option rvc",
        "addi a3, a3, 256",
        "addi a0, a0, 32",
        "addi a1, a1, 32",
        "addi a2, a2, 32",
        "beq a3, ra, 4f",
        "j 3b", // a conditional branch does not reach as far
        "4:",
        finish!("s0", "s1"),
        finish!("s2", "s3"),
        finish!("s4", "s5"),
        finish!("s6", "s7"),
        finish!("s8", "s9"),
        finish!("s10", "s11"),
        "lw t1, 76(sp)",
        "lw t0, 52(sp)",
        sums!("sw", "t1"),
        "addi t1, t1, 48",
        "sw t1, 76(sp)",
        "bne t1, t0, 5f",
        "lw ra, 48(sp)",
        sums!("lw", "sp"),
        "addi sp, sp, 80",
        "ret",
        "5:",
        "j 2b",
        ".option pop",
        half = const packed::HALF,
    )
}
