//! Weights of other programs, in and out (docs/reference/weights.md).
//!
//! [`import`](mod@import) makes a model file of the authors' weights and [`export`](mod@export) the opposite; both read the one table of
//! names and layouts in [`authors`], which comes from the parameter list. [`verify`](mod@verify) compares a model with what another
//! program computes, [`card`] describes it for a hub.
//!
//! [`source`] is a file of named tensors, safetensors or PyTorch's. [`pytorch`] reads the latter: `container` finds the pickle and the
//! storages in either format, `pickle` reads the one without running any of it, `scalar` the numbers of the others; [`error`] says what is
//! wrong with such a file.

pub mod authors;
pub mod card;
mod container;
pub mod error;
pub mod export;
pub mod import;
mod pickle;
pub mod pytorch;
mod scalar;
pub mod source;
pub mod verify;
