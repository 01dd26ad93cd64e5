//! Why a model file cannot be used, and what to try.

use super::header::{Content, FORMAT};
use crate::data::DataError;
use crate::file_error::read_hint;
use crate::file_kind::{FileKind, Needed};
use crate::projector::ProjectorConfig;
use pixgen_core::config::ConfigError;
use pixgen_core::noise::NoiseError;
use safetensors::{Dtype, SafeTensorError};
use std::path::PathBuf;

/// Why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// The file cannot be read.
    #[error("cannot read the model file {}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// A file or folder of another kind.
    #[error("{} is {kind}, not a model file", path.display())]
    OtherKind {
        /// File or folder.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("{} is not a whole safetensors file: {source}", path.display())]
    NotSafetensors {
        /// File.
        path: PathBuf,
        /// What the reader found.
        source: SafeTensorError,
    },
    /// A safetensors file of another program, or of a newer version.
    #[error("{}: {fault}", path.display())]
    Header {
        /// File.
        path: PathBuf,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A tensor is missing, left over, of another shape or not finite.
    #[error("{}: tensor {tensor}: {fault}", path.display())]
    Tensor {
        /// File.
        path: PathBuf,
        /// Name.
        tensor: String,
        /// What is wrong.
        fault: TensorFault,
    },
    /// The values or the header are not those that were written.
    #[error("{} is damaged: its checksum is {found} instead of {expected}", path.display())]
    Checksum {
        /// File.
        path: PathBuf,
        /// Checksum in the file.
        expected: String,
        /// Checksum of what is in the file.
        found: String,
    },
    /// The file holds another kind of weights than asked for.
    #[error("{} holds {}, but {} is needed", path.display(), describe(*found), describe(*wanted))]
    Content {
        /// File.
        path: PathBuf,
        /// What it holds.
        found: Content,
        /// What is needed.
        wanted: Content,
    },
}

/// Why a model cannot be written in f16.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HalfError {
    /// A value that f16 cannot hold.
    #[error("tensor `{tensor}`: value {at} is {value}, beyond 65,504, the largest of f16")]
    Range {
        /// Tensor.
        tensor: String,
        /// Position in the tensor.
        at: usize,
        /// The value.
        value: f32,
    },
    /// Sizes that are not those of the parameter list.
    #[error(transparent)]
    Write(#[from] safetensors::SafeTensorError),
}

/// What is wrong with the metadata of a model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// A file of another program.
    #[error("it has no pixgen metadata")]
    Missing,
    /// A file of another version, or of none.
    #[error("metadata format {}, this program reads {FORMAT}", found.map_or("unknown".to_owned(), |format| format.to_string()))]
    Format {
        /// The file's.
        found: Option<u64>,
    },
    /// Not the JSON of a header.
    #[error("bad metadata: {0}")]
    Json(#[from] serde_json::Error),
    /// An architecture that cannot be.
    #[error("bad metadata: {0}")]
    Model(#[from] ConfigError),
    /// Noise constants that cannot be.
    #[error("bad metadata: {0}")]
    Noise(#[from] NoiseError),
    /// A normalisation that cannot be.
    #[error("bad metadata: {0}")]
    Normalisation(#[from] DataError),
    /// A projector without width, or with one beyond 65,536.
    #[error("bad metadata: the projector has widths {} and {}", .0.hidden, .0.out)]
    Projector(ProjectorConfig),
    /// A header that promises more values than there are.
    #[error("{stored} values in the file, the model of its header has {promised}")]
    Values {
        /// In the file.
        stored: usize,
        /// Of the header's model.
        promised: usize,
    },
}

/// What is wrong with a tensor of a model file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFault {
    /// In the parameter list, not in the file.
    #[error("missing")]
    Missing,
    /// In the file, not in the parameter list.
    #[error("not in the parameter list of the file's model")]
    Unknown,
    /// Of another type or shape.
    #[error("{found_type:?} {found:?} found, F32 or F16 {expected:?} expected")]
    Shape {
        /// Type in the file.
        found_type: Dtype,
        /// Dimensions in the file.
        found: Vec<usize>,
        /// Dimensions of the parameter list.
        expected: Vec<usize>,
    },
    /// Infinite, or not a number.
    #[error("value {at} is {value}")]
    NotFinite {
        /// Position in the tensor.
        at: usize,
        /// The first such value.
        value: f32,
    },
}

fn describe(content: Content) -> &'static str {
    match content {
        Content::Encoder => "an encoder of stage 1",
        Content::Generator => "a one-step generator of stage 2b",
        Content::Denoiser => "a diffusion model of stage 2a",
    }
}

impl ModelFileError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "give the path of a model.safetensors, or of a run folder that holds one".into()
            }
            Self::Read { source, .. } => return read_hint(source),
            Self::OtherKind { path, kind } => return kind.hint(path, Needed::Model),
            Self::NotSafetensors { .. } | Self::Checksum { .. } => {
                "the copy may be incomplete or damaged; export it again from its run".into()
            }
            Self::Header { fault: HeaderFault::Format { .. }, .. } => "another version of pixgen-train wrote it: use that one".into(),
            Self::Header { .. } => "only files written by pixgen-train can be read".into(),
            Self::Tensor { .. } => "the file belongs to another model or is damaged; export it again from its run".into(),
            Self::Content { wanted: Content::Encoder, .. } => "run `pixgen-train pretrain` and give its model.safetensors".into(),
            Self::Content { wanted: Content::Generator, .. } => "run `pixgen-train finetune` and give its model.safetensors".into(),
            Self::Content { wanted: Content::Denoiser, .. } => {
                "run `pixgen-train finetune --objective diffusion` and give its model.safetensors".into()
            }
        })
    }
}
