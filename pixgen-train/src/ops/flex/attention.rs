//! Multi-head self-attention, one (image, head) at a time, with a scratch of tokens x tokens scores.
//!
//! Few tokens take the form of [`super::attention_short`], many the form of matrix products.

use rayon::prelude::*;

use super::attention_short::{self, AttentionScratch, MOST_TOKENS};
use super::buffers::take;
use super::heads::{HeadLayout, K, Q, V};
use super::lanes::{exp, highest, ln, sum, sum_of, vectorised};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

impl HeadLayout {
    /// Part `part` of one head of an image's projection, `[tokens, head]`.
    fn part(self, qkv: &[f32], part: usize, head: usize) -> Matrix<'_> {
        Matrix::strided(&qkv[self.start(part, head)..], self.tokens, self.head(), 3 * self.width)
    }

    /// [`HeadLayout::part`] of a gradient.
    fn part_mut(self, dqkv: &mut [f32], part: usize, head: usize) -> MatrixMut<'_> {
        MatrixMut::strided(&mut dqkv[self.start(part, head)..], self.tokens, self.head(), 3 * self.width)
    }

    /// `scale q k^T` of one head, `[tokens, tokens]`.
    fn scores(self, qkv: &[f32], head: usize, scores: &mut [f32]) {
        matmul(
            MatrixMut::new(scores, self.tokens, self.tokens),
            Into::Overwrite,
            self.scale(),
            self.part(qkv, Q, head),
            self.part(qkv, K, head).transposed(),
            Threads::Caller,
        );
    }
}

vectorised! {
    /// Softmax of every row in place, and its log-sum-exp.
    fn softmax_rows(scores: &mut [f32], lse: &mut [f32]) {
        for (row, lse) in scores.chunks_exact_mut(lse.len()).zip(lse) {
            let top = highest(row);
            for x in row.iter_mut() {
                *x = exp(*x - top);
            }
            let total = sum(row);
            let factor = 1.0 / total;
            for x in row.iter_mut() {
                *x *= factor;
            }
            *lse = top + ln(total);
        }
    }
}

vectorised! {
    /// Scores to softmax weights, given the log-sum-exp of each row.
    fn weights_of_scores(scores: &mut [f32], lse: &[f32]) {
        for (row, lse) in scores.chunks_exact_mut(lse.len()).zip(lse) {
            for x in row {
                *x = exp(*x - lse);
            }
        }
    }
}

vectorised! {
    /// Gradient of the weights to that of the scores, in place: `scale p (dp - sum(p dp))` per row.
    fn softmax_backward_rows(weights: &[f32], tokens: usize, scale: f32, gradient: &mut [f32]) {
        for (p, dp) in weights.chunks_exact(tokens).zip(gradient.chunks_exact_mut(tokens)) {
            let along = sum_of(p, dp, |p, dp| p * dp);
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = scale * p * (*dp - along);
            }
        }
    }
}

/// `softmax(scale q k^T) v` per head, `[images, tokens, width]`, and the log-sum-exp `[images, heads, tokens]`.
pub fn forward(qkv: &[f32], sizes: HeadLayout) -> (Vec<f32>, Vec<f32>) {
    let HeadLayout { tokens, width, heads } = sizes;
    let mut y = take(qkv.len() / 3);
    let mut lse = vec![0.0; y.len() / width.max(1) * heads];
    if y.is_empty() {
        return (y, lse);
    }
    if tokens <= MOST_TOKENS {
        y.par_chunks_mut(tokens * width)
            .zip(lse.par_chunks_mut(heads * tokens))
            .zip(qkv.par_chunks(3 * tokens * width))
            .for_each_init(
                || AttentionScratch::new(sizes),
                |scratch, ((y, lse), qkv)| attention_short::forward(qkv, sizes, scratch, y, lse),
            );
        return (y, lse);
    }
    y.par_chunks_mut(tokens * width)
        .zip(lse.par_chunks_mut(heads * tokens))
        .zip(qkv.par_chunks(3 * tokens * width))
        .for_each_init(
            || vec![0.0; tokens * tokens],
            |scores, ((y, lse), qkv)| {
                for (head, lse) in lse.chunks_exact_mut(tokens).enumerate() {
                    sizes.scores(qkv, head, scores);
                    softmax_rows(scores, lse);
                    matmul(
                        MatrixMut::strided(&mut y[head * sizes.head()..], tokens, sizes.head(), width),
                        Into::Overwrite,
                        1.0,
                        Matrix::new(scores, tokens, tokens),
                        sizes.part(qkv, V, head),
                        Threads::Caller,
                    );
                }
            },
        );
    (y, lse)
}

/// Gradient of qkv for the output gradient `dy`.
pub fn backward(qkv: &[f32], lse: &[f32], dy: &[f32], sizes: HeadLayout) -> Vec<f32> {
    let HeadLayout { tokens, width, heads } = sizes;
    let mut dqkv = take(qkv.len());
    if qkv.is_empty() {
        return dqkv;
    }
    if tokens <= MOST_TOKENS {
        dqkv.par_chunks_mut(3 * tokens * width)
            .zip(qkv.par_chunks(3 * tokens * width))
            .zip(lse.par_chunks(heads * tokens).zip(dy.par_chunks(tokens * width)))
            .for_each_init(
                || AttentionScratch::new(sizes),
                |scratch, ((dqkv, qkv), (lse, dy))| attention_short::backward(qkv, lse, dy, sizes, scratch, dqkv),
            );
        return dqkv;
    }
    dqkv.par_chunks_mut(3 * tokens * width)
        .zip(qkv.par_chunks(3 * tokens * width))
        .zip(lse.par_chunks(heads * tokens).zip(dy.par_chunks(tokens * width)))
        .for_each_init(
            || (vec![0.0; tokens * tokens], vec![0.0; tokens * tokens]),
            |(weights, gradient), ((dqkv, qkv), (lse, dy))| {
                for (head, lse) in lse.chunks_exact(tokens).enumerate() {
                    head_backward(qkv, lse, dy, sizes, head, weights, gradient, dqkv);
                }
            },
        );
    dqkv
}

/// [`backward`] of one head of one image; `weights` and `gradient` are scratch of tokens x tokens.
#[allow(clippy::too_many_arguments)]
fn head_backward(
    qkv: &[f32],
    lse: &[f32],
    dy: &[f32],
    sizes: HeadLayout,
    head: usize,
    weights: &mut [f32],
    gradient: &mut [f32],
    dqkv: &mut [f32],
) {
    let tokens = sizes.tokens;
    let dy = Matrix::strided(&dy[head * sizes.head()..], tokens, sizes.head(), sizes.width);
    let product = |output: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>| {
        matmul(output, Into::Overwrite, 1.0, a, b, Threads::Caller);
    };
    sizes.scores(qkv, head, weights);
    weights_of_scores(weights, lse);
    product(sizes.part_mut(dqkv, V, head), Matrix::new(weights, tokens, tokens).transposed(), dy);
    product(MatrixMut::new(gradient, tokens, tokens), dy, sizes.part(qkv, V, head).transposed());
    softmax_backward_rows(weights, tokens, sizes.scale(), gradient);
    let gradient = Matrix::new(gradient, tokens, tokens);
    product(sizes.part_mut(dqkv, Q, head), gradient, sizes.part(qkv, K, head));
    product(sizes.part_mut(dqkv, K, head), gradient.transposed(), sizes.part(qkv, Q, head));
}
