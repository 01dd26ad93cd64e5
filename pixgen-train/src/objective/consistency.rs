//! Stage 2b: consistency training, from scratch or from a pre-trained encoder (docs/reference/method.md section 5).

use super::auxiliary::{FrozenEncoder, FrozenFeature, auxiliary_loss};
use super::pieces;
use super::prefetch::{Pictures, Prefetch};
use super::source::{Batch, Source};
use super::{Compute, Objective, Progress, Terms};
use crate::model::weights::to_vec;
use crate::model::{Condition, ParamSet, Pass, Wanted, Weights, forward};
use crate::ops::{Dropout, LossFactors, Ops, blend, consistency_loss};
use crate::training::{Engine, Flat};
use burn_autodiff::Autodiff;
use burn_tensor::{Int, Tensor, TensorData};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, PairMap, Parametrisation};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::DataError;
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
pub struct ConsistencyBatch<B: Ops> {
    /// Pictures.
    pub x0: Pictures<B>,
    /// Noise, the same for both levels.
    pub eps: Pictures<B>,
    /// Classes.
    pub classes: Vec<usize>,
    /// Shifted levels t.
    pub t: Vec<f64>,
    /// Shifted levels r <= t.
    pub r: Vec<f64>,
    /// Where r is the lowest level, so that x0 itself is the target.
    pub r_at_floor: Vec<bool>,
}

/// Makes batches.
#[derive(Debug)]
struct Sampler<B: Ops> {
    config: ModelConfig,
    noise: NoiseConfig,
    settings: ConsistencyConfig,
    source: Source,
    device: B::Device,
}

impl<B: Ops> Sampler<B> {
    fn sample(&self, progress: &Progress) -> Result<ConsistencyBatch<B>, DataError> {
        let Progress { seed, images, batch, .. } = *progress;
        let Batch { x0, classes } = self.source.batch(&self.config, seed, images, batch)?;
        let eps = Source::noise(&self.config, seed, images, batch);
        let pairs = self.settings.pairs(&self.noise, progress);
        let (t, r) = pairs.iter().map(|pair| (pair.t, pair.r)).unzip();
        let r_at_floor = pairs.iter().map(|pair| pair.r_at_floor).collect();
        let [x0, eps] = [x0, eps].map(|values| Pictures::new(&self.config, values, &self.device));
        Ok(ConsistencyBatch { x0, eps, classes, t, r, r_at_floor })
    }
}

/// The objective of stage 2b.
#[derive(Debug)]
pub struct Consistency<B: Engine> {
    config: ModelConfig,
    noise: NoiseConfig,
    settings: ConsistencyConfig,
    prefetch: Prefetch<Result<ConsistencyBatch<B>, DataError>>,
    /// W, and its parameters on the device.
    frozen: Option<(FrozenEncoder, B::Flat)>,
    compute: Compute,
    device: B::Device,
    set: ParamSet,
}

impl<B: Engine> Consistency<B> {
    /// Stage 2b on `source`, in `f32` and without recomputation; `frozen` is W and must be given for a positive auxiliary weight.
    pub fn new(
        config: ModelConfig,
        noise: NoiseConfig,
        settings: ConsistencyConfig,
        source: Source,
        frozen: Option<FrozenEncoder>,
        device: B::Device,
    ) -> Self {
        let set = ParamSet::generator(&config);
        let sampler = Sampler { config, noise, settings, source, device: device.clone() };
        let frozen = frozen.filter(|_| settings.auxiliary > 0.0).map(|frozen| {
            let params = B::Flat::upload(&frozen.set, &frozen.params, &device);
            (frozen, params)
        });
        Self {
            config,
            noise,
            settings,
            prefetch: Prefetch::new::<B>(move |progress| sampler.sample(progress)),
            frozen,
            compute: Compute::default(),
            device,
            set,
        }
    }

    /// The same computed in another way.
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// The next step's batch (section 5).
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn sample(&self, progress: &Progress) -> Result<ConsistencyBatch<B>, DataError> {
        self.prefetch.make(progress)
    }

    /// Dropout of these pictures of a step, the same for teacher and student.
    fn dropout(&self, progress: &Progress, pictures: &[usize]) -> Option<Dropout> {
        let Progress { seed, images, .. } = *progress;
        let streams = pictures.iter().map(|&picture| stream(Purpose::Dropout, images + picture as u64));
        let rate = self.settings.dropout;
        (rate > 0.0).then(|| Dropout { rate, seed, streams: streams.collect(), mask: 0 })
    }

