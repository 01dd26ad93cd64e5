//! The projector of stage 1: three linears without bias, batch norm and ReLU between them (docs/method.md section 2.2).

use super::weights::{Weights, to_vec};
use crate::ops::{self as fused, Ops as Fused};
use burn::tensor::{Tensor, TensorData, activation};
use pixgen_core::params::{Init, Role};
use serde::{Deserialize, Serialize};

/// Epsilon of the batch norms.
const EPSILON: f32 = 1e-5;
/// Share of the newest batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// Widths of the projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectorConfig {
    /// Width of both hidden layers; 4096 in the paper.
    pub hidden: usize,
    /// Width of the output; 256 in the paper.
    pub out: usize,
}

/// A row of the projector's parameter list.
pub(super) struct ProjectorParam {
    pub name: &'static str,
    pub dims: Vec<usize>,
    pub role: Role,
    pub init: Init,
}

impl ProjectorConfig {
    /// The parameter list for features of width `width`.
    pub(super) fn params(&self, width: usize) -> Vec<ProjectorParam> {
        let matrix = |name, out: usize, inp: usize| {
            let bound = (6.0 / (out + inp) as f64).sqrt() as f32;
            ProjectorParam { name, dims: vec![out, inp], role: Role::Matrix, init: Init::Uniform(bound) }
        };
        let norm = |name, start| ProjectorParam { name, dims: vec![self.hidden], role: Role::Norm, init: Init::Constant(start) };
        vec![
            matrix("projector.fc1.weight", self.hidden, width),
            norm("projector.bn1.weight", 1.0),
            norm("projector.bn1.bias", 0.0),
            matrix("projector.fc2.weight", self.hidden, self.hidden),
            norm("projector.bn2.weight", 1.0),
            norm("projector.bn2.bias", 0.0),
            matrix("projector.fc3.weight", self.out, self.hidden),
        ]
    }
}

/// Mean and variance of one norm's inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Unbiased variance of each channel.
    pub variance: Vec<f32>,
}

/// Running statistics of both norms, used where a batch must not influence its own result.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningStatistics {
    /// First and second norm.
    pub norms: [BatchStatistics; 2],
}

impl RunningStatistics {
    /// Mean 0, variance 1.
    pub fn new(config: &ProjectorConfig) -> Self {
        let fresh = || BatchStatistics { mean: vec![0.0; config.hidden], variance: vec![1.0; config.hidden] };
        Self { norms: [fresh(), fresh()] }
    }

    /// Moves a tenth of the way to the statistics of a batch.
    pub fn update(&mut self, batch: &[BatchStatistics; 2]) {
        for (running, batch) in self.norms.iter_mut().zip(batch) {
            for (running, batch) in [(&mut running.mean, &batch.mean), (&mut running.variance, &batch.variance)] {
                for (r, b) in running.iter_mut().zip(batch) {
                    *r += MOMENTUM * (b - *r);
                }
            }
        }
    }

    /// Names and values, as stored in files.
    pub fn named(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.norms.iter().enumerate().flat_map(|(i, norm)| {
            [
                (format!("projector.bn{}.running_mean", i + 1), norm.mean.as_slice()),
                (format!("projector.bn{}.running_var", i + 1), norm.variance.as_slice()),
            ]
        })
    }

    /// Names and places, for reading files.
    pub fn named_mut(&mut self) -> impl Iterator<Item = (String, &mut Vec<f32>)> {
        self.norms.iter_mut().enumerate().flat_map(|(i, norm)| {
            [
                (format!("projector.bn{}.running_mean", i + 1), &mut norm.mean),
                (format!("projector.bn{}.running_var", i + 1), &mut norm.variance),
            ]
        })
    }
}

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
