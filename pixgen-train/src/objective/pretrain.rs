//! Stage 1: contrastive and representation-consistency losses (docs/reference/method.md section 3).
//!
//! The [`PretrainMethod`]s of the paper's comparison differ in nothing but settings: which terms there are, their temperatures, and how the
//! target network follows.

use super::frame::{Context, Frame, StageSettings};
use super::micro_batches;
use super::prefetch::Pictures;
use super::source::BatchSource;
use super::{Compute, LevelLoss, NamedValues, Objective, StepError, StepLoss, Terms, TrainingProgress, values};
use crate::model::{BurnWeights, Condition, GradientOf, NormMode, NormStatistics, Pass, Projector, features};
use crate::ops::{FusedOps, nt_xent, weighted_sum};
use crate::training::{Engine, Flat};
use burn_autodiff::Autodiff;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, Temperature};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::DataError;
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::{ProjectorConfig, RunningStatistics};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A way to pre-train; it chooses the defaults of the other settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PretrainMethod {
    /// Both terms, the paper's temperatures, a target of constant decay (section 3.1).
    Epg,
    /// rRCM: both terms, contrast in one direction, temperature 0.2, a target that slows down (section 3.5).
    Rrcm,
    /// MoCo v3's contrastive term alone, on pictures that carry the lowest noise level.
    Moco,
}

/// EMA decay of the target network over a run (section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetDecay {
    /// Decay per step at the start.
    pub start: f64,
    /// Decay per step at the end; the same as `start` for a constant decay.
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
    /// The method, which chooses the defaults of the other settings.
    pub method: PretrainMethod,
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
pub struct PretrainBatch<B: FusedOps> {
    /// y1, y2 and x0.
    pub pictures: [Pictures<B>; 3],
    /// The noise of all inputs.
    pub eps: Pictures<B>,
    /// Shifted levels of the inputs: t_0, t_0, t_n, t_{n-1}.
    pub levels: [f64; 4],
    /// Temperature of L_rc at this step.
    pub temperature: f64,
}

impl<B: FusedOps> StageSettings<B> for PretrainConfig {
    type Batch = PretrainBatch<B>;

    /// One index i ~ Uniform{0..N-2} for the whole batch (section 3.2).
    fn sample(&self, context: &Context<B>, source: &BatchSource, progress: &TrainingProgress) -> Result<PretrainBatch<B>, DataError> {
        let Context { model, noise, device } = context;
        let TrainingProgress { seed, images, total, .. } = *progress;
        let (first, count) = (progress.first(), progress.count());
        let levels = self.levels.levels(images, total).max(2);
        let mut draws = Draws::new(Rng::new(seed, stream(Purpose::NoiseLevel, images)), 0);
        let i = draws.below(levels as u32 - 1) as usize;
        let sigma = noise.grid(levels, i);
        let shifted = |sigma: f64| noise.shift * sigma;
        let (t0, t_n, t_below) = (noise.t_min(), shifted(sigma), shifted(noise.grid(levels, i + 1)));
        let pictures = |values| Pictures::new(model, values, device);
        Ok(PretrainBatch {
            pictures: source.views(model, seed, first, count)?.map(pictures),
            eps: pictures(BatchSource::noise(model, seed, first, count)),
            levels: [t0, t0, t_n, t_below],
            temperature: self.temperature.at(noise, sigma, images, total),
        })
    }
}

/// A micro_batch of a step's batch on the device.
struct MicroBatch<B: Engine> {
    /// y1, y2 and x0, `[pictures, N_p, p*p*C]`.
    pictures: [Tensor<B, 3>; 3],
    eps: Tensor<B, 3>,
}

/// The objective of stage 1.
#[derive(Debug)]
pub struct Pretrain<B: Engine> {
    frame: Frame<B, PretrainConfig>,
    /// th-, the EMA of the parameters.
    target: B::Flat,
    running: RunningStatistics,
    /// Statistics of the contrasted views of the step that is not yet accepted, and the decay of th- after it.
    pending: (Vec<Vec<NormStatistics<B>>>, f64),
}

