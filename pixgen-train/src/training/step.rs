//! One optimiser step: gradient, checks, update, averages.

use super::flat::{Engine, Flat};
use super::optimiser::{OptimiserConfig, Update, first_non_finite};
use super::schedule::Schedule;
use super::state::State;
use crate::distributed::{Collective, replicas};
use crate::objective::{Objective, StepError, StepLoss, TrainingProgress};

/// What a step did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The parameters moved.
    Taken {
        /// The loss.
        loss: StepLoss,
        /// Global norm of the gradient before clipping.
        gradient_norm: f64,
        /// Learning rate.
        rate: f64,
    },
    /// Something was not finite; parameters, moments and averages are untouched.
    Skipped {
        /// The first tensor with such a gradient, or `loss`.
        tensor: String,
    },
}

/// Sees the next `progress.batch` images and updates the state. `gradient` is scratch space as long as the parameters. Each of the `ranks` sees
/// its share of the images, and all take the same step.
///
/// # Errors
/// A picture that cannot be read; the state is as it was.
pub fn step<B: Engine>(
    objective: &mut dyn Objective<B>,
    state: &mut State<B::Flat>,
    progress: &TrainingProgress,
    optimiser: &OptimiserConfig,
    schedule: &Schedule,
    gradient: &mut B::Flat,
    ranks: &Collective,
) -> Result<Outcome, StepError> {
    gradient.clear();
    let mut loss = objective.gradient(&state.params, progress, gradient)?;
    let share = state.share;
    replicas::sum_gradient::<B>(ranks, objective.params(), share, gradient);
    sum_terms(ranks, &mut loss);
    let batch = progress.batch as u64;
    state.images += batch;
    let gradient_norm = replicas::norm::<B>(ranks, objective.params(), share, gradient);
    let bad_loss = loss.terms.iter().any(|(_, value)| !value.is_finite());
    if bad_loss || !gradient_norm.is_finite() {
        state.skipped += 1;
        state.skipped_in_row += 1;
        if !share.is_whole() {
            gradient.join_parts(objective.params(), share, ranks);
        }
        // A tensor's name says more than "loss". A norm may overflow although no value does.
        let tensor = first_non_finite(objective.params(), &gradient.host());
        let other = if bad_loss { "loss" } else { "the gradient's norm" };
        return Ok(Outcome::Skipped { tensor: tensor.unwrap_or(other).to_owned() });
    }
    state.skipped_in_row = 0;
    let scale = if optimiser.clip > 0.0 && gradient_norm > optimiser.clip {
        optimiser.clip / gradient_norm
    } else {
        1.0
    };
    let rate = schedule.rate(progress.images, batch, progress.total);
    state.updates += 1;
    let ema_weights: Vec<f32> = state
        .emas
        .iter()
        .map(|ema| 1.0 - ema.config.decay(state.updates, batch, progress.total) as f32)
        .collect();
    let update = Update {
        config: optimiser,
        set: objective.params(),
        rate,
        gradient_scale: scale as f32,
        updates: state.updates,
        share,
        ema_weights: &ema_weights,
    };
    let mut averages: Vec<&mut B::Flat> = state.emas.iter_mut().map(|ema| &mut ema.values).collect();
    B::Flat::update(&mut state.params, &mut state.moments, &mut averages, gradient, &update);
    if !share.is_whole() {
        state.params.join_parts(objective.params(), share, ranks);
    }
    objective.accept(&state.params);
    Ok(Outcome::Taken { loss, gradient_norm, rate })
}

/// The terms of all ranks, each of which has a part of them.
fn sum_terms(ranks: &Collective, loss: &mut StepLoss) {
    let mut values: Vec<f64> = loss.terms.iter().map(|(_, value)| *value).collect();
    ranks.sum_few(&mut values);
    loss.terms.iter_mut().zip(values).for_each(|((_, term), sum)| *term = sum);
}
