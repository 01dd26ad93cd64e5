//! How good are generated images? Measured for 28x28 grey Fashion-MNIST with a small classifier that this project trained.
//!
//! No package registry carries the Inception network of the Frechet inception distance, so nothing here is called "FID". Three
//! numbers are reported instead, each beside the value that real images get ([`Quality`]):
//!
//! * accuracy: how often the committed [`Classifier`] sees the class that was asked for,
//! * "FD-fmnist": the [`frechet`] distance between Gaussians of the classifier's 64 penultimate features,
//! * the distance to the [`nearest`] training image, because small sets are memorised and a Frechet distance rewards that.
//!
//! The classifier is a [`network`] of two convolutions and two affine maps on one matrix product; `examples/train_classifier.rs`
//! trains it and writes `data/fashion-classifier/`.

mod classifier;
mod error;
pub mod extractor;
pub mod features;
pub mod frechet;
pub mod kernel;
mod matmul;
pub mod nearest;
pub mod neighbours;
pub mod network;
mod quality;

pub use classifier::{Card, Classifier};
pub use error::EvalError;
pub use features::Features;
pub use quality::{ClassQuality, Floors, Quality, measure};
