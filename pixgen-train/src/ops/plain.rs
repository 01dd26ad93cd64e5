//! Every operation as a composition of burn's own tensor operations.
//!
//! These are the default bodies of [`crate::ops::FusedOps`] and the comparison that the fused versions are measured against.
//! Written for clarity: leading axes are flattened so that every product is one matrix product.

use burn_tensor::activation::{gelu, softmax};
use burn_tensor::backend::Backend;
use burn_tensor::ops::FloatTensor;
use burn_tensor::{Tensor, TensorData, TensorMetadata, TensorPrimitive};

use super::arguments::{DriftKernel, Dropout, InputGradients, LAYER_NORM_EPSILON, LossFactors};
use pixgen_core::ops::Branch;

fn wrap<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// A tensor of any rank as `[rows, last axis]`.
fn flat<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 2> {
    let shape = primitive.shape();
    let width = shape.as_slice().last().copied().unwrap_or(1);
    let rows = shape.num_elements() / width.max(1);
    wrap(B::float_reshape(primitive, [rows, width].into()))
}

/// `[rows, width]` back to `[.., width]` with the leading axes of `like`.
fn unflat<B: Backend>(tensor: Tensor<B, 2>, like: &[usize]) -> FloatTensor<B> {
    let mut dims = like.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = tensor.dims()[1];
    }
    B::float_reshape(unwrap(tensor), dims.into())
}

/// Chunk `index` of a modulation `[B, 6 D]` as `[B, 1, D]`.
fn chunk<B: Backend>(m: &Tensor<B, 2>, index: usize) -> Tensor<B, 3> {
    let [batch, width] = m.dims();
    let d = width / 6;
    m.clone().narrow(1, index * d, d).reshape([batch, 1, d])
}

/// Puts `[B, D]` into chunk `index` of a modulation gradient `[B, 6 D]`.
fn put_chunk<B: Backend>(dm: Tensor<B, 2>, index: usize, value: Tensor<B, 2>) -> Tensor<B, 2> {
    let [batch, d] = value.dims();
    dm.slice_assign([0..batch, index * d..(index + 1) * d], value)
}

/// See [`crate::ops::FusedOps::fused_tokens`].
pub fn tokens<B: Backend>(prefix: FloatTensor<B>, patches: FloatTensor<B>, position: FloatTensor<B>) -> FloatTensor<B> {
    let joined = Tensor::cat(vec![wrap::<B, 3>(prefix), wrap(patches)], 1);
    unwrap(joined + wrap::<B, 2>(position).unsqueeze_dim(0))
}

/// See [`crate::ops::FusedOps::fused_tokens_backward`].
pub fn tokens_backward<B: Backend>(dy: FloatTensor<B>, prefix: usize, wanted: [bool; 3]) -> InputGradients<B, 3> {
    let dy = wrap::<B, 3>(dy);
    let [_, tokens, _] = dy.dims();
    [
        wanted[0].then(|| unwrap(dy.clone().narrow(1, 0, prefix))),
        wanted[1].then(|| unwrap(dy.clone().narrow(1, prefix, tokens - prefix))),
        wanted[2].then(|| unwrap(dy.sum_dim(0).squeeze_dim::<2>(0))),
    ]
}

/// See [`crate::ops::FusedOps::fused_linear`].
pub fn linear<B: Backend>(x: FloatTensor<B>, w: FloatTensor<B>, b: Option<FloatTensor<B>>) -> FloatTensor<B> {
    let dims = x.shape().to_vec();
    let product = flat::<B>(x).matmul(wrap::<B, 2>(w).transpose());
    let y = match b {
        Some(b) => product + wrap::<B, 1>(b).unsqueeze(),
        None => product,
    };
    unflat(y, &dims)
}

