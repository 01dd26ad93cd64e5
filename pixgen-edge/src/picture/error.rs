//! What can be wrong with a picture.

use std::path::PathBuf;

use crate::file_error::FileError;
use crate::memory::MemoryError;

/// A picture that cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The bytes do not fill the picture.
    #[error("a picture of {width} x {height} x {channels} has {bytes} bytes")]
    Bytes {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// Values per pixel.
        channels: usize,
        /// How many bytes there are.
        bytes: usize,
    },
    /// Neither grey nor RGB, or no pixels at all.
    #[error("cannot handle a picture of {width} x {height} pixels with {channels} channels")]
    Size {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// Values per pixel.
        channels: usize,
    },
    /// A grid of nothing, or without columns.
    #[error("a grid needs pictures, columns and a scale of at least 1")]
    EmptyGrid,
    /// A grid that few programs would open.
    #[error("a grid of {pictures} pictures has {width} x {height} pixels, and it may take 1 GiB at most")]
    LargeGrid {
        /// Pictures.
        pictures: usize,
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A picture of a grid that is not like the first.
    #[error("picture {index} of the grid is {found} but the first is {expected}")]
    Unequal {
        /// Which, from 0.
        index: usize,
        /// Its width x height x channels.
        found: String,
        /// Those of the first.
        expected: String,
    },
    /// A row that does not fit the strip's others.
    #[error("the row is {found} but the strip `{}` has rows of {expected}", .path.display())]
    OtherRow {
        /// The strip.
        path: PathBuf,
        /// Width x height x channels of the row.
        found: String,
        /// Those of the strip's rows.
        expected: String,
    },
    /// A picture in the strip's place that is not one.
    #[error("`{}` is not a strip: {reason}", .path.display())]
    NotAStrip {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// A file that is no PNG that we can read.
    #[error("cannot decode `{}`: {reason}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// The encoder fails.
    #[error("cannot encode the picture: {reason}")]
    Encode {
        /// What the encoder says.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PictureError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRow { path, .. } | Self::NotAStrip { path, .. } | Self::Decode { path, .. } => {
                Some(format!("move `{}` away, then a new one is begun", path.display()))
            }
            Self::LargeGrid { .. } => Some("draw fewer pictures, or fewer classes, at a time".to_owned()),
            Self::Memory(error) => Some(error.hint()),
            Self::File(error) => error.hint(),
            Self::Bytes { .. } | Self::Size { .. } | Self::EmptyGrid | Self::Unequal { .. } | Self::Encode { .. } => None,
        }
    }
}
