//! The operations as functions of `Tensor<B, D>`, with the shape checks: what the network code calls.

use burn_tensor::{Tensor, TensorData, TensorPrimitive};

use super::arguments::{DriftKernel, Dropout, LossFactors};
use super::contract::FusedOps;
use pixgen_core::ops::Branch;

fn unwrap<B: FusedOps, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn wrap<B: FusedOps, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn check_shape(operation: &str, name: &str, found: &[usize], expected: &[usize]) {
    assert!(found == expected, "{operation}: {name} has shape {found:?}, expected {expected:?}");
}

/// Checks x `[.., I]`, w `[O, I]` and b `[O]`.
fn check_linear<B: FusedOps, const D: usize>(operation: &str, x: &Tensor<B, D>, w: &Tensor<B, 2>, b: Option<&Tensor<B, 1>>) {
    let [outputs, _] = w.dims();
    check_shape(operation, "the weight", &w.dims(), &[outputs, x.dims()[D - 1]]);
    if let Some(b) = b {
        check_shape(operation, "the bias", &b.dims(), &[outputs]);
    }
}

fn check_norm<B: FusedOps>(operation: &str, width: usize, gamma: &Tensor<B, 1>, beta: &Tensor<B, 1>) {
    check_shape(operation, "gamma", &gamma.dims(), &[width]);
    check_shape(operation, "beta", &beta.dims(), &[width]);
}

/// `[prefix; patches] + position` along the token axis: prefix `[B, P, D]`, patches `[B, N, D]`, position `[P + N, D]`.
///
/// # Panics
/// If the shapes do not agree, like every burn operation; so do the other functions of this file.
pub fn tokens<B: FusedOps>(prefix: Tensor<B, 3>, patches: Tensor<B, 3>, position: Tensor<B, 2>) -> Tensor<B, 3> {
    #[cfg(test)]
    super::calls::note("tokens", &[&prefix.dims(), &patches.dims()]);
    let ([batch, prefixes, _], [_, count, width]) = (prefix.dims(), patches.dims());
    check_shape("tokens", "the prefix", &prefix.dims(), &[batch, prefixes, width]);
    check_shape("tokens", "the position table", &position.dims(), &[prefixes + count, width]);
    check_shape("tokens", "the patches", &patches.dims(), &[batch, count, width]);
    wrap(B::fused_tokens(unwrap(prefix), unwrap(patches), unwrap(position)))
}

/// `x W^T + b`: x `[.., I]`, w `[O, I]`, b `[O]`; returns `[.., O]`.
///
/// # Panics
/// As [`tokens`].
pub fn linear<B: FusedOps, const D: usize>(x: Tensor<B, D>, w: Tensor<B, 2>, b: Option<Tensor<B, 1>>) -> Tensor<B, D> {
    #[cfg(test)]
    super::calls::note("linear", &[&x.dims(), &w.dims()]);
    check_linear("linear", &x, &w, b.as_ref());
    wrap(B::fused_linear(unwrap(x), unwrap(w), b.map(unwrap)))
}

/// `GELU(x W^T + b)` with the exact GELU; shapes of [`linear`].
pub fn linear_gelu<B: FusedOps, const D: usize>(x: Tensor<B, D>, w: Tensor<B, 2>, b: Tensor<B, 1>) -> Tensor<B, D> {
    #[cfg(test)]
    super::calls::note("linear_gelu", &[&x.dims(), &w.dims()]);
    check_linear("linear_gelu", &x, &w, Some(&b));
    wrap(B::fused_linear_gelu(unwrap(x), unwrap(w), unwrap(b)))
}

/// Layer norm over the last axis, epsilon 1e-5: x `[.., D]`, gamma and beta `[D]`.
pub fn layer_norm<B: FusedOps, const D: usize>(x: Tensor<B, D>, gamma: Tensor<B, 1>, beta: Tensor<B, 1>) -> Tensor<B, D> {
    #[cfg(test)]
    super::calls::note("layer_norm", &[&x.dims()]);
    check_norm("layer_norm", x.dims()[D - 1], &gamma, &beta);
    wrap(B::fused_layer_norm(unwrap(x), unwrap(gamma), unwrap(beta)))
}

