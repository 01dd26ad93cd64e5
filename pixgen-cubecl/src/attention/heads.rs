//! Where the numbers of a head lie in global memory, and how results get there.

use cubecl::prelude::*;

use super::plan::Tiles;
use crate::store::{Four, Store};

/// Where the rows of one head of one image lie in a tensor of `[B, T, ..]`, in elements.
#[derive(CubeType, Clone, Copy)]
pub struct HeadRows {
    /// Element of token 0, number 0.
    pub first: usize,
    /// From token to token.
    pub stride: usize,
    /// Tokens.
    pub tokens: usize,
}

#[cube]
impl HeadRows {
    /// Rows of head `head` of image `image` in part `part` of `parts` of the last axis, which has `heads` heads per part.
    pub fn new(image: usize, head: usize, heads: usize, part: usize, parts: usize, tokens: usize, #[comptime] width: usize) -> HeadRows {
        let stride = parts * heads * width;
        HeadRows { first: image * tokens * stride + (part * heads + head) * width, stride, tokens }
    }
}

/// Writes four numbers of a token, of those that exist.
#[cube]
pub fn put_four<E: Store, N: Size>(
    four: Vector<f32, Four>,
    target: &mut Array<Vector<E, N>>,
    to: HeadRows,
    token: usize,
    number: usize,
    #[comptime] tiles: Tiles,
) {
    let size = N::value().comptime();
    if token < to.tokens {
        #[unroll]
        for piece in 0..comptime!(4 / size) {
            let at = number + comptime!(piece * size);
            if comptime!(tiles.width == tiles.head) || at < tiles.head {
                let mut numbers = Vector::<f32, N>::empty();
                #[unroll]
                for lane in 0..size {
                    numbers[lane] = four[comptime!(piece * size + lane)];
                }
                target[(to.first + token * to.stride + at) / size] = E::narrow::<N>(numbers);
            }
        }
    }
}
