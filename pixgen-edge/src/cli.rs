//! What can be typed. Declarations only; [`crate::commands`] does the work.

use crate::offered::BOARD_NAMES;
use crate::onnx::{Form, OnnxTarget, WeightBits};
use crate::own_board::OwnBoardArgs;
use crate::pxg_file::PxgFormat;
use crate::quantise::RangeMethod;
use crate::source_code::Symbol;
use crate::tflite::{LiteForm, LiteGelu, Npu};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Bring trained image generators to small devices
#[derive(Debug, Parser)]
#[command(name = "pixgen-edge", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Number of threads; all cores by default
    #[arg(long, global = true, value_name = "N", display_order = 900)]
    pub threads: Option<usize>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Quantise a trained model to int8 and write the file that a chip reads
    Export(ExportArgs),
    /// Write a trained model as an ONNX graph, for other runtimes and tool chains
    Onnx(OnnxArgs),
    /// Write a trained model as a TensorFlow Lite file, for phones and for Ethos-U accelerators
    Tflite(TfliteArgs),
    /// Measure what int8 costs in quality: by layer, in picture pairs, in distances
    Report(ReportArgs),
    /// Draw pictures exactly as a chip does, byte for byte
    Sample(SampleArgs),
    /// Draw the self-test pictures of a file and compare their hashes
    Selftest {
        /// .pxg file
        #[arg(value_hint = ValueHint::FilePath)]
        model: PathBuf,
    },
    /// Describe a .pxg file
    Info {
        /// .pxg file
        #[arg(value_hint = ValueHint::FilePath)]
        model: PathBuf,
        /// As JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Measure how fast this machine draws from a .pxg file, with every kernel that its CPU has
    Bench(BenchArgs),
    /// Make a web page in one file that draws from a .pxg file, or a package for npm
    Web(WebArgs),
    /// Compute what a model needs on a chip: flash, RAM and time, and which boards it fits
    Plan(PlanArgs),
    /// Print a shell completion script
    #[command(after_help = "Example:  pixgen-edge completions bash > ~/.local/share/bash-completion/completions/pixgen-edge")]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}

/// How to quantise.
#[derive(Debug, Args)]
#[command(next_help_heading = "How to quantise")]
pub struct QuantisationArgs {
    /// Pictures under the noise of the calibration: `noise` for none, `bundled`, `bundled:avatars`, or a folder, a zip archive, tar shards, IDX files. One-step
    /// models see nothing but noise, so `noise` is enough for them
    #[arg(long, value_name = "DATA", default_value = "noise", value_hint = ValueHint::AnyPath)]
    pub calibrate: String,
    /// Number of calibration pictures; classes take turns
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pictures: u32,
    /// How the ranges of activations are chosen: `mse`, `min-max` or `percentile:P`
    #[arg(long, default_value = "mse")]
    pub method: RangeMethod,
    /// Use another method for sites whose name ends in SITE, for example attn.qkv=min-max; repeatable
    #[arg(long, value_name = "SITE=METHOD", value_parser = site_method)]
    pub site_method: Vec<(String, RangeMethod)>,
    /// How much of the range to move from activations to weights, channel by channel, from 0 to 1; `off` for none
    #[arg(long, default_value = "0.5", value_parser = equalise)]
    pub equalise: EqualiseShare,
    /// Do not correct the mean error of rounded weights
    #[arg(long)]
    pub no_bias_correction: bool,
    /// Network evaluations per picture; 2 makes pictures of stage 3 worse
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub steps: u8,
    /// Classes to export, by name or number, separated by commas, or `all`
    #[arg(long, default_value = "all")]
    pub classes: String,
}

/// A share between 0 and 1, or `off`.
#[derive(Clone, Copy, Debug)]
pub struct EqualiseShare(pub Option<f64>);

fn site_method(text: &str) -> Result<(String, RangeMethod), String> {
    let (site, method) = text.split_once('=').ok_or("SITE=METHOD, for example attn.qkv=min-max")?;
    Ok((site.to_owned(), method.parse()?))
}

fn equalise(text: &str) -> Result<EqualiseShare, String> {
    match text {
        "off" => Ok(EqualiseShare(None)),
        _ => match text.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(EqualiseShare(Some(share))),
            _ => Err("a number between 0 and 1, or `off`".into()),
        },
    }
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-edge export q/model.safetensors -o model.pxg")]
pub struct ExportArgs {
    /// Model file or run folder of a trained generator
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// File to write; `-` for standard output
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "model.pxg")]
    pub out: PathBuf,
    /// Format of the file
    #[arg(long, value_enum, default_value = "pxg")]
    pub format: PxgFormat,
    /// Name of the model in source code; by default `pixgen_` and the name of the file
    #[arg(long, value_name = "IDENTIFIER")]
    pub name: Option<Symbol>,
    /// Number of self-test pictures whose hashes go into the file
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub tests: u16,
    /// How to quantise
    #[command(flatten)]
    pub quantisation: QuantisationArgs,
}

