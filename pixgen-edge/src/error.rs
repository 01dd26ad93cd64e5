//! What a user reads when a command cannot go on: the error of each part, and its hint.

use crate::atomic::FileError;
use crate::data::DataError;
use crate::eval::EvalError;
use crate::model_file::ModelFileError;
use crate::onnx::OnnxError;
use crate::picture::PictureError;
use crate::pxg_file::PxgFileError;
use crate::quantise::QuantiseError;
use crate::terminal::OutputError;
use crate::threads::ThreadsError;
use pixgen_core::integer::{DrawError, SelfTestError};

/// Any error of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Model files.
    #[error(transparent)]
    ModelFile(#[from] ModelFileError),
    /// PNG files.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Quality measurement.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Files of chips.
    #[error(transparent)]
    Pxg(#[from] PxgFileError),
    /// Export.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// ONNX graphs.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// A model does not draw here what it drew when it was exported.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// Other files.
    #[error(transparent)]
    File(#[from] FileError),
    /// An argument with a value that cannot be used.
    #[error("{what}")]
    Argument {
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Option<String>,
    },
    /// The threads to compute on.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// Writing to standard output failed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Error {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::ModelFile(error) => error.hint(),
            Self::Picture(error) => error.hint(),
            Self::Eval(error) => error.hint(),
            Self::Pxg(error) => error.hint(),
            Self::Quantise(error) => error.hint(),
            Self::Onnx(error) => error.hint(),
            Self::Draw(_) => None,
            Self::SelfTest(SelfTestError::Missing) => Some("export the model again, without `--tests 0`".into()),
            Self::SelfTest(_) => {
                Some("this program draws other pictures than the one that exported the file; export the model again".into())
            }
            Self::File(error) => error.hint(),
            Self::Argument { hint, .. } => hint.clone(),
            Self::Threads(error) => error.hint(),
            Self::Output(error) => error.hint(),
        }
    }
}
