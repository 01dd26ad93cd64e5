//! Why a picture was not drawn, or not the right one.

use crate::params::Site;
use crate::pxg::MissingPart;
use crate::workspace::WorkspaceError;
use core::fmt;

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
    /// The memory for packed weights does not suffice.
    #[cfg(host_kernels)]
    Panels {
        /// Bytes needed at least.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// The scratch for a picture with packed weights does not suffice.
    #[cfg(host_kernels)]
    Scratch {
        /// Bytes needed at least.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// A site has no part in the file, or an activation is not of the kind that an operation takes: the op sequence is not the
    /// network's.
    Sequence(Site),
}

impl From<WorkspaceError> for DrawError {
    fn from(error: WorkspaceError) -> Self {
        Self::Workspace(error)
    }
}

impl From<MissingPart> for DrawError {
    fn from(MissingPart(site): MissingPart) -> Self {
        Self::Sequence(site)
    }
}

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class { class, classes } => write!(f, "class {class}, the model has {classes}"),
            Self::Misaligned => f.write_str("the workspace must lie at a multiple of 16 bytes"),
            Self::Workspace(error) => error.fmt(f),
            #[cfg(host_kernels)]
            Self::Panels { need, have } => write!(f, "too little memory for packed weights: {need} bytes needed, {have} given"),
            #[cfg(host_kernels)]
            Self::Scratch { need, have } => write!(f, "scratch too small: {need} bytes needed, {have} given"),
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