impl<B: Engine> Pretrain<B> {
    /// Stage 1 on `source`, in `f32` and without recomputation, whose target network starts as a copy of `params`.
    pub fn new(
        model: ModelConfig,
        noise: NoiseConfig,
        settings: PretrainConfig,
        source: BatchSource,
        params: &[f32],
        device: B::Device,
    ) -> Self {
        let set = ParamSet::pretraining(&model, &settings.projector);
        Self {
            target: B::Flat::upload(&set, params, &device),
            running: RunningStatistics::new(&settings.projector),
            pending: (Vec::new(), settings.target_decay.start),
            frame: Frame::new(Context { model, noise, device }, settings, source, set),
        }
    }

    /// The same computed in another way.
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.frame.compute = compute;
        self
    }

    /// Running statistics of the projector's norms.
    pub fn running(&self) -> &RunningStatistics {
        &self.running
    }

    /// Replaces th-, which otherwise starts as a copy of the parameters.
    pub fn set_target(&mut self, target: &[f32]) {
        self.target = B::Flat::upload(&self.frame.set, target, &self.frame.context.device);
    }

    /// The next step's batch (section 3.2).
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn sample(&self, progress: &TrainingProgress) -> Result<PretrainBatch<B>, DataError> {
        self.frame.sample(progress)
    }

    fn micro_batch(&self, step: &PretrainBatch<B>, range: &Range<usize>) -> MicroBatch<B> {
        let micro_batch = |pictures: &Pictures<B>| pictures.range(range, &self.frame.context.device);
        MicroBatch { pictures: step.pictures.each_ref().map(micro_batch), eps: micro_batch(&step.eps) }
    }

    /// What the network reads of input `number` of a micro_batch, c_in (x + t eps), and its condition.
    fn input(&self, micro_batch: &MicroBatch<B>, levels: &[f64; 4], number: usize) -> (Tensor<B, 3>, Condition<B>) {
        let Context { model, noise, device } = &self.frame.context;
        let (x, t) = (&micro_batch.pictures[number.min(2)], levels[number]);
        let (c_in, pictures) = (noise.c_in(t), x.dims()[0]);
        let image = weighted_sum(x.clone(), micro_batch.eps.clone(), vec![c_in; pictures], vec![t * c_in; pictures]);
        (image, Condition::new(&vec![t; pictures], None, model.encoder.width, device))
    }

    /// LN(CLS) of a micro_batch under `weights`, `[pictures, d]`, without gradient.
    fn features_of(&self, weights: &BurnWeights<'_, B>, micro_batch: &MicroBatch<B>, levels: &[f64; 4], number: usize) -> Tensor<B, 2> {
        let (image, condition) = self.input(micro_batch, levels, number);
        features(&self.frame.context.model, weights, &image, &condition)
    }

    /// The branch `number` of a micro_batch, with gradient.
    fn branch<'a>(
        &'a self,
        online: &'a BurnWeights<'a, B>,
        micro_batch: &MicroBatch<B>,
        levels: &[f64; 4],
        number: usize,
    ) -> Pass<'a, B, 2> {
        let Frame { context, compute, .. } = &self.frame;
        let (image, condition) = self.input(micro_batch, levels, number);
        Pass::features(compute.recompute, &context.model, online, image, condition, GradientOf::Weights)
    }

    /// The loss and its gradient on given inputs, added to `gradient`.
    ///
    /// The contrastive terms need the whole batch, the encoder works in micro-batches: features of all of them, then the losses and their
    /// gradients with respect to features (and projector) on the whole batch, then the encoder backwards, one after another. A batch
    /// that is to take less memory (`micro` below its size) keeps no graph in between and runs the encoder again instead.
    ///
    /// With several ranks the features of all are gathered in between, and each computes the losses of the whole batch.
    pub fn gradient_on(&mut self, params: &B::Flat, step: &PretrainBatch<B>, micro: usize, gradient: &mut B::Flat) -> Terms {
        let this = &*self;
        let batch = step.eps.count();
        let (keep, ranges) = (micro >= batch, this.frame.ranges(batch, micro));
        let online = this.frame.weights(&this.frame.set, params);
        let target = this.frame.weights(&this.frame.set, &this.target);
        let numbers = this.frame.settings.branches();

        // Branches with gradient; targets of th- on the other view of each contrasted one, and of the online network on the less noisy picture.
        let mut targets_of: Vec<(&BurnWeights<'_, B>, usize)> =
            this.frame.settings.contrasted().iter().map(|view| (&target, 1 - view)).collect();
        targets_of.extend((this.frame.settings.consistency_weight > 0.0).then_some((&online, CLEANER)));
        let done = micro_batches::map::<B, _, _>(ranges.clone(), |range| {
            let micro_batch = this.micro_batch(step, &range);
            let feature = |weights, number| this.features_of(weights, &micro_batch, &step.levels, number);
            let branch = |number| this.branch(&online, &micro_batch, &step.levels, number);
            let branches = numbers
                .iter()
                .map(|&number| Pass::kept_if(keep, || branch(number), || feature(&online, number)));
            let (passes, branches): (Vec<_>, Vec<_>) = branches.unzip();
            let targets: Vec<_> = targets_of.iter().map(|&(weights, number)| feature(weights, number)).collect();
            (passes, branches, targets)
        });
        let mut passes = Vec::with_capacity(done.len());
        let (mut branches, mut targets) = (vec![Vec::new(); targets_of.len()], vec![Vec::new(); targets_of.len()]);
        for (kept, micro_batch, micro_batch_targets) in done {
            passes.push(kept);
            branches
                .iter_mut()
                .zip(micro_batch)
                .for_each(|(whole, micro_batch)| whole.push(micro_batch));
            targets
                .iter_mut()
                .zip(micro_batch_targets)
                .for_each(|(whole, micro_batch)| whole.push(micro_batch));
        }
        let [branches, targets] =
            [branches, targets].map(|all| all.into_iter().map(|parts| this.frame.gathered(Tensor::cat(parts, 0))).collect());

        let Losses { terms, upstream, statistics } = this.losses(&online, &target, branches, targets, step.temperature, gradient);
        let items = ranges.into_iter().zip(passes).collect();
        this.frame.accumulate(items, gradient, |(range, passes), gradient| {
            let again = || {
                let micro_batch = this.micro_batch(step, &range);
                let branch = |&number| this.branch(&online, &micro_batch, &step.levels, number);
                numbers.iter().map(branch).collect()
            };
            let passes: Vec<_> = passes.into_iter().collect::<Option<_>>().unwrap_or_else(again);
            for (pass, upstream) in passes.into_iter().zip(&upstream) {
                // None if the loss does not depend on a branch.
                if let Some(upstream) = upstream {
                    pass.backward(upstream.clone().narrow(0, range.start, range.len()), gradient);
                }
            }
        });
        self.pending.0 = statistics;
        let (names, weights, means): (Vec<&str>, Vec<f64>, Vec<_>) = terms;
        let means = values(Tensor::cat(means, 0));
        let loss = weights.iter().zip(&means).map(|(weight, mean)| weight * mean).sum();
        [("loss", loss)].into_iter().chain(names.into_iter().zip(means)).collect()
    }

    /// The losses of the whole batch and their gradients with respect to features and projector (section 3.1), from features `[B, d]` of
    /// theta (`branches`) and their `targets`:
    ///
    /// ```text
    /// L_con = d(P_theta(y1 + t_0 eps), P_theta'(y2 + t_0 eps); tau_con) + d(P_theta(y2 + t_0 eps), P_theta'(y1 + t_0 eps); tau_con)
    /// L_rc  = d(z_theta(x_0 + t_n eps), sg[z_theta(x_0 + t_{n-1} eps)]; tau_rc)
    /// L     = contrast_weight L_con + consistency_weight L_rc
    /// ```
    fn losses(
        &self,
        online: &BurnWeights<'_, B>,
        target: &BurnWeights<'_, B>,
        branches: Vec<Tensor<B, 2>>,
        targets: Vec<Tensor<B, 2>>,
        tau_rc: f64,
        gradient: &mut B::Flat,
    ) -> Losses<B> {
        let settings = &self.frame.settings;
        let branches: Vec<_> = branches
            .into_iter()
            .map(|z| Tensor::<Autodiff<B>, 2>::from_inner(z).require_grad())
            .collect();
        let tracked = online.tracked::<Autodiff<B>>();
        let (queries, keys) = (Projector::new(&tracked), Projector::new(target));
        let (contrasted, mut statistics) = (settings.contrasted().len(), Vec::new());
        let (mut con, mut rc): (Option<Tensor<Autodiff<B>, 1>>, _) = (None, None);
        for (number, (z, target)) in branches.iter().zip(targets).enumerate() {
            if number >= contrasted {
                rc = Some(nt_xent(z.clone(), Tensor::from_inner(target), 0, tau_rc));
                continue;
            }
            let key = Tensor::from_inner(keys.forward(target, NormMode::Batch).0);
            let (query, of_view) = queries.forward(z.clone(), NormMode::Batch);
            statistics.push(of_view.into_iter().map(NormStatistics::inner).collect());
            let term = nt_xent(query, key, 0, settings.contrast_temperature);
            con = Some(con.map_or(term.clone(), |first| first + term));
        }
        let weighted = [
            ("contrast", con, settings.contrast_weight),
            ("consistency", rc, settings.consistency_weight),
        ];
        let weighted: Vec<_> = weighted
            .into_iter()
            .filter_map(|(name, term, weight)| Some((name, term?, weight)))
            .collect();
        let mut terms = (Vec::new(), Vec::new(), Vec::new());
        terms.extend(weighted.iter().map(|(name, term, weight)| (*name, *weight, term.clone().inner())));
        let total = weighted.into_iter().map(|(_, term, weight)| term.mul_scalar(weight)).reduce(|a, b| a + b);
        let mut gradients = total.map(|total| total.backward()); // a validated stage 1 has a term
        let upstream = branches
            .into_iter()
            .map(|z| z.grad_remove(gradients.as_mut()?).map(|whole| self.frame.own(whole)))
            .collect();
        // Every rank has the projector's gradient of the whole batch.
        if let Some(gradients) = gradients.as_mut().filter(|_| self.frame.compute.ranks.is_first()) {
            tracked.add_gradients(gradients, gradient);
        }
        Losses { terms, upstream, statistics }
    }
}

