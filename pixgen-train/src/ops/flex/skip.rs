//! The fusion of a long skip: `LN([x, s] W^T + b)` as two products into one output, without joining x and s.

use rayon::prelude::*;

use super::buffers::{release, take};
use super::columns::{ROW_BLOCK, add_to_rows, column_sums};
use super::linear::{Weight, input_gradient, multiply, weight_gradient};
use super::norm;
use pixgen_edge::matmul::Into;

/// The parts of the weight `[width, width + skip]` that apply to x and to s.
pub fn split(w: &[f32], width: usize, skip: usize) -> [Weight<'_>; 2] {
    [(0, width), (width, skip)].map(|(start, inputs)| Weight {
        data: w.get(start..).unwrap_or(&[]),
        outputs: width,
        inputs,
        stride: width + skip,
    })
}

/// `[x, s] W^T + b`, the input of the layer norm.
pub fn forward(x: &[f32], s: &[f32], w: [Weight<'_>; 2], b: &[f32]) -> Vec<f32> {
    let mut z = take(x.len());
    multiply(x, w[0], &mut z, Into::Overwrite);
    if w[1].inputs > 0 {
        multiply(s, w[1], &mut z, Into::Accumulate);
    }
    if !z.is_empty() {
        z.par_chunks_mut(ROW_BLOCK * b.len()).for_each(|z| add_to_rows(z, b));
    }
    z
}

/// Gradients of x, s, w, b, gamma and beta; `normed` is what [`forward`] returned.
pub fn backward(
    x: &[f32],
    s: &[f32],
    w: [Weight<'_>; 2],
    normed: &[f32],
    gamma: &[f32],
    dy: &[f32],
    wanted: [bool; 6],
) -> [Option<Vec<f32>>; 6] {
    let [dz, dgamma, dbeta] = norm::backward(normed, gamma, dy);
    let [left, right] = w;
    let dw = wanted[2].then(|| {
        let mut dw = take(left.outputs * left.stride);
        weight_gradient(&dz, x, left.outputs, left.inputs, &mut dw, 0, left.stride);
        weight_gradient(&dz, s, left.outputs, right.inputs, &mut dw, left.inputs, left.stride);
        dw
    });
    let gradients = [
        wanted[0].then(|| input_gradient(&dz, left)),
        wanted[1].then(|| input_gradient(&dz, right)),
        dw,
        wanted[3].then(|| column_sums(&dz, left.outputs)),
        wanted[4].then_some(dgamma),
        wanted[5].then_some(dbeta),
    ];
    release(dz);
    gradients
}