    /// What the network reads: c_in x of noisy pictures x = x0 + t eps, `[B, N_p, p*p*C]`, and their conditions.
    fn input(&self, x0: Tensor<B, 3>, eps: Tensor<B, 3>, t: &[f64], classes: &[usize]) -> (Tensor<B, 3>, Condition<B>) {
        let c_in = |&t: &f64| self.noise.c_in(t);
        let image = blend(x0, eps, t.iter().map(c_in), t.iter().map(|t| t * c_in(t)));
        (image, Condition::new(t, Some(classes), self.config.encoder.width, &self.device))
    }

    /// The targets of some pictures: x0 where r is at the floor or t below the anchor, else sg[f(x_r, r)] of the current weights.
    ///
    /// Pictures whose target is x0 do not go through the teacher; that is exact, not an approximation.
    fn targets(
        &self,
        weights: &Weights<'_, B>,
        batch: &ConsistencyBatch<B>,
        range: &Range<usize>,
        [x0, eps]: [&Tensor<B, 3>; 2],
        progress: &Progress,
    ) -> Tensor<B, 3> {
        let pair = |i: usize| Pair { t: batch.t[i], r: batch.r[i], r_at_floor: batch.r_at_floor[i] };
        let taught: Vec<usize> = range.clone().filter(|&i| self.settings.needs_teacher(&pair(i))).collect();
        if taught.is_empty() {
            return x0.clone();
        }
        let rows = |rows: Vec<i64>| {
            let count = rows.len();
            Tensor::<B, 1, Int>::from_data(TensorData::new(rows, [count]), &self.device)
        };
        let places = rows(taught.iter().map(|i| (i - range.start) as i64).collect());
        let [x0_taught, eps] = [x0, eps].map(|pictures| pictures.clone().select(0, places.clone()));
        let r: Vec<f64> = taught.iter().map(|&i| batch.r[i]).collect();
        let classes: Vec<usize> = taught.iter().map(|&i| batch.classes[i]).collect();
        let dropout = self.dropout(progress, &taught);
        let (image, condition) = self.input(x0_taught.clone(), eps.clone(), &r, &classes);
        let f = forward(&self.config, weights, &image, &condition, dropout.as_ref());
        let factors = r.iter().map(|&r| self.noise.output_factors(self.settings.parametrisation, r));
        let [skip, out]: [Vec<f64>; 2] = [factors.clone().map(|f| f.skip).collect(), factors.map(|f| f.out).collect()];
        let x = blend(x0_taught, eps, vec![1.0; r.len()], r);
        let answers = blend(x, f, skip, out);
        if taught.len() == range.len() {
            return answers;
        }
        // Each picture's row in x0 followed by the answers.
        let mut order: Vec<i64> = (0..range.len() as i64).collect();
        for (answer, i) in taught.iter().enumerate() {
            order[i - range.start] = (range.len() + answer) as i64;
        }
        Tensor::cat(vec![x0.clone(), answers], 0).select(0, rows(order))
    }

