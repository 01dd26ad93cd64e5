//! Fused GPU kernels for training EPG networks, written in CubeCL: forward and backward of every operation in which the network spends
//! time or memory, for CUDA (Hopper and Ampere) and for any Vulkan device.
//!
//! * [`attention`]: all heads, without a map of scores in memory.
//! * [`error`]: why a kernel was not launched.
//! * [`store`]: `f32` and bf16 in memory.
//! * [`launch`]: operands, widths of loads and cube counts.
//!
//! Kernels take and return burn's [`CubeTensor`](burn_cubecl::tensor::CubeTensor); pixgen-train registers them with autodiff through its
//! contract of fused operations.

pub mod attention;
pub mod error;
pub mod launch;
pub mod store;

pub use error::{KernelError, Result};
