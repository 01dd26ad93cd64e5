//! Attention on tensor cores with nothing between two products but registers: FlashAttention-2 for bf16 on devices of NVIDIA from sm_80 on.
//!
//! A plane owns 16 tokens and holds their block of scores in fragments whose layout is known, so that softmax takes two shuffles and
//! probabilities are the left operand of the next product where they lie. The other side comes to shared memory by asynchronous copies,
//! one block ahead. The portable kernels ([`forward`](fn@super::forward), [`backward`](fn@super::backward)) take scores through shared memory
//! instead; they are for every other device, for `f32` and for heads that these kernels do not fit.
//!
//! Per cube, 258 tokens; registers of a unit are what ptxas reports for sm_90a and sm_80 (CUDA 12.9), without spills. Compiled and
//! interpreted (`tests/cuda/interpret.sh`), not run on a GPU:
//!
//! | head | kernel | rows x block | units | shared memory, bytes | registers |
//! |---|---|---|---|---|---|
//! | 32 | forward | 96 x 48 | 192 | 23056 | 75, 77 |
//! | | queries | 96 x 48 | 192 | 30736 | 96, 117 |
//! | | keys | 96 x 48 | 192 | 31504 | 125, 131 |
//! | 64 | forward | 96 x 48 | 192 | 41488 | 101, 114 |
//! | | queries | 96 x 48 | 192 | 55312 | 163, 163 |
//! | | keys | 96 x 48 | 192 | 56080 | 164, 168 |
//! | 72 | forward | 96 x 48 | 192 | 50704 | 127, 131 |
//! | | queries | 96 x 32 | 192 | 56336 | 160, 159 |
//! | | keys | 96 x 32 | 192 | 56848 | 167, 168 |
//! | 120 | forward | 96 x 32 | 192 | 60944 | 162, 166 |
//! | | queries | 96 x 32 | 192 | 87056 | 213, 221 |
//! | | keys | 96 x 32 | 192 | 87568 | 237, 239 |
//! | 128 | forward | 96 x 48 | 192 | 78352 | 168, 176 |
//! | | queries | 96 x 32 | 192 | 87056 | 214, 223 |
//! | | keys | 96 x 32 | 192 | 87568 | 235, 244 |
//!
//! * [`tiles`]: sizes, and where these kernels are used at all.
//! * `stage`: copies and results; `product`: operands and sums.
//! * `forward`, `queries`, `keys`: the kernels.

pub mod tiles;

mod forward;
mod keys;
mod product;
mod queries;
mod stage;

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::problem::AttentionProblem;
use crate::launch::array;
use tiles::FragmentTiles;

/// Launches the forward: qkv, out and lse.
pub(super) fn launch_forward<R: CubeRuntime>(
    problem: &AttentionProblem,
    tiles: FragmentTiles,
    cubes: CubeCount,
    with_lse: bool,
    [qkv, out, lse]: [&CubeTensor<R>; 3],
) {
    let dim = CubeDim::new_1d(tiles.units() as u32);
    // SAFETY: tokens are clamped before they are read and compared before they are written, heads are multiples of a vector, and
    // `AttentionProblem` has checked the shapes; tiles are indexed by constants and unit positions below `tiles.units()`.
    unsafe {
        forward::forward_fragments::launch_unchecked::<R>(
            &qkv.client,
            cubes,
            dim,
            array(qkv),
            array(out),
            array(lse),
            problem.tokens,
            problem.heads,
            problem.scale(),
            with_lse,
            tiles,
        );
    }
}

/// Launches the backward: qkv, out, lse, dy, delta and dqkv.
pub(super) fn launch_backward<R: CubeRuntime>(
    problem: &AttentionProblem,
    tiles: FragmentTiles,
    cubes: CubeCount,
    [qkv, out, lse, dy, delta, dqkv]: [&CubeTensor<R>; 6],
) {
    let dim = CubeDim::new_1d(tiles.units() as u32);
    // SAFETY: as for the forward; lse and delta have an element for every token of every head of every image.
    unsafe {
        queries::queries_fragments::launch_unchecked::<R>(
            &qkv.client,
            cubes.clone(),
            dim,
            array(qkv),
            array(out),
            array(dy),
            array(lse),
            array(delta),
            array(dqkv),
            problem.tokens,
            problem.heads,
            problem.scale(),
            tiles,
        );
        keys::keys_fragments::launch_unchecked::<R>(
            &qkv.client,
            cubes,
            dim,
            array(qkv),
            array(dy),
            array(lse),
            array(delta),
            array(dqkv),
            problem.tokens,
            problem.heads,
            problem.scale(),
            tiles,
        );
    }
}
