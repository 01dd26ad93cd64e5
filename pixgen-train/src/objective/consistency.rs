//! Stage 2b: consistency training, from scratch or from a pre-trained encoder (docs/method.md section 5).

use super::auxiliary::{FrozenEncoder, FrozenFeature, auxiliary_loss};
use super::pieces;
use super::pretrain::noised;
use super::source::{Batch, Source};
use super::{Objective, Progress, Terms};
use crate::model::batch::upload;
use crate::model::weights::to_vec;
use crate::model::{Condition, DropoutMasks, ParamSet, Weights, forward};
use crate::ops::Ops as Fused;
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, OutputFactors, PairMap, Parametrisation};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The weight of a pair (t, r), both shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1/(t - r), and 0 where t = r: the paper.
    InverseGap,
    /// 1/sqrt((t - r)^2 + 0.25): never large (section 7).
    Smooth,
}

impl Weighting {
    /// The weight.
    pub fn at(self, t: f64, r: f64) -> f64 {
        match self {
            Self::InverseGap if t > r => 1.0 / (t - r),
            Self::InverseGap => 0.0,
            Self::Smooth => 1.0 / ((t - r) * (t - r) + 0.25).sqrt(),
        }
    }
}

/// Settings of stage 2b.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// How F becomes a picture.
    pub parametrisation: Parametrisation,
    /// Weight of a pair.
    pub weighting: Weighting,
    /// Below this shifted level the target is x0 itself; 0 switches it off. Needed by `plain-x`.
    pub anchor: f64,
    /// ln t ~ N(p_mean, p_std^2), unshifted.
    pub p_mean: f64,
    /// See `p_mean`.
    pub p_std: f64,
    /// The map t -> r.
    pub pair: PairMap,
    /// Number of equal parts of the run; part a = 1, 2, .. brings r closer to t.
    pub stages: u32,
    /// c of the pseudo-Huber loss.
    pub huber: f64,
    /// Dropout on the decoder's attention projection.
    pub dropout: f64,
    /// Weight of the auxiliary loss through the frozen encoder; 0 switches it off.
    pub auxiliary: f64,
    /// Its temperature.
    pub auxiliary_temperature: f64,
    /// What it compares.
    pub auxiliary_feature: FrozenFeature,
}

impl ConsistencyConfig {
    /// The stage a, from 1, at `images` of `total`.
    pub fn stage(&self, images: u64, total: u64) -> u32 {
        let stages = u64::from(self.stages.max(1));
        (1 + images * stages / total.max(1)).min(stages) as u32
    }

    /// The levels of each picture of the next step (section 5).
    pub fn pairs(&self, noise: &NoiseConfig, progress: &Progress) -> Vec<Pair> {
        let stage = self.stage(progress.images, progress.total);
        let pair = |picture: u64| {
            let z = Draws::new(Rng::new(progress.seed, stream(Purpose::NoiseLevel, picture)), 0).gaussian();
            let level = (self.p_mean + self.p_std * f64::from(z)).exp().clamp(noise.sigma_min, noise.sigma_max);
            let below = self.pair.r(noise, level, stage);
            Pair { t: noise.shift * level, r: noise.shift * below, r_at_floor: below <= noise.sigma_min }
        };
        (progress.images..).take(progress.batch).map(pair).collect()
    }

    /// Whether the target of a picture is what the current weights draw from x_r, and not x0 itself.
    pub fn needs_teacher(&self, pair: &Pair) -> bool {
        !pair.r_at_floor && pair.t >= self.anchor
    }
}

/// The two levels of a picture, shifted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Of the trained pass.
    pub t: f64,
    /// Of the target, at most t.
    pub r: f64,
    /// Whether r is the lowest level.
    pub r_at_floor: bool,
}