/// Arguments of `onnx`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-edge onnx q/model.safetensors -o float.onnx\n           pixgen-edge onnx model.pxg -o integer.onnx\n           \
                  pixgen-edge onnx q --target rknn -o q.onnx --calibration q-rknn"
)]
pub struct OnnxArgs {
    /// .pxg file, or model file or run folder of a trained generator
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// File to write; `-` for standard output
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "model.onnx")]
    pub out: PathBuf,
    /// Form of the graph; by default `integer` for a .pxg file and `float` otherwise
    #[arg(long, value_enum)]
    pub form: Option<Form>,
    /// Write the float network for the tool chain of an accelerator, which quantises it itself: one picture at a time, without the operators that it refuses
    #[arg(long, value_enum)]
    pub target: Option<OnnxTarget>,
    /// Also make a folder with what that tool chain needs: inputs to calibrate with, rows of the classes, pictures to expect, and a script that converts
    #[arg(long, value_name = "DIR", requires = "target", value_hint = ValueHint::DirPath)]
    pub calibration: Option<PathBuf>,
    /// Bits of the weights of --form qdq, 8 by default
    #[arg(long, value_enum)]
    pub weight_bits: Option<WeightBits>,
    /// Fixed batch size, for tool chains that need one; any number of pictures by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: Option<u32>,
    /// Also write a safetensors file with inputs of the graph and the outputs to expect
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub vectors: Option<PathBuf>,
    /// Number of pictures in that file; classes take turns
    #[arg(long, default_value_t = 20, requires = "vectors", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// Seed of their noise
    #[arg(long, default_value_t = 0, requires = "vectors")]
    pub seed: u64,
    /// How to quantise
    #[command(flatten)]
    pub quantisation: QuantisationArgs,
}

/// Arguments of `tflite`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:  pixgen-edge tflite q/model.safetensors -o model.tflite\n           pixgen-edge tflite q --form float -o float.tflite"
)]
pub struct TfliteArgs {
    /// Model file or run folder of a trained generator
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// File to write; `-` for standard output
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "model.tflite")]
    pub out: PathBuf,
    /// Form of the file
    #[arg(long, value_enum, default_value = "integer")]
    pub form: LiteForm,
    /// The Ethos-U that it is for; by default what every one of them computes
    #[arg(long, value_enum)]
    pub npu: Option<Npu>,
    /// How GELU is computed
    #[arg(long, value_enum, default_value = "exact")]
    pub gelu: LiteGelu,
    /// Licence of the model for the file's metadata, for example `mit`
    #[arg(long, value_name = "NAME")]
    pub license: Option<String>,
    /// Also write a safetensors file with inputs of the file and the float network's pictures for them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub vectors: Option<PathBuf>,
    /// Number of pictures in that file; classes take turns
    #[arg(long, default_value_t = 20, requires = "vectors", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// Seed of their noise
    #[arg(long, default_value_t = 0, requires = "vectors")]
    pub seed: u64,
    /// How to quantise
    #[command(flatten)]
    pub quantisation: QuantisationArgs,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-edge report q/model.safetensors --count 5000 --pairs pairs.png")]
