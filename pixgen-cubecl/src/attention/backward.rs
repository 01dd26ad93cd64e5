//! Gradients of queries, keys and values, each recomputing the probabilities from the log-sum-exp (docs/reference/method.md section 2.2).
//!
//! With `p = exp(s - lse)` and `delta_i = sum_w dy_iw out_iw`: `dv = p^T dy`, `ds = p (dy v^T - delta)`, `dq = ds k / sqrt(w)` and
//! `dk = ds^T q / sqrt(w)`. The queries' kernel runs first and leaves `delta` for the other. Each result is summed by one cube in a fixed
//! order, so runs repeat bit by bit; the price is that scores are computed twice. `delta` is taken from the stored output, which saves a
//! pass over the keys; the rounding of a bf16 output enters `dq` times the mean key.

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

/// One cube: the gradient of a block of queries of a head, over all keys.
#[cube(launch_unchecked)]
fn queries_kernel<P: Product, E: Store, N: Size, M: Size>(
    qkv: &Array<Vector<E, N>>,
    out: &Array<Vector<E, N>>,
    dy: &Array<Vector<E, N>>,
    lse: &Array<f32>,
    delta: &mut Array<f32>,
    dqkv: &mut Array<Vector<E, M>>,
    tokens: usize,
    heads: usize,
    scale: f32,
    #[comptime] tiles: Tiles,
) {
    let start = CUBE_POS_X as usize * tiles.rows;
    let head = CUBE_POS_Y as usize;
    let image = CUBE_POS_Z as usize;
    let group = comptime!(tiles.group());
    let row = UNIT_POS as usize / group;
    let member = UNIT_POS as usize % group;

    let mut q = operand_tile::<P>(tiles.rows, tiles);
    let mut d = operand_tile::<P>(tiles.rows, tiles);
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
    let results = HeadRows::new(image, head, heads, 0, 1, tokens, tiles.head);
    load::<P, E, N>(qkv, queries, start, &mut q, tiles.rows, false, tiles);
    load::<P, E, N>(dy, results, start, &mut d, tiles.rows, false, tiles);

    // Of this unit's row, over the vectors `member`, `member + group`, ..
    let statistic = (image * heads + head) * tokens + start + row;
    let mut row_lse = 0.0f32;
    let mut part = 0.0f32;
    if start + row < tokens {
        row_lse = lse[statistic];
        let size = N::value();
        let at = (results.first + (start + row) * results.stride) / size;
        let mut vector = member;
        while vector < comptime!(tiles.head / size) {
            let product = E::widen::<N>(out[at + vector]) * E::widen::<N>(dy[at + vector]);
            #[unroll]
            for lane in 0..size {
                part += product[lane];
            }
            vector += group;
        }
    }
    exchange[UNIT_POS as usize] = part;
    if member == 0 {
        factors[row] = scale;
    }
    P::sync_rows(tiles);
    let mut row_delta = 0.0f32;
    #[unroll]
    for other in 0..group {
        row_delta += exchange[row * group + other];
    }
    if member == 0 && start + row < tokens {
        delta[statistic] = row_delta;
    }

    let mut dq = P::zero(tiles);
    for block in 0..tokens.div_ceil(tiles.columns) {
        let first = block * tiles.columns;
        load::<P, E, N>(qkv, keys, first, &mut k, tiles.columns, true, tiles);
        load::<P, E, N>(qkv, values, first, &mut v, tiles.columns, true, tiles);
        sync_cube();

        P::scores(&q, &k, &mut scores, tiles);
        P::sync_rows(tiles);
        let mut own = own_scores(&scores, tiles);
        #[unroll]
        for i in 0..comptime!(tiles.columns / 4 / group) {
            let probability = (own[i] * Vector::<f32, Four>::new(scale) - Vector::<f32, Four>::new(row_lse)).exp();
            // Keys beyond the last are zeros, whose exponential may be infinite.
            own[i] = mask(probability, i, tokens - first, 0.0f32, tiles);
        }
        P::sync_rows(tiles);

        P::scores(&d, &v, &mut scores, tiles);
        P::sync_rows(tiles);
        let dp = own_scores(&scores, tiles);
        #[unroll]
        for i in 0..comptime!(tiles.columns / 4 / group) {
            own[i] *= dp[i] - Vector::<f32, Four>::new(row_delta);
        }
        put_weights::<P>(&own, &mut weights, tiles);
        P::sync_rows(tiles);

        P::accumulate(&mut dq, &weights, &k, tiles);
        sync_cube();
    }
    P::write::<E, M>(&dq, &factors, &mut scores, dqkv, queries, start, tiles);
}

