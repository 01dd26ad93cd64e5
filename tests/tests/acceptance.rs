//! Facts that a right implementation shows before any training: boundary condition, losses at random and at zero weights, recipes.

use burn_flex::Flex;
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::presets::{Preset, preset};
use pixgen_core::reference::{FlatWeights, Reference, ReferenceCondition};
use pixgen_core::rng::Rng;
use pixgen_core::sampler::Denoiser;
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::bundled;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::param_set::ParamSet;
use pixgen_train::config::{NormaliseMode, RunConfig, Stage, StageKind};
use pixgen_train::data::augment::AugmentProfile;
use pixgen_train::distributed::{Collective, Share};
use pixgen_train::model::batch::upload;
use pixgen_train::model::{BurnWeights, Condition, features};
use pixgen_train::objective::consistency::Consistency;
use pixgen_train::objective::consistency_config::{ConsistencyConfig, Weighting};
use pixgen_train::objective::pretrain::{Pretrain, PretrainMethod, TargetDecay};
use pixgen_train::objective::source::Batch;
use pixgen_train::objective::{BatchSource, Objective, PretrainConfig, TrainingProgress};
use pixgen_train::sampling::BurnDenoiser;
use pixgen_train::training::{LrShape, State, step};

fn quick_start() -> &'static Preset {
    preset("small-28-grey").expect("preset")
}

/// Settings of stage 1.
fn pretrain(config: &RunConfig) -> PretrainConfig {
    match config.stage {
        Stage::Pretrain(settings) => settings,
        other => panic!("{other:?}"),
    }
}

