//! The recipes: every default of every stage, one literal table for each recipe.
//!
//! [`TrainingRecipe::SMALL`] is that of docs/reference/method.md section 7, [`TrainingRecipe::PAPER`] those of sections 3 to 5. Both tables list the same
//! fields in the same order. A preset's name chooses the table.

use super::run::{ComputeConfig, DataConfig, EmaSettings, NormaliseMode, OutputConfig, QualityConfig, RunConfig, TrainConfig};
use super::stage::{Stage, StageKind};
use crate::data::augment::AugmentProfile;
use crate::objective::auxiliary::FrozenFeature;
use crate::objective::{ConsistencyConfig, DiffusionConfig, DriftConfig, PretrainConfig, PretrainMethod, TargetDecay, Weighting};
use crate::precision::Precision;
use crate::training::{LrShape, OptimiserConfig, OptimiserKind, Schedule};
use pixgen_core::noise::{LevelCurriculum, NoiseConfig, PairMap, Parametrisation, Temperature};
use pixgen_core::presets::Preset;
use pixgen_edge::data::PixelStore;
use pixgen_edge::projector::ProjectorConfig;

/// Defaults of all stages.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingRecipe {
    /// See [`DataConfig::path`].
    pub data: &'static str,
    /// See [`DataConfig::hold_out`].
    pub hold_out: f64,
    /// See [`DataConfig::normalise`].
    pub normalise: NormaliseMode,
    /// Views of stage 1 and the flip of all stages.
    pub augment: AugmentProfile,
    /// See [`OutputConfig::log_every`].
    pub log_every: u64,
    /// Images between sample grids, and between checkpoints.
    pub save_every: u64,
    /// Stage 1.
    pub pretrain: StageRecipe<PretrainConfig>,
    /// Stage 1: the target network's decay of the method RRCM.
    pub rrcm_target_decay: TargetDecay,
    /// Stage 2a.
    pub diffusion: StageRecipe<DiffusionConfig>,
    /// Stage 2b.
    pub consistency: StageRecipe<ConsistencyConfig>,
    /// Stage 3. The first windows grow with the picture.
    pub drift: StageRecipe<DriftConfig>,
}

/// Defaults of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRecipe<C> {
    /// Images of the run.
    pub images: u64,
    /// Images of an optimiser step.
    pub batch: usize,
    /// Learning rate.
    pub schedule: Schedule,
    /// Optimiser.
    pub optimiser: OptimiserConfig,
    /// Decay per step of the second average; the first follows the run's length with a share of 0.02.
    pub ema_decay: f64,
    /// The average that is exported.
    pub export: &'static str,
    /// What only this stage has.
    pub settings: C,
}

const fn adamw(beta2: f64, weight_decay: f64, decay_position: bool, clip: f64) -> OptimiserConfig {
    OptimiserConfig {
        kind: OptimiserKind::Adamw,
        beta1: 0.9,
        beta2,
        epsilon: 1e-8,
        weight_decay,
        decay_position,
        decay_vectors: true,
        clip,
    }
}

/// Without clipping: the length of Muon's steps does not follow that of the gradient.
const fn muon(beta2: f64, weight_decay: f64) -> OptimiserConfig {
    OptimiserConfig { kind: OptimiserKind::Muon, ..adamw(beta2, weight_decay, false, 0.0) }
}

const fn schedule(peak: f64, warmup: u64, shape: LrShape, final_factor: f64) -> Schedule {
    Schedule { peak, warmup, shape, final_factor }
}