/// One cube: the gradients of a block of keys and of their values of a head, over all queries. Rows are keys, columns queries.
#[cube(launch_unchecked)]
fn keys_kernel<P: Product, E: Store, N: Size, M: Size>(
    qkv: &Array<Vector<E, N>>,
    dy: &Array<Vector<E, N>>,
    lse: &Array<f32>,
    delta: &Array<f32>,
    dqkv: &mut Array<Vector<E, M>>,
    tokens: usize,
    heads: usize,
    scale: f32,
    #[comptime] tiles: Tiles,
) {
    let start = CUBE_POS_X as usize * tiles.rows;
    let head = CUBE_POS_Y as usize;
    let image = CUBE_POS_Z as usize;
    let group = comptime!(tiles.group());
    let row = UNIT_POS as usize / group;
    let member = UNIT_POS as usize % group;

    let mut k = operand_tile::<P>(tiles.rows, tiles);
    let mut v = operand_tile::<P>(tiles.rows, tiles);
    let mut q = operand_tile::<P>(tiles.columns, tiles);
    let mut d = operand_tile::<P>(tiles.columns, tiles);
    let weight_vectors = comptime!(tiles.rows * tiles.weight_pitch(P::Lanes::value()) / 4);
    let mut weights = SharedMemory::<Vector<P::Operand, Four>>::new_aligned(weight_vectors, ALIGNMENT);
    let mut scores = SharedMemory::<Vector<f32, Four>>::new_aligned(comptime!(tiles.rows * tiles.score_pitch() / 4), ALIGNMENT);
    let mut factors = SharedMemory::<f32>::new(tiles.rows);
    let mut column_lse = SharedMemory::<f32>::new(tiles.columns);
    let mut column_delta = SharedMemory::<f32>::new(tiles.columns);

    let queries = HeadRows::new(image, head, heads, 0, 3, tokens, tiles.head);
    let keys = HeadRows::new(image, head, heads, 1, 3, tokens, tiles.head);
    let values = HeadRows::new(image, head, heads, 2, 3, tokens, tiles.head);
    let results = HeadRows::new(image, head, heads, 0, 1, tokens, tiles.head);
    load::<P, E, N>(qkv, keys, start, &mut k, tiles.rows, false, tiles);
    load::<P, E, N>(qkv, values, start, &mut v, tiles.rows, false, tiles);

    let mut dk = P::zero(tiles);
    let mut dv = P::zero(tiles);
    for block in 0..tokens.div_ceil(tiles.columns) {
        let first = block * tiles.columns;
        load::<P, E, N>(qkv, queries, first, &mut q, tiles.columns, true, tiles);
        load::<P, E, N>(dy, results, first, &mut d, tiles.columns, true, tiles);
        let mut column = UNIT_POS as usize;
        while column < tiles.columns {
            let token = first + column;
            if token < tokens {
                column_lse[column] = lse[(image * heads + head) * tokens + token];
                column_delta[column] = delta[(image * heads + head) * tokens + token];
            } else {
                column_lse[column] = 0.0f32;
                column_delta[column] = 0.0f32;
            }
            column += tiles.units;
        }
        sync_cube();

        P::scores(&k, &q, &mut scores, tiles);
        P::sync_rows(tiles);
        let mut own = own_scores(&scores, tiles);
        #[unroll]
        for i in 0..comptime!(tiles.columns / 4 / group) {
            let base = (member + comptime!(i * group)) * 4;
            let mut shift = Vector::<f32, Four>::empty();
            #[unroll]
            for lane in 0..4usize {
                shift[lane] = column_lse[base + lane];
            }
            let probability = (own[i] * Vector::<f32, Four>::new(scale) - shift).exp();
            own[i] = mask(probability, i, tokens - first, 0.0f32, tiles);
        }
        put_weights::<P>(&own, &mut weights, tiles);
        P::sync_rows(tiles);

        P::accumulate(&mut dv, &weights, &d, tiles);
        P::scores(&v, &d, &mut scores, tiles);
        P::sync_rows(tiles);
        let dp = own_scores(&scores, tiles);
        #[unroll]
        for i in 0..comptime!(tiles.columns / 4 / group) {
            let base = (member + comptime!(i * group)) * 4;
            let mut shift = Vector::<f32, Four>::empty();
            #[unroll]
            for lane in 0..4usize {
                shift[lane] = column_delta[base + lane];
            }
            own[i] *= dp[i] - shift;
        }
        put_weights::<P>(&own, &mut weights, tiles);
        P::sync_rows(tiles);

        P::accumulate(&mut dk, &weights, &q, tiles);
        sync_cube();
    }
    if member == 0 {
        factors[row] = scale;
    }
    P::sync_rows(tiles);
    P::write::<E, M>(&dk, &factors, &mut scores, dqkv, keys, start, tiles);
    P::sync_rows(tiles);
    if member == 0 {
        factors[row] = 1.0f32;
    }
    P::sync_rows(tiles);
    P::write::<E, M>(&dv, &factors, &mut scores, dqkv, values, start, tiles);
}