/// Settings of stage 2b.
fn consistency(config: &RunConfig) -> ConsistencyConfig {
    match config.stage {
        Stage::Consistency(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn source() -> BatchSource {
    let dataset = bundled().expect("bundled data");
    let normalisation = Normalisation::measured(&dataset, 0.5).expect("pictures");
    BatchSource {
        dataset,
        normalisation,
        augment: AugmentProfile { flip: false, ..AugmentProfile::small_image() },
    }
}

fn moved(set: &ParamSet, seed: u64) -> Vec<f32> {
    let mut flat = set.initialise(seed);
    let mut noise = vec![0.0; flat.len()];
    Rng::new(seed, stream(Purpose::Test, 1)).fill_gaussian(0, &mut noise);
    flat.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.05 * noise);
    flat
}

/// f(x, s sigma_min) = x, exactly and through a network whose output is far from 0, in both interpreters.
#[test]
fn boundary_condition_through_the_network() {
    let config = preset("nano-28-grey").expect("preset").model;
    for shift in [0.5, 1.0, 4.0] {
        let noise = NoiseConfig::with_shift(shift);
        let set = ParamSet::generator(&config);
        let flat = moved(&set, 1);
        let mut x = vec![0.0; config.image_len()];
        Rng::new(1, stream(Purpose::Test, 2)).fill_gaussian(0, &mut x);

        let mut workspace = vec![0.0; config.workspace_len()];
        let mut reference = Reference::new(FlatWeights::new(&config, &flat).expect("weights"), &mut workspace).expect("workspace");
        let mut denoised = |t: f64| {
            let (mut f, mut scratch) = (x.clone(), vec![0.0; x.len()]);
            let condition = ReferenceCondition { t, class: Some(3) };
            reference
                .denoise(&noise, Parametrisation::Edm, &condition, &mut f, &mut scratch)
                .expect("denoise");
            f
        };
        assert_eq!(denoised(noise.t_min()), x, "reference, s = {shift}");
        let distance = |f: &[f32]| f.iter().zip(&x).map(|(f, x)| (f - x).abs()).fold(0.0, f32::max);
        assert!(distance(&denoised(0.5)) > 0.1, "the network does nothing, so this test shows nothing");
        // Continuous: a level just above changes the picture just a little.
        assert!(distance(&denoised(noise.t_min() * 1.01)) < 1e-3);

        let mut burn = BurnDenoiser::<Flex> {
            config: &config,
            noise: &noise,
            parametrisation: Parametrisation::Edm,
            weights: BurnWeights::frozen(&set, &flat, &Default::default()),
            device: Default::default(),
        };
        let mut f = x.clone();
        match burn.denoise(&mut f, noise.t_min(), &[3]) {
            Ok(()) => assert_eq!(f, x, "burn, s = {shift}"),
            Err(never) => match never {},
        }
    }
}

/// At random initial weights every key is as likely as any other to the contrastive term: L_con is about 2 ln B for its two directions.
/// L_rc is not near ln B: a picture at two neighbouring levels already looks alike to a random network.
#[test]
fn stage_1_terms_at_random_weights() {
    let batch = 256;
    let config = RunConfig::defaults(StageKind::Pretrain, quick_start());
    let settings = pretrain(&config);
    let mut contrast = Vec::new();
    for seed in 0..3 {
        let set = ParamSet::pretraining(&config.model, &settings.projector);
        let params = set.initialise(seed);
        let mut objective = Pretrain::<Flex>::new(config.model, config.noise, settings, source(), &params, Default::default());
        let progress = TrainingProgress {
            seed,
            images: 0,
            total: 120_000,
            batch,
            micro_batch: batch,
            share: Share::default(),
            together: 1,
        };
        let step = objective.sample(&progress).expect("pictures");
        let terms = objective.gradient_on(&params, &step, batch, &mut vec![0.0; set.len()]);
        let [total, con, rc] = terms[..] else { panic!("{terms:?}") };
        let ln_b = (batch as f64).ln();
        assert!((0.85..1.02).contains(&(con.1 / (2.0 * ln_b))), "L_con {} against {}", con.1, 2.0 * ln_b);
        assert!(rc.1 < 0.9 * ln_b, "L_rc {} against {ln_b}", rc.1);
        assert!((total.1 - con.1 - rc.1).abs() < 1e-4, "the sum of both terms, 1:1");
        contrast.push(con.1);
    }
    println!("L_con at B = {batch}: {contrast:?}");
}

/// A short stage 1 of a small model, without anything around the loop; and the parameters that it started from.
fn pretrained(steps: u64) -> (RunConfig, Vec<f32>, Vec<f32>) {
    let mut config = RunConfig::defaults(StageKind::Pretrain, preset("nano-28-grey").expect("preset"));
    let settings = pretrain(&config);
    config.train.batch = 128;
    config.schedule.peak = 3e-3;
    config.schedule.warmup = 640;
    config.train.images = steps * config.train.batch as u64;
    let params = ParamSet::pretraining(&config.model, &settings.projector).initialise(1);
    let mut objective = Pretrain::<Flex>::new(config.model, config.noise, settings, source(), &params, Default::default());
    let fresh = params.clone();
    let mut state = State::new::<Flex>(objective.params(), &params, &[], &Default::default());
    let (mut gradient, alone) = (vec![0.0; state.params.len()], Collective::default());
    for _ in 0..steps {
        let (total, batch) = (config.train.images, config.train.batch);
        let progress = TrainingProgress {
            seed: 1,
            images: state.images,
            total,
            batch,
            micro_batch: batch,
            share: Share::default(),
            together: 1,
        };
        step(&mut objective, &mut state, &progress, &config.optimiser, &config.schedule, &mut gradient, &alone).expect("pictures");
    }
    assert_eq!(state.skipped, 0);
    (config, fresh, state.params)
}

/// LN(CLS) of noisy pictures at shifted level `t`, normalised: `[count, d]`.
fn noisy_features(config: &RunConfig, params: &[f32], first: u64, count: usize, t: f64) -> (Vec<f32>, Vec<usize>) {
    let (model, source, device) = (&config.model, source(), Default::default());
    let set = ParamSet::pretraining(model, &pretrain(config).projector);
    let Batch { x0, classes } = source.batch(model, 77, first, count).expect("pictures");
    let eps = BatchSource::noise(model, 77, first, count);
    let c_in = config.noise.c_in(t) as f32;
    let x = x0.iter().zip(eps).map(|(x, e)| c_in * (x + t as f32 * e)).collect();
    let image = upload::<Flex>(x, [count, model.patches(), model.patch_len()], &device);
    let condition = Condition::new(&vec![t; count], None, model.encoder.width, &device);
    let weights = BurnWeights::frozen(&set, params, &device);
    let mut z: Vec<f32> = features(model, &weights, &image, &condition).into_data().into_vec().expect("f32");
    for z in z.chunks_exact_mut(model.encoder.width) {
        let norm = z.iter().map(|v| v * v).sum::<f32>().sqrt();
        z.iter_mut().for_each(|v| *v /= norm);
    }
    (z, classes)
}

/// Share of 1,000 pictures whose class most of their 10 nearest neighbours among 2,000 others have, all at level `t`.
fn nearest_neighbours(config: &RunConfig, params: &[f32], t: f64) -> f64 {
    let width = config.model.encoder.width;
    let (keys, labels) = noisy_features(config, params, 0, 2000, t);
    let (queries, asked) = noisy_features(config, params, 2000, 1000, t);
    let correct = queries.chunks_exact(width).zip(&asked).filter(|(query, class)| {
        let likeness = |key: &[f32]| query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>();
        let mut ranked: Vec<(f32, usize)> = keys.chunks_exact(width).map(likeness).zip(labels.iter().copied()).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [0; 10];
        ranked[..10].iter().for_each(|(_, label)| votes[*label] += 1);
        (0..10).max_by_key(|&label| votes[label]) == Some(**class)
    });
    correct.count() as f64 / asked.len() as f64
}

/// Stage 1 sorts pictures by what they show, also under noise, without ever having seen a label. (Measured: 6 to 9 points.)
#[test]
fn pretraining_helps_nearest_neighbours() {
    let (config, fresh, trained) = pretrained(120);
    for t in [0.002, 0.1, 0.3] {
        let before = nearest_neighbours(&config, &fresh, t);
        let after = nearest_neighbours(&config, &trained, t);
        println!("sigma {t}: {before} -> {after}");
        assert!(after > before + 0.02, "at sigma = {t}: {before} -> {after}");
    }
}

/// The head starts at zero, so F = 0: with f = F and the picture itself as target, a picture's loss is w u / sqrt(u + c^2) with
/// u = sum x0^2, which is about w times the root of D E[x0^2], and E[x0^2] is the variance of the normalised data.
#[test]
fn zero_decoder_leaves_the_energy_of_the_data() {
    let count = 128;
    let defaults = RunConfig::defaults(StageKind::Consistency, quick_start());
    let mut settings = consistency(&defaults);
    settings.parametrisation = Parametrisation::PlainX;
    settings.weighting = Weighting::Smooth;
    settings.anchor = 1e9; // every target is x0
    let (config, noise) = (defaults.model, defaults.noise);
    let set = ParamSet::generator(&config);
    let params = set.initialise(1);
    let objective = Consistency::<Flex>::new(config, noise, settings, source(), None, Default::default());
    let progress = TrainingProgress {
        seed: 1,
        images: 0,
        total: 1000,
        batch: count,
        micro_batch: count,
        share: Share::default(),
        together: 1,
    };
    let batch = objective.sample(&progress).expect("pictures");
    let mut gradient = vec![0.0; set.len()];
    let loss = objective.gradient_on(&params, &batch, &progress, &mut gradient)[0].1;

    let len = config.image_len();
    let energy = |x0: &[f32]| x0.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let c2 = settings.huber * settings.huber;
    let want: f64 = (0..count)
        .map(|i| {
            let u = energy(&batch.x0.values()[i * len..(i + 1) * len]);
            settings.weighting.at(batch.t[i], batch.r[i]) * u / (u + c2).sqrt()
        })
        .sum::<f64>()
        / count as f64;
    assert!((loss / want - 1.0).abs() < 1e-5, "{loss} {want}");
    let variance = energy(batch.x0.values()) / batch.x0.values().len() as f64;
    assert!((variance - 0.25).abs() < 0.03, "E[x0^2] = {variance}: the data do not have sigma_data = 0.5");

    // Behind zero weights only the head itself has a gradient.
    for entry in set.entries() {
        let largest = gradient[entry.range.clone()].iter().fold(0.0f32, |m, g| m.max(g.abs()));
        assert_eq!(largest > 0.0, entry.name.starts_with("decoder.head."), "{}: {largest}", entry.name);
    }
}

/// With the boundary condition and F = 0, f(x, t) = c_skip(t) x in both interpreters.
#[test]
fn zero_decoder_is_the_skip() {
    let preset = quick_start();
    let (config, noise) = (preset.model, NoiseConfig::with_shift(f64::from(preset.shift)));
    let flat = ParamSet::generator(&config).initialise(5);
    let mut x = vec![0.0; config.image_len()];
    Rng::new(1, stream(Purpose::Test, 3)).fill_gaussian(0, &mut x);
    let mut workspace = vec![0.0; config.workspace_len()];
    let mut reference = Reference::new(FlatWeights::new(&config, &flat).expect("weights"), &mut workspace).expect("workspace");
    for t in [0.01, 0.7, 80.0] {
        let (mut f, mut scratch) = (x.clone(), vec![0.0; x.len()]);
        reference
            .denoise(&noise, Parametrisation::Edm, &ReferenceCondition { t, class: Some(0) }, &mut f, &mut scratch)
            .expect("denoise");
        let want: Vec<f32> = x.iter().map(|x| noise.c_skip(t) as f32 * x).collect();
        assert_eq!(f, want, "t = {t}");
    }
}

/// The paper's own settings for its own models (docs/reference/method.md sections 3.4 and 5).
#[test]
fn paper_settings() {
    let preset = preset("EPG-L-16-256").expect("preset");
    let first = RunConfig::defaults(StageKind::Pretrain, preset);
    let p = pretrain(&first);
    assert_eq!((p.projector.hidden, p.projector.out, p.contrast_temperature), (4096, 256, 0.2));
    assert_eq!((p.target_decay, p.contrast_symmetric), (TargetDecay::constant(0.99), true));
    assert_eq!((p.contrast_weight, p.consistency_weight), (1.0, 1.0));
    assert_eq!((p.levels.start, p.levels.end, p.temperature.low, p.temperature.start), (20, 1280, 0.1, 0.2));
    assert_eq!((first.train.batch, first.train.images, first.schedule.warmup), (1024, 600_000 * 1024, 10_000 * 1024));
    assert!((first.schedule.peak - 6e-4).abs() < 1e-12, "1.5e-4 B/256");
    assert_eq!((first.schedule.shape, first.schedule.final_factor), (LrShape::Cosine, 0.0));
    assert_eq!((first.optimiser.weight_decay, first.optimiser.decay_position, first.optimiser.clip), (0.03, true, 0.0));
    assert_eq!(first.noise, NoiseConfig { sigma_min: 0.002, sigma_max: 80.0, rho: 7.0, sigma_data: 0.5, shift: 4.0 });

    let second = RunConfig::defaults(StageKind::Consistency, preset);
    let c = consistency(&second);
    assert_eq!((c.stages, c.huber, c.dropout, c.auxiliary, c.auxiliary_temperature), (7, 0.06, 0.5, 1.0, 0.1));
    // Part a of seven lasts 100k of the 700k steps.
    let step = |k: u64| c.stage(k * 1024, second.train.images);
    assert_eq!([0, 99_999, 100_000, 650_000, 700_000].map(step), [1, 1, 2, 7, 7]);
    let rate = |k: u64| second.schedule.rate(k * 1024, 1024, second.train.images);
    assert_eq!([20_000, 399_999, 400_000, 500_000].map(rate), [1e-4, 1e-4, 0.3 * 1e-4, 0.08 * 1e-4]);
    assert_eq!((second.optimiser.beta2, second.optimiser.decay_position), (0.99, false));
    assert_eq!((second.ema.decays.as_slice(), second.ema.export.as_str()), (&[0.9999][..], "decay-0.9999"));
}

/// Stage 2a's settings of the paper, the same at every size and resolution (docs/reference/method.md section 4).
#[test]
fn paper_settings_of_diffusion() {
    for (size, patch, shift) in [(256, 16, 4.0), (512, 32, 8.0)] {
        for name in ["B", "L", "XL", "XXL", "G"] {
            let name = format!("EPG-{name}-{patch}-{size}");
            let preset = preset(&name).expect("preset");
            assert_eq!((preset.model.size, preset.model.patch, preset.model.patches()), (size, patch, 256), "{name}");
            let config = RunConfig::defaults(StageKind::Diffusion, preset);
            let Stage::Diffusion(d) = config.stage else {
                panic!("{:?}", config.stage)
            };
            assert_eq!((d.p_mean, d.p_std, d.power, d.label_drop), (-1.2, 1.6, 6.0 / 7.0, 0.1));
            let steps = if name.starts_with("EPG-G") { 2_000_000 } else { 1_000_000 };
            assert_eq!((config.train.batch, config.train.images, config.schedule.warmup), (1024, steps * 1024, 10_000 * 1024));
            assert_eq!((config.schedule.peak, config.schedule.shape, config.schedule.final_factor), (1e-4, LrShape::Cosine, 0.0));
            let o = config.optimiser;
            assert_eq!((o.beta1, o.beta2, o.weight_decay, o.decay_position), (0.9, 0.999, 0.01, false));
            assert_eq!(config.ema.decays, [0.9999]);
            assert!(config.augment.flip);
            assert_eq!((config.data.normalise, config.noise), (NormaliseMode::Imagenet, NoiseConfig::with_shift(shift)));
        }
    }
}

/// The other methods of stage 1 change what they are about and nothing else (docs/reference/method.md section 3.5).
#[test]
fn methods_of_stage_1() {
    let standard = RunConfig::defaults(StageKind::Pretrain, preset("EPG-B-16-256").expect("preset"));
    let settings = pretrain;
    let moco = standard.clone().with_method(PretrainMethod::Moco);
    assert_eq!((settings(&moco).method, settings(&moco).consistency_weight), (PretrainMethod::Moco, 0.0));
    let rrcm = standard.clone().with_method(PretrainMethod::Rrcm);
    let r = settings(&rrcm);
    assert_eq!((r.temperature.low, r.temperature.start, r.contrast_temperature), (0.2, 0.2, 0.2));
    assert_eq!((r.levels.start, r.levels.end), (20, 80));
    assert_eq!((r.target_decay, r.contrast_symmetric), (TargetDecay { start: 0.99, end: 0.9999 }, false));
    assert_eq!((rrcm.optimiser.clip, rrcm.schedule), (2.0, standard.schedule));
    for config in [&moco, &rrcm] {
        assert_eq!(config.validate(), Ok(()));
    }
    assert_eq!(standard.clone().with_method(PretrainMethod::Epg), standard);
    let second = RunConfig::defaults(StageKind::Diffusion, preset("EPG-B-16-256").expect("preset"));
    assert_eq!(second.clone().with_method(PretrainMethod::Rrcm), second);
}
