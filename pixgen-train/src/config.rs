//! The plain configuration of a run: every setting with its value, written to `config.toml` before work starts.
//!
//! [`RunConfig::defaults`] gives a stage's defaults for a preset; files, environment and flags are laid over it
//! ([`crate::settings`]), and [`RunConfig::validate`] looks at the result as a whole.

use crate::data::augment::AugmentProfile;
use crate::data::normalise::Normalisation;
use crate::data::{DataError, DataSpec, Dataset, ImageShape, Memory, Part, Source, parse_colour};
use crate::device::{DeviceChoice, DeviceProblem, Requirements};
use crate::model::ProjectorConfig;
use crate::objective::auxiliary::FrozenFeature;
use crate::objective::{ConsistencyConfig, DiffusionConfig, Method, PretrainConfig, TargetDecay, Weighting};
use crate::precision::Precision;
use crate::roofline::memory::{self, Setup};
use crate::training::{EmaConfig, OptimiserConfig, Schedule, Shape};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, PairMap, Parametrisation, Temperature};
use pixgen_core::presets::Preset;
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
    pub memory: Memory,
    /// Share of the pictures kept out of training, balanced over classes, for measurements.
    pub hold_out: f64,
    /// `measured` (the data's mean, one std so that the overall std is sigma_data), `simple` (2x - 1) or `imagenet`.
    pub normalise: NormaliseMode,
}

impl DataConfig {
    /// Defaults of small models and of those of the paper.
    pub fn defaults(small: bool) -> Self {
        Self {
            // The bundled pictures are 28x28; nobody means them for a model of the paper.
            path: if small { "bundled" } else { "" }.to_owned(),
            background: "#ffffff".to_owned(),
            skip_bad: false,
            memory: Memory::Auto,
            hold_out: if small { 0.1 } else { 0.0 },
            normalise: if small { NormaliseMode::Measured } else { NormaliseMode::Imagenet },
        }
    }

