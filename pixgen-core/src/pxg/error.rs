//! What can be wrong with a `.pxg` file.

use super::header::VERSION;
use crate::config::ConfigError;
use crate::params::Site;
use core::fmt;

/// Why a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PxgError {
    /// The first eight bytes are not those of the format.
    Magic,
    /// The file is of another version of the format.
    Version {
        /// Version in the file.
        found: u16,
    },
    /// The slice does not begin at a multiple of 16 bytes.
    Misaligned,
    /// The slice is shorter than the prefix says, or the lengths in the prefix do not agree.
    Length {
        /// Bytes by the prefix.
        need: u64,
        /// Bytes given.
        have: usize,
    },
    /// The bytes are not those that were written.
    Checksum {
        /// CRC-32 in the file.
        expected: u32,
        /// CRC-32 of its content.
        found: u32,
    },
    /// The header cannot be decoded.
    Header,
    /// The header names another number of classes than its model has.
    ClassNames {
        /// Names, one a line.
        names: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// The header describes no network.
    Config(ConfigError),
    /// The body is not as long as the header's model needs.
    Body {
        /// Bytes of the model.
        need: u64,
        /// Bytes of the body.
        have: usize,
    },
    /// A shift or scale of a site is out of range.
    Value(Site),
}

impl From<ConfigError> for PxgError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl fmt::Display for PxgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not a .pxg file"),
            Self::Version { found } => write!(f, "format version {found}, this program reads {}", VERSION),
            Self::Misaligned => f.write_str("the file must lie at a multiple of 16 bytes"),
            Self::Length { need, have } => write!(f, "{have} bytes, the file's prefix says {need}"),
            Self::Checksum { expected, found } => write!(f, "checksum {found:08x} instead of {expected:08x}"),
            Self::Header => f.write_str("the header cannot be decoded"),
            Self::ClassNames { names, classes } => write!(f, "header: {names} class names for {classes} classes"),
            Self::Config(error) => write!(f, "header: {error}"),
            Self::Body { need, have } => write!(f, "a body of {have} bytes, the header's model has {need}"),
            Self::Value(site) => write!(f, "{}: a shift or scale is out of range", site.name()),
        }
    }
}

impl core::error::Error for PxgError {}

/// The file has no part for this call of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MissingPart(pub Site);

impl fmt::Display for MissingPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no such part in the file", self.0.name())
    }
}

impl core::error::Error for MissingPart {}
