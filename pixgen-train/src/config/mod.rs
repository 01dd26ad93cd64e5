//! The plain configuration of a run: every setting with its value, written to `config.toml` before work starts.
//!
//! A stage's defaults for a preset come from its [`TrainingRecipe`]; files, environment and flags are laid over them
//! ([`crate::settings`]), and [`RunConfig::validate`] looks at the result as a whole.

mod file;
mod problem;
mod recipes;
mod run;
mod stage;
mod validate;

pub use problem::ConfigProblem;
pub use recipes::TrainingRecipe;
pub use run::{ComputeConfig, DataConfig, EmaSettings, NormaliseMode, OutputConfig, QualityConfig, RunConfig, TrainConfig};
pub use stage::{Stage, StageKind};
