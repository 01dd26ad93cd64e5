//! The one-step model as a TensorFlow Lite file, for phones, and for Ethos-U accelerators by way of Arm's compiler Vela
//! (docs/guides/onto-an-accelerator.md).
//!
//! [`network`] is an interpreter of the network of `pixgen_core` that puts out operators instead of numbers, in real numbers or in integers; its norms are in `norm.rs`.
//! [`weights`] folds the parameters, [`ranges`] says what integers must cover, [`graph`] holds tensors and operators while they are made,
//! and [`flatbuffer`] is the file's encoding. [`write`](mod@write) is where a caller begins.

pub mod flatbuffer;
pub mod graph;
pub mod network;
pub mod ranges;
pub mod weights;
pub mod write;

mod error;
mod norm;
mod numbers;
mod scales;

pub use error::LiteError;
pub use write::{LiteFile, LiteForm, Npu, float_file, integer_file};
