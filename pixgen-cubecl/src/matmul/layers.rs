//! A linear layer's products together with what belongs to them: the bias and its gradient.
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
        && product.by_library(&out, crate::cuda::Beside::Bias(&bias_in(dtype)?))?
    {
        return Ok(out);
    }
    add_bias(product.by_kernels()?, bias_in(DType::F32)?)
}

/// `dY^T x`, the gradient of a layer's weight, `[O, I]`, and that of its bias, the sum of the rows of dY, `[O]` in `f32`, if it is wanted:
/// dY `[rows, O]`, x `[rows, I]`. The first is of their type, or of `f32` where that moves fewer bytes in all.
///
/// # Errors
/// As [`matmul`](super::matmul()).
pub fn weight_gradient<R: CubeRuntime>(
    dy: CubeTensor<R>,
    x: CubeTensor<R>,
    wants_bias: bool,
) -> Result<(CubeTensor<R>, Option<CubeTensor<R>>)> {
    #[cfg(feature = "cuda")]
    if wants_bias && crate::cuda::is_used::<R>(&x.device) && sums_come_along(&x) {
        let product = Product::new(transposed(dy.clone()), x.clone(), DType::F32)?;
        if let Some(out) = product.place() {
            let sums = empty(&out, &[product.problem.m as usize], DType::F32);
            if product.by_library(&out, crate::cuda::Beside::RowSums(&sums))? {
                return Ok((out, Some(sums)));
            }
        }
    }
    let sums = wants_bias.then(|| column_sum(dy.clone())).transpose()?;
    let dtype = x.dtype;
    Ok((super::matmul(transposed(dy), x, dtype)?, sums))
}

/// Whether the sums of dY cost less beside the product than in a pass of their own. cuBLASLt gives them the type of the result, `f32`: for
/// rows in bf16 the gradient takes two bytes more, which are written and read, and the pass would read two of each number of dY.
#[cfg(feature = "cuda")]
fn sums_come_along<R: CubeRuntime>(x: &CubeTensor<R>) -> bool {
    x.dtype == DType::F32 || matches!(*x.meta.shape().as_slice(), [rows, inputs] if rows > 2 * inputs)
}

/// A matrix seen the other way round; nothing is moved.
fn transposed<R: CubeRuntime>(mut x: CubeTensor<R>) -> CubeTensor<R> {
    if x.meta.shape().num_dims() == 2 {
        x.meta.swap(0, 1);
    }
    x
}
