//! Core's reference and the burn interpreter against float64 numpy (tests/gen/golden.py): forward passes, losses, gradients.

use burn_autodiff::Autodiff;
use burn_flex::Flex;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, PairMap, Parametrisation, Temperature, c_noise, time_embedding};
use pixgen_core::patch::{patchify, unpatchify};
use pixgen_core::reference::{FlatWeights, Reference, ReferenceCondition};
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::data::{Dataset, ImageShape};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::{ProjectorConfig, RunningStatistics};
use pixgen_tests::{Golden, alone, assert_close};
use pixgen_train::data::augment::AugmentProfile;
use pixgen_train::distributed::Share;
use pixgen_train::model::batch::upload;
use pixgen_train::model::{BurnWeights, Condition, features, forward};
use pixgen_train::objective::auxiliary::{Frozen, FrozenEncoder, FrozenFeature, auxiliary_loss};
use pixgen_train::objective::consistency::{Consistency, ConsistencyBatch};
use pixgen_train::objective::consistency_config::{ConsistencyConfig, Weighting};
use pixgen_train::objective::drift::{Drift, DriftBatch};
use pixgen_train::objective::drift_config::DriftConfig;
use pixgen_train::objective::drift_sets::Sets;
use pixgen_train::objective::frame::Context;
use pixgen_train::objective::prefetch::Pictures;
use pixgen_train::objective::pretrain::{Pretrain, PretrainBatch, PretrainConfig, PretrainMethod, TargetDecay};
use pixgen_train::objective::{BatchSource, TrainingProgress};
use pixgen_train::ops::{Implementation, set_implementation};

type Inner = Flex;
type Train = Autodiff<Inner>;

/// f32 against f64 through a whole network.
const FORWARD: f64 = 1e-5;
/// Gradients sum over the batch and pass every layer.
const GRADIENT: f64 = 1e-4;

fn names(set: &ParamSet) -> impl Iterator<Item = &str> {
    set.entries().iter().map(|e| e.name.as_str())
}

/// Pictures of the file, H W C, to patch layout.
fn patches(config: &ModelConfig, rows: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    for (rows, out) in rows.chunks_exact(config.image_len()).zip(out.chunks_exact_mut(config.image_len())) {
        patchify(config, rows, out);
    }
    out
}

fn shape(config: &ModelConfig, batch: usize) -> [usize; 3] {
    [batch, config.patches(), config.patch_len()]
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("f32")
}

/// A data set that no golden test reads from.
fn any_source(config: &ModelConfig) -> BatchSource {
    let shape = ImageShape { height: config.size, width: config.size, channels: config.channels };
    let dataset = Dataset::new(shape, vec![0; shape.len()], vec![0], vec!["0".into()], "test".into()).expect("data set");
    BatchSource { dataset, normalisation: Normalisation::simple(), augment: AugmentProfile::small_image() }
}

/// Checks every gradient of the file.
fn check_gradients(file: &str, golden: &Golden, set: &ParamSet, gradient: &[f32]) {
    let wanted = golden.names("grad.");
    assert!(wanted.len() >= 8, "the file names {} gradients", wanted.len());
    for name in wanted {
        let at = set.position_of(&name["grad.".len()..]).expect("a parameter of the list");
        assert_close(&format!("{file}: {name}"), &gradient[set.entries()[at].range.clone()], &golden.f64(&name), GRADIENT);
    }
}

