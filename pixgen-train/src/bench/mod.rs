//! How fast training goes on this machine: whole optimiser steps, the fused operations one by one, and the matrix product that bounds
//! both.
//!
//! Steps run on random pictures in memory, so that nothing but computing is measured; [`data`] measures how fast pictures come from
//! files. [`step`] is the only file that knows how a step is taken. With the feature `testing`, `compare` tells whether
//! a device computes what the CPU does.

#[cfg(feature = "testing")]
pub mod compare;
pub mod data;
pub mod operations;
pub mod peak;
pub mod report;
pub mod step;

/// The middle of some times; the upper one of an even number.
pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}
