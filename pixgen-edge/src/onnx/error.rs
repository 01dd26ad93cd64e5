//! Why a model cannot be written as an ONNX graph.

use crate::quantise::QuantiseError;
use pixgen_core::params::Site;
use pixgen_core::pxg::{MissingPart, PxgError};
use pixgen_core::reference::ReferenceError;

/// Why a model cannot be written as an ONNX graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The graph is of one step.
    #[error("the model draws in {steps} steps, an ONNX graph holds one")]
    Steps {
        /// Steps asked for.
        steps: usize,
    },
    /// A protobuf message ends at 2 GiB.
    #[error("the graph takes {bytes} bytes, an ONNX file holds less than 2 GiB")]
    TooLarge {
        /// Bytes of the constants.
        bytes: u64,
    },
    /// Numbers of a `.pxg` file with which a chip's sums would leave 32 bits.
    #[error("{}: sums of this layer can leave 32 bits, so that a graph would not wrap as a chip does", site.name())]
    Wraps {
        /// The layer.
        site: Site,
    },
    /// Quantisation failed.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// Weights of another model.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A part of the file is not there.
    #[error("the .pxg file: {0}")]
    Part(#[from] MissingPart),
    /// The quantised model does not read back.
    #[error("the quantised model does not read back: {0}")]
    Pxg(#[from] PxgError),
    /// The header of the model is not plain data: a fault of this program.
    #[error("the metadata cannot be written: {0}")]
    Metadata(#[from] serde_json::Error),
    /// The graph is not one: a fault of this program.
    #[error("the graph is wrong at `{at}`: {fault}")]
    Graph {
        /// Name of a node or a value.
        at: String,
        /// What is wrong there.
        fault: GraphFault,
    },
}

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphFault {
    /// The model holds none.
    #[error("no graph in it")]
    Missing,
    /// The model names no operators.
    #[error("no operator set")]
    NoOperators,
    /// A constant of another length than its shape has.
    #[error("its values do not fill its shape")]
    Values,
    /// A name that two values have.
    #[error("two values of this name")]
    SecondValue,
    /// A name that two nodes have.
    #[error("two nodes of this name")]
    SecondNode,
    /// A node before the one that makes its input.
    #[error("`{0}` is not made before it")]
    NotMade(String),
    /// An output without a node.
    #[error("an output that nobody makes")]
    NoMaker,
    /// A value without a reader.
    #[error("nobody uses it")]
    Unused,
    /// A value of unknown type or shape.
    #[error("no type or shape")]
    Untyped,
    /// Operands that do not fit an operator: their types or dimensions.
    #[error("{0}")]
    Operands(String),
}

impl OnnxError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Steps { .. } => Some("export with --steps 1".into()),
            Self::TooLarge { .. } => Some("choose fewer classes with --classes; each has tables of its own".into()),
            Self::Wraps { .. } => Some("no exporter writes such a file; export the model again".into()),
            Self::Quantise(error) => error.hint(),
            _ => None,
        }
    }
}
