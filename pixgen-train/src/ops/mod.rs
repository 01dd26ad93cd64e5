//! The operations that an EPG network is made of, each fused into one node of the autodiff graph.
//!
//! [`FusedOps`] extends burn's `Backend` by the handful of operations in which the network spends its time: linear layers
//! with their epilogues, layer norm, AdaLN modulation, gated residuals, attention, dropout and the long-skip fusion
//! (docs/reference/method.md section 2), and by the losses on both ends of it (sections 3, 5 and 8). Every operation has
//!
//! * a forward, a forward for training that also returns what the backward needs, and a backward, all with default
//!   bodies made of plain burn tensor maths ([`plain`]), so that any burn backend works unchanged;
//! * a hand-written CPU version for [`burn_flex::Flex`] ([`flex`]);
//! * the kernels of pixgen-cubecl for burn's GPU backends (`cube`, with the features `cuda` or `vulkan`);
//! * one registration as a custom autodiff operation for every backend ([`autodiff`]).
//!
//! Network code calls the functions of [`network`] (re-exported here), which take and return `Tensor<B, D>`.
//!
//! Results of the CPU version are bit-identical from run to run and for every number of threads: sums over rows run in
//! fixed blocks that are combined in index order.

pub mod arguments;
pub mod autodiff;
pub mod contract;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub mod cube;
pub mod flex;
pub mod implementation;
pub mod network;
pub mod plain;

#[cfg(test)]
pub(crate) mod calls;
#[cfg(test)]
mod tests;

pub use arguments::{DriftKernel, Dropout, InputGradients, LAYER_NORM_EPSILON, LossFactors};
pub use contract::FusedOps;
#[cfg(any(test, feature = "testing"))]
pub use implementation::set_implementation;
pub use implementation::{Implementation, implementation};
pub use network::{
    attention, batched_matmul, consistency_loss, drift, dropout, gated_residual, layer_norm, linear, linear_gelu, norm_modulate, nt_xent,
    skip_fuse, tokens, weighted_sum,
};
