//! From the i32 sums of a matrix product to its result: bias, scale, rounding, clamp, store (docs/reference/numerics.md section 4.2).
//!
//! Columns are outputs (rows of the weight), rows are tokens. A sink ignores what lies outside its slices.
#![allow(unsafe_code)]

use core::array;

#[cfg(host_kernels)]
use super::host::lanes::{Columns, Lanes, PANEL};
use super::multiply::multiply_high;
use super::sum_block::SumBlock;
use super::table::{TABLE_LEN, entry};

/// Takes sums.
pub trait Sink {
    /// What the sums of columns `column..column + C` start from: the bias.
    fn start<const C: usize>(&self, column: usize) -> [i32; C];

    /// Whether rows `0..rows` and columns `0..columns` all have their place, and what it takes to compute them.
    fn holds(&self, rows: usize, columns: usize) -> bool;

    /// Takes the finished sums of rows `row..row + sums.len()` and columns `column..column + C`. The same sums may come twice.
    ///
    /// # Safety
    /// The sink [holds](Self::holds) the rows and columns up to these.
    unsafe fn put_held<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]);

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

    fn holds(&self, rows: usize, columns: usize) -> bool {
        columns <= self.bias.len().min(self.multiplier.len()) && fits(self.out.len(), self.stride, rows, columns)
    }

    #[inline(always)]
    unsafe fn put_held<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let left = self.left % 32;
        // SAFETY: the caller's: all places are inside `out`, and every column has a multiplier.
        unsafe {
            let block = SumBlock::new(self.out, self.stride, row, column);
            let multiplier = self.multiplier.as_ptr().add(column).cast::<[i32; C]>().read();
            block.scaled(sums, left, multiplier);
        }
    }

    fn put_one(&mut self, row: usize, column: usize, sum: i32) {
        if let (Some(_), Some(&multiplier), Some(out)) =
            (self.bias.get(column), self.multiplier.get(column), at(self.out, self.stride, row, column))
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

impl Sink for Lookup<'_> {
    #[inline(always)]
    fn start<const C: usize>(&self, column: usize) -> [i32; C] {
        bias(self.bias, column)
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        columns <= self.bias.len().min(self.multiplier.len()) && fits(self.out.len(), self.stride, rows, columns)
    }

    #[inline(always)]
    unsafe fn put_held<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        let left = self.left % 32;
        // SAFETY: the caller's: all places are inside `out`, and every column has a multiplier.
        unsafe {
            let block = SumBlock::new(self.out, self.stride, row, column);
            let multiplier = self.multiplier.as_ptr().add(column).cast::<[i32; C]>().read();
            block.lookup(sums, left, multiplier, self.table);
        }
    }

    fn put_one(&mut self, row: usize, column: usize, sum: i32) {
        if let (Some(_), Some(&multiplier), Some(out)) =
            (self.bias.get(column), self.multiplier.get(column), at(self.out, self.stride, row, column))
        {
            *out = entry(self.table, multiply_high(sum << (self.left % 32), multiplier));
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

    fn holds(&self, rows: usize, columns: usize) -> bool {
        fits(self.out.len(), self.stride, rows, columns)
    }

    #[inline(always)]
    unsafe fn put_held<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        // SAFETY: the caller's: all places are inside `out`.
        unsafe { SumBlock::new(self.out, self.stride, row, column).raw(sums) };
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

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows <= self.multiplier.len() && fits(self.out.len(), self.stride, rows, columns)
    }

    #[inline(always)]
    unsafe fn put_held<const C: usize>(&mut self, row: usize, column: usize, sums: &[[i32; C]]) {
        // SAFETY: the caller's: all places are inside `out`, and every row has a multiplier.
        unsafe {
            let block = SumBlock::new(self.out, self.stride, row, column);
            block.row_scaled(sums, self.multiplier.as_ptr().add(row));
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
    match bias.get(column..).and_then(|bias| bias.first_chunk()) {
        Some(all) => *all,
        None => array::from_fn(|c| bias.get(column.wrapping_add(c)).copied().unwrap_or(0)),
    }
}

/// Whether `rows` rows of `columns` values, `stride` apart, fit in `len` values.
fn fits(len: usize, stride: usize, rows: usize, columns: usize) -> bool {
    let end = rows.checked_sub(1).and_then(|last| last.checked_mul(stride)?.checked_add(columns));
    end.is_some_and(|end| end <= len)
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
    let mut part;
    let (to, rest) = match out.first_chunk_mut() {
        Some(out) if columns.count >= PANEL => (out, &mut [][..]),
        _ => {
            part = [any; PANEL];
            (&mut part, out)
        }
    };
    // One call: a closure with two is a function of its own where a kernel is long, compiled without the kernel's instructions.
    store(to);
    rest.iter_mut().zip(to).take(columns.count).for_each(|(out, value)| *out = *value);
}
