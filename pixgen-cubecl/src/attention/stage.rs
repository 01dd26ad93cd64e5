//! What happens between products, the same for every kernel and every way to multiply: tiles are loaded, scores masked, weights stored.

use cubecl::prelude::*;

use super::heads::HeadRows;
use super::plan::Tiles;
use super::tile::Product;
use crate::store::{Four, Store};

/// Alignment that tensor cores ask of a tile, bytes.
pub const ALIGNMENT: usize = 32;

/// A tile of `rows` operands for tensor cores or units.
#[cube]
pub fn operand_tile<P: Product>(#[comptime] rows: usize, #[comptime] tiles: Tiles) -> SharedMemory<Vector<P::Operand, P::Lanes>> {
    let vectors = comptime!(rows * tiles.operand_pitch(P::Lanes::value()) / P::Lanes::value());
    SharedMemory::new_aligned(vectors, ALIGNMENT)
}

/// Copies tokens `start ..` of a head to a tile of `rows` x `width`, zeros where there is no token or the head has ended. `columns`:
/// the rows of the tile are placed as [`Product::place`] says.
#[cube]
pub fn load<P: Product, E: Store, N: Size>(
    source: &Array<Vector<E, N>>,
    from: HeadRows,
    start: usize,
    target: &mut SharedMemory<Vector<P::Operand, P::Lanes>>,
    #[comptime] rows: usize,
    #[comptime] columns: bool,
    #[comptime] tiles: Tiles,
) {
    let lanes = P::Lanes::value().comptime();
    let size = N::value().comptime();
    let per_row = comptime!(tiles.width / lanes);
    let steps = comptime!((rows * per_row).div_ceil(tiles.units));
    // Unrolled by the CUDA compiler where it pays; done here it only makes kernels slow to compile.
    for step in 0..steps {
        let index = UNIT_POS as usize + step * tiles.units;
        if comptime!((rows * per_row).is_multiple_of(tiles.units)) || index < comptime!(rows * per_row) {
            let row = index / per_row;
            let vector = index % per_row;
            let token = start + row;
            let mut operands = Vector::<P::Operand, P::Lanes>::new(P::Operand::from_int(0));
            if token < from.tokens {
                #[unroll]
                for piece in 0..comptime!(lanes / size) {
                    let number = vector * lanes + comptime!(piece * size);
                    if comptime!(tiles.width == tiles.head) || number < tiles.head {
                        let read = P::operand::<E, N>(source[(from.first + token * from.stride + number) / size]);
                        if comptime!(size == lanes) {
                            operands = Vector::cast_from(read);
                        } else {
                            #[unroll]
                            for lane in 0..size {
                                operands[comptime!(piece * size + lane)] = read[lane];
                            }
                        }
                    }
                }
            }
            let place = if columns { P::place(row, tiles) } else { row };
            target[place * comptime!(tiles.operand_pitch(lanes) / lanes) + vector] = operands;
        }
    }
}

/// The scores of this unit: of its row, every `group`-th vector.
#[cube]
pub fn own_scores(scores: &SharedMemory<Vector<f32, Four>>, #[comptime] tiles: Tiles) -> Array<Vector<f32, Four>> {
    let group = comptime!(tiles.group());
    let count = comptime!(tiles.columns / 4 / group);
    let at = UNIT_POS as usize / group * comptime!(tiles.score_pitch() / 4) + UNIT_POS as usize % group;
    let mut own = Array::<Vector<f32, Four>>::new(count);
    #[unroll]
    for i in 0..count {
        own[i] = scores[at + comptime!(i * group)];
    }
    own
}

/// Puts what a unit made of [`own_scores`] into the tile of weights.
#[cube]
pub fn put_weights<P: Product>(
    own: &Array<Vector<f32, Four>>,
    weights: &mut SharedMemory<Vector<P::Operand, Four>>,
    #[comptime] tiles: Tiles,
) {
    let group = comptime!(tiles.group());
    let pitch = comptime!(tiles.weight_pitch(P::Lanes::value()) / 4);
    let at = UNIT_POS as usize / group * pitch + UNIT_POS as usize % group;
    #[unroll]
    for i in 0..comptime!(tiles.columns / 4 / group) {
        weights[at + comptime!(i * group)] = P::round(own[i]);
    }
}

/// Vector `i` of [`own_scores`] with `other` in the columns from `count` on.
#[cube]
pub fn mask(value: Vector<f32, Four>, #[comptime] i: usize, count: usize, other: f32, #[comptime] tiles: Tiles) -> Vector<f32, Four> {
    let group = comptime!(tiles.group());
    let first = (UNIT_POS as usize % group + comptime!(i * group)) * 4;
    let mut masked = Vector::<f32, Four>::empty();
    #[unroll]
    for lane in 0..4usize {
        masked[lane] = select(first + lane < count, value[lane], other);
    }
    masked
}
