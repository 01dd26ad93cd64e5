//! Why pictures cannot be measured.

use crate::quality::network::FeatureNetwork;
use pixgen_edge::eval::EvalError;
use pixgen_edge::picture::PictureError;
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
    #[error("{}: tensor `{tensor}`: {problem}", path.display())]
    Weight {
        /// File.
        path: PathBuf,
        /// Name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file with reference statistics or pictures that cannot be used.
    #[error("reference {}: {problem}", path.display())]
    Reference {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A reference of statistics alone, and they are of other features.
    #[error("the reference has only the statistics of Inception's 2048 features, not of {recipe}")]
    PublishedFeatures {
        /// What would be needed.
        recipe: String,
    },
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
            Self::WeightsMissing { network: FeatureNetwork::EfficientNetLite0, .. } => {
                Some("fetch them once with `pixgen-train data get efficientnet-lite0`, or give a file with --weights".into())
            }
            Self::WeightsMissing { .. } => Some(
                "give --weights FILE: pt_inception-2015-12-05 of pytorch-fid or torch-fidelity, saved as safetensors with its own names"
                    .into(),
            ),
            Self::WeightFile { .. } => Some("the copy may be incomplete, or a PyTorch file: save it as safetensors".into()),
            Self::PublishedFeatures { .. } => Some("measure with --network inception, or give a reference that has pictures".into()),
            Self::Reference { .. } => {
                Some("an .npz as ADM's evaluation has them: mu and sigma of Inception, or arr_0 with pictures as bytes".into())
            }
            Self::Weight { .. } => Some("the file belongs to another network, or to another port of it".into()),
        }
    }
}
