//! The float network on the inputs that the chip will see: what every site puts out.

use super::error::QuantiseError;
use super::observe::Observe;
use super::range::Stats;
use crate::data::{DataError, Dataset};
use crate::memory::{self, MemoryUse};
use crate::model_file::ModelFile;
use pixgen_core::network;
use pixgen_core::params::{Layer, Site};
use pixgen_core::reference::{FlatWeights, Reference, ReferenceCondition};
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Seed of the calibration noise: none that a user is likely to draw with.
const SEED: u64 = 0x7069_7867_656e_0003;

/// Where a site's values are kept; `part` tells queries, keys and values of one matrix apart.
pub type Key = (Site, usize);

/// By which equalisation divides the channels of a site.
pub type Factors = HashMap<Site, Vec<f32>>;

/// What calibration is made of.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationInputs<'a> {
    /// Noise levels of the steps, highest first; shifted.
    pub levels: &'a [f64],
    /// Pictures; classes take turns.
    pub pictures: usize,
    /// Real pictures under the noise; without them, nothing under the first noise and the network's own pictures under the second.
    pub data: Option<&'a Dataset>,
}

/// Statistics of all sites.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    stats: BTreeMap<Key, Stats>,
}

impl Calibration {
    /// Runs the pictures, in parallel. The values of a site in `divisors` are divided channel by channel before they are counted; `see` is
    /// shown site, width and values of each, undivided, with a `W` of its thread's own.
    ///
    /// # Errors
    /// The float network does not run, or a picture cannot be read.
    pub fn run<W: Default + Send>(
        file: &ModelFile,
        inputs: &CalibrationInputs<'_>,
        divisors: &Factors,
        see: impl Fn(&mut W, Site, usize, &[f32]) + Sync,
    ) -> Result<(Self, Vec<W>), QuantiseError> {
        let threads = rayon::current_num_threads().max(1);
        let share = |first: usize| {
            let (mut share, mut seen) = (Self::default(), W::default());
            for picture in (first..inputs.pictures).step_by(threads) {
                observe(file, inputs, picture, |site, width, values| {
                    share.count(site, width, values, divisors.get(&site));
                    see(&mut seen, site, width, values);
                })?;
            }
            Ok((share, seen))
        };
        let shares = (0..threads).into_par_iter().map(share).collect::<Result<Vec<_>, QuantiseError>>()?;
        let (mut all, mut seen) = (Self::default(), Vec::new());
        for (share, of_thread) in shares {
            for (key, stats) in share.stats {
                match all.stats.get_mut(&key) {
                    Some(sum) => sum.merge(&stats),
                    None => drop(all.stats.insert(key, stats)),
                }
            }
            seen.push(of_thread);
        }
        Ok((all, seen))
    }

    /// The values of a site.
    pub fn get(&self, site: Site, part: usize) -> Option<&Stats> {
        self.stats.get(&(site, part))
    }

    /// Sites with values.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        self.stats.keys().map(|&(site, _)| site)
    }

    fn count(&mut self, site: Site, width: usize, values: &[f32], divisors: Option<&Vec<f32>>) {
        let parts = if site.layer == Layer::Qkv { 3 } else { 1 };
        let width = width / parts;
        for part in 0..parts {
            let stats = self.stats.entry((site, part)).or_insert_with(|| Stats::new(width));
            if parts == 1 && divisors.is_none() {
                stats.add(values);
                continue;
            }
            for row in values.chunks_exact(width * parts) {
                let mut row = row[part * width..(part + 1) * width].to_vec();
                for (value, divisor) in row.iter_mut().zip(divisors.into_iter().flatten()) {
                    *value /= divisor;
                }
                stats.add(&row);
            }
        }
    }
}

/// Runs picture number `picture` of a calibration and shows `see` what each site puts out: site, width, values.
///
/// # Errors
/// As of [`Calibration::run`].
fn observe(
    file: &ModelFile,
    inputs: &CalibrationInputs<'_>,
    picture: usize,
    mut see: impl FnMut(Site, usize, &[f32]),
) -> Result<(), QuantiseError> {
    let (config, noise) = (&file.header.model, &file.header.noise);
    let class = picture % config.classes;
    let weights = FlatWeights::new(config, &file.params)?;
    let mut workspace = memory::zeroed(MemoryUse::Network, config.workspace_len())?;
    let mut clean = vec![0.0; config.image_len()];
    if let Some(data) = inputs.data.filter(|data| !data.is_empty()) {
        let image = data.image(picture % data.len()).map_err(DataError::from)?;
        file.header.normalisation.normalise(config.channels, &image, &mut clean);
    }
    for (step, &t) in inputs.levels.iter().enumerate() {
        let purpose = if step == 0 { Purpose::Latent } else { Purpose::Renoise };
        let rng = Rng::new(SEED, stream(purpose, picture as u64));
        let mut x = clean.clone();
        x.iter_mut()
            .zip(rng.gaussians_q16(0))
            .for_each(|(x, g)| *x += t as f32 * g as f32 / 65_536.0);
        let scaled: Vec<f32> = x.iter().map(|v| v * noise.c_in(t) as f32).collect();
        let condition = ReferenceCondition { t, class: Some(class) };
        let mut observe = Observe { inner: Reference::new(weights, &mut workspace)?, see: &mut see };
        network::forward(&mut observe, config, &scaled[..], &condition)?;
        if inputs.data.is_none() && step + 1 < inputs.levels.len() {
            let mut reference = Reference::new(weights, &mut workspace)?;
            let mut scratch = vec![0.0; x.len()];
            reference.denoise(noise, file.header.parametrisation, &condition, &mut x, &mut scratch)?;
            let (low, high) = file.header.normalisation.range(config.channels);
            clean = x.iter().map(|v| v.clamp(low, high)).collect();
        }
    }
    Ok(())
}
