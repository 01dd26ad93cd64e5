//! Weights of other programs.
//!
//! [`pytorch`] reads the files of PyTorch: [`container`] finds the pickle and the storages in either format, [`pickle`] reads the one
//! without running any of it, [`scalar`] the numbers of the others.

mod container;
mod pickle;
pub mod pytorch;
mod scalar;
