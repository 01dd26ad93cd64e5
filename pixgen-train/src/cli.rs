//! What can be typed. Declarations only; [`crate::commands`] does the work.

use crate::objective::Method;
use crate::packages::catalogue::Name;
use crate::precision::Precision;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use pixgen_edge::eval::{Network, Resize};
use std::path::PathBuf;

/// Train pixel-space image generators and draw with them in one step
#[derive(Debug, Parser)]
#[command(name = "pixgen-train", version, max_term_width = 100)]
#[command(after_help = "Start with:  pixgen-train quickstart --out q")]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Threads for computing; all cores by default
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// No progress on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train on bundled real data, from nothing to pictures, in minutes on a plain CPU
    Quickstart(Quickstart),
    /// Stage 1: pre-train the encoder without labels
    Pretrain(Pretrain),
    /// Stage 2: train a generator, from a pre-trained encoder or from scratch
    Finetune(Finetune),
    /// Draw pictures with a trained model
    Sample(Sample),
    /// Measure pictures of a trained model beside real ones
    Eval(Eval),
    /// Measure what the encoder knows of the classes: nearest neighbours and a linear probe at several noise levels
    Probe(Probe),
    /// Runs and measurements as one HTML page: curves, pictures, settings, numbers
    Report(Report),
    /// Describe a preset, a run or a model file
    Inspect(Inspect),
    /// Measure how fast this machine trains, or compute what a GPU could do at best
    Bench(Bench),
    /// Get and look at training data
    #[command(subcommand)]
    Data(Data),
    /// Look at settings
    #[command(subcommand)]
    Config(Config),
    /// Print a shell completion script
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Make a model file of weights from the authors' PyTorch code
    Import(Import),
    /// Write a model for other programs, with a model card if asked to
    Export(Export),
}

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train quickstart --out q --minutes 5")]
pub struct Quickstart {
    /// Folder for both runs, the grid and the report
    #[arg(long, value_hint = ValueHint::DirPath, default_value = "quickstart")]
    pub out: PathBuf,
    /// Time for training: fewer minutes, fewer images
    #[arg(long, default_value_t = crate::quickstart::DEFAULT_MINUTES, value_name = "N")]
    pub minutes: f64,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the report as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of a training stage.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train pretrain --preset small-28-grey --data bundled --out run1\n\n\
    To resume, run the same command again. Ctrl-C saves first.\n\
    Settings: flag > environment PIXGEN_* > --config file > preset. `pixgen-train config show` lists them.")]
pub struct Train {
    /// Run folder
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Settings
    #[command(flatten)]
    pub settings: Settings,
    /// Print what would be done: sizes, memory, time after a few timed steps
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: as JSON on stdout
    #[arg(long, requires = "dry_run")]
    pub json: bool,
    /// Save and stop when this many images were seen; the same command without it goes on
    #[arg(long, value_name = "IMAGES")]
    pub stop_at: Option<String>,
}

/// Where settings come from on the command line.
#[derive(Debug, Args)]
pub struct Settings {
    /// Model and its defaults; `inspect --presets` lists them
    #[arg(long)]
    pub preset: Option<String>,
    /// TOML file with settings
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// `bundled`, a folder of pictures (a folder for each class), a zip archive, tar shards (a folder of them or
    /// `train-{000..146}.tar`), or an IDX file or folder
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub data: Option<String>,
    /// Images of the run, for example 250k or 1.5M
    #[arg(long)]
    pub images: Option<String>,
    /// Images of an optimiser step
    #[arg(long)]
    pub batch: Option<String>,
    /// Images that go through the network at once
    #[arg(long)]
    pub micro_batch: Option<String>,
    /// Peak learning rate
    #[arg(long)]
    pub lr: Option<String>,
    /// Seed of everything random
    #[arg(long)]
    pub seed: Option<String>,
    /// Leave bad files out of the data instead of stopping; where pictures are decoded when their turn comes, the next good file of the
    /// class takes the place
    #[arg(long)]
    pub skip_bad: bool,
    /// `cpu`, `cuda`, `vulkan`, or one of several devices, for example `cuda:1`
    #[arg(long)]
    pub device: Option<String>,
    /// Precision of matrices and activations; f32 if not given
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Keep only the inputs of the network's blocks for the backward pass and compute the rest again: less memory, more work
    #[arg(long)]
    pub recompute: bool,
    /// Any setting by its dotted name
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `pretrain`.
#[derive(Debug, Args)]
pub struct Pretrain {
    /// How; epg if not given. The method chooses the defaults of other settings: `config show pretrain --set pretrain.method=rrcm`
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// The rest
    #[command(flatten)]
    pub train: Train,
}

/// What stage 2 trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Objective {
    /// A one-step generator (stage 2b)
    Consistency,
    /// A diffusion model, which takes tens of steps (stage 2a)
    Diffusion,
}

/// How `sample` and `eval` draw.
#[derive(Debug, Args)]
pub struct Drawn {
    /// Steps: 1 or 2 of a one-step generator (1 if not given); levels of a diffusion model (32 if not given)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: Option<u32>,
    /// Diffusion: how a step is taken
    #[arg(long, value_enum, default_value = "heun")]
    pub sampler: SamplerName,
    /// Diffusion: noise levels between which guidance acts, before the shift for the resolution; 0.19,1.61 if not given
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
    /// One evaluation a step
    Euler,
    /// Two evaluations a step
    Heun,
    /// Heun's with noise added on the way (EDM)
    Stochastic,
}

/// Arguments of `finetune`.
#[derive(Debug, Args)]
pub struct Finetune {
    /// What to train
    #[arg(long, value_enum, default_value = "consistency")]
    pub objective: Objective,
    /// Run folder or model file of the pre-trained encoder; without it training starts from scratch
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub encoder: Option<String>,
    /// The rest
    #[command(flatten)]
    pub train: Train,
}

/// Arguments of `sample`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train sample q --class all --seed 7 --out grid.png")]
pub struct Sample {
    /// Model file or run folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// Class: a number, a name, or `all`
    #[arg(long, default_value = "all")]
    pub class: String,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Diffusion: weight of guidance, 1 for none; away from the model without class, or from the model of --weak
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub guidance: f64,
    /// How
    #[command(flatten)]
    pub drawn: Drawn,
    /// Pictures of each class
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// PNG file
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "grid.png")]
    pub out: PathBuf,
    /// Show the grid in the terminal too, even when stdout is none
    #[arg(long)]
    pub preview: bool,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:  pixgen-train eval q --count 5000 --json\n           \
     pixgen-train eval run --ema all --guidance 1,1.5,2,3 --grid nearest.png\n           \
     pixgen-train eval run --network inception --weights pt_inception.safetensors --reference VIRTUAL_imagenet64_labeled.npz\n\n\
    Models of Fashion-MNIST get a short report unless a list, --grid or something below `How features are taken` is given; all others\n\
    are measured with EfficientNet-Lite0: `pixgen-train data get efficientnet-lite0` fetches it once.")]