#[test]
fn noise_schedules() {
    let golden = Golden::load("noise");
    let noise = NoiseConfig::with_shift(1.0);
    let close = |name: &str, got: Vec<f64>, tolerance: f64| {
        for (i, (g, w)) in got.iter().zip(golden.f64(name)).enumerate() {
            assert!((g - w).abs() <= tolerance * w.abs().max(1e-3), "{name}[{i}]: {g} {w}");
        }
    };
    for levels in [21usize, 41, 1281] {
        close(&format!("out.sigmas_{levels}"), (0..levels).map(|i| noise.grid(levels, i)).collect(), 1e-12);
    }
    let t = golden.f64("in.t");
    for s in [1.0, 4.0] {
        let shifted = NoiseConfig::with_shift(s);
        let each = |f: &dyn Fn(f64) -> f64| t.iter().map(|t| f(s * t)).collect::<Vec<f64>>();
        close(&format!("out.s{s}.c_in"), each(&|t| shifted.c_in(t)), 1e-12);
        close(&format!("out.s{s}.c_skip"), each(&|t| shifted.c_skip(t)), 1e-12);
        close(&format!("out.s{s}.c_out"), each(&|t| shifted.c_out(t)), 1e-10);
        close(&format!("out.s{s}.c_noise"), each(&c_noise), 1e-12);
        let want = golden.f64(&format!("out.s{s}.time_embedding"));
        for (&t, want) in t.iter().zip(want.chunks_exact(want.len() / t.len())) {
            let mut got = vec![0.0; want.len()];
            time_embedding(s * t, &mut got);
            assert_close("time embedding", &got, want, 1e-6);
        }
    }
    for a in 1..=4 {
        close(&format!("out.r_a{a}"), t.iter().map(|&t| PairMap::PAPER.r(&noise, t, a)).collect(), 1e-12);
    }
    let levels: Vec<usize> = golden
        .indices("in.k")
        .iter()
        .map(|&k| LevelCurriculum::PAPER.levels(k as u64, 600_000))
        .collect();
    assert_eq!(levels, golden.indices("out.levels"));
    let (k, sigma) = (golden.f64("in.tau_k"), golden.f64("in.tau_sigma"));
    let tau = k
        .iter()
        .zip(&sigma)
        .map(|(&k, &sigma)| Temperature::PAPER.at(&noise, sigma, k as u64, 600_000))
        .collect();
    close("out.tau", tau, 1e-12);
}

#[test]
fn reference_forward() {
    for name in ["tiny_a", "tiny_b"] {
        let golden = Golden::load(name);
        let (config, noise) = (golden.model(), golden.noise());
        let set = ParamSet::generator(&config);
        let flat = golden.flat("param.", names(&set));
        let (len, width) = (config.image_len(), config.encoder.width);
        let mut workspace = vec![0.0; config.workspace_len()];
        let mut reference = Reference::new(FlatWeights::new(&config, &flat).expect("weights"), &mut workspace).expect("workspace");
        let (x, t, classes) = (golden.f32("in.x_t"), golden.f64("in.t"), golden.indices("in.classes"));
        for (i, &t) in t.iter().enumerate() {
            let picture = &x[i * len..(i + 1) * len];
            let scaled: Vec<f32> = picture.iter().map(|v| v * noise.c_in(t) as f32).collect();
            let condition = ReferenceCondition { t, class: Some(classes[i]) };
            let of = |what: &str, len: usize| golden.f64(what)[i * len..(i + 1) * len].to_vec();
            let mut f = vec![0.0; len];
            reference.forward(&scaled, &condition, &mut f).expect("forward");
            assert_close(&format!("{name} F[{i}]"), &f, &of("out.F", len), FORWARD);
            assert_eq!(reference.high_water_mark(), config.workspace_len());
            let mut feature = vec![0.0; width];
            reference.features(&scaled, &condition, &mut feature).expect("features");
            assert_close(&format!("{name} feature[{i}]"), &feature, &of("out.encoder.feature", width), FORWARD);
            let without = ReferenceCondition { class: None, ..condition };
            reference.features(&scaled, &without, &mut feature).expect("features");
            assert_close(&format!("{name} pretrain feature[{i}]"), &feature, &of("out.pretrain_feature", width), FORWARD);
            let (mut d, mut scratch) = (picture.to_vec(), vec![0.0; len]);
            reference
                .denoise(&noise, Parametrisation::Edm, &condition, &mut d, &mut scratch)
                .expect("denoise");
            assert_close(&format!("{name} D[{i}]"), &d, &of("out.D", len), FORWARD);
        }
    }
}

