//! Where the integer network loses quality: signal to noise of every site, saturated values, worst channels.

use super::build::SiteScales;
use super::error::QuantiseError;
use super::export::{Exported, levels};
use super::observe::Observe;
use super::scale::{LEAST, Quantisation};
use crate::aligned::AlignedBytes;
use crate::engine::{Drawer, Kernel};
use crate::memory::{self, MemoryUse};
use crate::model_file::ModelFile;
use pixgen_core::integer::NoiseSeed;
use pixgen_core::network;
use pixgen_core::params::{Layer, Side, Site};
use pixgen_core::pxg::Model;
use pixgen_core::reference::{FlatWeights, Reference, ReferenceCondition};
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Seed of the compared pictures: neither the calibration's nor a user's.
const SEED: u64 = 0x7069_7867_656e_0004;

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteReport {
    /// Name.
    pub site: String,
    /// 10 log10 of the float values' power over that of the difference, dB, or [`EXACT_DB`]. Errors of the sites before are part of it.
    pub snr_db: f64,
    /// Share of integers at the end of their range.
    pub saturated: f64,
    /// Channel with the lowest signal to noise ratio.
    pub worst_channel: usize,
    /// Its ratio, dB.
    pub worst_snr_db: f64,
}

/// All sites, worst channels first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantisationReport {
    /// Pictures compared.
    pub pictures: usize,
    /// In the order of their worst channels.
    pub sites: Vec<SiteReport>,
}

/// A signal to noise ratio of a whole site, dB, below which int8 spoils a model. Trained models were measured at 22 and more, models with one
/// channel of a layer times 1000 at 13 and less where it matters.
pub const LOW_SNR_DB: f64 = 15.0;

/// What counts as the signal to noise ratio, dB, of a site without a difference, as one that puts out nothing but zeros.
pub const EXACT_DB: f64 = 300.0;

impl QuantisationReport {
    /// The site that int8 spoils most, if it spoils one.
    pub fn spoilt(&self) -> Option<&SiteReport> {
        let weakest = self.sites.iter().min_by(|a, b| a.snr_db.total_cmp(&b.snr_db));
        weakest.filter(|site| site.snr_db < LOW_SNR_DB)
    }
}

/// Sums of a site.
#[derive(Clone, Debug, Default)]
struct Sums {
    signal: Vec<f64>,
    error: Vec<f64>,
    saturated: u64,
    count: u64,
}

