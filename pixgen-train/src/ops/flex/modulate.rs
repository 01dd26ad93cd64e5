//! AdaLN: layer norm modulated per image, and the residual gated per image.

use rayon::prelude::*;

use super::buffers::take;
use super::columns::{ROW_BLOCK, combine};
use super::lanes::vectorised;
use super::norm::{row_backward, statistics};
use pixgen_core::ops::Branch;

/// The modulation `[images, 6 width]` of a batch, seen by one branch.
#[derive(Debug, Clone, Copy)]
pub struct ModulationRows<'a> {
    /// All elements.
    pub data: &'a [f32],
    /// Tokens per image.
    pub tokens: usize,
    /// Width of a token.
    pub width: usize,
    /// Which chunks to use.
    pub branch: Branch,
}

impl ModulationRows<'_> {
    /// Chunk `index` of an image.
    #[inline(always)]
    fn chunk(&self, image: usize, index: usize) -> &[f32] {
        let start = (6 * image + index) * self.width;
        &self.data[start..start + self.width]
    }

    /// Elements of an image.
    fn image(&self) -> usize {
        self.tokens * self.width
    }
}

vectorised! {
    /// Rows from `first` on of `LN(x) * (1 + scale) + shift`.
    fn modulate_rows(
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        m: ModulationRows<'_>,
        first: usize,
        y: &mut [f32],
    ) {
        let width = gamma.len();
        for (row, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
            let image = (first + row) / m.tokens;
            let (shift, scale) = (m.chunk(image, m.branch.shift()), m.chunk(image, m.branch.scale()));
            let (mean, deviation) = statistics(x);
            let affine = gamma.iter().zip(beta).zip(shift.iter().zip(scale));
            for ((y, x), ((gamma, beta), (shift, scale))) in y.iter_mut().zip(x).zip(affine) {
                let normed = ((x - mean) * deviation).mul_add(*gamma, *beta);
                *y = normed.mul_add(1.0 + scale, *shift);
            }
        }
    }
}

/// `LN(x) * (1 + scale) + shift`.
pub fn norm_modulate(x: &[f32], gamma: &[f32], beta: &[f32], m: ModulationRows<'_>) -> Vec<f32> {
    let mut y = take(x.len());
    if !x.is_empty() {
        let block = ROW_BLOCK * m.width;
        y.par_chunks_mut(block)
            .zip(x.par_chunks(block))
            .enumerate()
            .for_each(|(i, (y, x))| modulate_rows(x, gamma, beta, m, i * ROW_BLOCK, y));
    }
    y
}

vectorised! {
    /// Writes the gradient of an image's x and adds the sums over its rows of `dy * normed` and of `dy`.
    fn norm_modulate_backward_image(
        x: &[f32],
        gamma: &[f32],
        scale: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        along: &mut [f32],
        total: &mut [f32],
    ) {
        let width = gamma.len();
        let (scale, along, total) = (&scale[..width], &mut along[..width], &mut total[..width]);
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
            let (mean, deviation) = statistics(x);
            for i in 0..width {
                along[i] = dy[i].mul_add((x[i] - mean) * deviation, along[i]);
                total[i] += dy[i];
                dx[i] = dy[i] * (gamma[i] * (1.0 + scale[i]));
            }
            row_backward(x, mean, deviation, dx);
        }
    }
}

/// Gradients of x, gamma, beta and m of [`norm_modulate`].
pub fn norm_modulate_backward(x: &[f32], gamma: &[f32], beta: &[f32], m: ModulationRows<'_>, dy: &[f32]) -> [Vec<f32>; 4] {
    let width = m.width;
    let mut dx = take(x.len());
    let mut dm = vec![0.0; m.data.len()];
    if x.is_empty() {
        return [dx, vec![0.0; width], vec![0.0; width], dm];
    }
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(m.image())
        .zip(dm.par_chunks_mut(6 * width))
        .zip(x.par_chunks(m.image()).zip(dy.par_chunks(m.image())))
        .enumerate()
        .map(|(image, ((dx, dm), (x, dy)))| {
            let scale = m.chunk(image, m.branch.scale());
            let mut both = vec![0.0; 2 * width];
            let (along, total) = both.split_at_mut(width);
            norm_modulate_backward_image(x, gamma, scale, dy, dx, along, total);
            let (shift_at, scale_at) = (m.branch.shift() * width, m.branch.scale() * width);
            for i in 0..width {
                dm[shift_at + i] = total[i];
                dm[scale_at + i] = gamma[i].mul_add(along[i], beta[i] * total[i]);
                along[i] *= 1.0 + scale[i];
                total[i] *= 1.0 + scale[i];
            }
            both
        })
        .collect();
    let mut dgamma = combine(&parts, 2 * width);
    let dbeta = dgamma.split_off(width);
    [dx, dgamma, dbeta, dm]
}

vectorised! {
    /// Rows from `first` on of `x + gate * y`.
    fn gate_rows(x: &[f32], y: &[f32], m: ModulationRows<'_>, first: usize, output: &mut [f32]) {
        let rows = x.chunks_exact(m.width).zip(y.chunks_exact(m.width));
        for (row, ((x, y), output)) in rows.zip(output.chunks_exact_mut(m.width)).enumerate() {
            let gate = m.chunk((first + row) / m.tokens, m.branch.gate());
            for ((output, gate), (x, y)) in output.iter_mut().zip(gate).zip(x.iter().zip(y)) {
                *output = gate.mul_add(*y, *x);
            }
        }
    }
}

/// `x + gate * y`.
pub fn gated_residual(x: &[f32], y: &[f32], m: ModulationRows<'_>) -> Vec<f32> {
    let mut output = take(x.len());
    if !x.is_empty() {
        let block = ROW_BLOCK * m.width;
        output
            .par_chunks_mut(block)
            .zip(x.par_chunks(block).zip(y.par_chunks(block)))
            .enumerate()
            .for_each(|(i, (output, (x, y)))| gate_rows(x, y, m, i * ROW_BLOCK, output));
    }
    output
}

vectorised! {
    /// Writes `dy = gate * dout` of an image and adds the sum over its rows of `dout * y` to the gate's gradient.
    fn gate_backward_image(
        y: &[f32],
        gate: &[f32],
        dout: &[f32],
        dy: &mut [f32],
        dgate: &mut [f32],
    ) {
        let width = gate.len();
        let dgate = &mut dgate[..width];
        let rows = y.chunks_exact(width).zip(dout.chunks_exact(width));
        for ((y, dout), dy) in rows.zip(dy.chunks_exact_mut(width)) {
            for i in 0..width {
                dgate[i] = dout[i].mul_add(y[i], dgate[i]);
                dy[i] = dout[i] * gate[i];
            }
        }
    }
}

/// Gradients of y and m of [`gated_residual`]; the one of x is `dout` itself.
pub fn gated_residual_backward(y: &[f32], m: ModulationRows<'_>, dout: &[f32]) -> [Vec<f32>; 2] {
    let width = m.width;
    let mut dy = take(y.len());
    let mut dm = vec![0.0; m.data.len()];
    if y.is_empty() {
        return [dy, dm];
    }
    dy.par_chunks_mut(m.image())
        .zip(dm.par_chunks_mut(6 * width))
        .zip(y.par_chunks(m.image()).zip(dout.par_chunks(m.image())))
        .enumerate()
        .for_each(|(image, ((dy, dm), (y, dout)))| {
            let gate_at = m.branch.gate() * width;
            let dgate = &mut dm[gate_at..gate_at + width];
            gate_backward_image(y, m.chunk(image, m.branch.gate()), dout, dy, dgate);
        });
    [dy, dm]
}
