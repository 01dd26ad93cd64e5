//! Generators with random weights, for tests and for `examples/random_models.rs`.

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::params::{Layer, Role};
use pixgen_core::rng::Rng;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::model_file::{Content, FORMAT, ModelFile, ModelHeader};
use pixgen_edge::param_set::ParamSet;

const fn tower(depth: usize, width: usize, heads: usize) -> Tower {
    Tower { depth, width, heads }
}

/// A generator with weights that do something everywhere: those that start at zero get noise.
pub fn generator(model: ModelConfig, parametrisation: Parametrisation) -> ModelFile {
    let set = ParamSet::generator(&model);
    let mut params = set.initialise(5);
    let rng = Rng::new(5, 255);
    for (entry, param) in set.entries().iter().zip(model.params()) {
        let scale = match param.role {
            Role::Matrix if param.site.layer == Layer::Head => 0.3 / (param.shape[1] as f32).sqrt(),
            Role::Matrix if param.site.layer == Layer::Modulation => 0.5 / (param.shape[1] as f32).sqrt(),
            Role::Bias | Role::Norm => 0.1,
            _ => 0.0,
        };
        for i in entry.range.clone() {
            params[i] += scale * rng.gaussian(i as u64);
        }
    }
    let header = ModelHeader {
        format: FORMAT,
        content: Content::Generator,
        model,
        noise: NoiseConfig::with_shift(1.0),
        parametrisation,
        normalisation: Normalisation { mean: [0.3, 0.4, 0.5], std: [0.7, 0.6, 0.5] },
        projector: None,
        ema: "raw".into(),
        images: 0,
        seed: 5,
        data: "none".into(),
        class_names: (0..model.classes).map(|c| format!("class {c}")).collect(),
    };
    ModelFile { header, set, params, statistics: None }
}

/// Bridge or none, one or three channels, odd head widths, patches that are no multiple of four, many tokens and few.
pub fn shapes() -> Vec<ModelConfig> {
    let config = |size, channels, patch, encoder, decoder| ModelConfig { size, channels, patch, classes: 3, encoder, decoder };
    vec![
        config(28, 1, 7, tower(3, 48, 4), tower(3, 48, 4)),
        config(8, 3, 2, tower(2, 24, 3), tower(2, 40, 2)),
        config(12, 1, 3, tower(1, 20, 4), tower(1, 12, 2)),
        config(16, 3, 2, tower(2, 32, 2), tower(2, 32, 2)),
        config(6, 1, 6, tower(1, 4, 1), tower(1, 8, 2)),
    ]
}