pub struct ReportArgs {
    /// Model file or run folder of a trained generator
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: PathBuf,
    /// Number of pictures to draw with both networks, the same number of each class
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=9000))]
    pub count: u32,
    /// Seed of their noise
    #[arg(long, default_value_t = 1_000_000)]
    pub seed: u64,
    /// Also write a PNG file of some pictures: a row of float, and int8 below it
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub pairs: Option<PathBuf>,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// How to quantise
    #[command(flatten)]
    pub quantisation: QuantisationArgs,
}

/// Arguments of `sample`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-edge sample model.pxg --class 9 --seed 7 --count 4 -o four.png")]
pub struct SampleArgs {
    /// .pxg file
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Class: a number, a name, or `all`
    #[arg(long, default_value = "all")]
    pub class: String,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Pictures of each class
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// PNG file, chip.png by default; `-` for standard output
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// Print class, seed, number and hash of each picture, as the firmware examples do, and write no file but one given with --out
    #[arg(long)]
    pub hashes: bool,
    /// Show the grid in the terminal even if stdout is not one
    #[arg(long)]
    pub preview: bool,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:  pixgen-edge bench model.pxg\n           pixgen-edge bench model.pxg --kernel neon --seconds 60")]
pub struct BenchArgs {
    /// .pxg file
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Measure this kernel only, for example portable or neon
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Stop after about so long; every kernel draws one picture on each thread all the same
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = seconds)]
    pub seconds: u16,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<u16, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
    seconds.ok_or("give a whole number of seconds from 1 to 3600")
}

fn heading(text: &str) -> Result<String, &'static str> {
    let blank = text.trim().is_empty();
    (!blank).then(|| text.to_owned()).ok_or("a heading needs a letter")
}

/// Arguments of `web`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:  pixgen-edge web model.pxg -o page.html\n           pixgen-edge web model.pxg --format npm -o my-model")]
pub struct WebArgs {
    /// .pxg file
    #[arg(value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Page to write, page.html by default, `-` for standard output; or new folder of the package, pixgen-model by default
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub out: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value = "html")]
    pub format: WebFormat,
    /// Heading of the page; the name of the file by default
    #[arg(long, value_name = "TEXT", value_parser = heading)]
    pub title: Option<String>,
}

/// Forms of a model for browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WebFormat {
    /// A page in one file, which works from disk without a network
    Html,
    /// A folder with an ES module and its types, for people who build pages
    Npm,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pixgen-edge plan small-28-grey --all-boards\n  \
    pixgen-edge plan --board pico2                          which presets fit this board?\n  \
    pixgen-edge plan model.pxg --flash 1M --ram 96K --core cortex-m4 --clock 80M --current 12mA")]
pub struct PlanArgs {
    /// .pxg file, model.safetensors, run folder, or name of a preset; without it, every preset that fits the board
    #[arg(value_hint = ValueHint::AnyPath, required_unless_present_any = ["board", "flash"])]
    pub model: Option<String>,
    /// Board to compare with
    #[arg(long, value_name = "NAME", conflicts_with = "all_boards", value_parser = BOARD_NAMES, hide_possible_values = true)]
    pub board: Option<String>,
    /// Compare with all boards
    #[arg(long)]
    pub all_boards: bool,
    /// Network evaluations per picture; ignored for a .pxg file, which has its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub steps: u8,
    /// As JSON on stdout, with every call of the network
    #[arg(long)]
    pub json: bool,
    /// A board that is not in the table
    #[command(flatten)]
    pub own: OwnBoardArgs,
}
