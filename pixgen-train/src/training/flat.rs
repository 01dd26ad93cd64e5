//! Lists of parameters in one buffer, where the backend computes: what the optimiser and checkpoints work on.
//!
//! The host's buffer is a slice of `f32`, tensors packed in the order of the list. A GPU keeps its own, padded so that every tensor is
//! aligned; between steps nothing of it comes to the host.

use super::optimiser::Update;
use crate::distributed::{Collective, Share};
use crate::ops::FusedOps;
use crate::precision::Precision;
use burn_flex::Flex;
use burn_tensor::backend::Backend;
use burn_tensor::ops::FloatTensor;
use pixgen_edge::param_set::ParamSet;
use std::borrow::Cow;

/// A backend that can train: it keeps parameters, gradients and moments.
pub trait Engine: FusedOps {
    /// Its buffer for a list of parameters.
    type Flat: Flat<Self>;

    /// Bytes of device memory that the backend has taken so far, in use or kept for later; none on the CPU.
    fn reserved_memory(_: &Self::Device) -> Option<u64> {
        None
    }

    /// The library that computes the backend's matrix products and the algorithms that it has chosen so far, for the log of a run; none where
    /// the program decides alone.
    fn products(_: &Self::Device) -> Option<String> {
        None
    }

    /// Joins the devices of all ranks, if there is a way between them that is shorter than the memory of their hosts.
    fn connect(_: &Collective, _: &Self::Device) {}

    /// The rows of all ranks, which are `f32` and as many at each, one rank after another; none if their devices are not joined.
    fn gathered(_: &Collective, _: FloatTensor<Self>) -> Option<FloatTensor<Self>> {
        None
    }
}

/// Moments of the optimiser; Muon has no second ones.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamMoments<F> {
    /// First.
    pub m: F,
    /// Second.
    pub v: F,
}

/// The values of a [`ParamSet`] in one buffer of `f32`, or a part of them: the part `share` of ranks that divide them.
pub trait Flat<B: Backend>: Send + Sync + std::fmt::Debug + Sized {
    /// Copies host values, packed in the order of `set`.
    fn upload(set: &ParamSet, values: &[f32], device: &B::Device) -> Self {
        Self::upload_part(set, values, Share::default(), device)
    }

    /// Copies a part of host values, packed in the order of `set`.
    fn upload_part(set: &ParamSet, values: &[f32], share: Share, device: &B::Device) -> Self;

    /// All zero.
    fn zeros(set: &ParamSet, device: &B::Device) -> Self {
        Self::zeros_part(set, Share::default(), device)
    }

    /// A part, all zero.
    fn zeros_part(set: &ParamSet, share: Share, device: &B::Device) -> Self;

    /// Bytes of the buffer.
    fn bytes(&self) -> u64;

    /// Gives the buffer back, for the next [`zeros`](Self::zeros).
    fn recycle(self) {}

    /// The values of all parts, of which this is one, packed in the order of the list.
    fn whole(&self, set: &ParamSet, share: Share, ranks: &Collective) -> Cow<'_, [f32]>;

    /// The values, packed in the order of the list.
    fn host(&self) -> Cow<'_, [f32]>;

    /// Tensor number `entry` of the list. It may share the buffer's memory: an [`update`](Self::update) may change it.
    fn tensor(&self, set: &ParamSet, entry: usize, precision: Precision, device: &B::Device) -> FloatTensor<B>;

    /// Adds to tensor number `entry`, of the same shape, in any float type.
    fn add(&mut self, set: &ParamSet, entry: usize, tensor: FloatTensor<B>);

    /// Overwrites tensor number `entry`, in f32.
    fn put(&mut self, set: &ParamSet, entry: usize, tensor: FloatTensor<B>);

    /// Changes all values on the host, packed in the order of `set`.
    fn on_host(&mut self, set: &ParamSet, change: impl FnOnce(&mut [f32]));

    /// Adds up the buffers of all ranks.
    fn sum(&mut self, set: &ParamSet, ranks: &Collective) {
        self.on_host(set, |values| ranks.sum(values));
    }

    /// Adds up the parts `share` of the buffers of all ranks; the rest is of no use then.
    fn sum_part(&mut self, set: &ParamSet, share: Share, ranks: &Collective);

    /// Takes every part from the rank that has it in its share.
    fn join_parts(&mut self, set: &ParamSet, share: Share, ranks: &Collective);

    /// Gives everyone the values of rank 0.
    fn broadcast(&mut self, set: &ParamSet, ranks: &Collective) {
        self.on_host(set, |values| ranks.broadcast(bytemuck::cast_slice_mut(values)));
    }

    /// Adds all of `other`.
    fn add_all(&mut self, other: &Self);

    /// Sets everything to zero.
    fn clear(&mut self);

    /// Root of the sum of squares; not finite if any value is not.
    fn norm(&self, set: &ParamSet) -> f64;

    /// Sum of squares of a part; not finite if any value is not.
    fn square_sum(&self, set: &ParamSet, share: Share) -> f64;

    /// Moves the share `share` of the way to `target`.
    fn lerp(&mut self, target: &Self, share: f32);

    /// The optimiser on the part `update.share` of `params`, then every average: one pass over all buffers. Moments and averages hold that
    /// part only. What the gradient holds afterwards is of no use.
    fn update(params: &mut Self, moments: &mut AdamMoments<Self>, averages: &mut [&mut Self], gradient: &mut Self, update: &Update<'_>);
}

impl Engine for Flex {
    type Flat = Vec<f32>;
}
