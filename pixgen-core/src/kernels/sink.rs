//! From the i32 sums of a matrix product to its result: bias, scale, rounding, clamp, store (docs/reference/numerics.md section 4.2).
//!
//! Columns are outputs (rows of the weight), rows are tokens. A sink ignores what lies outside its slices.

use core::array;
use core::iter;

#[cfg(host_kernels)]
use super::host::lanes::{Columns, Lanes, PANEL};
use super::multiply::multiply_high;
use super::store::SumBlock;
use super::table::TABLE_LEN;

/// Takes sums.
pub trait Sink {
    /// What the sums of columns `column..column + C` start from: the bias.
    fn start<const C: usize>(&self, column: usize) -> [i32; C];

    /// Takes the finished sums of rows `row..row + sums.len()` and columns `column..column + C`. The same sums may come twice.
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]);

    /// Takes one finished sum.
    fn put_one(&mut self, row: usize, column: usize, sum: i32);

    /// Takes the finished sums of rows `row..row + R` and of the columns of a panel, from the vectors of a host.
    #[cfg(host_kernels)]
    fn put_lanes<L: Lanes, const R: usize>(&mut self, lanes: L, row: usize, columns: Columns, sums: [L::Sums; R]);
}

/// Types of outputs: i8, u8 and i16.
pub trait Saturate: Copy + sealed::KernelOutput {
    /// The smallest value.
    const LOW: i32;
    /// The largest value.
    const HIGH: i32;

    /// The nearest value of the type.
    fn saturate(value: i32) -> Self;

    /// The nearest values, from the vectors of a host.
    #[cfg(host_kernels)]
    fn store_lanes<L: Lanes>(lanes: L, sums: L::Sums, out: &mut [Self; PANEL]);
}

mod sealed {
    /// Nobody else has outputs: their sizes are known to assembly.
    pub trait KernelOutput {}
}

macro_rules! saturate {
    ($($output:ty: |$lanes:ident, $sums:ident, $out:ident| $store:expr),*) => {$(
        impl sealed::KernelOutput for $output {}

        impl Saturate for $output {
            const LOW: i32 = <$output>::MIN as i32;
            const HIGH: i32 = <$output>::MAX as i32;

            #[inline(always)]
            fn saturate(value: i32) -> Self {
                value.clamp(Self::LOW, Self::HIGH) as Self
            }

            #[cfg(host_kernels)]
            #[inline(always)]
            fn store_lanes<L: Lanes>($lanes: L, $sums: L::Sums, $out: &mut [Self; PANEL]) {
                $store
            }
        }
    )*};
}

saturate!(
    i8: |lanes, sums, out| lanes.store_i8(sums, out),
    // No layer of a model has it.
    u8: |lanes, sums, out| {
        let mut numbers = [0; PANEL];
        lanes.store(sums, &mut numbers);
        *out = numbers.map(Self::saturate);
    },
    i16: |lanes, sums, out| lanes.store_i16(sums, out)
);

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
        bias(self.bias, column)
    }

    #[inline(always)]
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let left = self.left % 32;
        let stored = scales(self.bias, self.multiplier, column).is_some_and(|multiplier: [i32; C]| {
            let mut block = SumBlock { out: self.out, stride: self.stride, row, column };
            #[cfg(kernel = "mve")]
            if block.scaled(sums, left, multiplier) {
                return true;
            }
            block.store(sums, iter::repeat(()), |(), c, sum| T::saturate(multiply_high(sum << left, multiplier[c])))
        });
        if !stored {
            one_by_one(self, row, column, sums.as_flattened(), C);
        }
    }

    fn put_one(&mut self, row: usize, column: usize, sum: i32) {
        if let Some([multiplier]) = scales(self.bias, self.multiplier, column)
            && let Some(out) = at(self.out, self.stride, row, column)
        {
            *out = T::saturate(multiply_high(sum << (self.left % 32), multiplier));
        }
    }

    #[cfg(host_kernels)]
    #[inline(always)]
    fn put_lanes<L: Lanes, const R: usize>(&mut self, lanes: L, row: usize, columns: Columns, sums: [L::Sums; R]) {
        let columns = within(columns, self.bias.len().min(self.multiplier.len()));
        let multiplier = panel(self.multiplier, columns.first);
        for (r, &sums) in sums.iter().enumerate() {
            let sums = lanes.scale(sums, self.left, &multiplier);
            place(self.out, self.stride, row + r, columns, T::saturate(0), |out| T::store_lanes(lanes, sums, out));
        }
    }
}

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

