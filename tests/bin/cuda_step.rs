//! Compares a GPU with the CPU: loss, gradient and update of whole training steps of small networks, or the operations of a large one.
//! `tests/cuda/execute.sh` runs it without a GPU; on a machine with one it runs as it is.
//!
//! ```text
//! cuda_step [DEVICE]                     cuda by default
//! cuda_step DEVICE PRESET PRECISION      every operation of a step of a preset, at its sizes, instead
//! cuda_step DEVICE PRESET PRECISION open says on stderr which device it is and what computes its products, or what is missing
//! ```
//!
//! What is compared ends with a line of the bounds, if it was compared to the end.
//!
//! The update is compared with the CPU's for the same gradient, since AdamW's first step knows only the signs of most numbers.

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::presets::preset;
use pixgen_edge::param_set::ParamSet;
use pixgen_tests::stages::{PROJECTOR, consistency_settings, pretrain_settings, random_weights, source};
use pixgen_train::bench::compare::{self, OperationDifference, StepResult, error, is_worse, whole_step};
use pixgen_train::config::{EmaSettings, RunConfig, Stage, StageKind, TrainConfig};
use pixgen_train::device::{Cpu, CpuDevice, DeviceChoice, DeviceProblem};
use pixgen_train::distributed::Collective;
use pixgen_train::objective::{DiffusionConfig, DriftConfig, FrozenEncoder, Objective, StepError, StepLoss, Terms, TrainingProgress};
use pixgen_train::precision::Precision;
use pixgen_train::prepared::{Prepared, parameter_list};
use pixgen_train::start::StartValues;
use pixgen_train::training::{LrShape, OptimiserConfig, OptimiserKind, Schedule, State, step};
use std::process::ExitCode;
use std::time::Instant;

/// A step on any device.
#[derive(Debug, Clone, Copy)]
struct Case {
    stage: StageKind,
    precision: Precision,
    /// Pictures, and those that go through the network at once.
    batch: [usize; 2],
    /// Blocks are computed again for the backward pass.
    recompute: bool,
    /// Weights start as numbers of bf16.
    rounded: bool,
}

impl Case {
    const fn new(stage: StageKind, precision: Precision, batch: [usize; 2]) -> Self {
        Self { stage, precision, batch, recompute: false, rounded: false }
    }
}

/// The steps that are compared.
const CASES: [Case; 6] = [
    Case::new(StageKind::Pretrain, Precision::F32, [6, 6]),
    Case::new(StageKind::Consistency, Precision::F32, [3, 2]),
    Case::new(StageKind::Drift, Precision::F32, [4, 4]),
    Case::new(StageKind::Pretrain, Precision::Bf16, [6, 6]),
    Case { recompute: true, ..Case::new(StageKind::Diffusion, Precision::Bf16, [3, 3]) },
    Case::new(StageKind::Consistency, Precision::Bf16, [3, 2]),
];

/// What loss and gradient may differ by in `f32`: the loss as a share of it, the gradient of a tensor by norms.
const F32: [f64; 2] = [1e-5, 1e-3];

/// In bf16 the loss may be off by a rounding or two, and the gradient by so many times what it is off on the CPU with weights that are
/// rounded to bf16: activations are rounded as well, at every operation. How much that does depends on the stage, as batch norms and
/// contrasts amplify it.
const BF16: (f64, f64) = (8e-3, 4.0);

/// The update is `f32` in any case.
const UPDATE: f64 = 1e-5;

/// Stage 2a with classes that are not told.
const DIFFUSION: DiffusionConfig = DiffusionConfig { label_drop: 0.5, ..DiffusionConfig::PAPER };

/// Stage 3 on pixels: one set of four pictures and eight real ones.
const DRIFT: DriftConfig = DriftConfig {
    parametrisation: Parametrisation::Edm,
    generated: 4,
    real: 8,
    temperatures: [0.1, 0.3, 1.0],
    guidance: 1.2,
    patches: true,
    windows: [14, 0],
    whole: true,
};

const OPTIMISER: OptimiserConfig = OptimiserConfig {
    kind: OptimiserKind::Adamw,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.05,
    decay_position: false,
    decay_vectors: false,
    clip: 1.0,
};

const SCHEDULE: Schedule = Schedule { peak: 1e-3, warmup: 0, shape: LrShape::Constant, final_factor: 1.0 };

/// Two towers of two blocks and of different widths, heads of 32, 51 tokens.
fn model() -> ModelConfig {
    let model = preset("nano-28-grey").expect("a preset").model;
    let tower = |heads| Tower { depth: 2, width: 32 * heads, heads };
    ModelConfig { encoder: tower(2), decoder: tower(3), ..model }
}

