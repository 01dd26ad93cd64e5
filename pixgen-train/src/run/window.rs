//! What is averaged for a line of metrics: the steps since the last one.

use crate::distributed::Collective;
use crate::objective::loss_by_noise::{BINS, NoiseBin};
use crate::objective::{LossByNoise, StepLoss};
use pixgen_core::noise::NoiseConfig;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Sums since the last line of metrics.
#[derive(Default)]
pub struct Window {
    terms: BTreeMap<&'static str, f64>,
    by_noise: LossByNoise,
    gradient_norm: f64,
    rate: f64,
    steps: u64,
    /// Images, those of skipped steps too.
    pub images: u64,
    started: Option<Instant>,
}

/// A line of metrics.
#[derive(Serialize)]
pub struct MetricsLine<'a> {
    #[serde(flatten)]
    numbers: BTreeMap<&'a str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_by_noise: Option<[NoiseBin; BINS]>,
}

impl Window {
    /// Begins to count time, if it does not yet.
    pub fn start(&mut self) {
        self.started.get_or_insert_with(Instant::now);
    }

    /// Adds a step that was taken; returns its loss.
    pub fn add(&mut self, loss: StepLoss, gradient_norm: f64, rate: f64, noise: &NoiseConfig) -> f64 {
        let StepLoss { terms, by_noise } = loss;
        by_noise.iter().for_each(|at| self.by_noise.add(noise, at));
        let loss = terms.first().map_or(f64::NAN, |(_, value)| *value);
        for (name, value) in terms {
            *self.terms.entry(name).or_default() += value;
        }
        self.gradient_norm += gradient_norm;
        self.rate = rate;
        self.steps += 1;
        loss
    }

    /// The line, after `skipped` skipped steps of the run. Each of the `ranks` knows the levels of its own images.
    pub fn line(mut self, skipped: u64, noise: &NoiseConfig, ranks: &Collective) -> MetricsLine<'static> {
        self.by_noise.join(ranks);
        let steps = self.steps.max(1) as f64;
        let mut numbers: BTreeMap<&str, f64> = self.terms.iter().map(|(name, sum)| (*name, sum / steps)).collect();
        numbers.insert("gradient_norm", self.gradient_norm / steps);
        numbers.insert("rate", self.rate);
        numbers.insert("skipped", skipped as f64);
        let seconds = self.started.map_or(0.0, |at| at.elapsed().as_secs_f64());
        numbers.insert("seconds", seconds);
        numbers.insert("images_per_second", self.images as f64 / seconds.max(1e-9));
        MetricsLine { numbers, loss_by_noise: self.by_noise.bins(noise) }
    }
}
