//! Products on a host with vector instructions, found when the program runs, or for WebAssembly when it is built (docs/reference/numerics.md section 4.3).
//!
//! Weights are packed once, when a model is loaded, into [`panels`] of 16 outputs, in memory that the caller gives: a file is not changed,
//! and chips have none of this. The loops of [`product`] and [`attention`] are written once, over what a vector extension does,
//! [`lanes`]; there is one more file for each extension, and a value of its type is the proof that the CPU has it. Which of them a CPU has
//! can be asked with `std` only: `detect`, with the feature `std`.

pub mod attention;
mod cpu;
#[cfg(any(test, feature = "std"))]
mod detect;
pub mod lanes;
pub mod panels;
pub mod product;

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod dotprod;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(target_arch = "wasm32")]
pub mod simd128;
#[cfg(target_arch = "x86_64")]
pub mod vnni;

pub use cpu::HostKernel;
#[cfg(any(test, feature = "std"))]
pub use detect::KernelNameError;

#[cfg(test)]
mod tests;