/// Weights of a list, as numbers of bf16 if a case says so.
fn weights(set: &ParamSet, seed: u64, rounded: bool) -> Vec<f32> {
    let mut weights = random_weights(set, seed);
    if rounded {
        // To nearest but for ties: as good, for an estimate.
        weights
            .iter_mut()
            .for_each(|it| *it = f32::from_bits((it.to_bits() + 0x8000) & 0xffff_0000));
    }
    weights
}

impl Case {
    /// The run that the step is of. Its start values are the target of stage 1.
    fn prepared(self) -> Prepared {
        let source = source();
        let mut config = RunConfig::defaults(self.stage, preset("nano-28-grey").expect("a preset"));
        config.stage = match self.stage {
            StageKind::Pretrain => Stage::Pretrain(pretrain_settings()),
            StageKind::Diffusion => Stage::Diffusion(DIFFUSION),
            StageKind::Consistency => Stage::Consistency(consistency_settings()),
            StageKind::Drift => Stage::Drift(DRIFT),
        };
        let [batch, micro_batch] = self.batch;
        config.train = TrainConfig { seed: 9, images: 6400, batch, micro_batch, ..config.train };
        (config.model, config.noise, config.augment) = (model(), NoiseConfig::with_shift(1.0), source.augment);
        (config.optimiser, config.schedule) = (OPTIMISER, SCHEDULE);
        config.ema = EmaSettings { shares: Vec::new(), decays: vec![0.99], ..config.ema };
        (config.compute.precision, config.compute.recompute) = (self.precision, self.recompute);
        let frozen = (self.stage == StageKind::Consistency).then(|| FrozenEncoder::fresh(&config.model, &PROJECTOR, 4));
        let params = weights(&parameter_list(&config), 8, self.rounded);
        Prepared {
            held_out: source.dataset.clone(),
            training: source.dataset,
            skipped_files: 0,
            normalisation: source.normalisation,
            start: StartValues { params, frozen, ..StartValues::default() },
            config,
        }
    }

    fn run(self, device: DeviceChoice) -> Result<StepResult, String> {
        let prepared = self.prepared();
        let params = weights(&parameter_list(&prepared.config), 7, self.rounded);
        whole_step(&prepared, &params, device).map_err(|error| error.to_string())
    }
}

/// A gradient that is there already.
struct Given {
    set: ParamSet,
    terms: Terms,
    gradient: Vec<f32>,
}

impl Objective<Cpu> for Given {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, _: &Vec<f32>, _: &TrainingProgress, gradient: &mut Vec<f32>) -> Result<StepLoss, StepError> {
        gradient.copy_from_slice(&self.gradient);
        Ok(StepLoss { terms: self.terms.clone(), by_noise: Vec::new() })
    }
}

