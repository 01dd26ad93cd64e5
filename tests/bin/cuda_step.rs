//! Compares a GPU with the CPU: loss, gradient and update of whole training steps of small networks, or the operations of a large one.
//! `tests/cuda/execute.sh` runs it without a GPU; on a machine with one it runs as it is.
//!
//! ```text
//! cuda_step [DEVICE]                     cuda by default
//! cuda_step DEVICE PRESET PRECISION      every operation of a step of a preset, at its sizes, instead
//! ```
//!
//! The update is compared with the CPU's for the same gradient, since AdamW's first step knows only the signs of most numbers.

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::presets::preset;
use pixgen_edge::param_set::ParamSet;
use pixgen_tests::stages::{PROJECTOR, consistency_settings, pretrain_settings, random_weights, source};
use pixgen_train::bench::compare::{OperationDifference, compare, error, is_worse};
use pixgen_train::config::{RunConfig, StageKind};
use pixgen_train::device::{CpuDevice, DeviceChoice, DeviceProblem, OnDevice, Requirements};
use pixgen_train::distributed::{Collective, Share};
use pixgen_train::objective::{
    Compute, Consistency, Drift, DriftConfig, FrozenEncoder, Objective, Pretrain, StepError, StepLoss, Terms, TrainingProgress,
};
use pixgen_train::precision::Precision;
use pixgen_train::training::{EmaConfig, Engine, Flat, LrShape, OptimiserConfig, Outcome, Schedule, State, step};
use std::process::ExitCode;
use std::time::Instant;

/// Which step.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Pretrain,
    Consistency,
    Drift,
}

/// A step on any device.
#[derive(Debug, Clone, Copy)]
struct Case {
    stage: Stage,
    precision: Precision,
    /// Pictures, and those that go through the network at once.
    batch: [usize; 2],
    /// Weights start as numbers of bf16.
    rounded: bool,
}

impl Case {
    const fn new(stage: Stage, precision: Precision, batch: [usize; 2]) -> Self {
        Self { stage, precision, batch, rounded: false }
    }
}

/// The steps that are compared.
const CASES: [Case; 5] = [
    Case::new(Stage::Pretrain, Precision::F32, [6, 6]),
    Case::new(Stage::Consistency, Precision::F32, [3, 2]),
    Case::new(Stage::Drift, Precision::F32, [4, 4]),
    Case::new(Stage::Pretrain, Precision::Bf16, [6, 6]),
    Case::new(Stage::Consistency, Precision::Bf16, [3, 2]),
];

/// What loss and gradient may differ by in `f32`: the loss as a share of it, the gradient of a tensor by norms.
const F32: [f64; 2] = [1e-5, 1e-3];

/// In bf16 the loss may be off by a rounding or two, and the gradient by so many times what it is off on the CPU with weights that are
/// rounded to bf16: activations are rounded as well, at every operation. How much that does depends on the stage, as batch norms and
/// contrasts amplify it.
const BF16: (f64, f64) = (8e-3, 4.0);

/// The update is `f32` in any case.
const UPDATE: f64 = 1e-5;

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

/// Two towers of two blocks and of different widths, heads of 32, 51 tokens.
fn model() -> ModelConfig {
    let model = preset("nano-28-grey").expect("a preset").model;
    let tower = |heads| Tower { depth: 2, width: 32 * heads, heads };
    ModelConfig { encoder: tower(2), decoder: tower(3), ..model }
}

/// What a step leaves.
struct Answer {
    terms: Terms,
    gradient: Vec<f32>,
    params: Vec<f32>,
    average: Vec<f32>,
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

fn take<B: Engine>(objective: &mut dyn Objective<B>, case: Case, device: &B::Device) -> Answer {
    let optimiser = OptimiserConfig {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.05,
        decay_position: false,
        decay_vectors: false,
        clip: 1.0,
    };
    let schedule = Schedule { peak: 1e-3, warmup: 0, shape: LrShape::Constant, final_factor: 1.0 };
    let [batch, micro_batch] = case.batch;
    let progress = TrainingProgress { seed: 9, images: 3200, total: 6400, batch, micro_batch, share: Share::default() };
    let set = objective.params();
    let mut state = State::new::<B>(set, &weights(set, 7, case.rounded), &[EmaConfig::Decay { decay: 0.99 }], device);
    let mut gradient = B::Flat::zeros(set, device);
    let outcome = step(objective, &mut state, &progress, &optimiser, &schedule, &mut gradient, &Collective::default()).expect("pictures");
    let Outcome::Taken { loss, .. } = outcome else {
        panic!("{outcome:?}")
    };
    Answer {
        terms: loss.terms,
        gradient: gradient.host().into_owned(),
        params: state.params.host().into_owned(),
        average: state.emas[0].values.host().into_owned(),
    }
}

impl OnDevice for Case {
    type Output = Answer;

