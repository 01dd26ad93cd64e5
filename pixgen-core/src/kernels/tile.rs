//! The loops around a tile: a few rows times a few columns whose sums stay in registers.
#![allow(unsafe_code)]

use super::portable::Portable;
use super::{Kernel, Rows, Sink};

/// Sums that are computed before a sink gets them: all columns of a tile for a strip of rows.
const SUMS: usize = 48;

/// What a [`Tile`] computes: sums\[t\]\[o\] = start + sum over k of x\[t\]\[k\] w\[o\]\[k\], tile by tile. Assembly knows the layout.
#[repr(C)]
pub(super) struct Strip {
    /// Row 0.
    pub x: *const i8,
    /// Bytes from a row of x to the next.
    pub x_stride: usize,
    /// Weights as [`Tile::prepare`] left them.
    pub w: *const i8,
    /// Bytes from a row of w to the next.
    pub w_stride: usize,
    /// Values of a row, above 0.
    pub len: usize,
    /// C sums of each row; the number of rows is a multiple of R, above 0.
    pub sums: *mut i32,
    /// End of the sums.
    pub end: *mut i32,
    /// What the R times C sums of every tile start from.
    pub start: *const i32,
}

/// Assembly for R rows times C columns.
pub(super) trait Tile<const R: usize, const C: usize> {
    /// Lengths of rows are multiples of this.
    const STEP: usize;
    /// Addresses of rows are multiples of this.
    const ALIGN: usize;
    /// Whether [`Tile::prepare`] writes the weights elsewhere, a word for each value of a row.
    const EXPANDS: bool = false;

    /// Writes C rows of `len` weights, `stride` apart, to `scratch` in the form that [`Tile::run`] reads.
    ///
    /// # Safety
    /// The rows can be read and `len` words can be written.
    unsafe fn prepare(_w: *const i8, _stride: usize, _len: usize, _scratch: *mut u32) {}

    /// Computes the sums of a strip.
    ///
    /// # Safety
    /// The rows of x and w and the start can be read, and the sums written. Lengths and addresses are as the constants above say.
    unsafe fn run(strip: &Strip);
}

/// [`Kernel::matmul`] by tiles; shapes that do not suit them go to [`Portable`].
pub(super) fn product<T: Tile<R, C>, S: Sink, const R: usize, const C: usize>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
    let len = x.row_len().min(w.row_len());
    // Where weights are expanded and the scratch is short, rows are cut into pieces.
    let most = if T::EXPANDS { scratch.len() / T::STEP * T::STEP } else { len };
    let piece = len.min(most);
    let aligned = |rows: Rows<'_>| (rows.start().addr() | rows.stride()).is_multiple_of(T::ALIGN);
    if x.count() < R || w.count() < C || piece == 0 || !len.is_multiple_of(T::STEP) || !aligned(x) || !aligned(w) {
        return Portable::matmul(x, w, &mut [], sink);
    }
    let strip_rows = if piece < len { R } else { SUMS / C / R * R };
    let mut sums = [0; SUMS];
    // The last columns and the last rows are moved back where they would reach over the end: their sums come twice.
    for first in (0..w.count()).step_by(C).map(|first| first.min(w.count() - C)) {
        let start = sink.start::<C>(first);
        if T::EXPANDS && piece == len {
            // SAFETY: first + C <= w.count(), and scratch holds `len` words.
            unsafe { T::prepare(w.start().add(first * w.stride()), w.stride(), len, scratch.as_mut_ptr()) };
        }
        let mut row = 0;
        while row < x.count() {
            let left = x.count() - row;
            let rows = (left.min(strip_rows) / R * R).max(R);
            let top = row.min(x.count() - rows);
            row = top + rows;
            let Some(sums) = sums.as_chunks_mut::<C>().0.get_mut(..rows) else {
                return;
            };
            let mut start = [start; R];
            let mut from = 0;
            while from < len {
                let step = piece.min(len - from);
                // SAFETY: top + rows <= x.count(), first + C <= w.count() and from + step <= len, so all rows are inside x and w;
                // scratch holds `piece` >= `step` words where it is used, and alignment was checked.
                unsafe {
                    let weights = w.start().add(first * w.stride() + from);
                    if T::EXPANDS && piece < len {
                        T::prepare(weights, w.stride(), step, scratch.as_mut_ptr());
                    }
                    let range = sums.as_flattened_mut().as_mut_ptr_range();
                    T::run(&Strip {
                        x: x.start().add(top * x.stride() + from),
                        x_stride: x.stride(),
                        w: if T::EXPANDS { scratch.as_ptr().cast() } else { weights },
                        w_stride: w.stride(),
                        len: step,
                        sums: range.start,
                        end: range.end,
                        start: start.as_ptr().cast(),
                    });
                }
                from += step;
                if from < len {
                    // Strips are single tiles here.
                    start.iter_mut().zip(&*sums).for_each(|(start, sums)| *start = *sums);
                }
            }
            sink.put(top, first, sums);
        }
    }
}
