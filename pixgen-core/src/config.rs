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

    /// Checks that a network can be built: sizes divide, and lie within what the interpreters hold.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(self.channels == 1 || self.channels == 3) {
            return Err(ConfigError::Channels);
        }
        if self.patch == 0 || self.size == 0 || !self.size.is_multiple_of(self.patch) {
            return Err(ConfigError::Patch);
        }
        if self.size > 4096 {
            return Err(ConfigError::Size);
        }
        if self.classes == 0 || self.classes > 65_534 {
            return Err(ConfigError::Classes);
        }
        for (tower, Tower { depth, width, heads }) in [("encoder", self.encoder), ("decoder", self.decoder)] {
            if depth == 0 || depth > MAX_DEPTH {
                return Err(ConfigError::Depth { tower });
            }
            if heads == 0 || width == 0 || !width.is_multiple_of(heads) || width > 16_384 {
                return Err(ConfigError::Heads { tower });
            }
        }
        if !self.encoder.width.is_multiple_of(2) {
            return Err(ConfigError::OddWidth);
        }
        if self.encoder.depth != self.decoder.depth {
            return Err(ConfigError::DepthsDiffer);
        }
        Ok(())
    }
}

/// Why no network can be built from a configuration, or none for a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither 1 nor 3 colour channels.
    Channels,
    /// The patch does not divide the image.
    Patch,
    /// The image has more than 4096 rows.
    Size,
    /// No classes, or more than 65,534.
    Classes,
    /// A tower without blocks, or with more than [`MAX_DEPTH`].
    Depth {
        /// `encoder` or `decoder`.
        tower: &'static str,
    },
    /// The heads of a tower do not divide its width, or it has more than 16,384 channels.
    Heads {
        /// `encoder` or `decoder`.
        tower: &'static str,
    },
    /// The encoder has an odd width.
    OddWidth,
    /// The towers are not equally deep.
    DepthsDiffer,
    /// Chips only: the rows of a tower are not whole words of four bytes.
    ChipWidth {
        /// `encoder` or `decoder`.
        tower: &'static str,
    },
    /// Chips only: lengths in the workspace would leave 31 bits.
    ChipSize,
}

const _: () = assert!(MAX_DEPTH == 32, "a reason below names it");

impl ConfigError {
    /// The field of [`ModelConfig`] at fault.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Patch => "patch",
            Self::Size | Self::ChipSize => "size",
            Self::Classes => "classes",
            Self::Depth { tower } | Self::Heads { tower } | Self::ChipWidth { tower } => tower,
            Self::OddWidth => "encoder",
            Self::DepthsDiffer => "decoder",
        }
    }

    /// What the field must be.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Channels => "must be 1 or 3",
            Self::Patch => "must divide the image size",
            Self::Size => "must be at most 4096",
            Self::Classes => "must be between 1 and 65534",
            Self::Depth { .. } => "depth must be between 1 and 32",
            Self::Heads { .. } => "heads must divide the width, and the width be at most 16384",
            Self::OddWidth => "width must be even for the time sinusoid",
            Self::DepthsDiffer => "must be as deep as the encoder: each block takes one long skip",
            Self::ChipWidth { .. } => "width must be a multiple of 4 for a chip",
            Self::ChipSize => "too many tokens for a chip: activations would take gigabytes",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model.{}: {}", self.field(), self.reason())
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
        let wide = Tower { width: 16_388, ..good.encoder };
        let odd = Tower { width: 45, heads: 3, ..good.encoder };
        let (encoder, decoder) = ("encoder", "decoder");
        for (want, config) in [
            (ConfigError::Channels, ModelConfig { channels: 2, ..good }),
            (ConfigError::Patch, ModelConfig { patch: 5, ..good }),
            (ConfigError::Patch, ModelConfig { patch: 0, ..good }),
            (ConfigError::Size, ModelConfig { size: 4102, ..good }),
            (ConfigError::Classes, ModelConfig { classes: 0, ..good }),
            (ConfigError::Heads { tower: encoder }, ModelConfig { encoder: Tower { heads: 0, ..good.encoder }, ..good }),
            (ConfigError::Heads { tower: encoder }, ModelConfig { encoder: Tower { heads: 7, ..good.encoder }, ..good }),
            (ConfigError::Heads { tower: decoder }, ModelConfig { decoder: wide, ..good }),
            (ConfigError::OddWidth, ModelConfig { encoder: odd, ..good }),
            (ConfigError::DepthsDiffer, ModelConfig { decoder: Tower { depth: 1, ..good.decoder }, ..good }),
            (ConfigError::Depth { tower: decoder }, ModelConfig { decoder: Tower { depth: 33, ..good.decoder }, ..good }),
        ] {
            assert_eq!(config.validate(), Err(want), "{want}");
        }
    }
}
