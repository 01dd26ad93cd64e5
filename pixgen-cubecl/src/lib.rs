//! Fused GPU kernels for training EPG networks, written in CubeCL: forward and backward of every operation in which the network spends
//! time or memory, for CUDA (Hopper and Ampere) and for any Vulkan device.
//!
//! * [`attention`]: all heads, without a map of scores in memory.
//! * [`device`]: opens a device, or says what the machine lacks.
//! * [`error`]: why a kernel was not launched.
//! * [`dropout`]: masks that are a function of their place.
//! * [`images`]: blends of images and the consistency loss.
//! * [`optimiser`]: AdamW and what else the trainer does with buffers of parameters.
//! * [`store`]: `f32` and bf16 in memory.
//! * [`launch`]: operands, widths of loads and cube counts.
//! * [`rows`] and [`columns`]: the two shapes of reduction.
//! * [`norm`]: layer norm.
//! * [`modulate`]: AdaLN, its norm with modulation and its gated residual.
//! * [`epilogue`]: bias and GELU after a matrix product.
//! * [`skip`]: `[x, s]` of a long skip; [`tokens`]: the input of a tower.
//! * [`matmul`]: matrix products with a kernel fixed beforehand.
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
mod launch;
pub mod matmul;
pub mod modulate;
pub mod norm;
pub mod optimiser;
pub mod rows;
pub mod skip;
pub mod store;
mod sum;
pub mod tokens;

pub use error::{KernelError, Result};

#[cfg(feature = "cuda")]
pub use cubecl::cuda::CudaRuntime;
#[cfg(feature = "vulkan")]
pub use cubecl::wgpu::WgpuRuntime as VulkanRuntime;
pub use matmul::matmul;