/// Parameters and average after the CPU's update for the gradient that a device found.
fn updated(prepared: &Prepared, start: &[f32], found: &StepResult) -> Result<[Vec<f32>; 2], String> {
    let (config, device) = (&prepared.config, CpuDevice::default());
    let mut given = Given { set: parameter_list(config), terms: found.terms.clone(), gradient: found.gradient.clone() };
    let mut state = State::new::<Cpu>(&given.set, start, &config.ema.configs(), &device);
    let mut gradient = vec![0.0; start.len()];
    let progress = prepared.progress(config.train.images / 2);
    step::<Cpu>(&mut given, &mut state, &progress, &config.optimiser, &config.schedule, &mut gradient, &Collective::default())
        .map_err(|error| error.to_string())?;
    Ok([state.params, state.emas.swap_remove(0).values])
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        [] => steps("cuda"),
        [device] => steps(device),
        [device, preset, precision] => settings(device, preset, precision).and_then(|(config, device)| operations(&config, device)),
        [device, preset, precision, "open"] => settings(device, preset, precision)
            .and_then(|(config, device)| compare::open(&config, device).map_err(told))
            .map(|()| Vec::new()),
        _ => Err("cuda_step [DEVICE [PRESET PRECISION [open]]]".to_owned()),
    };
    match result {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => {
            wrong.iter().for_each(|it| eprintln!("error: {it}"));
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What an operation may differ by, with its inputs rounded the same: as long sums of `f32` do, or as results in bf16.
const OPERATION: [f64; 2] = [1e-5, 1e-2];

/// A NaN is wrong too, and nothing is within a limit that is one.
fn is_wrong(error: f64, limit: f64) -> bool {
    is_worse(error, limit) || limit.is_nan()
}

/// What is wrong with a device, and what to try.
fn told(problem: DeviceProblem) -> String {
    match problem.hint() {
        Some(hint) => format!("{problem}\nhint: {hint}"),
        None => problem.to_string(),
    }
}

/// A step of a preset on a few pictures, and its device.
fn settings(device: &str, name: &str, precision: &str) -> Result<(RunConfig, DeviceChoice), String> {
    let device: DeviceChoice = device.parse().map_err(told)?;
    let preset = preset(name).ok_or_else(|| format!("{name} is no preset\nhint: `pixgen-train inspect --presets` lists them"))?;
    let mut config = RunConfig::defaults(StageKind::Consistency, preset);
    config.train.batch = 2;
    config.compute.precision = match precision {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("{other} is neither f32 nor bf16")),
    };
    Ok((config, device))
}

/// Prints the operations, and returns what is wrong.
fn operations(config: &RunConfig, device: DeviceChoice) -> Result<Vec<String>, String> {
    let limit = OPERATION[usize::from(config.compute.precision == Precision::Bf16)];
    println!("| operation of {}, {} | output | gradients |", config.preset, config.compute.precision);
    println!("|---|---:|---:|");
    let mut wrong = Vec::new();
    let mut row = |OperationDifference { name, output, gradient }| {
        println!("| {name} | {output:.1e} | {gradient:.1e} |");
        if is_wrong(output, limit) || is_wrong(gradient, limit) {
            wrong.push(format!("{name} is off by {output:.1e} and {gradient:.1e}, at most {limit:.0e} is rounding"));
        }
    };
    compare::operations(config, device, &mut row).map_err(told)?;
    println!("bounds: outputs and gradients {limit:.0e} of the CPU's");
    Ok(wrong)
}

/// Prints the steps, and returns what is wrong.
fn steps(device: &str) -> Result<Vec<String>, String> {
    let device: DeviceChoice = device.parse().map_err(told)?;
    println!(
        "| stage, precision | loss | off the CPU's by | gradient, worst tensor | | by rounding weights | update | average | seconds |"
    );
    println!("|---|---:|---:|---:|---|---:|---:|---:|---:|");
    let mut wrong = Vec::new();
    for case in CASES {
        wrong.extend(one(device, case)?);
    }
    println!(
        "bounds: loss {:.0e} in f32 and {:.0e} in bf16, gradients {:.0e} and {} times what rounded weights do, updates {UPDATE:.0e}",
        F32[0], BF16.0, F32[1], BF16.1
    );
    Ok(wrong)
}

/// How far loss and gradient of a step are from others: the loss as a share of it, of the gradient the tensor that is furthest off.
fn differences(set: &ParamSet, found: &StepResult, wanted: &StepResult) -> ([f64; 2], String) {
    let part = |answer: &StepResult, range: std::ops::Range<usize>| answer.gradient[range].to_vec();
    let tensors = set
        .entries()
        .iter()
        .map(|entry| (error(&part(found, entry.range.clone()), &part(wanted, entry.range.clone())), entry.name.clone()));
    // Every list has tensors.
    let worst = tensors.reduce(|worst, it| if is_worse(it.0, worst.0) { it } else { worst });
    let (gradient, tensor) = worst.unwrap_or_default();
    ([(found.terms[0].1 / wanted.terms[0].1 - 1.0).abs(), gradient], tensor)
}

/// Prints the row of a case, and returns what is wrong with it.
fn one(device: DeviceChoice, case: Case) -> Result<Vec<String>, String> {
    let cpu = Case { precision: Precision::F32, recompute: false, ..case };
    let wanted = cpu.run(DeviceChoice::Cpu)?;
    let started = Instant::now();
    let found = case.run(device)?;
    let seconds = started.elapsed().as_secs_f64();
    let prepared = cpu.prepared();
    let set = parameter_list(&prepared.config);
    let ([loss, gradient], tensor) = differences(&set, &found, &wanted);
    let (limits, by_rounding) = if case.precision == Precision::F32 {
        (F32, String::new())
    } else {
        let rounded = Case { rounded: true, ..cpu }.run(DeviceChoice::Cpu)?;
        let ([_, by_rounding], _) = differences(&set, &rounded, &wanted);
        ([BF16.0, BF16.1 * by_rounding], format!("{by_rounding:.1e}"))
    };
    let start = weights(&set, 7, false);
    let [params_on_cpu, average_on_cpu] = updated(&prepared, &start, &found)?;
    let moved = |params: &[f32]| params.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<f32>>();
    let [update, average] = [(&found.params, &params_on_cpu), (&found.average, &average_on_cpu)].map(|(a, b)| error(&moved(a), &moved(b)));
    let name = format!("{:?}, {:?}{}", case.stage, case.precision, if case.recompute { ", recomputed" } else { "" });
    println!(
        "| {name} | {:.6} | {loss:.1e} | {gradient:.1e} | {tensor} | {by_rounding} | {update:.1e} | {average:.1e} | {seconds:.1} |",
        found.terms[0].1
    );
    let bounds = [
        ("loss", loss, limits[0]),
        ("gradient", gradient, limits[1]),
        ("update", update, UPDATE),
        ("average", average, UPDATE),
    ];
    let wrong = bounds.iter().filter(|(_, error, limit)| is_wrong(*error, *limit));
    Ok(wrong
        .map(|(what, error, limit)| format!("{name}: {what} is off by {error:.1e}, at most {limit:.0e} is rounding"))
        .collect())
}
