//! `sample`, and how it and `eval` draw.

use super::device::DeviceArgs;
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// How `sample` and `eval` draw.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// Steps: 1 or 2 for a one-step generator (default 1); noise levels for a diffusion model (default 32)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: Option<u32>,
    /// Diffusion: sampler
    #[arg(long, value_enum, default_value = "heun")]
    pub sampler: SamplerName,
    /// Diffusion: noise levels between which guidance acts, before the shift for the resolution; default 0.19,1.61
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub interval: Option<(f64, f64)>,
    /// Diffusion: the weaker model of autoguidance, a model file or run folder
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub weak: Option<PathBuf>,
}

/// Two numbers, the second above the first.
fn interval(text: &str) -> Result<(f64, f64), String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low >= 0.0 && high > low => Ok((low, high)),
        _ => Err("two numbers needed, the second above the first, for example 0.19,1.61".to_owned()),
    }
}

/// Steps of a diffusion sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SamplerName {
    /// One evaluation per step
    Euler,
    /// Two evaluations per step
    Heun,
    /// Heun's, with noise added at each step (EDM)
    Stochastic,
}

/// Arguments of `sample`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train sample q --class all --seed 7 --out grid.png")]
pub struct SampleArgs {
    /// Model file or run folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// Class: a number, a name, or `all`
    #[arg(long, default_value = "all")]
    pub class: String,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Diffusion: guidance weight, 1 for none; guides away from the model without class, or from the model of --weak
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub guidance: f64,
    /// How
    #[command(flatten)]
    pub drawn: SamplingArgs,
    /// Pictures of each class
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// PNG file
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "grid.png")]
    pub out: PathBuf,
    /// Where to draw
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Show the grid in the terminal even if stdout is not one
    #[arg(long)]
    pub preview: bool,
}
