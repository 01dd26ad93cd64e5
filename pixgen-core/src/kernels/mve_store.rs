//! [`SumBlock`]'s functions with Helium: the four columns of a row in a vector, two rows a turn. VRMULH is
//! [`multiply_high`](super::multiply_high).
#![allow(unsafe_code)]

use core::arch::asm;

use super::sink::Saturate;
use super::sum_block::SumBlock;
use super::table::TABLE_LEN;

/// The loop over pairs of rows, with what is done to q0, the first, and to q2, the second. q1 holds the multipliers, q3 and q4 the range.
/// Narrow stores need a register below r8 for their address.
macro_rules! rows {
    ($first:literal, $second:literal, in: $block:expr, $step:expr, $sums:expr, $multiplier:expr, $range:expr, $($name:ident = $operand:expr),*) => {{
        const { assert!(C == 4) };
        let [low, high]: [i32; 2] = $range;
        asm!(
            "vldrw.u32 q1, [{multiplier}]",
            "vdup.32 q3, {low}",
            "vdup.32 q4, {high}",
            "dls lr, lr",
            "2:",
            "vldrw.u32 q0, [{sums}], #16",
            "vldrw.u32 q2, [{sums}], #16",
            $first,
            "add r0, r0, {step}",
            $second,
            "add r0, r0, {step}",
            "le lr, 2b",
            multiplier = in(reg) $multiplier,
            low = in(reg) low,
            high = in(reg) high,
            sums = inout(reg) $sums.as_ptr() => _,
            inout("r0") $block.first => _,
            step = in(reg) $step,
            $($name = inout(reg) $operand => _,)*
            inout("lr") $sums.len() / 2 => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            options(nostack),
        )
    }};
}

impl<T: Saturate> SumBlock<T> {
    /// Writes scaled sums.
    ///
    /// # Safety
    /// All places can be written, and the number of rows is even and above 0.
    #[inline(always)]
    pub unsafe fn scaled<const C: usize>(&self, sums: &[[i32; C]], left: u32, multiplier: [i32; C]) {
        // SAFETY: the caller's.
        unsafe {
            if size_of::<T>() == 1 {
                rows!(
                    "vshl.s32 q0, {left}\n vrmulh.s32 q0, q0, q1\n vmax.s32 q0, q0, q3\n vmin.s32 q0, q0, q4\n vstrb.32 q0, [r0]",
                    "vshl.s32 q2, {left}\n vrmulh.s32 q2, q2, q1\n vmax.s32 q2, q2, q3\n vmin.s32 q2, q2, q4\n vstrb.32 q2, [r0]",
                    in: self, self.stride * size_of::<T>(), sums, multiplier.as_ptr(), [T::LOW, T::HIGH], left = left
                );
            } else {
                // The only type of two bytes is i16.
                rows!(
                    "vshl.s32 q0, {left}\n vrmulh.s32 q0, q0, q1\n vqmovnb.s32 q0, q0\n vstrh.32 q0, [r0]",
                    "vshl.s32 q2, {left}\n vrmulh.s32 q2, q2, q1\n vqmovnb.s32 q2, q2\n vstrh.32 q2, [r0]",
                    in: self, self.stride * size_of::<T>(), sums, multiplier.as_ptr(), [T::LOW, T::HIGH], left = left
                );
            }
        }
    }
}

impl SumBlock<i8> {
    /// Writes the entries of a table for scaled sums.
    ///
    /// # Safety
    /// As [`scaled`](Self::scaled).
    #[inline(always)]
    pub unsafe fn lookup<const C: usize>(&self, sums: &[[i32; C]], left: u32, multiplier: [i32; C], table: &[i8; TABLE_LEN]) {
        // SAFETY: the caller's; places in the table are clamped to its length.
        unsafe {
            rows!(
                "vshl.s32 q0, {left}\n vrmulh.s32 q0, q0, q1\n vmax.s32 q0, q0, q3\n vmin.s32 q0, q0, q4\n vldrb.s32 q5, [{table}, q0]\n vstrb.32 q5, [r0]",
                "vshl.s32 q2, {left}\n vrmulh.s32 q2, q2, q1\n vmax.s32 q2, q2, q3\n vmin.s32 q2, q2, q4\n vldrb.s32 q5, [{table}, q2]\n vstrb.32 q5, [r0]",
                in: self, self.stride, sums, multiplier.as_ptr(), [0, TABLE_LEN as i32 - 1], left = left, table = table.as_ptr()
            );
        }
    }

    /// Writes sums scaled by row.
    ///
    /// # Safety
    /// As [`scaled`](Self::scaled), and there is a multiplier for each row.
    #[inline(always)]
    pub unsafe fn row_scaled<const C: usize>(&self, sums: &[[i32; C]], multiplier: *const i32) {
        // SAFETY: the caller's. What the loop reads before its first turn lies in `sums`.
        unsafe {
            rows!(
                "ldr {one}, [{at}], #4\n vdup.32 q1, {one}\n vrmulh.s32 q0, q0, q1\n vmax.s32 q0, q0, q3\n vmin.s32 q0, q0, q4\n vstrb.32 q0, [r0]",
                "ldr {one}, [{at}], #4\n vdup.32 q1, {one}\n vrmulh.s32 q2, q2, q1\n vmax.s32 q2, q2, q3\n vmin.s32 q2, q2, q4\n vstrb.32 q2, [r0]",
                in: self, self.stride, sums, sums.as_ptr(), [i8::LOW, i8::HIGH], at = multiplier, one = 0
            );
        }
    }
}

impl SumBlock<i32> {
    /// Writes the sums themselves.
    ///
    /// # Safety
    /// As [`scaled`](Self::scaled).
    #[inline(always)]
    pub unsafe fn raw<const C: usize>(&self, sums: &[[i32; C]]) {
        // SAFETY: the caller's.
        unsafe { rows!("vstrw.32 q0, [r0]", "vstrw.32 q2, [r0]", in: self, 4 * self.stride, sums, sums.as_ptr(), [0; 2],) };
    }
}
