//! `inspect`, `import`, `export`: model files.

use super::device::DeviceArgs;
use super::model::ModelArgs;
use super::train::ObjectiveName;
use clap::{Args, ValueEnum, ValueHint};
use pixgen_edge::offered::PRESET_NAMES;
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train inspect --preset EPG-L-16-256 --json")]
pub struct InspectArgs {
    /// Model file or run folder
    #[arg(value_hint = ValueHint::AnyPath, conflicts_with_all = ["preset", "presets"])]
    pub path: Option<PathBuf>,
    /// A preset instead
    #[arg(long, value_parser = PRESET_NAMES, hide_possible_values = true)]
    pub preset: Option<String>,
    /// The table of presets
    #[arg(long, conflicts_with = "preset")]
    pub presets: bool,
    /// Also print the cost of every call of the network
    #[arg(long)]
    pub sites: bool,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  pixgen-train import EPG-XL16-imagenet256.pth --objective diffusion --out model.safetensors\n\n\
    Nothing in the file is executed. docs/reference/weights.md lists the names that are read."
)]
pub struct ImportArgs {
    /// PyTorch file (.pth, .pt, .ckpt) or safetensors file with the authors' names
    #[arg(value_hint = ValueHint::FilePath)]
    pub checkpoint: PathBuf,
    /// Preset of the model; found from the shapes by default
    #[arg(long, value_parser = PRESET_NAMES, hide_possible_values = true)]
    pub preset: Option<String>,
    /// Objective that a model with a decoder was trained with; the weights do not tell
    #[arg(long, value_enum)]
    pub objective: Option<ObjectiveName>,
    /// Take the moving average, if the file holds several sets of weights
    #[arg(long, conflicts_with = "key")]
    pub ema: bool,
    /// Take the set of weights under this key, for example `model` or `state.ema`
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Images seen in training; noted in the model file
    #[arg(long)]
    pub images: Option<String>,
    /// A setting that decides over the pictures and that weights do not tell, for example noise.shift=4; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// File with the names of the classes, one per line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub class_names: Option<PathBuf>,
    /// Run the model on the inputs of a safetensors file and compare with the outputs in it
    #[arg(long, value_name = "VECTORS", value_hint = ValueHint::FilePath)]
    pub verify: Option<PathBuf>,
    /// Where --verify runs the model
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Model file to write; `-` for standard output
    #[arg(long, short, value_hint = ValueHint::FilePath, default_value = "model.safetensors")]
    pub out: PathBuf,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// How `export` writes the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Pixgen's own names, with everything needed to use them
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
pub struct ExportArgs {
    /// Model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Names and layouts of the tensors
    #[arg(long, value_enum, default_value = "safetensors")]
    pub to: ExportFormat,
    /// Weights in f16, half the file; for Pixgen's own names
    #[arg(long)]
    pub half: bool,
    /// File to write, `-` for standard output; with --card, a folder
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub out: PathBuf,
    /// Write a folder with the weights and a model card, README.md
    #[arg(long)]
    pub card: bool,
    /// With --card: name of the model; by default that of the folder
    #[arg(long, requires = "card")]
    pub name: Option<String>,
    /// With --card: identifier of the weights' licence, for example mit or cc-by-nc-4.0
    #[arg(long, default_value = "unknown")]
    pub license: String,
    /// With --card: what `eval --json` printed
    #[arg(long, value_name = "JSON", requires = "card", value_hint = ValueHint::FilePath)]
    pub eval: Option<PathBuf>,
}
