//! The body of the file: weights folded, scaled, rounded and put in their places (docs/reference/quantisation.md section 3).
//!
//! [`Builder`] writes layers. Which layers there are, and what each of them reads, it learns from the network: it is an interpreter, whose
//! operations are in `interpreter.rs`.

use super::calibration::{Calibration, Factors};
use super::condition::FoldedCondition;
use super::error::QuantiseError;
use super::options::QuantiseOptions;
use super::range::{Range, Stats};
use super::scale::{Quantisation, left_shift, multiplier, right_shift, stream_scale, to_i16, to_i32};
use crate::model_file::ModelFile;
use pixgen_core::config::{ModelConfig, NORM_EPSILON};
use pixgen_core::integer::norm::fraction_bits;
use pixgen_core::network;
use pixgen_core::ops::Branch;
use pixgen_core::params::{ParamKind, Site};
use pixgen_core::pxg::layout::{Layout, ModulationPart, NormPart};
use pixgen_core::reference::FlatWeights;
use std::collections::BTreeMap;
use std::ops::Range as Bytes;

/// Fractional bits of a grey level at the output.
const LEVELS: f64 = 64.0;
/// Steps of a row's weight in the greatest bias that it can have.
pub const BIAS_STEPS: f64 = (1 << 20) as f64;

/// What the integers of each site mean.
pub type SiteScales = BTreeMap<Site, Quantisation>;

/// A linear layer in real numbers: its result is scale (sum over i of weight\[i\] (x\[i\] - zero_point\[i\])) + bias, by output.
#[derive(Clone, Debug)]
pub struct LinearScales {
    /// What its inputs mean.
    pub input: Quantisation,
    /// Scale of each output's sum.
    pub scale: Vec<f64>,
    /// Added to each output, the correction of rounded weights included.
    pub bias: Vec<f64>,
}

/// The linear layers of a file.
pub type LinearLayers = BTreeMap<Site, LinearScales>;

/// A body and what its integers mean.
#[derive(Clone, Debug)]
pub struct Body {
    /// The bytes, without self-test vectors.
    pub bytes: Vec<u8>,
    /// Of each site that [`Observe`](super::observe::Observe) shows.
    pub site_scales: SiteScales,
    /// Of each site with a matrix.
    pub linears: LinearLayers,
}

/// What a linear layer's results mean: real = scale (integer) + offset, by output.
pub(super) struct OutputScales {
    pub(super) scale: Vec<f64>,
    pub(super) offset: Vec<f64>,
}

impl OutputScales {
    /// One scale for all outputs, and no offset.
    pub(super) fn uniform(scale: f64, outputs: usize) -> Self {
        Self { scale: vec![scale; outputs], offset: vec![0.0; outputs] }
    }
}

/// A norm's gain and offset in units of its result, by channel.
type Affine = (Vec<f64>, Vec<f64>);

/// Builds the body.
pub struct Builder<'a> {
    file: &'a ModelFile,
    pub(super) config: ModelConfig,
    levels: &'a [f64],
    options: &'a QuantiseOptions,
    pub(super) calibration: &'a Calibration,
    /// Factors of the channels of norms, from equalisation.
    factors: &'a Factors,
    pub(super) weights: FlatWeights<'a>,
    /// Of each step, and within it of each class.
    pub(super) conditions: Vec<FoldedCondition>,
    pub(super) layout: Layout,
    body: Body,
}

impl<'a> Builder<'a> {
    /// Prepares an empty body; `classes` are rows of the class embedding, `levels` the noise levels of the steps.
    ///
    /// # Errors
    /// The body would be too large, or the weights do not fit the configuration.
    pub fn new(
        file: &'a ModelFile,
        classes: &[usize],
        levels: &'a [f64],
        options: &'a QuantiseOptions,
        calibration: &'a Calibration,
        factors: &'a Factors,
    ) -> Result<Self, QuantiseError> {
        let config = ModelConfig { classes: classes.len(), ..file.header.model };
        let layout = Layout::new(&config, levels.len());
        let bytes = layout.body_len(0);
        let len = usize::try_from(bytes).ok().filter(|_| bytes < u64::from(u32::MAX) - (1 << 20));
        let bytes = vec![0; len.ok_or(QuantiseError::TooLarge { bytes })?];
        let body = Body { bytes, site_scales: SiteScales::new(), linears: LinearLayers::new() };
        let weights = FlatWeights::new(&file.header.model, &file.params)?;
        let fold = |&t: &f64| classes.iter().map(move |&class| FoldedCondition::new(&config, &weights, class, t));
        let conditions = levels.iter().flat_map(fold).collect();
        Ok(Self { file, config, levels, options, calibration, factors, weights, conditions, layout, body })
    }

