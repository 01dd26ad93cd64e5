//! Fused GPU kernels of the EPG network, forward and backward, and of its training.

pub mod device;
