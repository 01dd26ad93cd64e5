//! Stage 1: contrastive and representation-consistency losses (docs/method.md section 3).

use super::nt_xent::nt_xent;
use super::pieces;
use super::source::Source;
use super::{NamedValues, Objective, Progress, Terms};
use crate::model::batch::upload;
use crate::model::weights::to_vec;
use crate::model::{BatchStatistics, Condition, NormMode, ParamSet, Projector, ProjectorConfig, RunningStatistics, Weights, features};
use crate::ops::Ops as Fused;
use burn::backend::Autodiff;
use burn::tensor::{Tensor, TensorData};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, Temperature};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Widths of the projector.
    pub projector: ProjectorConfig,
    /// Temperature of L_con.
    pub contrast_temperature: f64,
    /// Temperature of L_rc.
    pub temperature: Temperature,
    /// Growth of the number of noise levels.
    pub levels: LevelCurriculum,
    /// EMA decay of the target network of L_con, per step.
    pub target_decay: f64,
    /// Weight of L_con.
    pub contrast_weight: f64,
    /// Weight of L_rc; 0 leaves plain MoCo v3 on slightly noisy pictures.
    pub consistency_weight: f64,
}

/// The noised inputs of a step, in patch layout.
#[derive(Clone, Debug)]
pub struct PretrainBatch {
    /// y1 + t_0 eps, y2 + t_0 eps, x0 + t_n eps, x0 + t_{n-1} eps.
    pub inputs: [Vec<f32>; 4],
    /// Shifted levels of the inputs.
    pub levels: [f64; 4],
    /// Temperature of L_rc at this step.
    pub temperature: f64,
}

/// The objective of stage 1.
#[derive(Debug)]
pub struct Pretrain<B: Fused> {
    config: ModelConfig,
    noise: NoiseConfig,
    settings: PretrainConfig,
    source: Source,
    device: B::Device,
    set: ParamSet,
    /// th-, the EMA of the parameters.
    target: Vec<f32>,
    running: RunningStatistics,
    /// Statistics of the step that is not yet accepted.
    pending: Option<[[BatchStatistics; 2]; 2]>,
}

impl<B: Fused> Pretrain<B> {
    /// Stage 1 on `source`, whose target network starts as a copy of `params`.
    pub fn new(
        config: ModelConfig,
        noise: NoiseConfig,
        settings: PretrainConfig,
        source: Source,
        params: &[f32],
        device: B::Device,
    ) -> Self {
        Self {
            config,
            noise,
            settings,
            source,
            device,
            set: ParamSet::pretraining(&config, &settings.projector),
            target: params.to_vec(),
            running: RunningStatistics::new(&settings.projector),
            pending: None,
        }
    }

    /// Running statistics of the projector's norms.
    pub fn running(&self) -> &RunningStatistics {
        &self.running
    }

    /// Replaces th-, which otherwise starts as a copy of the parameters.
    pub fn set_target(&mut self, target: &[f32]) {
        self.target.copy_from_slice(target);
    }

    /// Inputs, levels and temperature of the next step: one index i ~ Uniform{0..N-2} for the whole batch (section 3.2).
    pub fn sample(&self, progress: &Progress) -> PretrainBatch {
        let Progress { seed, images, total, batch, .. } = *progress;
        let levels = self.settings.levels.levels(images, total).max(2);
        let mut draws = Draws::new(Rng::new(seed, stream(Purpose::NoiseLevel, images)), 0);
        let i = draws.below(levels as u32 - 1) as usize;
        let sigma = self.noise.grid(levels, i);
        let shifted = |sigma: f64| self.noise.shift * sigma;
        let (t0, t_n, t_below) = (self.noise.t_min(), shifted(sigma), shifted(self.noise.grid(levels, i + 1)));
        let [y1, y2, x0] = self.source.views(&self.config, seed, images, batch);
        let eps = Source::noise(&self.config, seed, images, batch);
        PretrainBatch {
            inputs: [
                noised(&y1, &eps, t0),
                noised(&y2, &eps, t0),
                noised(&x0, &eps, t_n),
                noised(&x0, &eps, t_below),
            ],
            levels: [t0, t0, t_n, t_below],
            temperature: self.settings.temperature.at(&self.noise, sigma, images, total),
        }
    }

