//! What can go wrong while measuring quality.

use std::path::PathBuf;

use crate::eval::extractor::Network;
use crate::eval::network::{CLASSES, SIDE};

/// An input that cannot be measured, or a classifier file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The images are not single-channel 28x28.
    #[error("{channels}x{height}x{width} images (channels, height, width) cannot be measured: the classifier sees 1x{SIDE}x{SIDE}")]
    ImageShape {
        /// Channels of the images.
        channels: usize,
        /// Rows of the images.
        height: usize,
        /// Columns of the images.
        width: usize,
    },
    /// A byte count that is not a whole number of images.
    #[error("{what}: {bytes} bytes are not a whole number of images of {pixels} bytes each")]
    PartialImage {
        /// Which set of images.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// Bytes of one image.
        pixels: usize,
    },
    /// Fewer samples than the statistic needs.
    #[error("{what}: {found} given, at least {needed} needed")]
    TooFew {
        /// Which set.
        what: &'static str,
        /// The smallest usable count.
        needed: usize,
        /// The count given.
        found: usize,
    },
    /// Images and labels do not pair up.
    #[error("{what}: {images} images but {labels} labels")]
    LabelCount {
        /// Which set.
        what: &'static str,
        /// Images given.
        images: usize,
        /// Labels given.
        labels: usize,
    },
    /// A label outside the classes.
    #[error("{what}: label {index} is {label}, classes are 0 to {}", CLASSES - 1)]
    Label {
        /// Which set.
        what: &'static str,
        /// Position of the label.
        index: usize,
        /// Its value.
        label: u8,
    },
    /// Two sets of statistics of different width, or a table whose length does not fit its width.
    #[error("{what}: expected {expected}, found {found}")]
    Dimension {
        /// Which quantity.
        what: &'static str,
        /// The required value.
        expected: usize,
        /// The value given.
        found: usize,
    },
    /// A NaN or infinity.
    #[error("{what}: value {index} is not finite")]
    NonFinite {
        /// Which table.
        what: &'static str,
        /// Position in it.
        index: usize,
    },
    /// The eigenvalues of a covariance did not converge.
    #[error("the eigenvalues of the covariance did not converge")]
    Eigenvalues,
    /// A layer that the network does not have.
    #[error("{network} has no layer `{layer}`")]
    Layer {
        /// Network.
        network: Network,
        /// What was asked for.
        layer: String,
        /// What there is.
        known: String,
    },
    /// A size that the network cannot see.
    #[error("{network} cannot see images of {input} x {input}")]
    Input {
        /// Network.
        network: Network,
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
        /// Network.
        network: Network,
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
    /// The classifier file is not a safetensors file.
    #[error("the classifier is not a readable safetensors file")]
    Container(#[from] safetensors::SafeTensorError),
    /// The classifier file lacks something, or holds it in another form.
    #[error("the classifier's `{name}`: {problem}")]
    Entry {
        /// The tensor or metadata key.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl EvalError {
    /// The next thing to try, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ImageShape { .. } => {
                Some("this network knows Fashion-MNIST pictures only; measure others with --network efficientnet-lite0".into())
            }
            Self::PartialImage { pixels, .. } => Some(format!("pass N x {pixels} bytes, one byte a pixel, image after image")),
            Self::TooFew { .. } => Some("add images; below a few hundred the Frechet distance says little anyway".into()),
            Self::LabelCount { .. } => Some("pass one label byte per image, in the same order".into()),
            Self::Dimension { .. } => Some("compare statistics of the same features only".into()),
            Self::NonFinite { .. } => Some("look for a diverged model: its images hold NaN or infinity".into()),
            Self::Container(_) | Self::Entry { .. } => {
                Some("write the file anew with `cargo run --release -p pixgen-edge --example train_classifier`".into())
            }
            Self::Layer { known, .. } => Some(format!("its layers are {known}")),
            Self::Input { low, high, .. } if low == high => Some(format!("it sees {low} x {low} only")),
            Self::Input { low, high, .. } => Some(format!("it sees {low} to {high}")),
            Self::WeightsMissing { network: Network::EfficientNetLite0, .. } => {
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
            Self::Label { .. } | Self::Eigenvalues => None,
        }
    }
}
