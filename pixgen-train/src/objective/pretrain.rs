//! Stage 1: contrastive and representation-consistency losses (docs/reference/method.md section 3).
//!
//! The [`Method`]s of the paper's comparison differ in nothing but settings: which terms there are, their temperatures, and how the
//! target network follows.

use super::pieces;
use super::prefetch::{Pictures, Prefetch};
use super::source::Source;
use super::{Compute, NamedValues, Objective, Progress, Terms};
use crate::model::weights::to_vec;
use crate::model::{
    Condition, NormMode, NormStatistics, ParamSet, Pass, Projector, ProjectorConfig, RunningStatistics, Wanted, Weights, features,
};
use crate::ops::{Ops, blend, nt_xent};
use crate::training::{Engine, Flat};
use burn_autodiff::Autodiff;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, Temperature};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::DataError;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A way to pre-train; it chooses the defaults of the other settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Both terms, the paper's temperatures, a target of constant decay (section 3.1).
    Epg,
    /// The ancestor's: both terms, contrast in one direction, temperature 0.2, a target that slows down (section 3.5).
    Rrcm,
    /// MoCo v3's contrastive term alone, on pictures that carry the lowest noise level.
    Moco,
}

/// EMA decay of the target network over a run (section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetDecay {
    /// Per step, at the start.
    pub start: f64,
    /// Per step, at the end; the same as `start` for a constant decay.
    pub end: f64,
}

impl TargetDecay {
    /// A constant.
    pub const fn constant(decay: f64) -> Self {
        Self { start: decay, end: decay }
    }

    /// The decay at progress k of K: start + c (end - start) with c = 2 sigmoid(A e) - 1, e the way that
    /// sqrt(start^2 + k/K (end^2 - start^2)) has gone from `start` to `end`, A = 10.
    pub fn at(&self, k: u64, total: u64) -> f64 {
        const STEEPNESS: f64 = 10.0;
        let Self { start, end } = *self;
        if start == end {
            return start;
        }
        let done = (k as f64 / total.max(1) as f64).min(1.0);
        let along = ((start * start + done * (end * end - start * start)).sqrt() - start) / (end - start);
        let c = 2.0 / (1.0 + (-STEEPNESS * along).exp()) - 1.0;
        start + c * (end - start)
    }
}

/// Settings of stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Where the defaults of the others come from.
    pub method: Method,
    /// Widths of the projector.
    pub projector: ProjectorConfig,
    /// Temperature of L_con.
    pub contrast_temperature: f64,
    /// Temperature of L_rc.
    pub temperature: Temperature,
    /// Growth of the number of noise levels.
    pub levels: LevelCurriculum,
    /// EMA decay of the target network of L_con.
    pub target_decay: TargetDecay,
    /// L_con in both directions, from y1 to y2 and from y2 to y1; else the first alone.
    pub contrast_symmetric: bool,
    /// Weight of L_con; 0 leaves it out.
    pub contrast_weight: f64,
    /// Weight of L_rc; 0 leaves it out.
    pub consistency_weight: f64,
}

impl PretrainConfig {
    /// The views that L_con compares with the other: the first, or both, or none.
    fn contrasted(&self) -> &'static [usize] {
        match (self.contrast_weight > 0.0, self.contrast_symmetric) {
            (false, _) => &[],
            (true, false) => &[0],
            (true, true) => &[0, 1],
        }
    }

    /// The inputs with gradient: contrasted views, and x0 + t_n eps for L_rc.
    fn branches(&self) -> Vec<usize> {
        let consistency = (self.consistency_weight > 0.0).then_some(NOISIER);
        self.contrasted().iter().copied().chain(consistency).collect()
    }
}

