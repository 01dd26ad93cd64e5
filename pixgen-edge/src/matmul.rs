//! Matrix products of slices through the `gemm` crate, behind bounds checks.

use gemm::Parallelism;

/// A read-only strided matrix.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` x `columns`, row after row.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `rows` x `columns` whose rows start `row_stride` elements apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transposed view.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A mutable matrix whose rows are contiguous.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows` x `columns`, row after row.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `rows` x `columns` whose rows start `row_stride` elements apart.
    pub fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(row_stride >= columns, "rows of an output must not overlap");
        Self { data, rows, columns, row_stride }
    }
}

/// What a product does with the previous content of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// Overwrites it.
    Overwrite,
    /// Adds to it.
    Accumulate,
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread.
    Caller,
    /// The current rayon pool. The inner dimension is never split, so the result does not depend on its size.
    Pool,
}

/// Whether a matrix of this shape lies inside `length` elements.
fn fits(length: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> bool {
    if rows == 0 || columns == 0 {
        return true;
    }
    let last_row = (rows - 1).checked_mul(row_stride);
    let last_column = (columns - 1).checked_mul(column_stride);
    match (last_row, last_column) {
        (Some(row), Some(column)) => row.checked_add(column).is_some_and(|last| last < length),
        _ => false,
    }
}

/// `output (+)= factor a b`.
///
/// # Panics
/// If the shapes do not agree or a matrix reaches beyond its slice.
pub fn matmul(output: MatrixMut<'_>, into: Into, factor: f32, a: Matrix<'_>, b: Matrix<'_>, threads: Threads) {
    let (m, n, k) = (output.rows, output.columns, a.columns);
    assert!(
        a.rows == m && b.rows == k && b.columns == n,
        "a product of {}x{} and {}x{} does not give {m}x{n}",
        a.rows,
        a.columns,
        b.rows,
        b.columns
    );
    assert!(
        fits(a.data.len(), a.rows, a.columns, a.row_stride, a.column_stride)
            && fits(b.data.len(), b.rows, b.columns, b.row_stride, b.column_stride)
            && fits(output.data.len(), m, n, output.row_stride, 1),
        "a matrix reaches beyond its slice"
    );
    if k == 0 && into == Into::Overwrite {
        // An empty sum; `gemm` would leave the output as it is.
        for row in output.data.chunks_mut(output.row_stride.max(1)).take(m) {
            row[..n].fill(0.0);
        }
        return;
    }
    let parallelism = match threads {
        Threads::Caller => Parallelism::None,
        Threads::Pool => Parallelism::Rayon(0),
    };
    // SAFETY: by the assertions above every element that the strides reach lies inside its slice; a slice holds at most
    // isize::MAX bytes, so the strides of a matrix with more than one row or column fit isize (others are never applied).
    // The output is borrowed mutably, so it does not overlap the inputs, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.data.as_mut_ptr(),
            1,
            output.row_stride as isize,
            into == Into::Accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0f32,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect()
    }

    #[test]
    fn products_match_the_definition() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (1, 64, 33), (18, 18, 16), (65, 1, 4), (70, 33, 2)] {
            let (a, b) = (ramp(m * k), ramp(n * k + 3));
            let start = ramp(m * (n + 2));
            for into in [Into::Overwrite, Into::Accumulate] {
                let mut output = start.clone();
                matmul(
                    MatrixMut::strided(&mut output, m, n, n + 2),
                    into,
                    0.5,
                    Matrix::new(&a, m, k),
                    Matrix::new(&b[3..], n, k).transposed(),
                    Threads::Pool,
                );
                for i in 0..m {
                    for j in 0..n {
                        let product: f64 = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[3 + j * k + l])).sum();
                        let before = if into == Into::Accumulate { start[i * (n + 2) + j] } else { 0.0 };
                        let expected = f64::from(before) + 0.5 * product;
                        let found = f64::from(output[i * (n + 2) + j]);
                        assert!((found - expected).abs() < 1e-5, "{m}x{n}x{k} at {i},{j}");
                    }
                    for j in n..n + 2 {
                        let at = i * (n + 2) + j;
                        assert_eq!(output[at], start[at], "wrote between the rows");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_short_slice_is_refused() {
        let (a, b, mut output) = ([0.0; 5], [0.0; 6], [0.0; 4]);
        matmul(
            MatrixMut::new(&mut output, 2, 2),
            Into::Overwrite,
            1.0,
            Matrix::new(&a, 2, 3),
            Matrix::new(&b, 3, 2),
            Threads::Caller,
        );
    }
}
