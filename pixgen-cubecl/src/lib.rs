//! Fused GPU kernels for training EPG networks, written in CubeCL: forward and backward of every operation in which the network spends
//! time or memory, for CUDA (Hopper and Ampere) and for any Vulkan device.
//!
//! **Around the kernels.** [`device`] opens a device, or says what the machine lacks; [`error`] says why a kernel was not launched;
//! [`store`] is how `f32` and bf16 lie in memory; [`launch`] checks operands and chooses widths of loads and cube counts; [`rows`] and
//! [`columns`] are the two shapes of reduction that the others are made of.
//!
//! **The network.** [`mod@matmul`]: products with a kernel fixed beforehand. [`epilogue`]: bias and GELU after them. [`norm`]: layer norm.
//! [`modulate`]: AdaLN, its norm with modulation and its gated residual. [`attention`]: all heads, without a map of scores in memory.
//! [`skip`]: `[x, s]` of a long skip. [`tokens`]: the input of a tower. [`dropout`]: masks that are a function of their place.
//!
//! **Its ends.** [`images`]: blends of images and the consistency loss. [`nt_xent`]: the contrastive loss. [`optimiser`]: AdamW with its
//! averages, and what else the trainer does with buffers of parameters.
//!
//! Kernels take and return burn's [`CubeTensor`](burn_cubecl::tensor::CubeTensor); pixgen-train registers them with autodiff through its
//! contract of fused operations.

pub mod attention;
pub mod columns;
pub mod device;
pub mod dropout;
pub mod epilogue;
pub mod error;
pub mod images;
pub mod launch;
pub mod matmul;
pub mod modulate;
pub mod norm;
pub mod nt_xent;
pub mod optimiser;
pub mod rows;
pub mod skip;
pub mod store;
mod sum;
mod tiles;
pub mod tokens;

pub use error::{KernelError, Result};
pub use matmul::matmul;

#[cfg(feature = "cuda")]
pub use cubecl::cuda::CudaRuntime;
#[cfg(feature = "vulkan")]
pub use cubecl::wgpu::WgpuRuntime as VulkanRuntime;
