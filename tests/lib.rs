//! Shared helpers of the cross-crate tests.
//!
//! [`vectors`] reads golden vectors and compares numbers, [`program`] runs `pixgen-train`, [`fixtures`] makes the small data sets and
//! runs that the program is tried on. [`stages`] holds both stages with everything switched on. [`firmware`] builds firmware and runs it in QEMU. [`cuda`] compiles GPU kernels without a GPU.

pub mod cuda;
pub mod firmware;
pub mod fixtures;
pub mod program;
pub mod stages;
pub mod vectors;

pub use vectors::{Golden, alone, assert_close};