/// `LN(x) * (1 + scale) + shift`: x `[B, T, D]`, gamma and beta `[D]`, m `[B, 6 D]` with the chunks of [`Branch`].
pub fn norm_modulate<B: FusedOps>(
    x: Tensor<B, 3>,
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    m: Tensor<B, 2>,
    branch: Branch,
) -> Tensor<B, 3> {
    #[cfg(test)]
    super::calls::note("norm_modulate", &[&x.dims()]);
    let [batch, _, width] = x.dims();
    check_norm("norm_modulate", width, &gamma, &beta);
    check_shape("norm_modulate", "the modulation", &m.dims(), &[batch, 6 * width]);
    wrap(B::fused_norm_modulate(unwrap(x), unwrap(gamma), unwrap(beta), unwrap(m), branch))
}

/// `x + gate * y`: x and y `[B, T, D]`, m `[B, 6 D]` with the chunks of [`Branch`].
pub fn gated_residual<B: FusedOps>(x: Tensor<B, 3>, y: Tensor<B, 3>, m: Tensor<B, 2>, branch: Branch) -> Tensor<B, 3> {
    #[cfg(test)]
    super::calls::note("gated_residual", &[&x.dims()]);
    let [batch, _, width] = x.dims();
    check_shape("gated_residual", "the branch", &y.dims(), &x.dims());
    check_shape("gated_residual", "the modulation", &m.dims(), &[batch, 6 * width]);
    wrap(B::fused_gated_residual(unwrap(x), unwrap(y), unwrap(m), branch))
}

/// Multi-head self-attention of a joint projection: qkv `[B, T, 3 D]`, whose last axis holds q, k and v in this order,
/// each head-major; returns `softmax(q k^T / sqrt(D / heads)) v`, `[B, T, D]`.
pub fn attention<B: FusedOps>(qkv: Tensor<B, 3>, heads: usize) -> Tensor<B, 3> {
    #[cfg(test)]
    super::calls::note("attention", &[&qkv.dims(), &[heads]]);
    let [_, _, width] = qkv.dims();
    assert!(
        heads > 0 && width.is_multiple_of(3 * heads),
        "attention: a projection of width {width} does not split into q, k and v of {heads} heads"
    );
    wrap(B::fused_attention(unwrap(qkv), heads))
}

/// `LN([x, s] W^T + b)`, the fusion of a long skip: x `[B, T, D]`, s `[B, T, E]`, w `[D, D + E]`, the rest `[D]`.
pub fn skip_fuse<B: FusedOps>(
    x: Tensor<B, 3>,
    s: Tensor<B, 3>,
    w: Tensor<B, 2>,
    b: Tensor<B, 1>,
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
) -> Tensor<B, 3> {
    #[cfg(test)]
    super::calls::note("skip_fuse", &[&x.dims(), &s.dims()]);
    let ([batch, tokens, width], [_, _, skip]) = (x.dims(), s.dims());
    check_shape("skip_fuse", "the skip", &s.dims(), &[batch, tokens, skip]);
    check_shape("skip_fuse", "the weight", &w.dims(), &[width, width + skip]);
    check_shape("skip_fuse", "the bias", &b.dims(), &[width]);
    check_norm("skip_fuse", width, &gamma, &beta);
    wrap(B::fused_skip_fuse(unwrap(x), unwrap(s), unwrap(w), unwrap(b), unwrap(gamma), unwrap(beta)))
}

/// `x` with elements dropped, each image by its own stream: x `[B, ..]`.
///
/// # Panics
/// As [`tokens`], also if there is not a stream for each image.
pub fn dropout<B: FusedOps, const D: usize>(x: Tensor<B, D>, dropout: &Dropout) -> Tensor<B, D> {
    #[cfg(test)]
    super::calls::note("dropout", &[&x.dims()]);
    check_shape("dropout", "the list of streams", &[dropout.streams.len()], &x.dims()[..1]);
    wrap(B::fused_dropout(unwrap(x), dropout))
}

/// Factors of the images of a batch on the device of `x`.
fn factors<B: FusedOps, const D: usize>(
    operation: &str,
    x: &Tensor<B, D>,
    factors: impl IntoIterator<Item = f64>,
) -> B::FloatTensorPrimitive {
    let values: Vec<f32> = factors.into_iter().map(|factor| factor as f32).collect();
    check_shape(operation, "a list of factors", &[values.len()], &x.dims()[..1]);
    let count = values.len();
    unwrap(Tensor::<B, 1>::from_data(TensorData::new(values, [count]), &x.device()))
}