pub struct Eval {
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
    pub drawn: Drawn,
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
    #[arg(long, value_parser = clap::value_parser!(Network))]
    pub network: Option<Network>,
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
pub struct Probe {
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
pub struct Report {
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
    /// Title of the page
    #[arg(long)]
    pub title: Option<String>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train inspect --preset EPG-L-16-256 --json")]
pub struct Inspect {
    /// Model file or run folder
    #[arg(value_hint = ValueHint::AnyPath, conflicts_with_all = ["preset", "presets"])]
    pub path: Option<PathBuf>,
    /// A preset instead
    #[arg(long)]
    pub preset: Option<String>,
    /// The table of presets
    #[arg(long, conflicts_with = "preset")]
    pub presets: bool,
    /// Cost of every call of the network
    #[arg(long)]
    pub sites: bool,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Which stages `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchStage {
    /// Stage 1
    Pretrain,
    /// Stage 2b
    Finetune,
    /// Stage 2a
    Diffusion,
    /// Stages 1 and 2b
    All,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-train bench --preset base-32-rgb --batch 32 --stage finetune --threads 2 --ops\n           \
     pixgen-train bench --model EPG-XL-16-256 --roofline h100\n\n\
    A step is a whole optimiser step on random pictures in memory: views and noise, forward, backward, AdamW, averages."
)]
pub struct Bench {
    /// What to measure
    #[arg(long, value_enum, default_value = "all")]
    pub stage: BenchStage,
    /// Settings
    #[command(flatten)]
    pub settings: Settings,
    /// Timed steps of each stage
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub steps: u32,
    /// Steps before them that are not timed
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
    pub roofline: Roofline,
}

/// Arguments of `bench --roofline`; batch, micro-batch, precision and recomputation are those of the settings.
#[derive(Debug, Args)]
pub struct Roofline {
    /// Compute instead of measure: device whose published peaks bound the step: h100, h200, a100-80, a100-40, l40s, rtx4090
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["ops", "interleave"])]
    pub roofline: Option<String>,
    /// Model of the roofline, the same as --preset but in any case; `inspect --presets` lists them
    #[arg(long, value_name = "PRESET", requires = "roofline", conflicts_with = "preset")]
    pub model: Option<String>,
    /// Time that each kernel launch adds, microseconds
    #[arg(long, value_name = "US", default_value_t = 4.0)]
    pub launch_us: f64,
    /// Share of their peak that matrix products reach; 1 is the roofline
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub matmul_efficiency: f64,
    /// GPUs that share the recipe
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gpus: u32,
}

/// Verbs of `data`.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Download a data set from a package registry, check it and unpack it
    Get(DataGet),
    /// Counts, classes, sizes, a contact sheet, and the first bad file by name
    Check(DataCheck),
    /// Write the pictures at the training size into a zip archive or tar shards
    Prepare(DataPrepare),
    /// Measure how fast pictures are read and decoded, beside the decoder alone and what training needs
    Bench(DataBench),
}

/// Arguments of `data get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  pixgen-train data get noto-emoji && pixgen-train data check data/noto-emoji\n\n\
    Run again after an interruption, it goes on. On a folder that is there it only checks the files.\n\
    HTTPS_PROXY and NO_PROXY are respected; SSL_CERT_FILE names certificates in place of the system's."
)]
pub struct DataGet {
    /// What to get
    #[arg(value_enum)]
    pub name: Name,
    /// Folder to make; data/NAME if not given. Of weights the file; if not given, in $PIXGEN_CACHE or ~/.cache/pixgen
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub out: Option<PathBuf>,
    /// Download over HTTP from a mirror of the registry at this address, instead of asking the registry's own client
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub mirror: Option<String>,
    /// The package as a file; nothing is downloaded
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "mirror")]
    pub file: Option<PathBuf>,
    /// Replace the folder if it holds something else that this command made, or was changed
    #[arg(long)]
    pub force: bool,
    /// noto-emoji: also the variants in five skin tones, 3,781 pictures in all
    #[arg(long)]
    pub skin_tones: bool,
    /// fugue: also the icons outside the 20 largest groups, as a class `other`, 3,570 in all
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `data check`.
#[derive(Debug, Args)]
pub struct DataCheck {
    /// `bundled`, a folder of pictures, a zip archive, tar shards, or an IDX file or folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: String,
    /// Where to write the contact sheet, some pictures of every class
    #[arg(long, value_name = "PNG", value_hint = ValueHint::FilePath, default_value = "contact-sheet.png")]
    pub sheet: PathBuf,
    /// Write no contact sheet
    #[arg(long, conflicts_with = "sheet")]
    pub no_sheet: bool,
    /// Colour behind transparent pictures
    #[arg(long, default_value = "#ffffff")]
    pub background: String,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `data prepare`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-train data prepare photos --size 256 --out photos-256.zip\n           \
     pixgen-train data prepare imagenet.tar --size 256 --format jpeg --out shards\n\n\
    Pictures are halved with a box filter while they are twice as large, scaled with a bicubic one, and cropped to the middle square, as\n\
    ADM's were. A .zip has the layout of EDM's tools (stored pictures, dataset.json), a folder gets tar shards as WebDataset reads them.\n\
    The same pictures give the same bytes."
)]
pub struct DataPrepare {
    /// `bundled`, a folder of pictures (a folder for each class), a zip archive, tar shards, or an IDX file or folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: String,
    /// Height and width of the written pictures
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub size: u16,
    /// A .zip file, or a folder for tar shards; it must not be there yet
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub out: PathBuf,
    /// How pictures are stored
    #[arg(long, value_enum, default_value = "png")]
    pub format: FormatName,
    /// Quality of JPEG
    #[arg(long, default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Write grey pictures instead of colour
    #[arg(long)]
    pub grey: bool,
    /// Pictures of a tar shard
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub shard_images: u32,
    /// Colour behind transparent pictures
    #[arg(long, default_value = "#ffffff")]
    pub background: String,
    /// Leave bad files out instead of stopping
    #[arg(long)]
    pub skip_bad: bool,
}

