//! `softmax(q k^T / sqrt(w)) v` with scores and probabilities in registers (docs/reference/method.md section 2.2).

use cubecl::prelude::*;

use super::product::{Definition, add_rows, add_scores, left, zeros};
use super::stage::{Eight, Pair, Stages, Sums, fetch, tile, write};
use super::tiles::{FragmentTiles, STRIP};
use crate::attention::heads::HeadRows;

/// Below every score, and finite so that differences with it are numbers.
const LOWEST: f32 = -1e30;

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
    let lane = UNIT_POS_PLANE as usize;
    let own = UNIT_POS as usize / 32 * STRIP;
    let start = CUBE_POS_X as usize * comptime!(tiles.rows());
    let head = CUBE_POS_Y as usize;
    let image = CUBE_POS_Z as usize;
    let queries = HeadRows::new(image, head, heads, 0, 3, tokens, tiles.head);
    let keys = HeadRows::new(image, head, heads, 1, 3, tokens, tiles.head);
    let values = HeadRows::new(image, head, heads, 2, 3, tokens, tiles.head);

    let mut q_tile = tile(comptime!(tiles.rows()), tiles);
    let mut k_tile = tile(comptime!(2 * tiles.block), tiles);
    let mut v_tile = tile(comptime!(2 * tiles.block), tiles);
    let stages = Stages::new(tiles);
    sync_cube();
    fetch(qkv, queries, start, &mut q_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(qkv, keys, 0usize, &mut k_tile, 0usize, tiles.block, tiles);
    fetch(qkv, values, 0usize, &mut v_tile, 0usize, tiles.block, tiles);
    stages.arrive(0usize);
    stages.wait(0usize);

    let mut q = Sequence::<Array<Pair>>::new();
    #[unroll]
    for step in 0..comptime!(tiles.width() / 16) {
        q.push(left(&definition, &q_tile, own, step, tiles));
    }
    let mut sums = zeros(comptime!(tiles.head / 8));
    let mut peaks = Array::<f32>::new(2usize);
    let mut totals = Array::<f32>::new(2usize);
    #[unroll]
    for half in 0..2usize {
        peaks[half] = LOWEST;
        totals[half] = 0.0f32;
    }

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
        raise(&mut scores, &mut peaks, &mut totals, &mut sums, scale, tokens - block * tiles.block, tiles);
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

    let mut factors = Array::<f32>::new(2usize);
    #[unroll]
    for half in 0..2usize {
        let total = over_row_sum(totals[half]);
        factors[half] = 1.0f32 / total;
        let token = start + own + lane / 4 + comptime!(8 * half);
        if with_lse && lane % 4 == 0 && token < tokens {
            lse[(image * heads + head) * tokens + token] = peaks[half] + total.ln();
        }
    }
    write(&sums, &factors, out, HeadRows::new(image, head, heads, 0, 1, tokens, tiles.head), start + own, tiles);
}

/// The sum over the four lanes that share a row.
#[cube]
pub(super) fn over_row_sum(value: f32) -> f32 {
    let two = value + plane_shuffle_xor(value, 1u32);
    two + plane_shuffle_xor(two, 2u32)
}

/// The scores of a block are scaled, those without a key sunk, the peaks raised to them and all sums so far brought to the new peaks.
#[cube]
fn raise(
    scores: &mut Sequence<Array<Sums>>,
    peaks: &mut Array<f32>,
    totals: &mut Array<f32>,
    sums: &mut Sequence<Array<Sums>>,
    scale: f32,
    keys: usize,
    #[comptime] tiles: FragmentTiles,
) {
    let column = UNIT_POS_PLANE as usize % 4 * 2;
    #[unroll]
    for half in 0..2usize {
        let mut peak = peaks[half];
        #[unroll]
        for n in 0..comptime!(tiles.block / 8) {
            let block = scores.index_mut(n);
            let mut two = block[half] * Sums::new(scale);
            #[unroll]
            for c in 0..2usize {
                two[c] = select(column + comptime!(8 * n + c) < keys, two[c], LOWEST);
            }
            block[half] = two;
            peak = max(peak, max(two[0], two[1]));
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
            let weight = (block[half] - Sums::new(peaks[half])).exp();
            totals[half] += weight[0] + weight[1];
            p[comptime!(2 * side + half)] = Pair::cast_from(weight);
        }
    }
    p
}