    fn run<B: Engine>(self, device: &B::Device) -> Answer {
        let (model, noise) = (model(), NoiseConfig::with_shift(1.0));
        let compute = Compute { precision: self.precision, ..Compute::default() };
        let device = device.clone();
        match self.stage {
            Stage::Pretrain => {
                let set = ParamSet::pretraining(&model, &PROJECTOR);
                let target = weights(&set, 8, self.rounded);
                let objective = Pretrain::<B>::new(model, noise, pretrain_settings(), source(), &target, device.clone());
                take(&mut objective.with_compute(compute), self, &device)
            }
            Stage::Consistency => {
                let frozen = FrozenEncoder::fresh(&model, &PROJECTOR, 4);
                let objective = Consistency::<B>::new(model, noise, consistency_settings(), source(), Some(frozen), device.clone());
                take(&mut objective.with_compute(compute), self, &device)
            }
            Stage::Drift => {
                let objective = Drift::<B>::new(model, noise, DRIFT, source(), None, device.clone());
                take(&mut objective.with_compute(compute), self, &device)
            }
        }
    }
}

impl Case {
    fn set(self) -> ParamSet {
        match self.stage {
            Stage::Pretrain => ParamSet::pretraining(&model(), &PROJECTOR),
            Stage::Consistency | Stage::Drift => ParamSet::generator(&model()),
        }
    }
}

/// A gradient that is there already.
struct Given {
    set: ParamSet,
    terms: Terms,
    gradient: Vec<f32>,
}

impl Objective<pixgen_train::device::Cpu> for Given {
    fn params(&self) -> &ParamSet {
        &self.set
    }

    fn gradient(&mut self, _: &Vec<f32>, _: &TrainingProgress, gradient: &mut Vec<f32>) -> Result<StepLoss, StepError> {
        gradient.copy_from_slice(&self.gradient);
        Ok(StepLoss { terms: self.terms.clone(), by_noise: Vec::new() })
    }
}

/// Every operation of stage 2b of a preset, on two pictures.
struct Operations(RunConfig);

impl OnDevice for Operations {
    type Output = Vec<OperationDifference>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        compare::<B>(&self.0, device)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        [] => steps("cuda"),
        [device] => steps(device),
        [device, preset, precision] => operations(device, preset, precision),
        _ => Err("cuda_step [DEVICE [PRESET PRECISION]]".to_owned()),
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

/// Prints the operations, and returns what is wrong.
fn operations(device: &str, name: &str, precision: &str) -> Result<Vec<String>, String> {
    let device: DeviceChoice = device.parse().map_err(|error: DeviceProblem| error.to_string())?;
    let preset = preset(name).ok_or_else(|| format!("{name} is no preset"))?;
    let mut config = RunConfig::defaults(StageKind::Consistency, preset);
    config.train.batch = 2;
    config.compute.precision = match precision {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("{other} is neither f32 nor bf16")),
    };
    let is_bf16 = config.compute.precision == Precision::Bf16;
    let requirements = Requirements { bf16: is_bf16, ..Requirements::default() };
    let differences = device.run(requirements, Operations(config)).map_err(|error| error.to_string())?;
    let limit = OPERATION[usize::from(is_bf16)];
    println!("| operation of {name}, {precision} | output | gradients |");
    println!("|---|---:|---:|");
    let mut wrong = Vec::new();
    for OperationDifference { name, output, gradient } in differences {
        println!("| {name} | {output:.1e} | {gradient:.1e} |");
        if is_wrong(output, limit) || is_wrong(gradient, limit) {
            wrong.push(format!("{name} is off by {output:.1e} and {gradient:.1e}, at most {limit:.0e} is rounding"));
        }
    }
    Ok(wrong)
}

/// Prints the steps, and returns what is wrong.
fn steps(device: &str) -> Result<Vec<String>, String> {
    let device: DeviceChoice = device.parse().map_err(|error: DeviceProblem| error.to_string())?;
    println!(
        "| stage, precision | loss | off the CPU's by | gradient, worst tensor | | by rounding weights | update | average | seconds |"
    );
    println!("|---|---:|---:|---:|---|---:|---:|---:|---:|");
    let mut wrong = Vec::new();
    for case in CASES {
        wrong.extend(one(device, case)?);
    }
    Ok(wrong)
}

/// How far loss and gradient of a step are from others: the loss as a share of it, of the gradient the tensor that is furthest off.
fn differences(set: &ParamSet, found: &Answer, wanted: &Answer) -> ([f64; 2], String) {
    let part = |answer: &Answer, range: std::ops::Range<usize>| answer.gradient[range].to_vec();
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
    let run = |device: DeviceChoice, case: Case| {
        let requirements = Requirements { bf16: case.precision == Precision::Bf16, ..Requirements::default() };
        device.run(requirements, case).map_err(|error| error.to_string())
    };
    let cpu = Case { precision: Precision::F32, ..case };
    let wanted = run(DeviceChoice::Cpu, cpu)?;
    let started = Instant::now();
    let found = run(device, case)?;
    let seconds = started.elapsed().as_secs_f64();
    let set = case.set();
    let ([loss, gradient], tensor) = differences(&set, &found, &wanted);
    let (limits, by_rounding) = if case.precision == Precision::F32 {
        (F32, String::new())
    } else {
        let rounded = run(DeviceChoice::Cpu, Case { rounded: true, ..cpu })?;
        let ([_, by_rounding], _) = differences(&set, &rounded, &wanted);
        ([BF16.0, BF16.1 * by_rounding], format!("{by_rounding:.1e}"))
    };
    let mut given = Given { set: case.set(), terms: found.terms.clone(), gradient: found.gradient.clone() };
    let updated = take(&mut given, cpu, &CpuDevice::default());
    let start = weights(&set, 7, false);
    let moved = |params: &[f32]| params.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<f32>>();
    let [update, average] =
        [(&found.params, &updated.params), (&found.average, &updated.average)].map(|(a, b)| error(&moved(a), &moved(b)));
    let name = format!("{:?}, {:?}", case.stage, case.precision);
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