/// The losses of a batch.
struct Losses<B: Engine> {
    /// Names, weights and values `[1]` of the terms.
    terms: (Vec<&'static str>, Vec<f64>, Vec<Tensor<B, 1>>),
    /// Gradients of the branches' features of this rank; `None` for one that the loss does not depend on.
    upstream: Vec<Option<Tensor<B, 2>>>,
    /// Statistics of the projector's norms in each contrasted view.
    statistics: Vec<Vec<NormStatistics<B>>>,
}

impl<B: Engine> Objective<B> for Pretrain<B> {
    fn params(&self) -> &ParamSet {
        &self.frame.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &TrainingProgress, gradient: &mut B::Flat) -> Result<StepLoss, StepError> {
        let step = self.frame.next(progress)?;
        self.pending.1 = self.frame.settings.target_decay.at(progress.images, progress.total);
        let terms = self.gradient_on(params, &step, progress.micro_batch, gradient);
        // Only L_rc depends on the level, which the whole batch shares.
        let consistency = terms.iter().find(|(name, _)| *name == "consistency");
        let level = |(_, loss): &(&str, f64)| LevelLoss { t: step.levels[NOISIER], loss: *loss, count: progress.count() as u64 };
        Ok(StepLoss { by_noise: consistency.map(level).into_iter().collect(), terms: self.frame.once(terms) })
    }

    fn accept(&mut self, params: &B::Flat) {
        for view in std::mem::take(&mut self.pending.0) {
            if let Ok(norms) = <[_; 2]>::try_from(view) {
                self.running.update(&norms.map(NormStatistics::read));
            }
        }
        self.target.lerp(params, 1.0 - self.pending.1 as f32);
    }

    fn state(&self) -> NamedValues {
        let mut state: NamedValues = vec![("target".to_owned(), self.target.host().into_owned())];
        state.extend(self.running.named().map(|(name, values)| (name, values.to_vec())));
        state
    }

    fn restore(&mut self, state: &mut dyn FnMut(&str) -> Option<Vec<f32>>) -> Result<(), String> {
        let mut take = |name: String, len: usize| state(&name).filter(|values| values.len() == len).ok_or(name);
        let target = take("target".to_owned(), self.frame.set.len())?;
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
