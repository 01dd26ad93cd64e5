//! Stage 3: distribution matching by drifting, from a one-step generator (docs/reference/method.md section 8).
//!
//! ```text
//! x = f(t_max eps, t_max)                         N pictures of each set, cut to the range of bytes
//! L = sum over kinds j of features  MSE(phi_j(x)/S_j, sg[phi_j(x)/S_j + V_j])
//! dL/dphi_j(x) = -2 V_j / (S_j K N D_j)
//! ```
//!
//! The gradient goes on to f as if it were not cut, except where it would lead a value away that is far beyond the range already.
//!
//! The field V sees all pictures of a set, the network works in micro-batches: it draws all pictures first, then comes the gradient of the
//! loss for pixels in closed form, then the network backwards with that slope.

use super::auxiliary::FrozenEncoder;
use super::drift_config::{ClassLists, DriftConfig};
use super::drift_encoder::EncoderGroups;
use super::drift_groups::{Compared, Field, PixelGroup};
use super::drift_sets::Sets;
use super::frame::{Context, Frame, StageSettings};
use super::micro_batches;
use super::prefetch::Pictures;
use super::source::BatchSource;
use super::{Compute, Objective, StepError, StepLoss, Terms, TrainingProgress, values};
use crate::model::{BurnWeights, Condition, Pass, forward};
use crate::ops::{FusedOps, weighted_sum};
use crate::training::Engine;
use burn_tensor::{Tensor, TensorData};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, OutputFactors};
use pixgen_edge::data::DataError;
use pixgen_edge::param_set::ParamSet;
use std::ops::Range;

/// How far beyond black and white the gradient may drive a value, as a share of the range. With a little, a network need not hit white
/// exactly; what lies farther away would cost int8 resolution.
const BEYOND: f64 = 0.25;

/// What a rank trains on in a step: sets of N latents and P real pictures of one class, set by set.
#[derive(Clone, Debug)]
pub struct DriftBatch<B: FusedOps> {
    /// eps of the generated pictures.
    pub eps: Pictures<B>,
    /// Real pictures.
    pub real: Pictures<B>,
    /// The class of each set.
    pub classes: Vec<usize>,
    /// Which of the step's sets they are.
    pub sets: Sets,
}

/// The settings, and which pictures each class has.
#[derive(Clone, Debug)]
pub struct DriftSettings {
    config: DriftConfig,
    lists: ClassLists,
}

impl<B: FusedOps> StageSettings<B> for DriftSettings {
    type Batch = DriftBatch<B>;

    fn sample(&self, context: &Context<B>, source: &BatchSource, progress: &TrainingProgress) -> Result<DriftBatch<B>, DataError> {
        let DriftConfig { generated, real, .. } = self.config;
        let (seed, images, count) = (progress.seed, progress.first(), progress.count());
        let first = images / generated as u64;
        let sets = (first..).take(count / generated).map(|set| self.lists.set(seed, set, real));
        let (classes, chosen): (Vec<_>, Vec<_>) = sets.unzip();
        let pictures = source.pictures(&context.model, seed, first * real as u64, &chosen.concat())?;
        let eps = BatchSource::noise(&context.model, seed, images, count);
        let [eps, real] = [eps, pictures].map(|values| Pictures::new(&context.model, values, &context.device));
        let sets = Sets { all: progress.batch / generated, share: progress.share };
        Ok(DriftBatch { eps, real, classes, sets })
    }
}

/// The objective of stage 3.
#[derive(Debug)]
pub struct Drift<B: Engine> {
    frame: Frame<B, DriftSettings>,
    groups: Vec<PixelGroup<B>>,
    encoder: Option<EncoderGroups<B>>,
    /// What the bytes 0 and 255 are, by value of a patch, `[1, 1, p*p*C]`.
    bounds: [Tensor<B, 3>; 2],
}