impl TrainingRecipe {
    /// Small pictures, minutes to hours on a CPU (docs/reference/method.md section 7, measured in docs/results/experiments.md).
    pub const SMALL: Self = Self {
        data: "bundled",
        hold_out: 0.1,
        normalise: NormaliseMode::Measured,
        augment: AugmentProfile { flip: false, ..AugmentProfile::small_image() },
        log_every: 5_000,
        save_every: 40_000,
        pretrain: StageRecipe {
            images: 120_000,
            batch: 256,
            schedule: schedule(1e-3, 5_000, LrShape::Cosine, 0.0),
            optimiser: adamw(0.95, 0.03, true, 0.0),
            ema_decay: 0.99,
            export: "raw",
            settings: PretrainConfig {
                method: PretrainMethod::Epg,
                projector: ProjectorConfig { hidden: 256, out: 64 },
                contrast_temperature: 0.2,
                temperature: Temperature::PAPER,
                // Few enough for what the clean pictures mean to climb to high noise in minutes (docs/reference/method.md section 7.2).
                levels: LevelCurriculum { start: 5, end: 5 },
                target_decay: TargetDecay::constant(0.99),
                contrast_symmetric: true,
                contrast_weight: 1.0,
                consistency_weight: 1.0,
            },
        },
        // A run of minutes would end before a target of 0.9999 had moved.
        rrcm_target_decay: TargetDecay { start: 0.99, end: 0.999 },
        diffusion: StageRecipe {
            images: 160_000,
            batch: 128,
            schedule: schedule(3e-3, 12_800, LrShape::Cosine, 0.0),
            optimiser: adamw(0.99, 0.01, false, 1.0),
            ema_decay: 0.99,
            export: "share-0.02",
            settings: DiffusionConfig::SMALL,
        },
        consistency: StageRecipe {
            images: 160_000,
            batch: 128,
            schedule: schedule(1.2e-2, 12_800, LrShape::Cosine, 0.02),
            optimiser: muon(0.99, 0.03),
            ema_decay: 0.99,
            export: "share-0.02",
            settings: ConsistencyConfig {
                parametrisation: Parametrisation::PlainX,
                weighting: Weighting::Smooth,
                anchor: 0.3,
                p_mean: -0.4,
                p_std: 1.6,
                pair: PairMap::PAPER,
                stages: 3,
                huber: 0.03,
                dropout: 0.0,
                auxiliary: 0.0,
                auxiliary_temperature: 0.1,
                auxiliary_feature: FrozenFeature::Projected,
            },
        },
        drift: StageRecipe {
            images: 96_000,
            batch: 320,
            schedule: schedule(6e-3, 3_200, LrShape::Cosine, 0.0),
            optimiser: muon(0.99, 0.01),
            ema_decay: 0.99,
            export: "decay-0.99",
            settings: DriftConfig {
                parametrisation: Parametrisation::PlainX,
                generated: 32,
                real: 64,
                temperatures: [0.02, 0.05, 0.2],
                guidance: 1.5,
                patches: true,
                windows: [8, 0],
                whole: true,
            },
        },
    };

    /// The paper's, for ImageNet (docs/reference/method.md sections 3.4, 4 and 5).
    pub const PAPER: Self = Self {
        // The bundled pictures are 28x28; nobody means them for a model of the paper.
        data: "",
        hold_out: 0.0,
        normalise: NormaliseMode::Imagenet,
        augment: AugmentProfile::moco_v3(),
        log_every: 102_400,
        save_every: 5_120_000,
        pretrain: StageRecipe {
            images: 600_000 * 1024,
            batch: 1024,
            schedule: schedule(1.5e-4 * 1024.0 / 256.0, 10_000 * 1024, LrShape::Cosine, 0.0),
            optimiser: adamw(0.95, 0.03, true, 0.0),
            ema_decay: 0.99,
            export: "raw",
            settings: PretrainConfig {
                method: PretrainMethod::Epg,
                projector: ProjectorConfig { hidden: 4096, out: 256 },
                contrast_temperature: 0.2,
                temperature: Temperature::PAPER,
                levels: LevelCurriculum::PAPER,
                target_decay: TargetDecay::constant(0.99),
                contrast_symmetric: true,
                contrast_weight: 1.0,
                consistency_weight: 1.0,
            },
        },
        rrcm_target_decay: TargetDecay { start: 0.99, end: 0.9999 },
        diffusion: StageRecipe {
            images: 1_000_000 * 1024, // 800 epochs of ImageNet
            batch: 1024,
            schedule: schedule(1e-4, 10_000 * 1024, LrShape::Cosine, 0.0),
            // The paper clips at 0.5 with weights 900 times ours, so that it scales nearly every gradient; Adam does that anyway.
            optimiser: adamw(0.999, 0.01, false, 1.0),
            ema_decay: 0.9999,
            export: "decay-0.9999",
            settings: DiffusionConfig::PAPER,
        },
        consistency: StageRecipe {
            images: 700_000 * 1024,
            batch: 1024,
            schedule: schedule(1e-4, 10_000 * 1024, LrShape::Staged, 0.02),
            optimiser: adamw(0.99, 0.03, false, 0.0),
            ema_decay: 0.9999,
            export: "decay-0.9999",
            settings: ConsistencyConfig {
                parametrisation: Parametrisation::Edm,
                weighting: Weighting::InverseGap,
                anchor: 0.0,
                p_mean: -0.4,
                p_std: 1.6,
                pair: PairMap::PAPER,
                stages: 7,
                huber: 0.06,
                dropout: 0.5,
                auxiliary: 1.0,
                auxiliary_temperature: 0.1,
                auxiliary_feature: FrozenFeature::Projected,
            },
        },
        // Those of the drifting paper's pixel generators, with a batch that a GPU can hold and without windows, whose features would not fit.
        // Pixels alone carry ImageNet nowhere, so --encoder belongs to it.
        drift: StageRecipe {
            images: 100_000 * 1024,
            batch: 1024,
            schedule: schedule(2e-4, 10_000 * 1024, LrShape::Constant, 1.0),
            optimiser: adamw(0.95, 0.01, false, 2.0),
            ema_decay: 0.9999,
            export: "decay-0.9999",
            settings: DriftConfig {
                parametrisation: Parametrisation::Edm,
                generated: 64,
                real: 64,
                temperatures: [0.02, 0.05, 0.2],
                guidance: 1.0,
                patches: true,
                windows: [0, 0],
                whole: true,
            },
        },
    };

