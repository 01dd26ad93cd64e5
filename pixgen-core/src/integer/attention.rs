//! Attention of one head, [`MAP_ROWS`] rows of the map at a time (docs/numerics.md section 4.5).

use super::exp_table::EXP;
use super::workspace::MAP_ROWS;
use crate::kernels::{Kernel, Native, Raw, RowScaled, Rows, multiply_high};

/// Scales of a site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    /// Of a difference of scores, to steps of the table of exp.
    pub score: i32,
    /// Shift before it, below 32.
    pub left: u32,
    /// Of the mean of the values, times 2^28.
    pub mean: u32,
}

/// Where things lie.
pub(super) struct Buffers<'a> {
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

/// softmax(Q K^T) V of one head of width `hd`, of `tokens` tokens of width `d`. Lengths were checked when the regions were made; what
/// does not fit is left out.
pub(super) fn head(buffers: &mut Buffers<'_>, head: usize, hd: usize, tokens: usize, d: usize, scales: Scales) {
    let Buffers { qkv, out, values, scores, weights, scratch } = buffers;
    let at = |part: usize| qkv.get(part * d + head * hd..).unwrap_or_default();
    let (Some(queries), Some(keys)) = (Rows::new(at(0), 3 * d, hd, tokens), Rows::new(at(1), 3 * d, hd, tokens)) else {
        return;
    };
    let padded = weights.len() / MAP_ROWS;
    let from = at(2);
    for (column, row) in values.chunks_exact_mut(padded.max(1)).enumerate() {
        let from = from.get(column..).unwrap_or_default();
        for (place, &value) in row.iter_mut().zip(from.iter().step_by((3 * d).max(1))) {
            *place = value;
        }
    }
    let Some(values) = Rows::new(values, padded, padded, hd) else {
        return;
    };
    for first in (0..tokens).step_by(MAP_ROWS) {
        let count = (tokens - first).min(MAP_ROWS);
        let Some(strip) = queries.tail(first, count) else { return };
        Native::matmul(strip, keys, scratch, &mut Raw { out: scores, stride: tokens });
        let mut multiplier = [0; MAP_ROWS];
        for (row, multiplier) in multiplier.iter_mut().enumerate().take(count) {
            let scores = scores.get(row * tokens..(row + 1) * tokens).unwrap_or_default();
            let weights = weights.get_mut(row * padded..(row + 1) * padded).unwrap_or_default();
            let sum = softmax(scores, weights, scales);
            // At most 2^32 / 127 / 16: it fits.
            *multiplier = (scales.mean.checked_div(sum).unwrap_or_default() << 4) as i32;
        }
        let Some(weights) = Rows::new(weights, padded, padded, count) else {
            return;
        };
        let Some(out) = out.get_mut(first * d + head * hd..) else { return };
        Native::matmul(weights, values, scratch, &mut RowScaled { multiplier: &multiplier, out, stride: d });
    }
}

/// exp(score - greatest) in steps of 1/127; returns their sum, at least 127 for a row that is not empty.
fn softmax(scores: &[i32], weights: &mut [i8], scales: Scales) -> u32 {
    let greatest = scores.iter().copied().max().unwrap_or_default();
    let mut sum = 0;
    for (&score, weight) in scores.iter().zip(weights) {
        let below = greatest.wrapping_sub(score).wrapping_shl(scales.left);
        let step = multiply_high(below, scales.score);
        let value = EXP[step.clamp(0, 255) as usize];
        *weight = value as i8;
        sum += u32::from(value);
    }
    sum
}
