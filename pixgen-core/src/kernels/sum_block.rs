//! Where a block of finished sums goes.

/// Part of an output: from its first value on, with rows that are `stride` values apart. `store`, or `mve_store` with Helium, writes it.
pub(super) struct SumBlock<T> {
    pub first: *mut T,
    pub stride: usize,
}

impl<T> SumBlock<T> {
    /// From (`row`, `column`) of `out` on.
    #[inline(always)]
    pub fn new(out: &mut [T], stride: usize, row: usize, column: usize) -> Self {
        Self { first: out.as_mut_ptr().wrapping_add(row * stride + column), stride }
    }
}