impl Sums {
    fn add(&mut self, float: &[f32], integers: &[f32], quantisation: &Quantisation, ends: (f32, f32)) {
        let width = quantisation.scale.len();
        self.signal.resize(width, 0.0);
        self.error.resize(width, 0.0);
        for (float, integers) in float.chunks_exact(width).zip(integers.chunks_exact(width)) {
            for (c, (&value, &integer)) in float.iter().zip(integers).enumerate() {
                let real = quantisation.scale[c] * (f64::from(integer) - f64::from(quantisation.zero_point[c]));
                self.signal[c] += f64::from(value).powi(2);
                self.error[c] += (f64::from(value) - real).powi(2);
                self.saturated += u64::from(integer <= ends.0 || integer >= ends.1);
                self.count += 1;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.signal.resize(other.signal.len(), 0.0);
        self.error.resize(other.error.len(), 0.0);
        self.signal.iter_mut().zip(&other.signal).for_each(|(a, b)| *a += b);
        self.error.iter_mut().zip(&other.error).for_each(|(a, b)| *a += b);
        self.saturated += other.saturated;
        self.count += other.count;
    }

    fn report(&self, site: Site) -> SiteReport {
        let width = self.signal.len().max(1) as f64;
        // A difference below the smallest scale is none.
        let least = self.count as f64 * LEAST * LEAST;
        let ratio = |signal: f64, error: f64, least: f64| {
            if error > least {
                10.0 * (signal.max(1e-30) / error).log10()
            } else {
                EXACT_DB
            }
        };
        // A channel that is nearly silent has no ratio worth the name: it counts with a hundredth of the mean power.
        let floor = self.signal.iter().sum::<f64>() / width / 100.0;
        let channels = self.signal.iter().zip(&self.error).map(|(&s, &e)| ratio(s.max(floor), e, least / width));
        let worst = channels.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
        SiteReport {
            site: site.name().to_string(),
            snr_db: ratio(self.signal.iter().sum(), self.error.iter().sum(), least),
            saturated: self.saturated as f64 / self.count.max(1) as f64,
            worst_channel: worst.0,
            worst_snr_db: worst.1,
        }
    }
}

/// Runs both networks on the same noise, first step, and compares every site that is quantised.
///
/// # Errors
/// A network that does not run.
pub fn compare(file: &ModelFile, exported: &Exported, classes: &[usize], pictures: usize) -> Result<QuantisationReport, QuantiseError> {
    let bytes = AlignedBytes::copy(&exported.bytes);
    let model = Model::read(bytes.bytes())?;
    let kernel = Kernel::chosen()?;
    let mut panels = kernel.panels(&model)?;
    let drawer = kernel.prepare(&model, &mut panels)?;
    let shares: Vec<BTreeMap<Site, Sums>> = (0..pictures)
        .into_par_iter()
        .map(|picture| one(file, &drawer, &exported.site_scales, classes, picture))
        .collect::<Result<_, _>>()?;
    let mut all = BTreeMap::<Site, Sums>::new();
    for share in shares {
        for (site, sums) in share {
            all.entry(site).or_default().merge(&sums);
        }
    }
    let mut sites: Vec<SiteReport> = all.iter().map(|(&site, sums)| sums.report(site)).collect();
    sites.sort_by(|a, b| a.worst_snr_db.total_cmp(&b.worst_snr_db));
    Ok(QuantisationReport { pictures, sites })
}

/// Both networks on one picture.
fn one(
    file: &ModelFile,
    drawer: &Drawer<'_>,
    scales: &SiteScales,
    classes: &[usize],
    picture: usize,
) -> Result<BTreeMap<Site, Sums>, QuantiseError> {
    let (config, noise) = (&file.header.model, &file.header.noise);
    let class = picture % classes.len().max(1);
    let t = levels(file, 1)[0];
    let latent = Rng::new(SEED, stream(Purpose::Latent, picture as u64));
    let scale = (t * noise.c_in(t)) as f32 / 65_536.0;
    let image: Vec<f32> = latent.gaussians_q16(0).take(config.image_len()).map(|g| g as f32 * scale).collect();
    let mut float = BTreeMap::<Site, Vec<f32>>::new();
    let mut workspace = memory::zeroed(MemoryUse::Network, config.workspace_len())?;
    let inner = Reference::new(FlatWeights::new(config, &file.params)?, &mut workspace)?;
    let mut observe = Observe {
        inner,
        see: |site: Site, _: usize, values: &[f32]| drop(float.insert(site, values.to_vec())),
    };
    let condition = ReferenceCondition { t, class: classes.get(class).copied() };
    network::forward(&mut observe, config, &image[..], &condition)?;

    let mut sums = BTreeMap::<Site, Sums>::new();
    // Every operation by itself needs more room than a chip's order of work: the whole hidden layer, the whole picture.
    let mut memory = drawer.memory(8 * config.tokens() * config.encoder.width.max(config.decoder.width) + 4 * config.image_len())?;
    let inner = drawer.interpreter(class, 0, &mut memory, None)?;
    let see = |site: Site, _: usize, integers: &[f32]| {
        if let (Some(float), Some(quantisation)) = (float.get(&site), scales.get(&site)) {
            let ends = if is_wide(site, config.has_bridge()) {
                (-32_768.0, 32_767.0)
            } else {
                (-128.0, 127.0)
            };
            sums.entry(site).or_default().add(float, integers, quantisation, ends);
        }
    };
    network::forward(&mut Observe { inner, see }, drawer.model().config(), &NoiseSeed { seed: SEED, number: picture as u64 }, &())?;
    Ok(sums)
}

/// True for sites of i16.
fn is_wide(site: Site, has_bridge: bool) -> bool {
    match site.layer {
        Layer::Norm1 | Layer::Norm2 | Layer::Qkv | Layer::Attend | Layer::Gelu | Layer::Fc1 => false,
        Layer::FinalNorm => site.side == Side::Encoder && !has_bridge,
        _ => true,
    }
}

impl fmt::Display for QuantisationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<30} {:>8} {:>10} {:>14} {:>8}",
            "site, worst channel first", "SNR dB", "saturated", "worst channel", "SNR dB"
        )?;
        for site in &self.sites {
            writeln!(
                f,
                "{:<30} {:>8.1} {:>9.3}% {:>14} {:>8.1}",
                site.site,
                site.snr_db,
                100.0 * site.saturated,
                site.worst_channel,
                site.worst_snr_db
            )?;
        }
        Ok(())
    }
}
