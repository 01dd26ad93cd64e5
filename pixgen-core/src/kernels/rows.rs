//! Rows of int8 values: both factors of a matrix product.

/// Rows of int8 values in one slice: row r is `values[r * stride ..][.. len]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [i8],
    stride: usize,
    len: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows of `len` values, `stride` apart; `None` when they do not lie inside `values`.
    pub fn new(values: &'a [i8], stride: usize, len: usize, count: usize) -> Option<Self> {
        let last = count.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(len))?;
        (last <= values.len() && (len <= stride || count <= 1)).then_some(Self { values, stride, len, count })
    }

    /// Number of rows.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Values of a row.
    pub const fn row_len(&self) -> usize {
        self.len
    }

    /// `count` rows from `first` on; `None` when there are not as many.
    pub fn tail(&self, first: usize, count: usize) -> Option<Self> {
        let end = first.checked_add(count)?;
        let values = self.values.get(first.checked_mul(self.stride)?..)?;
        (end <= self.count).then_some(Self { values, count, ..*self })
    }

    /// Values between the starts of two rows.
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Address of row 0.
    #[cfg(any(test, not(kernel = "portable")))]
    pub(crate) const fn start(&self) -> *const i8 {
        self.values.as_ptr()
    }

    /// Row `r`; empty when there is none.
    pub fn row(&self, r: usize) -> &'a [i8] {
        let start = if r < self.count { r * self.stride } else { return &[] };
        self.values.get(start..start + self.len).unwrap_or_default()
    }
}
