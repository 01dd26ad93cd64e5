//! `eval`, `probe`, `report`: what looks at what was trained.

use super::device::DeviceArgs;
use super::draw::SamplingArgs;
use crate::quality::{FeatureNetwork, Resize};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:  pixgen-train eval q --count 5000 --json\n           \
     pixgen-train eval run --ema all --guidance 1,1.5,2,3 --grid nearest.png\n           \
     pixgen-train eval run --network inception --weights pt_inception.safetensors --reference VIRTUAL_imagenet64_labeled.npz\n\n\
    Pictures are drawn on --device; their features are computed on the CPU.\n\
    Models of Fashion-MNIST are measured by the classifier in this program, all others by EfficientNet-Lite0:\n\
    `pixgen-train data get efficientnet-lite0` fetches it once.")]
pub struct EvalArgs {
    /// Model file or run folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: Option<PathBuf>,
    /// Pictures to draw, of each class as many as the data have in proportion
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub count: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 1_000_000)]
    pub seed: u64,
    /// Averages of a run, one or a list, or `all`; the exported one if not given
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub ema: Vec<String>,
    /// Diffusion: weights of guidance, one or a list; 1 for none
    #[arg(long, value_name = "W,..", value_delimiter = ',', default_values_t = [1.0])]
    pub guidance: Vec<f64>,
    /// How they are drawn
    #[command(flatten)]
    pub drawn: SamplingArgs,
    /// Write pictures of the first set, each beside the nearest training picture
    #[arg(long, value_name = "PNG", value_hint = ValueHint::FilePath)]
    pub grid: Option<PathBuf>,
    /// Measure the pictures of a folder instead; with --against and --size
    #[arg(long, value_hint = ValueHint::DirPath, requires_all = ["against", "size"], conflicts_with_all = ["model", "ema", "data", "grid"])]
    pub folder: Option<PathBuf>,
    /// With --folder: the real pictures
    #[arg(long, value_hint = ValueHint::DirPath, requires = "folder")]
    pub against: Option<PathBuf>,
    /// With --folder: side of the pictures; others are cropped and resized to it
    #[arg(long, value_name = "PIXELS", requires = "folder", value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub size: Option<u32>,
    /// Where pictures are drawn; features are computed on the CPU
    #[command(flatten)]
    pub device: DeviceArgs,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Where features come from
    #[command(flatten)]
    pub features: FeatureArgs,
}

/// What `eval` compares pictures by.
#[derive(Debug, Args)]
#[command(next_help_heading = "How features are taken")]
pub struct FeatureArgs {
    /// `fashion`, `efficientnet-lite0` or `inception`; only the last gives a FID
    #[arg(long, value_parser = clap::value_parser!(FeatureNetwork))]
    pub network: Option<FeatureNetwork>,
    /// Layer: 40, 112, 1280 or logits of EfficientNet-Lite0 (112); 64, 192, 768, 2048 or logits of Inception (2048)
    #[arg(long)]
    pub layer: Option<String>,
    /// Side of the pictures that EfficientNet-Lite0 sees; 96 if not given
    #[arg(long, value_name = "PIXELS")]
    pub input: Option<usize>,
    /// How pictures come to that side: `pil-bicubic` (as clean-fid; if not given) or `tf-bilinear` (as the FID's own code)
    #[arg(long, value_name = "FILTER", value_parser = clap::value_parser!(Resize))]
    pub resize: Option<Resize>,
    /// Weights in safetensors, with the names of the PyTorch package; those of `data get efficientnet-lite0` if not given
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,
    /// Real pictures: `bundled`, an IDX file or folder, a folder of pictures; those of the run if not given
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub data: Option<String>,
    /// Reference in place of the training pictures: an .npz of ADM with mu and sigma, or with pictures in arr_0
    #[arg(long, value_name = "NPZ", value_hint = ValueHint::FilePath)]
    pub reference: Option<PathBuf>,
    /// The most training pictures in the reference; 10000 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    pub reference_count: Option<u32>,
    /// Neighbours: of the balls of precision, recall, density and coverage, and of the vote for a class; 5 if not given
    #[arg(short, long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub k: Option<u32>,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train probe q/pretrain --sigma 0.002,0.5,2")]
pub struct ProbeArgs {
    /// Model file or run folder, of any stage
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// Noise levels, before the shift for the resolution
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = level, default_value = "0.002,0.25,0.5,1,2,5")]
    pub sigma: Vec<f64>,
    /// Pictures with classes; those of the run, or the bundled ones, if not given
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub data: Option<String>,
    /// Neighbours that vote
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub neighbours: u32,
    /// Training pictures with known classes, at most
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub count: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where the encoder runs
    #[command(flatten)]
    pub device: DeviceArgs,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// A noise level.
fn level(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(sigma) if sigma > 0.0 && sigma.is_finite() => Ok(sigma),
        _ => Err("a positive number needed".to_owned()),
    }
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train report gen --eval numbers.json --out gen.html\n\n\
    The page needs no server, no network and no other file. With several runs the curves share figures.")]
pub struct ReportArgs {
    /// Run folders, or folders with run folders in them, such as a quick start
    #[arg(required = true, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub runs: Vec<PathBuf>,
    /// What `eval --json` printed: a measurement, a list of them, or one on each line; may be given again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub eval: Vec<PathBuf>,
    /// HTML file
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "report.html")]
    pub out: PathBuf,
    /// Pictures that each run's model draws, to set them beside the nearest training pictures; 0 for none
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub pictures: u32,
    /// Where to draw them
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Title of the page
    #[arg(long)]
    pub title: Option<String>,
}