/// Launches both kernels for a problem that was checked, in fragments if there are tiles for them; returns the gradient of qkv.
pub(super) fn launch<R: CubeRuntime>(
    problem: &AttentionProblem,
    qkv: CubeTensor<R>,
    out: CubeTensor<R>,
    lse: CubeTensor<R>,
    dy: CubeTensor<R>,
    fragments: Option<FragmentTiles>,
) -> Result<CubeTensor<R>> {
    let device = qkv.client.properties().clone();
    let delta = empty(&qkv, &problem.statistics(), DType::F32);
    let dqkv = empty(&qkv, &problem.tokens_of(3), problem.dtype);
    if let Some(tiles) = fragments {
        let cubes = grid(problem, tiles.rows(), &device)?;
        fragments::launch_backward(problem, tiles, cubes, [&qkv, &out, &lse, &dy, &delta, &dqkv]);
        return Ok(dqkv);
    }
    let plan = AttentionPlan::new(AttentionKernel::Backward, problem.head, problem.tokens, problem.is_bf16(), &device)?;
    let cubes = grid(problem, plan.tiles.rows, &device)?;
    let read = problem.vector(&qkv, plan.engine);
    with_store!(OP, problem.dtype, E => {
        let tensors = [&qkv, &out, &lse, &dy, &delta, &dqkv];
        match plan.engine {
            AttentionEngine::TensorCores => launch_with::<R, TensorCores, E>(problem, plan.tiles, cubes, read, tensors),
            AttentionEngine::Units => launch_with::<R, Units, E>(problem, plan.tiles, cubes, read, tensors),
        }
        Ok(())
    })?;
    Ok(dqkv)
}

fn launch_with<R: CubeRuntime, P: Product, E: Store>(
    problem: &AttentionProblem,
    tiles: Tiles,
    cubes: CubeCount,
    read: usize,
    [qkv, out, lse, dy, delta, dqkv]: [&CubeTensor<R>; 6],
) {
    let client = &qkv.client;
    let dim = CubeDim::new_1d(tiles.units as u32);
    // SAFETY: as for the forward; lse and delta have an element for every token of every head of every image.
    unsafe {
        queries_kernel::launch_unchecked::<P, E, R>(
            client,
            cubes.clone(),
            dim,
            read,
            read.min(4),
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
        keys_kernel::launch_unchecked::<P, E, R>(
            client,
            cubes,
            dim,
            read,
            read.min(4),
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