impl Lookup<'_> {
    #[inline(always)]
    fn value(table: &[i8; TABLE_LEN], scaled: i32) -> i8 {
        table[scaled.clamp(0, TABLE_LEN as i32 - 1) as usize]
    }
}

impl Sink for Lookup<'_> {
    #[inline(always)]
    fn start<const C: usize>(&self, column: usize) -> [i32; C] {
        bias(self.bias, column)
    }

    #[inline(always)]
    fn put<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let left = self.left % 32;
        let stored = scales(self.bias, self.multiplier, column).is_some_and(|multiplier: [i32; C]| {
            let mut block = SumBlock { out: self.out, stride: self.stride, row, column };
            #[cfg(kernel = "mve")]
            if block.lookup(sums, left, multiplier, self.table) {
                return true;
            }
            block.store(sums, iter::repeat(()), |(), c, sum| Self::value(self.table, multiply_high(sum << left, multiplier[c])))
        });
        if !stored {
            one_by_one(self, row, column, sums.as_flattened(), C);
        }
    }

    fn put_one(&mut self, row: usize, column: usize, sum: i32) {
        if let Some([multiplier]) = scales(self.bias, self.multiplier, column)
            && let Some(out) = at(self.out, self.stride, row, column)
        {
            *out = Self::value(self.table, multiply_high(sum << (self.left % 32), multiplier));
        }
    }

    #[cfg(host_kernels)]
    #[inline(always)]
    fn put_lanes<L: Lanes, const R: usize>(&mut self, lanes: L, row: usize, columns: Columns, sums: [L::Sums; R]) {
        let columns = within(columns, self.bias.len().min(self.multiplier.len()));
        let multiplier = panel(self.multiplier, columns.first);
        for (r, &sums) in sums.iter().enumerate() {
            let sums = lanes.scale(sums, self.left, &multiplier);
            place(self.out, self.stride, row + r, columns, 0, |out| lanes.store_lookup(sums, self.table, out));
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
        let mut block = SumBlock { out: self.out, stride: self.stride, row, column };
        #[cfg(kernel = "mve")]
        if block.raw(sums) {
            return;
        }
        if !block.store(sums, iter::repeat(()), |(), _, sum| sum) {
            one_by_one(self, row, column, sums.as_flattened(), C);
        }
    }

    fn put_one(&mut self, row: usize, column: usize, sum: i32) {
        if let Some(out) = at(self.out, self.stride, row, column) {
            *out = sum;
        }
    }

    #[cfg(host_kernels)]
    #[inline(always)]
    fn put_lanes<L: Lanes, const R: usize>(&mut self, lanes: L, row: usize, columns: Columns, sums: [L::Sums; R]) {
        for (r, &sums) in sums.iter().enumerate() {
            place(self.out, self.stride, row + r, columns, 0, |out| lanes.store(sums, out));
        }
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
        let multipliers = self.multiplier.get(row..).and_then(|rows| rows.get(..sums.len()));
        let stored = multipliers.is_some_and(|multipliers| {
            let mut block = SumBlock { out: self.out, stride: self.stride, row, column };
            #[cfg(kernel = "mve")]
            if block.row_scaled(sums, multipliers) {
                return true;
            }
            block.store(sums, multipliers, |multiplier, _, sum| i8::saturate(multiply_high(sum, *multiplier)))
        });
        if !stored {
            one_by_one(self, row, column, sums.as_flattened(), C);
        }
    }

    fn put_one(&mut self, row: usize, column: usize, sum: i32) {
        if let (Some(&multiplier), Some(out)) = (self.multiplier.get(row), at(self.out, self.stride, row, column)) {
            *out = i8::saturate(multiply_high(sum, multiplier));
        }
    }

    #[cfg(host_kernels)]
    #[inline(always)]
    fn put_lanes<L: Lanes, const R: usize>(&mut self, lanes: L, row: usize, columns: Columns, sums: [L::Sums; R]) {
        for (r, &sums) in sums.iter().enumerate() {
            let Some(&multiplier) = self.multiplier.get(row + r) else { return };
            let sums = lanes.scale_all(sums, multiplier);
            place(self.out, self.stride, row + r, columns, 0, |out| lanes.store_i8(sums, out));
        }
    }
}