/// F, features and the gradient of every parameter, with the fused operations and with burn's plain ones.
#[test]
fn burn_forward_and_all_gradients() {
    let _alone = alone();
    for implementation in [Implementation::Fused, Implementation::Plain] {
        set_implementation(implementation);
        for name in ["tiny_a", "tiny_b"] {
            let golden = Golden::load(name);
            let (config, noise) = (golden.model(), golden.noise());
            let set = ParamSet::generator(&config);
            let flat = golden.flat("param.", names(&set));
            let device = Default::default();
            let (t, classes) = (golden.f64("in.t"), golden.indices("in.classes"));
            let len = config.image_len();
            let spread = |f: &dyn Fn(f64) -> f64| -> Tensor<Train, 3> {
                let values = t.iter().flat_map(|&t| vec![f(t) as f32; len]).collect();
                upload(values, shape(&config, t.len()), &device)
            };
            let x: Tensor<Train, 3> = upload(patches(&config, &golden.f32("in.x_t")), shape(&config, t.len()), &device);
            let weights = BurnWeights::<Train>::upload(&set, &flat, &device);
            let condition = Condition::new(&t, Some(&classes), config.encoder.width, &device);
            let scaled = x.clone() * spread(&|t| noise.c_in(t));
            let f = forward(&config, &weights, &scaled, &condition, None);
            let d = x * spread(&|t| noise.c_skip(t)) + f.clone() * spread(&|t| noise.c_out(t));
            let mut rows = vec![0.0; len * t.len()];
            let got = values(f.inner());
            for (from, to) in got.chunks_exact(len).zip(rows.chunks_exact_mut(len)) {
                unpatchify(&config, from, to);
            }
            assert_close(&format!("{name} F {implementation:?}"), &rows, &golden.f64("out.F"), FORWARD);
            let z = features(&config, &weights, &scaled, &condition);
            assert_close(&format!("{name} feature"), &values(z.inner()), &golden.f64("out.encoder.feature"), FORWARD);

            let cotangent = upload(patches(&config, &golden.f32("in.cotangent")), shape(&config, t.len()), &device);
            let mut gradients = (d * cotangent).sum().backward();
            let mut gradient = vec![0.0; set.len()];
            weights.add_gradients(&mut gradients, &mut gradient);
            assert_eq!(golden.names("grad.").len(), set.entries().len());
            check_gradients(name, &golden, &set, &gradient);
        }
    }
    set_implementation(Implementation::Fused);
}

fn pretrain_settings(golden: &Golden) -> PretrainConfig {
    let projector: ProjectorConfig = serde_json::from_value(golden.config["projector"].clone()).expect("projector");
    PretrainConfig {
        method: PretrainMethod::Epg,
        projector,
        contrast_temperature: golden.number("tau_con"),
        temperature: Temperature::PAPER,
        levels: LevelCurriculum::PAPER,
        target_decay: TargetDecay::constant(0.99),
        contrast_symmetric: true,
        contrast_weight: 1.0,
        consistency_weight: 1.0,
    }
}

/// Both terms of stage 1 and their gradients; in one piece and in micro-batches, which must give the same.
#[test]
fn pretraining_terms() {
    let _alone = alone();
    let golden = Golden::load("pretrain");
    let (config, noise, settings) = (golden.model(), golden.noise(), pretrain_settings(&golden));
    let set = ParamSet::pretraining(&config, &settings.projector);
    let params = golden.flat("param.", names(&set));
    let target = golden.flat("target.", names(&set));
    let mut objective = Pretrain::<Flex>::new(config, noise, settings, any_source(&config), &params, Default::default());
    objective.set_target(&target);
    let pictures = |name: &str| Pictures::new(&config, patches(&config, &golden.f32(name)), &Default::default());
    let level = |name: &str| golden.f64(name)[0];
    let (t0, t_n, below) = (level("in.t0"), level("in.t_n"), level("in.t_n_minus_1"));
    let step = PretrainBatch {
        pictures: ["in.y1", "in.y2", "in.x0"].map(pictures),
        eps: pictures("in.eps"),
        levels: [t0, t0, t_n, below],
        temperature: golden.number("tau_rc"),
    };
    for micro in [64, 4, 1] {
        let mut gradient = vec![0.0; set.len()];
        let terms = objective.gradient_on(&params, &step, micro, &mut gradient);
        for ((name, got), want) in terms.iter().zip(["out.total", "out.L_con", "out.L_rc"]) {
            assert_close(&format!("{name} micro {micro}"), &[*got as f32], &golden.f64(want), FORWARD);
        }
        check_gradients("pretrain", &golden, &set, &gradient);
    }
}

fn consistency_settings(golden: &Golden) -> ConsistencyConfig {
    let plain = golden.config["parametrisation"] == "plain-x";
    ConsistencyConfig {
        parametrisation: if plain { Parametrisation::PlainX } else { Parametrisation::Edm },
        weighting: if plain { Weighting::Smooth } else { Weighting::InverseGap },
        anchor: if plain { golden.number("anchor") } else { 0.0 },
        p_mean: -0.4,
        p_std: 1.6,
        pair: PairMap::PAPER,
        stages: 3,
        huber: golden.number("huber_c"),
        dropout: 0.0,
        auxiliary: 0.0,
        auxiliary_temperature: 0.1,
        auxiliary_feature: FrozenFeature::Projected,
    }
}

