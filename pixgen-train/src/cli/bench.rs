//! `bench`: how fast, here and on paper.

use super::train::SettingsArgs;
use crate::roofline::exchange::Interconnect;
use clap::{Args, ValueEnum};

/// Which stages `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchStage {
    /// Stage 1
    Pretrain,
    /// Stage 2b
    Finetune,
    /// Stage 2a
    Diffusion,
    /// Stage 3
    Drift,
    /// Stages 1 and 2b
    All,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-train bench --preset base-32-rgb --batch 32 --stage finetune --threads 2 --ops\n           \
     pixgen-train bench --model EPG-XL-16-256 --roofline h100\n\n\
    A step is a whole optimiser step on random pictures in memory: views and noise, forward, backward, optimiser, averages."
)]
pub struct BenchArgs {
    /// What to measure
    #[arg(long, value_enum, default_value = "all")]
    pub stage: BenchStage,
    /// Settings
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Timed steps per stage
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub steps: u32,
    /// Untimed steps before them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub warmup: u32,
    /// Also time every fused operation, forward and backward
    #[arg(long)]
    pub ops: bool,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Take a step for every line on stdin and answer with its seconds, so that a script can alternate with another program
    #[arg(long, conflicts_with_all = ["ops", "json", "steps", "warmup"])]
    pub interleave: bool,
    /// On paper
    #[command(flatten)]
    pub roofline: RooflineArgs,
}

/// Arguments of `bench --roofline`; batch, micro-batch, precision and recomputation are those of the settings.
#[derive(Debug, Args)]
pub struct RooflineArgs {
    /// Compute instead of measure: device whose published peaks bound the step: h100, h200, a100-80, a100-40, l40s, rtx4090
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["ops", "interleave", "stage", "steps", "warmup", "device", "tf32"])]
    pub roofline: Option<String>,
    /// Model of the roofline, the same as --preset, in upper or lower case; `inspect --presets` lists them
    #[arg(long, value_name = "PRESET", requires = "roofline", conflicts_with = "preset")]
    pub model: Option<String>,
    /// Share of their peak that matrix products reach; 1 is the roofline
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub matmul_efficiency: f64,
    /// GPUs that share the recipe, 8 by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gpus: Option<u32>,
    /// With --gpus: also what they tell each other in a step, and how long that takes
    #[arg(long, value_enum, requires = "roofline")]
    pub interconnect: Option<Interconnect>,
}
