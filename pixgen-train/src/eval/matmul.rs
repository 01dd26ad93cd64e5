//! The one matrix product under the classifier and the nearest-image search: a checked, safe call of the `gemm` crate.

/// A matrix of `rows` x `cols` borrowed from a row-major table, possibly transposed.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The row-major table `values` of width `cols`; the length must be a multiple of it.
    pub(crate) fn new(values: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && values.len().is_multiple_of(cols), "{} values in rows of {cols}", values.len());
        Self { values, rows: values.len() / cols, cols, row_stride: cols, col_stride: 1 }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The same values with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `out += lhs * rhs` with `accumulate`, else `out = lhs * rhs`; `out` is row-major. Runs on the calling thread.
pub(crate) fn multiply(lhs: Matrix<'_>, rhs: Matrix<'_>, out: &mut [f32], accumulate: bool) {
    assert_eq!(lhs.cols, rhs.rows, "inner sizes of a matrix product");
    assert_eq!(out.len(), lhs.rows * rhs.cols, "size of a matrix product");
    // SAFETY: a `Matrix` only comes from `new`, so rows * cols is the length of its slice and its largest offset,
    // (rows - 1) * row_stride + (cols - 1) * col_stride, is length - 1, transposed or not. `out` was just checked to hold
    // lhs.rows rows of rhs.cols values, and is borrowed mutably, so it overlaps neither input. Slice lengths fit an isize.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.cols,
            lhs.cols,
            out.as_mut_ptr(),
            1,
            rhs.cols as isize,
            accumulate,
            lhs.values.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;

    fn at(matrix: Matrix<'_>, row: usize, col: usize) -> f32 {
        matrix.values[row * matrix.row_stride + col * matrix.col_stride]
    }

    #[test]
    fn equals_three_loops_in_every_orientation() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (17, 33, 9), (64, 400, 32)] {
            let mut lhs = vec![0.0; m * k];
            let mut rhs = vec![0.0; k * n];
            Rng::new(1, 0).fill_gaussian(0, &mut lhs);
            Rng::new(1, 1).fill_gaussian(0, &mut rhs);
            for a in [Matrix::new(&lhs, k), Matrix::new(&lhs, m).transposed()] {
                for b in [Matrix::new(&rhs, n), Matrix::new(&rhs, k).transposed()] {
                    for accumulate in [false, true] {
                        let mut out = vec![0.5; m * n];
                        multiply(a, b, &mut out, accumulate);
                        for row in 0..m {
                            for col in 0..n {
                                let start = if accumulate { 0.5 } else { 0.0 };
                                let exact = (0..k).map(|i| f64::from(at(a, row, i)) * f64::from(at(b, i, col))).sum::<f64>();
                                let error = (f64::from(out[row * n + col]) - exact - start).abs();
                                assert!(error < 1e-4, "{m}x{k}x{n} at {row},{col}: off by {error}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner sizes")]
    fn refuses_sizes_that_do_not_fit() {
        let values = [0.0; 6];
        multiply(Matrix::new(&values, 3), Matrix::new(&values, 3), &mut [0.0; 6], false);
    }
}
