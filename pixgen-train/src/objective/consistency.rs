//! Stage 2b: consistency training, from scratch or from a pre-trained encoder (docs/reference/method.md section 5).
//!
//! ```text
//! x_t = x_0 + t eps,  x_r = x_0 + r eps
//! f(x, t) = c_skip(t) x + c_out(t) F(c_in(t) x, c_noise(t))
//! target = x_0 where r is at its floor or t below the anchor, else sg[f(x_r, r)] with the same dropout
//! u = sum over pixels of (f(x_t, t) - target)^2
//! L = mean over images of w(t, r) u / sqrt(sg[u] + c^2)  +  lambda d(W(f(x_t, t)), sg[W(x_0)]; tau)
//! ```
//!
//! `Consistency::loss` computes the first term in this order, `Consistency::auxiliary` the second.

use super::auxiliary::{Frozen, FrozenEncoder, auxiliary_loss};
use super::consistency_config::{ConsistencyConfig, LevelPair};
use super::frame::{Context, Frame, StageSettings};
use super::prefetch::Pictures;
use super::source::{Batch, BatchSource};
use super::{Compute, LevelLoss, Objective, StepError, StepLoss, Terms, TrainingProgress, values};
use crate::model::{BurnWeights, Condition, GradientOf, Pass, forward};
use crate::ops::{Dropout, FusedOps, LossFactors, consistency_loss, weighted_sum};
use crate::training::{Engine, Flat};
use burn_autodiff::Autodiff;
use burn_tensor::{Int, Tensor, TensorData};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::DataError;
use pixgen_edge::param_set::ParamSet;
use std::ops::Range;

/// What a step trains on: pictures, noise, classes and the pair of levels of each picture (shifted).
#[derive(Clone, Debug)]
pub struct ConsistencyBatch<B: FusedOps> {
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

impl<B: FusedOps> StageSettings<B> for ConsistencyConfig {
    type Batch = ConsistencyBatch<B>;

    fn sample(&self, context: &Context<B>, source: &BatchSource, progress: &TrainingProgress) -> Result<ConsistencyBatch<B>, DataError> {
        let (seed, first, count) = (progress.seed, progress.first(), progress.count());
        let Batch { x0, classes } = source.batch(&context.model, seed, first, count)?;
        let eps = BatchSource::noise(&context.model, seed, first, count);
        let pairs = self.pairs(&context.noise, progress);
        let (t, r) = pairs.iter().map(|pair| (pair.t, pair.r)).unzip();
        let r_at_floor = pairs.iter().map(|pair| pair.r_at_floor).collect();
        let [x0, eps] = [x0, eps].map(|values| Pictures::new(&context.model, values, &context.device));
        Ok(ConsistencyBatch { x0, eps, classes, t, r, r_at_floor })
    }
}

/// The objective of stage 2b.
#[derive(Debug)]
pub struct Consistency<B: Engine> {
    frame: Frame<B, ConsistencyConfig>,
    /// W, and its parameters on the device.
    frozen: Option<(FrozenEncoder, B::Flat)>,
}

impl<B: Engine> Consistency<B> {
    /// Stage 2b on `source`, in `f32` and without recomputation; `frozen` is W and must be given for a positive auxiliary weight.
    pub fn new(
        model: ModelConfig,
        noise: NoiseConfig,
        settings: ConsistencyConfig,
        source: BatchSource,
        frozen: Option<FrozenEncoder>,
        device: B::Device,
    ) -> Self {
        let frozen = frozen.filter(|_| settings.auxiliary > 0.0).map(|frozen| {
            let params = B::Flat::upload(&frozen.set, &frozen.params, &device);
            (frozen, params)
        });
        let context = Context { model, noise, device };
        Self { frame: Frame::new(context, settings, source, ParamSet::generator(&model)), frozen }
    }

    /// The same computed in another way.
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.frame.compute = compute;
        self
    }