    /// The loss and its gradient on a given batch, added to `gradient`.
    pub fn gradient_on(&self, params: &B::Flat, batch: &ConsistencyBatch<B>, progress: &Progress, gradient: &mut B::Flat) -> Terms {
        let weights = Weights::<B>::of(&self.set, params, self.compute.precision, &self.device);
        let frozen = self.frozen.as_ref().map(|(encoder, params)| {
            let weights = Weights::of(&encoder.set, params, self.compute.precision, &self.device);
            let feature = self.settings.auxiliary_feature;
            let keys = encoder.targets(&self.config, &self.noise, &weights, feature, &batch.x0, progress.micro_batch, &self.device);
            Frozen { encoder, weights, keys }
        });
        let ranges = pieces::ranges::<B>(batch.t.len(), progress.micro_batch, self.config.tokens());
        let parts = pieces::accumulate::<B, _, _>(ranges, &self.set, &self.device, gradient, |range, gradient| {
            self.piece(&weights, batch, frozen.as_ref(), range, progress, gradient)
        });
        // Read last, when all work is on its way.
        let sum = |losses: Tensor<B, 1>| to_vec(losses.into_data()).into_iter().map(f64::from).sum::<f64>();
        let (mut consistency, mut auxiliary) = (0.0, 0.0);
        for (main, aux) in parts {
            consistency += sum(main);
            auxiliary += aux.map_or(0.0, sum);
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
        batch: &ConsistencyBatch<B>,
        frozen: Option<&Frozen<'_, B>>,
        range: Range<usize>,
        progress: &Progress,
        gradient: &mut B::Flat,
    ) -> (Tensor<B, 1>, Option<Tensor<B, 1>>) {
        let count = batch.t.len();
        let [x0, eps] = [&batch.x0, &batch.eps].map(|pictures| pictures.piece(&range, &self.device));
        let target = self.targets(weights, batch, &range, [&x0, &eps], progress);
        let (t, r) = (&batch.t[range.clone()], &batch.r[range.clone()]);
        let dropout = self.dropout(progress, &range.clone().collect::<Vec<_>>());
        let (image, condition) = self.input(x0.clone(), eps.clone(), t, &batch.classes[range.clone()]);
        let pass = Pass::forward(self.compute.recompute, &self.config, weights, image, condition, dropout);
        let f = pass.output();

        // The gradient of the loss with respect to F is known at once.
        let outputs = t.iter().map(|&t| self.noise.output_factors(self.settings.parametrisation, t));
        let factors = LossFactors {
            skip: outputs.clone().map(|factors| factors.skip).collect(),
            out: outputs.map(|factors| factors.out).collect(),
            weight: t.iter().zip(r).map(|(&t, &r)| self.settings.weighting.at(t, r) / count as f64).collect(),
        };
        let x = blend(x0, eps, vec![1.0; t.len()], t.iter().copied());
        let (losses, mut slope) = consistency_loss(f.clone(), x.clone(), target, &factors, self.settings.huber);
        let auxiliary = frozen.map(|frozen| {
            let share = range.len() as f64 / count as f64;
            let (loss, gradient) = self.auxiliary(frozen, [x, f], factors, range.start, share);
            if let Some(gradient) = gradient {
                slope = slope.clone() + gradient;
            }
            loss
        });
        pass.backward(slope, gradient);
        (losses, auxiliary)
    }

    /// The auxiliary loss of a piece that begins with picture `first` and is this `share` of the batch, and the gradient of its weighted
    /// value with respect to F; `x` is the noisy picture.
    fn auxiliary(
        &self,
        frozen: &Frozen<'_, B>,
        [x, f]: [Tensor<B, 3>; 2],
        factors: LossFactors<Vec<f64>>,
        first: usize,
        share: f64,
    ) -> (Tensor<B, 1>, Option<Tensor<B, 3>>) {
        let Frozen { encoder, weights, keys } = frozen;
        let f = Tensor::<Autodiff<B>, 3>::from_inner(f).require_grad();
        let pictures = blend(Tensor::from_inner(x), f.clone(), factors.skip, factors.out);
        let image = FrozenEncoder::scaled(&self.noise, pictures);
        let condition = FrozenEncoder::condition(&self.config, &self.noise, image.dims()[0], &self.device);
        let pass = Pass::features(self.compute.recompute, &self.config, weights, image.clone().inner(), condition, Wanted::Image);
        let z = Tensor::<Autodiff<B>, 2>::from_inner(pass.output()).require_grad();
        let seen = encoder.seen(&weights.constant(), z.clone(), self.settings.auxiliary_feature);
        let keys = Tensor::from_inner(keys.clone());
        let loss = auxiliary_loss(seen, keys, first, self.settings.auxiliary_temperature).mul_scalar(share);
        let value = loss.clone().inner();
        let mut gradients = loss.mul_scalar(self.settings.auxiliary).backward();
        let of_image = z.grad_remove(&mut gradients).and_then(|upstream| pass.image_gradient(upstream));
        let of_f = of_image.and_then(|upstream| f.grad_remove(&mut (image * Tensor::from_inner(upstream)).sum().backward()));
        (value, of_f)
    }
}

/// W during a step.
struct Frozen<'a, B: Engine> {
    encoder: &'a FrozenEncoder,
    weights: Weights<'a, B>,
    /// W(x0, t_0) of the whole batch.
    keys: Tensor<B, 2>,
}

impl<B: Engine> Objective<B> for Consistency<B> {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &Progress, gradient: &mut B::Flat) -> Result<Terms, DataError> {
        let batch = self.prefetch.take(progress)?;
        Ok(self.gradient_on(params, &batch, progress, gradient))
    }
}
