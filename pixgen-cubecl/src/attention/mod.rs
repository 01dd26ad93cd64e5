//! Attention without the `T x T` map in memory, forward and backward (docs/reference/method.md section 2.2).
//!
//! # How
//!
//! A cube owns a block of tokens of one head of one image and walks over blocks of the other side, which it stages in shared memory:
//! queries against keys and values ([`forward()`], and the gradient of queries), keys and values against queries and output gradients
//! (their gradient). Scores and probabilities exist as tiles of `rows` x `columns`, sums stay in registers until the end, and `exp` and
//! sums are `f32` whatever is stored. The forward keeps a running reference per row instead of the exact running maximum, so that its
//! sums are rescaled only when scores rise by more than 8 above it. The backward recomputes probabilities from the log-sum-exp, once
//! for queries and once for keys, so that every gradient is summed by one cube in a fixed order: no atomics, and runs repeat bit by bit.
//!
//! * [`fragments`]: the kernels for bf16 on CUDA, wherever they fit; what is said above of tiles of scores is of the others.
//! * `tile`: products of tiles, on tensor cores (bf16 on CUDA where [`fragments`] do not fit) or on scalar units (`f32`, and every device
//!   without tensor cores).
//! * `stage`: loads, masks and weights; `heads`: where a head lies in memory; both the same for either way to multiply.
//! * [`plan`]: sizes of the tiles, chosen from head width, tokens and device.
//! * `forward`, `backward`: the portable kernels, and the choice.
//!
//! Each kernel is one function of a hundred lines: its phases share the tiles, the sums in registers and the loop over blocks, which would
//! be a dozen arguments of every part. What stands apart has a name: `load`, `scores`, `mask`, `put_weights`, `accumulate`, `write`.
//!
//! # What it costs
//!
//! With `e` bytes per number, a head of an image moves `4 T w e + 4 T` bytes of device memory forward and `12 T w e + 16 T` backward,
//! if a head's keys and values stay in cache while its cubes run: they are 66 KB for 258 tokens of 64 numbers in bf16, where one map of
//! scores is 133 KB and an unfused step writes or reads several. Each block of rows reads the other side once more from cache: with 258
//! tokens in blocks of 96 forward moves `8 T w e` through the cache and backward `21 T w e`.
//!
//! Per cube of the portable kernels, 258 tokens; registers of a unit are what ptxas reports for sm_90a and sm_80 (CUDA 12.9), without
//! spills; bf16 of these widths takes [`fragments`] today:
//!
//! | stored | head | kernel | rows x columns | units | shared memory, bytes | registers |
//! |---|---|---|---|---|---|---|
//! | bf16 | 64 | forward | 96 x 32 | 192 | 47232 | 96, 128 |
//! | | | queries | 96 x 32 | 384 | 61824 | 126, 128 |
//! | | | keys | 96 x 32 | 384 | 60544 | 132, 130 |
//! | bf16 | 72 | forward | 96 x 32 | 192 | 52352 | 96, 135 |
//! | | | queries | 96 x 32 | 384 | 70016 | 122, 116 |
//! | | | keys | 96 x 32 | 384 | 68736 | 168, 168 |
//! | bf16 | 128 | forward | 96 x 32 | 384 | 68480 | 168, 168 |
//! | | | queries | 48 x 32 | 192 | 56000 | 168, 230 |
//! | | | keys | 48 x 32 | 192 | 55488 | 166, 238 |
//! | f32 | 64 | forward | 64 x 32 | 128 | 55040 | 128, 128 |
//! | | | queries | 64 x 32 | 128 | 72448 | 128, 128 |
//! | | | keys | 64 x 32 | 128 | 72192 | 168, 186 |
//! | f32 | 72 | forward | 64 x 32 | 128 | 71424 | 128, 128 |
//! | | | queries | 64 x 32 | 128 | 97024 | 128, 158 |
//! | | | keys | 64 x 32 | 128 | 96768 | 254, 216 |
//! | f32 | 128 | forward | 64 x 32 | 128 | 87808 | 128, 161 |
//! | | | queries | 64 x 32 | 128 | 121600 | 165, 168 |
//! | | | keys | 64 x 32 | 128 | 121344 | 247, 249 |
//!
//! Beyond 48 KB CubeCL asks the driver to raise the limit, up to what the device reports: 227 KB on Hopper, 163 KB on the larger Ampere.
//! The plan keeps within that.

pub mod fragments;
pub mod plan;

