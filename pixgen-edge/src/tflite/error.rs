//! Why a model cannot be written as a TensorFlow Lite file.

use crate::quantise::QuantiseError;
use pixgen_core::integer::DrawError;
use pixgen_core::params::Site;
use pixgen_core::reference::ReferenceError;
use safetensors::SafeTensorError;

/// Why a model cannot be written as a TensorFlow Lite file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiteError {
    /// The graph is of one step.
    #[error("the model draws in {steps} steps, a TensorFlow Lite file holds one")]
    Steps {
        /// Steps asked for.
        steps: usize,
    },
    /// A flatbuffer ends at 2 GiB.
    #[error("the graph takes {bytes} bytes, a TensorFlow Lite file holds less than 2 GiB")]
    TooLarge {
        /// Bytes of the constants.
        bytes: u64,
    },
    /// Rows whose variances differ too much for one scale of 16 bits.
    #[error("{}: variances of {least:.1e} to {most:.1e} do not fit one scale of 16 bits", site.name())]
    Variance {
        /// The norm.
        site: Site,
        /// The least variance of a row in the calibration.
        least: f64,
        /// The greatest.
        most: f64,
    },
    /// A product whose sums have far larger steps than its results.
    #[error("{at}: one step of its sums is {steps:.0} steps of its results, so that nothing of them would be left")]
    Coarse {
        /// Name of the product.
        at: String,
        /// Steps of a result in one of its sum.
        steps: f64,
    },
    /// A class that the graph does not have: a fault of this program.
    #[error("no inputs for a picture: {0}")]
    Inputs(#[from] DrawError),
    /// Quantisation failed.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// Weights of another model.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The tensors do not make a file: a fault of this program.
    #[error("the vectors cannot be written: {0}")]
    Vectors(#[from] SafeTensorError),
    /// The header of the model is not plain data: a fault of this program.
    #[error("the metadata cannot be written: {0}")]
    Metadata(#[from] serde_json::Error),
    /// A site without a range or a value: a fault of this program.
    #[error("{}: nothing is known of it", site.name())]
    Unknown {
        /// The operation.
        site: Site,
    },
}

impl LiteError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Steps { .. } => Some("leave --steps out".into()),
            Self::TooLarge { .. } => Some("choose fewer classes with --classes".into()),
            Self::Variance { .. } => Some("use --form float, or `pixgen-edge export`, whose norms are wider".into()),
            Self::Coarse { .. } => Some("use --form float; weights this far apart are not those of a trained model".into()),
            Self::Quantise(error) => error.hint(),
            _ => None,
        }
    }
}
