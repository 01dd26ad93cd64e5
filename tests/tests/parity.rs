//! The burn interpreter against core's reference on every model small enough to run, and micro-batches against the whole batch.

use burn_flex::Flex;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::patch::{patchify, unpatchify};
use pixgen_core::presets::{PRESETS, Preset};
use pixgen_core::reference::{self, Reference, ReferenceError};
use pixgen_core::rng::Rng;
use pixgen_core::sampler::{ConsistencySampler, Denoiser, MIDDLE_LEVEL};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::param_set::ParamSet;
use pixgen_tests::stages::{PROJECTOR, consistency_settings, pretrain_settings, progress, random_weights, source};
use pixgen_tests::{alone, assert_close};
use pixgen_train::model::batch::upload;
use pixgen_train::model::{BurnWeights, Condition, features, forward};
use pixgen_train::objective::Terms;
use pixgen_train::objective::auxiliary::FrozenEncoder;
use pixgen_train::objective::consistency::Consistency;
use pixgen_train::objective::consistency_config::ConsistencyConfig;
use pixgen_train::objective::pretrain::Pretrain;
use pixgen_train::ops::{Implementation, set_implementation};
use pixgen_train::sampling::{Drawing, Generator, SampleRequest};

/// What "agree" means, relative to the largest value of a picture.
const PARITY: f64 = 1e-4;

/// The models that are not the paper's.
fn small_presets() -> impl Iterator<Item = &'static Preset> {
    PRESETS.iter().filter(|preset| !preset.name.starts_with("EPG-"))
}

fn gaussian(len: usize, number: u64) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Rng::new(2, stream(Purpose::Test, 1000 + number)).fill_gaussian(0, &mut values);
    values
}

/// F and LN(CLS), pixel by pixel, over the range of noise levels, with classes, the "no class" row, and in one batch.
#[test]
fn burn_equals_the_reference_on_every_small_preset() {
    let _alone = alone();
    let mut checked = 0;
    for preset in small_presets() {
        let (config, noise) = (preset.model, NoiseConfig::with_shift(f64::from(preset.shift)));
        let set = ParamSet::generator(&config);
        let flat = random_weights(&set, 3);
        let (len, width) = (config.image_len(), config.encoder.width);
        let t = [noise.t_min(), 0.3, 2.5, noise.t_max()];
        let classes = [0, config.classes - 1, 4, config.classes];
        let pictures: Vec<Vec<f32>> = (0..t.len()).map(|i| gaussian(len, i as u64)).collect();

        let mut workspace = vec![0.0; config.workspace_len()];
        let weights = reference::FlatWeights::new(&config, &flat).expect("weights");
        let mut reference = Reference::new(weights, &mut workspace).expect("workspace");
        let mut wanted = Vec::new();
        for ((picture, &t), &class) in pictures.iter().zip(&t).zip(&classes) {
            let condition = reference::ReferenceCondition { t, class: Some(class) };
            let (mut f, mut z) = (vec![0.0; len], vec![0.0; width]);
            reference.forward(picture, &condition, &mut f).expect("forward");
            reference.features(picture, &condition, &mut z).expect("features");
            wanted.push([f, z].map(|values| values.into_iter().map(f64::from).collect::<Vec<f64>>()));
        }

        let device = Default::default();
        let mut batch = vec![0.0; t.len() * len];
        for (picture, out) in pictures.iter().zip(batch.chunks_exact_mut(len)) {
            patchify(&config, picture, out);
        }
        for implementation in [Implementation::Fused, Implementation::Plain] {
            set_implementation(implementation);
            let image = upload::<Flex>(batch.clone(), [t.len(), config.patches(), config.patch_len()], &device);
            let condition = Condition::new(&t, Some(&classes), width, &device);
            let weights = BurnWeights::frozen(&set, &flat, &device);
            let f: Vec<f32> = forward(&config, &weights, &image, &condition, None).into_data().into_vec().expect("f32");
            let z: Vec<f32> = features(&config, &weights, &image, &condition).into_data().into_vec().expect("f32");
            for (i, [want_f, want_z]) in wanted.iter().enumerate() {
                let at = format!("{} {implementation:?}, t = {}, class {}", preset.name, t[i], classes[i]);
                let mut rows = vec![0.0; len];
                unpatchify(&config, &f[i * len..(i + 1) * len], &mut rows);
                assert_close(&format!("F of {at}"), &rows, want_f, PARITY);
                assert_close(&format!("feature of {at}"), &z[i * width..(i + 1) * width], want_z, PARITY);
            }
        }
        // A network that says the same to every picture would agree with anything.
        let spread = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(spread(&wanted[0][0], &wanted[1][0]) > 0.1, "{}: the output hardly depends on the input", preset.name);
        checked += 1;
    }
    set_implementation(Implementation::Fused);
    assert_eq!(checked, 11, "presets");
}

