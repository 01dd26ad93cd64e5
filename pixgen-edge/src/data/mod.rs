//! Images in: everything between a user's files and the numbers that the network sees.
//!
//! * `spec`: what to load ([`DataSpec`]) and [`load`], which picks one of `bundled` (Fashion-MNIST inside the binary), `idx` (MNIST-style
//!   files), and the files of a `folder`, a `zip` archive or `tar` shards.
//! * `listing` is what the last three find: names, places and, by `classes`, labels of files, which any thread reads by number.
//! * `decode` and `resize` bring any image file to the training shape. `pictures` does so with all at once or with each when it is asked
//!   for, and `dataset` puts labels to them.
//! * `normalise` maps bytes to network numbers.

pub mod bundled;
mod classes;
pub mod dataset;
pub mod decode;
pub mod error;
pub mod folder;
pub mod idx;
pub mod listing;
pub mod normalise;
mod pictures;
pub mod resize;
pub mod spec;
pub mod tar;
pub mod zip;

pub use bundled::{BUNDLED_NAME, bundled, bundled_split};
pub use dataset::{Dataset, ImageShape, MAX_SIDE, SPLIT_SEED};
pub use decode::{Decoded, decode, decode_plainly};
pub use error::{BadFile, BadReason, DataError};
pub use idx::{FASHION_MNIST_CLASSES, Part};
pub use listing::Listing;
pub use resize::{fit, luma};
pub use spec::{DataSpec, Kind, Loaded, Memory, Source, WHITE, list, load, parse_colour};
