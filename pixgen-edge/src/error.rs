//! What a user reads when a command cannot go on: the error of each part, and its hint.

use crate::data::DataError;
use crate::engine::{EngineError, KernelError};
use crate::eval::EvalError;
use crate::file_error::FileError;
use crate::memory::MemoryError;
use crate::model_file::ModelFileError;
use crate::onnx::OnnxError;
use crate::picture::PictureError;
use crate::pxg_file::PxgFileError;
use crate::quantise::QuantiseError;
use crate::terminal::{OutputError, listed, printable, shortened};
use crate::tflite::LiteError;
use crate::threads::ThreadsError;
use pixgen_core::integer::{DrawError, SelfTestError};
use std::path::PathBuf;

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
    /// TensorFlow Lite files.
    #[error(transparent)]
    Lite(#[from] LiteError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// Pictures could not be drawn.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No such kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A model does not draw here what it drew when it was exported.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// Other files.
    #[error(transparent)]
    File(#[from] FileError),
    /// A class that the model does not have.
    #[error("{flag} {}: the model has no such class", printable(.text))]
    NoClass {
        /// The flag.
        flag: String,
        /// What was asked for.
        text: String,
        /// Names of the classes that there are.
        names: Vec<String>,
    },
    /// A class that is named twice where each may stand once.
    #[error("{flag}: `{}` stands there twice", printable(&shortened(.name)))]
    ClassTwice {
        /// The flag.
        flag: String,
        /// Name of the class.
        name: String,
    },
    /// A name that is in no table.
    #[error("there is no {kind} `{}`", printable(.name))]
    NoName {
        /// What it should be a name of, for example "board".
        kind: String,
        /// What was asked for.
        name: String,
        /// Those that may have been meant.
        near: Vec<String>,
        /// All names.
        known: Vec<String>,
    },
    /// Options of integers with real numbers.
    #[error("--form float has no use for {flag}: real numbers are not quantised")]
    FloatOption {
        /// The option.
        flag: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// An option of a core, with a board of which only the accelerator is planned for.
    #[error("{flag}: of `{board}` only the accelerator is planned for, and that has no use for it")]
    AcceleratorOnly {
        /// The option.
        flag: &'static str,
        /// The board.
        board: String,
    },
    /// A form or a class that a `.pxg` file does not hold.
    #[error("{}: a .pxg file holds only integers, and only those of its own classes", path.display())]
    IntegersOnly {
        /// The file.
        path: PathBuf,
    },
    /// A heading for what has none.
    #[error("--title: a package has no heading")]
    TitleOfPackage,
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
            Self::Lite(error) => error.hint(),
            Self::Draw(_) => None,
            Self::Engine(error) => error.hint(),
            Self::Memory(error) => Some(error.hint()),
            Self::Kernel(error) => error.hint(),
            Self::SelfTest(SelfTestError::Missing) => Some("export the model again, without `--tests 0`".into()),
            Self::SelfTest(_) => {
                Some("this program draws other pictures than the one that exported the file; export the model again".into())
            }
            Self::File(error) => error.hint(),
            Self::NoClass { names, .. } => Some(format!("use `all`, 0 to {}, or one of: {}", names.len().saturating_sub(1), listed(names))),
            Self::ClassTwice { .. } => Some("name each class once".into()),
            Self::NoName { near, known, .. } if near.is_empty() => Some(format!("there are: {}", known.join(", "))),
            Self::NoName { near, known, .. } => {
                let near = near.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
                Some(format!("did you mean {near}? There are: {}", known.join(", ")))
            }
            Self::FloatOption { hint, .. } => Some((*hint).into()),
            Self::AcceleratorOnly { flag, .. } => Some(format!("leave {flag} out")),
            Self::IntegersOnly { .. } => {
                Some("for other forms or classes, or --target, give the model.safetensors it was exported from".into())
            }
            Self::TitleOfPackage => Some("leave it out, or make a page with `--format html`".into()),
            Self::Threads(error) => error.hint(),
            Self::Output(error) => error.hint(),
        }
    }
}
