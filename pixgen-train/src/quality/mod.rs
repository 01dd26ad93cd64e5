//! How good are generated pictures? Distances between features of real and generated ones, each beside what real pictures get.
//!
//! **Features.** [`extractor`] runs the [`network`]s: the project's own classifier of Fashion-MNIST, EfficientNet-Lite0, and the
//! Inception of the FID. [`features`] is a table of what they give.
//!
//! **Numbers.** On features: the Fréchet distance of `pixgen_edge::eval`, the unbiased [`kernel`] distance, and precision, recall,
//! density, coverage and votes among [`neighbours`]. On pixels: the distance to the nearest training picture, because small sets are
//! memorised and a Fréchet distance rewards that. Only what the Inception network gives is called FID or KID.
//!
//! **While training.** A [`monitor`] keeps the features of training pictures and gives both distances of any number of generated sets.
//!
//! **Reports.** A [`reference_set`] holds real pictures (or a reference file, [`npz`]) and measures generated ones against them; its rows
//! are those of `pixgen_edge::eval::EvalReport`. [`sweep`] draws and measures a set for every average and weight of guidance.
//!
//! [`nearest_pairs`] shows generated pictures beside their nearest training pictures; [`mod@probe`] asks the encoder for classes.

pub mod error;
pub mod extractor;
pub mod features;
pub mod kernel;
pub mod monitor;
pub mod nearest_pairs;
pub mod neighbours;
pub mod network;
pub mod npz;
pub mod probe;
mod reference;
pub mod reference_set;
pub mod sweep;

pub use error::QualityError;
pub use extractor::{Extractor, FeatureRecipe, Resize};
pub use features::Features;
pub use monitor::{Distances, QualityMonitor};
pub use network::FeatureNetwork;
pub use reference_set::{RealPictures, ReferenceOptions, ReferenceSet};
