//! The projector of stage 1: three linears without bias, batch norm and ReLU between them (docs/reference/method.md section 2.2).

use super::weights::{BurnWeights, to_vec};
use crate::ops::{self as fused, FusedOps};
use crate::precision::Precision;
use burn_autodiff::Autodiff;
use burn_tensor::{Tensor, TensorData, activation};
use pixgen_edge::projector::{BatchStatistics, RunningStatistics};

/// Epsilon of the batch norms.
const EPSILON: f32 = 1e-5;

/// Which statistics the norms use.
#[derive(Clone, Copy, Debug)]
pub enum NormMode<'a> {
    /// Of the batch: training, both branches (docs/reference/method.md section 6).
    Batch,
    /// Running ones: the frozen projector of the auxiliary loss.
    Running(&'a RunningStatistics),
}

/// Mean and unbiased variance of a batch in one norm, still on the device: `[1, hidden]`.
#[derive(Clone, Debug)]
pub struct NormStatistics<B: FusedOps> {
    /// Mean of each channel.
    pub mean: Tensor<B, 2>,
    /// Unbiased variance of each channel.
    pub variance: Tensor<B, 2>,
}

impl<B: FusedOps> NormStatistics<B> {
    /// Waits for them.
    pub fn read(self) -> BatchStatistics {
        BatchStatistics { mean: to_vec(self.mean.into_data()), variance: to_vec(self.variance.into_data()) }
    }
}

impl<B: FusedOps> NormStatistics<Autodiff<B>> {
    /// Without the graph.
    pub fn inner(self) -> NormStatistics<B> {
        NormStatistics { mean: self.mean.inner(), variance: self.variance.inner() }
    }
}

/// The projector with weights on a device.
#[derive(Debug)]
pub struct Projector<'a, B: FusedOps> {
    weights: &'a BurnWeights<'a, B>,
}

impl<'a, B: FusedOps> Projector<'a, B> {
    /// The projector inside a stage-1 parameter list.
    pub fn new(weights: &'a BurnWeights<'a, B>) -> Self {
        Self { weights }
    }

    /// P(z): `[B, d]` to `[B, out]` in `f32`, and the statistics of the batch in `Batch` mode.
    pub fn forward(&self, z: Tensor<B, 2>, mode: NormMode<'_>) -> (Tensor<B, 2>, Vec<NormStatistics<B>>) {
        let mut statistics = Vec::new();
        let h = self.hidden(z, 0, mode, &mut statistics);
        let h = self.hidden(h, 1, mode, &mut statistics);
        (self.linear(h, "projector.fc3.weight"), statistics)
    }

    /// A product in the weights' precision, from and to `f32`.
    fn linear(&self, x: Tensor<B, 2>, name: &str) -> Tensor<B, 2> {
        let x = x.cast(self.weights.precision().dtype());
        fused::linear(x, self.weights.named_matrix(name), None).cast(Precision::F32.dtype())
    }

    fn hidden(&self, x: Tensor<B, 2>, layer: usize, mode: NormMode<'_>, statistics: &mut Vec<NormStatistics<B>>) -> Tensor<B, 2> {
        let named = |what: &str| format!("projector.{what}{}", layer + 1);
        let h = self.linear(x, &format!("{}.weight", named("fc")));
        let device = h.device();
        let [batch, width] = h.dims();
        let row = |values: &[f32]| Tensor::<B, 2>::from_data(TensorData::new(values.to_vec(), [1, width]), &device);
        let normed = match mode {
            NormMode::Batch => {
                let mean = h.clone().mean_dim(0);
                let centred = h - mean.clone();
                let variance = centred.clone().square().mean_dim(0);
                let unbias = batch as f32 / (batch.max(2) - 1) as f32;
                statistics.push(NormStatistics { mean: mean.detach(), variance: variance.clone().detach().mul_scalar(unbias) });
                centred / variance.add_scalar(EPSILON).sqrt()
            }
            NormMode::Running(running) => {
                let BatchStatistics { mean, variance } = &running.norms[layer];
                let scale: Vec<f32> = variance.iter().map(|v| 1.0 / (v + EPSILON).sqrt()).collect();
                (h - row(mean)) * row(&scale)
            }
        };
        let gain = self.weights.named_vector(&format!("{}.weight", named("bn"))).reshape([1, width]);
        let offset = self.weights.named_vector(&format!("{}.bias", named("bn"))).reshape([1, width]);
        activation::relu(normed * gain + offset)
    }
}
