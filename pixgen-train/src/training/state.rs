//! Everything that a run must remember between steps.

use super::ema::EmaConfig;
use super::flat::{AdamMoments, Engine, Flat};
use crate::distributed::{Collective, Share};
use pixgen_edge::param_set::ParamSet;
use std::borrow::Cow;

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
    /// The part that moments and averages hold: all, unless ranks divide them.
    pub share: Share,
}

impl<F> State<F> {
    /// The start of a run with these parameters.
    pub fn new<B: Engine<Flat = F>>(set: &ParamSet, params: &[f32], emas: &[EmaConfig], device: &B::Device) -> Self
    where
        F: Flat<B>,
    {
        Self::of_share::<B>(set, params, emas, Share::default(), device)
    }

    /// The same at a rank that holds a part of moments and averages.
    pub fn of_share<B: Engine<Flat = F>>(set: &ParamSet, params: &[f32], emas: &[EmaConfig], share: Share, device: &B::Device) -> Self
    where
        F: Flat<B>,
    {
        Self {
            images: 0,
            skipped: 0,
            skipped_in_row: 0,
            updates: 0,
            params: F::upload(set, params, device),
            moments: AdamMoments { m: F::zeros_part(set, share, device), v: F::zeros_part(set, share, device) },
            emas: emas
                .iter()
                .map(|&config| Ema { config, values: F::upload_part(set, params, share, device) })
                .collect(),
            share,
        }
    }

    /// Moments and averages by their names in a checkpoint.
    pub fn divided_mut(&mut self) -> impl Iterator<Item = (String, &mut F)> {
        let moments = [
            ("adam.m".to_owned(), &mut self.moments.m),
            ("adam.v".to_owned(), &mut self.moments.v),
        ];
        let emas = self.emas.iter_mut().map(|ema| (format!("ema.{}", ema.config), &mut ema.values));
        moments.into_iter().chain(emas)
    }

    /// The same.
    pub fn divided(&self) -> impl Iterator<Item = (String, &F)> {
        let moments = [("adam.m".to_owned(), &self.moments.m), ("adam.v".to_owned(), &self.moments.v)];
        let emas = self.emas.iter().map(|ema| (format!("ema.{}", ema.config), &ema.values));
        moments.into_iter().chain(emas)
    }

    /// The average with this name, or the raw parameters for `raw`, on the host. If ranks divide it, all of them ask for it together.
    pub fn average<B: Engine<Flat = F>>(&self, name: &str, set: &ParamSet, ranks: &Collective) -> Option<Cow<'_, [f32]>>
    where
        F: Flat<B>,
    {
        if name == "raw" {
            return Some(self.params.host());
        }
        let ema = self.emas.iter().find(|ema| ema.config.to_string() == name)?;
        Some(ema.values.whole(set, self.share, ranks))
    }
}
