//! The products of small matrices of which attention is made, on tensor cores or on plain units.
//!
//! Everything else in the attention kernels (loads, masks, softmax, writes) is the same code for both: what a device without tensor
//! cores proves holds for the other, but for the few lines of [`TensorCores`].
//!
//! A tile of operands is row-major in shared memory, `rows` x `width`, with one vector of padding after each row so that the
//! rows that a plane reads together lie in different banks. Its element is [`Product::Operand`]. Scores are `f32`, `rows` x
//! `columns`.

use cubecl::cmma;
use cubecl::prelude::*;
use half::bf16;

use super::heads::{HeadRows, put_four};
use super::plan::{FRAGMENT, PLANE, Tiles};
use crate::store::{Four, Store};

#[allow(missing_docs)] // of the items that `cube` generates
/// One way to multiply tiles. A *row group* is the smallest set of rows that a set of units computes without the others.
#[cube]
pub trait Product: Send + Sync + 'static {
    /// Element of an operand in shared memory.
    type Operand: Numeric;
    /// Operands of one access to shared memory, 16 bytes.
    type Lanes: Size;
    /// A result of `rows` x `width`, spread over the registers of the cube.
    type Sum: CubeType;

    /// Numbers from global memory as operands.
    fn operand<E: Store, N: Size>(stored: Vector<E, N>) -> Vector<Self::Operand, N>;

    /// Computed numbers as operands.
    fn round(value: Vector<f32, Four>) -> Vector<Self::Operand, Four>;

    /// Where row `row` of a `columns` x `width` operand lies in its tile.
    fn place(row: usize, #[comptime] tiles: Tiles) -> usize;

    /// A result of zeros.
    fn zero(#[comptime] tiles: Tiles) -> Self::Sum;

    /// `scores = a b^T`: a `rows` x `width`, b `columns` x `width`. Overwrites the scores of the own row group only.
    fn scores(
        a: &SharedMemory<Vector<Self::Operand, Self::Lanes>>,
        b: &SharedMemory<Vector<Self::Operand, Self::Lanes>>,
        scores: &mut SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    );

    /// `sum += a b`: a `rows` x `columns`, of which the own row group is read, b `columns` x `width`.
    fn accumulate(
        sum: &mut Self::Sum,
        a: &SharedMemory<Vector<Self::Operand, Four>>,
        b: &SharedMemory<Vector<Self::Operand, Self::Lanes>>,
        #[comptime] tiles: Tiles,
    );

    /// Multiplies every row of `sum` by its factor. `scratch` is overwritten in the own row group.
    fn scale_rows(
        sum: &mut Self::Sum,
        factors: &SharedMemory<f32>,
        scratch: &mut SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    );

    /// Writes `sum`, every row times its factor, to the tokens of a head from `start` on. `scratch` is overwritten in the own row group.
    fn write<E: Store, N: Size>(
        sum: &Self::Sum,
        factors: &SharedMemory<f32>,
        scratch: &mut SharedMemory<Vector<f32, Four>>,
        target: &mut Array<Vector<E, N>>,
        to: HeadRows,
        start: usize,
        #[comptime] tiles: Tiles,
    );

    /// Waits until the units of a row group see each other's writes to shared memory.
    fn sync_rows(#[comptime] tiles: Tiles);
}

/// Whether the sums of a unit are few enough to be named one by one, in registers. Heads wider than 128 have more, and so have devices
/// with little shared memory, hence narrow blocks; a software device among them compiles a loop much faster.
const fn in_registers(tiles: &Tiles) -> bool {
    tiles.width / tiles.columns * tiles.unit_rows <= 16
}

/// Scalar units, `f32` operands: each unit holds 4 neighbouring columns of `tiles.unit_rows` rows of a `rows` x `columns` block.
///
/// Neighbouring units read neighbouring rows of a tile, which lie in different banks: a unit's rows are `rows / unit_rows` apart, and
/// the rows of `columns` x `width` operands are placed such that the four that a unit needs are `columns / 4` apart.
pub struct Units;

#[cube]
impl Product for Units {
    type Operand = f32;
    type Lanes = Four;
    type Sum = Array<Vector<f32, Four>>;

    fn operand<E: Store, N: Size>(stored: Vector<E, N>) -> Vector<f32, N> {
        E::widen::<N>(stored)
    }

    fn round(value: Vector<f32, Four>) -> Vector<f32, Four> {
        value
    }

    fn place(row: usize, #[comptime] tiles: Tiles) -> usize {
        row % 4 * comptime!(tiles.columns / 4) + row / 4
    }

    fn zero(#[comptime] tiles: Tiles) -> Array<Vector<f32, Four>> {
        let count = comptime!(tiles.width / tiles.columns * tiles.unit_rows);
        let mut sum = Array::<Vector<f32, Four>>::new(count);
        #[unroll(in_registers(&tiles))]
        for i in 0..count {
            sum[i] = Vector::new(0.0f32);
        }
        sum
    }

    fn scores(
        a: &SharedMemory<Vector<f32, Four>>,
        b: &SharedMemory<Vector<f32, Four>>,
        scores: &mut SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    ) {
        let pitch = comptime!(tiles.operand_pitch(4) / 4);
        let score_pitch = comptime!(tiles.score_pitch() / 4);
        let across = comptime!(tiles.columns / 4);
        let unit_rows = comptime!(tiles.unit_rows);
        let row_step = comptime!(tiles.rows / tiles.unit_rows);
        let row = UNIT_POS as usize / across;
        let column = UNIT_POS as usize % across;

        let mut dots = Array::<f32>::new(comptime!(4 * unit_rows));
        #[unroll]
        for i in 0..comptime!(4 * unit_rows) {
            dots[i] = 0.0f32;
        }
        for k in 0..comptime!(tiles.width / 4) {
            let mut right = Array::<Vector<f32, Four>>::new(4usize);
            #[unroll]
            for j in 0..4usize {
                right[j] = b[(column + comptime!(j * across)) * pitch + k];
            }
            #[unroll]
            for i in 0..unit_rows {
                let left = a[(row + comptime!(i * row_step)) * pitch + k];
                #[unroll]
                for j in 0..4usize {
                    let other = right[j];
                    #[unroll]
                    for lane in 0..4usize {
                        dots[comptime!(4 * i + j)] += left[lane] * other[lane];
                    }
                }
            }
        }
        #[unroll]
        for i in 0..unit_rows {
            let mut four = Vector::<f32, Four>::empty();
            #[unroll]
            for j in 0..4usize {
                four[j] = dots[comptime!(4 * i + j)];
            }
            scores[(row + comptime!(i * row_step)) * score_pitch + column] = four;
        }
    }

    fn accumulate(
        sum: &mut Array<Vector<f32, Four>>,
        a: &SharedMemory<Vector<f32, Four>>,
        b: &SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    ) {
        let pitch = comptime!(tiles.operand_pitch(4) / 4);
        let weight_pitch = comptime!(tiles.weight_pitch(4) / 4);
        let across = comptime!(tiles.columns / 4);
        let chunks = comptime!(tiles.width / tiles.columns);
        let unit_rows = comptime!(tiles.unit_rows);
        let row_step = comptime!(tiles.rows / tiles.unit_rows);
        let row = UNIT_POS as usize / across;
        let column = UNIT_POS as usize % across;

        for k in 0..across {
            let mut left = Array::<Vector<f32, Four>>::new(unit_rows);
            #[unroll]
            for i in 0..unit_rows {
                left[i] = a[(row + comptime!(i * row_step)) * weight_pitch + k];
            }
            #[unroll]
            for lane in 0..4usize {
                #[unroll(in_registers(&tiles))]
                for chunk in 0..chunks {
                    let right = b[(k + comptime!(lane * across)) * pitch + column + chunk * across];
                    #[unroll]
                    for i in 0..unit_rows {
                        let four = left[i];
                        sum[chunk * unit_rows + i] += Vector::<f32, Four>::new(four[lane]) * right;
                    }
                }
            }
        }
    }

    fn scale_rows(
        sum: &mut Array<Vector<f32, Four>>,
        factors: &SharedMemory<f32>,
        _scratch: &mut SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    ) {
        let unit_rows = comptime!(tiles.unit_rows);
        let row = UNIT_POS as usize / comptime!(tiles.columns / 4);
        #[unroll]
        for i in 0..unit_rows {
            let factor = Vector::<f32, Four>::new(factors[row + comptime!(i * (tiles.rows / tiles.unit_rows))]);
            #[unroll(in_registers(&tiles))]
            for chunk in 0..comptime!(tiles.width / tiles.columns) {
                sum[chunk * unit_rows + i] *= factor;
            }
        }
    }

    fn write<E: Store, N: Size>(
        sum: &Array<Vector<f32, Four>>,
        factors: &SharedMemory<f32>,
        _scratch: &mut SharedMemory<Vector<f32, Four>>,
        target: &mut Array<Vector<E, N>>,
        to: HeadRows,
        start: usize,
        #[comptime] tiles: Tiles,
    ) {
        let across = comptime!(tiles.columns / 4);
        let number = UNIT_POS as usize % across * 4;
        #[unroll]
        for i in 0..comptime!(tiles.unit_rows) {
            let row = UNIT_POS as usize / across + comptime!(i * (tiles.rows / tiles.unit_rows));
            let factor = Vector::<f32, Four>::new(factors[row]);
            #[unroll(in_registers(&tiles))]
            for chunk in 0..comptime!(tiles.width / tiles.columns) {
                let four = sum[chunk * tiles.unit_rows + i] * factor;
                put_four::<E, N>(four, target, to, start + row, number + chunk * tiles.columns, tiles);
            }
        }
    }

    fn sync_rows(#[comptime] _tiles: Tiles) {
        sync_cube();
    }
}

/// Tensor cores on bf16 operands, products of 16 x 16 x 16 with `f32` sums; planes of 32 units.
///
/// `tiles.split` planes share 16 rows. Of a result 16 rows high they take the fragments of 16 columns in turn.
pub struct TensorCores;

/// Fragments of a result of `columns` that each plane holds, the last of which may be one too many for some.
const fn held(columns: usize, tiles: &Tiles) -> usize {
    (columns / FRAGMENT).div_ceil(tiles.split)
}

/// The first of the 16 rows of this plane.
#[cube]
fn first_row(#[comptime] tiles: Tiles) -> usize {
    UNIT_POS as usize / comptime!(PLANE * tiles.split) * FRAGMENT
}

/// Which of the planes that share rows this is.
#[cube]
fn turn(#[comptime] tiles: Tiles) -> usize {
    UNIT_POS as usize / PLANE % tiles.split
}

/// Whether fragment `n` of this plane lies in a result of `columns`.
#[cube]
fn exists(#[comptime] n: usize, #[comptime] columns: usize, #[comptime] tiles: Tiles) -> bool {
    comptime!((n + 1) * tiles.split * FRAGMENT <= columns) || comptime!(n * tiles.split) + turn(tiles) < comptime!(columns / FRAGMENT)
}

#[cube]
fn fragments_of_zeros(#[comptime] count: usize) -> Sequence<cmma::Matrix<f32>> {
    let mut fragments = Sequence::new();
    #[unroll]
    for _ in 0..count {
        fragments.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            16usize,
            16usize,
            16usize,
            cmma::MatrixLayout::Undefined,
            0.0f32,
        ));
    }
    fragments
}

