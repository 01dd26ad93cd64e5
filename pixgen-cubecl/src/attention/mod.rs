//! Attention without the `T x T` map in memory, forward and backward (docs/method.md section 2.2).

pub mod plan;

mod backward;
mod forward;
mod heads;
mod stage;
mod tile;

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::DeviceProperties;
use cubecl::prelude::CubeCount;

use crate::error::{KernelError, Result};
use crate::launch::{contiguous, dims3, empty, operand, stored, vector_size};
use plan::{Engine, Tiles};

/// Name of the operation in errors.
const OP: &str = "attention";

/// `softmax(q k^T / sqrt(w)) v` per head: qkv `[B, T, 3 D]` of `f32` or bf16, whose last axis holds q, k and v in this order, each
/// head-major with heads of `w = D / heads` numbers. Returns `[B, T, D]`.
///
/// # Errors
/// [`KernelError::Setup`] if shape, type and number of heads do not fit; [`KernelError::Unavailable`] if the device has too little
/// shared memory for a head or too small a grid.
pub fn forward<R: CubeRuntime>(qkv: CubeTensor<R>, heads: usize) -> Result<CubeTensor<R>> {
    let problem = Problem::new(&qkv, heads)?;
    forward::launch(&problem, contiguous(OP, qkv)?, false).map(|(out, _)| out)
}

/// [`forward`] and the log-sum-exp of the scaled scores, `[B, heads, T]` of `f32`.
///
/// # Errors
/// Those of [`forward`].
pub fn forward_train<R: CubeRuntime>(qkv: CubeTensor<R>, heads: usize) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    let problem = Problem::new(&qkv, heads)?;
    forward::launch(&problem, contiguous(OP, qkv)?, true)
}

/// Gradient of qkv, `[B, T, 3 D]`, for the output gradient dy `[B, T, D]`; `out` and `lse` from [`forward_train`].
///
/// # Errors
/// Those of [`forward`], and [`KernelError::Setup`] if out, lse or dy does not fit qkv.
pub fn backward<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    out: CubeTensor<R>,
    lse: CubeTensor<R>,
    heads: usize,
    dy: CubeTensor<R>,
) -> Result<CubeTensor<R>> {
    let problem = Problem::new(&qkv, heads)?;
    let result = problem.tokens_of(1);
    let out = operand(OP, "out", out, &result, problem.dtype)?;
    let lse = operand(OP, "lse", lse, &problem.statistics(), DType::F32)?;
    let dy = operand(OP, "dy", dy, &result, problem.dtype)?;
    backward::launch(&problem, contiguous(OP, qkv)?, out, lse, dy)
}

/// Sizes of one call, checked.
struct Problem {
    batch: usize,
    tokens: usize,
    heads: usize,
    /// Numbers of a head.
    head: usize,
    dtype: DType,
}

impl Problem {
    fn new<R: CubeRuntime>(qkv: &CubeTensor<R>, heads: usize) -> Result<Self> {
        let [batch, tokens, width] = dims3(OP, "qkv", qkv)?;
        if heads == 0 || !width.is_multiple_of(3 * heads) {
            return Err(KernelError::setup(OP, format!("qkv has {width} numbers per token, which is not q, k and v of {heads} heads")));
        }
        Ok(Self { batch, tokens, heads, head: width / (3 * heads), dtype: stored(OP, "qkv", qkv)? })
    }

    fn is_bf16(&self) -> bool {
        self.dtype == DType::BF16
    }

    /// `1 / sqrt(w)`.
    fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// Shape of a tensor of `parts` times the width of the output.
    fn tokens_of(&self, parts: usize) -> [usize; 3] {
        [self.batch, self.tokens, parts * self.heads * self.head]
    }

    /// Shape of one number per query and head.
    fn statistics(&self) -> [usize; 3] {
        [self.batch, self.heads, self.tokens]
    }

    /// Numbers read from global memory at a time, never more than an operand vector.
    fn vector<R: CubeRuntime>(&self, qkv: &CubeTensor<R>, engine: Engine) -> usize {
        vector_size(&qkv.client, self.dtype, self.head).min(engine.lanes())
    }
}

/// One cube per block of rows, head and image, blocks of a head next to each other so that they share its keys and values in cache.
fn grid(problem: &Problem, tiles: &Tiles, device: &DeviceProperties) -> Result<CubeCount> {
    let &Problem { batch, tokens, heads, .. } = problem;
    let (x, y, z) = device.hardware.max_cube_count;
    let blocks = tokens.div_ceil(tiles.rows);
    if blocks > x as usize || heads > y as usize || batch > z as usize {
        let what = format!("a grid of {blocks} x {heads} x {batch} blocks of rows, heads and images is more than its {x} x {y} x {z}");
        return Err(KernelError::unavailable(OP, what));
    }
    Ok(CubeCount::Static(blocks as u32, heads as u32, batch as u32))
}
