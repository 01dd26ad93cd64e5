//! One call of attention: its sizes, checked, and its grid.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::DeviceProperties;
use cubecl::prelude::CubeCount;

use super::fragments::tiles::FragmentTiles;
use super::plan::{AttentionEngine, AttentionKernel, OP};
use crate::error::{KernelError, Result};
use crate::launch::{dims3, stored, vector_size};

/// Sizes of one call, checked.
pub(super) struct AttentionProblem {
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) heads: usize,
    /// Numbers of a head.
    pub(super) head: usize,
    pub(super) dtype: DType,
}

impl AttentionProblem {
    pub(super) fn new<R: CubeRuntime>(qkv: &CubeTensor<R>, heads: usize) -> Result<Self> {
        let [batch, tokens, width] = dims3(OP, "qkv", qkv)?;
        if heads == 0 || !width.is_multiple_of(3 * heads) {
            return Err(KernelError::setup(OP, format!("qkv has {width} numbers per token, which is not q, k and v of {heads} heads")));
        }
        Ok(Self { batch, tokens, heads, head: width / (3 * heads), dtype: stored(OP, "qkv", qkv)? })
    }

    pub(super) fn is_bf16(&self) -> bool {
        self.dtype == DType::BF16
    }

    /// The tiles of the kernels that keep scores in registers, where these can do it.
    pub(super) fn fragments(&self, kernel: AttentionKernel, device: &DeviceProperties) -> Option<FragmentTiles> {
        self.is_bf16()
            .then(|| FragmentTiles::new(kernel, self.head, self.tokens, device))
            .flatten()
    }

    /// Whether the device has room for these tiles.
    ///
    /// # Errors
    /// [`KernelError::Unavailable`]: it does not, or they are of other heads or for another type.
    pub(super) fn allows(&self, kernel: AttentionKernel, tiles: FragmentTiles, device: &DeviceProperties) -> Result<FragmentTiles> {
        let possible = self.is_bf16() && FragmentTiles::all(kernel, self.head, device).contains(&tiles);
        let what = || KernelError::unavailable(OP, format!("{tiles:?} for heads of {} numbers in {:?}", self.head, self.dtype));
        possible.then_some(tiles).ok_or_else(what)
    }

    /// `1 / sqrt(w)`.
    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// Shape of a tensor of `parts` times the width of the output.
    pub(super) fn tokens_of(&self, parts: usize) -> [usize; 3] {
        [self.batch, self.tokens, parts * self.heads * self.head]
    }

    /// Shape of one number per query and head.
    pub(super) fn statistics(&self) -> [usize; 3] {
        [self.batch, self.heads, self.tokens]
    }

    /// Numbers read from global memory at a time, never more than an operand vector.
    pub(super) fn vector<R: CubeRuntime>(&self, qkv: &CubeTensor<R>, engine: AttentionEngine) -> usize {
        vector_size(&qkv.client, self.dtype, self.head).min(engine.lanes())
    }
}

/// One cube per block of `rows` tokens, head and image, blocks of a head next to each other so that they share its keys and values in cache.
pub(super) fn grid(problem: &AttentionProblem, rows: usize, device: &DeviceProperties) -> Result<CubeCount> {
    let &AttentionProblem { batch, tokens, heads, .. } = problem;
    let (x, y, z) = device.hardware.max_cube_count;
    let blocks = tokens.div_ceil(rows);
    if blocks > x as usize || heads > y as usize || batch > z as usize {
        let what = format!("a grid of {blocks} x {heads} x {batch} blocks of rows, heads and images is more than its {x} x {y} x {z}");
        return Err(KernelError::unavailable(OP, what));
    }
    Ok(CubeCount::Static(blocks as u32, heads as u32, batch as u32))
}