/// Biases of columns `column..column + C`; 0 where there is none.
#[inline(always)]
fn bias<const C: usize>(bias: &[i32], column: usize) -> [i32; C] {
    array::from_fn(|c| bias.get(column + c).copied().unwrap_or(0))
}

/// Multipliers of columns `column..column + C`, when all of them and their biases are there.
#[inline(always)]
fn scales<const C: usize>(bias: &[i32], multiplier: &[i32], column: usize) -> Option<[i32; C]> {
    bias.get(column..)?.first_chunk::<C>()?;
    multiplier.get(column..)?.first_chunk().copied()
}

/// Place of a value.
fn at<T>(out: &mut [T], stride: usize, row: usize, column: usize) -> Option<&mut T> {
    out.get_mut(row.checked_mul(stride)?.checked_add(column)?)
}

/// Columns before `end`.
#[cfg(host_kernels)]
#[inline(always)]
fn within(columns: Columns, end: usize) -> Columns {
    Columns { count: columns.count.min(end.saturating_sub(columns.first)), ..columns }
}

/// Multipliers of a panel from `column` on; 0 where there is none.
#[cfg(host_kernels)]
#[inline(always)]
fn panel(multiplier: &[i32], column: usize) -> [i32; PANEL] {
    let multiplier = multiplier.get(column..).unwrap_or_default();
    match multiplier.first_chunk() {
        Some(all) => *all,
        None => part_of_panel(multiplier),
    }
}

#[cfg(host_kernels)]
#[cold]
#[inline(never)]
fn part_of_panel(multiplier: &[i32]) -> [i32; PANEL] {
    array::from_fn(|lane| multiplier.get(lane).copied().unwrap_or(0))
}

/// Writes a row of a panel to its place, as far as it lies inside.
#[cfg(host_kernels)]
#[inline(always)]
fn place<T: Copy>(out: &mut [T], stride: usize, row: usize, columns: Columns, any: T, store: impl FnOnce(&mut [T; PANEL])) {
    let first = row.checked_mul(stride).and_then(|start| start.checked_add(columns.first));
    let out = first.and_then(|first| out.get_mut(first..)).unwrap_or_default();
    match out.first_chunk_mut::<PANEL>() {
        Some(out) if columns.count >= PANEL => store(out),
        _ => {
            let mut values = [any; PANEL];
            store(&mut values);
            out.iter_mut().zip(values).take(columns.count).for_each(|(out, value)| *out = value);
        }
    }
}

/// For blocks of `columns` that reach over an end of a slice.
#[cold]
#[inline(never)]
fn one_by_one<S: Sink>(sink: &mut S, row: usize, column: usize, sums: &[i32], columns: usize) {
    for (r, sums) in sums.chunks(columns.max(1)).enumerate() {
        for (c, &sum) in sums.iter().enumerate() {
            sink.put_one(row.saturating_add(r), column.saturating_add(c), sum);
        }
    }
}
