//! `bench`: the speed of training.

use super::{print_bytes, print_json, print_line};
use crate::bench::operations::{self, Row};
use crate::bench::report::{Report, StageReport};
use crate::bench::step::{Stepper, flops};
use crate::bench::{median, peak};
use crate::cli::{Bench, BenchStage};
use crate::config::{RunConfig, Stage};
use crate::device::OnDevice;
use crate::error::Error;
use crate::training::Engine;
use std::io::BufRead;

pub(super) fn run(args: &Bench) -> Result<(), Error> {
    if args.settings.data.is_some() {
        return Err(Error::Argument {
            what: "--data: bench trains on random pictures in memory".to_owned(),
            hint: Some("leave --data out".to_owned()),
        });
    }
    let stages: &[Stage] = match args.stage {
        BenchStage::Pretrain => &[Stage::Pretrain],
        BenchStage::Finetune => &[Stage::Consistency],
        BenchStage::All => &[Stage::Pretrain, Stage::Consistency],
    };
    let configs = stages
        .iter()
        .map(|&stage| Ok(super::resolve(stage, &args.settings, None)?.0))
        .collect::<Result<Vec<_>, Error>>()?;
    if args.interleave && configs.len() > 1 {
        return Err(Error::Argument {
            what: "--interleave measures one stage".to_owned(),
            hint: Some("add --stage pretrain or --stage finetune".to_owned()),
        });
    }
    // Both stages have the flags' device.
    let Some(config) = configs.first() else { return Ok(()) };
    let (device, requirements) = (config.device()?, config.requirements()?);
    device.run(requirements, Work { args, configs })?
}

/// What is measured, on the device that the settings name.
struct Work<'a> {
    args: &'a Bench,
    configs: Vec<RunConfig>,
}

impl OnDevice for Work<'_> {
    type Output = Result<(), Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Result<(), Error> {
        let args = self.args;
        let steppers = self.configs.into_iter().map(|config| Stepper::<B>::new(config, device));
        let steppers = steppers.collect::<Result<Vec<_>, _>>()?;
        if args.interleave {
            return steppers.into_iter().try_for_each(interleave);
        }
        let peak_gflops = peak::measure();
        let stages = steppers.into_iter().map(|stepper| measure(stepper, args, peak_gflops, device));
        let stages = stages.collect::<Result<_, _>>()?;
        let report = Report { schema: 1, threads: rayon::current_num_threads(), peak_gflops, stages };
        if args.json {
            print_json(&report)?;
        } else {
            print_bytes(report.to_string().as_bytes())?;
        }
        Ok(())
    }
}

const fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Pretrain => "pretrain",
        Stage::Consistency => "finetune",
    }
}

/// Takes and times the steps that were asked for.
fn measure<B: Engine>(mut stepper: Stepper<B>, args: &Bench, peak_gflops: f64, device: &B::Device) -> Result<StageReport, Error> {
    for _ in 0..args.warmup {
        stepper.step()?;
    }
    let timed = (0..args.steps).map(|_| stepper.step()).collect::<Result<Vec<_>, _>>()?;
    let taught = timed.iter().map(|step| step.taught as f64).sum::<f64>() / timed.len() as f64;
    let fastest = timed.iter().map(|step| step.seconds).fold(f64::INFINITY, f64::min);
    let seconds = median(timed.iter().map(|step| step.seconds).collect());
    let config: &RunConfig = stepper.config();
    let gflop = 1e-9 * flops(config, taught);
    let operations: Vec<Row> = if args.ops {
        operations::measure::<B>(config, taught, seconds, device)
    } else {
        Vec::new()
    };
    Ok(StageReport {
        stage: name(config.stage),
        preset: config.preset.clone(),
        batch: config.train.batch,
        taught,
        parameters: stepper.parameters(),
        steps: timed.len(),
        seconds,
        fastest,
        images_per_second: config.train.batch as f64 / seconds,
        gflop,
        of_peak: gflop / seconds / peak_gflops,
        operations,
    })
}

/// Describes the run in a line of JSON, then answers every line on stdin with a step: its seconds and the pictures of its teacher.
fn interleave<B: Engine>(mut stepper: Stepper<B>) -> Result<(), Error> {
    let config = stepper.config();
    let header = serde_json::json!({
        "preset": config.preset,
        "stage": name(config.stage),
        "batch": config.train.batch,
        "parameters": stepper.parameters(),
        "threads": rayon::current_num_threads(),
    });
    print_line(&header.to_string())?;
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break; // the other side has gone
        }
        let step = stepper.step()?;
        print_line(&format!("{:.6} {}", step.seconds, step.taught))?;
    }
    Ok(())
}
