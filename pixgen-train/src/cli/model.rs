//! The model of the verbs that draw, measure or export one.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// A model, and which of the averages of its weights.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A model file, a run folder (even of a run in progress), or a checkpoint in one
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// Average of the weights: `raw`, `share-0.02`, `decay-0.99`, ..; by default the exported one. The others are in the checkpoints of a run
    #[arg(long, value_name = "NAME")]
    pub ema: Option<String>,
}
