//! Named tensors of another program, read one at a time: a PyTorch file or a safetensors file.

use super::error::PytorchError;
use super::pytorch::PytorchFile;
use super::scalar::Scalar;
use pixgen_edge::file_error::read_hint;
use pixgen_edge::file_kind::{FileKind, Needed};
use pixgen_edge::tensor_file::Shaped;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a safetensors header at most.
const MAX_HEADER: u64 = 100 << 20;

/// Why the tensors of another program cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A PyTorch file.
    #[error(transparent)]
    Pytorch(#[from] PytorchError),
    /// A pipe or a device.
    #[error("{} is no plain file, and weights are read from several places of one", path.display())]
    Stream {
        /// Pipe.
        path: PathBuf,
    },
    /// A safetensors file.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// A file or folder of another kind.
    #[error("{} is {kind}, not a file of weights", path.display())]
    OtherKind {
        /// File or folder.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// Not a safetensors file, or not a whole one.
    #[error("{} is not a whole safetensors file: {kind}", path.display())]
    Safetensors {
        /// File.
        path: PathBuf,
        /// What is wrong.
        kind: SafetensorsProblem,
    },
}

/// What is wrong with a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsProblem {
    /// The header's length lies beyond the file.
    #[error("it is shorter than its header")]
    Short,
    /// The reason of the header's parser.
    #[error("{0}")]
    Header(String),
    /// Numbers of a type that is not read.
    #[error("tensor {tensor} is of type {dtype}")]
    DataType {
        /// Name.
        tensor: String,
        /// As safetensors names it.
        dtype: String,
    },
    /// Numbers outside the file.
    #[error("tensor {tensor} reaches beyond it")]
    Beyond {
        /// Name.
        tensor: String,
    },
    /// A tensor that the model needs.
    #[error("tensor {tensor} {shape:?} is missing")]
    Missing {
        /// Name.
        tensor: String,
        /// Dimensions.
        shape: Vec<usize>,
    },
}

impl SourceError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pytorch(error) => error.hint(),
            Self::Stream { .. } => Some("save it as a file first, and give that".into()),
            Self::Read { source, .. } => read_hint(source),
            Self::OtherKind { path, kind } => kind.hint(path, Needed::Weights),
            Self::Safetensors { .. } => Some("the copy may be incomplete: compare its size with the original's and copy it again".into()),
        }
    }
}

/// A file of named tensors.
#[derive(Debug)]
pub struct TensorSource {
    tensors: Vec<Shaped>,
    file: Kind,
}

#[derive(Debug)]
enum Kind {
    Pytorch(PytorchFile),
    Safetensors {
        path: PathBuf,
        file: File,
        places: Vec<(Scalar, u64, usize)>,
        metadata: HashMap<String, String>,
    },
}

impl TensorSource {
    /// Opens a file of another program; everything but the numbers is read and checked.
    ///
    /// # Errors
    /// [`SourceError`], also for files of ours, which need no import.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            return Err(SourceError::Stream { path: path.to_owned() });
        }
        match FileKind::of(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })? {
            FileKind::Safetensors => return Self::safetensors(path),
            // What a file may be that is damaged, or that its reader refuses with a better reason.
            FileKind::Unknown if path.extension().is_some_and(|extension| extension == "safetensors") => return Self::safetensors(path),
            FileKind::Pytorch | FileKind::Pickle | FileKind::Zip | FileKind::Unknown => {}
            kind => return Err(SourceError::OtherKind { path: path.to_owned(), kind }),
        }
        let checkpoint = PytorchFile::open(path)?;
        let tensors = checkpoint
            .tensors()
            .iter()
            .map(|t| Shaped { name: t.name(), shape: t.shape.clone() })
            .collect();
        Ok(Self { tensors, file: Kind::Pytorch(checkpoint) })
    }

    /// Opens a safetensors file, whoever wrote it.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn safetensors(path: &Path) -> Result<Self, SourceError> {
        let unreadable = |source| SourceError::Read { path: path.to_owned(), source };
        let broken = |kind| SourceError::Safetensors { path: path.to_owned(), kind };
        let mut file = File::open(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(|_| broken(SafetensorsProblem::Short))?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER || header_len > len {
            return Err(broken(SafetensorsProblem::Short));
        }
        let mut header = vec![0; header_len as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| broken(SafetensorsProblem::Header(e.to_string())))?;
        let start = 8 + header_len;
        let (mut tensors, mut places) = (Vec::new(), Vec::new());
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let scalar = match info.dtype {
                Dtype::F64 => Scalar::F64,
                Dtype::F32 => Scalar::F32,
                Dtype::F16 => Scalar::F16,
                Dtype::BF16 => Scalar::Bf16,
                Dtype::I64 => Scalar::I64,
                Dtype::I32 => Scalar::I32,
                Dtype::I16 => Scalar::I16,
                Dtype::I8 => Scalar::I8,
                Dtype::U8 => Scalar::U8,
                Dtype::BOOL => Scalar::Bool,
                other => return Err(broken(SafetensorsProblem::DataType { tensor: name, dtype: format!("{other:?}") })),
            };
            let (from, to) = info.data_offsets;
            let numbers = info.shape.iter().try_fold(1usize, |len, &size| len.checked_mul(size));
            let bytes = numbers.and_then(|numbers| numbers.checked_mul(scalar.size()));
            if bytes.is_none() || bytes != to.checked_sub(from) || start.saturating_add(to as u64) > len {
                return Err(broken(SafetensorsProblem::Beyond { tensor: name }));
            }
            places.push((scalar, start + from as u64, to - from));
            tensors.push(Shaped { name, shape: info.shape.clone() });
        }
        Ok(Self {
            tensors,
            file: Kind::Safetensors {
                path: path.to_owned(),
                file,
                places,
                metadata: metadata.metadata().clone().unwrap_or_default(),
            },
        })
    }

    /// Names and dimensions. PyTorch's dicts in dicts give the first parts of the names.
    pub fn tensors(&self) -> &[Shaped] {
        &self.tensors
    }

    /// A text in the metadata of a safetensors file.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        match &self.file {
            Kind::Safetensors { metadata, .. } => metadata.get(key).map(String::as_str),
            Kind::Pytorch(_) => None,
        }
    }

    /// The numbers of the tensor at a position, row by row.
    pub fn read(&self, at: usize) -> Result<Vec<f32>, SourceError> {
        match &self.file {
            Kind::Pytorch(checkpoint) => Ok(checkpoint.read(&checkpoint.tensors()[at])?),
            Kind::Safetensors { path, file, places, .. } => {
                let (scalar, start, len) = places[at];
                let mut bytes = vec![0; len];
                let mut file = file;
                file.seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|source| SourceError::Read { path: path.clone(), source })?;
                let mut values = Vec::with_capacity(len / scalar.size());
                scalar.decode(&bytes, &mut values);
                Ok(values)
            }
        }
    }
}
