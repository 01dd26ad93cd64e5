//! The projector of stage 1: three linears without bias, batch norm and ReLU between them (docs/method.md section 2.2).

use super::weights::{Weights, to_vec};
use crate::ops::{self as fused, Ops as Fused};
use burn::tensor::{Tensor, TensorData, activation};
use pixgen_edge::projector::{BatchStatistics, RunningStatistics};

/// Epsilon of the batch norms.
const EPSILON: f32 = 1e-5;

/// Which statistics the norms use.
#[derive(Clone, Copy, Debug)]
pub enum NormMode<'a> {
    /// Of the batch: training, both branches (docs/method.md section 6).
    Batch,
    /// Running ones: the frozen projector of the auxiliary loss.
    Running(&'a RunningStatistics),
}

/// The projector with weights on a device.
#[derive(Debug)]
pub struct Projector<'a, B: Fused> {
    weights: &'a Weights<'a, B>,
}

impl<'a, B: Fused> Projector<'a, B> {
    /// The projector inside a stage-1 parameter list.
    pub fn new(weights: &'a Weights<'a, B>) -> Self {
        Self { weights }
    }

    /// P(z): `[B, d]` to `[B, out]`, and the statistics of the batch (in `Running` mode: those given).
    pub fn forward(&self, z: Tensor<B, 2>, mode: NormMode<'_>) -> (Tensor<B, 2>, [BatchStatistics; 2]) {
        let (h, first) = self.hidden(z, 0, mode);
        let (h, second) = self.hidden(h, 1, mode);
        let out = fused::linear(h, self.weights.named_matrix("projector.fc3.weight"), None);
        (out, [first, second])
    }

    fn hidden(&self, x: Tensor<B, 2>, layer: usize, mode: NormMode<'_>) -> (Tensor<B, 2>, BatchStatistics) {
        let named = |what: &str| format!("projector.{what}{}", layer + 1);
        let weight = self.weights.named_matrix(&format!("{}.weight", named("fc")));
        let h = fused::linear(x, weight, None);
        let device = h.device();
        let [batch, width] = h.dims();
        let row = |values: &[f32]| Tensor::<B, 2>::from_data(TensorData::new(values.to_vec(), [1, width]), &device);
        let (normed, statistics) = match mode {
            NormMode::Batch => {
                let mean = h.clone().mean_dim(0);
                let centred = h - mean.clone();
                let variance = centred.clone().square().mean_dim(0);
                let unbias = batch as f32 / (batch.max(2) - 1) as f32;
                let statistics = BatchStatistics {
                    mean: to_vec(mean.into_data()),
                    variance: to_vec(variance.clone().mul_scalar(unbias).into_data()),
                };
                (centred / variance.add_scalar(EPSILON).sqrt(), statistics)
            }
            NormMode::Running(running) => {
                let statistics = running.norms[layer].clone();
                let scale: Vec<f32> = statistics.variance.iter().map(|v| 1.0 / (v + EPSILON).sqrt()).collect();
                ((h - row(&statistics.mean)) * row(&scale), statistics)
            }
        };
        let gain = self.weights.named_vector(&format!("{}.weight", named("bn"))).reshape([1, width]);
        let offset = self.weights.named_vector(&format!("{}.bias", named("bn"))).reshape([1, width]);
        (activation::relu(normed * gain + offset), statistics)
    }
}
