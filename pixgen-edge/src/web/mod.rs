//! A model for browsers: a web page in one file, or a package for people who build pages.
//!
//! Both hold the integer engine as WebAssembly, with and without SIMD, so nobody needs a tool chain to make them. `pixgen-edge/wasm` is its
//! source, and `pixgen-edge/wasm/build.sh` renews the two files.

mod npm;
mod page;

pub use npm::{Package, PackageFile};
pub use page::Page;

/// Opens a model and draws; the worker of a page and the package begin with it.
const ENGINE: &str = include_str!("engine.js");
const SIMD: &[u8] = include_bytes!("simd.wasm");
const SCALAR: &[u8] = include_bytes!("scalar.wasm");
/// The notices that both engines must be accompanied by; `tests/third_party.py` writes them.
const LICENCES: &str = include_str!("licences.txt");
