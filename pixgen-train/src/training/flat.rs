//! Lists of parameters in one buffer, where the backend computes: what the optimiser and checkpoints work on.
//!
//! The host's buffer is a slice of `f32`, tensors packed in the order of the list. A GPU keeps its own, padded so that every tensor is
//! aligned; between steps nothing of it comes to the host.

use super::optimiser::OptimiserConfig;
use crate::model::ParamSet;
use crate::ops::Ops;
use crate::precision::Precision;
use burn_flex::Flex;
use burn_tensor::backend::Backend;
use burn_tensor::ops::FloatTensor;
use std::borrow::Cow;

/// A backend that can train: it keeps parameters, gradients and moments.
pub trait Engine: Ops {
    /// Its buffer for a list of parameters.
    type Flat: Flat<Self>;

    /// Bytes of device memory that the backend has taken so far, in use or kept for later; none on the CPU.
    fn reserved_memory(_: &Self::Device) -> Option<u64> {
        None
    }
}

/// What an update needs beside the buffers.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// AdamW's settings.
    pub config: &'a OptimiserConfig,
    /// The list.
    pub set: &'a ParamSet,
    /// Learning rate.
    pub rate: f64,
    /// Multiplies the gradient first (clipping).
    pub gradient_scale: f32,
    /// Updates made, this one included.
    pub updates: u64,
    /// For each average the share of the way to the new parameters that it goes, 1 - decay.
    pub shares: &'a [f32],
}

/// Moments of AdamW.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments<F> {
    /// First.
    pub m: F,
    /// Second.
    pub v: F,
}

/// The values of a [`ParamSet`] in one buffer of `f32`.
pub trait Flat<B: Backend>: Send + Sync + std::fmt::Debug + Sized {
    /// Copies host values, packed in the order of `set`.
    fn upload(set: &ParamSet, values: &[f32], device: &B::Device) -> Self;

    /// All zero.
    fn zeros(set: &ParamSet, device: &B::Device) -> Self;

    /// Gives the buffer back, for the next [`zeros`](Self::zeros).
    fn recycle(self) {}

    /// The values, packed in the order of the list.
    fn host(&self) -> Cow<'_, [f32]>;

    /// Tensor number `entry` of the list. In `f32` it may share the buffer's memory: an [`update`](Self::update) may change it.
    fn tensor(&self, set: &ParamSet, entry: usize, precision: Precision, device: &B::Device) -> FloatTensor<B>;

    /// Adds to tensor number `entry`, of the same shape, in any float type.
    fn add(&mut self, set: &ParamSet, entry: usize, tensor: FloatTensor<B>);

    /// Adds all of `other`.
    fn add_all(&mut self, other: &Self);

    /// Sets everything to zero.
    fn clear(&mut self);

    /// Root of the sum of squares; not finite if any value is not.
    fn norm(&self, set: &ParamSet) -> f64;

    /// Moves the share `share` of the way to `target`.
    fn approach(&mut self, target: &Self, share: f32);

    /// AdamW on `params`, then every average: one pass over all buffers.
    fn update(params: &mut Self, moments: &mut Moments<Self>, averages: &mut [&mut Self], gradient: &Self, update: &Update<'_>);
}

impl Engine for Flex {
    type Flat = Vec<f32>;
}
