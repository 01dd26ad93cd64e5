//! Products of rows and panels: rows are widened once, then each panel meets all of them, a few at a time.

use super::lanes::{Columns, Lanes, MOST_ROWS, PANEL, Work};
use super::panels::{Panels, padded};
use crate::kernels::{Rows, Sink};
use core::marker::PhantomData;

/// Memory of a product with rows of up to `inputs` values.
#[derive(Debug)]
pub struct ProductScratch<'a> {
    /// Widened rows, 2 bytes a value.
    pub wide: &'a mut [i16],
    /// One number for each row.
    pub excess: &'a mut [i32],
    /// An expanded panel.
    pub panel: &'a mut [i16],
}

/// Widened rows.
#[derive(Debug)]
pub struct Wide<'a, L: Lanes> {
    values: &'a [L::Value],
    excess: &'a [i32],
    /// Values of a row, padding included.
    len: usize,
    lanes: PhantomData<L>,
}

/// Widened rows to be written one by one.
#[derive(Debug)]
pub struct WideMut<'a, L: Lanes> {
    values: &'a mut [L::Value],
    excess: &'a mut [i32],
    len: usize,
    lanes: PhantomData<L>,
}

impl<'a, L: Lanes> WideMut<'a, L> {
    /// Room for `count` rows of `inputs` values; `None` where there is not enough.
    #[inline(always)]
    pub fn new(wide: &'a mut [i16], excess: &'a mut [i32], count: usize, inputs: usize) -> Option<Self> {
        let len = padded(inputs);
        let values = bytemuck::try_cast_slice_mut(wide).ok()?.get_mut(..count.checked_mul(len)?)?;
        Some(Self { values, excess: excess.get_mut(..count)?, len, lanes: PhantomData })
    }

    /// Row `t`.
    #[inline(always)]
    pub fn set(&mut self, lanes: L, t: usize, row: &[i8]) {
        if let (Some(values), Some(excess)) = (self.values.chunks_exact_mut(self.len.max(1)).nth(t), self.excess.get_mut(t)) {
            *excess = lanes.widen(row.get(..self.len).unwrap_or(row), values);
        }
    }

    /// The rows.
    #[inline(always)]
    pub fn done(self) -> Wide<'a, L> {
        Wide { values: self.values, excess: self.excess, len: self.len, lanes: PhantomData }
    }
}

/// [`Kernel::matmul`](crate::kernels::Kernel::matmul) with packed weights. `false`, and nothing done, where shapes do not agree or the
/// scratch is too short.
pub fn matmul<L: Lanes, S: Sink>(lanes: L, x: Rows<'_>, w: Panels<'_>, scratch: &mut ProductScratch<'_>, sink: &mut S) -> bool {
    lanes.run(Matmul { lanes, x, w, scratch, sink })
}

struct Matmul<'a, 'b, L, S> {
    lanes: L,
    x: Rows<'a>,
    w: Panels<'a>,
    scratch: &'a mut ProductScratch<'b>,
    sink: &'a mut S,
}

impl<L: Lanes, S: Sink> Work for Matmul<'_, '_, L, S> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { lanes, x, w, scratch, sink } = self;
        let ProductScratch { wide, excess, panel } = scratch;
        let Some(mut rows) = WideMut::<L>::new(wide, excess, x.count(), x.row_len()) else {
            return false;
        };
        for t in 0..x.count() {
            rows.set(lanes, t, x.row(t));
        }
        product(lanes, &rows.done(), w, panel, sink)
    }
}

/// All rows times all panels.
#[inline(always)]
pub fn product<L: Lanes, S: Sink>(lanes: L, x: &Wide<'_, L>, w: Panels<'_>, scratch: &mut [i16], sink: &mut S) -> bool {
    let Some(scratch) = scratch.get_mut(..PANEL * w.inputs) else {
        return false;
    };
    if x.len != w.inputs {
        return false;
    }
    for (column, excess, panel) in w.iter() {
        let mut start: [i32; PANEL] = sink.start(column);
        start
            .iter_mut()
            .zip(excess)
            .for_each(|(start, excess)| *start = start.wrapping_sub(*excess));
        let start = lanes.load(&start);
        let place = Columns { first: column, count: (w.outputs - column).min(PANEL) };
        let weights = lanes.expand(panel, scratch);
        let count = x.excess.len();
        let mut row = 0;
        while row < count {
            // Tiles of more rows than the back end wants are not compiled.
            row += match (count - row).min(L::ROWS) {
                MOST_ROWS.. => strip::<L, S, MOST_ROWS>(lanes, x, row, weights, start, place, sink),
                6.. => strip::<L, S, 6>(lanes, x, row, weights, start, place, sink),
                5 => strip::<L, S, 5>(lanes, x, row, weights, start, place, sink),
                4 => strip::<L, S, 4>(lanes, x, row, weights, start, place, sink),
                3 => strip::<L, S, 3>(lanes, x, row, weights, start, place, sink),
                2 => strip::<L, S, 2>(lanes, x, row, weights, start, place, sink),
                _ => strip::<L, S, 1>(lanes, x, row, weights, start, place, sink),
            };
        }
    }
    true
}

/// R rows times a panel; returns R.
#[inline(always)]
fn strip<L: Lanes, S: Sink, const R: usize>(
    lanes: L,
    x: &Wide<'_, L>,
    row: usize,
    weights: &[L::Weight],
    start: L::Sums,
    place: Columns,
    sink: &mut S,
) -> usize {
    let (Some(values), Some(excess)) = (x.values.get(row * x.len..), x.excess.get(row..).and_then(|rows| rows.first_chunk::<R>())) else {
        return R;
    };
    // `map` and `into_iter` of arrays are functions of their own and would be compiled without the instructions.
    let mut sums = [start; R];
    for (sums, &excess) in sums.iter_mut().zip(excess) {
        *sums = lanes.less(*sums, excess);
    }
    let sums = lanes.tile::<R>(values, x.len, weights, sums);
    sink.put_lanes(lanes, row, place, sums);
    R
}