/// What a step trains on: pictures, noise, classes and the pair of levels of each picture (shifted).
#[derive(Clone, Debug)]
pub struct ConsistencyBatch {
    /// Pictures in patch layout.
    pub x0: Vec<f32>,
    /// Noise, the same for both levels.
    pub eps: Vec<f32>,
    /// Classes.
    pub classes: Vec<usize>,
    /// Shifted levels t.
    pub t: Vec<f64>,
    /// Shifted levels r <= t.
    pub r: Vec<f64>,
    /// Where r is the lowest level, so that x0 itself is the target.
    pub r_at_floor: Vec<bool>,
}

/// The objective of stage 2b.
#[derive(Debug)]
pub struct Consistency<B: Fused> {
    config: ModelConfig,
    noise: NoiseConfig,
    settings: ConsistencyConfig,
    source: Source,
    frozen: Option<FrozenEncoder>,
    device: B::Device,
    set: ParamSet,
}

impl<B: Fused> Consistency<B> {
    /// Stage 2b on `source`; `frozen` is W and must be given for a positive auxiliary weight.
    pub fn new(
        config: ModelConfig,
        noise: NoiseConfig,
        settings: ConsistencyConfig,
        source: Source,
        frozen: Option<FrozenEncoder>,
        device: B::Device,
    ) -> Self {
        let set = ParamSet::generator(&config);
        let frozen = frozen.filter(|_| settings.auxiliary > 0.0);
        Self { config, noise, settings, source, frozen, device, set }
    }

    /// The next step's batch (section 5).
    pub fn sample(&self, progress: &Progress) -> ConsistencyBatch {
        let Progress { seed, images, batch, .. } = *progress;
        let Batch { x0, classes } = self.source.batch(&self.config, seed, images, batch);
        let eps = Source::noise(&self.config, seed, images, batch);
        let pairs = self.settings.pairs(&self.noise, progress);
        let (t, r) = pairs.iter().map(|pair| (pair.t, pair.r)).unzip();
        let r_at_floor = pairs.iter().map(|pair| pair.r_at_floor).collect();
        ConsistencyBatch { x0, eps, classes, t, r, r_at_floor }
    }

    /// Inverted dropout masks of pictures `first..first + count`, a function of (seed, images seen): teacher and student share them.
    fn masks<T: Fused>(&self, seed: u64, first: u64, pictures: &[usize], device: &T::Device) -> Option<DropoutMasks<T>> {
        let rate = self.settings.dropout;
        if rate <= 0.0 {
            return None;
        }
        let (tokens, width) = (self.config.tokens(), self.config.decoder.width);
        let len = tokens * width;
        let keep = (1.0 / (1.0 - rate)) as f32;
        let threshold = (rate * 4_294_967_296.0) as u32;
        let blocks = (0..self.config.decoder.depth as u64)
            .map(|block| {
                let mut mask = vec![0.0; pictures.len() * len];
                mask.par_chunks_exact_mut(len).zip(pictures).for_each(|(mask, &picture)| {
                    let rng = Rng::new(seed, stream(Purpose::Dropout, first + picture as u64));
                    let start = block * (len as u64).next_multiple_of(4);
                    for (quad, words) in mask.chunks_mut(4).zip(start / 4..) {
                        for (value, word) in quad.iter_mut().zip(rng.words(words)) {
                            *value = if word >= threshold { keep } else { 0.0 };
                        }
                    }
                });
                upload(mask, [pictures.len(), tokens, width], device)
            })
            .collect();
        Some(DropoutMasks { blocks })
    }

    /// F(c_in x, t) for some pictures.
    fn network<T: Fused>(
        &self,
        weights: &Weights<'_, T>,
        x: &[f32],
        t: &[f64],
        classes: &[usize],
        masks: Option<&DropoutMasks<T>>,
        device: &T::Device,
    ) -> Tensor<T, 3> {
        let len = self.config.image_len();
        let mut scaled = x.to_vec();
        for (picture, &t) in scaled.chunks_exact_mut(len).zip(t) {
            let c_in = self.noise.c_in(t) as f32;
            picture.iter_mut().for_each(|v| *v *= c_in);
        }
        let image = upload(scaled, [t.len(), self.config.patches(), self.config.patch_len()], device);
        let condition = Condition::new(t, Some(classes), self.config.encoder.width, device);
        forward(&self.config, weights, &image, &condition, masks)
    }