    /// The next step's batch.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn sample(&self, progress: &TrainingProgress) -> Result<ConsistencyBatch<B>, DataError> {
        self.frame.sample(progress)
    }

    /// The loss and its gradient on a given batch, added to `gradient`.
    pub fn gradient_on(&self, params: &B::Flat, batch: &ConsistencyBatch<B>, progress: &TrainingProgress, gradient: &mut B::Flat) -> Terms {
        self.step_on(params, batch, progress, gradient).terms
    }

    fn step_on(&self, params: &B::Flat, batch: &ConsistencyBatch<B>, progress: &TrainingProgress, gradient: &mut B::Flat) -> StepLoss {
        let Frame { context, settings, set, .. } = &self.frame;
        let weights = self.frame.weights(set, params);
        let frozen = self.frozen.as_ref().map(|(encoder, params)| {
            let weights = self.frame.weights(&encoder.set, params);
            let frozen = Frozen { encoder, context, weights, feature: settings.auxiliary_feature };
            let keys = self.frame.gathered(frozen.targets(&batch.x0, progress.micro_batch));
            (frozen, keys)
        });
        let ranges = self.frame.ranges(batch.t.len(), progress.micro_batch);
        let parts = self
            .frame
            .accumulate(ranges, gradient, |range, gradient| self.loss(&weights, batch, frozen.as_ref(), range, progress, gradient));
        let sum = |losses| values(losses).iter().sum::<f64>();
        let (mut consistency, mut auxiliary, mut losses) = (0.0, 0.0, Vec::new());
        for (main, aux) in parts {
            let main = values(main);
            consistency += main.iter().sum::<f64>();
            auxiliary += aux.map_or(0.0, sum);
            losses.extend(main);
        }
        // Each is a part of the mean.
        let level = |(loss, &t): (&f64, &f64)| LevelLoss { t, loss: loss * progress.batch as f64, count: 1 };
        let by_noise = losses.iter().zip(&batch.t).map(level).collect();
        let loss = consistency + settings.auxiliary * auxiliary;
        let mut terms = vec![("loss", loss), ("consistency", consistency)];
        terms.extend(self.frozen.as_ref().map(|_| ("auxiliary", auxiliary)));
        StepLoss { terms, by_noise }
    }

    /// Both terms of the images `range`, as parts of the batch's mean, and their gradient.
    fn loss(
        &self,
        weights: &BurnWeights<'_, B>,
        batch: &ConsistencyBatch<B>,
        frozen: Option<&(Frozen<'_, B>, Tensor<B, 2>)>,
        range: Range<usize>,
        progress: &TrainingProgress,
        gradient: &mut B::Flat,
    ) -> (Tensor<B, 1>, Option<Tensor<B, 1>>) {
        let Frame { context: Context { model, device, .. }, settings, compute, .. } = &self.frame;
        let [x0, eps] = [&batch.x0, &batch.eps].map(|pictures| pictures.range(&range, device));
        let (t, r) = (&batch.t[range.clone()], &batch.r[range.clone()]);
        let target = self.targets(weights, batch, &range, [&x0, &eps], progress);

        let dropout = self.dropout(progress, range.clone());
        let (image, condition) = self.input(x0.clone(), eps.clone(), t, &batch.classes[range.clone()]);
        let pass = Pass::forward(compute.recompute, model, weights, image, condition, dropout);
        let (x_t, f) = (weighted_sum(x0, eps, vec![1.0; t.len()], t.iter().copied()), pass.output());

        let count = progress.batch as f64;
        let weight = t.iter().zip(r).map(|(&t, &r)| settings.weighting.at(t, r) / count);
        let [skip, out] = self.output_factors(t);
        let factors = LossFactors { skip, out, weight: weight.collect() };
        let (losses, mut slope) = consistency_loss(f.clone(), x_t.clone(), target, &factors, settings.huber);
        let auxiliary = frozen.map(|(frozen, keys)| {
            let share = range.len() as f64 / count;
            let first = progress.part().start + range.start;
            let (loss, gradient) = self.auxiliary(frozen, keys, [x_t, f], factors, first, share);
            if let Some(gradient) = gradient {
                slope = slope.clone() + gradient;
            }
            loss
        });
        pass.backward(slope, gradient);
        (losses, auxiliary)
    }

    /// The targets of some images. Those whose target is x_0 do not go through the network; that is exact, not an approximation.
    fn targets(
        &self,
        weights: &BurnWeights<'_, B>,
        batch: &ConsistencyBatch<B>,
        range: &Range<usize>,
        [x0, eps]: [&Tensor<B, 3>; 2],
        progress: &TrainingProgress,
    ) -> Tensor<B, 3> {
        let Context { model, device, .. } = &self.frame.context;
        let pair = |i: usize| LevelPair { t: batch.t[i], r: batch.r[i], r_at_floor: batch.r_at_floor[i] };
        let with_teacher: Vec<usize> = range.clone().filter(|&i| self.frame.settings.needs_teacher(&pair(i))).collect();
        if with_teacher.is_empty() {
            return x0.clone();
        }
        let rows = |rows: Vec<i64>| {
            let count = rows.len();
            Tensor::<B, 1, Int>::from_data(TensorData::new(rows, [count]), device)
        };
        let places = rows(with_teacher.iter().map(|i| (i - range.start) as i64).collect());
        let [x0_with_teacher, eps] = [x0, eps].map(|pictures| pictures.clone().select(0, places.clone()));
        let r: Vec<f64> = with_teacher.iter().map(|&i| batch.r[i]).collect();
        let classes: Vec<usize> = with_teacher.iter().map(|&i| batch.classes[i]).collect();

        let dropout = self.dropout(progress, with_teacher.iter().copied());
        let (image, condition) = self.input(x0_with_teacher.clone(), eps.clone(), &r, &classes);
        let f = forward(model, weights, &image, &condition, dropout.as_ref());
        let [skip, out] = self.output_factors(&r);
        let x_r = weighted_sum(x0_with_teacher, eps, vec![1.0; r.len()], r);
        let targets = weighted_sum(x_r, f, skip, out);
        if with_teacher.len() == range.len() {
            return targets;
        }
        // Each image's row in x_0 followed by these targets.
        let mut order: Vec<i64> = (0..range.len() as i64).collect();
        for (target, i) in with_teacher.iter().enumerate() {
            order[i - range.start] = (range.len() + target) as i64;
        }
        Tensor::cat(vec![x0.clone(), targets], 0).select(0, rows(order))
    }

    /// The auxiliary loss of images that begin with number `first` and are this `share` of the batch, and the gradient of its weighted
    /// value with respect to F; `keys` are W(x_0) of the whole batch.
    fn auxiliary(
        &self,
        frozen: &Frozen<'_, B>,
        keys: &Tensor<B, 2>,
        [x_t, f]: [Tensor<B, 3>; 2],
        factors: LossFactors<Vec<f64>>,
        first: usize,
        share: f64,
    ) -> (Tensor<B, 1>, Option<Tensor<B, 3>>) {
        let Frame { context, settings, compute, .. } = &self.frame;
        let f = Tensor::<Autodiff<B>, 3>::from_inner(f).require_grad();
        let pictures = weighted_sum(Tensor::from_inner(x_t), f.clone(), factors.skip, factors.out);
        let (image, condition) = (frozen.scaled(pictures), frozen.condition(f.dims()[0]));
        let pass = Pass::features(compute.recompute, &context.model, &frozen.weights, image.clone().inner(), condition, GradientOf::Image);
        let z = Tensor::<Autodiff<B>, 2>::from_inner(pass.output()).require_grad();
        let queries = frozen.encoder.seen(&frozen.weights.constant(), z.clone(), frozen.feature);
        let keys = Tensor::from_inner(keys.clone());
        let loss = auxiliary_loss(queries, keys, first, settings.auxiliary_temperature).mul_scalar(share);
        let value = loss.clone().inner();
        let mut gradients = loss.mul_scalar(settings.auxiliary).backward();
        let of_image = z.grad_remove(&mut gradients).and_then(|upstream| pass.image_gradient(upstream));
        let of_f = of_image.and_then(|upstream| f.grad_remove(&mut (image * Tensor::from_inner(upstream)).sum().backward()));
        (value, of_f)
    }

    /// What the network reads: c_in(t) x of noisy pictures x = x_0 + t eps, `[b, N_p, p*p*C]`, and their conditions.
    fn input(&self, x0: Tensor<B, 3>, eps: Tensor<B, 3>, t: &[f64], classes: &[usize]) -> (Tensor<B, 3>, Condition<B>) {
        let Context { model, noise, device } = &self.frame.context;
        let c_in = |&t: &f64| noise.c_in(t);
        let image = weighted_sum(x0, eps, t.iter().map(c_in), t.iter().map(|t| t * c_in(t)));
        (image, Condition::new(t, Some(classes), model.encoder.width, device))
    }

    /// c_skip and c_out.
    fn output_factors(&self, t: &[f64]) -> [Vec<f64>; 2] {
        let factors = t
            .iter()
            .map(|&t| self.frame.context.noise.output_factors(self.frame.settings.parametrisation, t));
        [
            factors.clone().map(|factors| factors.skip).collect(),
            factors.map(|factors| factors.out).collect(),
        ]
    }

    /// Dropout of these images of a step, the same for both passes.
    fn dropout(&self, progress: &TrainingProgress, images: impl Iterator<Item = usize>) -> Option<Dropout> {
        let streams = images.map(|image| stream(Purpose::Dropout, progress.first() + image as u64));
        let rate = self.frame.settings.dropout;
        (rate > 0.0).then(|| Dropout { rate, seed: progress.seed, streams: streams.collect(), mask: 0 })
    }
}

impl<B: Engine> Objective<B> for Consistency<B> {
    fn params(&self) -> &ParamSet {
        &self.frame.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &TrainingProgress, gradient: &mut B::Flat) -> Result<StepLoss, StepError> {
        let batch = self.frame.next(progress)?;
        Ok(self.step_on(params, &batch, progress, gradient))
    }
}
