//! The plain configuration of a run: every setting with its value, written to `config.toml` before work starts.
//!
//! [`RunConfig::defaults`] gives a stage's defaults for a preset; files, environment and flags are laid over it
//! ([`crate::settings`]), and [`RunConfig::validate`] looks at the result as a whole.
//! Each of the two has a file.

mod defaults;
mod validate;

use crate::data::augment::AugmentProfile;
use crate::device::{DeviceChoice, DeviceProblem, Requirements};
use crate::objective::{ConsistencyConfig, DiffusionConfig, PretrainConfig};
use crate::precision::Precision;
use crate::roofline::memory::{self, Setup};
use crate::training::{EmaConfig, OptimiserConfig, Schedule};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::data::{DataError, DataPart, DataSource, DataSpec, Dataset, ImageShape, PixelStore, parse_colour};
use serde::{Deserialize, Serialize};

/// What a run trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Stage 1: the encoder, without labels.
    Pretrain,
    /// Stage 2a: a diffusion model.
    Diffusion,
    /// Stage 2b: a one-step generator.
    Consistency,
}

impl Stage {
    /// All of them in order.
    pub const ALL: [Self; 3] = [Self::Pretrain, Self::Diffusion, Self::Consistency];

    /// Name in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pretrain => "stage 1",
            Self::Diffusion => "stage 2a",
            Self::Consistency => "stage 2b",
        }
    }
}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What is trained.
    pub stage: Stage,
    /// The preset that the defaults came from.
    pub preset: String,
    /// Stage 2: run folder or file of the pre-trained encoder; empty starts from scratch.
    pub encoder: String,
    /// Data.
    pub data: DataConfig,
    /// Length and batch.
    pub train: TrainConfig,
    /// Architecture.
    pub model: ModelConfig,
    /// Noise constants.
    pub noise: NoiseConfig,
    /// Stage 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<PretrainConfig>,
    /// Stage 2a.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diffusion: Option<DiffusionConfig>,
    /// Stage 2b.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<ConsistencyConfig>,
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
}

/// Where and how precisely to compute. A run may be resumed with other values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeConfig {
    /// `cpu`, `cuda`, `vulkan`, or one of several devices: `cuda:1`.
    pub device: String,
    /// Of matrices and activations; bf16 needs CUDA.
    pub precision: Precision,
    /// Keep only the inputs of the network's blocks for the backward pass and compute the rest again: less memory, a third more work.
    pub recompute: bool,
}

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `bundled`, a folder of pictures, a zip archive, tar shards, or an IDX file or folder; must be given for the paper's models.
    pub path: String,
    /// Colour behind transparent pictures.
    pub background: String,
    /// Go on without bad files instead of stopping. In memory they are left out; otherwise the next good file of the class takes the place
    /// of each.
    pub skip_bad: bool,
    /// Keep the pixels of a folder or archive in memory: `always`, `never` (a picture is decoded when its turn comes), or `auto`, up to
    /// 4 GiB. The run is the same, bit for bit.
    pub memory: PixelStore,
    /// Share of the pictures kept out of training, balanced over classes, for measurements.
    pub hold_out: f64,
    /// `measured` (the data's mean, one std so that the overall std is sigma_data), `simple` (2x - 1) or `imagenet`.
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
        })
    }
}

/// How bytes become network values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormaliseMode {
    /// Mean of each channel and one std, measured on the training pictures.
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
    /// Images of the run.
    pub images: u64,
    /// Images of an optimiser step.
    pub batch: usize,
    /// Images that go through the network at once; 0 means the whole batch. The gradient is the same.
    pub micro_batch: usize,
    /// Skipped steps in a row after which the run stops.
    pub max_skipped: u64,
}

/// Averages that a run keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaSettings {
    /// Half-lives as shares of the run.
    pub shares: Vec<f64>,
    /// Fixed decays per step.
    pub decays: Vec<f64>,
    /// The average that is exported: `share-...`, `decay-...` or `raw`.
    pub export: String,
}

