//! The stages: what a run trains, with the settings of that stage.

use crate::objective::{ConsistencyConfig, DiffusionConfig, DriftConfig, PretrainConfig};
use serde::{Deserialize, Serialize};

/// What a run trains, with the settings of that stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Stage 1: the encoder, without labels.
    Pretrain(PretrainConfig),
    /// Stage 2a: a diffusion model.
    Diffusion(DiffusionConfig),
    /// Stage 2b: a one-step generator.
    Consistency(ConsistencyConfig),
    /// Stage 3: a one-step generator whose pictures are matched with real ones.
    Drift(DriftConfig),
}

impl Stage {
    /// Which stage it is.
    pub const fn kind(&self) -> StageKind {
        match self {
            Self::Pretrain(_) => StageKind::Pretrain,
            Self::Diffusion(_) => StageKind::Diffusion,
            Self::Consistency(_) => StageKind::Consistency,
            Self::Drift(_) => StageKind::Drift,
        }
    }
}

/// A stage by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// Stage 1.
    Pretrain,
    /// Stage 2a.
    Diffusion,
    /// Stage 2b.
    Consistency,
    /// Stage 3.
    Drift,
}

impl StageKind {
    /// All of them in order.
    pub const ALL: [Self; 4] = [Self::Pretrain, Self::Diffusion, Self::Consistency, Self::Drift];

    /// Name in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pretrain => "stage 1",
            Self::Diffusion => "stage 2a",
            Self::Consistency => "stage 2b",
            Self::Drift => "stage 3",
        }
    }

    /// The command that trains it.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Diffusion => "finetune --objective diffusion",
            Self::Consistency => "finetune",
            Self::Drift => "finetune --objective drift",
        }
    }

    /// Name in `config.toml`, of the key `stage` and of the section.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Diffusion => "diffusion",
            Self::Consistency => "consistency",
            Self::Drift => "drift",
        }
    }
}
