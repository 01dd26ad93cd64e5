//! `--dry-run`: what a run would do, need and take, before it starts.

use super::memory::{self, Setup};
use crate::config::{RunConfig, Stage};
use crate::distributed::Collective;
use crate::error::Error;
use crate::prepared::{Prepared, parameter_list};
use crate::roofline::exchange::Gathered;
use crate::training::{Engine, Flat, State, step};
use pixgen_core::diffusion::{DiffusionSampler, Guidance};
use pixgen_core::plan::plan as count;
use pixgen_edge::units::{counted, format_bytes, format_duration, format_images, format_macs};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// Multiply-accumulates that the timed steps may take; larger models are timed with a smaller batch, or not at all.
const TIMED_MACS: u64 = 400_000_000_000;
/// Timed steps, after one that is not timed.
const TIMED_STEPS: usize = 3;

/// Bytes by kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryNeeds {
    /// Parameters, gradients, moments, averages, copies for the network, target network.
    pub state: u64,
    /// Activations kept for the backward pass of what goes through the network at once, and their gradients in flight.
    pub activations: u64,
    /// Moments and averages that other ranks hold.
    pub elsewhere: u64,
    /// Pictures in memory; 0 if they are decoded when their turn comes.
    pub data: u64,
    /// The sum.
    pub total: u64,
    /// The largest micro-batch that fits into the free memory of the device; none if not even one image does, or the memory is not known.
    pub largest_micro_batch: Option<usize>,
}

/// How the paper draws with a diffusion model (docs/reference/method.md section 4); levels before the shift.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PaperSampling {
    /// Points of the grid.
    pub levels: usize,
    /// Weight of guidance.
    pub guidance: f64,
    /// Guidance acts above this level.
    pub low: f64,
    /// And up to this one.
    pub high: f64,
    /// Network evaluations for each picture.
    pub evaluations: u32,
}

impl PaperSampling {
    /// Of a stage 2a at a resolution whose weight of guidance the paper gives.
    fn of(config: &RunConfig) -> Option<Self> {
        let weight = match config.model.size {
            256 => 2.5,
            512 => 3.2,
            _ => return None,
        };
        let guidance = Guidance::paper(weight);
        let sampler = DiffusionSampler::paper(Some(guidance), (0.0, 0.0));
        let Guidance { weight, low, high } = guidance;
        let evaluations = sampler.evaluations(&config.noise);
        matches!(config.stage, Stage::Diffusion(_)).then_some(Self { levels: sampler.levels, guidance: weight, low, high, evaluations })
    }
}

/// Why a dry run times no steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untimed {
    /// No data were given.
    NoData,
    /// The device of the settings is not here.
    NoDevice,
    /// Two pictures a step would take too long.
    TooLarge,
}

impl fmt::Display for Untimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoData => "no data were given (--data)",
            Self::NoDevice => "the device is not here",
            Self::TooLarge => "a step of two pictures would take too long on this machine",
        })
    }
}

/// Processes that share a run out.
#[derive(Clone, Copy, Debug)]
pub struct Processes {
    /// How many.
    pub count: usize,
    /// They divide moments and averages.
    pub divide: bool,
}

impl Processes {
    /// One alone.
    pub const ONE: Self = Self { count: 1, divide: false };

    /// The settings with the part of a batch that one of them computes.
    pub fn part(&self, config: &RunConfig) -> RunConfig {
        let mut part = config.clone();
        part.train.batch = config.largest_part(self.count);
        part
    }

    /// Those that divide moments and averages.
    pub const fn divided(&self) -> usize {
        if self.divide { self.count } else { 1 }
    }
}

/// The plan of a run.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// Version of these keys.
    pub schema: u32,
    /// The resolved settings.
    pub config: RunConfig,
    /// Processes; `memory` is that of one of them.
    pub processes: usize,
    /// Optimiser steps.
    pub steps: u64,
    /// Stage 2a: how the paper draws with such a model.
    pub drawing: Option<PaperSampling>,
    /// Trained values.
    pub parameters: usize,
    /// Multiply-accumulates of one forward pass of one picture, without the attention products.
    pub macs_per_image: usize,
    /// Those of the attention products.
    pub attention_macs_per_image: usize,
    /// Training pictures.
    pub pictures: usize,
    /// Pictures kept out.
    pub held_out: usize,
    /// Bytes.
    pub memory: MemoryNeeds,
    /// Measured speed; `None` if no step was timed.
    pub images_per_second: Option<f64>,
    /// Why no step was timed.
    #[serde(skip)]
    pub untimed: Option<Untimed>,
    /// Estimated time of the whole run.
    pub seconds: Option<f64>,
}

