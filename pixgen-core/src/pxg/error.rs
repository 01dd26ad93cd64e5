//! What can be wrong with a `.pxg` file, and with a request for a picture.

use crate::config::ConfigError;
use crate::params::Site;
use crate::workspace::WorkspaceError;
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
    /// The slice and the lengths in the prefix do not agree.
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
            Self::Version { found } => write!(f, "format version {found}, this program reads {}", super::VERSION),
            Self::Misaligned => f.write_str("the file must lie at a multiple of 16 bytes"),
            Self::Length { need, have } => write!(f, "{have} bytes, the file's prefix says {need}"),
            Self::Checksum { expected, found } => write!(f, "checksum {found:08x} instead of {expected:08x}"),
            Self::Header => f.write_str("the header cannot be decoded"),
            Self::Config(error) => write!(f, "header: {error}"),
            Self::Body { need, have } => write!(f, "a body of {have} bytes, the header's model has {need}"),
            Self::Value(site) => write!(f, "{}: a shift or scale is out of range", site.name()),
        }
    }
}

impl core::error::Error for PxgError {}

/// Why a picture was not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DrawError {
    /// There is no such class.
    Class {
        /// Class asked for.
        class: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// The workspace does not begin at a multiple of 16 bytes.
    Misaligned,
    /// The workspace does not suffice; sizes in bytes.
    Workspace(WorkspaceError),
    /// A site has no part in the file, or an activation is not of the kind that an operation takes: the op sequence is not the
    /// network's.
    Sequence(Site),
}

impl From<WorkspaceError> for DrawError {
    fn from(error: WorkspaceError) -> Self {
        Self::Workspace(error)
    }
}

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class { class, classes } => write!(f, "class {class}, the model has {classes}"),
            Self::Misaligned => f.write_str("the workspace must lie at a multiple of 16 bytes"),
            Self::Workspace(error) => error.fmt(f),
            Self::Sequence(site) => write!(f, "{}: not a step of the network", site.name()),
        }
    }
}

impl core::error::Error for DrawError {}

/// Why a self-test did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SelfTestError {
    /// The file has no self-test vectors.
    Missing,
    /// A picture could not be drawn.
    Draw(DrawError),
    /// A picture is not the one that the exporter drew.
    Picture {
        /// Number of the vector.
        number: usize,
        /// Hash in the file.
        expected: u64,
        /// Hash of the picture drawn here.
        found: u64,
    },
}

impl From<DrawError> for SelfTestError {
    fn from(error: DrawError) -> Self {
        Self::Draw(error)
    }
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file has no self-test vectors"),
            Self::Draw(error) => error.fmt(f),
            Self::Picture { number, expected, found } => write!(f, "self-test {number}: picture {found:016x} instead of {expected:016x}"),
        }
    }
}

impl core::error::Error for SelfTestError {}