    /// Fills every place.
    ///
    /// # Errors
    /// A layer's sums can leave 32 bits.
    pub fn build(mut self) -> Result<Body, QuantiseError> {
        let config = self.config;
        network::forward(&mut self, &config, &(), &())?;
        Ok(self.body)
    }

    // --- What calibration says ------------------------------------------------------------------------------------------------------

    pub(super) fn stats(&self, site: Site, part: usize) -> Result<&'a Stats, QuantiseError> {
        self.calibration.get(site, part).ok_or_else(|| QuantiseError::place(site))
    }

    pub(super) fn range(&self, site: Site, part: usize, symmetric: bool) -> Result<Range, QuantiseError> {
        let levels = if symmetric { 255.0 } else { 256.0 };
        Ok(self.stats(site, part)?.range(self.options.method_of(site), levels, symmetric))
    }

    /// The int8 of a site that a linear layer reads.
    pub(super) fn quantisation(&self, site: Site) -> Result<Quantisation, QuantiseError> {
        let width = self.stats(site, 0)?.width;
        let quantisation = Quantisation::asymmetric(self.range(site, 0, false)?, width);
        Ok(match self.factors.get(&site) {
            Some(factors) => quantisation.times(factors),
            None => quantisation,
        })
    }

    /// Mean of each channel of a site, as the float network has it.
    pub(super) fn means(&self, site: Site) -> Result<Vec<f64>, QuantiseError> {
        let means = self.stats(site, 0)?.means();
        Ok(match self.factors.get(&site) {
            Some(factors) => means.iter().zip(factors).map(|(mean, &factor)| mean * f64::from(factor)).collect(),
            None => means,
        })
    }

    /// The i16 scale that holds all values of these sites.
    pub(super) fn wide_scale(&self, sites: impl IntoIterator<Item = Site>) -> Result<f64, QuantiseError> {
        let mut magnitude = 0.0f64;
        for site in sites {
            magnitude = magnitude.max(self.stats(site, 0)?.magnitude());
        }
        Ok(stream_scale(magnitude))
    }

    /// Keeps what the integers of a site mean.
    pub(super) fn record(&mut self, site: Site, quantisation: &Quantisation) {
        self.body.site_scales.insert(site, quantisation.clone());
    }

    // --- Places ---------------------------------------------------------------------------------------------------------------------

    pub(super) fn put<T: bytemuck::NoUninit>(&mut self, site: Site, place: Bytes<usize>, values: &[T]) -> Result<(), QuantiseError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let to = self.body.bytes.get_mut(place).filter(|to| to.len() == bytes.len());
        to.ok_or_else(|| QuantiseError::place(site))?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_words(&mut self, site: Site, words: [i32; 4]) -> Result<(), QuantiseError> {
        let place = self.layout.words(site).ok_or_else(|| QuantiseError::place(site))?;
        self.put(site, place, &words)
    }

    fn norm_part(&self, site: Site) -> Result<NormPart, QuantiseError> {
        self.layout.norm(site).ok_or_else(|| QuantiseError::place(site))
    }

    /// Tables of a branch of a block for entry `number` of the conditions.
    fn modulation_part(&self, site: Site, number: usize, branch: Branch) -> ModulationPart {
        let (step, class) = (number / self.config.classes, number % self.config.classes);
        self.layout.modulation(step, class, site.block, branch as usize)
    }

    // --- Layers ---------------------------------------------------------------------------------------------------------------------

    /// The steps' records; returns what the integers of the patches mean.
    pub(super) fn input(&mut self, site: Site) -> Result<Quantisation, QuantiseError> {
        let (noise, normalisation) = (&self.file.header.noise, &self.file.header.normalisation);
        // c_in x has unit variance at high noise; 4 standard deviations are 1 in 16,000.
        let reach = if self.levels.len() > 1 { 4.6 } else { 4.1 };
        let quantisation = Quantisation::symmetric(Range { low: -reach, high: reach }, self.config.patch_len());
        let scale = quantisation.scale[0];
        for (number, &t) in self.levels.iter().enumerate() {
            let c_in = noise.c_in(t);
            let skip = noise.output_factors(self.file.header.parametrisation, t).skip;
            let mut words = [0i32; 12];
            words[0] = to_i32(c_in * t / scale * 16f64.exp2());
            for c in 0..3 {
                let (mean, std) = (f64::from(normalisation.mean[c]), f64::from(normalisation.std[c]));
                if number > 0 {
                    words[1 + c] = to_i32(c_in / (255.0 * std * scale) * 24f64.exp2());
                    words[4 + c] = to_i32(-mean / std * c_in / scale * 24f64.exp2());
                }
                words[7 + c] = to_i32(255.0 * LEVELS * std * skip * t * 16f64.exp2());
            }
            words[10] = if number > 0 { to_i32(skip * LEVELS * 16f64.exp2()) } else { 0 };
            self.put(site, self.layout.step(number), &words)?;
        }
        Ok(quantisation)
    }

    /// The time token of each step and the class token of each class, on a stream of this scale.
    pub(super) fn prefix_tokens(&mut self, site: Site, stream: f64) -> Result<(), QuantiseError> {
        let classes = self.config.classes;
        for step in 0..self.levels.len() {
            let token = &self.conditions[step * classes].time_token;
            let token: Vec<i16> = token.iter().map(|&v| to_i16(f64::from(v) / stream)).collect();
            self.put(site, self.layout.time(step), &token)?;
        }
        for class in 0..classes {
            let token: Vec<i16> = self.conditions[class].class_token.iter().map(|v| to_i16(v / stream)).collect();
            self.put(site, self.layout.class(class), &token)?;
        }
        Ok(())
    }

    /// A linear layer from `input`, whose channels have these `means`, in one version of bias and multiplier for each of `outputs`.
    pub(super) fn write_linear(
        &mut self,
        site: Site,
        input: &Quantisation,
        means: &[f64],
        outputs: &[OutputScales],
    ) -> Result<(), QuantiseError> {
        let (weight, bias) = (self.weights.get(site, ParamKind::Weight), self.weights.get(site, ParamKind::Bias));
        let part = self.layout.linear(site, 0).ok_or_else(|| QuantiseError::place(site))?;
        let mut weights = vec![0i8; part.outputs * part.inputs];
        let mut rows = Vec::with_capacity(part.outputs);
        let from_to = weight.chunks_exact(input.scale.len()).zip(weights.chunks_exact_mut(part.inputs));
        for (o, (from, to)) in from_to.enumerate() {
            let bias = f64::from(bias.get(o).copied().unwrap_or_default());
            // A row of (nearly) no weights must still hold its bias.
            let offsets = outputs.iter().filter_map(|output| output.offset.get(o));
            let greatest = offsets.fold(0.0f64, |a, offset| a.max((bias - offset).abs()));
            let mut row = SumScale::new(from, input, means, greatest / BIAS_STEPS, to);
            row.bias = if self.options.bias_correction { bias + row.bias } else { bias };
            rows.push(row);
        }
        for (set, output) in outputs.iter().enumerate() {
            self.write_outputs(site, set, &rows, output)?;
        }
        let (scale, bias) = rows.iter().map(|row| (row.scale, row.bias)).unzip();
        self.body.linears.insert(site, LinearScales { input: input.clone(), scale, bias });
        self.put(site, part.weights, &weights)
    }

    /// Bias and multiplier number `set` of a linear layer.
    fn write_outputs(&mut self, site: Site, set: usize, rows: &[SumScale], output: &OutputScales) -> Result<(), QuantiseError> {
        let scales: Vec<f64> = rows.iter().zip(&output.scale).map(|(row, out)| row.scale / out).collect();
        let left = left_shift(scales.iter().fold(0.0f64, |a, &b| a.max(b)));
        let multipliers: Vec<i32> = scales.iter().map(|&scale| multiplier(scale, left)).collect();
        let mut biases = Vec::with_capacity(rows.len());
        for (row, offset) in rows.iter().zip(&output.offset) {
            let bias = ((row.bias - offset) / row.scale).round() - row.zero as f64;
            if (bias.abs() + row.most as f64) * f64::from(left as i32).exp2() >= f64::from(i32::MAX) {
                return Err(QuantiseError::Overflow { site });
            }
            biases.push(bias as i32);
        }
        let part = self.layout.linear(site, set).ok_or_else(|| QuantiseError::place(site))?;
        self.put(site, part.words, &[left as i32, 0, 0, 0])?;
        self.put(site, part.bias, &biases)?;
        self.put(site, part.multiplier, &multipliers)
    }

    /// A norm with its own gain and offset.
    pub(super) fn norm(&mut self, site: Site, stream: f64, out: &Quantisation) -> Result<(), QuantiseError> {
        let (gain, offset) = (self.weights.get(site, ParamKind::Weight), self.weights.get(site, ParamKind::Bias));
        let gains = gain.iter().zip(&out.scale).map(|(&g, scale)| f64::from(g) / scale);
        let offsets = offset.iter().zip(&out.scale).zip(&out.zero_point);
        let offsets = offsets.map(|((&o, scale), &zero_point)| f64::from(o) / scale + f64::from(zero_point));
        let affine = [(gains.collect(), offsets.collect())];
        let shift = norm_shift(gain.len(), &affine);
        let (gain, offset) = norm_integers(gain.len(), shift, &affine[0]);
        let part = self.norm_part(site)?;
        self.put(site, part.words, &[shift as i32, epsilon(stream), 0, 0])?;
        self.put(site, part.gain, &gain)?;
        self.put(site, part.offset, &offset)?;
        self.record(site, out);
        Ok(())
    }

    /// A norm whose gain and offset are folded with AdaLN: `rows` hold `[6 d]` for each step and class.
    pub(super) fn modulated(
        &mut self,
        site: Site,
        stream: f64,
        out: &Quantisation,
        rows: &[Vec<f64>],
        branch: Branch,
    ) -> Result<(), QuantiseError> {
        let d = self.config.decoder.width;
        let (gain, offset) = (self.weights.get(site, ParamKind::Weight), self.weights.get(site, ParamKind::Bias));
        let fold = |row: &Vec<f64>| -> Affine {
            let (shift, scale) = (chunk(row, branch.shift(), d), chunk(row, branch.scale(), d));
            let channel = |i: usize| {
                let (gain, offset, scale) = (f64::from(gain[i]), f64::from(offset[i]), 1.0 + scale[i]);
                let zero_point = f64::from(out.zero_point[i]);
                (gain * scale / out.scale[i], (offset * scale + shift[i]) / out.scale[i] + zero_point)
            };
            (0..d).map(channel).unzip()
        };
        let affine: Vec<Affine> = rows.iter().map(fold).collect();
        let shift = norm_shift(d, &affine);
        // The third word is the gates' shift.
        self.put(site, self.norm_part(site)?.words, &[shift as i32, epsilon(stream), 0, 0])?;
        for (number, affine) in affine.iter().enumerate() {
            let part = self.modulation_part(site, number, branch);
            let (gain, offset) = norm_integers(d, shift, affine);
            self.put(site, part.gain, &gain)?;
            self.put(site, part.offset, &offset)?;
        }
        self.record(site, out);
        Ok(())
    }

    /// The gates of a branch for each step and class: from what has the scale `added` to what has the scale `stream`. Their shift is a word
    /// of the branch's norm.
    pub(super) fn gates(&mut self, norm: Site, [added, stream]: [f64; 2], rows: &[Vec<f64>], branch: Branch) -> Result<(), QuantiseError> {
        let d = self.config.decoder.width;
        let gates = |row: &Vec<f64>| chunk(row, branch.gate(), d).iter().map(|g| g * added / stream).collect();
        let gates: Vec<Vec<f64>> = rows.iter().map(gates).collect();
        let shift = right_shift(gates.iter().flatten().fold(0.0f64, |a, g| a.max(g.abs())), 32_767.0, 15);
        let words = self.norm_part(norm)?.words.start;
        self.put(norm, words + 8..words + 12, &[shift as i32])?;
        for (number, gate) in gates.iter().enumerate() {
            let part = self.modulation_part(norm, number, branch);
            let gate: Vec<i16> = gate.iter().map(|g| to_i16(g * f64::from(shift).exp2())).collect();
            self.put(norm, part.gate, &gate)?;
        }
        Ok(())
    }

    /// i16 of scale `stream` to int8.
    pub(super) fn narrow(&mut self, site: Site, stream: f64, out: &Quantisation) -> Result<(), QuantiseError> {
        let scale = stream / out.scale[0];
        let zero_point = f64::from(out.zero_point[0]);
        let shift = right_shift(scale, 32_767.0, 28).min(right_shift(zero_point, f64::from(1 << 29), 28));
        let unit = f64::from(shift).exp2();
        let half = if shift > 0 { unit / 2.0 } else { 0.0 };
        self.put_words(site, [to_i32(scale * unit), shift as i32, to_i32(zero_point * unit + half), 0])
    }

    /// What the head puts out in each step, by value of a patch.
    pub(super) fn head_scales(&self) -> Vec<OutputScales> {
        let (noise, normalisation) = (&self.file.header.noise, &self.file.header.normalisation);
        let channels = self.config.channels;
        let of_step = |(number, &t): (usize, &f64)| {
            let factors = noise.output_factors(self.file.header.parametrisation, t);
            // Levels of a byte: 255 (mean + std (out F + skip x)), of which the picture's own bytes take their share of the mean.
            let share = if number > 0 { 1.0 - factors.skip } else { 1.0 };
            let by_output = |f: &dyn Fn(usize) -> f64| (0..self.config.patch_len()).map(|o| f(o % channels)).collect::<Vec<f64>>();
            let unit = |c: usize| 255.0 * LEVELS * f64::from(normalisation.std[c]) * factors.out;
            OutputScales {
                scale: by_output(&|c| 1.0 / unit(c)),
                offset: by_output(&|c| -255.0 * LEVELS * f64::from(normalisation.mean[c]) * share / unit(c)),
            }
        };
        self.levels.iter().enumerate().map(of_step).collect()
    }
}

