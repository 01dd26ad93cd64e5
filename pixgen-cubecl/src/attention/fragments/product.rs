//! Products of 16 x 8 x 16 whose operands and sums stay in registers.
//!
//! A lane holds of a 16 x 8 block of sums two numbers of row `lane / 4` and two of the row eight below, in columns `lane % 4 * 2` and the
//! next. Rounded to bf16, two such blocks side by side are the left operand of the next product where they lie.

use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;
use half::bf16;

use super::stage::{Eight, Pair, Sums};
use super::tiles::FragmentTiles;

/// The product of the tensor cores.
pub(super) type Definition = MmaDefinition<bf16, bf16, f32>;

/// Below every score, and finite so that differences with it are numbers.
pub(super) const LOWEST: f32 = -1e30;

/// `count` blocks of sums, all zero.
#[cube]
pub(super) fn zeros(#[comptime] count: usize) -> Sequence<Array<Sums>> {
    let mut sums = Sequence::<Array<Sums>>::new();
    #[unroll]
    for _ in 0..count {
        let mut zero = Array::<Sums>::new(2usize);
        zero[0] = Sums::new(0.0f32);
        zero[1] = Sums::new(0.0f32);
        sums.push(zero);
    }
    sums
}

/// Rows `row .. row + 16` of a tile as left operands, for step `step` along the head.
#[cube]
pub(super) fn left(
    definition: &Definition,
    tile: &SharedMemory<Eight>,
    row: usize,
    #[comptime] step: usize,
    #[comptime] tiles: FragmentTiles,
) -> Array<Pair> {
    let lane = UNIT_POS_PLANE as usize;
    let at = (row + lane % 16) * comptime!(tiles.pitch()) + comptime!(2 * step) + lane / 16;
    definition.load_matrix::<Eight, Const<2>>(&tile.slice(at, at + 1), MatrixIdent::A, 4usize, false)
}

/// The 16 rows of a plane, `row ..` of a tile, as left operands of every step along the head.
#[cube]
pub(super) fn left_of_all_steps(
    definition: &Definition,
    tile: &SharedMemory<Eight>,
    row: usize,
    #[comptime] tiles: FragmentTiles,
) -> Sequence<Array<Pair>> {
    let mut operands = Sequence::<Array<Pair>>::new();
    #[unroll]
    for step in 0..comptime!(tiles.width() / 16) {
        operands.push(left(definition, tile, row, step, tiles));
    }
    operands
}

/// `e^x` in two instructions. Its error, some 1e-6 of the value, is far below the rounding to bf16 that follows.
#[cube(fast_math = FastMath::ReducedPrecision | FastMath::NotNaN | FastMath::NotInf)]
pub(super) fn exponential(x: Sums) -> Sums {
    x.exp()
}

/// Sinks the scores of a block in which only the first `columns` columns have a token, so that they get no weight.
#[cube]
pub(super) fn mask(scores: &mut Sequence<Array<Sums>>, columns: usize, #[comptime] tiles: FragmentTiles) {
    if columns < tiles.block {
        let column = UNIT_POS_PLANE as usize % 4 * 2;
        #[unroll]
        for n in 0..comptime!(tiles.block / 8) {
            let block = scores.index_mut(n);
            #[unroll]
            for half in 0..2usize {
                let mut two = block[half];
                #[unroll]
                for c in 0..2usize {
                    two[c] = select(column + comptime!(8 * n + c) < columns, two[c], LOWEST);
                }
                block[half] = two;
            }
        }
    }
}

/// Adds `a b` for the two right operands of 8 columns that one load brings, to sums `2 pair` and `2 pair + 1` of `count`.
#[cube]
fn add_two(
    definition: &Definition,
    a: &Array<Pair>,
    loaded: &Array<Pair>,
    sums: &mut Sequence<Array<Sums>>,
    #[comptime] pair: usize,
    #[comptime] count: usize,
) {
    #[unroll]
    for half in 0..2usize {
        // Of a head of 72 the last eight columns are zeros and have no sums.
        if comptime!(2 * pair + half < count) {
            let mut b = Array::<Pair>::new(2usize);
            b[0] = loaded[comptime!(2 * half)];
            b[1] = loaded[comptime!(2 * half + 1)];
            definition.execute_inplace(a, &b, sums.index_mut(comptime!(2 * pair + half)));
        }
    }
}

/// Adds `a tile^T` for step `step` along the head: a column of sums for each of `tiles.block` rows from `row` on.
#[cube]
pub(super) fn add_scores(
    definition: &Definition,
    a: &Array<Pair>,
    tile: &SharedMemory<Eight>,
    row: usize,
    sums: &mut Sequence<Array<Sums>>,
    #[comptime] step: usize,
    #[comptime] tiles: FragmentTiles,
) {
    let lane = UNIT_POS_PLANE as usize;
    #[unroll]
    for pair in 0..comptime!(tiles.block / 16) {
        // Four matrices of 8 x 8: rows 0 to 7 and 8 to 15, each in two halves of 16 numbers of the head.
        let at = (row + comptime!(16 * pair) + lane % 8 + lane / 16 * 8) * comptime!(tiles.pitch()) + comptime!(2 * step) + lane / 8 % 2;
        let loaded = definition.load_matrix::<Eight, Const<2>>(&tile.slice(at, at + 1), MatrixIdent::B, 4usize, false);
        add_two(definition, a, &loaded, sums, pair, comptime!(tiles.block / 8));
    }
}

/// Adds `a tile` for 16 rows of the tile from `row` on: a column of sums for each number of the head.
#[cube]
pub(super) fn add_rows(
    definition: &Definition,
    a: &Array<Pair>,
    tile: &SharedMemory<Eight>,
    row: usize,
    sums: &mut Sequence<Array<Sums>>,
    #[comptime] tiles: FragmentTiles,
) {
    let lane = UNIT_POS_PLANE as usize;
    #[unroll]
    for pair in 0..comptime!(tiles.width() / 16) {
        let at = (row + lane % 16) * comptime!(tiles.pitch()) + comptime!(2 * pair) + lane / 16;
        let loaded = definition.load_matrix::<Eight, Const<2>>(&tile.slice(at, at + 1), MatrixIdent::B, 4usize, true);
        add_two(definition, a, &loaded, sums, pair, comptime!(tiles.head / 8));
    }
}
