//! Images in: everything between a user's files and the numbers that the network sees.
//!
//! * `spec` says what to load ([`DataSpec`]), and [`mod@load`] loads it: a set inside the program (`bundled` Fashion-MNIST, `avatars`),
//!   `idx` files (MNIST-style), or the files of a `folder`, a `zip` archive or `tar` shards.
//! * `contents` is what the last three find: files by what their names say. `classes` decides on it, alone for all containers: which
//!   classes there are, and the label of each picture (`labels` reads them, `keys` finds their pictures). `listing` is the result, which
//!   any thread reads by number from a `store`. `class_names` tells the names apart.
//! * `names` and `format` know files: names as bytes, contents by their first ones. `passed` counts what was not used.
//! * `decode` and `resize` bring any image file to the training `shape`. `pictures` holds all of them, or decodes each when it is asked
//!   for, and `dataset` puts labels to them.
//! * `normalise` maps bytes to network numbers.

pub mod avatars;
pub mod bundled;
pub mod class_names;
mod classes;
mod contents;
pub mod dataset;
pub mod decode;
pub mod error;
pub mod folder;
pub(crate) mod format;
pub mod idx;
mod keys;
pub mod labels;
pub mod listing;
pub mod load;
mod names;
pub mod normalise;
pub mod passed;
mod pictures;
pub mod resize;
pub mod shape;
pub mod spec;
mod store;
pub mod tar;
pub mod zip;

pub use avatars::avatars;
pub use bundled::{BUNDLED_NAME, bundled, bundled_split};
pub use dataset::{Dataset, SPLIT_SEED};
pub use decode::{Decoded, decode, decode_plainly};
pub use error::{BadFile, BadReason, DataError};
pub use idx::{DataPart, FASHION_MNIST_CLASSES};
pub use listing::Listing;
pub use load::{LoadedData, list, load};
pub use passed::PassedOver;
pub use resize::{fit, luma};
pub use shape::{ImageShape, MAX_SIDE};
pub use spec::{BundledSet, DataSource, DataSpec, PixelStore, StorageKind, WHITE, parse_colour};
