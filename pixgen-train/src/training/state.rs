//! Everything that a run must remember between steps.

use super::ema::EmaConfig;
use super::flat::{AdamMoments, Engine, Flat};
use pixgen_edge::param_set::ParamSet;

/// One average of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Ema<F> {
    /// How fast it forgets.
    pub config: EmaConfig,
    /// The averaged parameters.
    pub values: F,
}

/// Parameters, moments, averages and counters.
#[derive(Clone, Debug, PartialEq)]
pub struct State<F> {
    /// Images seen.
    pub images: u64,
    /// Steps that were skipped because of a value that is not finite.
    pub skipped: u64,
    /// Skipped steps since the last good one.
    pub skipped_in_row: u64,
    /// Updates made.
    pub updates: u64,
    /// Parameters.
    pub params: F,
    /// Optimiser.
    pub moments: AdamMoments<F>,
    /// Averages.
    pub emas: Vec<Ema<F>>,
}

impl<F> State<F> {
    /// The start of a run with these parameters.
    pub fn new<B: Engine<Flat = F>>(set: &ParamSet, params: &[f32], emas: &[EmaConfig], device: &B::Device) -> Self
    where
        F: Flat<B>,
    {
        let upload = || F::upload(set, params, device);
        Self {
            images: 0,
            skipped: 0,
            skipped_in_row: 0,
            updates: 0,
            params: upload(),
            moments: AdamMoments { m: F::zeros(set, device), v: F::zeros(set, device) },
            emas: emas.iter().map(|&config| Ema { config, values: upload() }).collect(),
        }
    }

    /// The average with this name, or the raw parameters for `raw`.
    pub fn average(&self, name: &str) -> Option<&F> {
        if name == "raw" {
            return Some(&self.params);
        }
        self.emas.iter().find(|ema| ema.config.to_string() == name).map(|ema| &ema.values)
    }
}
