//! The operations for burn's GPU backends: the kernels of pixgen-cubecl around its matrix product.
//!
//! Activations and matrices are `f32` or bf16; biases, norms and what belongs to losses are `f32`. Attention is the one operation that
//! a device may be too small for; then it takes the default body in `f32`.

use burn_backend::DeviceOps;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeRuntime, kernel::into_contiguous};
use burn_tensor::ops::FloatTensorOps;
use burn_tensor::{DType, FloatDType, TensorMetadata};
use cubecl::server::ComputeServer;
use pixgen_cubecl::rows as reduction;
use pixgen_cubecl::{KernelError, Result, attention, columns, dropout, epilogue, images, matmul, modulate, norm, nt_xent, skip, tokens};

use super::arguments::{Dropout, InputGradients, LossFactors};
use super::contract::FusedOps;
use super::implementation::{Implementation, implementation};
use super::plain;
use pixgen_core::ops::Branch;

/// A GPU backend. Tensors carry their own element type; `f32` is that of new ones.
pub type Gpu<R> = CubeBackend<R, f32, i32, u32>;

/// Whether the kernels apply.
fn fused() -> bool {
    implementation() == Implementation::Fused
}

/// What a kernel returned. [`super::network`] has checked the shapes and [`crate::config`] the precision, so that an error here is what
/// no smaller batch could bring about, and ends the work as a failed burn operation does.
pub(crate) fn done<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error: KernelError| panic!("{error}"))
}

/// `x` as rows of its last axis.
fn rows<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let width = x.meta.shape().as_slice().last().copied().unwrap_or(1);
    let count = x.meta.num_elements() / width.max(1);
    reshaped(x, &[count, width])
}

/// `x` in another shape.
fn reshaped<R: CubeRuntime>(x: CubeTensor<R>, shape: &[usize]) -> CubeTensor<R> {
    let x = into_contiguous(x);
    CubeTensor::new_contiguous(x.client, x.device, shape.to_vec().into(), x.handle, x.dtype)
}

/// The shape of `x` with another last axis.
fn with_width<R: CubeRuntime>(x: &CubeTensor<R>, width: usize) -> Vec<usize> {
    let mut shape = x.meta.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    shape
}

/// A matrix seen the other way round; nothing is moved.
fn transposed<R: CubeRuntime>(mut x: CubeTensor<R>) -> CubeTensor<R> {
    x.meta.swap(0, 1);
    x
}

/// `x w^T` for rows x.
fn product<R: CubeRuntime>(x: CubeTensor<R>, w: CubeTensor<R>) -> CubeTensor<R> {
    let dtype = x.dtype;
    done(matmul::matmul(x, transposed(w), dtype))
}

/// Gradients of rows x, of w and of a bias of [`product`].
fn product_backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    w: CubeTensor<R>,
    dy: CubeTensor<R>,
    [want_x, want_w, want_b]: [bool; 3],
) -> [Option<CubeTensor<R>>; 3] {
    let dtype = x.dtype;
    let (dw, db) = if want_w {
        let (dw, db) = done(matmul::weight_gradient(dy.clone(), x, want_b));
        (Some(dw), db)
    } else {
        (None, want_b.then(|| done(columns::column_sum(dy.clone()))))
    };
    let dx = want_x.then(|| done(matmul::matmul(dy, w, dtype)));
    [dx, dw, db]
}

/// Where a branch finds its shift and scale.
fn chunks(branch: Branch) -> reduction::Chunks {
    reduction::Chunks { shift: branch.shift(), scale: branch.scale() }
}

/// Runs a kernel, or on a device that is too small for it the default body in `f32`.
fn or_plain<T>(result: Result<T>, otherwise: impl FnOnce() -> T) -> T {
    match result {
        Err(error) if error.is_unavailable() => otherwise(),
        result => done(result),
    }
}

