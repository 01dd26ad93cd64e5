//! Why a model cannot be written as an ONNX graph.

use crate::quantise::QuantiseError;
use pixgen_core::integer::DrawError;
use pixgen_core::params::Site;
use pixgen_core::pxg::{MissingPart, PxgError};
use pixgen_core::reference::ReferenceError;
use std::io;

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
    /// A graph of integers for a tool that makes its own.
    #[error(
        "--target {target} and --form {form} exclude each other: the tool quantises real numbers itself, and refuses a graph of integers"
    )]
    TargetForm {
        /// The tool chain.
        target: String,
        /// The form.
        form: String,
    },
    /// An option that a graph for a tool chain has no use for.
    #[error("--target has no use for {flag}")]
    TargetOption {
        /// The option.
        flag: &'static str,
    },
    /// Options of quantising with what is quantised already.
    #[error("a .pxg file has no use for {flag}: it is quantised already")]
    PxgOption {
        /// The option.
        flag: &'static str,
    },
    /// Rows of the class are inputs of the graph, and nobody would have them.
    #[error("a graph for {target} takes rows of the class as inputs, which a host needs too")]
    NoRows {
        /// The tool chain.
        target: String,
    },
    /// Bits of weights that are real numbers, or those of a chip.
    #[error("--weight-bits is for --form qdq: the other forms have the weights of the model or of a chip")]
    WeightBits,
    /// The files for a tool chain cannot be packed: a fault of this program.
    #[error("the inputs cannot be packed: {0}")]
    Pack(#[from] rawzip::Error),
    /// The same, where bytes are written to memory.
    #[error("the inputs cannot be packed: {0}")]
    Memory(#[from] io::Error),
    /// A class that the graph does not have: a fault of this program.
    #[error("no inputs for a picture: {0}")]
    Inputs(#[from] DrawError),
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
            Self::Wraps { .. } => {
                Some("weights this far apart are not those of a trained model; --form float draws it, from its model.safetensors".into())
            }
            Self::TargetForm { .. } => Some("leave --form out".into()),
            Self::TargetOption { flag: "--vectors" } => Some("--calibration DIR writes inputs and the pictures to expect".into()),
            Self::TargetOption { flag: "--batch" } => Some("leave it out: these graphs draw one picture at a time".into()),
            Self::TargetOption { .. } => Some("leave it out: the tool quantises, with options of its own".into()),
            Self::PxgOption { .. } => Some("leave it out, or give the model.safetensors that it was exported from".into()),
            Self::NoRows { .. } => Some("add --calibration DIR, which also writes the rows".into()),
            Self::WeightBits => Some("leave it out, or add --form qdq".into()),
            Self::Quantise(error) => error.hint(),
            _ => None,
        }
    }
}
