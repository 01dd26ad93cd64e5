//! Fused GPU kernels for training EPG networks, written in CubeCL: forward and backward of every operation in which training spends time
//! or memory, for CUDA (Hopper and Ampere) and for any Vulkan device.
//!
//! Kernels take and return burn's [`CubeTensor`](burn_cubecl::tensor::CubeTensor). pixgen-train registers them with autodiff, behind its
//! trait of fused operations. A call that a device cannot run returns a [`KernelError`] and computes nothing.
//!
//! **The network.** [`mod@matmul`]: products with tiles that are chosen beforehand. [`epilogue`]: bias and GELU after them. [`norm`]: layer
//! norm. [`modulate`]: AdaLN, which is the norm with its modulation and the gated residual. [`attention`]: all heads, without a map of
//! scores in memory. [`skip`]: `[x, s]` of a long skip. [`tokens`]: the input of a tower. [`dropout`]: masks that depend on their place.
//!
//! **The losses and the optimiser.** [`images`]: weighted sums of images, and the consistency loss. [`nt_xent`]: the contrastive loss.
//! [`optimiser`]: AdamW with its moving averages, and other passes over flat buffers of parameters.
//!
//! **Under the kernels.** [`rows`] and [`columns`] are the two shapes of reduction of which the others are made. [`launch`] checks operands
//! and chooses widths of loads and numbers of cubes. [`store`] knows how `f32` and bf16 lie in memory. [`device`] opens a GPU, or says
//! what the machine lacks, and [`error`] holds the errors of a launch. `cuda` hands products to cuBLASLt where it is installed.
//!
//! Sums have a fixed order, without atomics: a device repeats its results bit by bit.

pub mod attention;
pub mod dropout;
pub mod epilogue;
pub mod matmul;
pub mod modulate;
pub mod norm;
pub mod skip;
pub mod tokens;

pub mod images;
pub mod nt_xent;
pub mod optimiser;

pub mod columns;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod error;
mod gelu;
pub mod launch;
pub mod rows;
pub mod store;
mod sum;
mod tiles;

pub use error::{KernelError, Result};
pub use matmul::matmul;

#[cfg(feature = "cuda")]
pub use cubecl::cuda::CudaRuntime;
#[cfg(feature = "vulkan")]
pub use cubecl::wgpu::WgpuRuntime as VulkanRuntime;

/// Compiles the example of the page on crates.io.
#[cfg(all(doctest, feature = "vulkan"))]
#[doc = include_str!("../README.md")]
struct Readme;
