//! The loop around an objective: schedule, optimiser, averages, state, steps.

pub mod ema;
pub mod optimiser;
pub mod schedule;
pub mod state;
pub mod step;

pub use ema::{Ema, EmaConfig};
pub use optimiser::{AdamW, OptimiserConfig};
pub use schedule::{Schedule, Shape};
pub use state::State;
pub use step::{Outcome, step};
