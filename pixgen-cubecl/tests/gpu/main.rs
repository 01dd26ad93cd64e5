//! The kernels one by one on a GPU, a software Vulkan device included, against float64 references: what they compute, in f32 and bf16.
#![cfg(any(feature = "cuda", feature = "vulkan"))]

mod attention;
mod common;
mod dropout;
mod epilogue;
mod images;
mod matmul;
mod modulate;
mod norm;
mod nt_xent;
mod optimiser;
mod store;
mod tokens;