    /// What to load for a model.
    pub fn spec(&self, model: &ModelConfig) -> Result<DataSpec, ConfigProblem> {
        let background = parse_colour(&self.background).map_err(|e| problem("data.background", e))?;
        Ok(DataSpec {
            source: Source::from(self.path.as_str()),
            shape: ImageShape { height: model.size, width: model.size, channels: model.channels },
            background,
            skip_bad: self.skip_bad,
            memory: self.memory,
            part: Part::Train,
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

/// Small models follow the recipe of docs/method.md section 7, those of the paper sections 3.4 and 5.
pub(crate) fn is_small(model: &ModelConfig) -> bool {
    model.size <= 64
}

impl RunConfig {
    /// A stage's defaults for a preset.
    pub fn defaults(stage: Stage, preset: &Preset) -> Self {
        let small = is_small(&preset.model);
        let (batch, images) = match (small, stage) {
            (true, Stage::Pretrain) => (256, 120_000),
            (true, Stage::Diffusion | Stage::Consistency) => (128, 160_000),
            (false, Stage::Pretrain) => (1024, 600_000 * 1024),
            // 800 epochs of ImageNet, 1600 of its largest model.
            (false, Stage::Diffusion) if preset.name.starts_with("EPG-G") => (1024, 2_000_000 * 1024),
            (false, Stage::Diffusion) => (1024, 1_000_000 * 1024),
            (false, Stage::Consistency) => (1024, 700_000 * 1024),
        };
        let shared = Self {
            stage,
            preset: preset.name.to_owned(),
            encoder: String::new(),
            data: DataConfig::defaults(small),
            train: TrainConfig { seed: 1, images, batch, micro_batch: 0, max_skipped: 10 },
            model: preset.model,
            noise: NoiseConfig::with_shift(f64::from(preset.shift)),
            pretrain: None,
            diffusion: None,
            consistency: None,
            schedule: Schedule { peak: 0.0, warmup: 0, shape: Shape::Cosine, final_factor: 0.0 },
            optimiser: OptimiserConfig {
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.03,
                decay_position: true,
                decay_vectors: true,
                clip: 0.0,
            },
            ema: EmaSettings { shares: vec![0.02], decays: vec![0.99], export: "raw".to_owned() },
            augment: if small {
                AugmentProfile { flip: false, ..AugmentProfile::small_image() }
            } else {
                AugmentProfile::moco_v3()
            },
            compute: ComputeConfig { device: "cpu".to_owned(), precision: Precision::F32, recompute: false },
            output: OutputConfig {
                log_every: if small { 5_000 } else { 102_400 },
                sample_every: if small { 40_000 } else { 5_120_000 },
                checkpoint_every: if small { 40_000 } else { 5_120_000 },
                keep: 2,
                sample_seed: 0,
                sample_rows: 8,
            },
        };
        match stage {
            Stage::Pretrain => Self::pretrain_defaults(shared, small),
            Stage::Diffusion => Self::diffusion_defaults(shared, small),
            Stage::Consistency => Self::consistency_defaults(shared, small),
        }
    }

    fn diffusion_defaults(shared: Self, small: bool) -> Self {
        Self {
            diffusion: Some(DiffusionConfig::PAPER),
            schedule: Schedule {
                peak: if small { 2e-3 } else { 1e-4 },
                warmup: if small { 12_800 } else { 10_000 * 1024 },
                ..shared.schedule
            },
            optimiser: OptimiserConfig {
                beta2: if small { 0.99 } else { 0.999 },
                weight_decay: 0.01,
                decay_position: false,
                // The paper clips at 0.5 with weights 900 times ours, so that it scales nearly every gradient; Adam does that anyway.
                clip: 1.0,
                ..shared.optimiser
            },
            ema: if small {
                EmaSettings { export: "share-0.02".to_owned(), ..shared.ema }
            } else {
                EmaSettings { shares: vec![0.02], decays: vec![0.9999], export: "decay-0.9999".to_owned() }
            },
            augment: AugmentProfile { flip: shared.augment.flip || !small, ..shared.augment.clone() },
            ..shared
        }
    }

    fn pretrain_defaults(shared: Self, small: bool) -> Self {
        let batch = shared.train.batch as f64;
        Self {
            pretrain: Some(PretrainConfig {
                method: Method::Epg,
                projector: if small {
                    ProjectorConfig { hidden: 256, out: 64 }
                } else {
                    ProjectorConfig { hidden: 4096, out: 256 }
                },
                contrast_temperature: 0.2,
                temperature: Temperature::PAPER,
                levels: if small {
                    LevelCurriculum { start: 20, end: 80 }
                } else {
                    LevelCurriculum::PAPER
                },
                target_decay: TargetDecay::constant(0.99),
                contrast_symmetric: true,
                contrast_weight: 1.0,
                consistency_weight: 1.0,
            }),
            schedule: Schedule {
                peak: if small { 1e-3 } else { 1.5e-4 * batch / 256.0 },
                warmup: if small { 5_000 } else { 10_000 * 1024 },
                ..shared.schedule
            },
            ..shared
        }
    }

    /// The same with the defaults of another method of stage 1; unchanged in other stages.
    pub fn with_method(mut self, method: Method) -> Self {
        let Some(settings) = self.pretrain.as_mut() else {
            return self;
        };
        settings.method = method;
        match method {
            Method::Epg => {}
            Method::Moco => settings.consistency_weight = 0.0,
            Method::Rrcm => {
                settings.temperature = Temperature { low: 0.2, start: 0.2 };
                settings.levels = LevelCurriculum { start: 20, end: 80 };
                // A run of minutes would end before a target of 0.9999 had moved.
                settings.target_decay = TargetDecay { start: 0.99, end: if is_small(&self.model) { 0.999 } else { 0.9999 } };
                settings.contrast_symmetric = false;
                self.optimiser.clip = 2.0;
            }
        }
        self
    }

    fn consistency_defaults(shared: Self, small: bool) -> Self {
        Self {
            consistency: Some(ConsistencyConfig {
                // Measured better for small pictures and short runs (docs/experiments.md).
                parametrisation: if small { Parametrisation::PlainX } else { Parametrisation::Edm },
                weighting: if small { Weighting::Smooth } else { Weighting::InverseGap },
                anchor: if small { 0.3 } else { 0.0 },
                p_mean: -0.4,
                p_std: 1.6,
                pair: PairMap::PAPER,
                stages: if small { 3 } else { 7 },
                huber: if small { 0.03 } else { 0.06 },
                dropout: if small { 0.0 } else { 0.5 },
                auxiliary: if small { 0.0 } else { 1.0 },
                auxiliary_temperature: 0.1,
                auxiliary_feature: FrozenFeature::Projected,
            }),
            schedule: Schedule {
                peak: if small { 3e-3 } else { 1e-4 },
                warmup: if small { 12_800 } else { 10_000 * 1024 },
                shape: if small { Shape::Cosine } else { Shape::Staged },
                final_factor: 0.02,
            },
            optimiser: OptimiserConfig { beta2: 0.99, decay_position: false, ..shared.optimiser },
            ema: if small {
                EmaSettings { export: "share-0.02".to_owned(), ..shared.ema }
            } else {
                EmaSettings { shares: vec![0.02], decays: vec![0.9999], export: "decay-0.9999".to_owned() }
            },
            ..shared
        }
    }

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
        let memory = memory::estimate(self, Setup::of(self)?, false).total();
        Ok(Requirements { memory: Some(memory), bf16: self.compute.precision == Precision::Bf16 })
    }

    /// Images that go through the network at once.
    pub fn micro_batch(&self) -> usize {
        match self.train.micro_batch {
            0 => self.train.batch,
            micro => micro.min(self.train.batch),
        }
    }

    /// Says what makes the whole unusable.
    pub fn validate(&self) -> Result<(), ConfigProblem> {
        self.model.validate().map_err(|e| problem(&format!("model.{}", e.field), e.reason))?;
        self.noise.validate().map_err(|e| problem(&format!("noise.{}", e.field), e.reason))?;
        self.augment.check().map_err(|e| problem("augment", e))?;
        let check = |ok: bool, key: &str, reason: &str| if ok { Ok(()) } else { Err(problem(key, reason)) };
        check((0.0..=0.5).contains(&self.data.hold_out), "data.hold_out", "must be a share from 0 to 0.5")?;
        check(self.train.batch >= 2, "train.batch", "must be at least 2")?;
        check(self.train.batch <= 1 << 20, "train.batch", "must be at most 1048576")?;
        check(self.train.images > 0, "train.images", "must be positive")?;
        check(self.train.max_skipped > 0, "train.max_skipped", "must be positive")?;
        for (key, value) in [
            ("output.log_every", self.output.log_every),
            ("output.sample_every", self.output.sample_every),
            ("output.checkpoint_every", self.output.checkpoint_every),
            ("output.keep", self.output.keep as u64),
            ("output.sample_rows", self.output.sample_rows as u64),
        ] {
            check(value > 0, key, "must be positive")?;
        }
        let finite = |v: f64, low: f64| v.is_finite() && v >= low;
        check(finite(self.schedule.peak, 0.0), "schedule.peak", "must be a finite number, 0 or above")?;
        check((0.0..=1.0).contains(&self.schedule.final_factor), "schedule.final_factor", "must lie between 0 and 1")?;
        let optimiser = &self.optimiser;
        for (key, beta) in [("optimiser.beta1", optimiser.beta1), ("optimiser.beta2", optimiser.beta2)] {
            check((0.0..1.0).contains(&beta), key, "must be at least 0 and below 1")?;
        }
        check(finite(optimiser.epsilon, 1e-30), "optimiser.epsilon", "must be positive")?;
        check(finite(optimiser.weight_decay, 0.0), "optimiser.weight_decay", "must be 0 or above")?;
        check(finite(optimiser.clip, 0.0), "optimiser.clip", "must be 0 (off) or above")?;
        for ema in self.ema.configs() {
            let (key, value) = match ema {
                EmaConfig::Share { share } => ("ema.shares", share),
                EmaConfig::Decay { decay } => ("ema.decays", decay),
            };
            check(value > 0.0 && value < 1.0, key, "must lie between 0 and 1")?;
        }
        let names: Vec<String> = self.ema.configs().iter().map(EmaConfig::to_string).collect();
        if self.ema.export != "raw" && !names.contains(&self.ema.export) {
            let hint = Some(format!("use `raw` or one of: {}", names.join(", ")));
            return Err(ConfigProblem { hint, ..problem("ema.export", format!("there is no average `{}`", self.ema.export)) });
        }
        match (self.stage, &self.pretrain, &self.diffusion, &self.consistency) {
            (Stage::Pretrain, Some(pretrain), ..) => self.validate_pretrain(pretrain),
            (Stage::Diffusion, _, Some(diffusion), _) => validate_diffusion(diffusion),
            (Stage::Consistency, .., Some(consistency)) => self.validate_consistency(consistency),
            _ => Err(problem("stage", "the section of this stage is missing")),
        }
    }

    fn validate_pretrain(&self, pretrain: &PretrainConfig) -> Result<(), ConfigProblem> {
        let check = |ok: bool, key: &str, reason: &str| {
            if ok {
                Ok(())
            } else {
                Err(problem(&format!("pretrain.{key}"), reason))
            }
        };
        let width = |w: usize| (1..=1 << 16).contains(&w);
        check(
            width(pretrain.projector.hidden) && width(pretrain.projector.out),
            "projector",
            "widths must lie between 1 and 65536",
        )?;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        check(positive(pretrain.contrast_temperature), "contrast_temperature", "must be positive")?;
        check(positive(pretrain.temperature.low), "temperature.low", "must be positive")?;
        check(
            pretrain.temperature.start >= pretrain.temperature.low,
            "temperature.start",
            "must be at least temperature.low",
        )?;
        check(pretrain.temperature.start.is_finite(), "temperature.start", "must be finite")?;
        let levels = pretrain.levels;
        check(
            levels.start >= 1 && levels.end >= levels.start && levels.end <= 1 << 20,
            "levels",
            "1 <= start <= end <= 1048576 must hold",
        )?;
        for (key, decay) in [("start", pretrain.target_decay.start), ("end", pretrain.target_decay.end)] {
            check((0.0..1.0).contains(&decay), &format!("target_decay.{key}"), "must be at least 0 and below 1")?;
        }
        for (key, weight) in [
            ("contrast_weight", pretrain.contrast_weight),
            ("consistency_weight", pretrain.consistency_weight),
        ] {
            check(weight.is_finite() && weight >= 0.0, key, "must be 0 or above")?;
        }
        check(
            pretrain.contrast_weight + pretrain.consistency_weight > 0.0,
            "contrast_weight",
            "one of contrast_weight and consistency_weight must be positive",
        )
    }

    fn validate_consistency(&self, consistency: &ConsistencyConfig) -> Result<(), ConfigProblem> {
        let check = |ok: bool, key: &str, reason: &str| {
            if ok {
                Ok(())
            } else {
                Err(problem(&format!("consistency.{key}"), reason))
            }
        };
        check((0.0..1.0).contains(&consistency.dropout), "dropout", "must be at least 0 and below 1")?;
        check(consistency.anchor.is_finite() && consistency.anchor >= 0.0, "anchor", "must be 0 (off) or above")?;
        if consistency.parametrisation == Parametrisation::PlainX && consistency.anchor == 0.0 {
            return Err(ConfigProblem {
                hint: Some("set consistency.anchor = 0.3".to_owned()),
                ..problem("consistency.anchor", "plain-x has no boundary condition and needs an anchor above 0")
            });
        }
        check(
            consistency.p_mean.is_finite() && consistency.p_std.is_finite() && consistency.p_std >= 0.0,
            "p_std",
            "p_mean and p_std must be finite, p_std 0 or above",
        )?;
        check((1..=64).contains(&consistency.stages), "stages", "must lie between 1 and 64")?;
        check(consistency.pair.q > 1.0 && consistency.pair.q.is_finite(), "pair.q", "must be above 1")?;
        check(consistency.pair.k.is_finite() && consistency.pair.b.is_finite(), "pair", "k and b must be finite")?;
        check(consistency.huber.is_finite() && consistency.huber > 0.0, "huber", "must be positive")?;
        check(consistency.auxiliary.is_finite() && consistency.auxiliary >= 0.0, "auxiliary", "must be 0 (off) or above")?;
        check(
            consistency.auxiliary_temperature.is_finite() && consistency.auxiliary_temperature > 0.0,
            "auxiliary_temperature",
            "must be positive",
        )?;
        if consistency.auxiliary > 0.0 && self.encoder.is_empty() {
            return Err(ConfigProblem {
                hint: Some("give --encoder RUN, or switch the term off with --set consistency.auxiliary=0".to_owned()),
                ..problem("consistency.auxiliary", "the auxiliary loss needs the encoder of stage 1")
            });
        }
        Ok(())
    }
}

fn validate_diffusion(diffusion: &DiffusionConfig) -> Result<(), ConfigProblem> {
    let check = |ok: bool, key: &str, reason: &str| {
        if ok {
            Ok(())
        } else {
            Err(problem(&format!("diffusion.{key}"), reason))
        }
    };
    check(
        diffusion.p_mean.is_finite() && diffusion.p_std.is_finite() && diffusion.p_std >= 0.0,
        "p_std",
        "p_mean and p_std must be finite, p_std 0 or above",
    )?;
    check(diffusion.power.is_finite() && diffusion.power.abs() <= 4.0, "power", "must lie between -4 and 4")?;
    check((0.0..=1.0).contains(&diffusion.label_drop), "label_drop", "must be a share from 0 to 1")
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
