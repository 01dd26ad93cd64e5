//! NT-Xent on L2-normalised vectors (docs/method.md section 3.1).

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

/// d(q, K; tau) = -q.k+/tau + logsumexp_j(q.k_j/tau), mean over the queries.
///
/// `queries` `[Q, D]` and `keys` `[K, D]` are not yet normalised; the positive of query i is key `first + i`, all other keys are
/// negatives. Gradients flow into both; detach the keys where the paper stops them.
pub fn nt_xent<B: Backend>(queries: Tensor<B, 2>, keys: Tensor<B, 2>, first: usize, tau: f64) -> Tensor<B, 1> {
    let count = queries.dims()[0];
    let positives = keys.clone().narrow(0, first, count);
    let (queries, keys, positives) = (normalise(queries), normalise(keys), normalise(positives));
    let scores = queries.clone().matmul(keys.transpose()).div_scalar(tau);
    let positive = (queries * positives).sum_dim(1).div_scalar(tau);
    (log_sum_exp(scores) - positive).mean()
}

/// x / |x|, row by row.
fn normalise<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let norm = x.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    x / norm
}

/// Row by row, `[Q, 1]`. log sum exp(s) = s_j - log softmax(s)_j for any j.
fn log_sum_exp<B: Backend>(scores: Tensor<B, 2>) -> Tensor<B, 2> {
    let any = scores.clone().narrow(1, 0, 1);
    any - activation::log_softmax(scores, 1).narrow(1, 0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn closed_forms() {
        let device = Default::default();
        let tensor = |rows: [[f32; 2]; 3]| Tensor::<Flex, 2>::from_floats(rows, &device);
        // Equal vectors: every score is the same, the loss is ln K whatever tau and length.
        let same = nt_xent(tensor([[3.0, 0.0]; 3]), tensor([[0.5, 0.0]; 3]), 0, 0.1);
        assert!((same.into_scalar() - 3f32.ln()).abs() < 1e-6);
        // Query i points at key i; the others are orthogonal or opposite.
        let q = tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]);
        let got = nt_xent(q.clone(), q, 0, 0.5).into_scalar();
        let e = |x: f32| x.exp();
        let side = (e(2.0) + 1.0 + e(-2.0)).ln() - 2.0;
        let middle = (e(2.0) + 2.0).ln() - 2.0;
        assert!((got - (2.0 * side + middle) / 3.0).abs() < 1e-5);
    }
}