/// Core's reference behind core's sampler.
struct ReferenceDenoiser<'a> {
    config: ModelConfig,
    noise: NoiseConfig,
    parametrisation: Parametrisation,
    reference: Reference<'a>,
}

impl Denoiser for ReferenceDenoiser<'_> {
    type Error = ReferenceError;

    fn denoise(&mut self, x: &mut [f32], t: f64, classes: &[usize]) -> Result<(), ReferenceError> {
        let mut scratch = vec![0.0; self.config.image_len()];
        for (picture, &class) in x.chunks_exact_mut(self.config.image_len()).zip(classes) {
            let condition = reference::ReferenceCondition { t, class: Some(class) };
            self.reference
                .denoise(&self.noise, self.parametrisation, &condition, picture, &mut scratch)?;
        }
        Ok(())
    }
}

/// Whole pictures, as bytes, in one and in two steps: one grey level of 255 is what rounding may do.
#[test]
fn both_draw_the_same_pictures() {
    let _alone = alone();
    for name in ["nano-28-grey", "nano-16-rgb"] {
        let preset = small_presets().find(|preset| preset.name == name).expect("preset");
        let (config, noise) = (preset.model, NoiseConfig::with_shift(f64::from(preset.shift)));
        let set = ParamSet::generator(&config);
        let flat = random_weights(&set, 5);
        let normalisation = Normalisation { mean: [0.3, 0.4, 0.5], std: [0.6, 0.5, 0.7] };
        let classes = [3, 1, 4, 1, 5, 9];
        for parametrisation in [Parametrisation::Edm, Parametrisation::PlainX] {
            for steps in [1, 2] {
                let generator = Generator { config: &config, noise: &noise, parametrisation, normalisation: &normalisation, set: &set };
                let wanted = SampleRequest { seed: 11, first: 40, classes: &classes, drawing: Drawing::Consistency { steps } };
                let got = generator.draw::<Flex>(&flat, None, &Default::default(), &wanted);

                let mut workspace = vec![0.0; config.workspace_len()];
                let weights = reference::FlatWeights::new(&config, &flat).expect("weights");
                let reference = Reference::new(weights, &mut workspace).expect("workspace");
                let mut denoiser = ReferenceDenoiser { config, noise, parametrisation, reference };
                let middle = (steps == 2).then_some(MIDDLE_LEVEL);
                let sampler = ConsistencySampler { middle, range: normalisation.range(config.channels) };
                let mut values = vec![0.0; got.len()];
                sampler.draw(&mut denoiser, &noise, 11, 40, &classes, &mut values).expect("draws");
                let mut want = vec![0; got.len()];
                normalisation.to_u8(config.channels, &values, &mut want);

                let worst = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(worst <= Some(1), "{name} {parametrisation:?} {steps} steps: {worst:?} levels");
                let middle = want.iter().filter(|&&v| v > 20 && v < 235).count();
                assert!(middle > want.len() / 10, "{name} {parametrisation:?}: the pictures are all black and white");
            }
        }
    }
}

