//! The table of models: small ones for chips and plain CPUs, and the paper's (docs/reference/method.md section 2.5).

use crate::config::{ModelConfig, Tower};

/// A named model with the resolution shift it is trained with.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What the user types.
    pub name: &'static str,
    /// One line for a table.
    pub about: &'static str,
    /// The architecture.
    pub model: ModelConfig,
    /// Resolution shift s: every noise level is multiplied by it. The paper takes size/64; for 28x28 s = 1 is better (section 7).
    pub shift: f32,
}

impl Preset {
    /// Whether a model is made of this preset; its classes are those of its data.
    pub fn makes(&self, model: &ModelConfig) -> bool {
        ModelConfig { classes: model.classes, ..self.model } == *model
    }
}

/// Finds a preset by name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|p| p.name == name)
}

const fn tower(depth: usize, width: usize, heads: usize) -> Tower {
    Tower { depth, width, heads }
}

const fn imagenet(size: usize, patch: usize, encoder: Tower, decoder: Tower) -> ModelConfig {
    ModelConfig { size, channels: 3, patch, classes: 1000, encoder, decoder }
}

const fn small(size: usize, channels: usize, patch: usize, encoder: Tower, decoder: Tower) -> ModelConfig {
    ModelConfig { size, channels, patch, classes: 10, encoder, decoder }
}

/// All presets. A training run replaces `classes` by those of its data.
#[rustfmt::skip]
pub const PRESETS: &[Preset] = &[
    //       name                what for                                                      size C  p   encoder             decoder             s
    Preset { name: "nano-28-grey",   about: "28x28 grey, 238 KiB in int8",                       model: small(28, 1, 7, tower(3,  48, 4),  tower(3,  48, 4)),  shift: 1.0 },
    Preset { name: "small-28-grey",  about: "28x28 grey, the quick start",                       model: small(28, 1, 7, tower(4,  64, 4),  tower(4,  64, 4)),  shift: 1.0 },
    Preset { name: "base-28-grey",   about: "28x28 grey, finer patches, hours on a CPU",         model: small(28, 1, 4, tower(6,  96, 6),  tower(6,  96, 6)),  shift: 1.0 },
    Preset { name: "nano-16-rgb",    about: "16x16 RGB for small chips",                         model: small(16, 3, 2, tower(2,  64, 4),  tower(2,  64, 4)),  shift: 0.5 },
    Preset { name: "nano-32-rgb",    about: "32x32 RGB, coarse patches, minutes on a CPU",        model: small(32, 3, 8, tower(3,  96, 6),  tower(3,  96, 6)),  shift: 1.0 },
    Preset { name: "small-32-rgb",   about: "32x32 RGB for chips with 1 MB flash",               model: small(32, 3, 4, tower(3,  96, 6),  tower(3,  96, 6)),  shift: 0.5 },
    Preset { name: "base-32-rgb",    about: "32x32 RGB, a day on a CPU, minutes on a GPU",       model: small(32, 3, 4, tower(6, 256, 8),  tower(6, 256, 8)),  shift: 0.5 },
    Preset { name: "large-32-rgb",   about: "32x32 RGB, the paper's CIFAR-10 scale",             model: small(32, 3, 4, tower(6, 384, 6),  tower(6, 384, 6)),  shift: 0.5 },
    Preset { name: "nano-64-rgb",    about: "64x64 RGB for chips with 2 MB flash",               model: small(64, 3, 8, tower(4, 128, 4),  tower(4, 128, 4)),  shift: 1.0 },
    Preset { name: "small-64-rgb",   about: "64x64 RGB for chips with 4 MB flash",               model: small(64, 3, 8, tower(4, 192, 6),  tower(4, 192, 6)),  shift: 1.0 },
    Preset { name: "small-128-rgb",  about: "128x128 RGB for boards with 8 MB flash",            model: small(128, 3, 16, tower(4, 192, 6), tower(4, 192, 6)), shift: 2.0 },
    Preset { name: "EPG-S-16-256",   about: "paper, 116 M parameters",  model: imagenet(256, 16, tower( 6,  768, 12), tower( 6,  768, 12)), shift: 4.0 },
    Preset { name: "EPG-B-16-256",   about: "paper, 229 M parameters",  model: imagenet(256, 16, tower(12,  768, 12), tower(12,  768, 12)), shift: 4.0 },
    Preset { name: "EPG-L-16-256",   about: "paper, 540 M parameters",  model: imagenet(256, 16, tower(16, 1024, 16), tower(16, 1024, 16)), shift: 4.0 },
    Preset { name: "EPG-XL-16-256",  about: "paper, 583 M parameters",  model: imagenet(256, 16, tower(12,  768, 12), tower(12, 1584, 22)), shift: 4.0 },
    Preset { name: "EPG-XXL-16-256", about: "paper, 789 M parameters",  model: imagenet(256, 16, tower(12,  768, 12), tower(12, 1920, 16)), shift: 4.0 },
    Preset { name: "EPG-G-16-256",   about: "paper, 1391 M parameters", model: imagenet(256, 16, tower(12,  768, 12), tower(12, 2688, 21)), shift: 4.0 },
    Preset { name: "EPG-B-32-512",   about: "the paper's encoder at 512", model: imagenet(512, 32, tower(12,  768, 12), tower(12,  768, 12)), shift: 8.0 },
    Preset { name: "EPG-L-32-512",   about: "paper, 545 M parameters",  model: imagenet(512, 32, tower(16, 1024, 16), tower(16, 1024, 16)), shift: 8.0 },
    Preset { name: "EPG-XL-32-512",  about: "EPG-XL-16-256 at 512x512", model: imagenet(512, 32, tower(12,  768, 12), tower(12, 1584, 22)), shift: 8.0 },
    Preset { name: "EPG-XXL-32-512", about: "EPG-XXL-16-256 at 512x512", model: imagenet(512, 32, tower(12,  768, 12), tower(12, 1920, 16)), shift: 8.0 },
    Preset { name: "EPG-G-32-512",   about: "EPG-G-16-256 at 512x512",  model: imagenet(512, 32, tower(12,  768, 12), tower(12, 2688, 21)), shift: 8.0 },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameter counts that the paper and its code give (docs/reference/method.md section 2.5), in units of 0.1 M.
    #[test]
    fn paper_parameter_counts() {
        for (name, want) in [
            ("EPG-S-16-256", 1155),
            ("EPG-B-16-256", 2289),
            ("EPG-L-16-256", 5402),
            ("EPG-XL-16-256", 5830),
            ("EPG-XXL-16-256", 7889),
            ("EPG-G-16-256", 13919),
            ("EPG-L-32-512", 5449),
            ("EPG-B-32-512", 2325),
        ] {
            let count = preset(name).expect(name).model.parameter_count();
            assert_eq!((count + 50_000) / 100_000, want, "{name}: {count}");
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for p in PRESETS {
            assert_eq!(PRESETS.iter().filter(|q| q.name == p.name).count(), 1);
            assert_eq!(preset(p.name).map(|q| q.model), Some(p.model));
        }
        assert!(preset("EPG-L").is_none());
    }

    #[test]
    fn the_smallest_file_is_below_256_kib() {
        let model = preset("nano-28-grey").expect("preset").model;
        let len = crate::pxg::layout::Layout::new(&model, 1).body_len(0);
        assert!(len < 256 * 1024, "{len}");
    }
}
