//! The kernels, and the cases that pixgen-core tests itself with.

pub use pixgen_core::kernels::*;

#[path = "../../../pixgen-core/src/kernels/cases.rs"]
pub mod cases;
