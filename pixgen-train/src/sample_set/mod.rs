//! Any number of pictures of a model, for other people's tools: files in a [`folder`], or an [`archive`] that is assembled from one.
//!
//! A picture is a function of the model, the way of drawing, the seed and its number; its class follows from the number. So a set that
//! was interrupted is completed by drawing what is missing, whatever that is.

pub mod archive;
pub mod draw;
mod error;
pub mod folder;

pub use error::SampleSetError;
pub use folder::{Manifest, SampleFolder};
