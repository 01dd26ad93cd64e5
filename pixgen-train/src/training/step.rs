//! One optimiser step: gradient, checks, update, averages.

use super::optimiser::{OptimiserConfig, first_non_finite, global_norm};
use super::schedule::Schedule;
use super::state::State;
use crate::objective::{Objective, Progress, Terms};

/// What a step did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The parameters moved.
    Taken {
        /// Terms of the loss.
        terms: Terms,
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

/// Sees the next `progress.batch` images and updates the state. `gradient` is scratch space as long as the parameters.
pub fn step(
    objective: &mut dyn Objective,
    state: &mut State,
    progress: &Progress,
    optimiser: &OptimiserConfig,
    schedule: &Schedule,
    gradient: &mut [f32],
) -> Outcome {
    gradient.fill(0.0);
    let terms = objective.gradient(&state.params, progress, gradient);
    let batch = progress.batch as u64;
    state.images += batch;
    let bad_loss = terms.iter().any(|(_, value)| !value.is_finite()).then(|| "loss".to_owned());
    let bad_gradient = || first_non_finite(objective.params(), gradient).map(str::to_owned);
    // A tensor's name says more than "loss", so look there first when the loss is bad.
    let bad = if bad_loss.is_some() {
        bad_gradient().or(bad_loss)
    } else {
        bad_gradient()
    };
    if let Some(tensor) = bad {
        state.skipped += 1;
        state.skipped_in_row += 1;
        return Outcome::Skipped { tensor };
    }
    state.skipped_in_row = 0;
    let gradient_norm = global_norm(objective.params(), gradient);
    let scale = if optimiser.clip > 0.0 && gradient_norm > optimiser.clip {
        optimiser.clip / gradient_norm
    } else {
        1.0
    };
    let rate = schedule.rate(progress.images, batch, progress.total);
    state
        .adam
        .update(optimiser, objective.params(), rate, scale as f32, gradient, &mut state.params);
    for ema in &mut state.emas {
        ema.update(&state.params, state.adam.updates, batch, progress.total);
    }
    objective.accept(&state.params);
    Outcome::Taken { terms, gradient_norm, rate }
}
