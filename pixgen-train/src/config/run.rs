//! The settings of a run, section by section, as they lie in `config.toml`.

use super::problem::{ConfigProblem, problem};
use super::stage::Stage;
use crate::data::augment::AugmentProfile;
use crate::device::{DeviceChoice, DeviceProblem};
use crate::precision::Precision;
use crate::settings::SettingsError;
use crate::training::{EmaConfig, OptimiserConfig, Schedule};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::data::{DataError, DataPart, DataSource, DataSpec, Dataset, ImageShape, PixelStore, parse_colour};
use serde::{Deserialize, Serialize};

/// All settings of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// What is trained, and its settings.
    pub stage: Stage,
    /// The preset that the defaults came from.
    pub preset: String,
    /// Stage 2: run folder or file of the pre-trained encoder; empty starts from scratch.
    pub encoder: String,
    /// Stage 2: run folder or file of the generator that training starts from; empty starts from the encoder or from scratch.
    pub from: String,
    /// Data.
    pub data: DataConfig,
    /// Length and batch.
    pub train: TrainConfig,
    /// Architecture.
    pub model: ModelConfig,
    /// Noise constants.
    pub noise: NoiseConfig,
    /// Learning rate.
    pub schedule: Schedule,
    /// AdamW.
    pub optimiser: OptimiserConfig,
    /// Averages.
    pub ema: EmaSettings,
    /// Views of stage 1 and the flip of both stages.
    pub augment: AugmentProfile,
    /// Where and how precisely to compute.
    pub compute: ComputeConfig,
    /// What is written, and when.
    pub output: OutputConfig,
    /// Measurements of quality during training.
    pub quality: QualityConfig,
}

/// Where and how precisely to compute. A run may be resumed with other values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeConfig {
    /// `cpu`, `cuda`, `vulkan`, or one of several devices: `cuda:1`.
    pub device: String,
    /// Precision of matrices and activations; bf16 needs CUDA.
    pub precision: Precision,
    /// Keep only the inputs of the network's blocks for the backward pass and compute the rest again: less memory, a third more work.
    pub recompute: bool,
    /// Round the operands of f32 matrix products to the 10 bits of TF32: faster, less exact; needs CUDA with cuBLASLt.
    #[serde(default)]
    pub tf32: bool,
}

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `bundled`, `bundled:avatars`, a folder of pictures, a zip archive, tar shards, or an IDX file or folder; must be given for the paper's models.
    pub path: String,
    /// Colour behind transparent pictures, as `#rrggbb`.
    pub background: String,
    /// Go on without bad files instead of stopping. In memory they are left out; otherwise the next good file of the class takes the place
    /// of each.
    pub skip_bad: bool,
    /// Whether the pixels of a folder or archive are kept in memory. The run is the same, bit for bit.
    pub memory: PixelStore,
    /// Share of the pictures kept out of training, balanced over classes, for measurements.
    pub hold_out: f64,
    /// How bytes become network values.
    pub normalise: NormaliseMode,
}

impl DataConfig {
    /// What to load for a model.
    pub fn spec(&self, model: &ModelConfig) -> Result<DataSpec, ConfigProblem> {
        let background = parse_colour(&self.background).map_err(|e| problem("data.background", e))?;
        Ok(DataSpec {
            source: DataSource::from(self.path.as_str()),
            shape: ImageShape { height: model.size, width: model.size, channels: model.channels },
            background,
            skip_bad: self.skip_bad,
            memory: self.memory,
            part: DataPart::Train,
            relabel: false,
        })
    }
}

/// How bytes become network values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormaliseMode {
    /// The mean of each channel and one std that makes the training pictures' that of `noise.sigma_data`.
    Measured,
    /// 2x - 1.
    Simple,
    /// ImageNet's mean and twice its std.
    Imagenet,
}

