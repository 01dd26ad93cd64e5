//! A small model whose weights were never trained.

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::integer::DrawRequest;
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::pxg::Model;
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::model_file::{Content, FORMAT, ModelFile, ModelHeader};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::quantise::{QuantiseOptions, export};

/// Name of the model.
pub const NAME: &str = "untrained";
/// Names of its classes.
pub const CLASSES: [&str; 3] = ["shirt", "boot", "bag"];

/// The `.pxg` file, at a multiple of 16.
pub fn file() -> AlignedBytes {
    let tower = Tower { depth: 2, width: 32, heads: 2 };
    let model = ModelConfig { size: 12, channels: 3, patch: 3, classes: CLASSES.len(), encoder: tower, decoder: tower };
    let set = ParamSet::generator(&model);
    let header = ModelHeader {
        format: FORMAT,
        content: Content::Generator,
        model,
        noise: NoiseConfig::with_shift(0.5),
        parametrisation: Parametrisation::Edm,
        normalisation: Normalisation::simple(),
        projector: None,
        ema: "raw".into(),
        images: 0,
        seed: 1,
        data: "none".into(),
        class_names: CLASSES.map(str::to_owned).to_vec(),
    };
    // Nothing stays zero, as after training.
    let start = set.initialise(3);
    let params = start
        .iter()
        .enumerate()
        .map(|(i, value)| value + 2e-3 * ((i * 7919 % 199) as f32 - 99.0))
        .collect();
    let options = QuantiseOptions { pictures: 12, name: NAME.into(), ..QuantiseOptions::default() };
    let exported = export(&ModelFile { header, set, params, statistics: None }, None, &options).expect("a model that fits chips");
    AlignedBytes::copy(&exported.bytes)
}

/// Hash of picture 0 of `seed`, drawn without C.
pub fn hash(model: &Model<'_>, class: usize, seed: u64) -> u64 {
    let mut workspace = AlignedBytes::zeroed(model.workspace_len());
    model
        .picture_hash(&DrawRequest { class, seed, number: 0 }, workspace.bytes_mut())
        .expect("a picture")
}
