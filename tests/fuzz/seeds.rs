//! Writes small valid files, from which the fuzzer starts, into `seeds/`.

mod seeds_of_pictures;

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::rng::Rng;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::model_file::{Content, FORMAT, ModelFile, ModelHeader};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::{ProjectorConfig, RunningStatistics};
use pixgen_edge::quantise::{QuantiseOptions, export};
use std::error::Error;
use std::fs;
use std::path::Path;

const fn tower(width: usize) -> Tower {
    Tower { depth: 1, width, heads: 2 }
}

fn file(content: Content, model: ModelConfig) -> ModelFile {
    let projector = ProjectorConfig { hidden: 4, out: 2 };
    let encoder = content == Content::Encoder;
    let set = if encoder {
        ParamSet::pretraining(&model, &projector)
    } else {
        ParamSet::generator(&model)
    };
    let mut params = set.initialise(1);
    // What starts at zero does something too.
    for (value, noise) in params.iter_mut().zip(Rng::new(1, 255).gaussians_q16(0)) {
        *value += 0.2 * noise as f32 / 65_536.0;
    }
    let header = ModelHeader {
        format: FORMAT,
        content,
        model,
        noise: NoiseConfig::with_shift(1.0),
        parametrisation: Parametrisation::Edm,
        normalisation: Normalisation::simple(),
        projector: encoder.then_some(projector),
        ema: "raw".into(),
        images: 0,
        seed: 1,
        data: "none".into(),
        class_names: vec!["a".into(), "b".into()],
    };
    ModelFile { header, set, params, statistics: encoder.then(|| RunningStatistics::new(&projector)) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let (pxg, safetensors) = (seeds.join("pxg"), seeds.join("safetensors"));
    fs::create_dir_all(&pxg)?;
    fs::create_dir_all(&safetensors)?;
    let plain = ModelConfig { size: 4, channels: 1, patch: 2, classes: 2, encoder: tower(4), decoder: tower(4) };
    let bridged = ModelConfig { size: 6, channels: 3, patch: 3, classes: 1, encoder: tower(8), decoder: tower(4) };
    for (name, model, steps) in [("plain", plain, 1), ("bridge-2-steps", bridged, 2)] {
        let generator = file(Content::Generator, model);
        let options = QuantiseOptions { steps, pictures: 2, name: name.into(), ..QuantiseOptions::default() };
        fs::write(pxg.join(name), export(&generator, None, &options)?.bytes)?;
        fs::write(safetensors.join(name), generator.to_bytes()?)?;
    }
    fs::write(safetensors.join("encoder"), file(Content::Encoder, plain).to_bytes()?)?;
    seeds_of_pictures::write(&seeds)
}