/// A fragment of an operand at element `at` of a tile whose rows are `pitch` elements apart.
#[cube]
fn fragment<N: Size>(
    tile: &SharedMemory<Vector<bf16, N>>,
    at: usize,
    #[comptime] pitch: usize,
    #[comptime] ident: cmma::MatrixIdent,
    #[comptime] layout: cmma::MatrixLayout,
) -> cmma::Matrix<Vector<bf16, N>> {
    let first = at / N::value();
    cmma::Matrix::<Vector<bf16, N>>::from_slice(
        ident,
        16usize,
        16usize,
        16usize,
        layout,
        &tile.slice(first, tile.len()),
        comptime!(pitch as u32),
    )
}

/// The vector of the scores where the 16 x 16 numbers begin that are this plane's alone.
#[cube]
fn own_corner(#[comptime] tiles: Tiles) -> usize {
    (first_row(tiles) * comptime!(tiles.score_pitch()) + turn(tiles) * FRAGMENT) / 4
}

/// Row and vector of this unit in half `half` of the sixteen rows of four vectors that a plane owns.
#[cube]
fn own_vector(#[comptime] half: usize) -> (usize, usize) {
    let lane = UNIT_POS as usize % PLANE;
    (lane / 4 + comptime!(half * 8), lane % 4)
}

