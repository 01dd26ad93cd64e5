//! The operations for burn's CPU backend Flex: slices, rayon over fixed blocks of rows, matrix products by `gemm`.
//!
//! Tensors that are not `f32` and [`Implementation::Plain`](crate::ops::Implementation::Plain) take the default bodies.

mod attention;
mod attention_short;
mod buffers;
mod columns;
mod drift;
mod heads;
mod images;
pub(crate) mod lanes;
mod linear;
mod modulate;
mod norm;
mod skip;
mod storage;
mod tokens;

use burn_flex::{Flex, FlexTensor};
use burn_tensor::ops::FloatTensorOps;
use burn_tensor::{DType, TensorMetadata};

use self::buffers::release;
use self::linear::Weight;
use self::modulate::ModulationRows;
use self::storage::{Dense, fused, tensor, with_width};
use crate::ops::arguments::{DriftKernel, Dropout, InputGradients, LossFactors};
use crate::ops::contract::FusedOps;
use crate::ops::plain;
use pixgen_core::ops::Branch;

/// The weight `[outputs, inputs]`.
fn weight(w: &Dense) -> Weight<'_> {
    Weight::new(w.data(), w.dims()[0], w.width())
}

/// The modulation of x `[images, tokens, width]`.
fn modulation<'a>(m: &'a Dense, x: &Dense, branch: Branch) -> ModulationRows<'a> {
    ModulationRows { data: m.data(), tokens: x.dims()[1], width: x.width(), branch }
}

/// The sizes of qkv `[images, tokens, 3 width]`.
fn attention_sizes(qkv: &Dense, heads: usize) -> heads::HeadLayout {
    heads::HeadLayout { tokens: qkv.dims()[1], width: qkv.width() / 3, heads }
}

/// Gradients as tensors of the shapes of their inputs.
fn tensors<const N: usize>(gradients: [Option<Vec<f32>>; N], dims: [&[usize]; N]) -> InputGradients<Flex, N> {
    let mut dims = dims.into_iter();
    gradients.map(|gradient| {
        let dims = dims.next().unwrap_or(&[]);
        gradient.map(|gradient| tensor(gradient, dims))
    })
}

/// Adds a tensor's values to `sum` and lets go of it, so that its memory can be used again.
pub(crate) fn add_to(tensor: FlexTensor, sum: &mut [f32]) {
    if tensor.dtype() == DType::F32 {
        columns::add_rows(Dense::new(tensor).data(), sum);
    } else {
        sum.iter_mut()
            .zip(tensor.into_data().iter::<f32>())
            .for_each(|(sum, value)| *sum += value);
    }
}

impl FusedOps for Flex {
    /// Enough rows to pay for what a pass costs whatever its rows (packed weights, nodes of the graph, parameter gradients).
    const MICRO_BATCH_TOKENS: Option<usize> = Some(1152);

    fn fused_tokens(prefix: FlexTensor, patches: FlexTensor, position: FlexTensor) -> FlexTensor {
        if !fused([&prefix, &patches, &position]) {
            return plain::tokens::<Self>(prefix, patches, position);
        }
        let [prefix, patches, position] = [prefix, patches, position].map(Dense::new);
        let y = tokens::forward(prefix.data(), patches.data(), position.data(), prefix.dims()[1] * prefix.width());
        tensor(y, &[patches.dims()[0], position.dims()[0], patches.width()])
    }

    fn fused_tokens_backward(dy: FlexTensor, prefix: usize, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        if !fused([&dy]) {
            return plain::tokens_backward::<Self>(dy, prefix, wanted);
        }
        let dy = Dense::new(dy);
        let (images, tokens, width) = (dy.dims()[0], dy.dims()[1], dy.width());
        let gradients = tokens::backward(dy.data(), tokens * width, prefix * width);
        let dims = [&[images, prefix, width][..], &[images, tokens - prefix, width], &[tokens, width]];
        select(gradients, wanted, dims)
    }

    fn fused_linear(x: FlexTensor, w: FlexTensor, b: Option<FlexTensor>) -> FlexTensor {
        if !fused([&x, &w]) {
            return plain::linear::<Self>(x, w, b);
        }
        let (x, w, b) = (Dense::new(x), Dense::new(w), b.map(Dense::new));
        let y = linear::forward(x.data(), weight(&w), b.as_ref().map(Dense::data));
        tensor(y, &with_width(x.dims(), w.dims()[0]))
    }

