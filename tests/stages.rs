//! Both stages on the bundled pictures: settings that use all of a stage, and weights in the middle of training.

use pixgen_core::noise::{LevelCurriculum, PairMap, Parametrisation, Temperature};
use pixgen_core::params::Init;
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::bundled;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::ProjectorConfig;
use pixgen_train::data::augment::AugmentProfile;
use pixgen_train::distributed::Share;
use pixgen_train::objective::auxiliary::FrozenFeature;
use pixgen_train::objective::consistency_config::{ConsistencyConfig, Weighting};
use pixgen_train::objective::pretrain::{PretrainConfig, PretrainMethod, TargetDecay};
use pixgen_train::objective::{BatchSource, TrainingProgress};

/// A small projector.
pub const PROJECTOR: ProjectorConfig = ProjectorConfig { hidden: 64, out: 32 };

/// A step of 32 pictures half-way through a run.
pub const fn progress(micro_batch: usize) -> TrainingProgress {
    TrainingProgress {
        seed: 9,
        images: 3200,
        total: 6400,
        batch: 32,
        micro_batch,
        share: Share { rank: 0, size: 1 },
        together: 1,
    }
}

/// Stage 2b with dropout and the auxiliary loss.
pub fn consistency_settings() -> ConsistencyConfig {
    ConsistencyConfig {
        parametrisation: Parametrisation::Edm,
        weighting: Weighting::InverseGap,
        anchor: 0.0,
        p_mean: -0.4,
        p_std: 1.6,
        pair: PairMap::PAPER,
        stages: 3,
        huber: 0.03,
        dropout: 0.3,
        auxiliary: 1.0,
        auxiliary_temperature: 0.1,
        auxiliary_feature: FrozenFeature::Projected,
    }
}

/// Stage 1 with both of its losses.
pub fn pretrain_settings() -> PretrainConfig {
    PretrainConfig {
        method: PretrainMethod::Epg,
        projector: PROJECTOR,
        contrast_temperature: 0.2,
        temperature: Temperature::PAPER,
        levels: LevelCurriculum { start: 20, end: 80 },
        target_decay: TargetDecay::constant(0.99),
        contrast_symmetric: true,
        contrast_weight: 1.0,
        consistency_weight: 1.0,
    }
}

/// Weights of a model in the middle of training: what starts as a constant (norms, AdaLN, head, biases) has moved.
pub fn random_weights(set: &ParamSet, seed: u64) -> Vec<f32> {
    let mut flat = set.initialise(seed);
    for (i, entry) in set.entries().iter().enumerate() {
        if matches!(entry.init, Init::Constant(_)) {
            let rng = Rng::new(seed, stream(Purpose::Test, i as u64));
            for (k, value) in flat[entry.range.clone()].iter_mut().enumerate() {
                *value += 0.05 * rng.gaussian(k as u64);
            }
        }
    }
    flat
}

/// The bundled pictures with every augmentation of small images.
pub fn source() -> BatchSource {
    let dataset = bundled().expect("bundled data");
    let normalisation = Normalisation::measured(&dataset, 0.5).expect("pictures");
    BatchSource { dataset, normalisation, augment: AugmentProfile::small_image() }
}
