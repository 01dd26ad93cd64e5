//! int8 matrix products of the integer interpreter, one implementation per kind of core (docs/reference/numerics.md section 4.3).
//!
//! All implementations compute the same bits: sums are exact in i32, and what happens to a sum is fixed by its [`Sink`]. The
//! implementation is chosen when the crate is built (build.rs): [`Native`], whose name is [`NAME`]. [`portable`] is safe Rust and always
//! there, the others are checked against it. `host` has those of PCs and Linux boards, chosen when the program runs, and WebAssembly's.

mod exponentials;
#[cfg(host_kernels)]
pub mod host;
mod kernel;
mod multiply;
mod norm;
#[cfg(any(test, kernel = "armv6m", kernel = "armv7m", kernel = "riscv32"))]
mod packed;
pub mod portable;
mod rows;
mod sink;
#[cfg(not(kernel = "mve"))]
mod store;
mod sum_block;
mod table;
#[cfg(any(test, not(kernel = "portable")))]
mod tile;

#[cfg(kernel = "armv6m")]
mod armv6m;
#[cfg(kernel = "armv7m")]
mod armv7m;
#[cfg(kernel = "dsp")]
mod dsp;
#[cfg(kernel = "mve")]
mod mve;
#[cfg(kernel = "mve")]
mod mve_store;
#[cfg(kernel = "riscv32")]
mod riscv32;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

pub use exponentials::Exponentials;
pub use kernel::{Kernel, scratch_words};
pub use multiply::multiply_high;
pub use norm::{NormAffine, NormScale, row_sums, row_sums_inline};
pub use rows::Rows;
pub use sink::{Lookup, Raw, RowScaled, Saturate, Scaled, Sink};
pub use table::TABLE_LEN;

#[cfg(kernel = "armv6m")]
use armv6m::Armv6m as Chosen;
#[cfg(kernel = "armv7m")]
use armv7m::Armv7m as Chosen;
#[cfg(kernel = "dsp")]
use dsp::Dsp as Chosen;
#[cfg(kernel = "mve")]
use mve::Mve as Chosen;
#[cfg(kernel = "portable")]
use portable::Portable as Chosen;
#[cfg(kernel = "riscv32")]
use riscv32::Riscv32 as Chosen;

/// The implementation for this target.
pub type Native = Chosen;

/// Name of [`Native`], for logs and reports.
pub const NAME: &str = <Native as Kernel>::NAME;
