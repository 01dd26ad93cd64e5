//! Why a set of pictures cannot be drawn.

use pixgen_edge::file_error::FileError;
use pixgen_edge::picture::PictureError;
use std::path::PathBuf;

/// Why a set of pictures cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleSetError {
    /// A folder that holds other things.
    #[error("{} is not a folder of drawn pictures: it holds `{found}`", .path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The first thing in it that is not ours.
        found: String,
    },
    /// What the folder says of its pictures cannot be read.
    #[error("{} cannot be read: {reason}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// The pictures in the folder were drawn in another way.
    #[error("the pictures in {} were drawn with {key} = {was}, now it is {is}", .path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// The first thing that differs.
        key: String,
        /// What it was.
        was: String,
        /// What it is now.
        is: String,
    },
    /// More pictures than are wanted.
    #[error("{} holds picture {number} already, and only {count} are wanted", .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The highest number.
        number: u64,
        /// How many are wanted.
        count: u64,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be encoded or decoded.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

impl SampleSetError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign { .. } => Some("give a folder that is empty or not there yet".to_owned()),
            Self::Manifest { path, .. } => Some(format!("draw into another folder, or remove `{}`", path.display())),
            Self::Other { .. } => {
                Some("repeat the command that began the folder to complete it, or give another one with --out".to_owned())
            }
            Self::TooMany { number, .. } => Some(format!("use --count {} or more, or give another folder with --out", number + 1)),
            Self::File(error) => error.hint(),
            Self::Picture(error) => error.hint(),
        }
    }
}