/// The gradient in pieces of `micro` pictures equals that of the whole batch.
fn assert_micro_batches_agree(mut gradient: impl FnMut(usize) -> (Terms, Vec<f32>), set: &ParamSet) {
    let (terms, whole) = gradient(32);
    assert!(whole.iter().any(|g| g.abs() > 1e-3), "the gradient is nothing");
    for micro in [16, 5, 1] {
        let (terms_of_pieces, pieces) = gradient(micro);
        for ((name, got), (_, want)) in terms_of_pieces.iter().zip(&terms) {
            assert_close(&format!("{name}, micro {micro}"), &[*got as f32], &[*want], 1e-5);
        }
        for entry in set.entries() {
            let want: Vec<f64> = whole[entry.range.clone()].iter().map(|&g| f64::from(g)).collect();
            // A gradient of nothing but rounding (a bias before a norm) has no relative error.
            if want.iter().any(|g| g.abs() > 1e-5) {
                assert_close(&format!("{}, micro {micro}", entry.name), &pieces[entry.range.clone()], &want, 2e-4);
            }
        }
    }
}

/// Stage 2b with dropout and the auxiliary loss, whose negatives are the whole batch.
#[test]
fn consistency_in_micro_batches() {
    let _alone = alone();
    let config = small_presets().find(|preset| preset.name == "nano-28-grey").expect("preset").model;
    let settings = consistency_settings();
    let noise = NoiseConfig::with_shift(1.0);
    let frozen = FrozenEncoder::fresh(&config, &PROJECTOR, 4);
    let objective = Consistency::<Flex>::new(config, noise, settings, source(), Some(frozen), Default::default());
    let set = ParamSet::generator(&config);
    let params = random_weights(&set, 6);
    let batch = objective.sample(&progress(32)).expect("pictures");
    let taught = batch.r_at_floor.iter().filter(|&&floor| !floor).count();
    assert!((4..=28).contains(&taught), "{taught} of 32 pictures have a teacher: both kinds are needed");
    let gradient = |micro: usize| {
        let mut gradient = vec![0.0; set.len()];
        let terms = objective.gradient_on(&params, &batch, &progress(micro), &mut gradient);
        assert_eq!(terms.iter().map(|term| term.0).collect::<Vec<_>>(), ["loss", "consistency", "auxiliary"]);
        (terms, gradient)
    };
    assert_micro_batches_agree(gradient, &set);

    // Dropout does something: without it the gradient is another.
    let without = Consistency::<Flex>::new(
        config,
        noise,
        ConsistencyConfig { dropout: 0.0, ..settings },
        source(),
        Some(FrozenEncoder::fresh(&config, &PROJECTOR, 4)),
        Default::default(),
    );
    let of = |objective: &Consistency<Flex>| {
        let mut gradient = vec![0.0; set.len()];
        objective.gradient_on(&params, &batch, &progress(32), &mut gradient);
        gradient
    };
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    let (dropped, whole) = (of(&objective), of(&without));
    let change = norm(&mut dropped.iter().zip(&whole).map(|(a, b)| a - b)) / norm(&mut whole.iter().copied());
    assert!(change > 1e-2, "dropout changes the gradient by {change:.1e} only");
}

/// Stage 1, whose batch norms and negatives see the whole batch.
#[test]
fn pretraining_in_micro_batches() {
    let _alone = alone();
    let config = small_presets().find(|preset| preset.name == "nano-28-grey").expect("preset").model;
    let settings = pretrain_settings();
    let set = ParamSet::pretraining(&config, &PROJECTOR);
    let params = random_weights(&set, 7);
    let mut objective = Pretrain::<Flex>::new(config, NoiseConfig::with_shift(1.0), settings, source(), &params, Default::default());
    objective.set_target(&random_weights(&set, 8));
    let batch = objective.sample(&progress(32)).expect("pictures");
    let gradient = |micro: usize| {
        let mut gradient = vec![0.0; set.len()];
        let terms = objective.gradient_on(&params, &batch, micro, &mut gradient);
        assert_eq!(terms.iter().map(|term| term.0).collect::<Vec<_>>(), ["loss", "contrast", "consistency"]);
        (terms, gradient)
    };
    assert_micro_batches_agree(gradient, &set);
}