    fn fused_linear_backward(x: FlexTensor, w: FlexTensor, dy: FlexTensor, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        if !fused([&x, &w, &dy]) {
            return plain::linear_backward::<Self>(x, w, dy, wanted);
        }
        let [x, w, dy] = [x, w, dy].map(Dense::new);
        let gradients = linear::backward(x.data(), weight(&w), dy.data(), wanted);
        tensors(gradients, [x.dims(), w.dims(), &w.dims()[..1]])
    }

    fn fused_linear_gelu(x: FlexTensor, w: FlexTensor, b: FlexTensor) -> FlexTensor {
        if !fused([&x, &w, &b]) {
            return plain::linear_gelu::<Self>(x, w, b);
        }
        let [x, w, b] = [x, w, b].map(Dense::new);
        let y = linear::forward_gelu(x.data(), weight(&w), b.data());
        tensor(y, &with_width(x.dims(), w.dims()[0]))
    }

    fn fused_linear_gelu_train(x: FlexTensor, w: FlexTensor, b: FlexTensor) -> (FlexTensor, FlexTensor) {
        if !fused([&x, &w, &b]) {
            return plain::linear_gelu_train::<Self>(x, w, b);
        }
        let [x, w, b] = [x, w, b].map(Dense::new);
        let (y, slope) = linear::forward_gelu_train(x.data(), weight(&w), b.data());
        let dims = with_width(x.dims(), w.dims()[0]);
        (tensor(y, &dims), tensor(slope, &dims))
    }

    fn fused_linear_gelu_backward(
        x: FlexTensor,
        w: FlexTensor,
        _b: FlexTensor,
        slope: FlexTensor,
        dy: FlexTensor,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        if !fused([&x, &w, &slope, &dy]) {
            let dz = Self::float_mul(dy, slope);
            return plain::linear_backward::<Self>(x, w, dz, wanted);
        }
        let [x, w, slope, dy] = [x, w, slope, dy].map(Dense::new);
        let mut dz = dy.into_buffer();
        let db = linear::gelu_backward(&mut dz, slope.data(), w.dims()[0]);
        let [dx, dw, _] = linear::backward(x.data(), weight(&w), &dz, [wanted[0], wanted[1], false]);
        release(dz);
        tensors([dx, dw, wanted[2].then_some(db)], [x.dims(), w.dims(), &w.dims()[..1]])
    }

