//! Everything that a run must remember between steps.

use super::ema::{Ema, EmaConfig};
use super::optimiser::AdamW;

/// Parameters, moments, averages and counters.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Images seen.
    pub images: u64,
    /// Steps that were skipped because of a value that is not finite.
    pub skipped: u64,
    /// Skipped steps since the last good one.
    pub skipped_in_row: u64,
    /// Parameters, flat.
    pub params: Vec<f32>,
    /// Optimiser.
    pub adam: AdamW,
    /// Averages.
    pub emas: Vec<Ema>,
}

impl State {
    /// The start of a run with these parameters.
    pub fn new(params: Vec<f32>, emas: &[EmaConfig]) -> Self {
        Self {
            images: 0,
            skipped: 0,
            skipped_in_row: 0,
            adam: AdamW::new(params.len()),
            emas: emas.iter().map(|&config| Ema::new(config, &params)).collect(),
            params,
        }
    }

    /// The average with this name, or the raw parameters for `raw`.
    pub fn average(&self, name: &str) -> Option<&[f32]> {
        if name == "raw" {
            return Some(&self.params);
        }
        self.emas.iter().find(|ema| ema.config.to_string() == name).map(|ema| &ema.values[..])
    }
}
