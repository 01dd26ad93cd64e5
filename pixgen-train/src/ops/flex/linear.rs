//! Linear layers: products with the weight `[outputs, inputs]`, and their bias and GELU epilogues.

use rayon::prelude::*;

use super::buffers::take;
use super::columns::{ROW_BLOCK, add_to_rows, column_sums, combine};
use super::lanes::{normal, vectorised};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Up to this many elements a weight gradient is summed from fixed blocks of rows, each a product of one thread; beyond,
/// the product itself is large enough to be shared between threads.
const SMALL_WEIGHT: usize = 1 << 16;

/// The least rows of such a block; splitting a smaller product costs more than it gains.
const LEAST_ROWS: usize = 2048;

/// A weight, possibly the left or right part of a wider one.
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    /// Elements from the first one of this part on.
    pub data: &'a [f32],
    /// Rows.
    pub outputs: usize,
    /// Columns of this part.
    pub inputs: usize,
    /// Columns of the whole weight.
    pub stride: usize,
}

impl<'a> Weight<'a> {
    /// A whole weight.
    pub fn new(data: &'a [f32], outputs: usize, inputs: usize) -> Self {
        Self { data, outputs, inputs, stride: inputs }
    }

    fn matrix(self) -> Matrix<'a> {
        Matrix::strided(self.data, self.outputs, self.inputs, self.stride)
    }

    /// Rows of a tensor of `length` elements whose rows hold `inputs`.
    fn rows(self, length: usize) -> usize {
        length / self.inputs.max(1)
    }
}

/// `y (+)= x W^T`.
pub fn multiply(x: &[f32], w: Weight<'_>, y: &mut [f32], into: Into) {
    let rows = w.rows(x.len());
    matmul(
        MatrixMut::new(y, rows, w.outputs),
        into,
        1.0,
        Matrix::new(x, rows, w.inputs),
        w.matrix().transposed(),
        Threads::Pool,
    );
}

/// `x W^T + b`, `[rows, outputs]`.
pub fn forward(x: &[f32], w: Weight<'_>, b: Option<&[f32]>) -> Vec<f32> {
    let mut y = take(w.rows(x.len()) * w.outputs);
    multiply(x, w, &mut y, Into::Overwrite);
    if let Some(b) = b.filter(|b| !b.is_empty()) {
        y.par_chunks_mut(ROW_BLOCK * w.outputs).for_each(|y| add_to_rows(y, b));
    }
    y
}

vectorised! {
    /// `y = GELU(y + b)` row by row.
    fn gelu_rows(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (y, b) in row.iter_mut().zip(b) {
                let z = *y + b;
                *y = z * normal(z).0;
            }
        }
    }
}

vectorised! {
    /// `y = GELU(y + b)` row by row, and the slope of the GELU there.
    fn gelu_rows_train(y: &mut [f32], b: &[f32], slope: &mut [f32]) {
        for (row, slope) in y.chunks_exact_mut(b.len()).zip(slope.chunks_exact_mut(b.len())) {
            for ((y, b), slope) in row.iter_mut().zip(b).zip(slope) {
                let z = *y + b;
                let (cdf, density) = normal(z);
                *y = z * cdf;
                *slope = z.mul_add(density, cdf);
            }
        }
    }
}

/// `GELU(x W^T + b)`.
pub fn forward_gelu(x: &[f32], w: Weight<'_>, b: &[f32]) -> Vec<f32> {
    let mut y = forward(x, w, None);
    if !y.is_empty() {
        y.par_chunks_mut(ROW_BLOCK * w.outputs).for_each(|y| gelu_rows(y, b));
    }
    y
}

/// `GELU(x W^T + b)` and the slope of the GELU at every output.
pub fn forward_gelu_train(x: &[f32], w: Weight<'_>, b: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut y = forward(x, w, None);
    let mut slope = take(y.len());
    if !y.is_empty() {
        let block = ROW_BLOCK * w.outputs;
        y.par_chunks_mut(block)
            .zip(slope.par_chunks_mut(block))
            .for_each(|(y, slope)| gelu_rows_train(y, b, slope));
    }
    (y, slope)
}

