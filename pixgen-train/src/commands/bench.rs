//! `bench`: the speed of training.

use super::settings::{StageSettings, resolve};
use crate::bench::operations::{self, OperationTiming};
use crate::bench::report::{BenchReport, StageBench};
use crate::bench::step::{Stepper, flops};
use crate::bench::{median, peak};
use crate::cli::{BenchArgs, BenchStage};
use crate::config::{RunConfig, StageKind};
use crate::device::OnDevice;
use crate::error::Error;
use crate::needs::memory::{fit_micro_batch, requirements};
use crate::precision::Precision;
use crate::roofline::gpu::of_product;
use crate::training::Engine;
use pixgen_edge::terminal::{print_json, print_line, print_text};
use std::io::BufRead;

pub(super) fn run(args: &BenchArgs) -> Result<(), Error> {
    if args.settings.data.is_some() {
        return Err(Error::Argument {
            what: "--data: bench trains on random pictures in memory".to_owned(),
            hint: Some("leave --data out".to_owned()),
        });
    }
    let stages: &[StageKind] = match args.stage {
        BenchStage::Pretrain => &[StageKind::Pretrain],
        BenchStage::Finetune => &[StageKind::Consistency],
        BenchStage::Diffusion => &[StageKind::Diffusion],
        BenchStage::Drift => &[StageKind::Drift],
        BenchStage::All => &[StageKind::Pretrain, StageKind::Consistency],
    };
    let configs = stages
        .iter()
        .map(|&stage| {
            let StageSettings { mut config, auto_micro_batch, .. } = resolve(stage, &args.settings, &[], None)?;
            if auto_micro_batch {
                fit_micro_batch(&mut config, 1)?;
            }
            Ok(config)
        })
        .collect::<Result<Vec<_>, Error>>()?;
    if args.interleave && configs.len() > 1 {
        return Err(Error::Argument {
            what: "--interleave measures one stage".to_owned(),
            hint: Some("add --stage pretrain or --stage finetune".to_owned()),
        });
    }
    // Both stages have the flags' device.
    let Some(config) = configs.first() else { return Ok(()) };
    let (device, requirements) = (config.device()?, requirements(config, 1)?);
    let published_gflops = match config.compute.precision {
        Precision::Bf16 => device.product().and_then(|product| of_product(&product)).map(|gpu| 1e-9 * gpu.tensor),
        Precision::F32 => None,
    };
    device.run(requirements, Work { args, configs, published_gflops })?
}

/// What is measured, on the device that the settings name.
struct Work<'a> {
    args: &'a BenchArgs,
    configs: Vec<RunConfig>,
    published_gflops: Option<f64>,
}

impl OnDevice for Work<'_> {
    type Output = Result<(), Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Result<(), Error> {
        let args = self.args;
        let precision = self.configs.first().map_or_else(Precision::default, |config| config.compute.precision);
        // Each is built when its turn comes, so that a GPU holds one at a time.
        let mut steppers = self.configs.into_iter().map(|config| Stepper::<B>::new(config, device));
        if args.interleave {
            return steppers.try_for_each(|stepper| interleave(stepper?, self.published_gflops, device));
        }
        let peak_gflops = peak::measure::<B>(precision, device);
        let peaks = Peaks { measured: peak_gflops, published: self.published_gflops };
        let stages = steppers.map(|stepper| measure(stepper?, args, peaks, device));
        let stages = stages.collect::<Result<_, _>>()?;
        let threads = rayon::current_num_threads();
        let report = BenchReport { schema: 1, threads, peak_gflops, published_gflops: self.published_gflops, stages };
        if args.json {
            print_json(&report)?;
        } else {
            print_text(&report.to_string())?;
        }
        Ok(())
    }
}

const fn name(stage: StageKind) -> &'static str {
    match stage {
        StageKind::Pretrain => "pretrain",
        StageKind::Diffusion => "diffusion",
        StageKind::Consistency => "finetune",
        StageKind::Drift => "drift",
    }
}

/// What a step is compared with, GFLOP/s.
#[derive(Clone, Copy)]
struct Peaks {
    measured: f64,
    published: Option<f64>,
}

/// Takes and times the steps that were asked for.
fn measure<B: Engine>(mut stepper: Stepper<B>, args: &BenchArgs, peaks: Peaks, device: &B::Device) -> Result<StageBench, Error> {
    for _ in 0..args.warmup {
        stepper.step()?;
    }
    let timed = (0..args.steps).map(|_| stepper.step()).collect::<Result<Vec<_>, _>>()?;
    let teacher_images = timed.iter().map(|step| step.teacher_images as f64).sum::<f64>() / timed.len() as f64;
    let fastest = timed.iter().map(|step| step.seconds).fold(f64::INFINITY, f64::min);
    let seconds = median(timed.iter().map(|step| step.seconds).collect());
    let config: &RunConfig = stepper.config();
    let gflop = 1e-9 * flops(config, teacher_images);
    let memory = B::reserved_memory(device);
    let operations: Vec<OperationTiming> = if args.ops {
        operations::measure::<B>(config, teacher_images, seconds, device)
    } else {
        Vec::new()
    };
    Ok(StageBench {
        stage: name(config.stage.kind()),
        preset: config.preset.clone(),
        batch: config.train.batch,
        micro_batch: config.micro_batch(),
        teacher_images,
        parameters: stepper.parameters(),
        steps: timed.len(),
        seconds,
        fastest,
        images_per_second: config.train.batch as f64 / seconds,
        gflop,
        of_peak: gflop / seconds / peaks.measured,
        mfu: peaks.published.map(|published| gflop / seconds / published),
        memory,
        operations,
    })
}

/// Describes the run in a line of JSON, then answers every line on stdin with a step: its seconds, the pictures of its teacher, and
/// the bytes that the device's memory holds (0 on the CPU).
fn interleave<B: Engine>(mut stepper: Stepper<B>, published_gflops: Option<f64>, device: &B::Device) -> Result<(), Error> {
    let config = stepper.config();
    let header = serde_json::json!({
        "preset": config.preset,
        "stage": name(config.stage.kind()),
        "batch": config.train.batch,
        "parameters": stepper.parameters(),
        "threads": rayon::current_num_threads(),
        // Of a step without a teacher, and of each picture that the teacher draws.
        "gflop": [1e-9 * flops(config, 0.0), 1e-9 * (flops(config, 1.0) - flops(config, 0.0))],
        "published_gflops": published_gflops,
    });
    print_line(&header.to_string())?;
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break; // the other side has gone
        }
        let step = stepper.step()?;
        print_line(&format!("{:.6} {} {}", step.seconds, step.teacher_images, B::reserved_memory(device).unwrap_or(0)))?;
    }
    Ok(())
}