    fn fused_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor) -> FlexTensor {
        if !fused([&x, &gamma, &beta]) {
            return plain::layer_norm::<Self>(x, gamma, beta);
        }
        let [x, gamma, beta] = [x, gamma, beta].map(Dense::new);
        tensor(norm::forward(x.data(), gamma.data(), beta.data()), x.dims())
    }

    fn fused_layer_norm_backward(x: FlexTensor, gamma: FlexTensor, dy: FlexTensor, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        if !fused([&x, &gamma, &dy]) {
            return plain::layer_norm_backward::<Self>(x, gamma, dy, wanted);
        }
        let [x, gamma, dy] = [x, gamma, dy].map(Dense::new);
        let gradients = norm::backward(x.data(), gamma.data(), dy.data());
        select(gradients, wanted, [x.dims(), gamma.dims(), gamma.dims()])
    }

    fn fused_norm_modulate(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, m: FlexTensor, branch: Branch) -> FlexTensor {
        if !fused([&x, &gamma, &beta, &m]) {
            return plain::norm_modulate::<Self>(x, gamma, beta, m, branch);
        }
        let [x, gamma, beta, m] = [x, gamma, beta, m].map(Dense::new);
        let y = modulate::norm_modulate(x.data(), gamma.data(), beta.data(), modulation(&m, &x, branch));
        tensor(y, x.dims())
    }

    fn fused_norm_modulate_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        m: FlexTensor,
        branch: Branch,
        dy: FlexTensor,
        wanted: [bool; 4],
    ) -> InputGradients<Self, 4> {
        if !fused([&x, &gamma, &beta, &m, &dy]) {
            return plain::norm_modulate_backward::<Self>(x, gamma, beta, m, branch, dy, wanted);
        }
        let [x, gamma, beta, m, dy] = [x, gamma, beta, m, dy].map(Dense::new);
        let gradients = modulate::norm_modulate_backward(x.data(), gamma.data(), beta.data(), modulation(&m, &x, branch), dy.data());
        select(gradients, wanted, [x.dims(), gamma.dims(), gamma.dims(), m.dims()])
    }

    fn fused_gated_residual(x: FlexTensor, y: FlexTensor, m: FlexTensor, branch: Branch) -> FlexTensor {
        if !fused([&x, &y, &m]) {
            return plain::gated_residual::<Self>(x, y, m, branch);
        }
        let [x, y, m] = [x, y, m].map(Dense::new);
        let output = modulate::gated_residual(x.data(), y.data(), modulation(&m, &x, branch));
        tensor(output, x.dims())
    }

    fn fused_gated_residual_backward(
        y: FlexTensor,
        m: FlexTensor,
        branch: Branch,
        dy: FlexTensor,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        if !fused([&y, &m, &dy]) {
            return plain::gated_residual_backward::<Self>(y, m, branch, dy, wanted);
        }
        let dx = wanted[0].then(|| dy.clone());
        let [y, m, dout] = [y, m, dy].map(Dense::new);
        let gradients = modulate::gated_residual_backward(y.data(), modulation(&m, &y, branch), dout.data());
        let [dy, dm] = select(gradients, [wanted[1], wanted[2]], [y.dims(), m.dims()]);
        [dx, dy, dm]
    }

    fn fused_attention(qkv: FlexTensor, heads: usize) -> FlexTensor {
        if !fused([&qkv]) {
            return plain::attention::<Self>(qkv, heads);
        }
        Self::fused_attention_train(qkv, heads).0
    }

    fn fused_attention_train(qkv: FlexTensor, heads: usize) -> (FlexTensor, FlexTensor) {
        if !fused([&qkv]) {
            return plain::attention_train::<Self>(qkv, heads);
        }
        let qkv = Dense::new(qkv);
        let sizes = attention_sizes(&qkv, heads);
        let (y, lse) = attention::forward(qkv.data(), sizes);
        let lse_dims = [qkv.dims()[0], heads, sizes.tokens];
        (tensor(y, &with_width(qkv.dims(), sizes.width)), tensor(lse, &lse_dims))
    }

    fn fused_attention_backward(qkv: FlexTensor, _y: FlexTensor, lse: FlexTensor, heads: usize, dy: FlexTensor) -> FlexTensor {
        if !fused([&qkv, &lse, &dy]) {
            return plain::attention_backward::<Self>(qkv, lse, heads, dy);
        }
        let [qkv, lse, dy] = [qkv, lse, dy].map(Dense::new);
        let sizes = attention_sizes(&qkv, heads);
        let dqkv = attention::backward(qkv.data(), lse.data(), dy.data(), sizes);
        tensor(dqkv, qkv.dims())
    }

    fn fused_skip_fuse(x: FlexTensor, s: FlexTensor, w: FlexTensor, b: FlexTensor, gamma: FlexTensor, beta: FlexTensor) -> FlexTensor {
        Self::fused_skip_fuse_train(x, s, w, b, gamma, beta).0
    }

    fn fused_skip_fuse_train(
        x: FlexTensor,
        s: FlexTensor,
        w: FlexTensor,
        b: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        if !fused([&x, &s, &w, &b, &gamma, &beta]) {
            return plain::skip_fuse_train::<Self>(x, s, w, b, gamma, beta);
        }
        let [x, s, w, b, gamma, beta] = [x, s, w, b, gamma, beta].map(Dense::new);
        let parts = skip::split(w.data(), x.width(), s.width());
        let normed = skip::forward(x.data(), s.data(), parts, b.data());
        let y = norm::forward(&normed, gamma.data(), beta.data());
        (tensor(y, x.dims()), tensor(normed, x.dims()))
    }

    fn fused_skip_fuse_backward(
        x: FlexTensor,
        s: FlexTensor,
        w: FlexTensor,
        normed: FlexTensor,
        gamma: FlexTensor,
        dy: FlexTensor,
        wanted: [bool; 6],
    ) -> InputGradients<Self, 6> {
        if !fused([&x, &s, &w, &normed, &gamma, &dy]) {
            return plain::skip_fuse_backward::<Self>(x, s, w, normed, gamma, dy, wanted);
        }
        let [x, s, w, normed, gamma, dy] = [x, s, w, normed, gamma, dy].map(Dense::new);
        let parts = skip::split(w.data(), x.width(), s.width());
        let gradients = skip::backward(x.data(), s.data(), parts, normed.data(), gamma.data(), dy.data(), wanted);
        let row = gamma.dims();
        tensors(gradients, [x.dims(), s.dims(), w.dims(), row, row, row])
    }

    fn fused_dropout(x: FlexTensor, dropout: &Dropout) -> FlexTensor {
        if !fused([&x]) {
            return plain::dropout::<Self>(x, dropout);
        }
        let dims = x.shape().to_vec();
        let mut values = Dense::new(x).into_buffer();
        images::dropout(&mut values, dropout);
        tensor(values, &dims)
    }

    fn fused_weighted_sum(x: FlexTensor, y: FlexTensor, a: FlexTensor, b: FlexTensor) -> FlexTensor {
        if !fused([&x, &y, &a, &b]) {
            return plain::weighted_sum::<Self>(x, y, a, b);
        }
        let [x, y, a, b] = [x, y, a, b].map(Dense::new);
        tensor(images::weighted_sum(x.data(), y.data(), a.data(), b.data()), x.dims())
    }

    fn fused_weighted_sum_backward(a: FlexTensor, b: FlexTensor, dy: FlexTensor, wanted: [bool; 2]) -> InputGradients<Self, 2> {
        if !fused([&a, &b, &dy]) {
            return plain::weighted_sum_backward::<Self>(a, b, dy, wanted);
        }
        let [a, b, dy] = [a, b, dy].map(Dense::new);
        let scaled = |wanted: bool, factors: &Dense| wanted.then(|| images::scale(dy.data(), factors.data()));
        tensors([scaled(wanted[0], &a), scaled(wanted[1], &b)], [dy.dims(); 2])
    }

    fn fused_consistency_loss(
        f: FlexTensor,
        x: FlexTensor,
        target: FlexTensor,
        factors: LossFactors<FlexTensor>,
        huber: f64,
    ) -> (FlexTensor, FlexTensor) {
        if !fused([&f, &x, &target]) {
            return plain::consistency_loss::<Self>(f, x, target, factors, huber);
        }
        let [f, x, target] = [f, x, target].map(Dense::new);
        let [skip, out, weight] = [factors.skip, factors.out, factors.weight].map(Dense::new);
        let factors = LossFactors { skip: skip.data(), out: out.data(), weight: weight.data() };
        let (losses, slope) = images::consistency_loss(f.data(), x.data(), target.data(), &factors, huber);
        (tensor(losses, weight.dims()), tensor(slope, f.dims()))
    }

    fn fused_drift(x: FlexTensor, real: FlexTensor, others: Option<FlexTensor>, kernel: &DriftKernel<'_>) -> (FlexTensor, FlexTensor) {
        if !fused([&x, &real]) || others.as_ref().is_some_and(|others| !fused([others])) {
            return plain::drift::<Self>(x, real, others, kernel, Self::batched_matmul);
        }
        let ([x, real], others) = ([x, real].map(Dense::new), others.map(Dense::new));
        let [sets, generated, places, width] = [0, 1, 2, 3].map(|axis| x.dims()[axis]);
        let (count, others) = others.as_ref().map_or((0, &[][..]), |others| (others.dims()[1], others.data()));
        let sizes = drift::DriftSizes { sets, generated, real: real.dims()[1], others: count, places, width };
        let (losses, slope) = drift::drift([x.data(), real.data(), others], sizes, kernel);
        let count = losses.len();
        (tensor(losses, &[count]), tensor(slope, x.dims()))
    }
}

/// The wanted ones of these gradients as tensors.
fn select<const N: usize>(gradients: [Vec<f32>; N], wanted: [bool; N], dims: [&[usize]; N]) -> InputGradients<Flex, N> {
    let mut wanted = wanted.into_iter();
    tensors(gradients.map(|gradient| wanted.next().unwrap_or(false).then_some(gradient)), dims)
}