/// See [`crate::ops::FusedOps::fused_linear_backward`].
pub fn linear_backward<B: Backend>(x: FloatTensor<B>, w: FloatTensor<B>, dy: FloatTensor<B>, wanted: [bool; 3]) -> InputGradients<B, 3> {
    let dims = x.shape().to_vec();
    let dy = flat::<B>(dy);
    [
        wanted[0].then(|| unflat(dy.clone().matmul(wrap::<B, 2>(w)), &dims)),
        wanted[1].then(|| unwrap(dy.clone().transpose().matmul(flat::<B>(x)))),
        wanted[2].then(|| unwrap(dy.sum_dim(0).squeeze_dim::<1>(0))),
    ]
}

/// See [`crate::ops::FusedOps::fused_linear_gelu`].
pub fn linear_gelu<B: Backend>(x: FloatTensor<B>, w: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    let dims = x.shape().to_vec();
    let z = flat::<B>(linear::<B>(x, w, Some(b)));
    unflat(gelu(z), &dims)
}

/// See [`crate::ops::FusedOps::fused_linear_gelu_train`].
pub fn linear_gelu_train<B: Backend>(x: FloatTensor<B>, w: FloatTensor<B>, b: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let dims = x.shape().to_vec();
    let z = flat::<B>(linear::<B>(x, w, Some(b)));
    let cdf = (z.clone() / 2f64.sqrt()).erf() * 0.5 + 0.5;
    let pdf = (z.clone().square() * -0.5).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let y = z.clone() * cdf.clone();
    (unflat(y, &dims), unflat(cdf + z * pdf, &dims))
}

/// `(x - mean) / sqrt(variance + epsilon)` per row, and the reciprocal of that root `[rows, 1]`.
fn normalise<B: Backend>(x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let scale = (variance + f64::from(LAYER_NORM_EPSILON)).sqrt().recip();
    (centred * scale.clone(), scale)
}

/// Gradient of the input of `normalise` for the gradient `g` of its first output.
fn normalise_backward<B: Backend>(normed: Tensor<B, 2>, scale: Tensor<B, 2>, g: Tensor<B, 2>) -> Tensor<B, 2> {
    let along = (g.clone() * normed.clone()).mean_dim(1);
    (g.clone() - g.mean_dim(1) - normed * along) * scale
}

/// See [`crate::ops::FusedOps::fused_layer_norm`].
pub fn layer_norm<B: Backend>(x: FloatTensor<B>, gamma: FloatTensor<B>, beta: FloatTensor<B>) -> FloatTensor<B> {
    let dims = x.shape().to_vec();
    let (normed, _) = normalise(flat::<B>(x));
    let y = normed * wrap::<B, 1>(gamma).unsqueeze() + wrap::<B, 1>(beta).unsqueeze();
    unflat(y, &dims)
}

/// See [`crate::ops::FusedOps::fused_layer_norm_backward`].
pub fn layer_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    dy: FloatTensor<B>,
    wanted: [bool; 3],
) -> InputGradients<B, 3> {
    let dims = x.shape().to_vec();
    let (normed, scale) = normalise(flat::<B>(x));
    let dy = flat::<B>(dy);
    let dgamma = wanted[1].then(|| unwrap((dy.clone() * normed.clone()).sum_dim(0).squeeze_dim::<1>(0)));
    let dbeta = wanted[2].then(|| unwrap(dy.clone().sum_dim(0).squeeze_dim::<1>(0)));
    let dx = wanted[0].then(|| {
        let g = dy * wrap::<B, 1>(gamma).unsqueeze();
        unflat(normalise_backward(normed, scale, g), &dims)
    });
    [dx, dgamma, dbeta]
}

/// See [`crate::ops::FusedOps::fused_norm_modulate`].
pub fn norm_modulate<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    m: FloatTensor<B>,
    branch: Branch,
) -> FloatTensor<B> {
    let m = wrap::<B, 2>(m);
    let normed = wrap::<B, 3>(layer_norm::<B>(x, gamma, beta));
    unwrap(normed * (chunk(&m, branch.scale()) + 1.0) + chunk(&m, branch.shift()))
}