/// Some pictures of a batch.
fn pick(batch: &ConsistencyBatch<Flex>, kept: &[usize], config: &ModelConfig) -> ConsistencyBatch<Flex> {
    let picked = |of: &Pictures<Flex>| {
        let device = Default::default();
        let pictures = Tensor::cat(kept.iter().map(|&i| of.range(&(i..i + 1), &device)).collect(), 0);
        Pictures::new(config, values(pictures), &device)
    };
    ConsistencyBatch {
        x0: picked(&batch.x0),
        eps: picked(&batch.eps),
        classes: kept.iter().map(|&i| batch.classes[i]).collect(),
        t: kept.iter().map(|&i| batch.t[i]).collect(),
        r: kept.iter().map(|&i| batch.r[i]).collect(),
        r_at_floor: kept.iter().map(|&i| batch.r_at_floor[i]).collect(),
    }
}

/// The consistency loss in both parametrisations, with and without a bridge, and its gradients; whole and in micro-batches.
#[test]
fn consistency_loss() {
    let _alone = alone();
    for name in ["consistency_a_edm", "consistency_b_edm", "consistency_a_plain"] {
        let golden = Golden::load(name);
        let (config, noise) = (golden.model(), golden.noise());
        let settings = consistency_settings(&golden);
        let set = ParamSet::generator(&config);
        let params = golden.flat("param.", names(&set));
        let objective = Consistency::<Flex>::new(config, noise, settings, any_source(&config), None, Default::default());
        let pictures = |name: &str| Pictures::new(&config, patches(&config, &golden.f32(name)), &Default::default());
        let batch = ConsistencyBatch {
            x0: pictures("in.x0"),
            eps: pictures("in.eps"),
            classes: golden.indices("in.classes"),
            t: golden.f64("in.t"),
            r: golden.f64("in.r"),
            r_at_floor: golden.f64("in.r_at_floor").iter().map(|&v| v != 0.0).collect(),
        };
        // Where t = r above the floor, teacher and student are the same, so loss and gradient are exactly zero. In f32 they cancel to
        // 1e-7 only, which plain x divides by c = 0.03; so gradients are compared without such a picture.
        let count = batch.t.len();
        let kept: Vec<usize> = (0..count).filter(|&i| batch.t[i] > batch.r[i] || batch.r_at_floor[i]).collect();
        assert_eq!(kept.len(), count - 1, "{name}: one picture with t = r");
        let without = pick(&batch, &kept, &config);
        for micro_batch in [64, 4, 1] {
            let run = |batch: &ConsistencyBatch<Flex>| {
                let progress = TrainingProgress {
                    seed: 1,
                    images: 0,
                    total: 1,
                    batch: batch.t.len(),
                    micro_batch,
                    share: Share::default(),
                    together: 1,
                };
                let mut gradient = vec![0.0; set.len()];
                let terms = objective.gradient_on(&params, batch, &progress, &mut gradient);
                (terms[0].1 as f32, gradient)
            };
            assert_close(&format!("{name} loss, micro {micro_batch}"), &[run(&batch).0], &golden.f64("out.loss"), FORWARD);
            let share = kept.len() as f32 / count as f32;
            let (loss, gradient) = run(&without);
            assert_close(&format!("{name} loss without t = r"), &[share * loss], &golden.f64("out.loss"), FORWARD);
            let gradient: Vec<f32> = gradient.iter().map(|g| share * g).collect();
            check_gradients(name, &golden, &set, &gradient);
        }
    }
}

