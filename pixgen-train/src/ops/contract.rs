//! The contract of the fused operations: what each computes, what its backward needs, and the shapes.

use super::arguments::{DriftKernel, Dropout, InputGradients, LossFactors};
use super::plain;
use burn_tensor::backend::Backend;
use burn_tensor::ops::FloatTensor;
use pixgen_core::ops::Branch;

/// The fused operations over tensor primitives.
///
/// `*_train` computes the forward and the tensors that `*_backward` takes back; where it is missing the backward needs
/// the inputs only. `wanted[i]` asks for the gradient of input `i`. Shapes are the caller's duty
/// ([`crate::ops::network`] checks them); the default bodies work on every backend.
pub trait FusedOps: Backend {
    /// Tokens of a micro-batch, where training is faster when each thread takes whole micro-batches through forward and backward;
    /// `None` where the batch goes through the network as a whole.
    const MICRO_BATCH_TOKENS: Option<usize> = None;

    /// Products of pairs of matrices: `[G, M, K] x [G, K, N]` in `f32`. A GPU computes them in `f32` too, alike at every rank and in every
    /// run, where burn's own would be those that happened to be fastest, rounded to TF32 on tensor cores.
    fn batched_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }

    /// `[prefix; patches] + position` along the token axis: prefix `[B, P, D]`, patches `[B, N, D]`, position `[P + N, D]`; returns
    /// `[B, P + N, D]`.
    fn fused_tokens(prefix: FloatTensor<Self>, patches: FloatTensor<Self>, position: FloatTensor<Self>) -> FloatTensor<Self> {
        plain::tokens::<Self>(prefix, patches, position)
    }

    /// Gradients of prefix, patches and position of [`FusedOps::fused_tokens`] with `prefix` tokens of prefix.
    fn fused_tokens_backward(dy: FloatTensor<Self>, prefix: usize, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        plain::tokens_backward::<Self>(dy, prefix, wanted)
    }

    /// `x W^T + b`: x `[.., I]`, w `[O, I]`, b `[O]`; returns `[.., O]`.
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: Option<FloatTensor<Self>>) -> FloatTensor<Self> {
        plain::linear::<Self>(x, w, b)
    }

    /// Gradients of x, w and b of [`FusedOps::fused_linear`] for the output gradient `dy` `[.., O]`.
    fn fused_linear_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        plain::linear_backward::<Self>(x, w, dy, wanted)
    }

    /// `GELU(x W^T + b)` with the exact (erf) GELU; shapes of [`FusedOps::fused_linear`].
    fn fused_linear_gelu(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        plain::linear_gelu::<Self>(x, w, b)
    }

    /// [`FusedOps::fused_linear_gelu`] and what its backward needs, of the output's shape: the slope of the GELU, or on a GPU, where memory is
    /// the bound, the product that it is taken from.
    fn fused_linear_gelu_train(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        plain::linear_gelu_train::<Self>(x, w, b)
    }

    /// Gradients of x, w and b of [`FusedOps::fused_linear_gelu`]; `kept` from [`FusedOps::fused_linear_gelu_train`].
    fn fused_linear_gelu_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        _b: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        Self::fused_linear_backward(x, w, Self::float_mul(dy, kept), wanted)
    }

    /// Layer norm over the last axis: x `[.., D]`, gamma and beta `[D]`.
    fn fused_layer_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>) -> FloatTensor<Self> {
        plain::layer_norm::<Self>(x, gamma, beta)
    }

    /// Gradients of x, gamma and beta of [`FusedOps::fused_layer_norm`].
    fn fused_layer_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        plain::layer_norm_backward::<Self>(x, gamma, dy, wanted)
    }

    /// `LN(x) * (1 + scale) + shift`: x `[B, T, D]`, gamma and beta `[D]`, m `[B, 6 D]` with the chunks of [`Branch`].
    fn fused_norm_modulate(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        m: FloatTensor<Self>,
        branch: Branch,
    ) -> FloatTensor<Self> {
        plain::norm_modulate::<Self>(x, gamma, beta, m, branch)
    }

    /// Gradients of x, gamma, beta and m of [`FusedOps::fused_norm_modulate`].
    fn fused_norm_modulate_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        m: FloatTensor<Self>,
        branch: Branch,
        dy: FloatTensor<Self>,
        wanted: [bool; 4],
    ) -> InputGradients<Self, 4> {
        plain::norm_modulate_backward::<Self>(x, gamma, beta, m, branch, dy, wanted)
    }

    /// `x + gate * y`: x and y `[B, T, D]`, m `[B, 6 D]` with the chunks of [`Branch`].
    fn fused_gated_residual(x: FloatTensor<Self>, y: FloatTensor<Self>, m: FloatTensor<Self>, branch: Branch) -> FloatTensor<Self> {
        plain::gated_residual::<Self>(x, y, m, branch)
    }

    /// Gradients of x, y and m of [`FusedOps::fused_gated_residual`].
    fn fused_gated_residual_backward(
        y: FloatTensor<Self>,
        m: FloatTensor<Self>,
        branch: Branch,
        dy: FloatTensor<Self>,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        plain::gated_residual_backward::<Self>(y, m, branch, dy, wanted)
    }

    /// `softmax(q k^T / sqrt(D / heads)) v` per head: qkv `[B, T, 3 D]`, whose last axis holds q, k and v in this order,
    /// each head-major; returns `[B, T, D]`.
    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        plain::attention::<Self>(qkv, heads)
    }

    /// [`FusedOps::fused_attention`] and the log-sum-exp of the scaled scores, `[B, heads, T]`.
    fn fused_attention_train(qkv: FloatTensor<Self>, heads: usize) -> (FloatTensor<Self>, FloatTensor<Self>) {
        plain::attention_train::<Self>(qkv, heads)
    }

    /// Gradient of qkv of [`FusedOps::fused_attention`]; `y` is its output, `lse` from [`FusedOps::fused_attention_train`].
    fn fused_attention_backward(
        qkv: FloatTensor<Self>,
        _y: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        heads: usize,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        plain::attention_backward::<Self>(qkv, lse, heads, dy)
    }

    /// `LN([x, s] W^T + b)`, the fusion of a long skip: x `[B, T, D]`, s `[B, T, E]`, w `[D, D + E]`, the rest `[D]`.
    fn fused_skip_fuse(
        x: FloatTensor<Self>,
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        plain::skip_fuse_train::<Self>(x, s, w, b, gamma, beta).0
    }

    /// [`FusedOps::fused_skip_fuse`] and the input of its layer norm, `[B, T, D]`.
    fn fused_skip_fuse_train(
        x: FloatTensor<Self>,
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        plain::skip_fuse_train::<Self>(x, s, w, b, gamma, beta)
    }

    /// Gradients of x, s, w, b, gamma and beta of [`FusedOps::fused_skip_fuse`]; `normed` is the layer norm's input from
    /// [`FusedOps::fused_skip_fuse_train`].
    fn fused_skip_fuse_backward(
        x: FloatTensor<Self>,
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        normed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        wanted: [bool; 6],
    ) -> InputGradients<Self, 6> {
        plain::skip_fuse_backward::<Self>(x, s, w, normed, gamma, dy, wanted)
    }

    /// `x` with elements dropped: `[B, ..]`. Its own backward.
    fn fused_dropout(x: FloatTensor<Self>, dropout: &Dropout) -> FloatTensor<Self> {
        plain::dropout::<Self>(x, dropout)
    }

    /// `a_i x_i + b_i y_i` for each image i: x and y `[B, ..]` in `f32`, a and b `[B]`.
    fn fused_weighted_sum(x: FloatTensor<Self>, y: FloatTensor<Self>, a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        plain::weighted_sum::<Self>(x, y, a, b)
    }

    /// Gradients of x and y of [`FusedOps::fused_weighted_sum`].
    fn fused_weighted_sum_backward(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> InputGradients<Self, 2> {
        plain::weighted_sum_backward::<Self>(a, b, dy, wanted)
    }

    /// The consistency loss of each image, `[B]`, and its gradient with respect to f: with `d = skip x + out f - target` and
    /// `u = |d|^2` of the image, `weight u / sqrt(sg[u] + c^2)` (docs/reference/method.md section 5). f, x and target `[B, N, P]` in `f32`.
    fn fused_consistency_loss(
        f: FloatTensor<Self>,
        x: FloatTensor<Self>,
        target: FloatTensor<Self>,
        factors: LossFactors<FloatTensor<Self>>,
        huber: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        plain::consistency_loss::<Self>(f, x, target, factors, huber)
    }

    /// The drifting loss of features of one kind (docs/reference/method.md section 8.1): x `[k, N, L, D]` of N generated pictures in each
    /// of this rank's k sets, seen in L places, real `[k, P, L, D]` of P real ones, and `[k, U, L, D]` of those of other sets that push, if
    /// any do, in `f32`; N is at least 2. Returns `[1 + T]`, these sets' part of the loss and for each temperature the root mean square of
    /// the field of all ranks before it is normalised, and the loss's gradient with respect to x. All ranks call it together.
    fn fused_drift(
        x: FloatTensor<Self>,
        real: FloatTensor<Self>,
        others: Option<FloatTensor<Self>>,
        kernel: &DriftKernel<'_>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        plain::drift::<Self>(x, real, others, kernel, Self::batched_matmul)
    }

    /// NT-Xent of queries `[Q, D]` against keys `[K, D]`, not yet normalised; the positive of query i is key `first + i`. Returns the
    /// mean loss `[1]` and the log-sum-exp of each query's scores `[Q]` (docs/reference/method.md section 3.1).
    fn fused_nt_xent(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        first: usize,
        tau: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        plain::nt_xent::<Self>(queries, keys, first, tau)
    }

    /// Gradients of queries and keys of [`FusedOps::fused_nt_xent`]; `lse` from there, `dy` `[1]`.
    fn fused_nt_xent_backward(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        first: usize,
        tau: f64,
        dy: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> InputGradients<Self, 2> {
        plain::nt_xent_backward::<Self>(queries, keys, lse, first, tau, dy, wanted)
    }
}
