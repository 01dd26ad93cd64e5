//! The gradient of queries, with scores and their gradients in registers; see the portable kernel for the formulas.

use cubecl::prelude::*;

use super::product::{Definition, add_rows, add_scores, left, zeros};
use super::stage::{Eight, Pair, Stages, Sums, fetch, tile, write};
use super::tiles::{FragmentTiles, LANES, STRIP};
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
    let lane = UNIT_POS_PLANE as usize;
    let own = UNIT_POS as usize / 32 * STRIP;
    let start = CUBE_POS_X as usize * comptime!(tiles.rows());
    let head = CUBE_POS_Y as usize;
    let image = CUBE_POS_Z as usize;
    let queries = HeadRows::new(image, head, heads, 0, 3, tokens, tiles.head);
    let keys = HeadRows::new(image, head, heads, 1, 3, tokens, tiles.head);
    let values = HeadRows::new(image, head, heads, 2, 3, tokens, tiles.head);
    let results = HeadRows::new(image, head, heads, 0, 1, tokens, tiles.head);

    let mut q_tile = tile(comptime!(tiles.rows()), tiles);
    let mut d_tile = tile(comptime!(tiles.rows()), tiles);
    let mut k_tile = tile(comptime!(2 * tiles.block), tiles);
    let mut v_tile = tile(comptime!(2 * tiles.block), tiles);
    let stages = Stages::new(tiles);
    sync_cube();
    fetch(qkv, queries, start, &mut q_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(dy, results, start, &mut d_tile, 0usize, comptime!(tiles.rows()), tiles);
    fetch(qkv, keys, 0usize, &mut k_tile, 0usize, tiles.block, tiles);
    fetch(qkv, values, 0usize, &mut v_tile, 0usize, tiles.block, tiles);
    stages.arrive(0usize);

    let statistics = (image * heads + head) * tokens;
    let row_delta = deltas(out, dy, results, start + own, tiles);
    if lane % 2 == 0 && start + own + lane / 2 < tokens {
        delta[statistics + start + own + lane / 2] = row_delta;
    }
    let mut shifts = Array::<f32>::new(2usize);
    let mut own_deltas = Array::<f32>::new(2usize);
    #[unroll]
    for half in 0..2usize {
        let row = lane / 4 + comptime!(8 * half);
        shifts[half] = lse[statistics + min(start + own + row, tokens - 1)];
        own_deltas[half] = plane_shuffle(row_delta, (2 * row) as u32);
    }
    stages.wait(0usize);

    let mut q = Sequence::<Array<Pair>>::new();
    let mut d = Sequence::<Array<Pair>>::new();
    #[unroll]
    for step in 0..comptime!(tiles.width() / 16) {
        q.push(left(&definition, &q_tile, own, step, tiles));
        d.push(left(&definition, &d_tile, own, step, tiles));
    }
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
        #[unroll]
        for step in 0..comptime!(tiles.block / 16) {
            let ds = score_gradients(&scores, &dp, &shifts, &own_deltas, scale, tokens - block * tiles.block, step);
            add_rows(&definition, &ds, &k_tile, row + comptime!(16 * step), &mut dq, tiles);
        }
        if next < blocks {
            stages.wait(next);
        }
        sync_cube();
    }
    let mut factors = Array::<f32>::new(2usize);
    factors[0] = scale;
    factors[1] = scale;
    write(&dq, &factors, dqkv, queries, start + own, tiles);
}

/// `sum_w dy_w out_w` of row `lane / 2` of the plane, whose first token is `first`. Tokens past the end are the last one.
#[cube]
fn deltas(out: &Array<Eight>, dy: &Array<Eight>, rows: HeadRows, first: usize, #[comptime] tiles: FragmentTiles) -> f32 {
    let lane = UNIT_POS_PLANE as usize;
    let token = min(first + lane / 2, rows.tokens - 1);
    let at = (rows.first + token * rows.stride) / LANES;
    let mut part = 0.0f32;
    let mut vector = lane % 2;
    while vector < comptime!(tiles.head / LANES) {
        let product = Vector::<f32, Const<8>>::cast_from(out[at + vector]) * Vector::<f32, Const<8>>::cast_from(dy[at + vector]);
        #[unroll]
        for i in 0..8usize {
            part += product[i];
        }
        vector += 2;
    }
    part + plane_shuffle_xor(part, 1u32)
}

/// `p (dp - delta)` of 16 keys as a left operand, zero where there is no key.
#[cube]
fn score_gradients(
    scores: &Sequence<Array<Sums>>,
    dp: &Sequence<Array<Sums>>,
    shifts: &Array<f32>,
    deltas: &Array<f32>,
    scale: f32,
    keys: usize,
    #[comptime] step: usize,
) -> Array<Pair> {
    let column = UNIT_POS_PLANE as usize % 4 * 2;
    let mut ds = Array::<Pair>::new(4usize);
    #[unroll]
    for side in 0..2usize {
        let n = comptime!(2 * step + side);
        #[unroll]
        for half in 0..2usize {
            let probability = (scores.index(n)[half] * Sums::new(scale) - Sums::new(shifts[half])).exp();
            let mut two = probability * (dp.index(n)[half] - Sums::new(deltas[half]));
            #[unroll]
            for c in 0..2usize {
                two[c] = select(column + comptime!(8 * n + c) < keys, two[c], 0.0f32);
            }
            ds[comptime!(2 * side + half)] = Pair::cast_from(two);
        }
    }
    ds
}
