//! Layer norm: each row to mean 0 and variance 1, then scaled and shifted.

use rayon::prelude::*;

use super::buffers::take;
use super::columns::{ROW_BLOCK, combine};
use super::lanes::{sum, sum_of, vectorised};
use crate::ops::arguments::LAYER_NORM_EPSILON;

/// Mean of a row and the reciprocal of its standard deviation.
#[inline(always)]
pub fn statistics(x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x) / n;
    let variance = sum_of(x, x, |x, _| (x - mean) * (x - mean)) / n;
    (mean, 1.0 / (variance + LAYER_NORM_EPSILON).sqrt())
}

/// Gradient of a row before the norm, given `g`, the gradient of the normalised row, as a function of the index.
///
/// `dx = (g - mean(g) - n mean(g n)) / deviation` with the normalised row n. `dx` must hold `g` on entry.
#[inline(always)]
pub fn row_backward(x: &[f32], mean: f32, scale: f32, dx: &mut [f32]) {
    let n = x.len() as f32;
    let mean_g = sum(dx) / n;
    let along = sum_of(dx, x, |g, x| g * ((x - mean) * scale)) / n;
    for (dx, x) in dx.iter_mut().zip(x) {
        let normed = (x - mean) * scale;
        *dx = (*dx - mean_g - normed * along) * scale;
    }
}

vectorised! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32]) {
        let width = gamma.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, scale) = statistics(x);
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = ((x - mean) * scale).mul_add(*gamma, *beta);
            }
        }
    }
}

/// Layer norm of every row of x.
pub fn forward(x: &[f32], gamma: &[f32], beta: &[f32]) -> Vec<f32> {
    let mut y = take(x.len());
    if !x.is_empty() {
        let block = ROW_BLOCK * gamma.len();
        y.par_chunks_mut(block)
            .zip(x.par_chunks(block))
            .for_each(|(y, x)| forward_rows(x, gamma, beta, y));
    }
    y
}

vectorised! {
    /// Writes dx and adds to the gradients of gamma and beta.
    fn backward_rows(
        x: &[f32],
        gamma: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) {
        let width = gamma.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
            let (mean, scale) = statistics(x);
            for i in 0..width {
                dgamma[i] = dy[i].mul_add((x[i] - mean) * scale, dgamma[i]);
                dbeta[i] += dy[i];
                dx[i] = dy[i] * gamma[i];
            }
            row_backward(x, mean, scale, dx);
        }
    }
}

/// Gradients of x, gamma and beta.
pub fn backward(x: &[f32], gamma: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let width = gamma.len();
    let mut dx = take(x.len());
    if x.is_empty() {
        return [dx, vec![0.0; width], vec![0.0; width]];
    }
    let block = ROW_BLOCK * width;
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(dy.par_chunks(block))
        .map(|((dx, x), dy)| {
            let mut both = vec![0.0; 2 * width];
            let (dgamma, dbeta) = both.split_at_mut(width);
            backward_rows(x, gamma, dy, dx, dgamma, dbeta);
            both
        })
        .collect();
    let mut dgamma = combine(&parts, 2 * width);
    let dbeta = dgamma.split_off(width);
    [dx, dgamma, dbeta]
}