    /// The targets of some pictures: x0 where r is at the floor or t below the anchor, else sg[f(x_r, r)] of the current weights.
    ///
    /// Pictures whose target is x0 do not go through the teacher; that is exact, not an approximation.
    fn targets(&self, weights: &Weights<'_, B>, batch: &ConsistencyBatch, range: &Range<usize>, progress: &Progress) -> Vec<f32> {
        let len = self.config.image_len();
        let mut targets = batch.x0[range.start * len..range.end * len].to_vec();
        let taught: Vec<usize> = range
            .clone()
            .filter(|&i| {
                self.settings
                    .needs_teacher(&Pair { t: batch.t[i], r: batch.r[i], r_at_floor: batch.r_at_floor[i] })
            })
            .collect();
        if taught.is_empty() {
            return targets;
        }
        let x = noised_pictures(batch, len, taught.iter().map(|&i| (i, batch.r[i])));
        let r: Vec<f64> = taught.iter().map(|&i| batch.r[i]).collect();
        let classes: Vec<usize> = taught.iter().map(|&i| batch.classes[i]).collect();
        let masks = self.masks::<B>(progress.seed, progress.images, &taught, &self.device);
        let f = to_vec(self.network(weights, &x, &r, &classes, masks.as_ref(), &self.device).into_data());
        for (at, &i) in taught.iter().enumerate() {
            let factors = self.noise.output_factors(self.settings.parametrisation, r[at]);
            let (skip, out) = (factors.skip as f32, factors.out as f32);
            let target = &mut targets[(i - range.start) * len..][..len];
            for (target, (x, f)) in target.iter_mut().zip(x[at * len..].iter().zip(&f[at * len..])) {
                *target = skip * x + out * f;
            }
        }
        targets
    }

    /// The loss and its gradient on a given batch, added to `gradient`.
    pub fn gradient_on(&self, params: &[f32], batch: &ConsistencyBatch, progress: &Progress, gradient: &mut [f32]) -> Terms {
        let weights = Weights::<B>::frozen(&self.set, params, &self.device);
        let frozen = self.frozen.as_ref().map(|frozen| {
            let (weights, feature) = (frozen.upload::<B>(&self.device), self.settings.auxiliary_feature);
            let keys = frozen.targets(&self.config, &self.noise, &weights, feature, &batch.x0, progress.micro_batch, &self.device);
            Frozen { encoder: frozen, weights, keys }
        });
        let ranges = pieces::ranges::<B>(batch.t.len(), progress.micro_batch, self.config.tokens());
        let parts = pieces::accumulate::<B, _, _>(ranges, gradient, |range, gradient| {
            self.piece(&weights, batch, frozen.as_ref(), range, progress, gradient)
        });
        let (mut consistency, mut auxiliary) = (0.0, 0.0);
        for (main, aux) in parts {
            consistency += main;
            auxiliary += aux;
        }
        let loss = consistency + self.settings.auxiliary * auxiliary;
        match self.frozen {
            Some(_) => vec![("loss", loss), ("consistency", consistency), ("auxiliary", auxiliary)],
            None => vec![("loss", loss), ("consistency", consistency)],
        }
    }

