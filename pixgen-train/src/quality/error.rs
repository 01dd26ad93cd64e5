//! Why pictures cannot be measured.

use crate::cache;
use crate::quality::network::FeatureNetwork;
use pixgen_edge::eval::{EvalError, WeightFault};
use pixgen_edge::file_error::read_hint;
use pixgen_edge::picture::PictureError;
use std::io::ErrorKind;
use std::path::PathBuf;

/// A network, a weight file or a reference that cannot be used, or pictures that have no statistics.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QualityError {
    /// The pictures, or their features.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Pictures of another shape than their model's.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A layer that the network does not have.
    #[error("{network} has no layer `{layer}`")]
    Layer {
        /// The network.
        network: FeatureNetwork,
        /// What was asked for.
        layer: String,
        /// What there is.
        known: String,
    },
    /// A size that the network cannot see.
    #[error("{network} cannot see images of {input} x {input}")]
    Input {
        /// The network.
        network: FeatureNetwork,
        /// The side asked for.
        input: usize,
        /// The smallest.
        low: usize,
        /// The largest.
        high: usize,
    },
    /// The weights of a network cannot be read.
    #[error("cannot read the weights of {network} from {}: {source}", path.display())]
    WeightsMissing {
        /// The network.
        network: FeatureNetwork,
        /// File.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// A weight file that is not safetensors.
    #[error("{} is not a whole safetensors file: {reason}", path.display())]
    WeightFile {
        /// File.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// A tensor of a weight file that the network cannot use.
    #[error("{}: tensor `{tensor}`: {fault}", path.display())]
    Weight {
        /// File.
        path: PathBuf,
        /// Name.
        tensor: String,
        /// What is wrong with it.
        fault: WeightFault,
    },
    /// An `.npz` with statistics or pictures that cannot be used.
    #[error("{}: {fault}", path.display())]
    Reference {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        fault: ReferenceFault,
    },
    /// A reference of statistics alone, and they are of other features.
    #[error("the reference has only the statistics of Inception's 2048 features, not of {recipe}")]
    PublishedFeatures {
        /// What would be needed.
        recipe: String,
    },
}

/// What is wrong with a reference file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceFault {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is no zip archive, or a damaged one.
    #[error("as a zip archive: {0}")]
    Archive(#[from] rawzip::Error),
    /// An array is neither stored nor deflated.
    #[error("{array} is packed in a way that is not known here: {method:?}")]
    Compression {
        /// Its name.
        array: String,
        /// As the archive says.
        method: rawzip::CompressionMethod,
    },
    /// An array cannot be read.
    #[error("{array}: {fault}")]
    Array {
        /// Its name.
        array: String,
        /// What is wrong with it.
        fault: ArrayFault,
    },
    /// Statistics whose dimensions do not belong together.
    #[error("mu {mean:?} and sigma {covariance:?} are not a mean and a covariance")]
    Moments {
        /// Dimensions of `mu`.
        mean: Vec<usize>,
        /// Dimensions of `sigma`.
        covariance: Vec<usize>,
    },
    /// One half of the statistics, or as bytes.
    #[error("mu and sigma must both be there, as f32 or f64")]
    HalfMoments,
    /// Pictures of other dimensions.
    #[error("arr_0 {shape:?}: n x height x width x 1 or 3 expected")]
    PictureShape {
        /// Dimensions of `arr_0`.
        shape: Vec<usize>,
    },
    /// Pictures that are no bytes.
    #[error("arr_0 holds no bytes")]
    PictureType,
    /// Nothing that is known.
    #[error("neither mu and sigma nor arr_0 in it")]
    Nothing,
}

/// Why an `.npy` array cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayFault {
    /// It cannot be unpacked.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is cut short.
    #[error("the array ends too early")]
    Short,
    /// It does not begin as an array does.
    #[error("no .npy array")]
    NotAnArray,
    /// A version of the format that is not known.
    #[error("version {0} of .npy is unknown")]
    Version(u8),
    /// A header beyond the end.
    #[error("its header is longer than the file")]
    Header,
    /// Columns first.
    #[error("its values are not in C order")]
    Order,
    /// A header without dimensions.
    #[error("its header has no shape")]
    Shape,
    /// Values that are neither bytes nor floats.
    #[error("values of type `{0}`, u8, f32 or f64 expected")]
    Type(String),
    /// More values than bytes.
    #[error("its shape needs more bytes than there are")]
    Size,
}

impl QualityError {
    /// The next thing to try, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Eval(error) => error.hint(),
            Self::Picture(error) => error.hint(),
            Self::Layer { known, .. } => Some(format!("its layers are {known}")),
            Self::Input { low, high, .. } if low == high => Some(format!("it sees {low} x {low} only")),
            Self::Input { low, high, .. } => Some(format!("it sees {low} to {high}")),
            // Nobody named this file, and not every verb that measures has a flag for another.
            Self::WeightsMissing { path, source, .. } if source.kind() == ErrorKind::NotFound && *path == cache::efficientnet_lite0() => {
                Some("fetch them once with `pixgen-train data get efficientnet-lite0`".into())
            }
            Self::WeightsMissing { source, .. } | Self::Reference { fault: ReferenceFault::Read(source), .. } => read_hint(source),
            Self::WeightFile { .. } => Some("the copy may be incomplete, or a PyTorch file: save it as safetensors".into()),
            Self::PublishedFeatures { .. } => Some("measure with --network inception, or give a reference that has pictures".into()),
            Self::Reference { .. } => {
                Some("an .npz as ADM's evaluation has them: mu and sigma of Inception, or arr_0 with pictures as bytes".into())
            }
            Self::Weight { .. } => Some("the file belongs to another network, or to another port of it".into()),
        }
    }
}