    /// LN(CLS) of a piece of the batch under `weights`, `[pictures, d]`, without gradient.
    fn features_of(&self, weights: &Weights<'_, B>, step: &PretrainBatch, input: usize, range: &Range<usize>) -> Vec<f32> {
        to_vec(self.features_in::<B>(weights, step, input, range).into_data())
    }

    /// [`features_of`](Self::features_of) as a tensor, on an autodiff backend or not.
    fn features_in<T: Fused<Device = B::Device>>(
        &self,
        weights: &Weights<'_, T>,
        step: &PretrainBatch,
        input: usize,
        range: &Range<usize>,
    ) -> Tensor<T, 2> {
        let len = self.config.image_len();
        let pictures = &step.inputs[input][range.start * len..range.end * len];
        let (image, condition) = self.upload(pictures, step.levels[input], &self.device);
        features(&self.config, weights, &image, &condition)
    }

    /// A piece of a batch on a device, scaled by c_in.
    fn upload<T: Fused>(&self, piece: &[f32], t: f64, device: &T::Device) -> (Tensor<T, 3>, Condition<T>) {
        let count = piece.len() / self.config.image_len();
        let c_in = self.noise.c_in(t) as f32;
        let scaled = piece.iter().map(|v| c_in * v).collect();
        let shape = [count, self.config.patches(), self.config.patch_len()];
        let condition = Condition::new(&vec![t; count], None, self.config.encoder.width, device);
        (upload(scaled, shape, device), condition)
    }

    /// The loss and its gradient on given inputs, added to `gradient`.
    ///
    /// The contrastive terms need the whole batch, the encoder works in pieces: features of all pieces, then the losses and their
    /// gradients with respect to features (and projector) on the whole batch, then the encoder backwards, piece by piece. A batch
    /// that is to take less memory (`micro` below its size) keeps no graph in between and runs the encoder again instead.
    pub fn gradient_on(&mut self, params: &[f32], step: &PretrainBatch, micro: usize, gradient: &mut [f32]) -> Terms {
        let device = self.device.clone();
        let width = self.config.encoder.width;
        let batch = step.inputs[0].len() / self.config.image_len();
        let (keep, ranges) = (micro >= batch, pieces::ranges::<B>(batch, micro, self.config.tokens()));
        let online = Weights::<B>::frozen(&self.set, params, &device);
        let target = Weights::<B>::frozen(&self.set, &self.target, &device);

        // Three branches with gradient; targets of th- on both views and of the online network on the less noisy picture.
        let this = &*self;
        let done = pieces::map::<B, _, _>(ranges.clone(), |range| {
            let graph = Graph::new(this, &online, step, &range);
            let branches = graph.branches.clone().map(|z| to_vec(z.inner().into_data()));
            let targets = [(&target, 0), (&target, 1), (&online, 3)].map(|(weights, input)| this.features_of(weights, step, input, &range));
            (keep.then_some(graph), branches, targets)
        });
        let mut graphs = Vec::with_capacity(done.len());
        let (mut branches, mut targets) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        for (graph, piece, piece_targets) in done {
            graphs.push(graph);
            branches.iter_mut().zip(piece).for_each(|(whole, piece)| whole.extend(piece));
            targets.iter_mut().zip(piece_targets).for_each(|(whole, piece)| whole.extend(piece));
        }

        let rows = |values: Vec<f32>| TensorData::new(values, [batch, width]);
        let [target1, target2, below] = targets.map(|values| Tensor::<B, 2>::from_data(rows(values), &device));
        let keys = [target1, target2].map(|z| Projector::new(&target).forward(z, NormMode::Batch).0);
        let branches = branches.map(|values| Tensor::<Autodiff<B>, 2>::from_data(rows(values), &device).require_grad());
        let tracked = online.tracked::<Autodiff<B>>();
        let projector = Projector::new(&tracked);
        let (p1, statistics1) = projector.forward(branches[0].clone(), NormMode::Batch);
        let (p2, statistics2) = projector.forward(branches[1].clone(), NormMode::Batch);
        let tau = self.settings.contrast_temperature;
        let key = |view: usize| Tensor::from_inner(keys[view].clone());
        let con = nt_xent(p1, key(1), 0, tau) + nt_xent(p2, key(0), 0, tau);
        let rc = nt_xent(branches[2].clone(), Tensor::from_inner(below), 0, step.temperature);
        let value = |loss: &Tensor<Autodiff<B>, 1>| to_vec(loss.clone().inner().into_data()).first().copied().map_or(f64::NAN, f64::from);
        let (con_value, rc_value) = (value(&con), value(&rc));
        let total = con.mul_scalar(self.settings.contrast_weight) + rc.mul_scalar(self.settings.consistency_weight);
        let loss = value(&total);
        let mut gradients = total.backward();
        let upstream = branches.map(|z| z.grad_remove(&mut gradients));
        tracked.add_gradients(&mut gradients, gradient);

        pieces::accumulate::<B, _, _>(ranges.into_iter().zip(graphs).collect(), gradient, |(range, graph), gradient| {
            let graph = graph.unwrap_or_else(|| Graph::new(this, &online, step, &range));
            graph.backward(&upstream, &range, gradient);
        });
        self.pending = Some([statistics1, statistics2]);
        vec![("loss", loss), ("contrast", con_value), ("consistency", rc_value)]
    }
}

