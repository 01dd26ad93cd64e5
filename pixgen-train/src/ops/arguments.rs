//! What the fused operations are given beside tensors, and what their backward passes give back.

use crate::distributed::Collective;
use burn_tensor::ops::FloatTensor;
use pixgen_core::rng::Rng;
use std::sync::Arc;

/// The epsilon inside the square root of every layer norm (docs/reference/method.md section 2.1).
pub const LAYER_NORM_EPSILON: f32 = pixgen_core::config::NORM_EPSILON;

/// Gradients of an operation's inputs in the order of its arguments; `None` where none was asked for.
pub type InputGradients<B, const N: usize> = [Option<FloatTensor<B>>; N];

/// Inverted dropout of a batch of activations: a pure function of these numbers, so nothing is kept for the backward pass and a second
/// forward pass drops the same elements.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// Share of the elements that become zero, in (0, 1); the others are divided by what is left.
    pub rate: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Stream of random words of each picture.
    pub streams: Arc<[u64]>,
    /// Which of the masks of a picture: the decoder block.
    pub mask: u64,
}

impl Dropout {
    /// Words below this drop their element.
    pub fn threshold(&self) -> u32 {
        (self.rate * 4_294_967_296.0) as u32
    }

    /// What elements that stay are multiplied with.
    pub fn factor(&self) -> f32 {
        (1.0 / (1.0 - self.rate)) as f32
    }

    /// The block of four random words with which a picture's mask of `len` elements begins.
    pub fn first_block(&self, len: usize) -> u64 {
        self.mask * (len as u64).div_ceil(4)
    }

    /// Drops elements of a picture's activations in place.
    pub fn apply(&self, picture: usize, values: &mut [f32]) {
        let (threshold, factor) = (self.threshold(), self.factor());
        let rng = Rng::new(self.seed, self.streams[picture]);
        let first = self.first_block(values.len());
        for (quad, block) in values.chunks_mut(4).zip(first..) {
            for (value, word) in quad.iter_mut().zip(rng.words(block)) {
                *value = if word >= threshold { *value * factor } else { 0.0 };
            }
        }
    }
}

/// What weighs pictures in the drifting field (docs/reference/method.md section 8.1).
#[derive(Debug, Clone)]
pub struct DriftKernel<'a> {
    /// tau; the fields of all temperatures are added up.
    pub temperatures: &'a [f64],
    /// alpha, at least 1: how much the real pictures of other sets push. At 1 they do not.
    pub guidance: f64,
    /// K: sets of the step, those of all ranks.
    pub sets: usize,
    /// Those who have the other sets.
    pub ranks: Collective,
}

impl DriftKernel<'_> {
    /// For each of `sets` sets of `real` real pictures the numbers of U of those of other sets in the list of all: as many, from each set in turn;
    /// none without guidance.
    pub fn others(&self, sets: usize, real: usize) -> Vec<Vec<usize>> {
        let count = if self.guidance > 1.0 && sets > 1 { real } else { 0 };
        let other = |set: usize, i: usize| (set + 1 + i % (sets - 1)) % sets * real + i;
        (0..sets).map(|set| (0..count).map(|i| other(set, i)).collect()).collect()
    }

    /// The logarithms of how many times pictures count, `[P + N + U]`: once, but `(alpha - 1) (N - 1) / U` times each of other sets.
    pub fn log_copies(&self, [real, generated, others]: [usize; 3]) -> Vec<f32> {
        let copies = (self.guidance - 1.0) * (generated - 1) as f64 / others as f64;
        let mut logarithms = vec![0.0; real + generated];
        logarithms.resize(real + generated + others, copies.ln() as f32);
        logarithms
    }
}

/// Per-image factors of the consistency loss, each `[B]`.
#[derive(Debug, Clone)]
pub struct LossFactors<T> {
    /// c_skip.
    pub skip: T,
    /// c_out.
    pub out: T,
    /// Weight of the image, 1/B included.
    pub weight: T,
}
