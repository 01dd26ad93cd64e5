//! Writes a block of finished sums, with one bounds check for all of it.
#![allow(unsafe_code)]

/// Part of an output: from (row, column) on, with rows that are `stride` apart.
pub(super) struct SumBlock<'a, T> {
    pub out: &'a mut [T],
    pub stride: usize,
    pub row: usize,
    pub column: usize,
}

impl<T> SumBlock<'_, T> {
    /// Writes `value(p, c, sum)` for every sum; c is its column in the block, p the item of its row in `rows`. Whether it did: nothing
    /// is written where some of the block lies outside.
    #[inline(always)]
    pub fn store<P: Copy, const C: usize>(
        &mut self,
        sums: &[[i32; C]],
        rows: impl IntoIterator<Item = P>,
        value: impl Fn(P, usize, i32) -> T,
    ) -> bool {
        let Some(mut line) = self.first(sums.len(), C) else { return false };
        for (sums, of_row) in sums.iter().zip(rows) {
            for (c, &sum) in sums.iter().enumerate() {
                // SAFETY: `line` is the place of column 0 of a row of the block, and every place of the block is inside `out`.
                unsafe { line.add(c).write(value(of_row, c, sum)) };
            }
            line = line.wrapping_add(self.stride);
        }
        true
    }

    /// Place of the first value, when `rows` x `columns` values are all inside.
    #[inline(always)]
    pub fn first(&mut self, rows: usize, columns: usize) -> Option<*mut T> {
        let last = self.row.checked_add(rows)?.checked_sub(1)?;
        let end = last.checked_mul(self.stride)?.checked_add(self.column)?.checked_add(columns)?;
        (rows > 0 && end <= self.out.len()).then(|| self.out.as_mut_ptr().wrapping_add(self.row * self.stride + self.column))
    }
}
