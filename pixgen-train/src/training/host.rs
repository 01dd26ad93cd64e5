//! The host's buffer: a `Vec<f32>`.

use super::ema::lerp;
use super::flat::{AdamMoments, Flat};
use super::muon;
use super::optimiser::{OptimiserKind, Update, adamw, global_norm, square_sum};
use crate::distributed::{Collective, Share};
use crate::ops::flex::add_to;
use crate::precision::Precision;
use burn_flex::{Flex, FlexDevice, FlexTensor};
use burn_tensor::TensorData;
use burn_tensor::ops::FloatTensorOps;
use pixgen_edge::param_set::ParamSet;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Elements of a task.
const CHUNK: usize = 1 << 15;

/// Buffers that are used again: fresh memory costs more than adding what is in it.
static SPARE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Vec<f32>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flat<Flex> for Vec<f32> {
    fn upload_part(_: &ParamSet, values: &[f32], share: Share, _: &FlexDevice) -> Self {
        values[share.part(values.len(), 1)].to_vec()
    }

    fn zeros_part(set: &ParamSet, share: Share, _: &FlexDevice) -> Self {
        let mut buffer = spare().pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(share.part(set.len(), 1).len(), 0.0);
        buffer
    }

    fn bytes(&self) -> u64 {
        size_of_val(self.as_slice()) as u64
    }

    fn whole(&self, set: &ParamSet, share: Share, ranks: &Collective) -> Cow<'_, [f32]> {
        if share.is_whole() {
            return self.host();
        }
        Cow::Owned(ranks.all_parts(self, share.length(set.len(), 1), set.len()))
    }

    fn recycle(self) {
        spare().push(self);
    }

    fn host(&self) -> Cow<'_, [f32]> {
        Cow::Borrowed(self)
    }

    fn tensor(&self, set: &ParamSet, entry: usize, precision: Precision, device: &FlexDevice) -> FlexTensor {
        let entry = &set.entries()[entry];
        let tensor = Flex::float_from_data(TensorData::new(self[entry.range.clone()].to_vec(), entry.dims.clone()), device);
        match precision {
            Precision::F32 => tensor,
            Precision::Bf16 => Flex::float_cast(tensor, precision.dtype()),
        }
    }

    fn add(&mut self, set: &ParamSet, entry: usize, tensor: FlexTensor) {
        add_to(tensor, &mut self[set.entries()[entry].range.clone()]);
    }

    fn put(&mut self, set: &ParamSet, entry: usize, tensor: FlexTensor) {
        let range = set.entries()[entry].range.clone();
        self[range.clone()].fill(0.0);
        add_to(tensor, &mut self[range]);
    }

    fn on_host(&mut self, _: &ParamSet, change: impl FnOnce(&mut [f32])) {
        change(self);
    }

    fn sum_part(&mut self, set: &ParamSet, share: Share, ranks: &Collective) {
        ranks.sum_parts(self, share.length(set.len(), 1));
    }

    fn join_parts(&mut self, set: &ParamSet, share: Share, ranks: &Collective) {
        *self = ranks.all_parts(&self[share.part(set.len(), 1)], share.length(set.len(), 1), set.len());
    }

    fn add_all(&mut self, other: &Self) {
        let chunks = self.par_chunks_mut(CHUNK).zip(other.par_chunks(CHUNK));
        chunks.for_each(|(sums, values)| sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value));
    }

    fn clear(&mut self) {
        self.fill(0.0);
    }

    fn norm(&self, set: &ParamSet) -> f64 {
        global_norm(set, self)
    }

    fn square_sum(&self, set: &ParamSet, share: Share) -> f64 {
        square_sum(set, self, share)
    }

    fn lerp(&mut self, target: &Self, share: f32) {
        lerp(self, target, share);
    }

    fn update(params: &mut Self, moments: &mut AdamMoments<Self>, averages: &mut [&mut Self], gradient: &mut Self, update: &Update<'_>) {
        if update.config.kind == OptimiserKind::Muon {
            muon::steps::<Flex>(gradient, &mut moments.m, update, &FlexDevice);
        }
        let part = update.share.part(update.set.len(), 1);
        let (params, gradient) = (&mut params[part.clone()], &gradient[part]);
        adamw(params, &mut moments.m, &mut moments.v, gradient, update);
        for (average, &share) in averages.iter_mut().zip(update.ema_weights) {
            lerp(average, params, share);
        }
    }
}
