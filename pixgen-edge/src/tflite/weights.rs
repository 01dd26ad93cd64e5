//! The parameters as the graph needs them: gains and offsets of norms, the noise level and the range of bytes are folded into the matrices
//! beside them, and everything that depends on the class into one table.

use crate::model_file::ModelFile;
use crate::quantise::calibration::Factors;
use crate::quantise::condition::FoldedCondition;
use crate::quantise::export::levels;
use pixgen_core::config::ModelConfig;
use pixgen_core::ops::Branch;
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_core::reference::{FlatWeights, ReferenceError};
use std::ops::Range;

/// A linear layer in real numbers.
#[derive(Clone, Debug)]
pub struct LiteMatrix {
    /// `[outputs, inputs]`.
    pub rows: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f64>,
}

impl LiteMatrix {
    /// Some of its outputs.
    pub fn rows(&self, outputs: Range<usize>) -> Self {
        let width = self.width();
        Self {
            rows: self.rows[outputs.start * width..outputs.end * width].to_vec(),
            bias: self.bias[outputs].to_vec(),
        }
    }

    /// Multiplies its outputs.
    pub fn scale(&mut self, factor: f64) {
        self.scale_outputs(|_| factor);
    }

    /// Multiplies what its inputs count.
    pub fn scale_inputs(&mut self, factor: f64) {
        self.rows.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
    }

    fn width(&self) -> usize {
        self.rows.len() / self.bias.len().max(1)
    }

    fn scale_outputs(&mut self, factor: impl Fn(usize) -> f64) {
        let width = self.width();
        for (o, (row, bias)) in self.rows.chunks_exact_mut(width).zip(&mut self.bias).enumerate() {
            row.iter_mut().for_each(|w| *w = (f64::from(*w) * factor(o)) as f32);
            *bias *= factor(o);
        }
    }

    /// Takes in the gain and offset of what its first inputs are.
    fn fold(&mut self, gain: &[f64], offset: &[f64]) {
        let width = self.width();
        for (row, bias) in self.rows.chunks_exact_mut(width).zip(&mut self.bias) {
            *bias += row.iter().zip(offset).map(|(&w, o)| f64::from(w) * o).sum::<f64>();
            row.iter_mut().zip(gain).for_each(|(w, g)| *w = (f64::from(*w) * g) as f32);
        }
    }

    /// Takes the mean over the outputs away.
    fn centre(&mut self) {
        let (width, outputs) = (self.width(), self.bias.len() as f64);
        let mut mean = vec![0.0f64; width];
        for row in self.rows.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, &w)| *mean += f64::from(w) / outputs);
        }
        for row in self.rows.chunks_exact_mut(width) {
            row.iter_mut().zip(&mean).for_each(|(w, mean)| *w = (f64::from(*w) - mean) as f32);
        }
        let mean = self.bias.iter().sum::<f64>() / outputs;
        self.bias.iter_mut().for_each(|bias| *bias -= mean);
    }
}

/// What the classes choose from: the class token, then shift, scale and gate of both branches of each block of the decoder.
#[derive(Clone, Debug)]
pub struct ClassTable {
    /// How far each value of each class lies from the middle: `[values, classes]`.
    pub rows: Vec<f32>,
    /// The middle between the least and the greatest of the classes: `[values]`. Integers are exact there, and have all their steps for
    /// the differences.
    pub middle: Vec<f64>,
    /// Greatest magnitude of a value.
    pub greatest: f64,
    /// Number of classes.
    pub classes: usize,
}

/// The parameters.
#[derive(Debug)]
pub struct LiteParams<'a> {
    file: &'a ModelFile,
    config: ModelConfig,
    weights: FlatWeights<'a>,
    /// Of each class.
    conditions: Vec<FoldedCondition>,
    /// Noise level.
    t: f64,
    /// By which channels of norms are divided.
    factors: Option<&'a Factors>,
}

impl<'a> LiteParams<'a> {
    /// Of a model and some rows of its class embedding.
    ///
    /// # Errors
    /// The weights are of another model.
    pub fn new(file: &'a ModelFile, classes: &[usize], factors: Option<&'a Factors>) -> Result<Self, ReferenceError> {
        let config = file.header.model;
        let weights = FlatWeights::new(&config, &file.params)?;
        let t = levels(file, 1)[0];
        let conditions = classes.iter().map(|&class| FoldedCondition::new(&config, &weights, class, t)).collect();
        Ok(Self { file, config, weights, conditions, t, factors })
    }

    fn values(&self, site: Site, kind: ParamKind) -> Vec<f64> {
        self.weights.get(site, kind).iter().map(|&v| f64::from(v)).collect()
    }

    /// A table of parameters.
    pub fn vector(&self, site: Site) -> Vec<f64> {
        self.values(site, ParamKind::Weight)
    }

    /// The time token.
    pub fn time_token(&self) -> Vec<f64> {
        let token = self.conditions.first().map(|condition| &condition.time_token);
        token.into_iter().flatten().map(|&v| f64::from(v)).collect()
    }

    /// Gain and offset of a norm.
    pub fn gain_and_offset(&self, norm: Site) -> (Vec<f64>, Vec<f64>) {
        (self.values(norm, ParamKind::Weight), self.values(norm, ParamKind::Bias))
    }

    fn factor(&self, norm: Site, channel: usize) -> f64 {
        let factor = self.factors.and_then(|factors| factors.get(&norm)?.get(channel));
        factor.copied().map_or(1.0, f64::from)
    }