/// A piece of a batch in the encoder: leaves and LN(CLS) of the three branches.
struct Graph<'a, B: Fused> {
    weights: Weights<'a, Autodiff<B>>,
    branches: [Tensor<Autodiff<B>, 2>; 3],
}

impl<'a, B: Fused> Graph<'a, B> {
    fn new(pretrain: &Pretrain<B>, online: &Weights<'a, B>, step: &PretrainBatch, range: &Range<usize>) -> Self {
        let weights = online.tracked::<Autodiff<B>>();
        let branches = [0, 1, 2].map(|input| pretrain.features_in(&weights, step, input, range));
        Self { weights, branches }
    }

    /// Adds the gradient of the parameters, given those of the features of the whole batch.
    fn backward(self, upstream: &[Option<Tensor<B, 2>>; 3], range: &Range<usize>, gradient: &mut [f32]) {
        let terms = self.branches.into_iter().zip(upstream).filter_map(|(z, upstream)| {
            let upstream = upstream.clone()?.narrow(0, range.start, range.len());
            Some((z * Tensor::from_inner(upstream)).sum())
        });
        if let Some(total) = terms.reduce(|a, b| a + b) {
            self.weights.add_gradients(&mut total.backward(), gradient);
        }
    }
}

/// x + t eps.
pub(super) fn noised(x: &[f32], eps: &[f32], t: f64) -> Vec<f32> {
    let t = t as f32;
    x.iter().zip(eps).map(|(x, e)| x + t * e).collect()
}

impl<B: Fused> Objective for Pretrain<B> {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, params: &[f32], progress: &Progress, gradient: &mut [f32]) -> Terms {
        let step = self.sample(progress);
        self.gradient_on(params, &step, progress.micro_batch, gradient)
    }

    fn accept(&mut self, params: &[f32]) {
        if let Some(views) = self.pending.take() {
            for batch in &views {
                self.running.update(batch);
            }
        }
        let decay = self.settings.target_decay as f32;
        for (target, &param) in self.target.iter_mut().zip(params) {
            *target = decay * *target + (1.0 - decay) * param;
        }
    }

    fn state(&self) -> NamedValues {
        let mut state: NamedValues = vec![("target".to_owned(), self.target.clone())];
        state.extend(self.running.named().map(|(name, values)| (name, values.to_vec())));
        state
    }

    fn restore(&mut self, state: &mut dyn FnMut(&str) -> Option<Vec<f32>>) -> Result<(), String> {
        let target = std::iter::once(("target".to_owned(), &mut self.target));
        for (name, place) in target.chain(self.running.named_mut()) {
            *place = state(&name).filter(|values| values.len() == place.len()).ok_or(name)?;
        }
        Ok(())
    }
}
