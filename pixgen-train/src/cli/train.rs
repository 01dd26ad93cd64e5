//! `quickstart`, `pretrain`, `finetune`, `config`: training and its settings.

use super::device::DeviceArgs;
use crate::objective::PretrainMethod;
use crate::precision::Precision;
use crate::training::OptimiserKind;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use pixgen_edge::offered::PRESET_NAMES;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:  pixgen-train quickstart --out q --minutes 5\n           \
    pixgen-train quickstart --data bundled:avatars --recipe hour --out faces")]
pub struct QuickstartArgs {
    /// Folder for the runs, the grid and the report
    #[arg(long, value_hint = ValueHint::DirPath, default_value = "quickstart")]
    pub out: PathBuf,
    /// Pictures to train on, of those inside the program; `pixgen-train finetune --data FOLDER` trains on your own
    #[arg(long, value_enum, default_value = "bundled")]
    pub data: QuickstartData,
    /// How long to train, and which model for it; 15 minutes, an hour or a night on two cores
    #[arg(long, value_enum, default_value = "quick")]
    pub recipe: QuickstartBudget,
    /// Minutes to train for, by default those of the recipe: fewer minutes, fewer images
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to train, draw and measure
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print the report as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// What a quick start trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QuickstartData {
    /// Clothes of Fashion-MNIST, 28x28 in grey
    #[value(name = "bundled")]
    FashionMnist,
    /// Drawn faces in five styles, 32x32 in colour
    #[value(name = "bundled:avatars")]
    Avatars,
}

/// How long a quick start takes on two cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuickstartBudget {
    /// 15 minutes
    #[default]
    Quick,
    /// An hour
    Hour,
    /// 2.5 hours
    Night,
}

impl QuickstartBudget {
    /// As the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Hour => "hour",
            Self::Night => "night",
        }
    }

    /// Minutes on two cores.
    pub const fn minutes(self) -> f64 {
        match self {
            Self::Quick => 15.0,
            Self::Hour => 60.0,
            Self::Night => 150.0,
        }
    }
}

/// Arguments of a training stage.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Run folder
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Settings
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Print the plan (sizes, memory, and time from a few timed steps) and train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: as JSON on stdout
    #[arg(long, requires = "dry_run")]
    pub json: bool,
    /// Write the numbers of metrics.jsonl for another program too, into `tensorboard/` of the run folder
    #[arg(long, value_enum, value_name = "FORM")]
    pub log: Option<LogForm>,
    /// Save and stop after this many images; the same command without it resumes
    #[arg(long, value_name = "IMAGES")]
    pub stop_at: Option<String>,
    /// With several processes: minutes that one waits for the others before it ends the run
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    pub rank_limit: Duration,
    /// With several processes: each holds its part of moments and averages only. The checkpoint is that of all
    #[arg(long)]
    pub shard_state: bool,
}

fn minutes(text: &str) -> Result<Duration, &'static str> {
    const YEAR: f64 = 365.0 * 24.0 * 60.0;
    let minutes = text.parse::<f64>().ok().filter(|minutes| *minutes > 0.0 && *minutes <= YEAR);
    let limit = minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    limit
        .filter(|limit| !limit.is_zero())
        .ok_or("give minutes above 0 and up to a year, for example 10")
}

/// Other forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// Event files of TensorBoard
    Tensorboard,
}

/// Where settings come from on the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// A model with its default settings; `inspect --presets` lists them
    #[arg(long, value_parser = PRESET_NAMES, hide_possible_values = true)]
    pub preset: Option<String>,
    /// TOML file with settings
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// `bundled`, `bundled:avatars`, a folder of pictures (a folder for each class), a zip archive, tar shards (a folder of them or
    /// `train-{000..146}.tar`), or an IDX file or folder
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub data: Option<String>,
    /// Images to train on, repeats included, for example 250k or 1.5M
    #[arg(long)]
    pub images: Option<String>,
    /// Images per optimiser step
    #[arg(long)]
    pub batch: Option<String>,
    /// Images that go through the network at once; `auto` takes as many as fit into the device's memory
    #[arg(long)]
    pub micro_batch: Option<String>,
    /// Peak learning rate
    #[arg(long)]
    pub lr: Option<String>,
    /// AdamW, or Muon for the matrices of blocks, which is the default of small presets in stages 2b and 3
    #[arg(long, value_enum)]
    pub optimiser: Option<OptimiserKind>,
    /// Seed of everything random
    #[arg(long)]
    pub seed: Option<String>,
    /// Leave bad files out instead of stopping; if pictures are decoded during training, the next good file of the class replaces a bad
    /// one
    #[arg(long)]
    pub skip_bad: bool,
    /// `cpu`, `cuda`, `vulkan`, or one of several devices, for example `cuda:1`
    #[arg(long)]
    pub device: Option<String>,
    /// Precision of matrices and activations; f32 by default
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Save memory: keep only the inputs of the network's blocks, and recompute the rest in the backward pass
    #[arg(long)]
    pub recompute: bool,
    /// Round the operands of f32 matrix products to TF32 on CUDA: faster, less exact
    #[arg(long)]
    pub tf32: bool,
    /// Any setting by its dotted name
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `pretrain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:  pixgen-train pretrain --preset small-28-grey --data bundled --out run1\n\n\
    To resume, run the same command again, or only with --out: the run folder records its settings. Ctrl-C saves first.\n\
    Settings: flag > environment PIXGEN_* > --config file > run in --out > model it starts from > preset. `pixgen-train config show pretrain` lists them.")]
pub struct PretrainArgs {
    /// Method; epg by default. It also sets the defaults of other settings: `config show pretrain --set pretrain.method=rrcm`
    #[arg(long, value_enum)]
    pub method: Option<PretrainMethod>,
    /// The rest
    #[command(flatten)]
    pub train: TrainArgs,
}

/// What `finetune` trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObjectiveName {
    /// A one-step generator (stage 2b)
    Consistency,
    /// A diffusion model, which takes tens of steps (stage 2a)
    Diffusion,
    /// A better one-step generator: pictures of the one in --from are matched with real ones, class by class (stage 3)
    Drift,
}

/// Arguments of `finetune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  pixgen-train finetune --preset small-28-grey --data bundled --encoder run1 --out run2\n\n\
    To resume, run the same command again, or only with --out: the run folder records its settings. Ctrl-C saves first.\n\
    Settings: flag > environment PIXGEN_* > --config file > run in --out > model it starts from > preset. `pixgen-train config show finetune` lists them."
)]
pub struct FinetuneArgs {
    /// What to train: `consistency` by default, and what the run in --out trains
    #[arg(long, value_enum)]
    pub objective: Option<ObjectiveName>,
    /// Run folder or model file of the pre-trained encoder; without it training starts from scratch. Of stage 3: an encoder whose features
    /// are matched beside pixels
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub encoder: Option<String>,
    /// Run folder or model file of a generator to start from: other classes, another resolution with as many patches, or another objective.
    /// Stage 3 needs a one-step generator
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub from: Option<String>,
    /// The rest
    #[command(flatten)]
    pub train: TrainArgs,
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every setting of a stage with its value, and where the value comes from
    Show(ConfigShowArgs),
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub struct ConfigShowArgs {
    /// Stage
    #[arg(value_enum)]
    pub stage: StageName,
    /// Settings
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// As JSON on stdout: value and origin of each setting
    #[arg(long)]
    pub json: bool,
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
    /// Stage 3
    Drift,
}