/// How `data prepare` stores pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Without loss
    Png,
    /// Smaller and faster to read
    Jpeg,
}

/// Arguments of `data bench`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train data bench photos-256.zip --threads 8\n\n\
    All kinds of reading take turns in every round; medians over the rounds are shown. The need of training is that of the roofline:\n\
    see `pixgen-train bench --roofline h100`.")]
pub struct DataBench {
    /// A folder of pictures, a zip archive or tar shards
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: String,
    /// The model that the pictures are for; `inspect --presets` lists them
    #[arg(long, default_value = "EPG-L-16-256")]
    pub preset: String,
    /// Pictures of a round, in the order of training
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub pictures: u32,
    /// Rounds
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Every setting of a stage with its value, and where the value comes from
    Show(ConfigShow),
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub struct ConfigShow {
    /// Stage
    #[arg(value_enum)]
    pub stage: StageName,
    /// Settings
    #[command(flatten)]
    pub settings: Settings,
}

/// The stages by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    /// Stage 1
    Pretrain,
    /// Stage 2b
    Finetune,
    /// Stage 2a
    Diffusion,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  pixgen-train import EPG-XL16-imagenet256.pth --objective diffusion --out model.safetensors\n\n\
    Nothing in the file is executed. docs/weights.md lists the names that are read."
)]
pub struct Import {
    /// PyTorch file (.pth, .pt, .ckpt) or safetensors file with the authors' names
    #[arg(value_hint = ValueHint::FilePath)]
    pub checkpoint: PathBuf,
    /// The model; found by its shapes if not given
    #[arg(long)]
    pub preset: Option<String>,
    /// What a model with a decoder was trained as; the weights do not tell
    #[arg(long, value_enum)]
    pub objective: Option<Objective>,
    /// Of several sets of weights in the file, the moving average
    #[arg(long, conflicts_with = "key")]
    pub ema: bool,
    /// Of several sets of weights in the file, the one under this key, for example `model` or `state.ema`
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Images seen in training, for the record
    #[arg(long)]
    pub images: Option<String>,
    /// File with the names of the classes, one a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub class_names: Option<PathBuf>,
    /// Run the model on the inputs of a safetensors file and compare with the outputs in it
    #[arg(long, value_name = "VECTORS", value_hint = ValueHint::FilePath)]
    pub verify: Option<PathBuf>,
    /// Model file
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "model.safetensors")]
    pub out: PathBuf,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// How `export` writes the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Pixgen's own names, with all that is needed to use them
    Safetensors,
    /// The authors' names and layouts, for their `load_state_dict`
    PytorchSafetensors,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  pixgen-train export run1 --card --license mit --eval eval.json --out my-model\n\n\
    Models for chips are made by `pixgen-edge export`."
)]
pub struct Export {
    /// Model file or run folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// Names and layouts
    #[arg(long, value_enum, default_value = "safetensors")]
    pub to: ExportFormat,
    /// File; with --card a folder
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub out: PathBuf,
    /// Write a folder with the weights and a model card, README.md
    #[arg(long)]
    pub card: bool,
    /// With --card: name of the model; that of the folder if not given
    #[arg(long, requires = "card")]
    pub name: Option<String>,
    /// With --card: identifier of the weights' licence, for example mit or cc-by-nc-4.0
    #[arg(long, default_value = "unknown")]
    pub license: String,
    /// With --card: what `eval --json` printed
    #[arg(long, value_name = "JSON", requires = "card", value_hint = ValueHint::FilePath)]
    pub eval: Option<PathBuf>,
}
