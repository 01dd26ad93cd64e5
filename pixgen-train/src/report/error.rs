//! Why a report cannot be made.

use crate::run::RunError;
use pixgen_edge::file_error::FileError;
use std::path::PathBuf;

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file with measurements that holds something else.
    #[error("{} holds no measurements: {kind}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        kind: JsonProblem,
    },
    /// A folder that is no run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a file holds no measurements.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonProblem {
    /// It is no JSON.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// It has other JSON than objects and lists of them.
    #[error("it holds something that is not an object")]
    NotAnObject,
    /// A list of other things.
    #[error("a list holds something that is not an object")]
    ListOfOthers,
    /// Nothing at all.
    #[error("it holds no measurement")]
    Empty,
    /// Keys of a later version.
    #[error("its keys are those of schema {found}, which this version does not know")]
    Newer {
        /// The version of its keys.
        found: u64,
    },
}

impl ReportError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Json { kind: JsonProblem::Newer { .. }, .. } => Some("use the newer pixgen-train that wrote it".to_owned()),
            Self::Json { .. } => Some("give what `pixgen-train eval --json` prints".to_owned()),
            Self::Run(error) => error.hint(),
            Self::File(error) => error.hint(),
        }
    }
}
