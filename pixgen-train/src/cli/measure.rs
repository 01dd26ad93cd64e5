//! `eval`, `probe`, `report`: what looks at what was trained.

use super::device::DeviceArgs;
use super::draw::SamplingArgs;
use super::model::ModelArgs;
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
    /// Model file, run folder, also of a run that is training, or checkpoint in a run folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: Option<PathBuf>,
    /// Number of pictures to draw; classes in the proportions of the data
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub count: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 1_000_000, help_heading = "How pictures are drawn")]
    pub seed: u64,
    /// Averages of the weights, a list or `all`; by default the exported one
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub ema: Vec<String>,
    /// Diffusion: guidance weights, a list; 1 for none
    #[arg(long, value_name = "W,..", value_delimiter = ',', default_values_t = [1.0], help_heading = "How pictures are drawn")]
    pub guidance: Vec<f64>,
    /// How they are drawn
    #[command(flatten)]
    pub drawn: SamplingArgs,
    /// Also write pictures of the first set, each beside its nearest training picture
    #[arg(long, value_name = "PNG", value_hint = ValueHint::FilePath)]
    pub grid: Option<PathBuf>,
    /// Measure these pictures instead: a folder, an archive, or an .npz with arr_0; needs --against or --reference
    #[arg(long, value_name = "PICTURES", value_hint = ValueHint::AnyPath, conflicts_with_all = ["model", "ema", "data", "grid"])]
    pub folder: Option<PathBuf>,
    /// With --folder: the real pictures, in the same forms
    #[arg(long, value_name = "PICTURES", value_hint = ValueHint::AnyPath, requires = "folder")]
    pub against: Option<PathBuf>,
    /// With --folder: side in pixels that all pictures are cropped and resized to; those of an .npz keep their size
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
    /// Side of the input of EfficientNet-Lite0; default 96
    #[arg(long, value_name = "PIXELS")]
    pub input: Option<usize>,
    /// How pictures are resized to the input: `pil-bicubic` (as clean-fid; the default) or `tf-bilinear` (as the FID's own code)
    #[arg(long, value_name = "FILTER", value_parser = clap::value_parser!(Resize))]
    pub resize: Option<Resize>,
    /// Weights of the network in safetensors, with the names of the PyTorch package; by default those of `data get efficientnet-lite0`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,
    /// Real pictures: `bundled`, `bundled:avatars`, a folder of pictures, an archive, or IDX files; by default those of the run
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub data: Option<String>,
    /// Reference to use instead of the training pictures: an .npz of ADM with mu and sigma, or with pictures in arr_0
    #[arg(long, value_name = "NPZ", value_hint = ValueHint::FilePath)]
    pub reference: Option<PathBuf>,
    /// Largest number of training pictures in the reference; default 10000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    pub reference_count: Option<u32>,
    /// k of precision, recall, density and coverage, and of the vote for a class; default 5
    #[arg(short, long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub k: Option<u32>,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train probe q/pretrain --sigma 0.002,0.5,2")]
pub struct ProbeArgs {
    /// Model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Noise levels, before the shift for the resolution
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = level, default_value = "0.002,0.25,0.5,1,2,5")]
    pub sigma: Vec<f64>,
    /// Pictures with classes; by default those of the run, or the bundled ones
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub data: Option<String>,
    /// Number of neighbours that vote
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub neighbours: u32,
    /// Largest number of training pictures with known classes
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
        _ => Err("a positive number is needed".to_owned()),
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
    /// Output of `eval --json` to show in the report; repeatable
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub eval: Vec<PathBuf>,
    /// HTML file
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "report.html")]
    pub out: PathBuf,
    /// Number of pictures to draw with each model and show beside their nearest training pictures; 0 for none
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub pictures: u32,
    /// Average of the weights to draw with; by default the exported one
    #[arg(long, value_name = "NAME")]
    pub ema: Option<String>,
    /// Where to draw them
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Title of the page
    #[arg(long)]
    pub title: Option<String>,
}
