//! Draws pictures with EPG models on a microcontroller or a desktop: no allocator, no operating system and, for a quantised model, no
//! floating point.
//!
//! Firmware calls three functions, which draw the same bytes on every machine:
//!
//! ```
//! use pixgen_core::integer::DrawRequest;
//! use pixgen_core::pxg::Model;
//! use pixgen_core::{Aligned, include_pxg};
//!
//! static MODEL: &[u8] = include_pxg!("../examples/nano-28-grey.pxg"); // made by `pixgen-edge export`
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut workspace = Aligned([0; 16 * 1024]); // `Model::workspace_len` bytes
//! let model = Model::read(MODEL)?; // checks every byte, copies none
//! model.self_test(&mut workspace.0)?; // does this chip draw the exporter's pictures?
//!
//! let request = DrawRequest { class: 9, seed: 7, number: 0 };
//! model.draw(&request, &mut workspace.0, &mut |band| {
//!     for row in band.rows() {
//!         print!("{row:?}"); // to a display; no frame buffer is needed
//!     }
//! })?;
//! # Ok(()) }
//! ```
//!
//! # The crate from the outside in
//!
//! [`pxg`] reads a **model file** in place, and [`integer`], the int8 interpreter, draws from it. [`kernels`] holds its matrix products,
//! one implementation for each kind of processor core; [`pixels`] hands out the picture band by band. Firmware needs no other module; with
//! an [`accelerator`] that draws by itself it needs only that one.
//!
//! **The network** is written once, in [`network`], over the operations of [`ops`]. Each interpreter implements them: [`integer`]
//! computes in int8, [`mod@reference`] in plain f32 loops, [`plan`] counts parameters and operations, [`profile`] times another
//! interpreter. [`workspace`] divides the caller's memory, and [`patch`] defines the order of pixels in a patch.
//!
//! **Noise** comes from [`rng`], a counter-based generator with Gaussians in fixed point; [`streams`] lists the uses of randomness.
//! [`noise`] defines levels, preconditioning and curricula. [`sampler`] draws in one or two steps, [`diffusion`] in many.
//!
//! **A model** is described by [`config`]; [`presets`] is a table of named ones. [`params`] is the one list of parameters: names, shapes
//! and initial values.
//!
//! Formulas cite a section of the project's `docs/reference/method.md`, integer arithmetic one of `docs/reference/numerics.md`.
//!
//! # Unsafe code
//!
//! None outside [`kernels`], which holds assembly and vector instructions. No slice index, division or overflow can panic between [`pxg::Model::read`] and the
//! last band: the tests link a firmware without a panic handler to prove it.

#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod aligned;

pub mod accelerator;
pub mod integer;
pub mod kernels;
pub mod pixels;
pub mod pxg;

pub mod network;
pub mod ops;
pub mod patch;
pub mod plan;
pub mod profile;
pub mod reference;
pub mod workspace;

pub mod diffusion;
mod gaussian_table;
pub mod noise;
pub mod rng;
pub mod sampler;
pub mod streams;

pub mod config;
mod init;
pub mod params;
pub mod presets;

pub use aligned::{ALIGN, Aligned, align};

/// Compiles and runs the example of the page on crates.io.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