/// What the sum of one output means, and how large it can be.
pub struct SumScale {
    /// Distance of two sums in real numbers.
    pub scale: f64,
    /// The real bias, with what rounding the weights took away.
    pub bias: f64,
    /// The sum when all inputs are zero points.
    zero: i64,
    /// The greatest magnitude of the sum.
    most: i64,
}

impl SumScale {
    /// Rounds a row of weights into `to`, with a scale of at least `least`. Its bias is the correction alone.
    pub fn new(row: &[f32], input: &Quantisation, means: &[f64], least: f64, to: &mut [i8]) -> Self {
        let scaled: Vec<f64> = row.iter().zip(&input.scale).map(|(&w, scale)| f64::from(w) * scale).collect();
        let scale = scaled.iter().fold(0.0f64, |a, w| a.max(w.abs())) / 127.0;
        let scale = scale.max(least).max(1e-30);
        let mut sum = Self { scale, bias: 0.0, zero: 0, most: 0 };
        let channels = means.iter().zip(&input.scale).zip(&input.zero_point);
        for ((to, &w), ((&mean, channel), &zero_point)) in to.iter_mut().zip(&scaled).zip(channels) {
            *to = (w / scale).round() as i8;
            // What rounding the weight takes away from the mean of the output, bias correction gives back.
            sum.bias += (w - f64::from(*to) * scale) * mean / channel;
            sum.zero += i64::from(*to) * i64::from(zero_point);
            sum.most += i64::from(*to).abs() * 128;
        }
        sum
    }
}

