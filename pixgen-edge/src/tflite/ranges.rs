//! What the integers of the graph must cover beyond what a chip's do: the parts of each norm, and the scores of attention.

use super::error::LiteError;
use crate::model_file::ModelFile;
use crate::quantise::QuantiseError;
use crate::quantise::calibration::{Calibration, CalibrationInputs, Factors};
use crate::quantise::export::calibrated;
use crate::quantise::options::QuantiseOptions;
use crate::quantise::range::Stats;
use pixgen_core::config::{NORM_EPSILON, Tower};
use pixgen_core::params::{Layer, Side, Site};
use std::collections::BTreeMap;

/// What a norm computes on its way.
#[derive(Clone, Debug)]
pub struct NormRange {
    /// Greatest magnitude of a row's mean.
    pub mean: f64,
    /// Greatest magnitude of a value less the mean of its row.
    pub centred: f64,
    /// Least variance of a row.
    pub least: f64,
    /// Greatest variance of a row.
    pub most: f64,
    /// The normed values, without gain and offset.
    pub normed: Stats,
}

impl NormRange {
    fn new(width: usize) -> Self {
        Self { mean: 0.0, centred: 0.0, least: f64::INFINITY, most: 0.0, normed: Stats::new(width) }
    }

    fn add(&mut self, values: &[f32], width: usize) {
        for row in values.chunks_exact(width) {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
            let centred: Vec<f64> = row.iter().map(|&v| f64::from(v) - mean).collect();
            let variance = centred.iter().map(|v| v * v).sum::<f64>() / width as f64;
            let inverse = 1.0 / (variance + f64::from(NORM_EPSILON)).sqrt();
            self.mean = self.mean.max(mean.abs());
            self.centred = centred.iter().fold(self.centred, |most, v| most.max(v.abs()));
            self.least = self.least.min(variance);
            self.most = self.most.max(variance);
            self.normed.add(&centred.iter().map(|v| (v * inverse) as f32).collect::<Vec<f32>>());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.mean = self.mean.max(other.mean);
        self.centred = self.centred.max(other.centred);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.normed.merge(&other.normed);
    }
}

/// Calibration of an integer graph.
#[derive(Clone, Debug)]
pub struct LiteRanges<'a> {
    /// How ranges are chosen.
    pub options: &'a QuantiseOptions,
    /// What each site puts out. Channels of equalised norms are divided by their factors.
    pub calibration: Calibration,
    /// Factors of the channels of the decoder's norms. Those of plain norms have none: their gains go into the next matrix.
    pub factors: Factors,
    norms: BTreeMap<Site, NormRange>,
    scores: BTreeMap<Site, Stats>,
}

impl<'a> LiteRanges<'a> {
    /// Runs the float network on pictures of noise.
    ///
    /// # Errors
    /// The float network does not run.
    pub fn new(file: &ModelFile, inputs: &CalibrationInputs<'_>, options: &'a QuantiseOptions) -> Result<Self, QuantiseError> {
        let decoder = |site: Site| site.side == Side::Decoder;
        let see = |parts: &mut Parts, site: Site, width: usize, values: &[f32]| parts.see(file, site, width, values);
        let (calibration, factors, shares) = calibrated(file, inputs, options, decoder, see)?;
        let mut all = Parts::default();
        shares.into_iter().for_each(|share| all.merge(share));
        Ok(Self { options, calibration, factors, norms: all.norms, scores: all.scores })
    }

    /// The values of a site.
    ///
    /// # Errors
    /// It has none.
    pub fn stats(&self, site: Site, part: usize) -> Result<&Stats, LiteError> {
        self.calibration.get(site, part).ok_or(LiteError::Unknown { site })
    }

    /// What a norm computes on its way.
    ///
    /// # Errors
    /// It was not seen.
    pub fn norm(&self, site: Site) -> Result<&NormRange, LiteError> {
        self.norms.get(&site).ok_or(LiteError::Unknown { site })
    }

    /// Scores of the attention of a site.
    ///
    /// # Errors
    /// It was not seen.
    pub fn scores(&self, site: Site) -> Result<&Stats, LiteError> {
        self.scores.get(&site).ok_or(LiteError::Unknown { site })
    }
}

/// What one thread sees.
#[derive(Default)]
struct Parts {
    norms: BTreeMap<Site, NormRange>,
    scores: BTreeMap<Site, Stats>,
    /// The stream as it was shown last: what the next norm reads.
    stream: Vec<f32>,
}

impl Parts {
    fn see(&mut self, file: &ModelFile, site: Site, width: usize, values: &[f32]) {
        let tower = if site.side == Side::Encoder {
            file.header.model.encoder
        } else {
            file.header.model.decoder
        };
        match site.layer {
            Layer::Norm1 | Layer::Norm2 | Layer::FinalNorm | Layer::SkipNorm => {
                // The decoder's last norm reads patches alone, which lie at the end of the stream.
                let read = self.stream.get(self.stream.len().saturating_sub(values.len())..).unwrap_or_default();
                self.norms.entry(site).or_insert_with(|| NormRange::new(width)).add(read, width);
                // Two norms are on the stream themselves.
                if matches!(site.layer, Layer::FinalNorm | Layer::SkipNorm) {
                    self.stream = values.to_vec();
                }
            }
            Layer::Position | Layer::Add1 | Layer::Add2 | Layer::Bridge | Layer::Skip => self.stream = values.to_vec(),
            Layer::Qkv => {
                let stats = self.scores.entry(Site { layer: Layer::Attend, ..site }).or_insert_with(|| Stats::new(1));
                scores(&tower, width, values, stats);
            }
            _ => (),
        }
    }

    fn merge(&mut self, other: Self) {
        for (site, range) in other.norms {
            match self.norms.get_mut(&site) {
                Some(sum) => sum.merge(&range),
                None => drop(self.norms.insert(site, range)),
            }
        }
        for (site, stats) in other.scores {
            match self.scores.get_mut(&site) {
                Some(sum) => sum.merge(&stats),
                None => drop(self.scores.insert(site, stats)),
            }
        }
    }
}

/// q k / sqrt(head width) of every head, from rows of queries, keys and values.
fn scores(tower: &Tower, width: usize, values: &[f32], stats: &mut Stats) {
    let (d, head_width) = (tower.width, tower.head_width());
    let scale = 1.0 / (head_width as f32).sqrt();
    for head in 0..tower.heads {
        let at = |part: usize| part * d + head * head_width..part * d + (head + 1) * head_width;
        for query in values.chunks_exact(width) {
            let row = values.chunks_exact(width).map(|key| {
                let dot: f32 = query[at(0)].iter().zip(&key[at(1)]).map(|(q, k)| q * k).sum();
                dot * scale
            });
            stats.add(&row.collect::<Vec<f32>>());
        }
    }
}