    /// The paper's for its largest model: 1600 epochs of stage 2a.
    pub const PAPER_LARGEST: Self = Self {
        diffusion: StageRecipe { images: 2_000_000 * 1024, ..Self::PAPER.diffusion },
        ..Self::PAPER
    };
}

impl TrainingRecipe {
    /// The recipe of a preset. Models of the paper have the paper's names.
    pub fn of(preset: &str) -> &'static Self {
        match preset {
            name if name.starts_with("EPG-G-") => &Self::PAPER_LARGEST,
            name if name.starts_with("EPG-") => &Self::PAPER,
            _ => &Self::SMALL,
        }
    }

    /// Where pictures come from.
    pub fn data(&self) -> DataConfig {
        DataConfig {
            path: self.data.to_owned(),
            background: "#ffffff".to_owned(),
            skip_bad: false,
            memory: PixelStore::Auto,
            hold_out: self.hold_out,
            normalise: self.normalise,
        }
    }
}

impl RunConfig {
    /// A stage's defaults for a preset.
    pub fn defaults(stage: StageKind, preset: &Preset) -> Self {
        let recipe = TrainingRecipe::of(preset.name);
        match stage {
            StageKind::Pretrain => Self::of(recipe, &recipe.pretrain, Stage::Pretrain, preset),
            StageKind::Diffusion => Self::of(recipe, &recipe.diffusion, Stage::Diffusion, preset),
            StageKind::Consistency => Self::of(recipe, &recipe.consistency, Stage::Consistency, preset),
            StageKind::Drift => Self::of(recipe, &recipe.drift, Stage::Drift, preset).with_windows_for_size(),
        }
    }

    fn of<C: Copy>(recipe: &TrainingRecipe, defaults: &StageRecipe<C>, stage: fn(C) -> Stage, preset: &Preset) -> Self {
        Self {
            stage: stage(defaults.settings),
            preset: preset.name.to_owned(),
            encoder: String::new(),
            from: String::new(),
            data: recipe.data(),
            train: TrainConfig { seed: 1, images: defaults.images, batch: defaults.batch, micro_batch: 0, max_skipped: 10 },
            model: preset.model,
            noise: NoiseConfig::with_shift(f64::from(preset.shift)),
            schedule: defaults.schedule,
            optimiser: defaults.optimiser,
            ema: EmaSettings { shares: vec![0.02], decays: vec![defaults.ema_decay], export: defaults.export.to_owned() },
            augment: recipe.augment.clone(),
            compute: ComputeConfig { device: "cpu".to_owned(), precision: Precision::F32, recompute: false, tf32: false },
            output: OutputConfig {
                log_every: recipe.log_every,
                sample_every: recipe.save_every,
                checkpoint_every: recipe.save_every,
                keep: 2,
                sample_seed: 0,
                sample_rows: 8,
            },
            quality: QualityConfig::default(),
        }
    }

    /// Stage 3: windows of a quarter of the picture, where that is more than the recipe's.
    fn with_windows_for_size(mut self) -> Self {
        if let Stage::Drift(settings) = &mut self.stage
            && settings.windows[0] > 0
        {
            settings.windows[0] = settings.windows[0].max(self.model.size / 4);
        }
        self
    }

