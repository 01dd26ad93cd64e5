//! `.pxg` files on disk: reading them, and writing them in the forms that firmware takes.

use crate::aligned::AlignedBytes;
use crate::atomic::FileError;
use crate::file_kind::{FileKind, Needed};
use crate::output;
use clap::ValueEnum;
use pixgen_core::pxg::{Model, PxgError};
use std::fmt::Write as _;
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
        Ok(Self { path: path.to_owned(), bytes: AlignedBytes::copy(&bytes) })
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
    /// A C header with one aligned const array
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

/// Writes `bytes` in a form.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, bytes: &[u8], format: PxgFormat, about: &str) -> Result<(), FileError> {
    let text;
    let content = match format {
        PxgFormat::Pxg => bytes,
        PxgFormat::CHeader => {
            text = c_header(bytes, about);
            text.as_bytes()
        }
        PxgFormat::Rust => {
            text = rust_module(bytes, about);
            text.as_bytes()
        }
    };
    output::write(path, |out| out.write_all(content))
}

/// Rows of decimal bytes.
fn rows(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(4 * bytes.len());
    for row in bytes.chunks(32) {
        text.push_str("    ");
        for byte in row {
            let _ = write!(text, "{byte},"); // into memory: cannot fail
        }
        text.push('\n');
    }
    text
}

/// Bytes of workspace of the model in `bytes`; 0 where there is none.
fn workspace_len(bytes: &[u8]) -> usize {
    Model::read(AlignedBytes::copy(bytes).bytes()).map_or(0, |model| model.workspace_len())
}

fn c_header(bytes: &[u8], about: &str) -> String {
    format!(
        "/* {} Made by pixgen-edge export. */\n#ifndef PIXGEN_MODEL_H\n#define PIXGEN_MODEL_H\n\n\
         /* Bytes of workspace for a picture. */\n#define PIXGEN_MODEL_WORKSPACE {}\n\n#if defined(__cplusplus)\n\
         alignas(16)\n#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n_Alignas(16)\n#else\n__attribute__((aligned(16)))\n#endif\n\
         static const unsigned char pixgen_model[{}] = {{\n{}}};\n\n#endif\n",
        about.replace("*/", "* /"),
        workspace_len(bytes),
        bytes.len(),
        rows(bytes)
    )
}

fn rust_module(bytes: &[u8], about: &str) -> String {
    let len = bytes.len();
    format!(
        "// {} Made by pixgen-edge export.\n\n/// Bytes of workspace for a picture.\npub const WORKSPACE: usize = {};\n\n\
         /// A `.pxg` file: `pixgen_core::pxg::Model::read(&MODEL.0)`.\n#[rustfmt::skip]\n\
         pub static MODEL: pixgen_core::Aligned<[u8; {len}]> = pixgen_core::Aligned([\n{}]);\n",
        about.replace('\n', " "),
        workspace_len(bytes),
        rows(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_hold_every_byte() {
        let bytes: Vec<u8> = (0..100).map(|i| (i * 37 % 256) as u8).collect();
        for text in [c_header(&bytes, "x"), rust_module(&bytes, "x")] {
            let inside = text.split_once(if text.contains("#ifndef") { "= {\n" } else { "([\n" }).expect("array").1;
            let numbers: Vec<u8> = inside
                .split([',', '\n', ' '])
                .map_while(|n| if n.is_empty() { Some(None) } else { n.parse().ok().map(Some) })
                .flatten()
                .collect();
            assert_eq!(numbers, bytes);
        }
    }

    #[test]
    fn comments_cannot_be_left() {
        assert!(!c_header(&[], "a */ b").contains("a */"));
        assert!(!rust_module(&[], "a\nfn evil() {}").contains("\nfn"));
    }
}