/// Numbers of L_rc's inputs: x0 + t_n eps and, as its target, x0 + t_{n-1} eps.
const NOISIER: usize = 2;
const CLEANER: usize = 3;

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
    fn sample(&self, progress: &Progress) -> Result<PretrainBatch<B>, DataError> {
        let Progress { seed, images, total, batch, .. } = *progress;
        let levels = self.settings.levels.levels(images, total).max(2);
        let mut draws = Draws::new(Rng::new(seed, stream(Purpose::NoiseLevel, images)), 0);
        let i = draws.below(levels as u32 - 1) as usize;
        let sigma = self.noise.grid(levels, i);
        let shifted = |sigma: f64| self.noise.shift * sigma;
        let (t0, t_n, t_below) = (self.noise.t_min(), shifted(sigma), shifted(self.noise.grid(levels, i + 1)));
        let pictures = |values| Pictures::new(&self.config, values, &self.device);
        Ok(PretrainBatch {
            pictures: self.source.views(&self.config, seed, images, batch)?.map(pictures),
            eps: pictures(Source::noise(&self.config, seed, images, batch)),
            levels: [t0, t0, t_n, t_below],
            temperature: self.settings.temperature.at(&self.noise, sigma, images, total),
        })
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
    prefetch: Prefetch<Result<PretrainBatch<B>, DataError>>,
    compute: Compute,
    device: B::Device,
    set: ParamSet,
    /// th-, the EMA of the parameters.
    target: B::Flat,
    running: RunningStatistics,
    /// Statistics of the contrasted views of the step that is not yet accepted, and the decay of th- after it.
    pending: (Vec<Vec<NormStatistics<B>>>, f64),
}

