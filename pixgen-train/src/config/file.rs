//! `config.toml`: the name of the stage as `stage`, its settings in a section of that name.

use super::problem::{ConfigProblem, problem};
use super::run::{ComputeConfig, DataConfig, EmaSettings, OutputConfig, QualityConfig, RunConfig, TrainConfig};
use super::stage::{Stage, StageKind};
use crate::data::augment::AugmentProfile;
use crate::objective::{ConsistencyConfig, DiffusionConfig, DriftConfig, PretrainConfig};
use crate::training::{OptimiserConfig, Schedule};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// [`RunConfig`] as `config.toml` lays it out. One of the four sections is there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    stage: StageKind,
    preset: String,
    encoder: String,
    // Version 0.1 wrote neither this nor the last section.
    #[serde(default)]
    from: String,
    data: DataConfig,
    train: TrainConfig,
    model: ModelConfig,
    noise: NoiseConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pretrain: Option<PretrainConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diffusion: Option<DiffusionConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<ConsistencyConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<DriftConfig>,
    schedule: Schedule,
    optimiser: OptimiserConfig,
    ema: EmaSettings,
    augment: AugmentProfile,
    compute: ComputeConfig,
    output: OutputConfig,
    #[serde(default)]
    quality: QualityConfig,
}

impl From<RunConfig> for ConfigFile {
    fn from(config: RunConfig) -> Self {
        let RunConfig {
            stage,
            preset,
            encoder,
            from,
            data,
            train,
            model,
            noise,
            schedule,
            optimiser,
            ema,
            augment,
            compute,
            output,
            quality,
        } = config;
        let (mut pretrain, mut diffusion, mut consistency, mut drift) = (None, None, None, None);
        match stage {
            Stage::Pretrain(settings) => pretrain = Some(settings),
            Stage::Diffusion(settings) => diffusion = Some(settings),
            Stage::Consistency(settings) => consistency = Some(settings),
            Stage::Drift(settings) => drift = Some(settings),
        }
        let stage = stage.kind();
        Self {
            stage,
            preset,
            encoder,
            from,
            data,
            train,
            model,
            noise,
            pretrain,
            diffusion,
            consistency,
            drift,
            schedule,
            optimiser,
            ema,
            augment,
            compute,
            output,
            quality,
        }
    }
}

impl TryFrom<ConfigFile> for RunConfig {
    type Error = ConfigProblem;

    fn try_from(file: ConfigFile) -> Result<Self, ConfigProblem> {
        let kind = file.stage;
        let there = [
            file.pretrain.is_some(),
            file.diffusion.is_some(),
            file.consistency.is_some(),
            file.drift.is_some(),
        ];
        let mut sections = StageKind::ALL.into_iter().zip(there);
        if let Some((other, _)) = sections.find(|&(section, there)| there && section != kind) {
            let reason = format!("the section [{}] does not belong to stage = \"{}\"", other.name(), kind.name());
            return Err(problem(other.name(), reason));
        }
        let missing = || problem(kind.name(), format!("stage = \"{0}\" needs the section [{0}]", kind.name()));
        let stage = match kind {
            StageKind::Pretrain => Stage::Pretrain(file.pretrain.ok_or_else(missing)?),
            StageKind::Diffusion => Stage::Diffusion(file.diffusion.ok_or_else(missing)?),
            StageKind::Consistency => Stage::Consistency(file.consistency.ok_or_else(missing)?),
            StageKind::Drift => Stage::Drift(file.drift.ok_or_else(missing)?),
        };
        let ConfigFile {
            preset,
            encoder,
            from,
            data,
            train,
            model,
            noise,
            schedule,
            optimiser,
            ema,
            augment,
            compute,
            output,
            quality,
            ..
        } = file;
        Ok(Self {
            stage,
            preset,
            encoder,
            from,
            data,
            train,
            model,
            noise,
            schedule,
            optimiser,
            ema,
            augment,
            compute,
            output,
            quality,
        })
    }
}

impl Serialize for RunConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ConfigFile::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RunConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ConfigFile::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::presets::{PRESETS, preset};

    #[test]
    fn a_section_of_another_stage_is_named() {
        let preset = preset("small-28-grey").expect("preset");
        let text = |kind| toml::to_string(&RunConfig::defaults(kind, preset)).expect("TOML");
        let read = |text: &str| toml::from_str::<RunConfig>(text).expect_err("a contradiction").to_string();
        let other = text(StageKind::Pretrain).replace("stage = \"pretrain\"", "stage = \"diffusion\"");
        assert!(read(&other).contains("the section [pretrain] does not belong to stage = \"diffusion\""), "{}", read(&other));
        let (start, end) = (other.find("[pretrain]").expect("start"), other.find("[schedule]").expect("end"));
        let none = format!("{}{}", &other[..start], &other[end..]);
        assert!(read(&none).contains("stage = \"diffusion\" needs the section [diffusion]"), "{}", read(&none));
    }

    #[test]
    fn defaults_are_valid_and_survive_toml() {
        for preset in PRESETS {
            for stage in StageKind::ALL {
                let mut config = RunConfig::defaults(stage, preset);
                match stage {
                    StageKind::Consistency => config.encoder = "run".to_owned(),
                    StageKind::Drift => config.from = "run".to_owned(),
                    StageKind::Pretrain | StageKind::Diffusion => {}
                }
                assert_eq!(config.validate(), Ok(()), "{} {stage:?}", preset.name);
                let text = toml::to_string(&config).expect("toml");
                assert_eq!(toml::from_str::<RunConfig>(&text).expect("parses"), config);
            }
        }
    }
}
