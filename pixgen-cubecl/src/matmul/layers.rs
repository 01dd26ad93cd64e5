//! A linear layer's products together with what belongs to them: the bias, its gradient, the sum of gradients.
//!
//! cuBLASLt does these in the pass of the product; elsewhere each is a kernel of its own.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubek::std::MatrixLayout;

use super::Product;
use super::convert::convert;
use super::problem::OP;
use crate::columns::column_sum;
use crate::epilogue::add_bias;
use crate::error::Result;
#[cfg(feature = "cuda")]
use crate::launch::empty;
use crate::launch::operand;
use crate::optimiser::add_into;
#[cfg(feature = "cuda")]
use crate::optimiser::view;

/// `x W^T + b`: x `[rows, I]` and w `[O, I]` of one type, f32 or bf16, b `[O]` in that type or in `f32`; returns `[rows, O]` of x's type.
///
/// cuBLASLt takes the bias in the type of the result and rounds once; elsewhere the product is rounded before the bias is added to it.
///
/// # Errors
/// As [`matmul`](super::matmul()), or a bias of another shape or type.
pub fn linear<R: CubeRuntime>(x: CubeTensor<R>, w: CubeTensor<R>, b: CubeTensor<R>) -> Result<CubeTensor<R>> {
    let dtype = x.dtype;
    let product = Product::new(x, transposed(w), dtype)?;
    let outputs = product.problem.n as usize;
    let given = if b.dtype == dtype { dtype } else { DType::F32 };
    let b = operand(OP, "the bias", b, &[outputs], given)?;
    let bias_in = |dtype| {
        let mut row = b.clone();
        *row.meta = Metadata::new([1, outputs], [outputs, 1]);
        let mut row = convert(row, MatrixLayout::RowMajor, dtype)?;
        *row.meta = Metadata::new([outputs], [1]);
        Ok(row)
    };
    #[cfg(feature = "cuda")]
    if let Some(out) = product.place()
        && product.by_library(&out, false, crate::cuda::Beside::Bias(&bias_in(dtype)?))?
    {
        return Ok(out);
    }
    add_bias(product.by_kernels()?, bias_in(DType::F32)?)
}

/// Adds `dY^T x`, the gradient of a layer's weight, to the `[O, I]` numbers from element `start` of a flat `f32` buffer, and returns the
/// gradient of its bias, the sum of the rows of dY, `[O]` in `f32`, if it is wanted: dY `[rows, O]`, x `[rows, I]`.
///
/// # Errors
/// As [`matmul`](super::matmul()), or a part outside the buffer or at no multiple of [`CHUNK`](crate::optimiser::CHUNK).
pub fn add_weight_gradient<R: CubeRuntime>(
    dy: CubeTensor<R>,
    x: CubeTensor<R>,
    buffer: &CubeTensor<R>,
    start: usize,
    wants_bias: bool,
) -> Result<Option<CubeTensor<R>>> {
    let product = Product::new(transposed(dy.clone()), x.clone(), DType::F32)?;
    #[cfg(feature = "cuda")]
    if crate::cuda::is_used::<R>(&buffer.device) {
        let shape = [product.problem.m as usize, product.problem.n as usize];
        let place = view(OP, buffer, start, &shape)?;
        let sums = wants_bias.then(|| empty(buffer, &shape[..1], DType::F32));
        let beside = sums.as_ref().map_or(crate::cuda::Beside::Nothing, crate::cuda::Beside::RowSums);
        if product.by_library(&place, true, beside)? {
            return Ok(sums);
        }
    }
    add_into(buffer, start, product.by_kernels()?)?;
    wants_bias.then(|| column_sum(dy)).transpose()
}

/// A matrix seen the other way round; nothing is moved.
fn transposed<R: CubeRuntime>(mut x: CubeTensor<R>) -> CubeTensor<R> {
    if x.meta.shape().num_dims() == 2 {
        x.meta.swap(0, 1);
    }
    x
}