/// Writes a fragment to vector `at` of the scores.
#[cube]
fn put(fragment: &cmma::Matrix<f32>, scores: &mut SharedMemory<Vector<f32, Four>>, at: usize, #[comptime] tiles: Tiles) {
    let mut target = scores.slice_mut(at, scores.len());
    cmma::store(&mut target, fragment, comptime!(tiles.score_pitch() as u32), cmma::MatrixLayout::RowMajor);
}

#[cube]
impl Product for TensorCores {
    type Operand = bf16;
    type Lanes = Const<8>;
    type Sum = Sequence<cmma::Matrix<f32>>;

    fn operand<E: Store, N: Size>(stored: Vector<E, N>) -> Vector<bf16, N> {
        Vector::<bf16, N>::reinterpret(stored)
    }

    fn round(value: Vector<f32, Four>) -> Vector<bf16, Four> {
        Vector::<bf16, Four>::cast_from(value)
    }

    fn place(row: usize, #[comptime] _tiles: Tiles) -> usize {
        row
    }

    fn zero(#[comptime] tiles: Tiles) -> Sequence<cmma::Matrix<f32>> {
        fragments_of_zeros(comptime!(held(tiles.width, &tiles)))
    }

    fn scores(
        a: &SharedMemory<Vector<bf16, Const<8>>>,
        b: &SharedMemory<Vector<bf16, Const<8>>>,
        scores: &mut SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    ) {
        let pitch = comptime!(tiles.operand_pitch(8));
        let first = first_row(tiles);
        let count = comptime!(held(tiles.columns, &tiles));
        let products = fragments_of_zeros(count);
        #[unroll]
        for k in 0..comptime!(tiles.width / FRAGMENT) {
            let depth = comptime!(k * FRAGMENT);
            let left = fragment(a, first * pitch + depth, pitch, cmma::MatrixIdent::A, cmma::MatrixLayout::RowMajor);
            #[unroll]
            for n in 0..count {
                if exists(n, tiles.columns, tiles) {
                    let column = (comptime!(n * tiles.split) + turn(tiles)) * FRAGMENT;
                    let right = fragment(b, column * pitch + depth, pitch, cmma::MatrixIdent::B, cmma::MatrixLayout::ColMajor);
                    cmma::execute(&left, &right, products.index(n), products.index(n));
                }
            }
        }
        #[unroll]
        for n in 0..count {
            if exists(n, tiles.columns, tiles) {
                let column = (comptime!(n * tiles.split) + turn(tiles)) * FRAGMENT;
                put(products.index(n), scores, (first * comptime!(tiles.score_pitch()) + column) / 4, tiles);
            }
        }
    }