impl<B: Engine> Pretrain<B> {
    /// Stage 1 on `source`, in `f32` and without recomputation, whose target network starts as a copy of `params`.
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
            compute: Compute::default(),
            target: B::Flat::upload(&set, params, &device),
            device,
            set,
            running: RunningStatistics::new(&settings.projector),
            pending: (Vec::new(), settings.target_decay.start),
        }
    }

    /// The same computed in another way.
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
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
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn sample(&self, progress: &Progress) -> Result<PretrainBatch<B>, DataError> {
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

    /// The branches with gradient of a piece.
    fn branches<'a>(&'a self, online: &'a Weights<'a, B>, piece: &Piece<B>, levels: &[f64; 4]) -> Vec<Pass<'a, B, 2>> {
        let branch = |number| {
            let (image, condition) = self.input(piece, levels, number);
            Pass::features(self.compute.recompute, &self.config, online, image, condition, Wanted::Weights)
        };
        self.settings.branches().into_iter().map(branch).collect()
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
        let online = Weights::<B>::of(&self.set, params, self.compute.precision, &device);
        let target = Weights::<B>::of(&self.set, &self.target, self.compute.precision, &device);

        // Branches with gradient; targets of th- on the other view of each contrasted one, and of the online network on the less noisy picture.
        let this = &*self;
        let contrasted = self.settings.contrasted();
        let mut targets_of: Vec<(&Weights<'_, B>, usize)> = contrasted.iter().map(|view| (&target, 1 - view)).collect();
        targets_of.extend((self.settings.consistency_weight > 0.0).then_some((&online, CLEANER)));
        let done = pieces::map::<B, _, _>(ranges.clone(), |range| {
            let piece = this.piece(step, &range);
            let passes = this.branches(&online, &piece, &step.levels);
            let branches: Vec<_> = passes.iter().map(Pass::output).collect();
            let target = |&(weights, number)| this.features_of(weights, &piece, &step.levels, number);
            let targets: Vec<_> = targets_of.iter().map(target).collect();
            (keep.then_some(passes), branches, targets)
        });
        let mut passes = Vec::with_capacity(done.len());
        let (mut branches, mut targets) = (vec![Vec::new(); targets_of.len()], vec![Vec::new(); targets_of.len()]);
        for (kept, piece, piece_targets) in done {
            passes.push(kept);
            branches.iter_mut().zip(piece).for_each(|(whole, piece)| whole.push(piece));
            targets.iter_mut().zip(piece_targets).for_each(|(whole, piece)| whole.push(piece));
        }

        // The losses and their gradients with respect to features and projector, on the whole batch.
        let targets = targets.into_iter().map(|pieces| Tensor::<B, 2>::cat(pieces, 0));
        let branches: Vec<_> = branches
            .into_iter()
            .map(|pieces| Tensor::<Autodiff<B>, 2>::from_inner(Tensor::cat(pieces, 0)).require_grad())
            .collect();
        let tracked = online.tracked::<Autodiff<B>>();
        let (queries, keys) = (Projector::new(&tracked), Projector::new(&target));
        let (tau, mut statistics) = (self.settings.contrast_temperature, Vec::new());
        let (mut con, mut rc): (Option<Tensor<Autodiff<B>, 1>>, _) = (None, None);
        for (number, (branch, target)) in branches.iter().zip(targets).enumerate() {
            if number >= contrasted.len() {
                rc = Some(nt_xent(branch.clone(), Tensor::from_inner(target), 0, step.temperature));
                continue;
            }
            let key = Tensor::from_inner(keys.forward(target, NormMode::Batch).0);
            let (query, of_view) = queries.forward(branch.clone(), NormMode::Batch);
            statistics.push(of_view.into_iter().map(NormStatistics::inner).collect());
            let term = nt_xent(query, key, 0, tau);
            con = Some(con.map_or(term.clone(), |first| first + term));
        }
        let weighted = [
            ("contrast", con, self.settings.contrast_weight),
            ("consistency", rc, self.settings.consistency_weight),
        ];
        let weighted: Vec<_> = weighted
            .into_iter()
            .filter_map(|(name, term, weight)| Some((name, term?, weight)))
            .collect();
        let values = Tensor::cat(weighted.iter().map(|(_, term, _)| term.clone().inner()).collect(), 0);
        let terms: Vec<(&str, f64)> = weighted.iter().map(|&(name, _, weight)| (name, weight)).collect();
        let total = weighted.into_iter().map(|(_, term, weight)| term.mul_scalar(weight)).reduce(|a, b| a + b);
        let mut gradients = total.expect("a validated stage 1 has a term").backward();
        let upstream: Vec<_> = branches.into_iter().map(|z| z.grad_remove(&mut gradients)).collect();
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
        self.pending.0 = statistics;
        // Read last, when all work is on its way.
        let values = to_vec(values.into_data()).into_iter().map(f64::from);
        let loss = terms.iter().zip(values.clone()).map(|((_, weight), value)| weight * value).sum();
        [("loss", loss)]
            .into_iter()
            .chain(terms.iter().map(|&(name, _)| name).zip(values))
            .collect()
    }
}

impl<B: Engine> Objective<B> for Pretrain<B> {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &Progress, gradient: &mut B::Flat) -> Result<Terms, DataError> {
        let step = self.prefetch.take(progress)?;
        self.pending.1 = self.settings.target_decay.at(progress.images, progress.total);
        Ok(self.gradient_on(params, &step, progress.micro_batch, gradient))
    }

    fn accept(&mut self, params: &B::Flat) {
        for view in std::mem::take(&mut self.pending.0) {
            if let Ok(norms) = <[_; 2]>::try_from(view) {
                self.running.update(&norms.map(NormStatistics::read));
            }
        }
        self.target.approach(params, 1.0 - self.pending.1 as f32);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_slows_down() {
        let decay = TargetDecay { start: 0.99, end: 0.9999 };
        assert_eq!(decay.at(0, 100), 0.99);
        // 2 sigmoid(10) - 1 of the way.
        assert!((decay.at(100, 100) - (0.99 + 0.0099 * 0.999_909_204_262_595)).abs() < 1e-12);
        let half = decay.at(50, 100);
        assert!(half > 0.9997 && half < decay.at(100, 100), "{half}");
        assert_eq!(decay.at(200, 100), decay.at(100, 100));
        assert_eq!(TargetDecay::constant(0.996).at(7, 10), 0.996);
    }
}
