//! The auxiliary loss of stage 2: generated and real pictures must look alike to the frozen encoder (docs/reference/method.md section 5).

use super::frame::Context;
use super::micro_batches;
use super::prefetch::Pictures;
use crate::model::{BurnWeights, Condition, NormMode, Projector, features};
use crate::ops::{FusedOps, nt_xent};
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::{ProjectorConfig, RunningStatistics};
use serde::{Deserialize, Serialize};

/// W: the encoder and projector of stage 1, never trained again.
#[derive(Clone, Debug)]
pub struct FrozenEncoder {
    /// Stage-1 parameter list.
    pub set: ParamSet,
    /// Its values.
    pub params: Vec<f32>,
    /// Running statistics of the projector's norms.
    pub statistics: RunningStatistics,
}

/// What W sees of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrozenFeature {
    /// The projected class token: the released code.
    Projected,
    /// LN(CLS) without the projector: the paper's text.
    ClassToken,
}

impl FrozenEncoder {
    /// An encoder before training; tests only compare shapes with it.
    pub fn fresh(config: &ModelConfig, projector: &ProjectorConfig, seed: u64) -> Self {
        let set = ParamSet::pretraining(config, projector);
        let params = set.initialise(seed);
        Self { set, params, statistics: RunningStatistics::new(projector) }
    }

    /// From LN(CLS) to what the loss compares.
    pub(super) fn seen<B: FusedOps>(&self, weights: &BurnWeights<'_, B>, z: Tensor<B, 2>, feature: FrozenFeature) -> Tensor<B, 2> {
        match feature {
            FrozenFeature::ClassToken => z,
            FrozenFeature::Projected => Projector::new(weights).forward(z, NormMode::Running(&self.statistics)).0,
        }
    }
}

/// W on a device during a step. It sees clean pictures `[B, N_p, p*p*C]` at the lowest level: c_in(t_0) x, without noise.
#[derive(Debug)]
pub struct Frozen<'a, B: FusedOps> {
    /// The encoder.
    pub encoder: &'a FrozenEncoder,
    /// Architecture, noise and device.
    pub context: &'a Context<B>,
    /// Its weights.
    pub weights: BurnWeights<'a, B>,
    /// What is compared.
    pub feature: FrozenFeature,
}

impl<B: FusedOps> Frozen<'_, B> {
    /// W(picture, t_0).
    pub fn features(&self, pictures: Tensor<B, 3>) -> Tensor<B, 2> {
        let condition = self.condition(pictures.dims()[0]);
        let z = features(&self.context.model, &self.weights, &self.scaled(pictures), &condition);
        self.encoder.seen(&self.weights, z, self.feature)
    }

    /// W(x_0, t_0) of real pictures, without gradient, at most `micro` at once.
    pub fn targets(&self, x0: &Pictures<B>, micro: usize) -> Tensor<B, 2> {
        let Context { model, device, .. } = self.context;
        let ranges = micro_batches::ranges::<B>(x0.count(), micro, model.tokens());
        let features = micro_batches::map::<B, _, _>(ranges, |range| self.features(x0.range(&range, device)));
        Tensor::cat(features, 0)
    }

    /// What the encoder reads of clean pictures, on this backend or on autodiff over it.
    pub(super) fn scaled<T: FusedOps>(&self, pictures: Tensor<T, 3>) -> Tensor<T, 3> {
        let noise = &self.context.noise;
        pictures.mul_scalar(noise.c_in(noise.t_min()))
    }

    /// All pictures are at the lowest level.
    pub(super) fn condition(&self, count: usize) -> Condition<B> {
        let Context { model, noise, device } = self.context;
        Condition::new(&vec![noise.t_min(); count], None, model.encoder.width, device)
    }
}

/// d(W(f), sg[W(x0)]; tau): `generated` `[M, D]` are pictures `first..first + M` of the batch whose `targets` `[B, D]` are given.
pub fn auxiliary_loss<B: FusedOps>(generated: Tensor<B, 2>, targets: Tensor<B, 2>, first: usize, tau: f64) -> Tensor<B, 1> {
    nt_xent(generated, targets.detach(), first, tau)
}