impl EmaSettings {
    /// All averages.
    pub fn configs(&self) -> Vec<EmaConfig> {
        let shares = self.shares.iter().map(|&share| EmaConfig::Share { share });
        shares.chain(self.decays.iter().map(|&decay| EmaConfig::Decay { decay })).collect()
    }
}

/// Intervals, all in images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// A line of metrics.
    pub log_every: u64,
    /// A sample grid; stage 2 only.
    pub sample_every: u64,
    /// A checkpoint.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Seed of the sample grid.
    pub sample_seed: u64,
    /// Rows of the sample grid; there is a column for each of the first ten classes.
    pub sample_rows: usize,
}

/// A configuration that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
#[non_exhaustive]
pub struct ConfigProblem {
    /// Dotted key at fault.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to try.
    pub hint: Option<String>,
}

impl RunConfig {
    /// The settings as the table that `config.toml` holds.
    ///
    /// It goes through the text: converted directly, an f32 such as 0.1 would become the f64 0.10000000149011612.
    pub fn to_table(&self) -> toml::Table {
        // Plain data: writing it and reading it back cannot fail.
        toml::to_string(self).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
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

    /// What the run asks of its device.
    ///
    /// # Errors
    /// A device that has no such name.
    pub fn requirements(&self) -> Result<Requirements, DeviceProblem> {
        let memory = memory::estimate(self, Setup::of(self)?).total();
        Ok(Requirements { memory: Some(memory), bf16: self.compute.precision == Precision::Bf16 })
    }

    /// Images that go through the network at once.
    pub fn micro_batch(&self) -> usize {
        match self.train.micro_batch {
            0 => self.train.batch,
            micro => micro.min(self.train.batch),
        }
    }
}

fn problem(key: &str, reason: impl ToString) -> ConfigProblem {
    ConfigProblem { key: key.to_owned(), reason: reason.to_string(), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::presets::PRESETS;

    #[test]
    fn defaults_are_valid_and_survive_toml() {
        for preset in PRESETS {
            for stage in [Stage::Pretrain, Stage::Diffusion, Stage::Consistency] {
                let mut config = RunConfig::defaults(stage, preset);
                if stage == Stage::Consistency {
                    config.encoder = "run".to_owned();
                }
                assert_eq!(config.validate(), Ok(()), "{} {stage:?}", preset.name);
                let text = toml::to_string(&config).expect("toml");
                assert_eq!(toml::from_str::<RunConfig>(&text).expect("parses"), config);
            }
        }
    }

    #[test]
    fn problems_name_the_key() {
        let good = RunConfig::defaults(Stage::Consistency, &PRESETS[1]);
        type Change = Box<dyn Fn(&mut RunConfig)>;
        let cases: Vec<(&str, Change)> = vec![
            ("model.patch", Box::new(|c| c.model.patch = 3)),
            ("noise.sigma_max", Box::new(|c| c.noise.sigma_max = 0.0)),
            ("train.batch", Box::new(|c| c.train.batch = 1)),
            ("train.images", Box::new(|c| c.train.images = 0)),
            ("data.hold_out", Box::new(|c| c.data.hold_out = 1000.0)),
            ("data.background", Box::new(|c| c.data.background = "red".into())),
            ("output.keep", Box::new(|c| c.output.keep = 0)),
            ("optimiser.beta2", Box::new(|c| c.optimiser.beta2 = 1.0)),
            ("ema.export", Box::new(|c| c.ema.export = "share-0.5".into())),
            ("ema.decays", Box::new(|c| c.ema.decays = vec![1.5])),
            ("consistency.dropout", Box::new(|c| c.consistency.as_mut().expect("stage").dropout = 1.0)),
            ("consistency.anchor", Box::new(|c| c.consistency.as_mut().expect("stage").anchor = 0.0)),
            ("consistency.auxiliary", Box::new(|c| c.consistency.as_mut().expect("stage").auxiliary = 1.0)),
            ("stage", Box::new(|c| c.consistency = None)),
        ];
        for (key, change) in cases {
            let mut config = good.clone();
            change(&mut config);
            let found = config.validate().err().or_else(|| config.data_spec().err()).expect(key);
            assert_eq!(found.key, key);
        }
    }
}
