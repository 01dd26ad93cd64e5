//! The loop around an objective: schedule, optimiser, averages, state, steps.

pub mod ema;
pub mod flat;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub mod gpu;
mod host;
pub mod muon;
pub mod optimiser;
pub mod schedule;
pub mod state;
pub mod step;

pub use ema::EmaConfig;
pub use flat::{Engine, Flat};
pub use optimiser::{OptimiserConfig, OptimiserKind};
pub use schedule::{LrShape, Schedule};
pub use state::{Ema, State};
pub use step::{Outcome, step};