    fn accumulate(
        sum: &mut Sequence<cmma::Matrix<f32>>,
        a: &SharedMemory<Vector<bf16, Four>>,
        b: &SharedMemory<Vector<bf16, Const<8>>>,
        #[comptime] tiles: Tiles,
    ) {
        let pitch = comptime!(tiles.operand_pitch(8));
        let weight_pitch = comptime!(tiles.weight_pitch(8));
        let first = first_row(tiles);
        #[unroll]
        for k in 0..comptime!(tiles.columns / FRAGMENT) {
            let depth = comptime!(k * FRAGMENT);
            let left = fragment(a, first * weight_pitch + depth, weight_pitch, cmma::MatrixIdent::A, cmma::MatrixLayout::RowMajor);
            #[unroll]
            for n in 0..comptime!(held(tiles.width, &tiles)) {
                if exists(n, tiles.width, tiles) {
                    let column = (comptime!(n * tiles.split) + turn(tiles)) * FRAGMENT;
                    let right = fragment(b, comptime!(depth * pitch) + column, pitch, cmma::MatrixIdent::B, cmma::MatrixLayout::RowMajor);
                    cmma::execute(&left, &right, sum.index(n), sum.index(n));
                }
            }
        }
    }

    fn scale_rows(
        sum: &mut Sequence<cmma::Matrix<f32>>,
        factors: &SharedMemory<f32>,
        scratch: &mut SharedMemory<Vector<f32, Four>>,
        #[comptime] tiles: Tiles,
    ) {
        let pitch = comptime!(tiles.score_pitch());
        let first = first_row(tiles);
        // Every unit of the plane reads the same sixteen factors, so the plane takes the branch as one.
        let mut changed = false;
        #[unroll]
        for row in 0..FRAGMENT {
            changed = changed || factors[first + row] != 1.0f32;
        }
        if changed {
            let own = own_corner(tiles);
            // Fragments that do not exist are zeros and may be scaled too.
            #[unroll]
            for n in 0..comptime!(held(tiles.width, &tiles)) {
                put(sum.index(n), scratch, own, tiles);
                sync_plane();
                #[unroll]
                for half in 0..2usize {
                    let (row, vector) = own_vector(half);
                    let at = own + row * comptime!(pitch / 4) + vector;
                    scratch[at] = scratch[at] * Vector::<f32, Four>::new(factors[first + row]);
                }
                sync_plane();
                let scaled = scratch.slice(own, scratch.len());
                cmma::load_with_layout(sum.index(n), &scaled, comptime!(pitch as u32), cmma::MatrixLayout::RowMajor);
                sync_plane();
            }
        }
    }