    /// One piece of the batch: its part of both terms, as shares of the whole batch's mean, and of the gradient.
    fn piece(
        &self,
        weights: &Weights<'_, B>,
        batch: &ConsistencyBatch,
        frozen: Option<&Frozen<'_, B>>,
        range: Range<usize>,
        progress: &Progress,
        gradient: &mut [f32],
    ) -> (f64, f64) {
        let (len, count) = (self.config.image_len(), batch.t.len());
        let device = &self.device;
        let targets = self.targets(weights, batch, &range, progress);
        let t = &batch.t[range.clone()];
        let x = noised_pictures(batch, len, range.clone().zip(t.iter().copied()));
        let weights = weights.tracked::<Autodiff<B>>();
        let pictures: Vec<usize> = range.clone().collect();
        let masks = self.masks::<Autodiff<B>>(progress.seed, progress.images, &pictures, device);
        let f = self.network(&weights, &x, t, &batch.classes[range.clone()], masks.as_ref(), device);
        let shape = f.dims();
        let factors: Vec<OutputFactors> = t.iter().map(|&t| self.noise.output_factors(self.settings.parametrisation, t)).collect();

        // u = |skip x + out F - target|^2 per picture; l = u / sqrt(sg[u] + c^2), times the weight of the pair, over the batch. Its
        // gradient with respect to F is known at once, so one pass over the values does what a dozen tensors would do.
        let mut slope = to_vec(f.clone().inner().into_data());
        let c2 = self.settings.huber * self.settings.huber;
        let mut main = 0.0;
        let values = slope.chunks_exact_mut(len).zip(x.chunks_exact(len).zip(targets.chunks_exact(len)));
        for (((slope, (x, target)), factors), i) in values.zip(&factors).zip(range.clone()) {
            let (skip, out) = (factors.skip as f32, factors.out as f32);
            let mut u = 0.0f64;
            for (slope, (x, target)) in slope.iter_mut().zip(x.iter().zip(target)) {
                *slope = out.mul_add(*slope, skip.mul_add(*x, -target));
                u += f64::from(*slope * *slope);
            }
            let scale = self.settings.weighting.at(batch.t[i], batch.r[i]) / ((u + c2).sqrt() * count as f64);
            main += scale * u;
            let scale = (2.0 * scale) as f32 * out;
            slope.iter_mut().for_each(|slope| *slope *= scale);
        }
        let linearised = (f.clone() * upload(slope, shape, device)).sum();

        let (total, auxiliary) = match frozen {
            Some(Frozen { encoder, weights, keys }) => {
                let spread = |of: fn(&OutputFactors) -> f64| {
                    let values = factors.iter().flat_map(|factors| std::iter::repeat_n(of(factors) as f32, len));
                    upload::<Autodiff<B>>(values.collect(), shape, device)
                };
                let pictures = f * spread(|factors| factors.out) + upload(x, shape, device) * spread(|factors| factors.skip);
                let seen = encoder.features(&self.config, &self.noise, &weights.constant(), pictures, self.settings.auxiliary_feature);
                let keys = Tensor::from_inner(keys.clone());
                let share = range.len() as f64 / count as f64;
                let loss = auxiliary_loss(seen, keys, range.start, self.settings.auxiliary_temperature).mul_scalar(share);
                let value = to_vec(loss.clone().inner().into_data()).first().copied().map_or(f64::NAN, f64::from);
                (linearised + loss.mul_scalar(self.settings.auxiliary), value)
            }
            None => (linearised, 0.0),
        };
        let mut gradients = total.backward();
        weights.add_gradients(&mut gradients, gradient);
        (main, auxiliary)
    }
}

/// W during a step.
struct Frozen<'a, B: Fused> {
    encoder: &'a FrozenEncoder,
    weights: Weights<'a, B>,
    /// W(x0, t_0) of the whole batch.
    keys: Tensor<B, 2>,
}

/// x0 + level eps of the given pictures of a batch.
fn noised_pictures(batch: &ConsistencyBatch, len: usize, pictures: impl Iterator<Item = (usize, f64)>) -> Vec<f32> {
    let mut x = Vec::new();
    for (i, level) in pictures {
        x.extend(noised(&batch.x0[i * len..][..len], &batch.eps[i * len..][..len], level));
    }
    x
}

impl<B: Fused> Objective for Consistency<B> {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, params: &[f32], progress: &Progress, gradient: &mut [f32]) -> Terms {
        let batch = self.sample(progress);
        self.gradient_on(params, &batch, progress, gradient)
    }
}
