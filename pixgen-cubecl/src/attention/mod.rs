//! Attention without the `T x T` map in memory, forward and backward (docs/method.md section 2.2).

pub mod plan;

mod backward;
mod forward;
mod heads;
mod stage;
mod tile;

use burn_backend::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::DeviceProperties;
use cubecl::prelude::CubeCount;

use crate::error::{KernelError, Result};
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
    forward::launch(&problem, into_contiguous(qkv), false).map(|(out, _)| out)
}

/// [`forward`] and the log-sum-exp of the scaled scores, `[B, heads, T]` of `f32`.
///
/// # Errors
/// Those of [`forward`].
pub fn forward_train<R: CubeRuntime>(qkv: CubeTensor<R>, heads: usize) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    let problem = Problem::new(&qkv, heads)?;
    forward::launch(&problem, into_contiguous(qkv), true)
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
    let result = [problem.batch, problem.tokens, heads * problem.head];
    problem.expect("out", &out, &result, problem.dtype)?;
    problem.expect("lse", &lse, &[problem.batch, heads, problem.tokens], DType::F32)?;
    problem.expect("dy", &dy, &result, problem.dtype)?;
    backward::launch(&problem, into_contiguous(qkv), into_contiguous(out), into_contiguous(lse), into_contiguous(dy))
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
        let shape = qkv.shape();
        let &[batch, tokens, width] = shape.as_slice() else {
            return Err(KernelError::setup(OP, format!("qkv has shape {:?}, not [B, T, 3 D]", shape.as_slice())));
        };
        if batch == 0 || tokens == 0 || width == 0 {
            return Err(KernelError::setup(OP, format!("qkv of shape {:?} is empty", shape.as_slice())));
        }
        if heads == 0 || !width.is_multiple_of(3 * heads) {
            return Err(KernelError::setup(OP, format!("qkv has {width} numbers per token, which is not q, k and v of {heads} heads")));
        }
        Ok(Self { batch, tokens, heads, head: width / (3 * heads), dtype: qkv.dtype })
    }

    fn expect<R: CubeRuntime>(&self, name: &str, tensor: &CubeTensor<R>, shape: &[usize], dtype: DType) -> Result<()> {
        let got = tensor.shape();
        if got.as_slice() != shape || tensor.dtype != dtype {
            let got = got.as_slice();
            return Err(KernelError::setup(OP, format!("{name} is {got:?} of {:?}, not {shape:?} of {dtype:?}", tensor.dtype)));
        }
        Ok(())
    }

    fn is_bf16(&self) -> bool {
        self.dtype == DType::BF16
    }

    /// `1 / sqrt(w)`.
    fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// Numbers read from global memory at a time: 16 bytes where the head allows, never more than an operand vector.
    fn vector(&self, engine: Engine, device: &DeviceProperties) -> usize {
        let most = engine.lanes().min(device.hardware.max_vector_size);
        [8, 4, 2, 1]
            .into_iter()
            .find(|&size| size <= most && self.head.is_multiple_of(size))
            .unwrap_or(1)
    }

    /// A tensor of `parts` times the width of the output.
    fn empty_like<R: CubeRuntime>(&self, qkv: &CubeTensor<R>, parts: usize) -> CubeTensor<R> {
        let shape = Shape::from([self.batch, self.tokens, parts * self.heads * self.head]);
        empty_device_contiguous_dtype(qkv.client.clone(), qkv.device.clone(), shape, self.dtype)
    }

    /// A tensor of one `f32` per query and head; one number if it is only a placeholder.
    fn statistics<R: CubeRuntime>(&self, qkv: &CubeTensor<R>, wanted: bool) -> CubeTensor<R> {
        let shape = if wanted { [self.batch, self.heads, self.tokens] } else { [1, 1, 1] };
        empty_device_contiguous_dtype(qkv.client.clone(), qkv.device.clone(), Shape::from(shape), DType::F32)
    }
}

/// One cube per block of rows, head and image, blocks of a head next to each other so that they share its keys and values in cache.
fn grid(problem: &Problem, tiles: &Tiles, device: &DeviceProperties) -> Result<CubeCount> {
    let &Problem { batch, tokens, heads, head, .. } = problem;
    let elements = batch as u64 * tokens as u64 * 3 * (heads * head) as u64;
    if elements > u64::from(u32::MAX) {
        return Err(KernelError::unavailable(OP, format!("qkv has {elements} numbers, more than 32-bit addresses reach")));
    }
    let (x, y, z) = device.hardware.max_cube_count;
    let blocks = tokens.div_ceil(tiles.rows);
    if blocks > x as usize || heads > y as usize || batch > z as usize {
        let what = format!("a grid of {blocks} x {heads} x {batch} blocks of rows, heads and images is more than its {x} x {y} x {z}");
        return Err(KernelError::unavailable(OP, what));
    }
    Ok(CubeCount::Static(blocks as u32, heads as u32, batch as u32))
}