    fn write<E: Store, N: Size>(
        sum: &Sequence<cmma::Matrix<f32>>,
        factors: &SharedMemory<f32>,
        scratch: &mut SharedMemory<Vector<f32, Four>>,
        target: &mut Array<Vector<E, N>>,
        to: HeadRows,
        start: usize,
        #[comptime] tiles: Tiles,
    ) {
        let first = first_row(tiles);
        let own = own_corner(tiles);
        #[unroll]
        for n in 0..comptime!(held(tiles.width, &tiles)) {
            if exists(n, tiles.width, tiles) {
                put(sum.index(n), scratch, own, tiles);
                sync_plane();
                let column = (comptime!(n * tiles.split) + turn(tiles)) * FRAGMENT;
                #[unroll]
                for half in 0..2usize {
                    let (row, vector) = own_vector(half);
                    let four = scratch[own + row * comptime!(tiles.score_pitch() / 4) + vector];
                    let scaled = four * Vector::<f32, Four>::new(factors[first + row]);
                    put_four::<E, N>(scaled, target, to, start + first + row, column + vector * 4, tiles);
                }
                sync_plane();
            }
        }
    }

    fn sync_rows(#[comptime] tiles: Tiles) {
        if comptime!(tiles.split == 1) {
            sync_plane();
        } else {
            sync_cube();
        }
    }
}