    /// Shift, scale and gate of both branches of a block for a class, `[6 d]`: a norm's own gain and offset are in them.
    fn modulation(&self, condition: &FoldedCondition, site: Site) -> Vec<f64> {
        let d = self.config.decoder.width;
        let mut row = condition.modulation(&self.weights, site);
        for (branch, layer) in [(Branch::Attention, Layer::Norm1), (Branch::Mlp, Layer::Norm2)] {
            let norm = Site { layer, ..site };
            let (gain, offset) = self.gain_and_offset(norm);
            for i in 0..d {
                let (shift, scale) = (branch.shift() * d + i, branch.scale() * d + i);
                let (added, factor) = (row[shift], 1.0 + row[scale]);
                row[shift] = (offset[i] * factor + added) / self.factor(norm, i);
                row[scale] = gain[i] * factor / self.factor(norm, i);
            }
        }
        row
    }

    /// The greatest magnitude of a modulated norm's gain among the classes, by channel.
    pub fn greatest_gains(&self, norm: Site, branch: Branch) -> Vec<f64> {
        let d = self.config.decoder.width;
        let mut greatest = vec![0.0f64; d];
        for condition in &self.conditions {
            let row = self.modulation(condition, Site { layer: Layer::Modulation, ..norm });
            let gains = &row[branch.scale() * d..(branch.scale() + 1) * d];
            greatest.iter_mut().zip(gains).for_each(|(most, gain)| *most = most.max(gain.abs()));
        }
        greatest
    }

    /// The table of the classes.
    pub fn class_table(&self) -> ClassTable {
        let of_class = |condition: &FoldedCondition| {
            let mut row = condition.class_token.clone();
            for block in 0..self.config.decoder.depth {
                row.extend(self.modulation(condition, Site::new(Side::Decoder, block, Layer::Modulation)));
            }
            row
        };
        let classes: Vec<Vec<f64>> = self.conditions.iter().map(of_class).collect();
        let values = classes.first().map_or(0, Vec::len);
        let column = |i: usize| classes.iter().map(move |class| class[i]);
        let middle = |i: usize| {
            let (low, high) = column(i).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            (low + high) / 2.0
        };
        let middle: Vec<f64> = (0..values).map(middle).collect();
        let rows = middle
            .iter()
            .enumerate()
            .flat_map(|(i, middle)| column(i).map(move |v| (v - middle) as f32));
        let greatest = classes.iter().flatten().fold(0.0f64, |a, b| a.max(b.abs()));
        ClassTable { rows: rows.collect(), greatest, classes: classes.len(), middle }
    }

    /// The matrix of a site with all that is folded into it.
    pub fn matrix(&self, site: Site) -> LiteMatrix {
        let d = self.config.decoder.width;
        let rows = self.weights.get(site, ParamKind::Weight).to_vec();
        let mut bias = self.values(site, ParamKind::Bias);
        if site.layer == Layer::Qkv {
            let width = if site.side == Side::Encoder { self.config.encoder.width } else { d };
            bias = vec![0.0; 3 * width];
        }
        let mut matrix = LiteMatrix { rows, bias };
        let fold = |matrix: &mut LiteMatrix, norm: Site| {
            let (gain, offset) = self.gain_and_offset(norm);
            matrix.fold(&gain, &offset);
        };
        let encoder_norm = Site::new(Side::Encoder, 0, Layer::FinalNorm);
        let norm_before = match site.layer {
            Layer::Qkv => Some(Site { layer: Layer::Norm1, ..site }),
            Layer::Fc1 => Some(Site { layer: Layer::Norm2, ..site }),
            _ => None,
        };
        match (site.side, norm_before) {
            (Side::Encoder, Some(norm)) => fold(&mut matrix, norm),
            (Side::Decoder, Some(norm)) => {
                let factors: Vec<f64> = (0..d).map(|channel| self.factor(norm, channel)).collect();
                matrix.fold(&factors, &[]);
            }
            _ => (),
        }
        match site.layer {
            // The input is noise, and the network reads c_in t noise.
            Layer::PatchEmbed => {
                let scale = self.t * self.file.header.noise.c_in(self.t);
                matrix.scale_inputs(scale);
            }
            Layer::Bridge => fold(&mut matrix, encoder_norm),
            Layer::Skip => {
                if site.block == 0 && !self.config.has_bridge() {
                    fold(&mut matrix, encoder_norm);
                }
                matrix.centre();
            }
            Layer::Head => {
                fold(&mut matrix, Site::new(Side::Decoder, 0, Layer::FinalNorm));
                self.to_levels(&mut matrix);
            }
            _ => (),
        }
        matrix
    }

    /// F to the levels of bytes, 255 (mean + std out F).
    fn to_levels(&self, matrix: &mut LiteMatrix) {
        let (header, channels) = (&self.file.header, self.config.channels);
        let out = header.noise.output_factors(header.parametrisation, self.t).out;
        matrix.scale_outputs(|o| 255.0 * out * f64::from(header.normalisation.std[o % channels]));
        for (o, bias) in matrix.bias.iter_mut().enumerate() {
            *bias += 255.0 * f64::from(header.normalisation.mean[o % channels]);
        }
    }

    /// Levels of bytes that each value of a patch's noise adds to the picture; `None` where it adds none.
    pub fn noise_levels(&self) -> Option<Vec<f64>> {
        let header = &self.file.header;
        let skip = header.noise.output_factors(header.parametrisation, self.t).skip * self.t;
        let level = |o: usize| 255.0 * skip * f64::from(header.normalisation.std[o % self.config.channels]);
        (skip != 0.0).then(|| (0..self.config.patch_len()).map(level).collect())
    }
}
