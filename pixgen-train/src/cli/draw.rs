//! `sample`, and how it and `eval` draw.

use super::device::DeviceArgs;
use super::model::ModelArgs;
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// How `sample` and `eval` draw.
#[derive(Debug, Args)]
#[command(next_help_heading = "How pictures are drawn")]
pub struct SamplingArgs {
    /// Steps: 1 or 2 for a one-step generator (default 1; 2 makes pictures of stage 3 worse); noise levels for a diffusion model (default 32)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: Option<u32>,
    /// Diffusion: sampler
    #[arg(long, value_enum, default_value = "heun")]
    pub sampler: SamplerName,
    /// Diffusion: noise levels between which guidance acts, before the shift for the resolution; default 0.19,1.61
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub interval: Option<(f64, f64)>,
    /// Diffusion: the weaker model of autoguidance: a model file, run folder or checkpoint
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub weak: Option<PathBuf>,
}

/// Two numbers, the second above the first.
fn interval(text: &str) -> Result<(f64, f64), String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low >= 0.0 && high > low => Ok((low, high)),
        _ => Err("two numbers are needed, the second above the first, for example 0.19,1.61".to_owned()),
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
#[command(after_help = "Examples:  pixgen-train sample q --class all --seed 7 --out grid.png\n           \
     pixgen-train sample q --count 50000 --out samples/\n           \
     pixgen-train sample q --count 50000 --out samples.npz\n           \
     pixgen-train sample q --walk 3:7..5:9 --out walk.png\n\n\
    --out says what is written:\n  \
    x.png       a grid: a column for each class, or rows of one class\n  \
    x/ or x     a folder of PNG files 000000.png, 000001.png, ..\n  \
    x.npz       one file for ADM's evaluator: arr_0 with N x H x W x 3 bytes, arr_1 with the classes\n  \
    x.zip       one file in the layout of EDM's tools\n\
    In all of them picture N is that of (--seed, N), of class N mod the number of classes.\n\
    Folder, npz and zip can be interrupted: the same command goes on.")]
pub struct SampleArgs {
    /// Model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Class: a number, a name, or `all`
    #[arg(long, default_value = "all")]
    pub class: String,
    /// An animated PNG of --count pictures from A to B instead, each CLASS, CLASS:SEED or CLASS:SEED:NUMBER, for example 3:7..5:9
    #[arg(long, value_name = "A..B", conflicts_with_all = ["class", "preview"])]
    pub walk: Option<String>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0, help_heading = "How pictures are drawn")]
    pub seed: u64,
    /// Diffusion: guidance weight, 1 for none; guides away from the model without class, or from the model of --weak
    #[arg(long, value_name = "W", default_value_t = 1.0, help_heading = "How pictures are drawn")]
    pub guidance: f64,
    /// How
    #[command(flatten)]
    pub drawn: SamplingArgs,
    /// Pictures: of each class for a grid (default 8), of all classes together for a folder, npz or zip; of a walk (default 60)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub count: Option<u32>,
    /// Grid, folder or archive, by its name
    #[arg(long, short, value_hint = ValueHint::AnyPath, default_value = "grid.png")]
    pub out: PathBuf,
    /// Where to draw
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Show the grid in the terminal even if stdout is not one
    #[arg(long)]
    pub preview: bool,
}
