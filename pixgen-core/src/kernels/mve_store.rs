//! [`SumBlock::store`] with Helium: four sums at a time, two rows of two columns. VRMULH is
//! [`multiply_high`](super::multiply_high).
#![allow(unsafe_code)]

use core::arch::asm;

use super::sink::Saturate;
use super::store::SumBlock;
use super::table::TABLE_LEN;

/// Vectors that a loop keeps in q1-q5.
#[repr(C)]
struct Vectors {
    multiplier: [i32; 4],
    /// Bytes from the first value of two rows to each of the four.
    offsets: [usize; 4],
    low: [i32; 4],
    high: [i32; 4],
    /// Bytes from the multiplier of the first row to those of the four values.
    rows: [usize; 4],
}

impl Vectors {
    fn new<T>(stride: usize, [low, high]: [i32; 2], [even, odd]: [i32; 2]) -> Self {
        let offsets = [0, 1, stride, stride + 1].map(|values| values * size_of::<T>());
        Self {
            multiplier: [even, odd, even, odd],
            offsets,
            low: [low; 4],
            high: [high; 4],
            rows: [0, 0, 4, 4],
        }
    }
}

/// The loop over vectors of four sums, with what is done to q0.
macro_rules! vectors {
    ($($work:literal,)* in: $vectors:expr, $sums:expr, $place:expr, $step:expr, $($name:ident = $operand:expr),*) => {
        asm!(
            "vldrw.u32 q1, [{vectors}]",
            "vldrw.u32 q2, [{vectors}, #16]",
            "vldrw.u32 q3, [{vectors}, #32]",
            "vldrw.u32 q4, [{vectors}, #48]",
            "vldrw.u32 q5, [{vectors}, #64]",
            "dlstp.32 lr, lr",
            "2:",
            "vldrw.u32 q0, [{sums}], #16",
            $($work,)*
            "add {place}, {place}, {step}",
            "letp lr, 2b",
            vectors = in(reg) &raw const $vectors,
            sums = inout(reg) $sums.as_ptr() => _,
            place = inout(reg) $place => _,
            step = in(reg) $step,
            $($name = inout(reg) $operand => _,)*
            inout("lr") $sums.len() => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            options(nostack),
        )
    };
}

impl<T: Copy> SumBlock<'_, T> {
    /// The sums when they are of two columns, the place of the first value, and bytes from two rows to the next two.
    fn of_two_columns<'s, const C: usize>(&mut self, sums: &'s [[i32; C]]) -> Option<(&'s [i32], *mut T, usize)> {
        let first = self.first(sums.len(), C)?;
        (C == 2).then(|| (sums.as_flattened(), first, 2 * self.stride * size_of::<T>()))
    }

    /// Stores scaled sums, where the block suits; whether it did.
    pub fn scaled<const C: usize>(&mut self, sums: &[[i32; C]], left: u32, multiplier: [i32; C]) -> bool
    where
        T: Saturate,
    {
        let Some((sums, place, step)) = self.of_two_columns(sums) else {
            return false;
        };
        let vectors = Vectors::new::<T>(self.stride, [T::LOW, T::HIGH], [multiplier[0], multiplier[C - 1]]);
        // SAFETY: reads `sums`, writes to `out` two values for each two sums; `first` checked the places.
        unsafe {
            if size_of::<T>() == 1 {
                vectors!(
                    "vshl.s32 q0, {left}", "vrmulh.s32 q0, q0, q1", "vmax.s32 q0, q0, q3", "vmin.s32 q0, q0, q4", "vstrb.32 q0, [{place}, q2]",
                    in: vectors, sums, place, step, left = left
                );
            } else {
                vectors!(
                    "vshl.s32 q0, {left}", "vrmulh.s32 q0, q0, q1", "vmax.s32 q0, q0, q3", "vmin.s32 q0, q0, q4", "vstrh.32 q0, [{place}, q2]",
                    in: vectors, sums, place, step, left = left
                );
            }
        }
        true
    }
}

impl SumBlock<'_, i8> {
    /// Stores entries of a table, where the block suits; whether it did.
    pub fn lookup<const C: usize>(&mut self, sums: &[[i32; C]], left: u32, multiplier: [i32; C], table: &[i8; TABLE_LEN]) -> bool {
        let Some((sums, place, step)) = self.of_two_columns(sums) else {
            return false;
        };
        let vectors = Vectors::new::<i8>(self.stride, [0, TABLE_LEN as i32 - 1], [multiplier[0], multiplier[C - 1]]);
        // SAFETY: as in `scaled`; places in the table are clamped to its length.
        unsafe {
            vectors!(
                "vshl.s32 q0, {left}", "vrmulh.s32 q0, q0, q1", "vmax.s32 q0, q0, q3", "vmin.s32 q0, q0, q4", "vldrb.s32 q5, [{table}, q0]",
                "vstrb.32 q5, [{place}, q2]",
                in: vectors, sums, place, step, left = left, table = table.as_ptr()
            );
        }
        true
    }

    /// Stores sums scaled by row, where the block suits; whether it did. There is a multiplier for each row.
    pub fn row_scaled<const C: usize>(&mut self, sums: &[[i32; C]], multipliers: &[i32]) -> bool {
        let Some((sums, place, step)) = self.of_two_columns(sums) else {
            return false;
        };
        if multipliers.len() * 2 < sums.len() {
            return false;
        }
        let vectors = Vectors::new::<i8>(self.stride, [i8::LOW, i8::HIGH], [0; 2]);
        // SAFETY: as in `scaled`; `multipliers` has an entry for every two sums.
        unsafe {
            vectors!(
                "vldrw.u32 q1, [{multipliers}, q5]", "vrmulh.s32 q0, q0, q1", "vmax.s32 q0, q0, q3", "vmin.s32 q0, q0, q4",
                "vstrb.32 q0, [{place}, q2]", "add {multipliers}, {multipliers}, #8",
                in: vectors, sums, place, step, multipliers = multipliers.as_ptr()
            );
        }
        true
    }
}

impl SumBlock<'_, i32> {
    /// Stores the sums, where the block suits; whether it did.
    pub fn raw<const C: usize>(&mut self, sums: &[[i32; C]]) -> bool {
        let Some((sums, place, step)) = self.of_two_columns(sums) else {
            return false;
        };
        let vectors = Vectors::new::<i32>(self.stride, [0; 2], [0; 2]);
        // SAFETY: as in `scaled`.
        unsafe { vectors!("vstrw.32 q0, [{place}, q2]", in: vectors, sums, place, step,) };
        true
    }
}
