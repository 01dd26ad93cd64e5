//! Attention of one head, some rows of the map at a time (docs/reference/numerics.md section 4.5).

use super::exp_table::EXP;
use super::workspace::{MOST_MAP_ROWS, map_rows};
use crate::kernels::{Exponentials, Kernel, Native, Raw, RowScaled, Rows};
use core::ops::Range;

/// Scales of a site.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionScales {
    /// From a difference of scores to an index of the table of exp.
    pub score: i32,
    /// Shift before it, below 32.
    pub left: u32,
    /// Of the mean of the values, times 2^28.
    pub mean: u32,
}

/// Where things lie.
pub(super) struct AttentionBuffers<'a> {
    /// Queries, keys and values, `[T, 3d]`.
    pub qkv: &'a [i8],
    /// Result, `[T, d]`.
    pub out: &'a mut [i8],
    /// One head's values, transposed: `[head width, padded T]`.
    pub values: &'a mut [i8],
    /// Rows of scores.
    pub scores: &'a mut [i32],
    /// Rows of probabilities, each padded with zeros.
    pub weights: &'a mut [i8],
    /// Scratch of the products.
    pub scratch: &'a mut [u32],
}

/// Which head, and the shapes.
pub(super) struct HeadShape {
    /// Number of the head.
    pub head: usize,
    /// Its width.
    pub hd: usize,
    /// T.
    pub tokens: usize,
    /// Width of a token.
    pub d: usize,
}

/// Values of one head into columns, token by token. By itself, so that its loop has all registers.
#[inline(never)]
fn transpose(from: &[i8], stride: usize, columns: &mut [i8], padded: usize) {
    for (t, row) in from.chunks(stride.max(1)).enumerate() {
        for (column, &value) in columns.chunks_exact_mut(padded.max(1)).zip(row) {
            if let Some(place) = column.get_mut(t) {
                *place = value;
            }
        }
    }
}

/// softmax(Q K^T) V of one head for the tokens `rows`, at most [`map_rows`] of them; first those from 0 on, which also lay out the head's
/// values. Lengths were checked when the regions were made; what does not fit is left out.
#[inline(never)]
pub(super) fn strip(buffers: &mut AttentionBuffers<'_>, shape: &HeadShape, rows: Range<usize>, scales: AttentionScales) {
    let AttentionBuffers { qkv, out, values, scores, weights, scratch } = buffers;
    let &HeadShape { head, hd, tokens, d } = shape;
    let (first, count) = (rows.start, rows.len());
    let at = |part: usize| qkv.get(part * d + head * hd..).unwrap_or_default();
    let (Some(queries), Some(keys)) = (Rows::new(at(0), 3 * d, hd, tokens), Rows::new(at(1), 3 * d, hd, tokens)) else {
        return;
    };
    let padded = weights.len().checked_div(map_rows(tokens)).unwrap_or_default();
    if first == 0 {
        transpose(at(2), 3 * d, values, padded);
    }
    let Some(values) = Rows::new(values, padded, padded, hd) else {
        return;
    };
    let exponentials = Exponentials { table: &EXP, multiplier: scales.score, left: scales.left };
    let Some(strip) = queries.tail(first, count) else { return };
    Native::matmul(strip, keys, scratch, &mut Raw { out: scores, stride: tokens });
    let mut multiplier = [0; MOST_MAP_ROWS];
    for (row, multiplier) in multiplier.iter_mut().enumerate().take(count) {
        let scores = scores.get(row * tokens..(row + 1) * tokens).unwrap_or_default();
        let weights = weights.get_mut(row * padded..(row + 1) * padded).unwrap_or_default();
        // At least 127 for a row that is not empty.
        let sum = Native::exponentials(&exponentials, scores, weights);
        // At most 2^32 / 127 / 16: it fits.
        *multiplier = (scales.mean.checked_div(sum).unwrap_or_default() << 4) as i32;
    }
    let Some(weights) = Rows::new(weights, padded, padded, count) else {
        return;
    };
    let Some(out) = out.get_mut(first * d + head * hd..) else { return };
    Native::matmul(weights, values, scratch, &mut RowScaled { multiplier: &multiplier, out, stride: d });
}
