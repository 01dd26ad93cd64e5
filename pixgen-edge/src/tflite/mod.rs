//! The one-step model as a TensorFlow Lite file, for phones, and for Ethos-U accelerators by way of Arm's compiler Vela
//! (docs/guides/onto-an-accelerator.md).
//!
//! [`network`] is an interpreter of the network of `pixgen_core` that puts out operators instead of numbers, in real numbers or in integers; its norms are in `norm.rs`.
//! [`compare`] says how far its pictures lie from the float network's. [`weights`] folds the parameters, [`ranges`] says what integers must cover, [`graph`] holds tensors and operators while they are made,
//! [`values`] is what it draws, and [`flatbuffer`] is the file's encoding; [`vectors`](mod@vectors) writes inputs with the pictures to expect. [`write`](mod@write) is where a caller begins.

pub mod compare;
pub mod flatbuffer;
pub mod graph;
pub mod network;
pub mod options;
pub mod ranges;
pub mod scales;
pub mod values;
pub mod vectors;
pub mod weights;
pub mod write;

mod error;
mod norm;
mod numbers;

pub use error::LiteError;
pub use options::{LiteForm, LiteGelu, LiteOptions, Npu};
pub use write::{LiteFile, float_file, integer_file};
