//! The recipes: every default of a stage for a preset, of small pictures (docs/reference/method.md section 7) and of the paper (sections 3 to 5).

use super::{ComputeConfig, DataConfig, EmaSettings, NormaliseMode, OutputConfig, RunConfig, Stage, TrainConfig};
use crate::data::augment::AugmentProfile;
use crate::model::ProjectorConfig;
use crate::objective::auxiliary::FrozenFeature;
use crate::objective::{ConsistencyConfig, DiffusionConfig, Method, PretrainConfig, TargetDecay, Weighting};
use crate::precision::Precision;
use crate::training::{OptimiserConfig, Schedule, Shape};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, PairMap, Parametrisation, Temperature};
use pixgen_core::presets::Preset;
use pixgen_edge::data::PixelStore;

/// Small models follow the recipe of docs/reference/method.md section 7, those of the paper sections 3.4 and 5.
fn is_small(model: &ModelConfig) -> bool {
    model.size <= 64
}

impl DataConfig {
    /// Defaults of small models and of those of the paper.
    pub fn defaults(small: bool) -> Self {
        Self {
            // The bundled pictures are 28x28; nobody means them for a model of the paper.
            path: if small { "bundled" } else { "" }.to_owned(),
            background: "#ffffff".to_owned(),
            skip_bad: false,
            memory: PixelStore::Auto,
            hold_out: if small { 0.1 } else { 0.0 },
            normalise: if small { NormaliseMode::Measured } else { NormaliseMode::Imagenet },
        }
    }
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
            diffusion: Some(if small { DiffusionConfig::SMALL } else { DiffusionConfig::PAPER }),
            schedule: Schedule {
                peak: if small { 3e-3 } else { 1e-4 },
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
                    // Few enough for what the clean pictures mean to climb to high noise in minutes (docs/reference/method.md section 7.2).
                    LevelCurriculum { start: 5, end: 5 }
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
                // Measured better for small pictures and short runs (docs/results/experiments.md).
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
}