/// See [`crate::ops::FusedOps::fused_norm_modulate_backward`].
pub fn norm_modulate_backward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    m: FloatTensor<B>,
    branch: Branch,
    dy: FloatTensor<B>,
    wanted: [bool; 4],
) -> InputGradients<B, 4> {
    let m = wrap::<B, 2>(m);
    let dy = wrap::<B, 3>(dy);
    let dm = wanted[3].then(|| {
        let normed = wrap::<B, 3>(layer_norm::<B>(x.clone(), gamma.clone(), beta));
        let dshift = dy.clone().sum_dim(1).squeeze_dim::<2>(1);
        let dscale = (dy.clone() * normed).sum_dim(1).squeeze_dim::<2>(1);
        let dm = put_chunk(m.zeros_like(), branch.shift(), dshift);
        unwrap(put_chunk(dm, branch.scale(), dscale))
    });
    let through = unwrap(dy * (chunk(&m, branch.scale()) + 1.0));
    let [dx, dgamma, dbeta] = layer_norm_backward::<B>(x, gamma, through, [wanted[0], wanted[1], wanted[2]]);
    [dx, dgamma, dbeta, dm]
}

/// See [`crate::ops::FusedOps::fused_gated_residual`].
pub fn gated_residual<B: Backend>(x: FloatTensor<B>, y: FloatTensor<B>, m: FloatTensor<B>, branch: Branch) -> FloatTensor<B> {
    let gate = chunk(&wrap::<B, 2>(m), branch.gate());
    unwrap(wrap::<B, 3>(x) + wrap::<B, 3>(y) * gate)
}

/// See [`crate::ops::FusedOps::fused_gated_residual_backward`].
pub fn gated_residual_backward<B: Backend>(
    y: FloatTensor<B>,
    m: FloatTensor<B>,
    branch: Branch,
    dy: FloatTensor<B>,
    wanted: [bool; 3],
) -> InputGradients<B, 3> {
    let m = wrap::<B, 2>(m);
    let dout = wrap::<B, 3>(dy);
    [
        wanted[0].then(|| unwrap(dout.clone())),
        wanted[1].then(|| unwrap(dout.clone() * chunk(&m, branch.gate()))),
        wanted[2].then(|| {
            let dgate = (dout * wrap::<B, 3>(y)).sum_dim(1).squeeze_dim::<2>(1);
            unwrap(put_chunk(m.zeros_like(), branch.gate(), dgate))
        }),
    ]
}

/// q, k and v, each `[B, heads, T, D / heads]`.
fn split_heads<B: Backend>(qkv: FloatTensor<B>, heads: usize) -> [Tensor<B, 4>; 3] {
    let qkv = wrap::<B, 3>(qkv);
    let [batch, tokens, width] = qkv.dims();
    let d = width / 3;
    [0, 1, 2].map(|part| {
        qkv.clone()
            .narrow(2, part * d, d)
            .reshape([batch, tokens, heads, d / heads])
            .swap_dims(1, 2)
    })
}

/// `[B, heads, T, D / heads]` as `[B, T, D]`.
fn merge_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, tokens, width] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * width])
}

/// See [`crate::ops::FusedOps::fused_attention`].
pub fn attention<B: Backend>(qkv: FloatTensor<B>, heads: usize) -> FloatTensor<B> {
    let [q, k, v] = split_heads::<B>(qkv, heads);
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.matmul(k.transpose()) * scale;
    unwrap(merge_heads(softmax(scores, 3).matmul(v)))
}

/// See [`crate::ops::FusedOps::fused_attention_train`].
pub fn attention_train<B: Backend>(qkv: FloatTensor<B>, heads: usize) -> (FloatTensor<B>, FloatTensor<B>) {
    let [q, k, v] = split_heads::<B>(qkv, heads);
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.matmul(k.transpose()) * scale;
    let highest = scores.clone().max_dim(3);
    let lse = (scores.clone() - highest.clone()).exp().sum_dim(3).log() + highest;
    let weights = (scores - lse.clone()).exp();
    (unwrap(merge_heads(weights.matmul(v))), unwrap(lse.squeeze_dim::<3>(3)))
}