impl<R> FusedOps for Gpu<R>
where
    R: CubeRuntime,
    R::Server: ComputeServer,
    R::Device: DeviceOps,
{
    fn batched_matmul(lhs: CubeTensor<R>, rhs: CubeTensor<R>) -> CubeTensor<R> {
        if !fused() {
            return Self::float_matmul(lhs, rhs);
        }
        or_plain(matmul::batched(lhs.clone(), rhs.clone()), || Self::float_matmul(lhs, rhs))
    }

    fn fused_tokens(prefix: CubeTensor<R>, patches: CubeTensor<R>, position: CubeTensor<R>) -> CubeTensor<R> {
        if !fused() {
            return plain::tokens::<Self>(prefix, patches, position);
        }
        done(tokens::tokens(prefix, patches, position))
    }

    fn fused_tokens_backward(dy: CubeTensor<R>, prefix: usize, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        if !fused() {
            return plain::tokens_backward::<Self>(dy, prefix, wanted);
        }
        done(tokens::tokens_backward(dy, prefix, wanted))
    }

    fn fused_linear(x: CubeTensor<R>, w: CubeTensor<R>, b: Option<CubeTensor<R>>) -> CubeTensor<R> {
        if !fused() {
            return plain::linear::<Self>(x, w, b);
        }
        let shape = with_width(&x, w.meta.shape()[0]);
        let y = match b {
            Some(b) => done(matmul::linear(rows(x), w, b)),
            None => product(rows(x), w),
        };
        reshaped(y, &shape)
    }

    fn fused_linear_backward(x: CubeTensor<R>, w: CubeTensor<R>, dy: CubeTensor<R>, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        if !fused() {
            return plain::linear_backward::<Self>(x, w, dy, wanted);
        }
        let shape = x.shape();
        let [dx, dw, db] = product_backward(rows(x), w, rows(dy), wanted);
        [dx.map(|dx| reshaped(dx, shape.as_slice())), dw, db]
    }

    fn fused_linear_gelu(x: CubeTensor<R>, w: CubeTensor<R>, b: CubeTensor<R>) -> CubeTensor<R> {
        if !fused() {
            return plain::linear_gelu::<Self>(x, w, b);
        }
        let shape = with_width(&x, w.meta.shape()[0]);
        reshaped(done(epilogue::bias_gelu(product(rows(x), w), b)), &shape)
    }

    fn fused_linear_gelu_train(x: CubeTensor<R>, w: CubeTensor<R>, b: CubeTensor<R>) -> (CubeTensor<R>, CubeTensor<R>) {
        if !fused() {
            return plain::linear_gelu_train::<Self>(x, w, b);
        }
        let shape = with_width(&x, w.meta.shape()[0]);
        let z = product(rows(x), w);
        // It is held here, so it is not written over.
        let y = done(epilogue::bias_gelu(z.clone(), b));
        (reshaped(y, &shape), reshaped(z, &shape))
    }

    fn fused_linear_gelu_backward(
        x: CubeTensor<R>,
        w: CubeTensor<R>,
        b: CubeTensor<R>,
        kept: CubeTensor<R>,
        dy: CubeTensor<R>,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        if !fused() {
            return Self::fused_linear_backward(x, w, Self::float_mul(dy, kept), wanted);
        }
        let shape = x.shape();
        let (dz, db) = done(epilogue::gelu_backward(rows(dy), rows(kept), b));
        let [dx, dw, _] = product_backward(rows(x), w, dz, [wanted[0], wanted[1], false]);
        [dx.map(|dx| reshaped(dx, shape.as_slice())), dw, wanted[2].then_some(db)]
    }

    fn fused_layer_norm(x: CubeTensor<R>, gamma: CubeTensor<R>, beta: CubeTensor<R>) -> CubeTensor<R> {
        if !fused() {
            return plain::layer_norm::<Self>(x, gamma, beta);
        }
        done(norm::layer_norm(x, gamma, beta))
    }

    fn fused_layer_norm_backward(x: CubeTensor<R>, gamma: CubeTensor<R>, dy: CubeTensor<R>, wanted: [bool; 3]) -> InputGradients<Self, 3> {
        if !fused() {
            return plain::layer_norm_backward::<Self>(x, gamma, dy, wanted);
        }
        done(norm::layer_norm_backward(x, gamma, dy, wanted))
    }

    fn fused_norm_modulate(x: CubeTensor<R>, gamma: CubeTensor<R>, beta: CubeTensor<R>, m: CubeTensor<R>, branch: Branch) -> CubeTensor<R> {
        if !fused() {
            return plain::norm_modulate::<Self>(x, gamma, beta, m, branch);
        }
        done(modulate::norm_modulate(x, gamma, beta, m, chunks(branch)))
    }

    fn fused_norm_modulate_backward(
        x: CubeTensor<R>,
        gamma: CubeTensor<R>,
        beta: CubeTensor<R>,
        m: CubeTensor<R>,
        branch: Branch,
        dy: CubeTensor<R>,
        wanted: [bool; 4],
    ) -> InputGradients<Self, 4> {
        if !fused() {
            return plain::norm_modulate_backward::<Self>(x, gamma, beta, m, branch, dy, wanted);
        }
        done(modulate::norm_modulate_backward(x, gamma, beta, m, chunks(branch), dy, wanted))
    }

    fn fused_gated_residual(x: CubeTensor<R>, y: CubeTensor<R>, m: CubeTensor<R>, branch: Branch) -> CubeTensor<R> {
        if !fused() {
            return plain::gated_residual::<Self>(x, y, m, branch);
        }
        done(modulate::gated_residual(x, y, m, branch.gate()))
    }

    fn fused_gated_residual_backward(
        y: CubeTensor<R>,
        m: CubeTensor<R>,
        branch: Branch,
        dy: CubeTensor<R>,
        wanted: [bool; 3],
    ) -> InputGradients<Self, 3> {
        if !fused() {
            return plain::gated_residual_backward::<Self>(y, m, branch, dy, wanted);
        }
        done(modulate::gated_residual_backward(y, m, branch.gate(), dy, wanted))
    }

    fn fused_attention(qkv: CubeTensor<R>, heads: usize) -> CubeTensor<R> {
        if !fused() {
            return plain::attention::<Self>(qkv, heads);
        }
        or_plain(attention::forward(qkv.clone(), heads), || in_f32(qkv, |qkv| plain::attention::<Self>(qkv, heads)))
    }

    fn fused_attention_train(qkv: CubeTensor<R>, heads: usize) -> (CubeTensor<R>, CubeTensor<R>) {
        if !fused() {
            return plain::attention_train::<Self>(qkv, heads);
        }
        or_plain(attention::forward_train(qkv.clone(), heads), || {
            let dtype = float(qkv.dtype);
            let (y, lse) = plain::attention_train::<Self>(Self::float_cast(qkv, FloatDType::F32), heads);
            (Self::float_cast(y, dtype), lse)
        })
    }

    fn fused_attention_backward(
        qkv: CubeTensor<R>,
        y: CubeTensor<R>,
        lse: CubeTensor<R>,
        heads: usize,
        dy: CubeTensor<R>,
    ) -> CubeTensor<R> {
        if !fused() {
            return plain::attention_backward::<Self>(qkv, lse, heads, dy);
        }
        or_plain(attention::backward(qkv.clone(), y, lse.clone(), heads, dy.clone()), || {
            let dy = Self::float_cast(dy, FloatDType::F32);
            in_f32(qkv, |qkv| plain::attention_backward::<Self>(qkv, lse, heads, dy))
        })
    }

    fn fused_skip_fuse(
        x: CubeTensor<R>,
        s: CubeTensor<R>,
        w: CubeTensor<R>,
        b: CubeTensor<R>,
        gamma: CubeTensor<R>,
        beta: CubeTensor<R>,
    ) -> CubeTensor<R> {
        Self::fused_skip_fuse_train(x, s, w, b, gamma, beta).0
    }

    fn fused_skip_fuse_train(
        x: CubeTensor<R>,
        s: CubeTensor<R>,
        w: CubeTensor<R>,
        b: CubeTensor<R>,
        gamma: CubeTensor<R>,
        beta: CubeTensor<R>,
    ) -> (CubeTensor<R>, CubeTensor<R>) {
        if !fused() {
            return plain::skip_fuse_train::<Self>(x, s, w, b, gamma, beta);
        }
        let shape = x.shape();
        let joined = done(skip::concat_last(rows(x), rows(s)));
        let normed = reshaped(done(matmul::linear(joined, w, b)), shape.as_slice());
        (done(norm::layer_norm(normed.clone(), gamma, beta)), normed)
    }

    fn fused_skip_fuse_backward(
        x: CubeTensor<R>,
        s: CubeTensor<R>,
        w: CubeTensor<R>,
        normed: CubeTensor<R>,
        gamma: CubeTensor<R>,
        dy: CubeTensor<R>,
        wanted: [bool; 6],
    ) -> InputGradients<Self, 6> {
        if !fused() {
            return plain::skip_fuse_backward::<Self>(x, s, w, normed, gamma, dy, wanted);
        }
        let [want_x, want_s, want_w, want_b, want_gamma, want_beta] = wanted;
        let (x_shape, s_shape) = (x.shape(), s.shape());
        let width = x_shape.as_slice().last().copied().unwrap_or(1);
        let [dz, dgamma, dbeta] = done(norm::layer_norm_backward(rows(normed), gamma, rows(dy), [true, want_gamma, want_beta]));
        let Some(dz) = dz else { return [const { None }; 6] };
        let joined = done(skip::concat_last(rows(x), rows(s)));
        let [dj, dw, db] = product_backward(joined, w, dz, [want_x || want_s, want_w, want_b]);
        let (dx, ds) = dj.map(|dj| done(skip::split_last(dj, width))).unzip();
        let shaped = |gradient: Option<CubeTensor<R>>, wanted: bool, shape: &[usize]| {
            gradient.filter(|_| wanted).map(|gradient| reshaped(gradient, shape))
        };
        [
            shaped(dx, want_x, x_shape.as_slice()),
            shaped(ds, want_s, s_shape.as_slice()),
            dw,
            db,
            dgamma,
            dbeta,
        ]
    }

    fn fused_dropout(x: CubeTensor<R>, by: &Dropout) -> CubeTensor<R> {
        if !fused() {
            return plain::dropout::<Self>(x, by);
        }
        let first = by.first_block(x.meta.num_elements() / by.streams.len().max(1));
        done(dropout::dropout(x, by.seed, &by.streams, first, by.threshold(), by.factor()))
    }

    fn fused_weighted_sum(x: CubeTensor<R>, y: CubeTensor<R>, a: CubeTensor<R>, b: CubeTensor<R>) -> CubeTensor<R> {
        if !fused() {
            return plain::weighted_sum::<Self>(x, y, a, b);
        }
        done(images::weighted_sum(x, y, a, b))
    }

    fn fused_weighted_sum_backward(a: CubeTensor<R>, b: CubeTensor<R>, dy: CubeTensor<R>, wanted: [bool; 2]) -> InputGradients<Self, 2> {
        if !fused() {
            return plain::weighted_sum_backward::<Self>(a, b, dy, wanted);
        }
        done(images::weighted_sum_backward(a, b, dy, wanted))
    }

    fn fused_consistency_loss(
        f: CubeTensor<R>,
        x: CubeTensor<R>,
        target: CubeTensor<R>,
        factors: LossFactors<CubeTensor<R>>,
        huber: f64,
    ) -> (CubeTensor<R>, CubeTensor<R>) {
        if !fused() {
            return plain::consistency_loss::<Self>(f, x, target, factors, huber);
        }
        done(images::consistency_loss(f, x, target, factors.skip, factors.out, factors.weight, huber))
    }

    fn fused_nt_xent(queries: CubeTensor<R>, keys: CubeTensor<R>, first: usize, tau: f64) -> (CubeTensor<R>, CubeTensor<R>) {
        if !fused() {
            return plain::nt_xent::<Self>(queries, keys, first, tau);
        }
        done(nt_xent::nt_xent(queries, keys, first, tau))
    }

    fn fused_nt_xent_backward(
        queries: CubeTensor<R>,
        keys: CubeTensor<R>,
        lse: CubeTensor<R>,
        first: usize,
        tau: f64,
        dy: CubeTensor<R>,
        wanted: [bool; 2],
    ) -> InputGradients<Self, 2> {
        if !fused() {
            return plain::nt_xent_backward::<Self>(queries, keys, lse, first, tau, dy, wanted);
        }
        done(nt_xent::nt_xent_backward(queries, keys, lse, first, tau, dy, wanted))
    }
}

/// The type to cast back to.
fn float(dtype: DType) -> FloatDType {
    if dtype == DType::BF16 { FloatDType::BF16 } else { FloatDType::F32 }
}

/// A default body on `f32`, its result in the type of the input.
fn in_f32<R>(x: CubeTensor<R>, body: impl FnOnce(CubeTensor<R>) -> CubeTensor<R>) -> CubeTensor<R>
where
    R: CubeRuntime,
    R::Server: ComputeServer,
    R::Device: DeviceOps,
{
    let dtype = float(x.dtype);
    Gpu::<R>::float_cast(body(Gpu::<R>::float_cast(x, FloatDType::F32)), dtype)
}
