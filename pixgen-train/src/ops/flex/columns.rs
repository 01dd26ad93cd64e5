//! Sums over the rows of a matrix, in fixed blocks combined in index order.

use rayon::prelude::*;

use super::lanes::vectorised;

/// Rows that one task handles in the operations that work row by row. Fixed, so that results never depend on the number
/// of threads.
pub const ROW_BLOCK: usize = 64;

vectorised! {
    /// `total[j] += sum of x[i][j]` over the rows of x.
    pub fn add_rows(x: &[f32], total: &mut [f32]) {
        for row in x.chunks_exact(total.len()) {
            for (total, x) in total.iter_mut().zip(row) {
                *total += x;
            }
        }
    }
}

vectorised! {
    /// Adds the row `b` to every row of x.
    pub fn add_to_rows(x: &mut [f32], b: &[f32]) {
        for row in x.chunks_exact_mut(b.len()) {
            for (x, b) in row.iter_mut().zip(b) {
                *x += b;
            }
        }
    }
}

/// Sums of the columns of x `[rows, width]`.
pub fn column_sums(x: &[f32], width: usize) -> Vec<f32> {
    if x.is_empty() {
        return vec![0.0; width];
    }
    let blocks: Vec<Vec<f32>> = x
        .par_chunks(ROW_BLOCK * width)
        .map(|block| {
            let mut total = vec![0.0; width];
            add_rows(block, &mut total);
            total
        })
        .collect();
    combine(&blocks, width)
}

/// The sum of equally long vectors, in index order.
pub fn combine(blocks: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for block in blocks {
        add_rows(block, &mut total);
    }
    total
}