/// Plans a run and, where there is a device, times a few steps of it, without writing anything.
///
/// # Errors
/// Settings with a device that has no such name, and a picture that cannot be read.
pub fn plan<B: Engine>(prepared: &Prepared, device: Option<&B::Device>, processes: Processes) -> Result<DryRun, Error> {
    let config = &prepared.config;
    let setup = Setup::of(config, processes.divided())?;
    let part = processes.part(config);
    let totals = count(&config.model);
    let parameters = parameter_list(config).len();
    // Stage 1 runs the encoder only, about its share of the whole.
    let (macs, attention) = match config.stage {
        Stage::Pretrain(_) => encoder_share(config),
        Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => (totals.macs, totals.attention_macs),
    };
    let data = prepared.training.bytes_in_memory() as u64;
    let estimate = memory::estimate(&part, setup);
    let state = estimate.state();
    let activations = estimate.activations + estimate.in_flight + Gathered::of(&part, processes.count).memory;
    let free = config.device()?.free_memory().ok().flatten();
    let memory = MemoryNeeds {
        state,
        elsewhere: memory::estimate(&part, Setup { ranks: 1, ..setup }).state() - state,
        activations,
        data,
        total: state + activations + data,
        largest_micro_batch: free.and_then(|free| memory::largest_micro_batch(&part, setup, free)),
    };
    let timed = match device {
        _ if prepared.start.params.is_empty() => Err(Untimed::NoData),
        Some(device) => time_steps::<B>(prepared, (macs + attention) as u64, device)?.ok_or(Untimed::TooLarge),
        None => Err(Untimed::NoDevice),
    };
    let images_per_second = timed.ok();
    Ok(DryRun {
        schema: 1,
        config: config.clone(),
        processes: processes.count,
        steps: config.train.images.div_ceil(config.train.batch as u64),
        drawing: PaperSampling::of(config),
        parameters,
        macs_per_image: macs,
        attention_macs_per_image: attention,
        pictures: if prepared.start.params.is_empty() {
            0
        } else {
            prepared.training.len()
        },
        held_out: if prepared.start.params.is_empty() {
            0
        } else {
            prepared.held_out.len()
        },
        memory,
        images_per_second,
        untimed: timed.err(),
        seconds: images_per_second.map(|rate| config.train.images as f64 / rate),
    })
}

/// MACs and attention MACs of the encoder alone.
pub(crate) fn encoder_share(config: &RunConfig) -> (usize, usize) {
    let (mut macs, mut attention) = (0, 0);
    pixgen_core::plan::plan_sites(&config.model, &mut |cost| {
        if cost.site.side == pixgen_core::params::Side::Encoder {
            macs += cost.macs;
            attention += cost.attention_macs;
        }
    });
    (macs, attention)
}

/// Images per second of training, or `None` if even two pictures a step would take too long.
fn time_steps<B: Engine>(prepared: &Prepared, macs: u64, device: &B::Device) -> Result<Option<f64>, Error> {
    // Forward and backward cost three passes, and both objectives run about as many forward passes again.
    let affordable = TIMED_MACS / (TIMED_STEPS as u64 + 1) / (6 * macs).max(1);
    let batch = prepared.config.train.batch.min(usize::try_from(affordable).unwrap_or(usize::MAX));
    if batch < 2 {
        return Ok(None);
    }
    let alone = Collective::default();
    let mut objective = prepared.objective::<B>(device, &alone);
    let set = objective.params();
    let mut state = State::new::<B>(set, &prepared.start.params, &prepared.config.ema.configs(), device);
    let mut gradient = B::Flat::zeros(set, device);
    let mut seconds = Vec::new();
    for _ in 0..=TIMED_STEPS {
        // Half-way through the run, where the teacher has its average share of work.
        let at = prepared.config.train.images / 2 + state.images;
        let mut progress = prepared.progress(at);
        progress.batch = batch;
        progress.micro_batch = progress.micro_batch.min(batch);
        let started = Instant::now();
        let config = &prepared.config;
        step(&mut *objective, &mut state, &progress, &config.optimiser, &config.schedule, &mut gradient, &alone)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    // The first is not counted.
    let fastest = seconds.iter().skip(1).copied().fold(f64::INFINITY, f64::min);
    Ok(Some(batch as f64 / fastest))
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(f, "pictures     {} for training, {} kept out", self.pictures, self.held_out)?;
        let (batch, micro) = (config.train.batch, config.micro_batch());
        let steps = usize::try_from(self.steps).unwrap_or(usize::MAX);
        write!(f, "run          {} = {} of {batch}", format_images(config.train.images), counted(steps, "step", "steps"))?;
        if micro < batch {
            write!(f, ", each in {} micro-batches of {micro} or fewer", batch.div_ceil(micro))?;
        }
        if self.pictures > 0 {
            write!(f, ", {:.1} epochs", config.train.images as f64 / self.pictures as f64)?;
        }
        writeln!(f)?;
        if let Some(drawing) = &self.drawing {
            let PaperSampling { levels, guidance, low, high, evaluations } = drawing;
            writeln!(
                f,
                "drawing      as the paper: {evaluations} evaluations = Heun on {levels} levels, guidance {guidance} for {low} < sigma <= {high}"
            )?;
        }
        writeln!(f, "parameters   {:.3} M", self.parameters as f64 / 1e6)?;
        writeln!(
            f,
            "MACs         {} a picture and pass, and {} in attention products",
            format_macs(self.macs_per_image as u64),
            format_macs(self.attention_macs_per_image as u64)
        )?;
        let memory = &self.memory;
        writeln!(
            f,
            "memory       {} = state {} + activations {} + data {}",
            format_bytes(memory.total),
            format_bytes(memory.state),
            format_bytes(memory.activations),
            format_bytes(memory.data)
        )?;
        if self.processes > 1 {
            writeln!(f, "             for each of {} processes", self.processes)?;
        }
        if memory.elsewhere > 0 {
            writeln!(
                f,
                "             moments and averages are divided: {} of them lie at other ranks",
                format_bytes(memory.elsewhere)
            )?;
        }
        if let Some(largest) = memory.largest_micro_batch {
            writeln!(f, "             the largest micro-batch that fits here: {largest}")?;
        }
        match (self.images_per_second, self.seconds) {
            (Some(rate), Some(seconds)) => {
                let time = format_duration(Duration::from_secs_f64(seconds.min(1e12)));
                let of = if self.processes > 1 { " of one process alone" } else { "" };
                writeln!(f, "time         {time} at {rate:.0} images/s{of} (fastest of {TIMED_STEPS} timed steps)")
            }
            _ => writeln!(f, "time         not measured: {}", self.untimed.unwrap_or(Untimed::TooLarge)),
        }
    }
}
