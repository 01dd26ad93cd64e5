//! Products on a host with vector instructions, found when the program runs (docs/reference/numerics.md section 4.3).
//!
//! Weights are packed once, when a model is loaded, into [`panels`] of 16 outputs, in memory that the caller gives: a file is not changed,
//! and chips have none of this. The loops of [`product`] and [`attention`] are written once, over what a vector extension does,
//! [`lanes`]; [`avx2`] and [`vnni`] are the extensions. Which of them a CPU has can be asked with `std` only, so the
//! caller asks, and a value of an extension's type is the proof that it did.

pub mod attention;
mod cpu;
pub mod lanes;
pub mod panels;
pub mod product;

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "wasm32")]
pub mod simd128;
#[cfg(target_arch = "x86_64")]
pub mod vnni;

pub use cpu::HostKernel;

#[cfg(test)]
mod tests;
