//! Products of `f32` matrices tile by tile on plain units, for [`crate::nt_xent`].
//!
//! A cube computes [`TILE`] x [`TILE`] numbers, a unit [`OUT`] x [`OUT`] of them, [`SIDE`] apart so that neighbouring units read
//! neighbouring rows of an operand. Operands pass through shared memory [`DEPTH`] numbers of every row at a time, four in a vector and
//! a vector of padding after each row, so that the rows which units read together lie in different banks. A step of four depths is 8
//! reads of shared memory for 64 multiplications.

use burn_cubecl::CubeRuntime;
use cubecl::prelude::*;

use crate::error::{KernelError, Result};
use crate::store::Four;

/// Rows and columns of a cube's result.
pub const TILE: usize = 64;

/// Rows and columns of a unit's.
pub const OUT: usize = 4;

/// Units on each side of a tile.
pub const SIDE: usize = TILE / OUT;

/// Units of a cube.
pub const UNITS: u32 = (SIDE * SIDE) as u32;

/// Numbers of each row in shared memory.
pub const DEPTH: usize = 32;

/// Vectors of each row there, one of them padding.
const PITCH: usize = DEPTH / 4 + 1;

/// Vectors of each row that a tile loads.
const QUADS: usize = DEPTH / 4;

/// Bytes of two operands, and a number and more for each row and unit on a side.
const SHARED: usize = 2 * TILE * PITCH * 16 + TILE * (SIDE + 1) * 4;

/// Whether the device can run these tiles.
///
/// # Errors
/// Too few units or too little shared memory in a cube.
pub fn run_tiles<R: CubeRuntime>(op: &'static str, client: &ComputeClient<R>) -> Result<()> {
    let hardware = &client.properties().hardware;
    let (units, shared) = (hardware.max_units_per_cube, hardware.max_shared_memory_size);
    if units < UNITS || shared < SHARED {
        return Err(KernelError::unavailable(op, format!("{units} units and {shared} bytes a cube, of {UNITS} and {SHARED}")));
    }
    Ok(())
}

/// Shared memory for an operand.
#[cube]
pub fn operand_tile() -> SharedMemory<Vector<f32, Four>> {
    SharedMemory::<Vector<f32, Four>>::new(comptime!(TILE * PITCH))
}

/// Loads an operand whose rows lie along memory, `width` numbers each, in vectors of `size`, 4 or 1; zero beyond rows and width.
#[cube]
pub fn load_along<N: Size>(
    x: &Array<Vector<f32, N>>,
    tile: &mut SharedMemory<Vector<f32, Four>>,
    first_row: u32,
    rows: u32,
    first: u32,
    width: u32,
    #[comptime] size: usize,
) {
    #[unroll]
    for i in 0..comptime!(TILE * QUADS / UNITS as usize) {
        let index = UNIT_POS + comptime!(i as u32 * UNITS);
        let row = index / QUADS as u32;
        let quad = index % QUADS as u32;
        let at = first + quad * 4;
        let start = (first_row + row) * width + at;
        let mut value = Vector::<f32, Four>::new(0.0);
        if comptime!(size == 4) {
            if first_row + row < rows && at < width {
                value = Vector::<f32, Four>::cast_from(x[(start / 4) as usize]);
            }
        } else {
            #[unroll]
            for lane in 0..4usize {
                if first_row + row < rows && at + (lane as u32) < width {
                    value[lane] = f32::cast_from(x[start as usize + lane].vector_sum());
                }
            }
        }
        tile[(row * PITCH as u32 + quad) as usize] = value;
    }
}

/// Loads an operand whose rows lie across memory, as columns of `depths` rows of `rows` numbers; zero beyond either. `scaled`: times the
/// factor of each depth. Vectors are of one number.
#[cube]
pub fn load_across<N: Size>(
    x: &Array<Vector<f32, N>>,
    factors: &Array<f32>,
    tile: &mut SharedMemory<Vector<f32, Four>>,
    first_row: u32,
    rows: u32,
    first: u32,
    depths: u32,
    #[comptime] scaled: bool,
) {
    #[unroll]
    for i in 0..comptime!(TILE * QUADS / UNITS as usize) {
        let index = UNIT_POS + comptime!(i as u32 * UNITS);
        let row = index % TILE as u32;
        let quad = index / TILE as u32;
        let mut value = Vector::<f32, Four>::new(0.0);
        #[unroll]
        for lane in 0..4usize {
            let depth = first + quad * 4 + lane as u32;
            if first_row + row < rows && depth < depths {
                let mut number = f32::cast_from(x[(depth * rows + first_row + row) as usize].vector_sum());
                if comptime!(scaled) {
                    number *= factors[depth as usize];
                }
                value[lane] = number;
            }
        }
        tile[(row * PITCH as u32 + quad) as usize] = value;
    }
}

/// `sums += a b^T` for the unit's rows of a and of b, [`SIDE`] apart.
#[cube]
pub fn multiply(a: &SharedMemory<Vector<f32, Four>>, b: &SharedMemory<Vector<f32, Four>>, sums: &mut Array<f32>) {
    let row = UNIT_POS as usize / SIDE;
    let column = UNIT_POS as usize % SIDE;
    for quad in 0..QUADS {
        let mut right = Array::<Vector<f32, Four>>::new(OUT);
        #[unroll]
        for j in 0..OUT {
            right[j] = b[(column + comptime!(j * SIDE)) * PITCH + quad];
        }
        #[unroll]
        for i in 0..OUT {
            let left = a[(row + comptime!(i * SIDE)) * PITCH + quad];
            #[unroll]
            for j in 0..OUT {
                let other = right[j];
                let mut sum = sums[comptime!(i * OUT + j)];
                #[unroll]
                for lane in 0..4usize {
                    sum += left[lane] * other[lane];
                }
                sums[comptime!(i * OUT + j)] = sum;
            }
        }
    }
}