/// The drifting loss in both parametrisations, of each kind of features, the sizes of its fields and its gradients; whole, where graphs are
/// kept, and in micro-batches, where pictures are drawn twice.
#[test]
fn drift_loss() {
    let _alone = alone();
    for name in ["drift_a_edm", "drift_b_plain"] {
        let golden = Golden::load(name);
        let (config, noise) = (golden.model(), golden.noise());
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let temperatures = golden.config["temperatures"]
            .as_array()
            .expect("a list")
            .iter()
            .map(number)
            .collect::<Vec<_>>();
        let settings = DriftConfig {
            parametrisation: serde_json::from_value(golden.config["parametrisation"].clone()).expect("parametrisation"),
            generated: golden.number("generated") as usize,
            real: 3,
            temperatures: temperatures.try_into().expect("three"),
            guidance: golden.config["guidance"].as_f64().expect("a number"),
            patches: true,
            windows: [number(&golden.config["windows"][0]) as usize, 0],
            whole: true,
        };
        let set = ParamSet::generator(&config);
        let params = golden.flat("param.", names(&set));
        let pictures = |name: &str| Pictures::new(&config, patches(&config, &golden.f32(name)), &Default::default());
        let classes = golden.indices("in.set_classes");
        let batch = DriftBatch {
            eps: pictures("in.eps"),
            real: pictures("in.real"),
            sets: Sets { all: classes.len(), share: Share::default() },
            classes,
        };
        for implementation in [Implementation::Fused, Implementation::Plain] {
            set_implementation(implementation);
            let objective = Drift::<Flex>::new(config, noise, settings, any_source(&config), None, Default::default());
            for micro_batch in [64, 5, 1] {
                let mut gradient = vec![0.0; set.len()];
                let terms = objective.gradient_on(&params, &batch, micro_batch, &mut gradient);
                let name = format!("{name} {implementation:?} micro {micro_batch}");
                assert_eq!(terms.iter().map(|term| term.0).collect::<Vec<_>>(), ["loss", "patches", "windows", "whole", "drift"]);
                let losses: Vec<f32> = terms.iter().map(|term| term.1 as f32).collect();
                assert_close(&format!("{name} loss"), &losses[..1], &golden.f64("out.loss"), FORWARD);
                assert_close(&format!("{name} kinds"), &losses[1..4], &golden.f64("out.kinds"), FORWARD);
                let sizes = golden.f64("out.sizes");
                let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
                assert_close(&format!("{name} field"), &losses[4..], &[mean], FORWARD);
                check_gradients(&name, &golden, &set, &gradient);
            }
        }
    }
    set_implementation(Implementation::Fused);
}

/// The auxiliary loss through the frozen encoder and projector, and its gradients with respect to the generator.
#[test]
fn auxiliary() {
    let _alone = alone();
    let golden = Golden::load("auxiliary");
    let (config, noise) = (golden.model(), golden.noise());
    let projector: ProjectorConfig = serde_json::from_value(golden.config["projector"].clone()).expect("projector");
    let mut frozen = FrozenEncoder::fresh(&config, &projector, 1);
    frozen.params = golden.flat("frozen.", names(&ParamSet::pretraining(&config, &projector)));
    let mut statistics = RunningStatistics::new(&projector);
    for (name, place) in statistics.named_mut() {
        *place = golden.f32(&format!("frozen.{name}"));
    }
    frozen.statistics = statistics;

    let set = ParamSet::generator(&config);
    let params = golden.flat("param.", names(&set));
    let device = Default::default();
    let (t, classes, len) = (golden.f64("in.t"), golden.indices("in.classes"), config.image_len());
    let spread = |f: &dyn Fn(f64) -> f64| -> Tensor<Train, 3> {
        let values = t.iter().flat_map(|&t| vec![f(t) as f32; len]).collect();
        upload(values, shape(&config, t.len()), &device)
    };
    let x0 = patches(&config, &golden.f32("in.x0"));
    let eps: Tensor<Train, 3> = upload(patches(&config, &golden.f32("in.eps")), shape(&config, t.len()), &device);
    let x = upload(x0.clone(), shape(&config, t.len()), &device) + eps * spread(&|t| t);
    let weights = BurnWeights::<Train>::upload(&set, &params, &device);
    let condition = Condition::new(&t, Some(&classes), config.encoder.width, &device);
    let f = forward(&config, &weights, &(x.clone() * spread(&|t| noise.c_in(t))), &condition, None);
    let pictures = x * spread(&|t| noise.c_skip(t)) + f * spread(&|t| noise.c_out(t));
    let context = Context::<Inner> { model: config, noise, device };
    let weights_of_inner = BurnWeights::frozen(&frozen.set, &frozen.params, &device);
    let feature = FrozenFeature::Projected;
    let inner = Frozen { encoder: &frozen, context: &context, weights: weights_of_inner, feature };
    let keys = inner.targets(&Pictures::new(&config, x0, &device), 3);
    let context = Context::<Train> { model: config, noise, device };
    let frozen_weights = BurnWeights::frozen(&frozen.set, &frozen.params, &device);
    let outer = Frozen { encoder: &frozen, context: &context, weights: frozen_weights, feature };
    let seen = outer.features(pictures);
    let loss = auxiliary_loss(seen, Tensor::from_inner(keys), 0, golden.number("tau_aux"));
    assert_close("auxiliary loss", &values(loss.clone().inner()), &golden.f64("out.loss"), FORWARD);
    let mut gradients = loss.backward();
    let mut gradient = vec![0.0; set.len()];
    weights.add_gradients(&mut gradients, &mut gradient);
    check_gradients("auxiliary", &golden, &set, &gradient);
}
