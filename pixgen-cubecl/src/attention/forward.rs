//! `softmax(q k^T / sqrt(w)) v` of one head and one block of queries per cube (docs/reference/method.md section 2.2).

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::fragments;
use super::fragments::tiles::FragmentTiles;
use super::heads::HeadRows;
use super::plan::{AttentionEngine, AttentionKernel, AttentionPlan, OP, Tiles};
use super::problem::{AttentionProblem, grid};
use super::stage::{ALIGNMENT, load, mask, operand_tile, own_scores, put_weights};
use super::tile::{Product, TensorCores, Units};
use crate::error::Result;
use crate::launch::{array, empty};
use crate::store::{Four, Store};
use crate::with_store;

/// How far a row's scores may rise above its reference before the sums are rescaled: exponentials of up to `e^8` lose nothing in `f32`
/// and keep their relative precision in bf16, so that the rescaling, which costs a trip through shared memory, is rare.
const SLACK: f32 = 8.0;

/// Below every score, and finite so that differences with it are numbers.
const LOWEST: f32 = -1e30;

#[cube(launch_unchecked)]
fn forward_kernel<P: Product, E: Store, N: Size, M: Size>(
    qkv: &Array<Vector<E, N>>,
    out: &mut Array<Vector<E, M>>,
    lse: &mut Array<f32>,
    tokens: usize,
    heads: usize,
    scale: f32,
    #[comptime] with_lse: bool,
    #[comptime] tiles: Tiles,
) {
    let start = CUBE_POS_X as usize * tiles.rows;
    let head = CUBE_POS_Y as usize;
    let image = CUBE_POS_Z as usize;
    let group = comptime!(tiles.group());
    let row = UNIT_POS as usize / group;
    let member = UNIT_POS as usize % group;
    let first_of_row = row * group;

    let mut q = operand_tile::<P>(tiles.rows, tiles);
    let mut k = operand_tile::<P>(tiles.columns, tiles);
    let mut v = operand_tile::<P>(tiles.columns, tiles);
    let weight_vectors = comptime!(tiles.rows * tiles.weight_pitch(P::Lanes::value()) / 4);
    let mut weights = SharedMemory::<Vector<P::Operand, Four>>::new_aligned(weight_vectors, ALIGNMENT);
    let mut scores = SharedMemory::<Vector<f32, Four>>::new_aligned(comptime!(tiles.rows * tiles.score_pitch() / 4), ALIGNMENT);
    let mut exchange = SharedMemory::<f32>::new(tiles.units);
    let mut factors = SharedMemory::<f32>::new(tiles.rows);

    let queries = HeadRows::new(image, head, heads, 0, 3, tokens, tiles.head);
    let keys = HeadRows::new(image, head, heads, 1, 3, tokens, tiles.head);
    let values = HeadRows::new(image, head, heads, 2, 3, tokens, tiles.head);
    load::<P, E, N>(qkv, queries, start, &mut q, tiles.rows, false, tiles);

    let mut sum = P::zero(tiles);
    let mut reference = LOWEST.runtime();
    let mut total = 0.0f32;
    let blocks = tokens.div_ceil(tiles.columns);
    for block in 0..blocks {
        let first = block * tiles.columns;
        load::<P, E, N>(qkv, keys, first, &mut k, tiles.columns, true, tiles);
        load::<P, E, N>(qkv, values, first, &mut v, tiles.columns, true, tiles);
        sync_cube();

        P::scores(&q, &k, &mut scores, tiles);
        P::sync_rows(tiles);

        let left = tokens - first;
        let mut own = own_scores(&scores, tiles);
        let mut peak = LOWEST.runtime();
        #[unroll]
        for i in 0..comptime!(tiles.columns / 4 / group) {
            let scaled = mask(own[i] * Vector::<f32, Four>::new(scale), i, left, LOWEST, tiles);
            own[i] = scaled;
            #[unroll]
            for lane in 0..4usize {
                peak = max(peak, scaled[lane]);
            }
        }
        exchange[UNIT_POS as usize] = peak;
        P::sync_rows(tiles);
        #[unroll]
        for other in 0..group {
            peak = max(peak, exchange[first_of_row + other]);
        }

        let raised = peak > reference + SLACK;
        let next = select(raised, peak, reference);
        // Before the first block the sums are zero and any factor does.
        let factor = select(raised && block > 0, (reference - next).exp(), 1.0f32);
        reference = next;
        total *= factor;
        if member == 0 {
            factors[row] = factor;
        }
        #[unroll]
        for i in 0..comptime!(tiles.columns / 4 / group) {
            // A masked score is so far below the reference that its exponential is zero.
            let weight = (own[i] - Vector::<f32, Four>::new(reference)).exp();
            own[i] = weight;
            #[unroll]
            for lane in 0..4usize {
                total += weight[lane];
            }
        }
        put_weights::<P>(&own, &mut weights, tiles);
        P::sync_rows(tiles);

        P::scale_rows(&mut sum, &factors, &mut scores, tiles);
        P::accumulate(&mut sum, &weights, &v, tiles);
        sync_cube();
    }

    exchange[UNIT_POS as usize] = total;
    P::sync_rows(tiles);
    let mut whole = 0.0f32;
    #[unroll]
    for other in 0..group {
        whole += exchange[first_of_row + other];
    }
    let results = HeadRows::new(image, head, heads, 0, 1, tokens, tiles.head);
    if member == 0 {
        factors[row] = 1.0f32 / whole;
    }
    P::sync_rows(tiles);
    P::write::<E, M>(&sum, &factors, &mut scores, out, results, start, tiles);
    if with_lse && member == 0 && start + row < tokens {
        lse[(image * heads + head) * tokens + start + row] = reference + whole.ln();
    }
}

