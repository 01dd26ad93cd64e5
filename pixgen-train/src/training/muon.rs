//! Muon for the matrices of blocks (docs/reference/method.md section 9): steps along orthogonalised momentum.
//!
//! The momentum of a matrix, U S V^T, becomes nearly U V^T, so that all its directions move alike, the rare ones too. Queries, keys and values
//! are three matrices, and so are shift, scale and gate of both branches six. Matrices of one shape go through the iteration together.
//!
//! Source: Jordan et al., ["Muon: an optimizer for hidden layers"](https://kellerjordan.github.io/posts/muon/), 2024: momentum, iteration
//! and its coefficients; Liu et al., ["Muon is scalable for LLM training"](https://arxiv.org/abs/2502.16982), 2025, equation (4): the length
//! of steps.

use super::flat::{Engine, Flat};
use super::optimiser::Update;
use crate::ops::{FusedOps, batched_matmul};
use crate::precision::Precision;
use burn_tensor::{Tensor, TensorPrimitive};
use std::collections::BTreeMap;

/// Decay of the momentum.
const MOMENTUM: f64 = 0.95;
/// Iterations, and the coefficients of the odd polynomial a x + b x^3 + c x^5, which takes singular values from nearly all of (0, 1] to 0.7 to 1.2.
const ITERATIONS: usize = 5;
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// The root mean square of a step, in learning rates: about AdamW's.
const STEP: f64 = 0.2;

/// Moves the momentum of every matrix of a block, and leaves in its place in `gradient` the step to take, times the learning rate.
pub fn steps<B: Engine>(gradient: &mut B::Flat, momentum: &mut B::Flat, update: &Update<'_>, device: &B::Device) {
    let set = update.set;
    let mut alike: BTreeMap<[usize; 2], Vec<(usize, usize)>> = BTreeMap::new();
    for (at, entry) in set.entries().iter().enumerate() {
        if let Some(count) = update.config.muon_matrices(entry) {
            let shape = [entry.dims[0] / count, entry.dims[1]];
            alike.entry(shape).or_default().push((at, count));
        }
    }
    for ([rows, columns], entries) in alike {
        let stacked = |flat: &B::Flat| {
            let tensors = entries.iter().map(|&(at, count)| {
                let tensor = flat.tensor(set, at, Precision::F32, device);
                Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(tensor)).reshape([count, rows, columns])
            });
            Tensor::cat(tensors.collect(), 0)
        };
        let g = stacked(gradient).mul_scalar(f64::from(update.gradient_scale) * (1.0 - MOMENTUM));
        let m = stacked(momentum).mul_scalar(MOMENTUM) + g.clone();
        // Nesterov's momentum looks one step ahead.
        let ahead = m.clone().mul_scalar(MOMENTUM) + g;
        let step = orthogonal(ahead).mul_scalar(STEP * (rows.max(columns) as f64).sqrt());
        let mut first = 0;
        for (at, count) in entries {
            let matrix = |all: &Tensor<B, 3>| {
                all.clone()
                    .narrow(0, first, count)
                    .reshape([count * rows, columns])
                    .into_primitive()
                    .tensor()
            };
            momentum.put(set, at, matrix(&m));
            gradient.put(set, at, matrix(&step));
            first += count;
        }
    }
}

/// Each matrix with singular values near 1, by the iteration of Newton and Schulz on the shorter side: `[n, rows, columns]` both.
fn orthogonal<B: FusedOps>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [_, rows, columns] = x.dims();
    let x = if rows > columns { x.swap_dims(1, 2) } else { x };
    // No singular value is above the root of the sum of their squares.
    let norm = x.clone().square().sum_dim(2).sum_dim(1).sqrt();
    let mut x = x / norm.add_scalar(1e-12);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = batched_matmul(x.clone(), x.clone().swap_dims(1, 2));
        let factor = batched_matmul(gram.clone(), gram.clone()).mul_scalar(c) + gram.mul_scalar(b);
        x = batched_matmul(factor, x.clone()) + x.mul_scalar(a);
    }
    if rows > columns { x.swap_dims(1, 2) } else { x }
}

#[cfg(test)]
mod tests {
    use super::super::flat::AdamMoments;
    use super::super::optimiser::{OptimiserConfig, OptimiserKind};
    use super::*;
    use crate::distributed::Share;
    use burn_flex::{Flex, FlexDevice};
    use pixgen_core::presets::preset;
    use pixgen_edge::param_set::ParamSet;

