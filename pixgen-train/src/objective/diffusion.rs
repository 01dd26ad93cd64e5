//! Stage 2a: diffusion training, from scratch or from a pre-trained encoder (docs/reference/method.md section 4).

use super::frame::{Context, Frame, StageSettings};
use super::prefetch::Pictures;
use super::source::{Batch, BatchSource};
use super::{Compute, LevelLoss, Objective, StepError, StepLoss, Terms, TrainingProgress, values};
use crate::model::{BurnWeights, Condition, Pass};
use crate::ops::{FusedOps, weighted_sum};
use crate::training::Engine;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::DataError;
use pixgen_edge::param_set::ParamSet;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of stage 2a.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionConfig {
    /// ln sigma ~ N(p_mean, p_std^2), unshifted.
    pub p_mean: f64,
    /// Standard deviation of ln sigma; see `p_mean`.
    pub p_std: f64,
    /// p of the weight sigma^-p, which is divided by its mean; 0 weighs all levels alike.
    pub power: f64,
    /// Share of the pictures whose class is "no class", for classifier-free guidance.
    pub label_drop: f64,
}

impl DiffusionConfig {
    /// The paper's (sections 4 and 6.7).
    pub const PAPER: Self = Self { p_mean: -1.2, p_std: 1.6, power: 6.0 / 7.0, label_drop: 0.1 };
    /// For small pictures (section 7.2): the levels of stage 2b, all alike. The paper's weights let low noise decide, where a small network is
    /// busy learning the identity.
    pub const SMALL: Self = Self { p_mean: -0.4, p_std: 1.6, power: 0.0, label_drop: 0.1 };

    /// The weight of the unshifted level sigma, 1 on average: sigma^-p / E[sigma^-p] (section 6.7).
    pub fn weight(&self, sigma: f64) -> f64 {
        let Self { p_mean, p_std, power, .. } = *self;
        (-power * (sigma.ln() - p_mean) - 0.5 * (power * p_std).powi(2)).exp()
    }

    /// The unshifted level of a picture of the run.
    pub fn level(&self, noise: &NoiseConfig, seed: u64, picture: u64) -> f64 {
        let z = Draws::new(Rng::new(seed, stream(Purpose::NoiseLevel, picture)), 0).gaussian();
        (self.p_mean + self.p_std * f64::from(z)).exp().clamp(noise.sigma_min, noise.sigma_max)
    }

    /// Whether the class of a picture of the run is not told.
    pub fn drops_label(&self, seed: u64, picture: u64) -> bool {
        f64::from(Draws::new(Rng::new(seed, stream(Purpose::LabelDrop, picture)), 0).uniform()) < self.label_drop
    }
}

/// What a step trains on.
#[derive(Clone, Debug)]
pub struct DiffusionBatch<B: FusedOps> {
    /// Pictures.
    pub x0: Pictures<B>,
    /// Noise.
    pub eps: Pictures<B>,
    /// Classes; dropped ones are the row after the last.
    pub classes: Vec<usize>,
    /// Unshifted levels.
    pub sigma: Vec<f64>,
}

impl<B: FusedOps> StageSettings<B> for DiffusionConfig {
    type Batch = DiffusionBatch<B>;

    fn sample(&self, context: &Context<B>, source: &BatchSource, progress: &TrainingProgress) -> Result<DiffusionBatch<B>, DataError> {
        let (seed, first, count) = (progress.seed, progress.first(), progress.count());
        let Batch { x0, mut classes } = source.batch(&context.model, seed, first, count)?;
        for (class, picture) in classes.iter_mut().zip(first..) {
            if self.drops_label(seed, picture) {
                *class = context.model.classes;
            }
        }
        let eps = BatchSource::noise(&context.model, seed, first, count);
        let [x0, eps] = [x0, eps].map(|values| Pictures::new(&context.model, values, &context.device));
        let sigma = (first..).take(count).map(|picture| self.level(&context.noise, seed, picture)).collect();
        Ok(DiffusionBatch { x0, eps, classes, sigma })
    }
}

/// The objective of stage 2a.
#[derive(Debug)]
pub struct Diffusion<B: Engine> {
    frame: Frame<B, DiffusionConfig>,
}

