//! Images in: everything between a user's files and the numbers that the network sees.
//!
//! * `spec`: what to load ([`DataSpec`]) and [`load`], which picks one of
//!   `bundled` (Fashion-MNIST inside the binary), `idx` (MNIST-style files) and `folder` (PNG and JPEG, one folder per class).
//! * `decode` and `resize` bring any image file to the training shape; `dataset` keeps all images in memory as bytes.
//! * `check` tells people what a data set holds before they train on it.
//! * `normalise` maps bytes to network numbers.

pub mod bundled;
pub mod check;
pub mod dataset;
pub mod decode;
pub mod error;
pub mod folder;
pub mod idx;
pub mod normalise;
pub mod resize;
pub mod spec;

pub use bundled::{BUNDLED_NAME, bundled, bundled_split};
pub use dataset::{Dataset, ImageShape, MAX_SIDE, SPLIT_SEED};
pub use decode::{Decoded, decode_file};
pub use error::{BadFile, BadReason, DataError};
pub use idx::{FASHION_MNIST_CLASSES, Part};
pub use resize::{fit, luma};
pub use spec::{DataSpec, Kind, Loaded, Source, WHITE, load, parse_colour};