/// See [`crate::ops::FusedOps::fused_attention_backward`].
pub fn attention_backward<B: Backend>(qkv: FloatTensor<B>, lse: FloatTensor<B>, heads: usize, dy: FloatTensor<B>) -> FloatTensor<B> {
    let [q, k, v] = split_heads::<B>(qkv, heads);
    let [batch, _, tokens, width] = q.dims();
    let scale = 1.0 / (width as f64).sqrt();
    let lse = wrap::<B, 3>(lse).reshape([batch, heads, tokens, 1]);
    let dy = wrap::<B, 3>(dy).reshape([batch, tokens, heads, width]).swap_dims(1, 2);
    let weights = (q.clone().matmul(k.clone().transpose()) * scale - lse).exp();
    let dv = weights.clone().transpose().matmul(dy.clone());
    let dweights = dy.matmul(v.transpose());
    let along = (dweights.clone() * weights.clone()).sum_dim(3);
    let dscores = weights * (dweights - along) * scale;
    let dq = dscores.clone().matmul(k);
    let dk = dscores.transpose().matmul(q);
    unwrap(Tensor::cat([dq, dk, dv].map(merge_heads).to_vec(), 2))
}

/// See [`crate::ops::FusedOps::fused_skip_fuse_train`].
pub fn skip_fuse_train<B: Backend>(
    x: FloatTensor<B>,
    s: FloatTensor<B>,
    w: FloatTensor<B>,
    b: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let joined = Tensor::cat(vec![wrap::<B, 3>(x), wrap::<B, 3>(s)], 2);
    let normed = linear::<B>(unwrap(joined), w, Some(b));
    (layer_norm::<B>(normed.clone(), gamma, beta), normed)
}

/// See [`crate::ops::FusedOps::fused_skip_fuse_backward`].
pub fn skip_fuse_backward<B: Backend>(
    x: FloatTensor<B>,
    s: FloatTensor<B>,
    w: FloatTensor<B>,
    normed: FloatTensor<B>,
    gamma: FloatTensor<B>,
    dy: FloatTensor<B>,
    wanted: [bool; 6],
) -> InputGradients<B, 6> {
    let [want_x, want_s, want_w, want_b, want_gamma, want_beta] = wanted;
    let want_z = want_x || want_s || want_w || want_b;
    let [dz, dgamma, dbeta] = layer_norm_backward::<B>(normed, gamma, dy, [want_z, want_gamma, want_beta]);
    let [mut dx, mut ds, mut dw, mut db] = [None, None, None, None];
    if let Some(dz) = dz {
        let d = dz.shape().as_slice().last().copied().unwrap_or(0);
        let joined = Tensor::cat(vec![wrap::<B, 3>(x), wrap::<B, 3>(s)], 2);
        let e = joined.dims()[2] - d;
        let [djoined, dw_all, db_all] = linear_backward::<B>(unwrap(joined), w, dz, [want_x || want_s, want_w, want_b]);
        if let Some(djoined) = djoined.map(wrap::<B, 3>) {
            dx = want_x.then(|| unwrap(djoined.clone().narrow(2, 0, d)));
            ds = want_s.then(|| unwrap(djoined.narrow(2, d, e)));
        }
        dw = dw_all;
        db = db_all;
    }
    [dx, ds, dw, db, dgamma, dbeta]
}

/// See [`crate::ops::FusedOps::fused_dropout`].
pub fn dropout<B: Backend>(x: FloatTensor<B>, dropout: &Dropout) -> FloatTensor<B> {
    let shape = x.shape();
    let image = shape.num_elements() / dropout.streams.len().max(1);
    let mut mask = vec![1.0; shape.num_elements()];
    for (picture, mask) in mask.chunks_mut(image.max(1)).enumerate() {
        dropout.apply(picture, mask);
    }
    let dtype = x.dtype();
    let mask = B::float_from_data(TensorData::new(mask, shape.to_vec()).convert_dtype(dtype), &B::float_device(&x));
    B::float_mul(x, mask)
}

/// `[B]` as `[B, 1]`.
fn column<B: Backend>(factors: FloatTensor<B>) -> Tensor<B, 2> {
    let factors = wrap::<B, 1>(factors);
    let [count] = factors.dims();
    factors.reshape([count, 1])
}

