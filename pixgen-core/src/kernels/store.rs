//! Writes blocks of finished sums whose places were checked.
#![allow(unsafe_code)]

use super::multiply::multiply_high;
use super::sink::Saturate;
use super::sum_block::SumBlock;
use super::table::{TABLE_LEN, entry};

impl<T> SumBlock<T> {
    /// Writes `value(r, c, sum)` for the sum of row r and column c.
    ///
    /// # Safety
    /// All places can be written.
    #[inline(always)]
    unsafe fn store<const C: usize>(&self, sums: &[[i32; C]], value: impl Fn(usize, usize, i32) -> T) {
        let mut line = self.first;
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                // SAFETY: the caller's: `line` is the place of column 0 of row r.
                unsafe { line.add(c).write(value(r, c, sum)) };
            }
            line = line.wrapping_add(self.stride);
        }
    }
}

impl<T: Saturate> SumBlock<T> {
    /// Writes scaled sums.
    ///
    /// # Safety
    /// All places can be written.
    #[inline(always)]
    pub unsafe fn scaled<const C: usize>(&self, sums: &[[i32; C]], left: u32, multiplier: [i32; C]) {
        // SAFETY: the caller's.
        unsafe { self.store(sums, |_, c, sum| T::saturate(multiply_high(sum << left, multiplier[c]))) };
    }
}

impl SumBlock<i8> {
    /// Writes the entries of a table for scaled sums.
    ///
    /// # Safety
    /// All places can be written.
    #[inline(always)]
    pub unsafe fn lookup<const C: usize>(&self, sums: &[[i32; C]], left: u32, multiplier: [i32; C], table: &[i8; TABLE_LEN]) {
        // SAFETY: the caller's.
        unsafe { self.store(sums, |_, c, sum| entry(table, multiply_high(sum << left, multiplier[c]))) };
    }

    /// Writes sums scaled by row.
    ///
    /// # Safety
    /// All places can be written, and there is a multiplier for each row.
    #[inline(always)]
    pub unsafe fn row_scaled<const C: usize>(&self, sums: &[[i32; C]], multiplier: *const i32) {
        // SAFETY: the caller's; r is below the number of rows.
        unsafe { self.store(sums, |r, _, sum| i8::saturate(multiply_high(sum, multiplier.add(r).read()))) };
    }
}

impl SumBlock<i32> {
    /// Writes the sums themselves.
    ///
    /// # Safety
    /// All places can be written.
    #[inline(always)]
    pub unsafe fn raw<const C: usize>(&self, sums: &[[i32; C]]) {
        // SAFETY: the caller's.
        unsafe { self.store(sums, |_, _, sum| sum) };
    }
}