/// The shift of a norm whose results are n gain + offset, over all of these.
fn norm_shift(width: usize, affine: &[Affine]) -> u32 {
    let greatest = |values: &mut dyn Iterator<Item = &f64>| values.fold(0.0f64, |a, b| a.max(b.abs()));
    let gain = greatest(&mut affine.iter().flat_map(|(gain, _)| gain)) * (-f64::from(fraction_bits(width))).exp2();
    let offset = greatest(&mut affine.iter().flat_map(|(_, offset)| offset));
    right_shift(gain, 32_767.0, 28).min(right_shift(offset, f64::from(1 << 29), 28))
}

/// Gain and offset as integers for a shift.
fn norm_integers(width: usize, shift: u32, (gain, offset): &Affine) -> (Vec<i16>, Vec<i32>) {
    let unit = f64::from(shift).exp2();
    let gain_unit = (f64::from(shift) - f64::from(fraction_bits(width))).exp2();
    let half = if shift > 0 { unit / 2.0 } else { 0.0 };
    (gain.iter().map(|g| to_i16(g * gain_unit)).collect(), offset.iter().map(|o| to_i32(o * unit + half)).collect())
}

/// epsilon in units of a stream of this scale, squared.
fn epsilon(stream: f64) -> i32 {
    (f64::from(NORM_EPSILON) / (stream * stream)).round().min(f64::from(u32::MAX)) as u32 as i32
}

/// One of the six vectors of AdaLN, `[d]`.
fn chunk(row: &[f64], number: usize, d: usize) -> &[f64] {
    row.get(number * d..(number + 1) * d).unwrap_or_default()
}