/// `[B, ..]` as `[B, rest]`.
fn images<B: Backend>(x: FloatTensor<B>) -> Tensor<B, 2> {
    let shape = x.shape();
    let count = shape.as_slice().first().copied().unwrap_or(1);
    wrap(B::float_reshape(x, [count, shape.num_elements() / count.max(1)].into()))
}

/// See [`crate::ops::FusedOps::fused_weighted_sum`].
pub fn weighted_sum<B: Backend>(x: FloatTensor<B>, y: FloatTensor<B>, a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let sum = images::<B>(x) * column::<B>(a) + images::<B>(y) * column::<B>(b);
    B::float_reshape(unwrap(sum), shape)
}

/// See [`crate::ops::FusedOps::fused_weighted_sum_backward`].
pub fn weighted_sum_backward<B: Backend>(
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    dy: FloatTensor<B>,
    wanted: [bool; 2],
) -> InputGradients<B, 2> {
    let shape = dy.shape();
    let scaled = |wanted: bool, factors: FloatTensor<B>| {
        wanted.then(|| B::float_reshape(unwrap(images::<B>(dy.clone()) * column::<B>(factors)), shape.clone()))
    };
    [scaled(wanted[0], a), scaled(wanted[1], b)]
}

/// See [`crate::ops::FusedOps::fused_consistency_loss`].
pub fn consistency_loss<B: Backend>(
    f: FloatTensor<B>,
    x: FloatTensor<B>,
    target: FloatTensor<B>,
    factors: LossFactors<FloatTensor<B>>,
    huber: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = f.shape();
    let [skip, out, weight] = [factors.skip, factors.out, factors.weight].map(column::<B>);
    let d = images::<B>(x) * skip + images::<B>(f) * out.clone() - images::<B>(target);
    let u = d.clone().square().sum_dim(1);
    let scale = weight / (u.clone() + huber * huber).sqrt();
    let df = d * (scale.clone() * out * 2.0);
    (unwrap((scale * u).squeeze_dim::<1>(1)), B::float_reshape(unwrap(df), shape))
}

/// Rows divided by their length, and that length `[rows, 1]`.
fn unit_rows<B: Backend>(x: Tensor<B, 2>) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let length = x.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    (x / length.clone(), length)
}

/// See [`crate::ops::FusedOps::fused_nt_xent`].
pub fn nt_xent<B: Backend>(queries: FloatTensor<B>, keys: FloatTensor<B>, first: usize, tau: f64) -> (FloatTensor<B>, FloatTensor<B>) {
    let ((queries, _), (keys, _)) = (unit_rows(wrap::<B, 2>(queries)), unit_rows(wrap::<B, 2>(keys)));
    let count = queries.dims()[0];
    let positive = (queries.clone() * keys.clone().narrow(0, first, count)).sum_dim(1) / tau;
    let scores = queries.matmul(keys.transpose()) / tau;
    let highest = scores.clone().max_dim(1).detach();
    let lse = (scores - highest.clone()).exp().sum_dim(1).log() + highest;
    (unwrap((lse.clone() - positive).mean()), unwrap(lse.squeeze_dim::<1>(1)))
}

/// See [`crate::ops::FusedOps::fused_nt_xent_backward`].
pub fn nt_xent_backward<B: Backend>(
    queries: FloatTensor<B>,
    keys: FloatTensor<B>,
    lse: FloatTensor<B>,
    first: usize,
    tau: f64,
    dy: FloatTensor<B>,
    wanted: [bool; 2],
) -> InputGradients<B, 2> {
    let ((q, q_length), (k, k_length)) = (unit_rows(wrap::<B, 2>(queries)), unit_rows(wrap::<B, 2>(keys)));
    let [count, width] = q.dims();
    let scale = wrap::<B, 1>(dy).reshape([1, 1]) / (count as f64 * tau);
    let weights = (q.clone().matmul(k.clone().transpose()) / tau - column::<B>(lse)).exp() * scale.clone();
    // Through the division by the length: what is left of the gradient along the row itself is zero.
    let through = |g: Tensor<B, 2>, unit: Tensor<B, 2>, length: Tensor<B, 2>| {
        let along = (g.clone() * unit.clone()).sum_dim(1);
        unwrap((g - unit * along) / length)
    };
    let dq = wanted[0].then(|| {
        let g = weights.clone().matmul(k.clone()) - k.clone().narrow(0, first, count) * scale.clone();
        through(g, q.clone(), q_length)
    });
    let dk = wanted[1].then(|| {
        let positives = k.zeros_like().slice_assign([first..first + count, 0..width], q.clone() * scale);
        through(weights.transpose().matmul(q) - positives, k, k_length)
    });
    [dq, dk]
}

