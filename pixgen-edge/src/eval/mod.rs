//! How good are generated pictures? Distances between features of real and generated ones, each beside what real pictures get.
//!
//! **Features.** [`extractor`] runs the networks: the project's own [`network`] of 28x28 grey Fashion-MNIST with its [`Classifier`],
//! EfficientNet-Lite0, and the Inception of the FID. [`features`] is a table of what they give.
//!
//! **Numbers.** On features: the [`frechet`] distance, the unbiased [`kernel`] distance, and precision, recall, density, coverage and
//! votes among [`neighbours`]. On pixels: the distance to the [`nearest`] training picture, because small sets are memorised and a
//! Frechet distance rewards that. Only what the Inception network gives is called FID or KID.
//!
//! **Reports.** A [`yardstick`] holds real pictures (or a reference file, [`npz`]) and measures generated ones against them; a
//! [`measurement`] says what its numbers depend on. [`Quality`] is the shorter report of Fashion-MNIST models: quick start and
//! `pixgen-edge report`.
//!
//! `examples/train_classifier.rs` trains the classifier and writes `data/fashion-classifier/`.

mod classifier;
mod error;
pub mod extractor;
pub mod features;
pub mod frechet;
pub mod kernel;
pub mod measurement;
pub mod nearest;
pub mod neighbours;
pub mod network;
pub mod npz;
mod quality;
pub mod yardstick;

pub use classifier::{Card, Classifier};
pub use error::EvalError;
pub use extractor::{Extractor, Network, Recipe, Resize};
pub use features::Features;
pub use measurement::{Measurement, Subject, Table};
pub use quality::{ClassQuality, Floors, Quality, measure};
pub use yardstick::{Measured, Numbers, Real, Yardstick};
