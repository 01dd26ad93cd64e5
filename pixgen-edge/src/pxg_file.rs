//! `.pxg` files on disk: reading them, and writing them in the forms that firmware takes.

use crate::aligned::AlignedBytes;
use crate::file_error::FileError;
use crate::file_kind::{FileKind, Needed};
use crate::memory::MemoryError;
use crate::output;
use crate::source_code::{Symbol, c_header, rust_module};
use clap::ValueEnum;
use pixgen_core::pxg::{Model, PxgError};
use std::path::{Path, PathBuf};

/// A file in memory, where a model can be read in place.
#[derive(Clone, Debug)]
pub struct PxgFile {
    path: PathBuf,
    bytes: AlignedBytes,
}

/// Why a `.pxg` file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PxgFileError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not fit the memory.
    #[error("{}: {source}", path.display())]
    Memory {
        /// File.
        path: PathBuf,
        /// How much was needed.
        source: MemoryError,
    },
    /// A file or folder of another kind.
    #[error("{} is {kind}, not a .pxg file", path.display())]
    OtherKind {
        /// File or folder.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// Its content is no model.
    #[error("{}: {source}", path.display())]
    Content {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        source: PxgError,
    },
}

impl PxgFileError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Memory { source, .. } => Some(source.hint()),
            Self::OtherKind { path, kind } => kind.hint(path, Needed::Pxg),
            Self::Content { source: PxgError::Magic, .. } => Some("`pixgen-edge export MODEL.safetensors -o MODEL.pxg` makes one".into()),
            Self::Content { source: PxgError::Version { .. }, .. } => Some("export the model again with this program".into()),
            Self::Content { .. } => Some("the copy may be incomplete or damaged; export the model again".into()),
        }
    }
}

impl PxgFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is of another kind.
    pub fn load(path: &Path) -> Result<Self, PxgFileError> {
        match FileKind::of(path).map_err(FileError::read(path))? {
            // What is damaged beyond recognition is told by the reader of models.
            FileKind::Pxg | FileKind::Unknown => {}
            kind => return Err(PxgFileError::OtherKind { path: path.to_owned(), kind }),
        }
        let bytes = std::fs::read(path).map_err(FileError::read(path))?;
        let bytes = AlignedBytes::try_copy(&bytes).map_err(|source| PxgFileError::Memory { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// Its content. What lies behind the model is a part of it.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    /// The model in it, checked.
    ///
    /// # Errors
    /// The content is no model.
    pub fn model(&self) -> Result<Model<'_>, PxgFileError> {
        Model::read(self.bytes.bytes()).map_err(|source| PxgFileError::Content { path: self.path.clone(), source })
    }
}

/// Whether a file is meant to be a `.pxg` file, by its first bytes, or by its name if they tell nothing.
pub fn is_pxg(path: &Path) -> bool {
    match FileKind::of(path) {
        Ok(FileKind::Pxg) => true,
        // Missing or damaged: the name tells what was meant.
        Ok(FileKind::Unknown) | Err(_) => path.extension().is_some_and(|extension| extension == "pxg"),
        Ok(_) => false,
    }
}

/// Forms of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PxgFormat {
    /// The binary file, for include_bytes!, a flash partition or a file system
    Pxg,
    /// A C header with one aligned const array, which one source file defines
    CHeader,
    /// A Rust module with one aligned static
    Rust,
}

impl PxgFormat {
    /// What files of this form are called, and the extensions that they may have.
    pub const fn file_kind(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Pxg => ("a .pxg file", &["pxg"]),
            Self::CHeader => ("a C header", &["h", "hpp"]),
            Self::Rust => ("a Rust module", &["rs"]),
        }
    }
}

/// Writes `bytes` in a form. In source code, `symbol` is what the model is called; by default the name of the file tells it.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, bytes: &[u8], format: PxgFormat, about: &str, symbol: Option<&Symbol>) -> Result<(), FileError> {
    let symbol = symbol.cloned().unwrap_or_else(|| Symbol::of_path(path));
    let text = match format {
        PxgFormat::Pxg => return output::write(path, |out| out.write_all(bytes)),
        PxgFormat::CHeader => c_header(bytes, about, &symbol),
        PxgFormat::Rust => rust_module(bytes, about, &symbol),
    };
    output::write(path, |out| out.write_all(text.as_bytes()))
}
