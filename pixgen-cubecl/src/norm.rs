//! Layer norm over the last axis (docs/reference/method.md section 2.1). The kernels and what they move are in [`crate::rows`].

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

use crate::columns::{self, ColumnPass, halves, vector};
use crate::error::Result;
use crate::launch::{contiguous, matrix, operand, stored};
use crate::rows::{Gradients, launch_backward, launch_forward};

/// `gamma (x - mean) / sqrt(variance + epsilon) + beta` of every row: x `[.., D]` in `f32` or bf16, gamma and beta `[D]` in `f32`; returns
/// x's shape and type.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn layer_norm<R: CubeRuntime>(x: CubeTensor<R>, gamma: CubeTensor<R>, beta: CubeTensor<R>) -> Result<CubeTensor<R>> {
    const OP: &str = "layer norm";
    stored(OP, "x", &x)?;
    let (rows, width) = matrix(OP, "x", &x)?;
    let gamma = operand(OP, "gamma", gamma, &[width], DType::F32)?;
    let beta = operand(OP, "beta", beta, &[width], DType::F32)?;
    launch_forward(OP, contiguous(OP, x)?, gamma, beta, None, [1, rows, width])
}

/// Gradients of x, gamma and beta of [`layer_norm`] for the output gradient `dy`, of x's shape and type. Those of gamma and beta are `[D]`
/// in `f32`.
///
/// # Errors
/// As [`layer_norm`].
pub fn layer_norm_backward<R: CubeRuntime>(
    x: CubeTensor<R>,
    gamma: CubeTensor<R>,
    dy: CubeTensor<R>,
    wanted: [bool; 3],
) -> Result<[Option<CubeTensor<R>>; 3]> {
    const OP: &str = "layer norm backward";
    let dtype = stored(OP, "x", &x)?;
    let (rows, width) = matrix(OP, "x", &x)?;
    let gamma = operand(OP, "gamma", gamma, &[width], DType::F32)?;
    let dy = operand(OP, "dy", dy, x.meta.shape().as_slice(), dtype)?;
    let want_columns = wanted[1] || wanted[2];
    let x = contiguous(OP, x)?;
    let Gradients { dx, columns, strips } = launch_backward(OP, x, gamma, None, dy, [1, rows, width], wanted[0], want_columns)?;
    let [mut dgamma, mut dbeta] = [None, None];
    if let Some(partial) = columns {
        let [sums, along] = halves(columns::launch(OP, partial, ColumnPass::Sum, [2, strips.count, width])?.0);
        dgamma = wanted[1].then(|| vector(along));
        dbeta = wanted[2].then(|| vector(sums));
    }
    Ok([dx, dgamma, dbeta])
}
