//! What a model is: image, patches, classes and the two towers (docs/reference/method.md section 2).

use core::fmt;
use serde::{Deserialize, Serialize};

/// The deepest tower that the no-allocator interpreters hold skips for.
pub const MAX_DEPTH: usize = 32;

/// Tokens before the patches: the class token, then the time token.
pub const PREFIX_TOKENS: usize = 2;

/// Ratio of the MLP's hidden width to the tower's width.
pub const MLP_RATIO: usize = 4;

/// LayerNorm epsilon, encoder and decoder.
pub const NORM_EPSILON: f32 = 1e-5;

/// a / b, and 0 for b = 0, which no valid configuration divides by: firmware is linked without a panic for it.
const fn quotient(a: usize, b: usize) -> usize {
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => 0,
    }
}

/// One transformer stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(deny_unknown_fields)]
pub struct Tower {
    /// Blocks.
    pub depth: usize,
    /// Channels of the residual stream.
    pub width: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
}

impl Tower {
    /// Channels of one head.
    pub const fn head_width(&self) -> usize {
        quotient(self.width, self.heads)
    }
}

/// The architecture of one EPG generator: a ViT encoder and a U-ViT decoder on raw pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Height and width of the square image, pixels.
    pub size: usize,
    /// Colour channels: 1 or 3.
    pub channels: usize,
    /// Side of a square patch, pixels; divides `size`.
    pub patch: usize,
    /// Classes. The class embedding has one row more, the last, which means "no class".
    pub classes: usize,
    /// Encoder E, pre-trained in stage 1.
    pub encoder: Tower,
    /// Decoder D, as deep as the encoder.
    pub decoder: Tower,
}

impl ModelConfig {
    /// Patches in a row of patches.
    pub const fn across(&self) -> usize {
        quotient(self.size, self.patch)
    }

    /// Patches of an image, N_p.
    pub const fn patches(&self) -> usize {
        self.across() * self.across()
    }

    /// Tokens of the residual stream: class, time, patches.
    pub const fn tokens(&self) -> usize {
        PREFIX_TOKENS + self.patches()
    }

    /// Values of one patch, p*p*C.
    pub const fn patch_len(&self) -> usize {
        self.patch * self.patch * self.channels
    }

    /// Values of one image, H*W*C.
    pub const fn image_len(&self) -> usize {
        self.size * self.size * self.channels
    }

    /// True when a linear layer maps the encoder's width to the decoder's.
    pub const fn has_bridge(&self) -> bool {
        self.encoder.width != self.decoder.width
    }

    /// Says what makes the configuration unusable, if anything does.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |field, reason| Err(ConfigError { field, reason });
        if !(self.channels == 1 || self.channels == 3) {
            return fail("channels", "must be 1 or 3");
        }
        if self.patch == 0 || self.size == 0 || !self.size.is_multiple_of(self.patch) {
            return fail("patch", "must divide the image size");
        }
        if self.size > 4096 {
            return fail("size", "must be at most 4096");
        }
        if self.classes == 0 || self.classes > 65_534 {
            return fail("classes", "must be between 1 and 65534");
        }
        for (field, tower) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            if tower.depth == 0 || tower.depth > MAX_DEPTH {
                return fail(field, "depth must be between 1 and 32");
            }
            if tower.heads == 0 || tower.width == 0 || !tower.width.is_multiple_of(tower.heads) || tower.width > 16_384 {
                return fail(field, "heads must divide the width, and the width be at most 16384");
            }
        }
        if !self.encoder.width.is_multiple_of(2) {
            return fail("encoder", "width must be even for the time sinusoid");
        }
        if self.encoder.depth != self.decoder.depth {
            return fail("decoder", "must be as deep as the encoder: each block takes one long skip");
        }
        Ok(())
    }
}

/// A configuration that no network can be built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ConfigError {
    /// The field at fault.
    pub field: &'static str,
    /// What it must be.
    pub reason: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model.{}: {}", self.field, self.reason)
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::PRESETS;

    #[test]
    fn every_preset_is_valid() {
        for preset in PRESETS {
            assert_eq!(preset.model.validate(), Ok(()), "{}", preset.name);
        }
    }

    #[test]
    fn each_rule_is_named() {
        let good = PRESETS[0].model;
        let cases: &[(&str, ModelConfig)] = &[
            ("channels", ModelConfig { channels: 2, ..good }),
            ("patch", ModelConfig { patch: 5, ..good }),
            ("patch", ModelConfig { patch: 0, ..good }),
            ("classes", ModelConfig { classes: 0, ..good }),
            ("encoder", ModelConfig { encoder: Tower { heads: 0, ..good.encoder }, ..good }),
            ("encoder", ModelConfig { encoder: Tower { heads: 7, ..good.encoder }, ..good }),
            ("decoder", ModelConfig { decoder: Tower { depth: 1, ..good.decoder }, ..good }),
            ("decoder", ModelConfig { decoder: Tower { depth: 33, ..good.decoder }, ..good }),
        ];
        for (field, config) in cases {
            let error = config.validate().expect_err(field);
            assert_eq!(error.field, *field);
        }
    }
}