    /// Numbers of a fixed sequence, between -1 and 1.
    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        (0..len)
            .map(|i| ((i as u32 + 977 * seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }

    /// The step for one matrix in f64, written from the sources.
    fn reference(m: &[f64], g: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
        let ahead: Vec<f64> = m.iter().zip(g).map(|(m, g)| 0.95 * (0.95 * m + 0.05 * g) + 0.05 * g).collect();
        let norm = ahead.iter().map(|v| v * v).sum::<f64>().sqrt();
        let mut x: Vec<f64> = ahead.iter().map(|v| v / norm).collect();
        for _ in 0..5 {
            // On the side of the rows, whichever is longer.
            let product = |a: &[f64], b: &[f64], inner: usize, width: usize| -> Vec<f64> {
                (0..rows * width)
                    .map(|at| (0..inner).map(|k| a[at / width * inner + k] * b[k * width + at % width]).sum())
                    .collect()
            };
            let turned: Vec<f64> = (0..rows * columns).map(|at| x[at % rows * columns + at / rows]).collect();
            let gram = product(&x, &turned, columns, rows);
            let square = product(&gram, &gram, rows, rows);
            let factor: Vec<f64> = gram.iter().zip(square).map(|(one, two)| -4.7750 * one + 2.0315 * two).collect();
            let moved = product(&factor, &x, rows, columns);
            x = x.iter().zip(moved).map(|(x, moved)| 3.4445 * x + moved).collect();
        }
        x.iter().map(|v| v * 0.2 * (rows.max(columns) as f64).sqrt()).collect()
    }

    #[test]
    fn matrices_of_blocks_take_orthogonal_steps_and_the_rest_adamw() {
        let set = ParamSet::generator(&preset("nano-28-grey").expect("preset").model);
        let start = numbers(set.len(), 1);
        let (g, m, v) = (numbers(set.len(), 2), numbers(set.len(), 3), vec![0.5; set.len()]);
        let update = |kind: OptimiserKind| {
            let config = OptimiserConfig { kind, ..OptimiserConfig::EXAMPLE };
            let update = Update {
                config: &config,
                set: &set,
                rate: 0.01,
                gradient_scale: 0.5,
                updates: 7,
                share: Share::default(),
                ema_weights: &[],
            };
            let (mut params, mut moments, mut gradient) = (start.clone(), AdamMoments { m: m.clone(), v: v.clone() }, g.clone());
            <Vec<f32> as Flat<Flex>>::update(&mut params, &mut moments, &mut [], &mut gradient, &update);
            (params, moments)
        };
        let ((params, moments), (plain, plain_moments)) = (update(OptimiserKind::Muon), update(OptimiserKind::Adamw));
        let muon = OptimiserConfig { kind: OptimiserKind::Muon, ..OptimiserConfig::EXAMPLE };
        let mut matrices = 0;
        for entry in set.entries() {
            let range = entry.range.clone();
            let Some(count) = muon.muon_matrices(entry) else {
                assert_eq!(params[range.clone()], plain[range.clone()], "{}", entry.name);
                assert_eq!(moments.m[range.clone()], plain_moments.m[range], "{}", entry.name);
                continue;
            };
            matrices += count;
            assert_eq!(moments.v[range.clone()], v[range.clone()], "{}", entry.name);
            let shape = [entry.dims[0] / count, entry.dims[1]];
            for piece in range.clone().step_by(shape[0] * shape[1]).map(|first| first..first + shape[0] * shape[1]) {
                let wide =
                    |values: &[f32], factor: f64| -> Vec<f64> { values[piece.clone()].iter().map(|v| f64::from(*v) * factor).collect() };
                let want = reference(&wide(&m, 1.0), &wide(&g, 0.5), shape);
                for (at, want) in piece.clone().zip(want) {
                    let step = (f64::from(start[at]) * (1.0 - 0.01 * 0.1) - f64::from(params[at])) / 0.01;
                    assert!((step - want).abs() < 1e-4, "{} {at}: {step} {want}", entry.name);
                    let momentum = 0.95 * f64::from(m[at]) + 0.05 * 0.5 * f64::from(g[at]);
                    assert!((f64::from(moments.m[at]) - momentum).abs() < 1e-6, "{} {at}", entry.name);
                }
            }
        }
        assert!(matrices > 20, "{matrices}");
    }

    /// Without a gradient nothing moves, and nothing is divided by zero.
    #[test]
    fn zeros_stay_zeros() {
        let zeros = Tensor::<Flex, 3>::zeros([2, 3, 5], &FlexDevice);
        let values = crate::model::weights::to_vec(orthogonal(zeros).into_data());
        assert_eq!(values, [0.0; 30]);
    }
}
