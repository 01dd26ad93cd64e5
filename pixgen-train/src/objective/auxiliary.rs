//! The auxiliary loss of stage 2: generated and real pictures must look alike to the frozen encoder (docs/reference/method.md section 5).

use super::pieces;
use super::prefetch::Pictures;
use crate::model::{Condition, NormMode, ParamSet, Projector, ProjectorConfig, RunningStatistics, Weights, features};
use crate::ops::{Ops as Fused, nt_xent};
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
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

    /// W(picture, t_0) of clean pictures in patch layout `[B, N_p, p*p*C]`: no noise is added, the input is scaled by c_in(t_0).
    pub fn features<B: Fused>(
        &self,
        config: &ModelConfig,
        noise: &NoiseConfig,
        weights: &Weights<'_, B>,
        pictures: Tensor<B, 3>,
        feature: FrozenFeature,
    ) -> Tensor<B, 2> {
        let condition = Self::condition(config, noise, pictures.dims()[0], &pictures.device());
        let z = features(config, weights, &Self::scaled(noise, pictures), &condition);
        self.seen(weights, z, feature)
    }

    /// What the encoder reads of clean pictures.
    pub(super) fn scaled<B: Fused>(noise: &NoiseConfig, pictures: Tensor<B, 3>) -> Tensor<B, 3> {
        pictures.mul_scalar(noise.c_in(noise.t_min()))
    }

    /// All pictures are at the lowest level.
    pub(super) fn condition<B: Fused>(config: &ModelConfig, noise: &NoiseConfig, batch: usize, device: &B::Device) -> Condition<B> {
        Condition::new(&vec![noise.t_min(); batch], None, config.encoder.width, device)
    }

    /// From LN(CLS) to what the loss compares.
    pub(super) fn seen<B: Fused>(&self, weights: &Weights<'_, B>, z: Tensor<B, 2>, feature: FrozenFeature) -> Tensor<B, 2> {
        match feature {
            FrozenFeature::ClassToken => z,
            FrozenFeature::Projected => Projector::new(weights).forward(z, NormMode::Running(&self.statistics)).0,
        }
    }

    /// W(x0, t_0) of real pictures, without gradient, in pieces of at most `micro` pictures.
    #[allow(clippy::too_many_arguments)] // one place, and a struct for it would hold the same seven things
    pub fn targets<B: Fused>(
        &self,
        config: &ModelConfig,
        noise: &NoiseConfig,
        weights: &Weights<'_, B>,
        feature: FrozenFeature,
        x0: &Pictures<B>,
        micro: usize,
        device: &B::Device,
    ) -> Tensor<B, 2> {
        let ranges = pieces::ranges::<B>(x0.count(), micro, config.tokens());
        let features = pieces::map::<B, _, _>(ranges, |range| self.features(config, noise, weights, x0.piece(&range, device), feature));
        Tensor::cat(features, 0)
    }
}

/// d(W(f), sg[W(x0)]; tau): `generated` `[M, D]` are pictures `first..first + M` of the batch whose `targets` `[B, D]` are given.
pub fn auxiliary_loss<B: Fused>(generated: Tensor<B, 2>, targets: Tensor<B, 2>, first: usize, tau: f64) -> Tensor<B, 1> {
    nt_xent(generated, targets.detach(), first, tau)
}
