//! Whole optimiser steps on random pictures.

use crate::config::{RunConfig, Stage};
use crate::distributed::Collective;
use crate::error::Error;
use crate::needs::dry_run::encoder_share;
use crate::objective::Objective;
use crate::prepared::{self, Prepared};
use crate::training::{Engine, Flat, Outcome, State, step};
use pixgen_core::plan::plan;
use std::time::Instant;

/// Random pictures that steps draw from.
const PICTURES: usize = 1024;

/// A run that is only timed.
pub struct Stepper<B: Engine> {
    prepared: Prepared,
    objective: Box<dyn Objective<B>>,
    state: State<B::Flat>,
    gradient: B::Flat,
    device: B::Device,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// Wall-clock time.
    pub seconds: f64,
    /// Loss of the step's batch before the step.
    pub loss: f64,
    /// Pictures that went through the teacher of stage 2b, whose targets need no gradient; in stage 1 the whole batch.
    pub teacher_images: usize,
}

impl<B: Engine> Stepper<B> {
    /// The start of a run with these settings, whose data are replaced by random pictures.
    ///
    /// # Errors
    /// Settings that no run could have.
    pub fn new(config: RunConfig, device: &B::Device) -> Result<Self, Error> {
        let prepared = prepared::prepare_random(config, PICTURES)?;
        let objective = prepared.objective::<B>(device, &Collective::default());
        let state = State::new::<B>(objective.params(), &prepared.start.params, &prepared.config.ema.configs(), device);
        let gradient = B::Flat::zeros(objective.params(), device);
        Ok(Self { prepared, objective, state, gradient, device: device.clone() })
    }

    /// Takes a step, half-way through the run, where the teacher has its average share of work.
    ///
    /// # Errors
    /// A picture that cannot be read, and a gradient that is not finite: the time of a skipped step says nothing.
    pub fn step(&mut self) -> Result<Timed, Error> {
        let config = &self.prepared.config;
        let progress = self.prepared.progress(config.train.images / 2 + self.state.images);
        let teacher_images = match &config.stage {
            Stage::Consistency(settings) => settings
                .pairs(&config.noise, &progress)
                .iter()
                .filter(|pair| settings.needs_teacher(pair))
                .count(),
            Stage::Pretrain(_) => progress.batch,
            Stage::Diffusion(_) | Stage::Drift(_) => 0,
        };
        let started = Instant::now();
        let (objective, state, alone) = (&mut *self.objective, &mut self.state, Collective::default());
        let outcome = step(objective, state, &progress, &config.optimiser, &config.schedule, &mut self.gradient, &alone)?;
        // A GPU may still be at the update. If it has failed, so has the read of the loss before.
        let _ = B::sync(&self.device);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Outcome::Taken { loss, .. } => {
                Ok(Timed { seconds, loss: loss.terms.first().map_or(f64::NAN, |(_, loss)| *loss), teacher_images })
            }
            Outcome::Skipped { tensor } => Err(Error::Diverged { count: 1, tensor, images: self.state.images }),
        }
    }

    /// Changes every parameter: how far do small differences at the start carry?
    pub fn change(&mut self, change: impl Fn(f32) -> f32) {
        let changed: Vec<f32> = self.state.params.host().iter().map(|&value| change(value)).collect();
        self.state.params = B::Flat::upload(self.objective.params(), &changed, &self.device);
    }

    /// Trained values.
    pub fn parameters(&self) -> usize {
        self.objective.params().len()
    }

    /// The settings in use.
    pub fn config(&self) -> &RunConfig {
        &self.prepared.config
    }
}

/// Floating-point operations of a step whose teacher sees `teacher_images` pictures: two for each multiply-accumulate of the network, where a
/// backward pass counts as two forward passes. Losses, norms, projector and optimiser are left out.
pub fn flops(config: &RunConfig, teacher_images: f64) -> f64 {
    let batch = config.train.batch as f64;
    let (macs, passes) = match config.stage {
        Stage::Pretrain(_) => {
            let (macs, attention) = encoder_share(config);
            (macs + attention, 3.0 * (3.0 * batch + teacher_images))
        }
        Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => {
            let totals = plan(&config.model);
            (totals.macs + totals.attention_macs, 3.0 * batch + teacher_images)
        }
    };
    2.0 * macs as f64 * passes
}