impl<B: Engine> Drift<B> {
    /// Stage 3 on `source`, in `f32` and without recomputation; features of `encoder` are matched too.
    pub fn new(
        model: ModelConfig,
        noise: NoiseConfig,
        settings: DriftConfig,
        source: BatchSource,
        encoder: Option<FrozenEncoder>,
        device: B::Device,
    ) -> Self {
        let groups = PixelGroup::all(&settings, &model, &device);
        let encoder = encoder.map(|encoder| EncoderGroups::new(encoder, &device));
        let settings = DriftSettings { config: settings, lists: ClassLists::new(&source.dataset.labels) };
        let (table, len) = (source.normalisation.table(), model.patch_len());
        let bounds = [0, 255].map(|byte| {
            let values: Vec<f32> = (0..len).map(|at| table[at % model.channels][byte]).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, len]), &device)
        });
        let context = Context { model, noise, device };
        Self {
            frame: Frame::new(context, settings, source, ParamSet::generator(&model)),
            groups,
            encoder,
            bounds,
        }
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
    pub fn sample(&self, progress: &TrainingProgress) -> Result<DriftBatch<B>, DataError> {
        self.frame.sample(progress)
    }

    /// The loss and its gradient on a given batch, added to `gradient`.
    ///
    /// A step whose whole batch may go through the network at once (`micro` at least its size) keeps the graphs until the field is known;
    /// one that is to take less memory draws the pictures again.
    pub fn gradient_on(&self, params: &B::Flat, batch: &DriftBatch<B>, micro: usize, gradient: &mut B::Flat) -> Terms {
        let count = batch.eps.count();
        let (keep, ranges) = (micro >= count, self.frame.ranges(count, micro));
        let weights = self.frame.weights(&self.frame.set, params);
        let done = micro_batches::map::<B, _, _>(ranges.clone(), |range| {
            let (pass, f) = Pass::kept_if(keep, || self.pass(&weights, batch, &range), || self.drawn(&weights, batch, &range));
            (pass, self.pictures(batch, &range, f))
        });
        let (passes, pictures): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        let drawn = Tensor::cat(pictures, 0);
        let shown = self.shown(drawn.clone());
        let (terms, slope) = self.field(batch, &shown, micro);
        let slope = self.bounded(slope, drawn - shown).mul_scalar(self.factors().out);
        let items = ranges.into_iter().zip(passes).collect();
        self.frame
            .accumulate(items, gradient, |(range, kept): (Range<usize>, Option<Pass<'_, B, 3>>), gradient| {
                let pass = kept.unwrap_or_else(|| self.pass(&weights, batch, &range));
                pass.backward(slope.clone().narrow(0, range.start, range.len()), gradient);
            });
        terms
    }

    /// Factors of f(x, t_max) = skip x + out F.
    fn factors(&self) -> OutputFactors {
        let noise = &self.frame.context.noise;
        noise.output_factors(self.frame.settings.config.parametrisation, noise.t_max())
    }

    /// F of some latents, with what its gradient needs.
    fn pass<'a>(&'a self, weights: &'a BurnWeights<'a, B>, batch: &DriftBatch<B>, range: &Range<usize>) -> Pass<'a, B, 3> {
        let Frame { context, compute, .. } = &self.frame;
        let (image, condition) = self.input(batch, range);
        Pass::forward(compute.recompute, &context.model, weights, image, condition, None)
    }

    /// F of some latents, without.
    fn drawn(&self, weights: &BurnWeights<'_, B>, batch: &DriftBatch<B>, range: &Range<usize>) -> Tensor<B, 3> {
        let (image, condition) = self.input(batch, range);
        forward(&self.frame.context.model, weights, &image, &condition, None)
    }

    /// What the network reads of some latents at the highest level, which is where sampling starts, and their condition.
    fn input(&self, batch: &DriftBatch<B>, range: &Range<usize>) -> (Tensor<B, 3>, Condition<B>) {
        let Frame { context: Context { model, noise, device }, settings, .. } = &self.frame;
        let t = noise.t_max();
        let image = batch.eps.range(range, device).mul_scalar(noise.c_in(t) * t);
        let classes: Vec<usize> = range.clone().map(|i| batch.classes[i / settings.config.generated]).collect();
        (image, Condition::new(&vec![t; range.len()], Some(&classes), model.encoder.width, device))
    }

    /// f(t_max eps, t_max) from F.
    fn pictures(&self, batch: &DriftBatch<B>, range: &Range<usize>, f: Tensor<B, 3>) -> Tensor<B, 3> {
        let Context { noise, device, .. } = &self.frame.context;
        let OutputFactors { skip, out } = self.factors();
        if (skip, out) == (0.0, 1.0) {
            return f;
        }
        let count = range.len();
        weighted_sum(batch.eps.range(range, device), f, vec![skip * noise.t_max(); count], vec![out; count])
    }

    /// Generated pictures as they are shown: values beyond those of the bytes 0 and 255 count as these.
    fn shown(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [black, white] = self.bounds.clone();
        x.max_pair(black).min_pair(white)
    }

    /// The gradient for values before they were cut, from that for pictures and what was cut off: the same, but a value that is beyond the
    /// range by more than [`BEYOND`] of it moves only back.
    fn bounded(&self, slope: Tensor<B, 3>, cut: Tensor<B, 3>) -> Tensor<B, 3> {
        let [black, white] = self.bounds.clone();
        let far = (cut.clone().abs() - (white - black).mul_scalar(BEYOND)).greater_elem(0.0);
        let outward = (cut * slope.clone()).lower_elem(0.0);
        slope.mask_fill(far.bool_and(outward), 0.0)
    }

    /// The loss of generated pictures, and its gradient with respect to them. Of other ranks' sets it needs the real pictures that push, and
    /// sums of distances and of squares of the field.
    fn field(&self, batch: &DriftBatch<B>, generated: &Tensor<B, 3>, micro: usize) -> (Terms, Tensor<B, 3>) {
        let Frame { context, settings, compute, .. } = &self.frame;
        let (sets, kernel) = (batch.sets, settings.config.kernel(batch.sets.all, &compute.ranks));
        let mut slope = generated.zeros_like();
        let mut kinds = Vec::new();
        if !self.groups.is_empty() {
            let real = batch.real.range(&(0..batch.real.count()), &context.device);
            let others = sets.others(&self.frame, &real, settings.config.real, &kernel);
            let pictures = Compared { generated: generated.clone(), real, others };
            for group in &self.groups {
                let Field { sizes, slope: of_group } = group.field(&pictures, sets.own(), &kernel);
                slope = slope + of_group;
                kinds.push((group.name, sizes));
            }
        }
        if let Some(encoder) = &self.encoder {
            let (sizes, of_encoder) = encoder.fields(&self.frame, generated, &batch.real, sets, micro, &kernel);
            slope = slope + of_encoder;
            kinds.extend(sizes.into_iter().map(|sizes| ("encoder", sizes)));
        }
        (terms(kinds, compute.ranks.is_first()), slope)
    }
}