mod backward;
mod forward;
mod heads;
mod problem;
mod stage;
mod tile;

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

use crate::error::Result;
use crate::launch::{contiguous, operand};
use fragments::tiles::FragmentTiles;
use plan::{AttentionKernel, OP};
use problem::AttentionProblem;

/// `softmax(q k^T / sqrt(w)) v` per head: qkv `[B, T, 3 D]` of `f32` or bf16, whose last axis holds q, k and v in this order, each
/// head-major with heads of `w = D / heads` numbers. Returns `[B, T, D]`.
///
/// # Errors
/// [`Setup`](crate::KernelError::Setup) if shape, type and number of heads do not fit; [`Unavailable`](crate::KernelError::Unavailable) if
/// the device has too little shared memory for a head or too small a grid.
pub fn forward<R: CubeRuntime>(qkv: CubeTensor<R>, heads: usize) -> Result<CubeTensor<R>> {
    let problem = AttentionProblem::new(&qkv, heads)?;
    let fragments = problem.fragments(AttentionKernel::Forward, qkv.client.properties());
    forward::launch(&problem, contiguous(OP, qkv)?, false, fragments).map(|(out, _)| out)
}

/// [`forward`] and the log-sum-exp of the scaled scores, `[B, heads, T]` of `f32`.
///
/// # Errors
/// Those of [`forward`].
pub fn forward_train<R: CubeRuntime>(qkv: CubeTensor<R>, heads: usize) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    let problem = AttentionProblem::new(&qkv, heads)?;
    let fragments = problem.fragments(AttentionKernel::Forward, qkv.client.properties());
    forward::launch(&problem, contiguous(OP, qkv)?, true, fragments)
}

/// [`forward_train`] by the kernels of [`fragments`] with these tiles, or by the portable ones: for measuring.
///
/// # Errors
/// Those of [`forward`], and [`Unavailable`](crate::KernelError::Unavailable) if the tiles do not fit.
pub fn forward_by<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    heads: usize,
    tiles: Option<FragmentTiles>,
) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    let problem = AttentionProblem::new(&qkv, heads)?;
    let allowed = |tiles| problem.allows(AttentionKernel::Forward, tiles, qkv.client.properties());
    let tiles = tiles.map(allowed).transpose()?;
    forward::launch(&problem, contiguous(OP, qkv)?, true, tiles)
}

/// Gradient of qkv, `[B, T, 3 D]`, for the output gradient dy `[B, T, D]`; `out` and `lse` from [`forward_train`].
///
/// # Errors
/// Those of [`forward`], and [`Setup`](crate::KernelError::Setup) if out, lse or dy does not fit qkv.
pub fn backward<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    out: CubeTensor<R>,
    lse: CubeTensor<R>,
    heads: usize,
    dy: CubeTensor<R>,
) -> Result<CubeTensor<R>> {
    let problem = AttentionProblem::new(&qkv, heads)?;
    let fragments = problem.fragments(AttentionKernel::Backward, qkv.client.properties());
    checked_backward(&problem, qkv, [out, lse, dy], fragments)
}

/// [`backward`] by the kernels of [`fragments`] with these tiles, or by the portable ones: for measuring.
///
/// # Errors
/// Those of [`backward`], and [`Unavailable`](crate::KernelError::Unavailable) if the tiles do not fit.
pub fn backward_by<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    out: CubeTensor<R>,
    lse: CubeTensor<R>,
    heads: usize,
    dy: CubeTensor<R>,
    tiles: Option<FragmentTiles>,
) -> Result<CubeTensor<R>> {
    let problem = AttentionProblem::new(&qkv, heads)?;
    let allowed = |tiles| problem.allows(AttentionKernel::Backward, tiles, qkv.client.properties());
    let tiles = tiles.map(allowed).transpose()?;
    checked_backward(&problem, qkv, [out, lse, dy], tiles)
}

fn checked_backward<R: CubeRuntime>(
    problem: &AttentionProblem,
    qkv: CubeTensor<R>,
    [out, lse, dy]: [CubeTensor<R>; 3],
    fragments: Option<FragmentTiles>,
) -> Result<CubeTensor<R>> {
    let result = problem.tokens_of(1);
    let out = operand(OP, "out", out, &result, problem.dtype)?;
    let lse = operand(OP, "lse", lse, &problem.statistics(), DType::F32)?;
    let dy = operand(OP, "dy", dy, &result, problem.dtype)?;
    backward::launch(problem, contiguous(OP, qkv)?, out, lse, dy, fragments)
}
