//! The gradient of queries, with scores and their gradients in registers; see the portable kernel for the formulas.

use cubecl::prelude::*;

use super::product::{Definition, add_rows, add_scores, exponential, left_of_all_steps, mask, zeros};
use super::stage::{Eight, Pair, Stages, Strip, Sums, fetch, tile, two, write};
use super::tiles::{FragmentTiles, LANES};
use crate::attention::heads::HeadRows;

/// A cube owns `tiles.rows()` queries of a head and walks over its keys. Leaves `delta` for the kernel of keys.
#[cube(launch_unchecked)]
pub(super) fn queries_fragments(
    qkv: &Array<Eight>,
    out: &Array<Eight>,
    dy: &Array<Eight>,
    lse: &Array<f32>,
    delta: &mut Array<f32>,
    dqkv: &mut Array<Pair>,
    tokens: usize,
    heads: usize,
    scale: f32,
    #[comptime] tiles: FragmentTiles,
) {
    let definition = Definition::new(16usize, 8usize, 16usize);
    let strip = Strip::new(tiles);
    let queries = strip.rows(0, 3, heads, tokens, tiles);
    let keys = strip.rows(1, 3, heads, tokens, tiles);
    let values = strip.rows(2, 3, heads, tokens, tiles);
    let results = strip.rows(0, 1, heads, tokens, tiles);

    let mut q_tile = tile(comptime!(tiles.rows()), tiles);
    let mut d_tile = tile(comptime!(tiles.rows()), tiles);
    let mut k_tile = tile(comptime!(2 * tiles.block), tiles);
    let mut v_tile = tile(comptime!(2 * tiles.block), tiles);
    let stages = Stages::new(tiles);
    sync_cube();
    fetch(qkv, queries, strip.start, &mut q_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(dy, results, strip.start, &mut d_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(qkv, keys, 0usize, &mut k_tile, 0usize, tiles.block, tiles);
    fetch(qkv, values, 0usize, &mut v_tile, 0usize, tiles.block, tiles);
    stages.arrive(0usize);

    let statistics = strip.statistics(heads, tokens);
    let own_deltas = row_deltas(out, dy, delta, results, statistics, strip.first(), tiles);
    let shifts = row_shifts(lse, statistics, strip.first(), tokens);
    stages.wait(0usize);

    let q = left_of_all_steps(&definition, &q_tile, strip.own, tiles);
    let d = left_of_all_steps(&definition, &d_tile, strip.own, tiles);
    let mut dq = zeros(comptime!(tiles.head / 8));
    let blocks = tokens.div_ceil(tiles.block);
    for block in 0..blocks {
        let row = block % 2 * tiles.block;
        let next = block + 1;
        if next < blocks {
            let to = next % 2 * tiles.block;
            fetch(qkv, keys, next * tiles.block, &mut k_tile, to, tiles.block, tiles);
            fetch(qkv, values, next * tiles.block, &mut v_tile, to, tiles.block, tiles);
            stages.arrive(next);
        }
        let mut scores = zeros(comptime!(tiles.block / 8));
        let mut dp = zeros(comptime!(tiles.block / 8));
        #[unroll]
        for step in 0..comptime!(tiles.width() / 16) {
            add_scores(&definition, q.index(step), &k_tile, row, &mut scores, step, tiles);
            add_scores(&definition, d.index(step), &v_tile, row, &mut dp, step, tiles);
        }
        mask(&mut scores, tokens - block * tiles.block, tiles);
        #[unroll]
        for step in 0..comptime!(tiles.block / 16) {
            let ds = score_gradients(&scores, &dp, &shifts, &own_deltas, scale, step);
            add_rows(&definition, &ds, &k_tile, row + comptime!(16 * step), &mut dq, tiles);
        }
        if next < blocks {
            stages.wait(next);
        }
        sync_cube();
    }
    write(&dq, &two(scale), dqkv, queries, strip.first(), tiles);
}

/// The log-sum-exp of this lane's two rows of the plane, whose first token is `first`.
#[cube]
fn row_shifts(lse: &Array<f32>, statistics: usize, first: usize, tokens: usize) -> Array<f32> {
    let mut shifts = two(0.0f32);
    #[unroll]
    for half in 0..2usize {
        let token = first + UNIT_POS_PLANE as usize / 4 + comptime!(8 * half);
        shifts[half] = lse[statistics + min(token, tokens - 1)];
    }
    shifts
}

/// `delta = sum_w dy_w out_w` of this lane's two rows of the plane, whose first token is `first`; writes those of tokens that exist.
#[cube]
fn row_deltas(
    out: &Array<Eight>,
    dy: &Array<Eight>,
    delta: &mut Array<f32>,
    rows: HeadRows,
    statistics: usize,
    first: usize,
    #[comptime] tiles: FragmentTiles,
) -> Array<f32> {
    // Two lanes take a row, every other vector each.
    let lane = UNIT_POS_PLANE as usize;
    let side = lane % 2;
    let token = first + lane / 2;
    let at = (rows.first + min(token, rows.tokens - 1) * rows.stride) / LANES;
    let mut part = 0.0f32;
    let mut vector = side;
    while vector < comptime!(tiles.head / LANES) {
        let product = Vector::<f32, Const<8>>::cast_from(out[at + vector]) * Vector::<f32, Const<8>>::cast_from(dy[at + vector]);
        #[unroll]
        for i in 0..8usize {
            part += product[i];
        }
        vector += 2;
    }
    let whole = part + plane_shuffle_xor(part, 1u32);
    if side == 0 && token < rows.tokens {
        delta[statistics + token] = whole;
    }
    let mut own = two(0.0f32);
    #[unroll]
    for half in 0..2usize {
        own[half] = plane_shuffle(whole, (2 * (lane / 4 + comptime!(8 * half))) as u32);
    }
    own
}

/// `p (dp - delta)` of 16 keys as a left operand.
#[cube]
fn score_gradients(
    scores: &Sequence<Array<Sums>>,
    dp: &Sequence<Array<Sums>>,
    shifts: &Array<f32>,
    deltas: &Array<f32>,
    scale: f32,
    #[comptime] step: usize,
) -> Array<Pair> {
    let mut ds = Array::<Pair>::new(4usize);
    #[unroll]
    for side in 0..2usize {
        let n = comptime!(2 * step + side);
        #[unroll]
        for half in 0..2usize {
            let probability = exponential(scores.index(n)[half] * Sums::new(scale) - Sums::new(shifts[half]));
            ds[comptime!(2 * side + half)] = Pair::cast_from(probability * (dp.index(n)[half] - Sums::new(deltas[half])));
        }
    }
    ds
}