/// Launches the forward for a problem that was checked, in fragments if there are tiles for them; returns out `[B, T, D]` and lse `[B, heads, T]`, a placeholder unless asked for.
pub(super) fn launch<R: CubeRuntime>(
    problem: &AttentionProblem,
    qkv: CubeTensor<R>,
    with_lse: bool,
    fragments: Option<FragmentTiles>,
) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    let device = qkv.client.properties().clone();
    let out = empty(&qkv, &problem.tokens_of(1), problem.dtype);
    let lse = empty(&qkv, &if with_lse { problem.statistics() } else { [1, 1, 1] }, DType::F32);
    if let Some(tiles) = fragments {
        let cubes = grid(problem, tiles.rows(), &device)?;
        fragments::launch_forward(problem, tiles, cubes, with_lse, [&qkv, &out, &lse]);
        return Ok((out, lse));
    }
    let plan = AttentionPlan::new(AttentionKernel::Forward, problem.head, problem.tokens, problem.is_bf16(), &device)?;
    let cubes = grid(problem, plan.tiles.rows, &device)?;
    let read = problem.vector(&qkv, plan.engine);
    with_store!(OP, problem.dtype, E => {
        let tensors = [&qkv, &out, &lse];
        match plan.engine {
            AttentionEngine::TensorCores => launch_with::<R, TensorCores, E>(problem, plan.tiles, cubes, read, with_lse, tensors),
            AttentionEngine::Units => launch_with::<R, Units, E>(problem, plan.tiles, cubes, read, with_lse, tensors),
        }
        Ok(())
    })?;
    Ok((out, lse))
}

fn launch_with<R: CubeRuntime, P: Product, E: Store>(
    problem: &AttentionProblem,
    tiles: Tiles,
    cubes: CubeCount,
    read: usize,
    with_lse: bool,
    [qkv, out, lse]: [&CubeTensor<R>; 3],
) {
    // SAFETY: reads and writes are of tokens below `tokens` and numbers below `head` of the cube's head and image, for which
    // `AttentionProblem` has checked the shapes; shared memory is indexed by constants and unit positions below `tiles.units`.
    unsafe {
        forward_kernel::launch_unchecked::<P, E, R>(
            &qkv.client,
            cubes,
            CubeDim::new_1d(tiles.units as u32),
            read,
            read.min(4),
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
