//! Which lane holds which element of a matrix, as the PTX ISA tells for `mma` and `ldmatrix`.
//!
//! Sums are exact and rounded once, where hardware adds in an order of its own: the results differ by the rounding of `f32`.

use crate::arithmetic::{brain, float, to_brain};
use crate::warp::{LANES, Values};

/// Row and columns of the two elements that a lane holds of an 8 x 8 matrix of 16 bits.
fn pair(lane: usize) -> (usize, [usize; 2]) {
    (lane / 4, [lane % 4 * 2, lane % 4 * 2 + 1])
}

/// A register of an 8 x 8 matrix, of which `rows` are the rows in memory.
pub fn spread(rows: &[[u16; 8]; 8], transposed: bool) -> Values {
    std::array::from_fn(|lane| {
        let (row, columns) = pair(lane);
        let element = |column: usize| u64::from(if transposed { rows[column][row] } else { rows[row][column] });
        element(columns[0]) | element(columns[1]) << 16
    })
}

/// The rows in memory of an 8 x 8 matrix in a register.
pub fn gather(values: &Values, transposed: bool) -> [[u16; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for (lane, value) in values.iter().enumerate() {
        let (row, columns) = pair(lane);
        for (half, column) in columns.into_iter().enumerate() {
            let element = (value >> (16 * half)) as u16;
            if transposed {
                rows[column][row] = element;
            } else {
                rows[row][column] = element;
            }
        }
    }
    rows
}

/// `mma.m16n8k16`: left in four registers, right in two, sums in four; returns four.
pub fn product(left: &[Values], right: &[Values], sums: &[Values]) -> [Values; 4] {
    let (mut a, mut b) = ([[0f32; 16]; 16], [[0f32; 8]; 16]);
    for lane in 0..LANES {
        let (group, columns) = pair(lane);
        for (half, column) in columns.into_iter().enumerate() {
            for (index, values) in left.iter().enumerate() {
                a[group + 8 * (index & 1)][column + 8 * (index >> 1)] = brain(values[lane] >> (16 * half) & 0xffff);
            }
            for (index, values) in right.iter().enumerate() {
                b[column + 8 * index][group] = brain(values[lane] >> (16 * half) & 0xffff);
            }
        }
    }
    std::array::from_fn(|index| {
        std::array::from_fn(|lane| {
            let (group, columns) = pair(lane);
            let (row, column) = (group + 8 * (index >> 1), columns[index & 1]);
            let start = f64::from(float(sums[index][lane]));
            let sum = (0..16).fold(start, |sum, k| sum + f64::from(a[row][k]) * f64::from(b[k][column]));
            u64::from((sum as f32).to_bits())
        })
    })
}

/// A 16 x 16 matrix of a `wmma` fragment. Its layout is not specified; here a lane holds eight elements of a row, bf16 two to a register.
pub type Whole = [[f32; 16]; 16];

fn whole_place(element: usize) -> (usize, usize) {
    (element / 8, element % 8)
}

/// Registers of a matrix of bf16 (four) or `f32` (eight).
pub fn whole_to_registers(matrix: &Whole, is_brain: bool) -> Vec<Values> {
    let mut registers = vec![[0; LANES]; if is_brain { 4 } else { 8 }];
    for element in 0..256 {
        let (lane, slot) = whole_place(element);
        let value = matrix[element / 16][element % 16];
        if is_brain {
            registers[slot / 2][lane] |= to_brain(value) << (16 * (slot % 2));
        } else {
            registers[slot][lane] = u64::from(value.to_bits());
        }
    }
    registers
}

/// And back.
pub fn whole_from_registers(registers: &[Values]) -> Whole {
    let mut matrix = [[0.0; 16]; 16];
    for element in 0..256 {
        let (lane, slot) = whole_place(element);
        matrix[element / 16][element % 16] = if registers.len() == 4 {
            brain(registers[slot / 2][lane] >> (16 * (slot % 2)) & 0xffff)
        } else {
            float(registers[slot][lane])
        };
    }
    matrix
}

/// `a b + c`.
pub fn whole_product(a: &Whole, b: &Whole, c: &Whole) -> Whole {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let start = f64::from(c[row][column]);
            (0..16).fold(start, |sum, k| sum + f64::from(a[row][k]) * f64::from(b[k][column])) as f32
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_goes_to_registers_and_back() {
        let rows: [[u16; 8]; 8] = std::array::from_fn(|row| std::array::from_fn(|column| (8 * row + column) as u16));
        for transposed in [false, true] {
            assert_eq!(gather(&spread(&rows, transposed), transposed), rows);
        }
        // The PTX ISA: lane 5 holds row 1, columns 2 and 3.
        assert_eq!(spread(&rows, false)[5], 10 | 11 << 16);
        assert_eq!(spread(&rows, true)[5], 17 | 25 << 16);
        let whole: Whole = std::array::from_fn(|row| std::array::from_fn(|column| (16 * row + column) as f32));
        assert_eq!(whole_from_registers(&whole_to_registers(&whole, false)), whole);
        assert_eq!(whole_from_registers(&whole_to_registers(&whole, true)), whole);
    }
}
