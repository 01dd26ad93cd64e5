//! The command line: the verbs, and a file for the arguments of each group. Declarations only; [`crate::commands`] does the work.

mod bench;
mod data;
mod device;
mod draw;
mod files;
mod measure;
mod model;
mod train;

pub use bench::*;
pub use data::*;
pub use device::DeviceArgs;
pub use draw::*;
pub use files::*;
pub use measure::*;
pub use model::ModelArgs;
pub use train::*;

use clap::{Parser, Subcommand};

/// Train pixel-space image generators and draw with them in one step
#[derive(Debug, Parser)]
#[command(name = "pixgen-train", version, max_term_width = 100)]
#[command(after_help = "Start with:  pixgen-train quickstart --out q")]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Number of threads; all cores by default
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Print no progress on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train on bundled pictures and draw, in minutes on an ordinary CPU
    Quickstart(QuickstartArgs),
    /// Stage 1: pre-train the encoder without labels
    Pretrain(PretrainArgs),
    /// Stage 2: train a generator, from a pre-trained encoder or from scratch
    Finetune(FinetuneArgs),
    /// Draw pictures with a trained model
    Sample(SampleArgs),
    /// Measure pictures of a trained model beside real ones
    Eval(EvalArgs),
    /// Measure what the encoder knows about the classes: nearest neighbours and a linear probe at several noise levels
    Probe(ProbeArgs),
    /// Lay out runs and measurements as one HTML page: curves, pictures, settings, numbers
    Report(ReportArgs),
    /// Describe a preset, a run or a model file
    Inspect(InspectArgs),
    /// Measure how fast this machine trains, or compute what a GPU could do at best
    Bench(BenchArgs),
    /// Get, check, prepare and time training data
    #[command(subcommand)]
    Data(DataCommand),
    /// Show settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a shell completion script
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Turn weights of the authors' PyTorch code into a model file
    Import(ImportArgs),
    /// Write a model for other programs, optionally with a model card
    Export(ExportArgs),
}
