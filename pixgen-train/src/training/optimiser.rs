//! AdamW over the flat parameter buffer, with decay by role and clipping by the global norm; Muon for the matrices of blocks is in [`muon`](super::muon).
//!
//! The optimiser works on flat buffers, not on burn's records: one pass over memory instead of a dozen small tensor operations for each
//! of some hundred tensors, and a checkpoint is those buffers, bit for bit. Here are the settings and the pass over host memory.

use crate::distributed::Share;
use clap::ValueEnum;
use pixgen_core::params::{Layer, Role, Side};
use pixgen_edge::param_set::{ParamEntry, ParamSet};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Which rule moves the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserKind {
    /// All of them by AdamW.
    #[default]
    Adamw,
    /// The matrices of blocks by Muon, the rest by AdamW.
    Muon,
}

/// Settings of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimiserConfig {
    /// Which rule moves the parameters.
    #[serde(default)]
    pub kind: OptimiserKind,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay, times the learning rate.
    pub weight_decay: f64,
    /// Also decay the position table and the class token; the paper does so in stage 1 and not in stage 2.
    pub decay_position: bool,
    /// Also decay biases and norms.
    pub decay_vectors: bool,
    /// Largest global norm of the gradient; 0 switches clipping off.
    pub clip: f64,
}

impl OptimiserConfig {
    /// For tests.
    #[cfg(test)]
    pub(super) const EXAMPLE: Self = Self {
        kind: OptimiserKind::Adamw,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        decay_position: false,
        decay_vectors: false,
        clip: 0.0,
    };

    /// Weight decay of a parameter.
    pub fn decay_of(&self, role: Role) -> f64 {
        let decays = match role {
            Role::Matrix | Role::Embedding => true,
            Role::Bias | Role::Norm => self.decay_vectors,
            Role::Position | Role::Token => self.decay_position,
        };
        if decays { self.weight_decay } else { 0.0 }
    }

    /// The matrices, stacked by rows, of which a parameter consists that Muon moves: those of blocks. None if it is AdamW's.
    pub fn muon_matrices(&self, entry: &ParamEntry) -> Option<usize> {
        let muons = self.kind == OptimiserKind::Muon && entry.role == Role::Matrix;
        let site = entry.site.filter(|_| muons)?;
        match site.layer {
            Layer::Qkv => Some(3),
            Layer::Proj | Layer::Fc1 | Layer::Fc2 | Layer::Skip => Some(1),
            Layer::Modulation if site.side == Side::Decoder => Some(6),
            _ => None,
        }
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
    /// The part that is updated.
    pub share: Share,
    /// For each average the share of the way to the new parameters that it goes, 1 - decay.
    pub ema_weights: &'a [f32],
}

/// One update of AdamW on host slices: the part `update.share` of what `update.set` lays out. With Muon, `gradient` holds the steps of
/// [`muon::steps`](super::muon::steps) where it has taken a matrix.
pub fn adamw(params: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], update: &Update<'_>) {
    let Update { config, set, rate, gradient_scale, updates, .. } = *update;
    let (b1, b2) = (config.beta1 as f32, config.beta2 as f32);
    let Corrections { step, second } = Corrections::new(config, rate, updates);
    let epsilon = config.epsilon as f32;
    let part = update.share.part(set.len(), 1);
    let mut pieces = Vec::with_capacity(set.entries().len());
    let (mut m, mut v, mut g, mut p) = (m, v, gradient, params);
    for entry in set.entries() {
        let len = common(&entry.range, &part).len();
        let (m0, m1) = m.split_at_mut(len);
        let (v0, v1) = v.split_at_mut(len);
        let (g0, g1) = g.split_at(len);
        let (p0, p1) = p.split_at_mut(len);
        pieces.push((entry, m0, v0, g0, p0));
        (m, v, g, p) = (m1, v1, g1, p1);
    }
    pieces.into_par_iter().for_each(|(entry, m, v, g, p)| {
        let keep = 1.0 - (rate * config.decay_of(entry.role)) as f32;
        if config.muon_matrices(entry).is_some() {
            let rate = rate as f32;
            return p.iter_mut().zip(g).for_each(|(p, g)| *p = keep * *p - rate * g);
        }
        for (((m, v), g), p) in m.iter_mut().zip(v).zip(g).zip(p) {
            let g = g * gradient_scale;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p = keep * *p - step * *m / ((*v / second).sqrt() + epsilon);
        }
    });
}

/// What two ranges have in common.
fn common(one: &Range<usize>, other: &Range<usize>) -> Range<usize> {
    let start = one.start.max(other.start);
    start..one.end.min(other.end).max(start)
}

