//! `softmax(q k^T / sqrt(w)) v` with scores and probabilities in registers (docs/reference/method.md section 2.2).

use cubecl::prelude::*;

use super::product::{Definition, LOWEST, add_rows, add_scores, exponential, left_of_all_steps, mask, zeros};
use super::stage::{Eight, Pair, Stages, Strip, Sums, fetch, tile, two, write};
use super::tiles::FragmentTiles;

/// A cube owns `tiles.rows()` queries of a head and walks over its keys; a plane owns 16 queries.
#[cube(launch_unchecked)]
pub(super) fn forward_fragments(
    qkv: &Array<Eight>,
    out: &mut Array<Pair>,
    lse: &mut Array<f32>,
    tokens: usize,
    heads: usize,
    scale: f32,
    #[comptime] with_lse: bool,
    #[comptime] tiles: FragmentTiles,
) {
    let definition = Definition::new(16usize, 8usize, 16usize);
    let strip = Strip::new(tiles);
    let queries = strip.rows(0, 3, heads, tokens, tiles);
    let keys = strip.rows(1, 3, heads, tokens, tiles);
    let values = strip.rows(2, 3, heads, tokens, tiles);

    let mut q_tile = tile(comptime!(tiles.rows()), tiles);
    let mut k_tile = tile(comptime!(2 * tiles.block), tiles);
    let mut v_tile = tile(comptime!(2 * tiles.block), tiles);
    let stages = Stages::new(tiles);
    sync_cube();
    fetch(qkv, queries, strip.start, &mut q_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(qkv, keys, 0usize, &mut k_tile, 0usize, tiles.block, tiles);
    fetch(qkv, values, 0usize, &mut v_tile, 0usize, tiles.block, tiles);
    stages.arrive(0usize);
    stages.wait(0usize);

    let q = left_of_all_steps(&definition, &q_tile, strip.own, tiles);
    let mut sums = zeros(comptime!(tiles.head / 8));
    let mut peaks = two(LOWEST);
    let mut totals = two(0.0f32);
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
        #[unroll]
        for step in 0..comptime!(tiles.width() / 16) {
            add_scores(&definition, q.index(step), &k_tile, row, &mut scores, step, tiles);
        }
        mask(&mut scores, tokens - block * tiles.block, tiles);
        raise(&mut scores, &mut peaks, &mut totals, &mut sums, scale, tiles);
        #[unroll]
        for step in 0..comptime!(tiles.block / 16) {
            let p = weights(&scores, &peaks, &mut totals, step);
            add_rows(&definition, &p, &v_tile, row + comptime!(16 * step), &mut sums, tiles);
        }
        if next < blocks {
            stages.wait(next);
        }
        sync_cube();
    }

    let mut factors = two(1.0f32);
    #[unroll]
    for half in 0..2usize {
        let total = over_row(totals[half]);
        factors[half] = 1.0f32 / total;
        let (row, member) = (UNIT_POS_PLANE as usize / 4, UNIT_POS_PLANE % 4);
        let token = strip.first() + row + comptime!(8 * half);
        if with_lse && member == 0 && token < tokens {
            lse[strip.statistics(heads, tokens) + token] = peaks[half] + total.ln();
        }
    }
    write(&sums, &factors, out, strip.rows(0, 1, heads, tokens, tiles), strip.first(), tiles);
}

/// The sum over the four lanes that share a row.
#[cube]
fn over_row(value: f32) -> f32 {
    let two = value + plane_shuffle_xor(value, 1u32);
    two + plane_shuffle_xor(two, 2u32)
}

/// The scores of a block are scaled, the peaks raised to them, and all sums so far brought to the new peaks.
#[cube]
fn raise(
    scores: &mut Sequence<Array<Sums>>,
    peaks: &mut Array<f32>,
    totals: &mut Array<f32>,
    sums: &mut Sequence<Array<Sums>>,
    scale: f32,
    #[comptime] tiles: FragmentTiles,
) {
    #[unroll]
    for half in 0..2usize {
        let mut peak = peaks[half];
        #[unroll]
        for n in 0..comptime!(tiles.block / 8) {
            let block = scores.index_mut(n);
            let scaled = block[half] * Sums::new(scale);
            block[half] = scaled;
            peak = max(peak, max(scaled[0], scaled[1]));
        }
        peak = max(peak, plane_shuffle_xor(peak, 1u32));
        peak = max(peak, plane_shuffle_xor(peak, 2u32));
        let factor = (peaks[half] - peak).exp();
        peaks[half] = peak;
        totals[half] *= factor;
        #[unroll]
        for n in 0..comptime!(tiles.head / 8) {
            let block = sums.index_mut(n);
            block[half] = block[half] * Sums::new(factor);
        }
    }
}

/// The weights of 16 keys as a left operand; adds them to this lane's part of the totals.
#[cube]
fn weights(scores: &Sequence<Array<Sums>>, peaks: &Array<f32>, totals: &mut Array<f32>, #[comptime] step: usize) -> Array<Pair> {
    let mut p = Array::<Pair>::new(4usize);
    #[unroll]
    for side in 0..2usize {
        let block = scores.index(comptime!(2 * step + side));
        #[unroll]
        for half in 0..2usize {
            let weight = exponential(block[half] - Sums::new(peaks[half]));
            totals[half] += weight[0] + weight[1];
            p[comptime!(2 * side + half)] = Pair::cast_from(weight);
        }
    }
    p
}
