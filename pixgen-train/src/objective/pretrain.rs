//! Stage 1: contrastive and representation-consistency losses (docs/method.md section 3).

use super::pieces;
use super::prefetch::{Pictures, Prefetch};
use super::source::Source;
use super::{NamedValues, Objective, Progress, Terms};
use crate::model::weights::to_vec;
use crate::model::{
    Condition, NormMode, NormStatistics, ParamSet, Pass, Projector, ProjectorConfig, RunningStatistics, Wanted, Weights, features,
};
use crate::ops::{Ops, blend, nt_xent};
use crate::precision::Precision;
use crate::training::{Engine, Flat};
use burn::backend::Autodiff;
use burn::tensor::Tensor;
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

/// What a step trains on, in patch layout. Its inputs are y1 + t_0 eps, y2 + t_0 eps, x0 + t_n eps and x0 + t_{n-1} eps.
#[derive(Clone, Debug)]
pub struct PretrainBatch<B: Ops> {
    /// y1, y2 and x0.
    pub pictures: [Pictures<B>; 3],
    /// The noise of all inputs.
    pub eps: Pictures<B>,
    /// Shifted levels of the inputs: t_0, t_0, t_n, t_{n-1}.
    pub levels: [f64; 4],
    /// Temperature of L_rc at this step.
    pub temperature: f64,
}

/// Makes batches.
#[derive(Debug)]
struct Sampler<B: Ops> {
    config: ModelConfig,
    noise: NoiseConfig,
    settings: PretrainConfig,
    source: Source,
    device: B::Device,
}

impl<B: Ops> Sampler<B> {
    /// One index i ~ Uniform{0..N-2} for the whole batch (section 3.2).
    fn sample(&self, progress: &Progress) -> PretrainBatch<B> {
        let Progress { seed, images, total, batch, .. } = *progress;
        let levels = self.settings.levels.levels(images, total).max(2);
        let mut draws = Draws::new(Rng::new(seed, stream(Purpose::NoiseLevel, images)), 0);
        let i = draws.below(levels as u32 - 1) as usize;
        let sigma = self.noise.grid(levels, i);
        let shifted = |sigma: f64| self.noise.shift * sigma;
        let (t0, t_n, t_below) = (self.noise.t_min(), shifted(sigma), shifted(self.noise.grid(levels, i + 1)));
        let pictures = |values| Pictures::new(&self.config, values, &self.device);
        PretrainBatch {
            pictures: self.source.views(&self.config, seed, images, batch).map(pictures),
            eps: pictures(Source::noise(&self.config, seed, images, batch)),
            levels: [t0, t0, t_n, t_below],
            temperature: self.settings.temperature.at(&self.noise, sigma, images, total),
        }
    }
}

/// A piece of a step's batch on the device.
struct Piece<B: Engine> {
    /// y1, y2 and x0, `[pictures, N_p, p*p*C]`.
    pictures: [Tensor<B, 3>; 3],
    eps: Tensor<B, 3>,
}

/// The objective of stage 1.
#[derive(Debug)]
pub struct Pretrain<B: Engine> {
    config: ModelConfig,
    noise: NoiseConfig,
    settings: PretrainConfig,
    prefetch: Prefetch<PretrainBatch<B>>,
    precision: Precision,
    recompute: bool,
    device: B::Device,
    set: ParamSet,
    /// th-, the EMA of the parameters.
    target: B::Flat,
    running: RunningStatistics,
    /// Statistics of both views of the step that is not yet accepted.
    pending: [Vec<NormStatistics<B>>; 2],
}

