//! How good are pictures of Fashion-MNIST? What an export is measured with, beside what real pictures get.
//!
//! [`Classifier`] is the project's own [`network`] of 28x28 grey pictures; it tells classes, and its features have a [`frechet`]
//! distance. On pixels: the distance to the [`nearest`] training picture, because small sets are memorised and a Frechet distance
//! rewards that. [`Quality`] is the report.
//!
//! `examples/train_classifier` trains the classifier and writes `data/fashion-classifier/`. Models of other pictures are measured by
//! `pixgen-train eval`.

mod classifier;
mod error;
pub mod frechet;
pub mod nearest;
pub mod network;
mod quality;

pub use classifier::{Card, Classifier};
pub use error::EvalError;
pub use quality::{ClassQuality, Floors, Quality, measure};
