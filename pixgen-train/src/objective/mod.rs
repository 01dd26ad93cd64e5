//! What is minimised: stage 1 (representation consistency), 2a (diffusion), 2b (consistency) and 3 (drifting), and the terms they are made of.

pub mod auxiliary;
pub mod consistency;
pub mod consistency_config;
pub mod diffusion;
pub mod drift;
pub mod drift_config;
pub mod drift_encoder;
pub mod drift_groups;
pub mod drift_sets;
pub mod frame;
pub mod loss_by_noise;
pub mod micro_batches;
pub mod prefetch;
pub mod pretrain;
pub mod source;
#[cfg(test)]
mod test_source;

pub use auxiliary::FrozenEncoder;
pub use consistency::Consistency;
pub use consistency_config::{ConsistencyConfig, Weighting};
pub use diffusion::{Diffusion, DiffusionConfig};
pub use drift::Drift;
pub use drift_config::DriftConfig;
pub use loss_by_noise::{LevelLoss, LossByNoise};
pub use pretrain::{Pretrain, PretrainConfig, PretrainMethod, TargetDecay};
pub use source::BatchSource;

use crate::distributed::{Collective, Share};
use crate::model::weights::to_vec;
use crate::precision::Precision;
use crate::training::Engine;
use burn_tensor::Tensor;
use pixgen_edge::data::DataError;
use pixgen_edge::param_set::ParamSet;
use std::ops::Range;

/// Where a run stands; everything random in a step is a function of this and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingProgress {
    /// Seed of the run.
    pub seed: u64,
    /// Images seen before the step.
    pub images: u64,
    /// Images of the whole run, K.
    pub total: u64,
    /// Images of the step, B.
    pub batch: usize,
    /// Images that go through the network at once; a smaller number than `batch` takes less memory and gives the same gradient.
    pub micro_batch: usize,
    /// The part of the batch that this process computes. Everything random is that of an image's number in the run, whatever the part.
    pub share: Share,
    /// Images that stay together in a part: the N of a set in stage 3, else 1.
    pub together: usize,
}

impl TrainingProgress {
    /// The images of the share, counted from the first of the batch.
    pub fn part(&self) -> Range<usize> {
        if self.share.is_whole() {
            return 0..self.batch;
        }
        let sets = self.share.of(self.batch / self.together);
        sets.start * self.together..sets.end * self.together
    }

    /// Number in the run of the first image of the share.
    pub fn first(&self) -> u64 {
        self.images + self.part().start as u64
    }

    /// Images of the share.
    pub fn count(&self) -> usize {
        self.part().len()
    }
}

/// How an objective computes its gradient.
#[derive(Clone, Debug, Default)]
pub struct Compute {
    /// Of matrices and activations.
    pub precision: Precision,
    /// Blocks are computed again for the backward pass: less memory, more time, the same gradient.
    pub recompute: bool,
    /// Those who compute together, each its share of a batch.
    pub ranks: Collective,
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// A picture that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Another rank has found such a picture.
    #[error("rank {rank} cannot read its pictures and says why")]
    OtherRank {
        /// The first of those that have.
        rank: usize,
    },
}

/// Named terms of a loss, each a mean over the batch.
pub type Terms = Vec<(&'static str, f64)>;

/// What a step tells of its loss.
#[derive(Clone, Debug, Default)]
pub struct StepLoss {
    /// The terms; the first is the loss itself.
    pub terms: Terms,
    /// The term that depends on the noise level, by level; of the images of a rank's share.
    pub by_noise: Vec<LevelLoss>,
}

/// Named values that an objective keeps between steps, beside the parameters.
pub type NamedValues = Vec<(String, Vec<f32>)>;

/// Something that has a gradient, computed on backend `B`.
pub trait Objective<B: Engine> {
    /// The parameters it trains.
    fn params(&self) -> &ParamSet;

    /// Adds the gradient of the loss on the next batch to `gradient`; both buffers are laid out as [`params`](Self::params). With several
    /// ranks the sums over them are the gradient and the terms of the loss.
    ///
    /// # Errors
    /// A picture that cannot be read, here or at another rank; then nothing was added.
    fn gradient(&mut self, params: &B::Flat, progress: &TrainingProgress, gradient: &mut B::Flat) -> Result<StepLoss, StepError>;

    /// Called when the step was taken, with the new parameters; not called for a skipped step.
    fn accept(&mut self, _params: &B::Flat) {}

    /// State beside the parameters, for a checkpoint.
    fn state(&self) -> NamedValues {
        Vec::new()
    }

    /// Takes back what [`state`](Self::state) gave; says which name is missing or of another length.
    fn restore(&mut self, _state: &mut dyn FnMut(&str) -> Option<Vec<f32>>) -> Result<(), String> {
        Ok(())
    }
}

/// The values of a tensor, to be summed in f64. It waits for the device, so it is called last, when all work is on its way.
fn values<B: Engine, const D: usize>(losses: Tensor<B, D>) -> Vec<f64> {
    to_vec(losses.into_data()).into_iter().map(f64::from).collect()
}
