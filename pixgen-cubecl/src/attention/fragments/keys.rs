//! The gradients of keys and values, with scores and their gradients in registers; see the portable kernel for the formulas.

use cubecl::prelude::*;

use super::product::{Definition, add_rows, add_scores, exponential, left, zeros};
use super::stage::{Eight, Pair, Stages, Strip, Sums, fetch, tile, two, write};
use super::tiles::FragmentTiles;

/// A log-sum-exp that leaves every score without weight.
const HIGHEST: f32 = 1e30;

/// A cube owns `tiles.rows()` keys of a head and walks over its queries. Rows of scores are keys, columns queries.
#[cube(launch_unchecked)]
pub(super) fn keys_fragments(
    qkv: &Array<Eight>,
    dy: &Array<Eight>,
    lse: &Array<f32>,
    delta: &Array<f32>,
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
    let statistics = strip.statistics(heads, tokens);

    let mut k_tile = tile(comptime!(tiles.rows()), tiles);
    let mut v_tile = tile(comptime!(tiles.rows()), tiles);
    let mut q_tile = tile(comptime!(2 * tiles.block), tiles);
    let mut d_tile = tile(comptime!(2 * tiles.block), tiles);
    let mut shifts = SharedMemory::<f32>::new(comptime!(2 * tiles.block));
    let mut deltas = SharedMemory::<f32>::new(comptime!(2 * tiles.block));
    let stages = Stages::new(tiles);
    sync_cube();
    fetch(qkv, keys, strip.start, &mut k_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(qkv, values, strip.start, &mut v_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(qkv, queries, 0usize, &mut q_tile, 0usize, tiles.block, tiles);
    fetch(dy, results, 0usize, &mut d_tile, 0usize, tiles.block, tiles);
    columns(lse, delta, &mut shifts, &mut deltas, statistics, 0usize, 0usize, tokens, tiles);
    stages.arrive(0usize);
    stages.wait(0usize);

    let mut dk = zeros(comptime!(tiles.head / 8));
    let mut dv = zeros(comptime!(tiles.head / 8));
    let blocks = tokens.div_ceil(tiles.block);
    for block in 0..blocks {
        let row = block % 2 * tiles.block;
        let next = block + 1;
        if next < blocks {
            let to = next % 2 * tiles.block;
            fetch(qkv, queries, next * tiles.block, &mut q_tile, to, tiles.block, tiles);
            fetch(dy, results, next * tiles.block, &mut d_tile, to, tiles.block, tiles);
            columns(lse, delta, &mut shifts, &mut deltas, statistics, next * tiles.block, to, tokens, tiles);
            stages.arrive(next);
        }
        let mut scores = zeros(comptime!(tiles.block / 8));
        let mut dp = zeros(comptime!(tiles.block / 8));
        #[unroll]
        for step in 0..comptime!(tiles.width() / 16) {
            let k = left(&definition, &k_tile, strip.own, step, tiles);
            add_scores(&definition, &k, &q_tile, row, &mut scores, step, tiles);
            let v = left(&definition, &v_tile, strip.own, step, tiles);
            add_scores(&definition, &v, &d_tile, row, &mut dp, step, tiles);
        }
        #[unroll]
        for step in 0..comptime!(tiles.block / 16) {
            let (p, ds) = gradients(&scores, &dp, &shifts, &deltas, row, scale, step);
            add_rows(&definition, &p, &d_tile, row + comptime!(16 * step), &mut dv, tiles);
            add_rows(&definition, &ds, &q_tile, row + comptime!(16 * step), &mut dk, tiles);
        }
        if next < blocks {
            stages.wait(next);
        }
        sync_cube();
    }
    write(&dk, &two(scale), dqkv, keys, strip.first(), tiles);
    write(&dv, &two(1.0f32), dqkv, values, strip.first(), tiles);
}

/// The numbers of queries `first ..` to places `to ..`; queries past the end get no weight.
#[cube]
fn columns(
    lse: &Array<f32>,
    delta: &Array<f32>,
    shifts: &mut SharedMemory<f32>,
    deltas: &mut SharedMemory<f32>,
    statistics: usize,
    first: usize,
    to: usize,
    tokens: usize,
    #[comptime] tiles: FragmentTiles,
) {
    let mut column = UNIT_POS as usize;
    while column < tiles.block {
        let at = statistics + min(first + column, tokens - 1);
        shifts[to + column] = select(first + column < tokens, lse[at], HIGHEST);
        deltas[to + column] = delta[at];
        column += comptime!(tiles.units());
    }
}

/// `p` and `p (dp - delta)` of 16 queries as left operands.
#[cube]
fn gradients(
    scores: &Sequence<Array<Sums>>,
    dp: &Sequence<Array<Sums>>,
    shifts: &SharedMemory<f32>,
    deltas: &SharedMemory<f32>,
    first: usize,
    scale: f32,
    #[comptime] step: usize,
) -> (Array<Pair>, Array<Pair>) {
    let mut p = Array::<Pair>::new(4usize);
    let mut ds = Array::<Pair>::new(4usize);
    let column = first + UNIT_POS_PLANE as usize % 4 * 2;
    #[unroll]
    for side in 0..2usize {
        let n = comptime!(2 * step + side);
        let at = column + comptime!(8 * n);
        let mut shift = Sums::new(shifts[at]);
        shift[1] = shifts[at + 1];
        let mut row_delta = Sums::new(deltas[at]);
        row_delta[1] = deltas[at + 1];
        #[unroll]
        for half in 0..2usize {
            let probability = exponential(scores.index(n)[half] * Sums::new(scale) - shift);
            p[comptime!(2 * side + half)] = Pair::cast_from(probability);
            ds[comptime!(2 * side + half)] = Pair::cast_from(probability * (dp.index(n)[half] - row_delta));
        }
    }
    (p, ds)
}