impl<B: Engine> Diffusion<B> {
    /// Stage 2a on `source`, in `f32` and without recomputation.
    pub fn new(model: ModelConfig, noise: NoiseConfig, settings: DiffusionConfig, source: BatchSource, device: B::Device) -> Self {
        let context = Context { model, noise, device };
        Self { frame: Frame::new(context, settings, source, ParamSet::generator(&model)) }
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
    pub fn sample(&self, progress: &TrainingProgress) -> Result<DiffusionBatch<B>, DataError> {
        self.frame.sample(progress)
    }

    /// The loss and its gradient on a given batch, added to `gradient`.
    pub fn gradient_on(&self, params: &B::Flat, batch: &DiffusionBatch<B>, progress: &TrainingProgress, gradient: &mut B::Flat) -> Terms {
        self.step_on(params, batch, progress, gradient).terms
    }

    fn step_on(&self, params: &B::Flat, batch: &DiffusionBatch<B>, progress: &TrainingProgress, gradient: &mut B::Flat) -> StepLoss {
        let weights = self.frame.weights(&self.frame.set, params);
        let ranges = self.frame.ranges(batch.sigma.len(), progress.micro_batch);
        let losses = self
            .frame
            .accumulate(ranges, gradient, |range, gradient| self.loss(&weights, batch, progress.batch, range, gradient));
        let losses: Vec<f64> = losses.into_iter().flat_map(values).collect();
        let shift = self.frame.context.noise.shift;
        // Each is a part of the mean.
        let level = |(loss, sigma): (&f64, &f64)| LevelLoss { t: shift * sigma, loss: loss * progress.batch as f64, count: 1 };
        let by_noise = losses.iter().zip(&batch.sigma).map(level).collect();
        StepLoss { terms: vec![("loss", losses.iter().sum())], by_noise }
    }

    /// The loss of the images `range`, `[b, 1, 1]`, as parts of the mean over `count` images, and its gradient (section 4):
    ///
    /// ```text
    /// t = s sigma,  x = x_0 + t eps,  D(x, t) = F(c_in(t) x, c_noise(t))
    /// L = mean over images and pixels of w(sigma) (D(x, t) - x_0)^2
    /// ```
    fn loss(
        &self,
        weights: &BurnWeights<'_, B>,
        batch: &DiffusionBatch<B>,
        count: usize,
        range: Range<usize>,
        gradient: &mut B::Flat,
    ) -> Tensor<B, 3> {
        let Frame { context: Context { model, noise, device }, settings, compute, .. } = &self.frame;
        let [x0, eps] = [&batch.x0, &batch.eps].map(|pictures| pictures.range(&range, device));
        let sigma = &batch.sigma[range.clone()];
        let t: Vec<f64> = sigma.iter().map(|sigma| noise.shift * sigma).collect();
        let c_in = |&t: &f64| noise.c_in(t);

        let image = weighted_sum(x0.clone(), eps, t.iter().map(c_in), t.iter().map(|t| t * c_in(t)));
        let condition = Condition::new(&t, Some(&batch.classes[range]), model.encoder.width, device);
        let pass = Pass::forward(compute.recompute, model, weights, image, condition, None);
        let d = pass.output();

        // dL/dD = 2 w (D - x_0) / (images pixels), and L is half of its product with D - x_0.
        let share = 2.0 / (count * model.image_len()) as f64;
        let factors: Vec<f64> = sigma.iter().map(|&sigma| share * settings.weight(sigma)).collect();
        let slope = weighted_sum(d.clone(), x0.clone(), factors.iter().copied(), factors.iter().map(|factor| -factor));
        let losses = ((d - x0) * slope.clone()).sum_dim(2).sum_dim(1).mul_scalar(0.5);
        pass.backward(slope, gradient);
        losses
    }
}

impl<B: Engine> Objective<B> for Diffusion<B> {
    fn params(&self) -> &ParamSet {
        &self.frame.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &TrainingProgress, gradient: &mut B::Flat) -> Result<StepLoss, StepError> {
        let batch = self.frame.next(progress)?;
        Ok(self.step_on(params, &batch, progress, gradient))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_source::{MODEL, source};
    use super::*;
    use crate::distributed::Share;
    use crate::model::weights::to_vec;
    use crate::precision::Precision;
    use burn_flex::Flex;

    fn objective() -> Diffusion<Flex> {
        let source = source(vec![0, 1, 2, 0, 1, 2]);
        Diffusion::new(MODEL, NoiseConfig::with_shift(0.5), DiffusionConfig::PAPER, source, Default::default())
    }

    fn progress(batch: usize, micro_batch: usize) -> TrainingProgress {
        TrainingProgress { seed: 4, images: 0, total: 1000, batch, micro_batch, share: Share::default(), together: 1 }
    }

    #[test]
    fn weights_are_one_on_average_and_follow_the_power() {
        let settings = DiffusionConfig::PAPER;
        // The value in docs/reference/method.md section 6.7.
        assert!((settings.weight(1.0) - 1.0 / 7.163).abs() < 1e-4);
        assert!((settings.weight(0.5) / settings.weight(1.0) - 2f64.powf(6.0 / 7.0)).abs() < 1e-12);
        let wide = NoiseConfig { sigma_min: 1e-9, sigma_max: 1e9, ..NoiseConfig::with_shift(1.0) };
        let mean = (0..200_000).map(|i| settings.weight(settings.level(&wide, 1, i))).sum::<f64>() / 2e5;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn labels_are_dropped_at_the_given_rate() {
        let dropped = (0..20_000).filter(|&i| DiffusionConfig::PAPER.drops_label(1, i)).count();
        assert!((1_900..2_100).contains(&dropped), "{dropped}");
        let batch = objective().sample(&progress(400, 400)).expect("pictures");
        let none = batch.classes.iter().filter(|&&class| class == MODEL.classes).count();
        assert!((20..70).contains(&none) && batch.classes.iter().all(|&class| class <= MODEL.classes), "{none}");
    }

    /// The loss by its definition, and its gradient by differences; the same in micro-batches and with recomputation.
    #[test]
    fn loss_and_gradient() {
        let objective = objective();
        let set = ParamSet::generator(&MODEL);
        // A start with no zero matrices, so that every gradient is there.
        let mut params = set.initialise(3);
        let rng = Rng::new(5, 0);
        params
            .iter_mut()
            .enumerate()
            .for_each(|(i, value)| *value += 0.02 * rng.gaussian(i as u64));
        let batch = objective.sample(&progress(5, 5)).expect("pictures");
        let run = |objective: &Diffusion<Flex>, params: &Vec<f32>, micro: usize| {
            let mut gradient = vec![0.0; set.len()];
            let terms = objective.gradient_on(params, &batch, &progress(5, micro), &mut gradient);
            (terms[0].1, gradient)
        };
        let (loss, gradient) = run(&objective, &params, 5);

        let device = Default::default();
        let weights = BurnWeights::<Flex>::of(&set, &params, Precision::F32, &device);
        let noise = NoiseConfig::with_shift(0.5);
        let mut expected = 0.0;
        for i in 0..5 {
            let t = 0.5 * batch.sigma[i];
            let [x0, eps] = [&batch.x0, &batch.eps].map(|pictures| pictures.range(&(i..i + 1), &device));
            let image = (x0.clone() + eps.mul_scalar(t)).mul_scalar(noise.c_in(t));
            let condition = Condition::new(&[t], Some(&batch.classes[i..=i]), MODEL.encoder.width, &device);
            let d = crate::model::forward(&MODEL, &weights, &image, &condition, None) - x0;
            let mean = to_vec((d.clone() * d).mean().into_data())[0];
            expected += DiffusionConfig::PAPER.weight(batch.sigma[i]) * f64::from(mean) / 5.0;
        }
        assert!((loss - expected).abs() < 1e-4 * expected, "{loss} instead of {expected}");

        for at in (0..set.len()).step_by(set.len() / 23) {
            let step = 2e-2;
            let moved = |by: f32| {
                let mut params = params.clone();
                params[at] += by;
                run(&objective, &params, 5).0
            };
            let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            assert!(
                (slope - f64::from(gradient[at])).abs() < 2e-3 + 0.03 * slope.abs(),
                "parameter {at}: {} instead of {slope}",
                gradient[at]
            );
        }
        let recomputed = self::objective().with_compute(Compute { recompute: true, ..Compute::default() });
        for (other, name) in [(run(&objective, &params, 2), "micro"), (run(&recomputed, &params, 5), "recomputed")] {
            assert!((other.0 - loss).abs() < 1e-5 * loss, "{name}");
            let far = gradient.iter().zip(&other.1).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(far < 1e-5, "{name}: {far}");
        }
    }
}