/// What stands for the distance of a picture from itself, in units of the mean distance: too far to have a weight.
pub const SELF_DISTANCE: f64 = 1e6;

/// The least size of a field, in units of its features, that is still brought to 1.
pub const LEAST_FIELD: f64 = 1e-8;

/// The least mean distance; where all features are the same there is no field.
pub const LEAST_DISTANCE: f64 = 1e-12;

/// The least numbers of a piece of features.
const LEAST_PIECE: usize = 1024;

/// How many equal pieces features of a width are cut into for their products: few pictures give few sums, and a GPU has many processors.
fn pieces_of(width: usize) -> usize {
    (1..=width / LEAST_PIECE).rev().find(|pieces| width.is_multiple_of(*pieces)).unwrap_or(1)
}

/// Logarithms of the sums of exponentials along an axis.
fn log_sum_exp<B: Backend>(x: Tensor<B, 3>, axis: usize) -> Tensor<B, 3> {
    let highest = x.clone().max_dim(axis);
    (x - highest.clone()).exp().sum_dim(axis).log() + highest
}

/// The sums over all ranks of numbers that go together.
fn of_all_ranks<B: Backend>(sums: Tensor<B, 1>, kernel: &DriftKernel<'_>) -> Tensor<B, 1> {
    if kernel.ranks.is_alone() {
        return sums;
    }
    let (device, count) = (sums.device(), sums.dims()[0]);
    let mut values: Vec<f64> = sums.into_data().iter::<f64>().collect();
    kernel.ranks.sum_few(&mut values);
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, [count]), &device)
}

