//! From global memory to tiles in shared memory, by copies that run while the tensor cores work, and from registers back.

use cubecl::prelude::barrier::{Barrier, copy_async};
use cubecl::prelude::*;
use half::bf16;

use super::tiles::{FragmentTiles, LANES, STRIP};
use crate::attention::heads::HeadRows;

/// 16 bytes of bf16.
pub(super) type Eight = Vector<bf16, Const<8>>;
/// What a lane holds of a row of an operand.
pub(super) type Pair = Vector<bf16, Const<2>>;
/// What a lane holds of a row of sums.
pub(super) type Sums = Vector<f32, Const<2>>;

/// The 16 tokens that a plane owns, of a head of an image.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Strip {
    image: usize,
    head: usize,
    /// First token of the cube.
    pub(super) start: usize,
    /// First row of the plane in a tile of the cube's tokens.
    pub(super) own: usize,
}

#[cube]
impl Strip {
    pub(super) fn new(#[comptime] tiles: FragmentTiles) -> Strip {
        Strip {
            image: CUBE_POS_Z as usize,
            head: CUBE_POS_Y as usize,
            start: CUBE_POS_X as usize * comptime!(tiles.rows()),
            own: UNIT_POS as usize / 32 * STRIP,
        }
    }

    /// The rows of part `part` of `parts` of a tensor.
    pub(super) fn rows(&self, part: usize, parts: usize, heads: usize, tokens: usize, #[comptime] tiles: FragmentTiles) -> HeadRows {
        HeadRows::new(self.image, self.head, heads, part, parts, tokens, tiles.head)
    }

    /// Where the numbers of the queries of the head begin.
    pub(super) fn statistics(&self, heads: usize, tokens: usize) -> usize {
        (self.image * heads + self.head) * tokens
    }

    /// First token of the plane.
    pub(super) fn first(&self) -> usize {
        self.start + self.own
    }
}

/// A number for each of the two rows of a lane.
#[cube]
pub(super) fn two(value: f32) -> Array<f32> {
    let mut numbers = Array::<f32>::new(2usize);
    numbers[0] = value;
    numbers[1] = value;
    numbers
}

/// A tile of `rows` tokens, with zeros where a head has ended. The block must meet before it is read.
#[cube]
pub(super) fn tile(#[comptime] rows: usize, #[comptime] tiles: FragmentTiles) -> SharedMemory<Eight> {
    let mut tile = SharedMemory::<Eight>::new_aligned(comptime!(rows * tiles.pitch()), 16usize);
    if comptime!(tiles.width() > tiles.head) {
        let mut row = UNIT_POS as usize;
        while row < rows {
            tile[row * comptime!(tiles.pitch()) + comptime!(tiles.head / LANES)] = Eight::new(bf16::from_int(0));
            row += comptime!(tiles.units());
        }
    }
    tile
}

/// Starts copies of tokens `first ..` of a head to rows `to ..` of a tile. Tokens past the end are the last one.
#[cube]
pub(super) fn fetch(
    source: &Array<Eight>,
    from: HeadRows,
    first: usize,
    tile: &mut SharedMemory<Eight>,
    to: usize,
    #[comptime] count: usize,
    #[comptime] tiles: FragmentTiles,
) {
    let vectors = comptime!(tiles.head / LANES);
    let all = comptime!(count * vectors);
    let units = comptime!(tiles.units());
    #[unroll]
    for i in 0..comptime!(all.div_ceil(units)) {
        let at = UNIT_POS as usize + i * units;
        if comptime!(all.is_multiple_of(units)) || at < all {
            let row = at / vectors;
            let column = at % vectors;
            let token = min(first + row, from.tokens - 1);
            let start = (from.first + token * from.stride) / LANES + column;
            let target = (to + row) * comptime!(tiles.pitch()) + column;
            copy_async(&source.slice(start, start + 1), &mut tile.slice_mut(target, target + 1), comptime!(LANES as u32));
        }
    }
}

/// Two barriers, one for each stage of the other side: a phase ends when the copies of all units have landed.
#[derive(CubeType)]
pub(super) struct Stages {
    even: Shared<Barrier>,
    odd: Shared<Barrier>,
}

#[cube]
impl Stages {
    /// The block must meet before they are used.
    pub(super) fn new(#[comptime] tiles: FragmentTiles) -> Stages {
        let units = comptime!(tiles.units() as u32);
        Stages { even: Barrier::shared(units, UNIT_POS == 0), odd: Barrier::shared(units, UNIT_POS == 0) }
    }

    /// All copies that this unit has started belong to block `block`.
    pub(super) fn arrive(&self, block: usize) {
        let stage = block % 2;
        if stage == 0 {
            self.even.commit_copy_async();
            let _token = self.even.arrive();
        } else {
            self.odd.commit_copy_async();
            let _token = self.odd.arrive();
        }
    }

    /// Until the copies of block `block` have landed.
    pub(super) fn wait(&self, block: usize) {
        let (stage, phase) = (block % 2, (block / 2 % 2) as u32);
        if stage == 0 {
            self.even.wait_parity(phase);
        } else {
            self.odd.wait_parity(phase);
        }
    }
}

/// Writes the 16 rows of a plane, which begin at token `first`, times a factor of each of this lane's two rows.
#[cube]
pub(super) fn write(
    sums: &Sequence<Array<Sums>>,
    factors: &Array<f32>,
    target: &mut Array<Pair>,
    to: HeadRows,
    first: usize,
    #[comptime] tiles: FragmentTiles,
) {
    let lane = UNIT_POS_PLANE as usize;
    #[unroll]
    for half in 0..2usize {
        let token = first + lane / 4 + comptime!(8 * half);
        if token < to.tokens {
            let at = (to.first + token * to.stride) / 2 + lane % 4;
            #[unroll]
            for n in 0..comptime!(tiles.head / LANES) {
                target[at + comptime!(4 * n)] = Pair::cast_from(sums.index(n)[half] * Sums::new(factors[half]));
            }
        }
    }
}
