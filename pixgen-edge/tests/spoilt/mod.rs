//! Weights that no training gives, for tests and for `examples/random_models.rs`.

use pixgen_core::params::Layer;
use pixgen_edge::model_file::ModelFile;

/// What [`spoil`] does to weights: numbers that no training gives, which must end in a picture or in an error that says where.
pub const SPOILS: [&str; 4] = ["huge", "no-attention", "outlier", "dead"];

/// A generator whose weights are 20 times as large, without queries, keys and values, with one channel of the stream 1000 times as large,
/// or with one that is always 0.
pub fn spoil(file: &mut ModelFile, how: &str) {
    for (entry, param) in file.set.entries().iter().zip(file.header.model.params()) {
        let (layer, width) = (param.site.layer, param.shape[1].max(1));
        let values = &mut file.params[entry.range.clone()];
        match how {
            "huge" => values.iter_mut().for_each(|v| *v *= 20.0),
            "no-attention" if layer == Layer::Qkv => values.fill(0.0),
            "outlier" if layer == Layer::Fc2 && param.site.block == 1 && param.rank == 2 => {
                values[..width].iter_mut().for_each(|v| *v *= 1000.0);
            }
            "dead" if matches!(layer, Layer::Fc2 | Layer::Proj) && param.rank == 2 => values[..width].fill(0.0),
            "dead" if matches!(layer, Layer::Norm1 | Layer::Norm2 | Layer::SkipNorm) => values[0] = 0.0,
            _ => (),
        }
    }
}
