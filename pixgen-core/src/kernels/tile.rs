//! The loops around a tile: a few rows times a few columns whose sums stay in registers.
#![allow(unsafe_code)]

use super::portable::Portable;
use super::{Kernel, Rows, Sink};

/// Sums that are computed before a sink gets them: all columns of a tile for a strip of rows.
const SUMS: usize = 48;

/// What a [`Tile`] computes: sums\[t\]\[o\] += sum over k of x\[t\]\[k\] w\[o\]\[k\], tile by tile. The layout is known to assembly.
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
}

/// Assembly for R rows times C columns.
pub(super) trait Tile<const R: usize, const C: usize> {
    /// Lengths of rows are multiples of this.
    const STEP: usize;
    /// Addresses of rows are multiples of this.
    const ALIGN: usize;
    /// Whether [`Tile::prepare`] writes the weights elsewhere, a word for each value of a row.
    const EXPANDS: bool = false;

    /// Writes C rows of `len` weights, `stride` apart, to `scratch` in the form that [`Tile::accumulate`] reads.
    ///
    /// # Safety
    /// The rows can be read and `len` words can be written.
    unsafe fn prepare(_w: *const i8, _stride: usize, _len: usize, _scratch: *mut u32) {}

    /// Adds to the sums of a strip.
    ///
    /// # Safety
    /// The rows of x and w can be read and the sums written. Lengths and addresses are as the constants above say.
    unsafe fn accumulate(strip: &Strip);
}

/// [`Kernel::matmul`] by tiles; shapes that do not suit them go to [`Portable`].
pub(super) fn product<T: Tile<R, C>, S: Sink, const R: usize, const C: usize>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
    let len = x.row_len().min(w.row_len());
    // Where weights are expanded and the scratch is short, a row is cut into pieces.
    let piece = if T::EXPANDS {
        len.min(scratch.len() / T::STEP * T::STEP)
    } else {
        len
    };
    let aligned = |rows: Rows<'_>| rows.start().addr().is_multiple_of(T::ALIGN) && rows.stride().is_multiple_of(T::ALIGN);
    if x.count() < R || w.count() < C || piece == 0 || !len.is_multiple_of(T::STEP) || !aligned(x) || !aligned(w) {
        return Portable::dots(x, w, sink);
    }
    let mut column = 0;
    while column < w.count() {
        // The last group of columns, and the last rows below, are moved back where they would reach over the end: sums come twice.
        let first = column.min(w.count() - C);
        column = first + C;
        let start = sink.start::<C>(first);
        let mut prepared = None;
        let mut row = 0;
        while row < x.count() {
            let mut sums = [0; SUMS];
            let left = x.count() - row;
            let (top, rows) = if left < R {
                (x.count() - R, R)
            } else {
                (row, left.min(SUMS / C) / R * R)
            };
            row = top + rows;
            let Some(sums) = sums.as_chunks_mut::<C>().0.get_mut(..rows) else {
                return;
            };
            sums.fill(start);
            let mut from = 0;
            while from < len {
                let step = piece.min(len - from);
                // SAFETY: top + rows <= x.count(), first + C <= w.count() and from + step <= len, so all rows are inside x and w;
                // scratch holds `piece` >= `step` words where it is used, and alignment was checked.
                unsafe {
                    let weights = w.start().add(first * w.stride() + from);
                    if T::EXPANDS && prepared != Some(from) {
                        T::prepare(weights, w.stride(), step, scratch.as_mut_ptr());
                        prepared = Some(from);
                    }
                    let range = sums.as_flattened_mut().as_mut_ptr_range();
                    T::accumulate(&Strip {
                        x: x.start().add(top * x.stride() + from),
                        x_stride: x.stride(),
                        w: if T::EXPANDS { scratch.as_ptr().cast() } else { weights },
                        w_stride: w.stride(),
                        len: step,
                        sums: range.start,
                        end: range.end,
                    });
                }
                from += step;
            }
            sink.put(top, first, sums);
        }
    }
}