impl<B: Engine> Pretrain<B> {
    /// Stage 1 on `source` in `f32`, whose target network starts as a copy of `params`.
    pub fn new(
        config: ModelConfig,
        noise: NoiseConfig,
        settings: PretrainConfig,
        source: Source,
        params: &[f32],
        device: B::Device,
    ) -> Self {
        let set = ParamSet::pretraining(&config, &settings.projector);
        let sampler = Sampler { config, noise, settings, source, device: device.clone() };
        Self {
            config,
            noise,
            settings,
            prefetch: Prefetch::new::<B>(move |progress| sampler.sample(progress)),
            precision: Precision::F32,
            recompute: false,
            target: B::Flat::upload(&set, params, &device),
            device,
            set,
            running: RunningStatistics::new(&settings.projector),
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// The same in another precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same with blocks computed again for the backward pass, or not: less memory, more time, the same gradient.
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Running statistics of the projector's norms.
    pub fn running(&self) -> &RunningStatistics {
        &self.running
    }

    /// Replaces th-, which otherwise starts as a copy of the parameters.
    pub fn set_target(&mut self, target: &[f32]) {
        self.target = B::Flat::upload(&self.set, target, &self.device);
    }

    /// The next step's batch (section 3.2).
    pub fn sample(&self, progress: &Progress) -> PretrainBatch<B> {
        self.prefetch.make(progress)
    }

    fn piece(&self, step: &PretrainBatch<B>, range: &Range<usize>) -> Piece<B> {
        let piece = |pictures: &Pictures<B>| pictures.piece(range, &self.device);
        Piece { pictures: step.pictures.each_ref().map(piece), eps: piece(&step.eps) }
    }

    /// What the network reads of input `number` of a piece, c_in (x + t eps), and its condition.
    fn input(&self, piece: &Piece<B>, levels: &[f64; 4], number: usize) -> (Tensor<B, 3>, Condition<B>) {
        let (x, t) = (&piece.pictures[number.min(2)], levels[number]);
        let (c_in, pictures) = (self.noise.c_in(t), x.dims()[0]);
        let image = blend(x.clone(), piece.eps.clone(), vec![c_in; pictures], vec![t * c_in; pictures]);
        (image, Condition::new(&vec![t; pictures], None, self.config.encoder.width, &self.device))
    }

    /// LN(CLS) of a piece under `weights`, `[pictures, d]`, without gradient.
    fn features_of(&self, weights: &Weights<'_, B>, piece: &Piece<B>, levels: &[f64; 4], number: usize) -> Tensor<B, 2> {
        let (image, condition) = self.input(piece, levels, number);
        features(&self.config, weights, &image, &condition)
    }

    /// The three branches with gradient of a piece.
    fn branches<'a>(&'a self, online: &'a Weights<'a, B>, piece: &Piece<B>, levels: &[f64; 4]) -> [Pass<'a, B, 2>; 3] {
        [0, 1, 2].map(|number| {
            let (image, condition) = self.input(piece, levels, number);
            Pass::features(self.recompute, &self.config, online, image, condition, Wanted::Weights)
        })
    }

    /// The loss and its gradient on given inputs, added to `gradient`.
    ///
    /// The contrastive terms need the whole batch, the encoder works in pieces: features of all pieces, then the losses and their
    /// gradients with respect to features (and projector) on the whole batch, then the encoder backwards, piece by piece. A batch
    /// that is to take less memory (`micro` below its size) keeps no graph in between and runs the encoder again instead.
    pub fn gradient_on(&mut self, params: &B::Flat, step: &PretrainBatch<B>, micro: usize, gradient: &mut B::Flat) -> Terms {
        let device = self.device.clone();
        let batch = step.eps.count();
        let (keep, ranges) = (micro >= batch, pieces::ranges::<B>(batch, micro, self.config.tokens()));
        let online = Weights::<B>::of(&self.set, params, self.precision, &device);
        let target = Weights::<B>::of(&self.set, &self.target, self.precision, &device);

        // Three branches with gradient; targets of th- on both views and of the online network on the less noisy picture.
        let this = &*self;
        let done = pieces::map::<B, _, _>(ranges.clone(), |range| {
            let piece = this.piece(step, &range);
            let passes = this.branches(&online, &piece, &step.levels);
            let branches = passes.each_ref().map(Pass::output);
            let targets = [(&target, 0), (&target, 1), (&online, 3)];
            let targets = targets.map(|(weights, number)| this.features_of(weights, &piece, &step.levels, number));
            (keep.then_some(passes), branches, targets)
        });
        let mut passes = Vec::with_capacity(done.len());
        let (mut branches, mut targets) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        for (kept, piece, piece_targets) in done {
            passes.push(kept);
            branches.iter_mut().zip(piece).for_each(|(whole, piece)| whole.push(piece));
            targets.iter_mut().zip(piece_targets).for_each(|(whole, piece)| whole.push(piece));
        }

        let [target1, target2, below] = targets.map(|pieces| Tensor::cat(pieces, 0));
        let keys = [target1, target2].map(|z| Projector::new(&target).forward(z, NormMode::Batch).0);
        let branches = branches.map(|pieces| Tensor::<Autodiff<B>, 2>::from_inner(Tensor::cat(pieces, 0)).require_grad());
        let tracked = online.tracked::<Autodiff<B>>();
        let projector = Projector::new(&tracked);
        let (p1, statistics1) = projector.forward(branches[0].clone(), NormMode::Batch);
        let (p2, statistics2) = projector.forward(branches[1].clone(), NormMode::Batch);
        let tau = self.settings.contrast_temperature;
        let key = |view: usize| Tensor::from_inner(keys[view].clone());
        let con = nt_xent(p1, key(1), 0, tau) + nt_xent(p2, key(0), 0, tau);
        let rc = nt_xent(branches[2].clone(), Tensor::from_inner(below), 0, step.temperature);
        let values = Tensor::cat(vec![con.clone().inner(), rc.clone().inner()], 0);
        let total = con.mul_scalar(self.settings.contrast_weight) + rc.mul_scalar(self.settings.consistency_weight);
        let mut gradients = total.backward();
        let upstream = branches.map(|z| z.grad_remove(&mut gradients));
        tracked.add_gradients(&mut gradients, gradient);

        pieces::accumulate::<B, _, _>(
            ranges.into_iter().zip(passes).collect(),
            &self.set,
            &device,
            gradient,
            |(range, passes), gradient| {
                let passes = passes.unwrap_or_else(|| this.branches(&online, &this.piece(step, &range), &step.levels));
                for (pass, upstream) in passes.into_iter().zip(&upstream) {
                    // None if the loss does not depend on a branch.
                    if let Some(upstream) = upstream {
                        pass.backward(upstream.clone().narrow(0, range.start, range.len()), gradient);
                    }
                }
            },
        );
        self.pending = [statistics1, statistics2].map(|view| view.into_iter().map(NormStatistics::inner).collect());
        // Read last, when all work is on its way.
        let values = to_vec(values.into_data());
        let value = |at: usize| values.get(at).copied().map_or(f64::NAN, f64::from);
        let (con, rc) = (value(0), value(1));
        let loss = self.settings.contrast_weight * con + self.settings.consistency_weight * rc;
        vec![("loss", loss), ("contrast", con), ("consistency", rc)]
    }
}

impl<B: Engine> Objective<B> for Pretrain<B> {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &Progress, gradient: &mut B::Flat) -> Terms {
        let step = self.prefetch.take(progress);
        self.gradient_on(params, &step, progress.micro_batch, gradient)
    }

    fn accept(&mut self, params: &B::Flat) {
        for view in &mut self.pending {
            if let Ok(norms) = <[_; 2]>::try_from(std::mem::take(view)) {
                self.running.update(&norms.map(NormStatistics::read));
            }
        }
        self.target.approach(params, 1.0 - self.settings.target_decay as f32);
    }

    fn state(&self) -> NamedValues {
        let mut state: NamedValues = vec![("target".to_owned(), self.target.host().into_owned())];
        state.extend(self.running.named().map(|(name, values)| (name, values.to_vec())));
        state
    }

    fn restore(&mut self, state: &mut dyn FnMut(&str) -> Option<Vec<f32>>) -> Result<(), String> {
        let mut take = |name: String, len: usize| state(&name).filter(|values| values.len() == len).ok_or(name);
        let target = take("target".to_owned(), self.set.len())?;
        self.set_target(&target);
        for (name, place) in self.running.named_mut() {
            *place = take(name, place.len())?;
        }
        Ok(())
    }
}
