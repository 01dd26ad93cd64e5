//! The EPG pixel-space image generator for any machine: `no_std`, no allocator; unsafe code only in the kernels.
//!
//! From what users hold to what they do not:
//!
//! **Models.** [`config`] says what a model is; [`presets`] is the table of named ones. [`params`] is the one list of parameters
//! (name, shape, role, start) that trainer, files and exporter read; [`init`](params::Init) draws initial values.
//!
//! **Noise.** [`noise`] holds levels, preconditioning and curricula; [`rng`] is the counter-based generator with integer Gaussians,
//! and [`streams`] says which stream is for what. [`sampler`] draws pictures in one or two steps, [`diffusion`] in
//! as many as one wants.
//!
//! **The network** is written once, in [`network`], over the op set of [`ops`]. Interpreters give it meaning: [`mod@reference`] computes
//! in f32, [`integer`] in int8 as chips do, [`plan`] counts, [`profile`] times another one. [`workspace`] is where activations lie,
//! [`patch`] the order of pixels in a patch.
//!
//! **On a chip.** [`pxg`] reads a model file in place, checks it and draws with it; [`integer`] is the interpreter behind it, and
//! [`kernels`] holds its matrix products, one implementation for each kind of core. [`pixels`] is how a picture leaves, band by band.
//!
//! Every formula cites a section of the project's `docs/reference/method.md`.

#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod aligned;
pub mod config;
pub mod presets;

mod init;
pub mod params;

pub mod diffusion;
mod gaussian_table;
pub mod noise;
pub mod rng;
pub mod sampler;
pub mod streams;

pub mod network;
pub mod ops;
pub mod patch;
pub mod plan;
pub mod profile;
pub mod reference;
pub mod workspace;

pub mod integer;
pub mod kernels;
pub mod pixels;
pub mod pxg;

pub use aligned::{ALIGN, Aligned, align};
