//! What the objectives of all stages share: the model, how to compute, and batches that are made ahead.

use super::prefetch::Prefetch;
use super::source::BatchSource;
use super::{Compute, StepError, Terms, TrainingProgress, micro_batches};
use crate::model::BurnWeights;
use crate::model::weights::to_vec;
use crate::ops::FusedOps;
use crate::precision::Precision;
use crate::training::Engine;
use burn_tensor::{Tensor, TensorData, TensorPrimitive};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::NoiseConfig;
use pixgen_edge::data::DataError;
use pixgen_edge::param_set::ParamSet;
use std::fmt::Debug;
use std::ops::Range;

/// The model of a run and where it computes.
#[derive(Clone, Debug)]
pub struct Context<B: FusedOps> {
    /// Architecture.
    pub model: ModelConfig,
    /// Noise constants.
    pub noise: NoiseConfig,
    /// Device.
    pub device: B::Device,
}

/// Settings of a stage, which say what a step trains on.
pub trait StageSettings<B: FusedOps>: Clone + Debug + Send + Sync + 'static {
    /// Pictures, noise, levels.
    type Batch: Send + 'static;

    /// The batch of the step at `progress`.
    ///
    /// # Errors
    /// A picture that cannot be read.
    fn sample(&self, context: &Context<B>, source: &BatchSource, progress: &TrainingProgress) -> Result<Self::Batch, DataError>;
}

/// A stage without its loss.
#[derive(Debug)]
pub struct Frame<B: Engine, S: StageSettings<B>> {
    /// Model and device.
    pub context: Context<B>,
    /// Settings of the stage.
    pub settings: S,
    /// Precision, and whether blocks are computed again.
    pub compute: Compute,
    /// The parameters that are trained.
    pub set: ParamSet,
    prefetch: Prefetch<Result<S::Batch, DataError>>,
}

impl<B: Engine, S: StageSettings<B>> Frame<B, S> {
    /// A stage that trains `set` on `source`, in `f32` and without recomputation.
    pub fn new(context: Context<B>, settings: S, source: BatchSource, set: ParamSet) -> Self {
        let (of, how) = (context.clone(), settings.clone());
        let prefetch = Prefetch::new::<B>(move |progress| how.sample(&of, &source, progress));
        Self { context, settings, compute: Compute::default(), set, prefetch }
    }

    /// The batch of the step at `progress`, made now.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub fn sample(&self, progress: &TrainingProgress) -> Result<S::Batch, DataError> {
        self.prefetch.make(progress)
    }

    /// The same, perhaps made ahead; that of the step after it is begun. All ranks have their shares, or none has.
    ///
    /// # Errors
    /// A picture that cannot be read, here or at another rank.
    pub fn next(&mut self, progress: &TrainingProgress) -> Result<S::Batch, StepError> {
        let batch = self.prefetch.take(progress);
        let failed = self.compute.ranks.all_gather(&[u8::from(batch.is_err())]);
        match failed.iter().position(|&failed| failed == 1) {
            Some(rank) if batch.is_ok() => Err(StepError::OtherRank { rank }),
            _ => Ok(batch?),
        }
    }

    /// The rows of all ranks, one rank after another.
    pub fn gathered<const D: usize>(&self, rows: Tensor<B, D>) -> Tensor<B, D> {
        let ranks = &self.compute.ranks;
        if ranks.is_alone() {
            return rows;
        }
        let (mut shape, dtype) = (rows.dims(), rows.dtype());
        shape[0] *= ranks.size();
        let rows = rows.cast(Precision::F32.dtype());
        let all: Tensor<B, D> = match B::gathered(ranks, rows.clone().into_primitive().tensor()) {
            Some(all) => Tensor::from_primitive(TensorPrimitive::Float(all)),
            None => Tensor::from_data(TensorData::new(ranks.all_gather(&to_vec(rows.into_data())), shape), &self.context.device),
        };
        all.cast(dtype)
    }

    /// Of rows of all ranks those of this one.
    pub fn own<const D: usize>(&self, rows: Tensor<B, D>) -> Tensor<B, D> {
        let ranks = &self.compute.ranks;
        if ranks.is_alone() {
            return rows;
        }
        let share = ranks.share().of(rows.dims()[0]);
        rows.narrow(0, share.start, share.len())
    }

    /// Terms that every rank has computed of the whole batch, so that they count at one rank only.
    pub fn once(&self, mut terms: Terms) -> Terms {
        if !self.compute.ranks.is_first() {
            terms.iter_mut().for_each(|(_, value)| *value = 0.0);
        }
        terms
    }

    /// The tensors of a list of parameters, in the precision of the run.
    pub fn weights<'a>(&self, set: &'a ParamSet, params: &B::Flat) -> BurnWeights<'a, B> {
        BurnWeights::of(set, params, self.compute.precision, &self.context.device)
    }

    /// A batch of `count` images in parts that go through the network at once, at most `micro` each.
    pub fn ranges(&self, count: usize, micro: usize) -> Vec<Range<usize>> {
        micro_batches::ranges::<B>(count, micro, self.context.model.tokens())
    }

    /// Applies `work` to every item and adds what it adds to its gradient to `gradient`, in the order of the items.
    pub fn accumulate<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        gradient: &mut B::Flat,
        work: impl Fn(T, &mut B::Flat) -> R + Sync,
    ) -> Vec<R> {
        micro_batches::accumulate::<B, _, _>(items, &self.set, &self.context.device, gradient, work)
    }
}