/// `a_i x_i + b_i y_i` for each image i: x and y `[B, ..]` in `f32`.
///
/// # Panics
/// As [`tokens`], also if there is not a factor for each image.
pub fn weighted_sum<B: FusedOps, const D: usize>(
    x: Tensor<B, D>,
    y: Tensor<B, D>,
    a: impl IntoIterator<Item = f64>,
    b: impl IntoIterator<Item = f64>,
) -> Tensor<B, D> {
    check_shape("weighted_sum", "the second image", &y.dims(), &x.dims());
    let (a, b) = (factors("weighted_sum", &x, a), factors("weighted_sum", &x, b));
    wrap(B::fused_weighted_sum(unwrap(x), unwrap(y), a, b))
}

/// The consistency loss of each image and its gradient with respect to f: f, x and target `[B, N, P]` in `f32`; c_skip, c_out and weight
/// of each image. Returns `[B]` and `[B, N, P]`; see [`FusedOps::fused_consistency_loss`].
///
/// # Panics
/// As [`weighted_sum`].
pub fn consistency_loss<B: FusedOps>(
    f: Tensor<B, 3>,
    x: Tensor<B, 3>,
    target: Tensor<B, 3>,
    images: &LossFactors<Vec<f64>>,
    huber: f64,
) -> (Tensor<B, 1>, Tensor<B, 3>) {
    check_shape("consistency_loss", "x", &x.dims(), &f.dims());
    check_shape("consistency_loss", "the target", &target.dims(), &f.dims());
    let upload = |values: &[f64]| factors("consistency_loss", &f, values.iter().copied());
    let images = LossFactors { skip: upload(&images.skip), out: upload(&images.out), weight: upload(&images.weight) };
    let (losses, slope) = B::fused_consistency_loss(unwrap(f), unwrap(x), unwrap(target), images, huber);
    (wrap(losses), wrap(slope))
}

/// The drifting loss of features of one kind and its gradient with respect to x: x `[k, N, L, D]`, real `[k, P, L, D]` and others
/// `[k, U, L, D]` in `f32`, N at least 2. Returns `[1 + T]` and `[k, N, L, D]`; see [`FusedOps::fused_drift`].
///
/// # Panics
/// As [`tokens`], also if there are fewer than two generated pictures in a set.
pub fn drift<B: FusedOps>(
    x: Tensor<B, 4>,
    real: Tensor<B, 4>,
    others: Option<Tensor<B, 4>>,
    kernel: &DriftKernel<'_>,
) -> (Tensor<B, 1>, Tensor<B, 4>) {
    let ([sets, generated, places, width], [_, count, ..]) = (x.dims(), real.dims());
    check_shape("drift", "the real features", &real.dims(), &[sets, count, places, width]);
    if let Some(others) = &others {
        check_shape("drift", "the features of other sets", &others.dims(), &[sets, others.dims()[1], places, width]);
    }
    assert!(generated >= 2 && count >= 1, "drift: {generated} generated and {count} real pictures in a set");
    let (sizes, slope) = B::fused_drift(unwrap(x), unwrap(real), others.map(unwrap), kernel);
    (wrap(sizes), wrap(slope))
}

/// NT-Xent, mean over the queries, `[1]`: queries `[Q, D]` against keys `[K, D]`, not yet normalised; the positive of query i is key
/// `first + i`.
///
/// # Panics
/// As [`tokens`].
pub fn nt_xent<B: FusedOps>(queries: Tensor<B, 2>, keys: Tensor<B, 2>, first: usize, tau: f64) -> Tensor<B, 1> {
    let ([count, width], [others, _]) = (queries.dims(), keys.dims());
    check_shape("nt_xent", "the keys", &keys.dims(), &[others, width]);
    assert!(first + count <= others, "nt_xent: {count} queries from key {first} on, but only {others} keys");
    wrap(B::fused_nt_xent(unwrap(queries), unwrap(keys), first, tau).0)
}

/// Products of pairs of matrices in `f32`, `[G, M, K] x [G, K, N]`, alike at every rank; see [`FusedOps::batched_matmul`].
///
/// # Panics
/// As [`tokens`].
pub fn batched_matmul<B: FusedOps>(lhs: Tensor<B, 3>, rhs: Tensor<B, 3>) -> Tensor<B, 3> {
    let ([groups, _, inner], [.., columns]) = (lhs.dims(), rhs.dims());
    check_shape("batched_matmul", "the right operand", &rhs.dims(), &[groups, inner, columns]);
    wrap(B::batched_matmul(unwrap(lhs), unwrap(rhs)))
}