/// See [`crate::ops::FusedOps::fused_drift`]; `products` is [`crate::ops::FusedOps::batched_matmul`].
pub fn drift<B: Backend>(
    x: FloatTensor<B>,
    real: FloatTensor<B>,
    others: Option<FloatTensor<B>>,
    kernel: &DriftKernel<'_>,
    products: fn(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let products = |lhs: Tensor<B, 3>, rhs: Tensor<B, 3>| wrap::<B, 3>(products(unwrap(lhs), unwrap(rhs)));
    let (x, real) = (wrap::<B, 4>(x), wrap::<B, 4>(real));
    let ([sets, n, places, width], [_, p, ..]) = (x.dims(), real.dims());
    let pieces = pieces_of(width);
    let cut = |features: Tensor<B, 4>, count: usize| features.reshape([sets, count, places * pieces, width / pieces]);
    let others = others.map(wrap::<B, 4>);
    let u = others.as_ref().map_or(0, |others| others.dims()[1]);
    let (x, real, others) = (cut(x, n), cut(real, p), others.map(|others| cut(others, u)));
    // A group is a place of a set. Pieces of features are places of their own until their products are added up.
    let groups = places * sets;
    let by_group = |features: Tensor<B, 4>| features.swap_dims(1, 2);
    // Distances and fields do not change, but have more digits, when all features of a group are moved to lie around 0.
    let centre = by_group(real.clone()).mean_dim(2);
    let around =
        |features: Tensor<B, 4>, count: usize| (by_group(features) - centre.clone()).reshape([groups * pieces, count, width / pieces]);
    let others = others.map(|others| around(others, u));
    let x = around(x, n);
    // Of all that pull and push: [G, M, D] with M = P + N + U, of which the generated pictures themselves are M_N.
    let all = Tensor::cat([around(real, p), x].into_iter().chain(others).collect(), 1);
    let m = p + n + u;

    // Scalar products of all pairs, [G, M, M]. Features are long, and these are short: they give distances and the sizes of fields.
    let pairs = products(all.clone(), all.clone().swap_dims(1, 2));
    let pairs = pairs.reshape([groups, pieces, m, m]).sum_dim(1).reshape([groups, m, m]);
    let squares = (pairs.clone() * Tensor::<B, 2>::eye(m, &all.device()).unsqueeze()).sum_dim(2);
    let squares_of_x = squares.clone().narrow(1, p, n);
    let distances = squares_of_x + squares.swap_dims(1, 2) - pairs.clone().narrow(1, p, n) * 2.0;
    let distances = distances.clamp_min(0.0).sqrt();
    let itself = Tensor::<B, 2>::eye(n, &all.device()).unsqueeze::<3>();
    let from_generated = distances.clone().narrow(2, p, n) * (itself.clone().neg() + 1.0);
    // Of all ranks.
    let pictures = (kernel.sets * places * n) as f64;
    let from_real = distances.clone().narrow(2, 0, p).sum() / (pictures * p as f64);
    let mean = of_all_ranks((from_real + from_generated.sum() / (pictures * (n - 1) as f64)) / 2.0, kernel);
    let scale = mean.clamp_min(LEAST_DISTANCE).reshape([1, 1, 1]);
    let apart = Tensor::zeros([1, n, m], &all.device()).slice_assign([0..1, 0..n, p..p + n], itself * SELF_DISTANCE);
    let distances = distances / scale.clone() + apart;
    let copies = kernel.log_copies([p, n, u]);
    let copies = Tensor::<B, 1>::from_data(TensorData::new(copies, [m]), &all.device()).reshape([1, 1, m]);

    // A field is a product of signed weights and features, so fields are added up as their weights. Features are divided by
    // S = scale / sqrt(D), and so are fields, once.
    let unit = scale / (width as f64).sqrt();
    let squares_of = |weights: Tensor<B, 3>| (products(weights.clone(), pairs.clone()) * weights).sum().clamp_min(0.0);
    let of_temperature = |tau: &f64| {
        let logits = distances.clone() / -*tau;
        let counted = logits.clone() + copies.clone();
        let sums = log_sum_exp(counted.clone(), 2) + log_sum_exp(logits, 1);
        let weights = (counted - sums / 2.0).exp();
        let (pull, push) = (weights.clone().narrow(2, 0, p), weights.narrow(2, p, n + u));
        let attraction = pull.clone() * push.clone().sum_dim(2);
        let repulsion = push * pull.sum_dim(2).neg();
        let signed = Tensor::cat(vec![attraction, repulsion], 2);
        (signed.clone(), squares_of(signed) / (pictures * width as f64))
    };
    let (fields, squares): (Vec<_>, Vec<_>) = kernel.temperatures.iter().map(of_temperature).unzip();
    // All temperatures at once: ranks wait for each other.
    let sizes = of_all_ranks(Tensor::cat(squares, 0), kernel).sqrt() / unit.clone().reshape([1]);
    let factors = sizes.clone().clamp_min(LEAST_FIELD).recip();
    let field = fields
        .into_iter()
        .enumerate()
        .map(|(at, signed)| signed * factors.clone().narrow(0, at, 1).reshape([1, 1, 1]))
        .reduce(|sum, field| sum + field)
        .unwrap_or_else(|| distances.zeros_like());
    // The mean over pictures and features, the sum over places.
    let share = 1.0 / (kernel.sets * n * width) as f64;
    let unit_squared = unit.square();
    let loss = squares_of(field.clone()) * share / unit_squared.clone().reshape([1]);
    let field = field * (unit_squared.recip() * (-2.0 * share));
    let field = field
        .unsqueeze_dim::<4>(1)
        .expand([groups, pieces, n, m])
        .reshape([groups * pieces, n, m]);
    let slope = by_group(products(field, all).reshape([sets, places * pieces, n, width / pieces]));
    (unwrap(Tensor::cat(vec![loss, sizes], 0)), unwrap(slope.reshape([sets, n, places, width])))
}