/// `dy W`, the gradient of x.
pub fn input_gradient(dy: &[f32], w: Weight<'_>) -> Vec<f32> {
    let rows = dy.len() / w.outputs.max(1);
    let mut dx = take(rows * w.inputs);
    matmul(
        MatrixMut::new(&mut dx, rows, w.inputs),
        Into::Overwrite,
        1.0,
        Matrix::new(dy, rows, w.outputs),
        w.matrix(),
        Threads::Pool,
    );
    dx
}

/// `dy^T x` into the columns of `dw` that start at `column`; `dw` has rows of `stride` elements.
pub fn weight_gradient(dy: &[f32], x: &[f32], outputs: usize, inputs: usize, dw: &mut [f32], column: usize, stride: usize) {
    if outputs * inputs == 0 {
        return;
    }
    let rows = x.len() / inputs;
    let product = |dy: &[f32], x: &[f32], dw: &mut [f32], stride: usize, threads: Threads| {
        let rows = x.len() / inputs;
        matmul(
            MatrixMut::strided(dw, outputs, inputs, stride),
            Into::Overwrite,
            1.0,
            Matrix::new(dy, rows, outputs).transposed(),
            Matrix::new(x, rows, inputs),
            threads,
        );
    };
    if outputs * inputs > SMALL_WEIGHT {
        product(dy, x, &mut dw[column..], stride, Threads::Pool);
        return;
    }
    let block = rows.div_ceil(8).max(LEAST_ROWS);
    if rows <= block {
        product(dy, x, &mut dw[column..], stride, Threads::Caller);
        return;
    }
    let parts: Vec<Vec<f32>> = dy
        .par_chunks(block * outputs)
        .zip(x.par_chunks(block * inputs))
        .map(|(dy, x)| {
            let mut part = take(outputs * inputs);
            product(dy, x, &mut part, inputs, Threads::Caller);
            part
        })
        .collect();
    let total = combine(&parts, outputs * inputs);
    for (row, total) in dw.chunks_exact_mut(stride).zip(total.chunks_exact(inputs)) {
        row[column..column + inputs].copy_from_slice(total);
    }
}

vectorised! {
    /// `dy *= slope`, and adds the rows of the product to `total`.
    fn multiply_rows(dy: &mut [f32], slope: &[f32], total: &mut [f32]) {
        let width = total.len();
        for (dy, slope) in dy.chunks_exact_mut(width).zip(slope.chunks_exact(width)) {
            for i in 0..width {
                dy[i] *= slope[i];
                total[i] += dy[i];
            }
        }
    }
}

/// `dy * slope`, the gradient of the GELU's input, in place of `dy`; returns the sums of its columns, the gradient of b.
pub fn gelu_backward(dy: &mut [f32], slope: &[f32], outputs: usize) -> Vec<f32> {
    if dy.is_empty() {
        return vec![0.0; outputs];
    }
    let block = ROW_BLOCK * outputs;
    let blocks: Vec<Vec<f32>> = dy
        .par_chunks_mut(block)
        .zip(slope.par_chunks(block))
        .map(|(dy, slope)| {
            let mut total = vec![0.0; outputs];
            multiply_rows(dy, slope, &mut total);
            total
        })
        .collect();
    combine(&blocks, outputs)
}

/// Gradients of x, w and b for the gradient `dy` of `x W^T + b`.
pub fn backward(x: &[f32], w: Weight<'_>, dy: &[f32], wanted: [bool; 3]) -> [Option<Vec<f32>>; 3] {
    [
        wanted[0].then(|| input_gradient(dy, w)),
        wanted[1].then(|| {
            let mut dw = take(w.outputs * w.inputs);
            weight_gradient(dy, x, w.outputs, w.inputs, &mut dw, 0, w.inputs);
            dw
        }),
        wanted[2].then(|| column_sums(dy, w.outputs)),
    ]
}
