//! What becomes of the i32 sums of a matrix product: bias, scale, rounding, clamp, store (docs/numerics.md section 4.2).
//!
//! Columns are outputs (rows of the weight), rows are tokens. A sink ignores what lies outside its slices.

use core::array;
use core::iter;

use super::store::store;

/// High word of a product, rounded half up: (a b + 2^31) >> 32. The one rounding rule of the integer path.
#[inline(always)]
pub const fn multiply_high(a: i32, b: i32) -> i32 {
    if cfg!(kernel = "armv6m") {
        multiply_high_by_halves(a, b)
    } else {
        ((a as i64 * b as i64 + (1 << 31)) >> 32) as i32
    }
}

/// The same from products of 16-bit halves, for cores that have no 64-bit product. No partial sum leaves i32.
#[inline(always)]
const fn multiply_high_by_halves(a: i32, b: i32) -> i32 {
    let (a_high, a_low) = (a >> 16, a & 0xffff);
    let (b_high, b_low) = (b >> 16, b & 0xffff);
    let low = (a_low as u32 * b_low as u32) >> 16;
    let middle = a_high * b_low + low as i32 + 0x8000;
    let other = a_low * b_high + (middle & 0xffff);
    a_high * b_high + (middle >> 16) + (other >> 16)
}

/// Takes sums.
pub trait Sink {
    /// What the sums of columns `column..column + C` start from: the bias.
    fn start<const C: usize>(&self, column: usize) -> [i32; C];

    /// Takes the finished sums of rows `row..row + sums.len()` and columns `column..column + C`. The same sums may come twice.
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]);
}

/// The integers that an output type can hold.
pub trait Saturate: Copy {
    /// The nearest value of the type.
    fn saturate(value: i32) -> Self;
}

impl Saturate for i8 {
    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(-128, 127) as Self
    }
}

impl Saturate for u8 {
    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(0, 255) as Self
    }
}

impl Saturate for i16 {
    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(-32_768, 32_767) as Self
    }
}

/// out\[t\]\[o\] = saturate(((sum + bias\[o\]) << left) multiplier\[o\] / 2^32), one scale for each output.
#[derive(Debug)]
pub struct Scaled<'a, T> {
    /// Added to the sums.
    pub bias: &'a [i32],
    /// Scale of each output, times 2^(32 - left).
    pub multiplier: &'a [i32],
    /// Shift before the multiplication, below 32.
    pub left: u32,
    /// Rows of `stride` values.
    pub out: &'a mut [T],
    /// Values between the starts of two rows.
    pub stride: usize,
}

impl<T: Saturate> Sink for Scaled<'_, T> {
    #[inline(always)]
    fn start<const C: usize>(&self, column: usize) -> [i32; C] {
        array::from_fn(|c| self.bias.get(column + c).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let left = self.left % 32;
        match (columns::<C>(self.bias, column), columns::<C>(self.multiplier, column)) {
            (Some(_), Some(multiplier)) => {
                let value = |(), c: usize, sum: i32| T::saturate(multiply_high(sum << left, multiplier[c]));
                store(self.out, self.stride, (row, column), sums, iter::repeat(()), value);
            }
            _ => column_by_column(self, row, column, sums),
        }
    }
}

/// Entries of a table of an activation function.
pub const TABLE_LEN: usize = 1024;

/// out\[t\]\[o\] = table\[clamp(scaled sum, 0, 1023)\]: a linear layer with its activation function.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// Added to the sums.
    pub bias: &'a [i32],
    /// Scale of each output, times 2^(32 - left).
    pub multiplier: &'a [i32],
    /// Shift before the multiplication, below 32.
    pub left: u32,
    /// The function.
    pub table: &'a [i8; TABLE_LEN],
    /// Rows of `stride` values.
    pub out: &'a mut [i8],
    /// Values between the starts of two rows.
    pub stride: usize,
}

impl Sink for Lookup<'_> {
    #[inline(always)]
    fn start<const C: usize>(&self, column: usize) -> [i32; C] {
        array::from_fn(|c| self.bias.get(column + c).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let left = self.left % 32;
        match (columns::<C>(self.bias, column), columns::<C>(self.multiplier, column)) {
            (Some(_), Some(multiplier)) => {
                let value =
                    |(), c: usize, sum: i32| self.table[multiply_high(sum << left, multiplier[c]).clamp(0, TABLE_LEN as i32 - 1) as usize];
                store(self.out, self.stride, (row, column), sums, iter::repeat(()), value);
            }
            _ => column_by_column(self, row, column, sums),
        }
    }
}

/// The sums themselves: out\[t\]\[o\].
#[derive(Debug)]
pub struct Raw<'a> {
    /// Rows of `stride` values.
    pub out: &'a mut [i32],
    /// Values between the starts of two rows.
    pub stride: usize,
}

impl Sink for Raw<'_> {
    #[inline(always)]
    fn start<const C: usize>(&self, _column: usize) -> [i32; C] {
        [0; C]
    }

    #[inline(always)]
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        store(self.out, self.stride, (row, column), sums, iter::repeat(()), |(), _, sum| sum);
    }
}

/// out\[t\]\[o\] = saturate(sum multiplier\[t\] / 2^32), one scale for each row: the weighted mean of attention.
#[derive(Debug)]
pub struct RowScaled<'a> {
    /// Scale of each row, times 2^32.
    pub multiplier: &'a [i32],
    /// Rows of `stride` values.
    pub out: &'a mut [i8],
    /// Values between the starts of two rows.
    pub stride: usize,
}

impl Sink for RowScaled<'_> {
    #[inline(always)]
    fn start<const C: usize>(&self, _column: usize) -> [i32; C] {
        [0; C]
    }

    #[inline(always)]
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let multipliers = self.multiplier.get(row..).unwrap_or_default();
        let sums = sums.get(..multipliers.len()).unwrap_or(sums);
        let value = |multiplier: &i32, _, sum| i8::saturate(multiply_high(sum, *multiplier));
        store(self.out, self.stride, (row, column), sums, multipliers, value);
    }
}

/// Entries `column..column + C`, where all are there.
#[inline(always)]
fn columns<const C: usize>(values: &[i32], column: usize) -> Option<[i32; C]> {
    values.get(column..)?.first_chunk().copied()
}

/// For columns at the end of a slice that is too short.
#[cold]
fn column_by_column<S: Sink, const C: usize>(sink: &mut S, row: usize, column: usize, sums: &[[i32; C]]) {
    if C > 1 {
        for c in 0..C {
            for (r, sums) in sums.iter().enumerate() {
                sink.put(row + r, column + c, &[[sums[c]]]);
            }
        }
    }
}