/// What makes up for moments that start at zero.
#[derive(Clone, Copy, Debug)]
pub struct Corrections {
    /// Learning rate over 1 - beta1^k.
    pub step: f32,
    /// 1 - beta2^k.
    pub second: f32,
}

impl Corrections {
    /// Those of update number `updates`, from 1.
    pub fn new(config: &OptimiserConfig, rate: f64, updates: u64) -> Self {
        let steps = updates.min(i32::MAX as u64) as i32;
        let first = (1.0 - config.beta1.powi(steps)) as f32;
        Self { step: rate as f32 / first, second: (1.0 - config.beta2.powi(steps)) as f32 }
    }
}

/// Square root of the sum of squares, summed in f64 tensor by tensor, so that it does not depend on the number of threads.
pub fn global_norm(set: &ParamSet, gradient: &[f32]) -> f64 {
    square_sum(set, gradient, Share::default()).sqrt()
}

/// Sum of squares of a part, in f64 tensor by tensor.
pub fn square_sum(set: &ParamSet, gradient: &[f32], share: Share) -> f64 {
    let part = share.part(set.len(), 1);
    let sums: Vec<f64> = set
        .entries()
        .par_iter()
        .map(|entry| gradient[common(&entry.range, &part)].iter().map(|&g| f64::from(g) * f64::from(g)).sum())
        .collect();
    sums.iter().sum()
}

/// The first tensor with a value that is not finite.
pub fn first_non_finite<'a>(set: &'a ParamSet, values: &[f32]) -> Option<&'a str> {
    let bad = |range: &std::ops::Range<usize>| values[range.clone()].iter().any(|v| !v.is_finite());
    set.entries().iter().find(|entry| bad(&entry.range)).map(|entry| entry.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::config::{ModelConfig, Tower};
    use pixgen_edge::projector::ProjectorConfig;

    fn tiny() -> ParamSet {
        let tower = Tower { depth: 1, width: 4, heads: 1 };
        let config = ModelConfig { size: 4, channels: 1, patch: 2, classes: 2, encoder: tower, decoder: tower };
        ParamSet::pretraining(&config, &ProjectorConfig { hidden: 4, out: 2 })
    }

    /// After the first update m/(1-b1) = g and v/(1-b2) = g^2, so the step is the rate times the sign of g.
    #[test]
    fn first_step_is_the_sign_and_decay_goes_by_role() {
        let set = tiny();
        let mut params = vec![1.0; set.len()];
        let gradient: Vec<f32> = (0..set.len()).map(|i| if i % 2 == 0 { 0.5 } else { -3.0 }).collect();
        let (mut m, mut v) = (vec![0.0; set.len()], vec![0.0; set.len()]);
        let share = Share::default();
        let update = Update {
            config: &OptimiserConfig::EXAMPLE,
            set: &set,
            rate: 0.01,
            gradient_scale: 1.0,
            updates: 1,
            share,
            ema_weights: &[],
        };
        adamw(&mut params, &mut m, &mut v, &gradient, &update);
        for entry in set.entries() {
            let decay = if entry.role == Role::Matrix { 0.001 } else { 0.0 };
            for i in entry.range.clone() {
                let want = 1.0 - decay - 0.01 * gradient[i].signum();
                assert!((params[i] - want).abs() < 1e-6, "{}: {} {want}", entry.name, params[i]);
            }
        }
    }

    /// Parts are updated as the whole is, to the bit, wherever they are cut.
    #[test]
    fn parts_are_updated_as_the_whole_is() {
        let set = tiny();
        let gradient: Vec<f32> = (0..set.len()).map(|i| (i as f32).sin()).collect();
        let run = |size: usize| {
            let mut params = vec![1.0; set.len()];
            for rank in 0..size {
                let share = Share { rank, size };
                let part = share.part(set.len(), 1);
                let (mut m, mut v) = (vec![0.1; part.len()], vec![0.2; part.len()]);
                let update = Update {
                    config: &OptimiserConfig::EXAMPLE,
                    set: &set,
                    rate: 0.01,
                    gradient_scale: 0.5,
                    updates: 3,
                    share,
                    ema_weights: &[],
                };
                adamw(&mut params[part.clone()], &mut m, &mut v, &gradient[part], &update);
            }
            params
        };
        let whole = run(1);
        assert!([2, 3, 7].into_iter().all(|size| run(size) == whole));
    }

    #[test]
    fn norm_and_names() {
        let set = tiny();
        let mut gradient = vec![0.0; set.len()];
        gradient[3] = 3.0;
        gradient[set.len() - 1] = 4.0;
        assert_eq!(global_norm(&set, &gradient), 5.0);
        assert_eq!(first_non_finite(&set, &gradient), None);
        gradient[set.len() - 1] = f32::NAN;
        assert_eq!(first_non_finite(&set, &gradient), Some("projector.fc3.weight"));
    }
}