/// The loss, its part of each name, and the mean size of the fields, which all ranks know and only the `first` tells.
fn terms<B: Engine>(kinds: Vec<(&'static str, Tensor<B, 1>)>, first: bool) -> Terms {
    let (names, sizes): (Vec<_>, Vec<_>) = kinds.into_iter().unzip();
    let count = sizes.len();
    let all = values(Tensor::cat(sizes, 0));
    let rows = all.chunks_exact(all.len() / count.max(1));
    let mut losses: Terms = vec![("loss", rows.clone().map(|row| row[0]).sum())];
    let mut drift = 0.0;
    for (name, row) in names.into_iter().zip(rows) {
        match losses.iter_mut().find(|(known, _)| *known == name) {
            Some((_, loss)) => *loss += row[0],
            None => losses.push((name, row[0])),
        }
        drift += row[1..].iter().sum::<f64>() / (count * (row.len() - 1)) as f64;
    }
    losses.push(("drift", if first { drift } else { 0.0 }));
    losses
}

impl<B: Engine> Objective<B> for Drift<B> {
    fn params(&self) -> &ParamSet {
        &self.frame.set
    }

    fn gradient(&mut self, params: &B::Flat, progress: &TrainingProgress, gradient: &mut B::Flat) -> Result<StepLoss, StepError> {
        let batch = self.frame.next(progress)?;
        let terms = self.gradient_on(params, &batch, progress.micro_batch, gradient);
        Ok(StepLoss { terms, by_noise: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_source;
    use super::*;
    use crate::distributed::Share;
    use crate::model::weights::to_vec;
    use burn_flex::Flex;
    use pixgen_core::config::Tower;
    use pixgen_core::noise::Parametrisation;
    use pixgen_core::rng::Rng;
    use pixgen_edge::projector::ProjectorConfig;

    const MODEL: ModelConfig = ModelConfig {
        encoder: Tower { depth: 3, width: 16, heads: 2 },
        decoder: Tower { depth: 2, width: 24, heads: 2 },
        ..test_source::MODEL
    };

    const SETTINGS: DriftConfig = DriftConfig {
        parametrisation: Parametrisation::Edm,
        generated: 4,
        real: 3,
        temperatures: [0.1, 0.3, 1.0],
        guidance: 1.2,
        patches: true,
        windows: [4, 0],
        whole: true,
    };

    fn objective(settings: DriftConfig, encoder: bool) -> Drift<Flex> {
        let source = test_source::source((0..12).map(|i| [0, 1, 2, 0][i % 4]).collect());
        let encoder = encoder.then(|| FrozenEncoder::fresh(&MODEL, &ProjectorConfig { hidden: 8, out: 4 }, 3));
        Drift::new(MODEL, NoiseConfig::with_shift(0.5), settings, source, encoder, Default::default())
    }

    fn progress(images: u64, batch: usize, micro_batch: usize) -> TrainingProgress {
        TrainingProgress {
            seed: 4,
            images,
            total: 1000,
            batch,
            micro_batch,
            share: Share::default(),
            together: SETTINGS.generated,
        }
    }

    /// A generator in the middle of training.
    fn params(set: &ParamSet) -> Vec<f32> {
        let mut params = set.initialise(3);
        let rng = Rng::new(5, 0);
        params.iter_mut().zip(0..).for_each(|(value, i)| *value += 0.1 * rng.gaussian(i));
        params
    }

    /// A step takes whole sets, each of one class with real pictures of that class, and goes on where the step before stopped.
    #[test]
    fn sets_do_not_depend_on_steps() {
        let objective = objective(SETTINGS, false);
        let sample = |images, batch| objective.sample(&progress(images, batch, batch)).expect("pictures");
        let whole = sample(0, 48);
        assert_eq!((whole.eps.count(), whole.real.count(), whole.classes.len()), (48, 36, 12));
        let parts = [sample(0, 12), sample(12, 36)];
        let join =
            |of: fn(&DriftBatch<Flex>) -> &Pictures<Flex>| parts.iter().flat_map(|part| of(part).values().to_vec()).collect::<Vec<_>>();
        assert_eq!(join(|batch| &batch.eps), whole.eps.values());
        assert_eq!(join(|batch| &batch.real), whole.real.values());
        assert_eq!([&parts[0].classes[..], &parts[1].classes].concat(), whole.classes);
        for class in 0..3 {
            assert_eq!(whole.classes.iter().filter(|&&found| found == class).count(), 4, "class {class}");
        }
    }

    /// The gradient is that of the pictures' distance from where the field would move them, which stays: by finite differences of the
    /// squared distance of each feature from its target.
    #[test]
    fn gradient_moves_pictures_along_the_field() {
        let objective = objective(SETTINGS, true);
        let batch = objective.sample(&progress(0, 12, 12)).expect("pictures");
        let set = objective.params().clone();
        let params = params(&set);
        let mut gradient = vec![0.0; set.len()];
        let terms = objective.gradient_on(&params, &batch, 12, &mut gradient);
        assert_eq!(
            terms.iter().map(|term| term.0).collect::<Vec<_>>(),
            ["loss", "patches", "windows", "whole", "encoder", "drift"]
        );
        assert!((terms[0].1 - terms[1..5].iter().map(|term| term.1).sum::<f64>()).abs() < 1e-4 * terms[0].1);

        // The slope for pixels is held; the rest of the gradient is that of a sum of products with it.
        let drawn = |params: &Vec<f32>| {
            let weights = objective.frame.weights(&set, params);
            let range = 0..12;
            let pass = objective.pass(&weights, &batch, &range);
            objective.pictures(&batch, &range, pass.output())
        };
        let pictures = drawn(&params);
        let shown = objective.shown(pictures.clone());
        let (_, slope) = objective.field(&batch, &shown, 12);
        let slope = to_vec(objective.bounded(slope, pictures - shown).into_data());
        for at in (0..set.len()).step_by(set.len() / 31) {
            let step = 1e-2;
            let moved = |by: f32| {
                let mut params = params.clone();
                params[at] += by;
                let pictures = to_vec(drawn(&params).into_data());
                pictures
                    .iter()
                    .zip(&slope)
                    .map(|(x, slope)| f64::from(*x) * f64::from(*slope))
                    .sum::<f64>()
            };
            let want = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            let found = f64::from(gradient[at]);
            assert!((found - want).abs() < 2e-2 + 0.02 * want.abs(), "parameter {at}: {found} instead of {want}");
        }
    }

    /// What no byte can show is cut to what the bytes 0 and 255 are in each channel; the rest stays.
    #[test]
    fn pictures_count_as_they_are_shown() {
        let objective = objective(SETTINGS, false);
        let source = test_source::source(vec![0; 3]);
        let mut bytes = vec![0; MODEL.image_len()];
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = [0, 255, 100][i % 3]);
        let mut want = vec![0.0; bytes.len()];
        source.normalisation.normalise(MODEL.channels, &bytes, &mut want);
        let shape = [1, MODEL.patches(), MODEL.patch_len()];
        let beyond = want.iter().zip(&bytes).map(|(&value, byte)| match byte {
            0 => value - 0.3,
            255 => value + 0.3,
            _ => value,
        });
        let beyond: Vec<f32> = beyond.collect();
        let shown = objective.shown(Tensor::from_data(TensorData::new(beyond, shape), &Default::default()));
        let found = to_vec(shown.into_data());
        assert!(found.iter().zip(&want).all(|(found, want)| (found - want).abs() < 1e-6), "{found:?}");
    }

    /// Far beyond the range, a slope counts only where it leads back.
    #[test]
    fn values_far_beyond_the_range_move_only_back() {
        let objective = objective(SETTINGS, false);
        let [black, white] = objective.bounds.clone().map(|bound| to_vec(bound.into_data()));
        let shape = [1, MODEL.patches(), MODEL.patch_len()];
        let tensor = |value: &dyn Fn(usize) -> f32| {
            let values = (0..MODEL.image_len()).map(|i| value(i % MODEL.patch_len())).collect();
            Tensor::<Flex, 3>::from_data(TensorData::new::<f32, _>(values, shape), &Default::default())
        };
        for (share, slope, kept) in [
            (0.5, -1.0, 0.0),
            (0.5, 1.0, 1.0),
            (0.1, -1.0, -1.0),
            (-0.5, 1.0, 0.0),
            (-0.5, -1.0, -1.0),
            (0.0, 1.0, 1.0),
        ] {
            let cut = tensor(&|i| share * (white[i] - black[i]));
            let found = to_vec(objective.bounded(tensor(&|_| slope), cut).into_data());
            assert!(found.iter().all(|&found| found == kept), "{share} {slope}: {found:?}");
        }
    }

    /// Pictures that go against the slope of one kind of features alone come nearer to the real ones, through the encoder too.
    #[test]
    fn every_kind_pulls_pictures_towards_real_ones() {
        let none = DriftConfig { patches: false, windows: [0, 0], whole: false, ..SETTINGS };
        let kinds = [
            (DriftConfig { patches: true, ..none }, false),
            (DriftConfig { windows: [4, 0], ..none }, false),
            (DriftConfig { whole: true, ..none }, false),
            (none, true),
        ];
        for (settings, encoder) in kinds {
            let objective = objective(settings, encoder);
            let batch = objective.sample(&progress(0, 12, 12)).expect("pictures");
            let mut pictures = batch.eps.range(&(0..12), &Default::default());
            let mut sizes = Vec::new();
            for _ in 0..100 {
                let (terms, slope) = objective.field(&batch, &pictures, 12);
                sizes.push(terms[2].1);
                let length = slope.clone().square().sum().sqrt().into_scalar();
                pictures = pictures - slope.mul_scalar(0.3 / length);
            }
            let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
            let (first, last) = (mean(&sizes[..5]), mean(&sizes[95..]));
            println!("{settings:?}: field {first:.3} to {last:.3}");
            assert!(last < 0.8 * first, "{settings:?}: {first} to {last}");
        }
    }

    /// The same in micro-batches, which draw pictures twice, and with recomputation.
    #[test]
    fn micro_batches_and_recomputation_give_the_same_gradient() {
        let set = ParamSet::generator(&MODEL);
        let params = params(&set);
        let run = |micro: usize, recompute: bool| {
            let objective = objective(SETTINGS, true).with_compute(Compute { recompute, ..Compute::default() });
            let batch = objective.sample(&progress(24, 24, micro)).expect("pictures");
            let mut gradient = vec![0.0; set.len()];
            let terms = objective.gradient_on(&params, &batch, micro, &mut gradient);
            (terms, gradient)
        };
        let (terms, want) = run(24, false);
        let largest = want.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
        for (micro, recompute) in [(24, true), (7, false), (1, true)] {
            let (found, gradient) = run(micro, recompute);
            for ((name, found), (_, want)) in found.iter().zip(&terms) {
                assert!((found - want).abs() < 1e-4 * want.abs(), "{name}: {found} instead of {want}");
            }
            let off = gradient.iter().zip(&want).fold(0.0f32, |off, (a, b)| off.max((a - b).abs())) / largest;
            assert!(off < 1e-4, "micro {micro}, recompute {recompute}: {off:e}");
        }
    }

    /// Steps along the gradient make the field smaller: pictures come nearer to the real ones.
    #[test]
    fn training_shrinks_the_field() {
        let settings = DriftConfig { parametrisation: Parametrisation::PlainX, ..SETTINGS };
        let objective = objective(settings, false);
        let set = objective.params().clone();
        let mut params = params(&set);
        let batch = objective.sample(&progress(0, 24, 24)).expect("pictures");
        let mut sizes = Vec::new();
        for _ in 0..60 {
            let mut gradient = vec![0.0; set.len()];
            let terms = objective.gradient_on(&params, &batch, 24, &mut gradient);
            sizes.push(terms.last().expect("the field").1);
            let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            params.iter_mut().zip(gradient).for_each(|(value, g)| *value -= 0.2 * g / length);
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let (first, last) = (mean(&sizes[..5]), mean(&sizes[55..]));
        assert!(last < 0.8 * first, "{first} to {last}: {sizes:?}");
    }
}
