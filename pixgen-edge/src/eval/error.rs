//! What can go wrong while measuring quality.

use crate::data::DataError;
use crate::eval::network::{CLASSES, SIDE};
use safetensors::tensor::Dtype;

/// An input that cannot be measured, or a classifier file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The pictures cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
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
    #[error("{what}: {found} given, at least {needed} are needed")]
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
        label: u16,
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
    /// The classifier file is not a safetensors file.
    #[error("the classifier is not a readable safetensors file")]
    Container(#[from] safetensors::SafeTensorError),
    /// The classifier file lacks something, or holds it in another form.
    #[error("the classifier's `{name}`: {fault}")]
    Entry {
        /// The tensor or metadata key.
        name: String,
        /// What is wrong with it.
        fault: WeightFault,
    },
}

/// What is wrong with an entry of a file with a network's weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightFault {
    /// Not in the file.
    #[error("missing")]
    Missing,
    /// Of another type or shape.
    #[error("{expected_type:?} {expected:?} expected, found {found_type:?} {found:?}")]
    Form {
        /// Type that the network needs.
        expected_type: Dtype,
        /// Dimensions that it needs.
        expected: Vec<usize>,
        /// Type in the file.
        found_type: Dtype,
        /// Dimensions in the file.
        found: Vec<usize>,
    },
    /// A NaN or infinity.
    #[error("value {index} is not finite")]
    NotFinite {
        /// Position in the tensor.
        index: usize,
    },
    /// Of a batch norm.
    #[error("holds a negative variance")]
    NegativeVariance,
    /// No number where a count of images should be.
    #[error("no such count in the metadata")]
    Count,
}

impl EvalError {
    /// The next thing to try, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::ImageShape { .. } => {
                Some("this network knows Fashion-MNIST pictures only; measure others with --network efficientnet-lite0".into())
            }
            Self::PartialImage { pixels, .. } => Some(format!("pass N x {pixels} bytes, one byte a pixel, image after image")),
            Self::TooFew { .. } => Some("add images; below a few hundred the Fréchet distance says little anyway".into()),
            Self::LabelCount { .. } => Some("pass one label byte per image, in the same order".into()),
            Self::Dimension { .. } => Some("compare statistics of the same features only".into()),
            Self::NonFinite { .. } => Some("look for a diverged model: its images hold NaN or infinity".into()),
            Self::Container(_) | Self::Entry { .. } => {
                Some("write the file anew with `cargo run --release -p pixgen-edge --example train_classifier`".into())
            }
            Self::Label { .. } | Self::Eigenvalues => None,
        }
    }
}