    /// The same with the defaults of another method of stage 1; unchanged in other stages.
    pub fn with_method(mut self, method: PretrainMethod) -> Self {
        let Stage::Pretrain(settings) = &mut self.stage else {
            return self;
        };
        settings.method = method;
        match method {
            PretrainMethod::Epg => {}
            PretrainMethod::Moco => settings.consistency_weight = 0.0,
            PretrainMethod::Rrcm => {
                settings.temperature = Temperature { low: 0.2, start: 0.2 };
                settings.levels = LevelCurriculum { start: 20, end: 80 };
                settings.target_decay = TrainingRecipe::of(&self.preset).rrcm_target_decay;
                settings.contrast_symmetric = false;
                self.optimiser.clip = 2.0;
            }
        }
        self
    }

    /// Widths of the projector of stage 1; settings of stage 2 do not hold it, so it is that of the preset's recipe.
    pub fn projector(&self) -> ProjectorConfig {
        match &self.stage {
            Stage::Pretrain(settings) => settings.projector,
            Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => TrainingRecipe::of(&self.preset).pretrain.settings.projector,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layers::{dotted_keys, get};
    use pixgen_core::presets::preset;

    /// CRC-32 of all defaults, one line `key = value` for each, of every stage, method and preset in version 0.1.
    const DEFAULTS: &str = include_str!("snapshot/defaults.crc32");
    /// `config.toml` of each stage as version 0.1 wrote it.
    const FILES: [&str; 3] = [
        include_str!("snapshot/pretrain.toml"),
        include_str!("snapshot/diffusion.toml"),
        include_str!("snapshot/consistency.toml"),
    ];

    /// Settings that version 0.1 did not have.
    const LATER: [&str; 5] = ["from", "quality.every", "quality.count", "compute.tf32", "optimiser.kind"];

    /// What defaults of stage 2b are without Muon and its learning rate, which small presets have had since.
    fn with_adamw(config: RunConfig) -> RunConfig {
        if !matches!(config.stage, Stage::Consistency(_)) || config.optimiser.kind == OptimiserKind::Adamw {
            return config;
        }
        RunConfig {
            schedule: Schedule { peak: 3e-3, ..config.schedule },
            optimiser: OptimiserConfig { kind: OptimiserKind::Adamw, ..config.optimiser },
            ..config
        }
    }

    fn lines(config: &RunConfig) -> String {
        let table = config.to_table().expect("TOML");
        let mut keys = dotted_keys(&table);
        keys.sort();
        keys.retain(|key| !LATER.contains(&key.as_str()));
        keys.iter()
            .map(|key| format!("{key} = {}\n", get(&table, key).expect("a key of the table")))
            .collect()
    }

    #[test]
    fn every_default_is_that_of_version_0_1() {
        assert_eq!(DEFAULTS.lines().count(), 5 * 21, "five kinds of stages of the presets that version 0.1 had");
        for line in DEFAULTS.lines() {
            let [stage, name, crc] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let preset = preset(name).expect(name);
            let config = match stage {
                "pretrain" => RunConfig::defaults(StageKind::Pretrain, preset),
                "pretrain:moco" => RunConfig::defaults(StageKind::Pretrain, preset).with_method(PretrainMethod::Moco),
                "pretrain:rrcm" => RunConfig::defaults(StageKind::Pretrain, preset).with_method(PretrainMethod::Rrcm),
                "diffusion" => RunConfig::defaults(StageKind::Diffusion, preset),
                "consistency" => RunConfig::defaults(StageKind::Consistency, preset),
                other => panic!("{other}"),
            };
            let lines = lines(&with_adamw(config));
            assert_eq!(format!("{:08x}", crc32fast::hash(lines.as_bytes())), crc, "{stage} of {name} is now\n{lines}");
        }
    }

    /// Runs of version 0.1 can go on, and their files get what is new.
    #[test]
    fn files_of_version_0_1_are_read_and_written_the_same() {
        for (stage, text) in StageKind::ALL.into_iter().zip(FILES) {
            let read: RunConfig = toml::from_str(text).expect("a file of version 0.1");
            assert_eq!(read, with_adamw(RunConfig::defaults(stage, preset("small-28-grey").expect("preset"))));
            let old: toml::Table = text.parse().expect("TOML");
            let written = read.to_table().expect("TOML");
            let mut keys = dotted_keys(&written);
            assert!(LATER.iter().all(|key| keys.iter().any(|written| written == key)));
            keys.retain(|key| !LATER.contains(&key.as_str()));
            assert_eq!(keys, dotted_keys(&old));
            assert!(keys.iter().all(|key| get(&written, key) == get(&old, key)));
        }
    }
}