/// Length, batch and seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Length of the run, in images.
    pub images: u64,
    /// Images of an optimiser step.
    pub batch: usize,
    /// Images that go through the network at once; 0 means the whole batch. The gradient is the same. `auto` takes as many
    /// as fit into the device's memory.
    pub micro_batch: usize,
    /// The run stops after this many steps in a row whose gradient is not finite.
    pub max_skipped: u64,
}

/// Averages that a run keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaSettings {
    /// Moving averages whose half-life is this share of the run.
    pub shares: Vec<f64>,
    /// Moving averages with this decay per step.
    pub decays: Vec<f64>,
    /// Weights that go into `model.safetensors`: `raw`, `share-0.02`, `decay-0.99`, ..
    pub export: String,
}

impl EmaSettings {
    /// All averages.
    pub fn configs(&self) -> Vec<EmaConfig> {
        let shares = self.shares.iter().map(|&share| EmaConfig::HalfLife { share });
        shares.chain(self.decays.iter().map(|&decay| EmaConfig::Decay { decay })).collect()
    }
}

/// Intervals, all in images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Images between two lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Images between two sample grids; stage 2 only.
    pub sample_every: u64,
    /// Images between two checkpoints.
    pub checkpoint_every: u64,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// Seed of the noise of the sample grids.
    pub sample_seed: u64,
    /// Rows of the sample grid; there is a column for each of the first ten classes.
    pub sample_rows: usize,
}

/// Measurements of quality during training; they change nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityConfig {
    /// Images between two measurements; 0 for none. Stage 2 only.
    pub every: u64,
    /// Pictures that each draws.
    pub count: usize,
}

impl Default for QualityConfig {
    fn default() -> Self {
        Self { every: 0, count: 1000 }
    }
}

impl RunConfig {
    /// The text of `config.toml`.
    ///
    /// # Errors
    /// [`SettingsError::NotToml`]: a setting that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string(self).map_err(|error| SettingsError::NotToml { message: error.to_string() })
    }

    /// The settings as the table that `config.toml` holds.
    ///
    /// It goes through the text: converted directly, an f32 such as 0.1 would become the f64 0.10000000149011612.
    ///
    /// # Errors
    /// Those of [`to_toml`](Self::to_toml).
    pub fn to_table(&self) -> Result<toml::Table, SettingsError> {
        let text = self.to_toml()?;
        text.parse()
            .map_err(|error: toml::de::Error| SettingsError::NotToml { message: error.to_string() })
    }

    /// Images of a batch that stay together where ranks share it out: in stage 3 those of a set.
    pub const fn together(&self) -> usize {
        match self.stage {
            Stage::Drift(settings) => settings.generated,
            Stage::Pretrain(_) | Stage::Diffusion(_) | Stage::Consistency(_) => 1,
        }
    }

    /// Images of a batch that the rank with the most of them computes.
    pub const fn largest_part(&self, ranks: usize) -> usize {
        let together = self.together();
        (self.train.batch / together).div_ceil(ranks) * together
    }

    /// What to load.
    pub fn data_spec(&self) -> Result<DataSpec, ConfigProblem> {
        self.data.spec(&self.model)
    }

    /// Bytes to network values.
    ///
    /// # Errors
    /// A picture that is to be measured and cannot be read.
    pub fn normalisation(&self, training: &Dataset) -> Result<Normalisation, DataError> {
        match self.data.normalise {
            NormaliseMode::Measured => Normalisation::measured(training, self.noise.sigma_data as f32),
            NormaliseMode::Simple => Ok(Normalisation::simple()),
            NormaliseMode::Imagenet => Ok(Normalisation::imagenet()),
        }
    }

    /// Where to compute.
    pub fn device(&self) -> Result<DeviceChoice, DeviceProblem> {
        self.compute.device.parse()
    }

    /// Images that go through the network at once.
    pub fn micro_batch(&self) -> usize {
        match self.train.micro_batch {
            0 => self.train.batch,
            micro => micro.min(self.train.batch),
        }
    }
}
