//! The matrix product under the classifier and the nearest-image search: whole row-major tables, on the calling thread.

use crate::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// A table of rows of `columns` values, and its numbers of rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    view: Matrix<'a>,
    rows: usize,
    columns: usize,
}

impl<'a> Table<'a> {
    /// The row-major table `values` of width `columns`; the length must be a multiple of it.
    pub(crate) fn new(values: &'a [f32], columns: usize) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values in rows of {columns}", values.len());
        let rows = values.len() / columns;
        Self { view: Matrix::new(values, rows, columns), rows, columns }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The same values with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { view: self.view.transposed(), rows: self.columns, columns: self.rows }
    }
}

/// `out += lhs * rhs` with `accumulate`, else `out = lhs * rhs`; `out` is row-major.
pub(crate) fn multiply(lhs: Table<'_>, rhs: Table<'_>, out: &mut [f32], accumulate: bool) {
    let into = if accumulate { Into::Accumulate } else { Into::Overwrite };
    assert_eq!(out.len(), lhs.rows * rhs.columns, "size of a matrix product");
    matmul(MatrixMut::new(out, lhs.rows, rhs.columns), into, 1.0, lhs.view, rhs.view, Threads::Caller);
}
