//! A small model and pictures for the tests of objectives.

use super::source::BatchSource;
use crate::data::augment::AugmentProfile;
use pixgen_core::config::{ModelConfig, Tower};
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::data::{Dataset, ImageShape};

pub const MODEL: ModelConfig = ModelConfig {
    size: 8,
    channels: 1,
    patch: 4,
    classes: 3,
    encoder: Tower { depth: 1, width: 16, heads: 2 },
    decoder: Tower { depth: 1, width: 24, heads: 2 },
};

/// Pictures for [`MODEL`] with these classes.
pub fn source(labels: Vec<u16>) -> BatchSource {
    let shape = ImageShape { height: 8, width: 8, channels: 1 };
    let pixels = (0..labels.len() * 64).map(|i| (i * 37 % 256) as u8).collect();
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    let dataset = Dataset::new(shape, pixels, labels, names, "test".to_owned()).expect("a data set");
    BatchSource { dataset, normalisation: Normalisation::simple(), augment: AugmentProfile::small_image() }
}
