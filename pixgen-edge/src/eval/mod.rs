//! How good are pictures? The report that all programs print, and the part of it that an export is judged by.
//!
//! [`EvalReport`] is that report, with a row for each set of pictures; `text` lays it out for people. [`FashionReference`] measures sets
//! of Fashion-MNIST models: the project's own [`Classifier`], a [`network`] of 28x28 grey pictures, tells classes, its features have a
//! [`frechet`] distance, and a picture's distance to the [`nearest`] training picture shows memorised ones, which a Fréchet distance
//! rewards. [`sample`](mod@sample) chooses the real pictures beside them. Models of other pictures are measured by `pixgen-train eval`.
//!
//! `examples/train_classifier` trains the classifier and writes `data/fashion-classifier/`.

mod classifier;
mod error;
mod fashion;
pub mod frechet;
pub mod nearest;
pub mod network;
pub mod report;
pub mod sample;
mod text;

pub use classifier::{Classifier, ClassifierCard};
pub use error::{EvalError, WeightFault};
pub use fashion::FashionReference;
pub use report::{ClassCounts, EvalReport, EvalRow, FeatureInfo, KernelSubsets, QualityMetrics, Subject};
