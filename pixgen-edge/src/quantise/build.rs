//! The body of the file: weights folded, scaled, rounded and put in their places (docs/reference/quantisation.md section 3).

use super::calibration::Calibration;
use super::code::{Code, left_shift, multiplier, right_shift, to_i16, to_i32, wide_step};
use super::range::{Method, Range, Stats};
use super::{Options, QuantiseError};
use crate::model_file::ModelFile;
use pixgen_core::config::{ModelConfig, NORM_EPSILON};
use pixgen_core::integer::norm::fraction_bits;
use pixgen_core::kernels::TABLE_LEN;
use pixgen_core::noise::time_embedding;
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_core::pxg::layout::{Layout, NormPart};
use pixgen_core::reference::FlatWeights;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range as Bytes;

/// Steps of the table of exp for each unit of its argument (docs/reference/numerics.md section 4.5).
const EXP_STEPS: f64 = 46.0;
/// Fractional bits of a grey level at the output.
const LEVELS: f64 = 64.0;
/// Steps of a row's weight in the greatest bias that it can have.
const BIAS_STEPS: f64 = (1 << 20) as f64;
/// Below this a GELU's input gives nothing.
const GELU_FLOOR: f64 = -5.0;

/// What the integers of each site mean: real = step (code - zero), by channel.
pub type Meanings = BTreeMap<Site, Code>;

/// A linear layer in real numbers: its result is step (sum over i of weight\[i\] (code\[i\] - zero\[i\])) + bias, by output.
#[derive(Clone, Debug)]
pub struct RealLinear {
    /// Codes of its inputs.
    pub input: Code,
    /// Scale of each output's sum.
    pub step: Vec<f64>,
    /// Added to each output, the correction of rounded weights included.
    pub bias: Vec<f64>,
}

/// The linear layers of a file.
pub type RealLinears = BTreeMap<Site, RealLinear>;

/// A body and what its integers mean.
#[derive(Clone, Debug)]
pub struct Body {
    /// The bytes, without self-test vectors.
    pub bytes: Vec<u8>,
    /// Of each site that [`Observe`](super::observe::Observe) shows.
    pub meanings: Meanings,
    /// Of each site with a matrix.
    pub linears: RealLinears,
}

/// Where sums go: real = step (code) + origin, by output.
struct Target {
    step: Vec<f64>,
    origin: Vec<f64>,
}

impl Target {
    fn even(step: f64, outputs: usize) -> Self {
        Self { step: vec![step; outputs], origin: vec![0.0; outputs] }
    }
}

/// The folded condition of one class in one step.
struct Condition {
    class_token: Vec<f64>,
    /// SiLU(c).
    activated: Vec<f64>,
}

/// Builds the body.
pub struct Builder<'a> {
    file: &'a ModelFile,
    config: ModelConfig,
    /// Exported classes, as rows of the embedding.
    classes: &'a [usize],
    levels: &'a [f64],
    options: &'a Options,
    calibration: &'a Calibration,
    /// Factors of the channels of norms, from equalisation.
    factors: &'a HashMap<Site, Vec<f32>>,
    weights: FlatWeights<'a>,
    layout: Layout,
    body: Body,
}

impl<'a> Builder<'a> {
    /// Prepares an empty body; `classes` are rows of the class embedding, `levels` the noise levels of the steps.
    ///
    /// # Errors
    /// The body would be too large, or the weights do not fit the configuration.
    pub fn new(
        file: &'a ModelFile,
        classes: &'a [usize],
        levels: &'a [f64],
        options: &'a Options,
        calibration: &'a Calibration,
        factors: &'a HashMap<Site, Vec<f32>>,
    ) -> Result<Self, QuantiseError> {
        let config = ModelConfig { classes: classes.len(), ..file.header.model };
        let layout = Layout::new(&config, levels.len());
        let bytes = layout.body_len(0);
        let len = usize::try_from(bytes).ok().filter(|_| bytes < u64::from(u32::MAX) - (1 << 20));
        let bytes = vec![0; len.ok_or(QuantiseError::TooLarge { bytes })?];
        let body = Body { bytes, meanings: Meanings::new(), linears: RealLinears::new() };
        let weights = FlatWeights::new(&file.header.model, &file.params)?;
        Ok(Self { file, config, classes, levels, options, calibration, factors, weights, layout, body })
    }

    /// Fills every place.
    ///
    /// # Errors
    /// A layer's sums can leave 32 bits.
    pub fn build(mut self) -> Result<Body, QuantiseError> {
        let input = self.input()?;
        let stream = self.encoder(&input)?;
        self.decoder(stream)?;
        Ok(self.body)
    }

    // --- What calibration says ------------------------------------------------------------------------------------------------------

    fn stats(&self, site: Site, part: usize) -> Result<&'a Stats, QuantiseError> {
        self.calibration.get(site, part).ok_or_else(|| place(site))
    }

    fn range(&self, site: Site, part: usize, symmetric: bool) -> Result<Range, QuantiseError> {
        let levels = if symmetric { 255.0 } else { 256.0 };
        Ok(self.stats(site, part)?.range(self.options.method_of(site), levels, symmetric))
    }

    /// The int8 codes of a site that a linear layer reads.
    fn code(&self, site: Site) -> Result<Code, QuantiseError> {
        let width = self.stats(site, 0)?.width;
        let code = Code::asymmetric(self.range(site, 0, false)?, width);
        Ok(match self.factors.get(&site) {
            Some(factors) => code.times(factors),
            None => code,
        })
    }

    /// Mean of each channel of a site, as the float network has it.
    fn means(&self, site: Site) -> Result<Vec<f64>, QuantiseError> {
        let means = self.stats(site, 0)?.means();
        Ok(match self.factors.get(&site) {
            Some(factors) => means.iter().zip(factors).map(|(mean, &factor)| mean * f64::from(factor)).collect(),
            None => means,
        })
    }

    /// The i16 step that holds all values of these sites.
    fn wide(&self, sites: &[Site]) -> Result<f64, QuantiseError> {
        let mut magnitude = 0.0f64;
        for &site in sites {
            magnitude = magnitude.max(self.stats(site, 0)?.magnitude());
        }
        Ok(wide_step(magnitude))
    }

    /// Says what the integers of a site mean.
    fn record(&mut self, site: Site, code: &Code) {
        self.body.meanings.insert(site, code.clone());
    }

    /// The same for a site of i16.
    fn record_wide(&mut self, site: Site, step: f64, width: usize) {
        self.body.meanings.insert(site, Code::even(step, width));
    }

    // --- Places ---------------------------------------------------------------------------------------------------------------------

    fn put<T: bytemuck::NoUninit>(&mut self, site: Site, place_of: Bytes<usize>, values: &[T]) -> Result<(), QuantiseError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let to = self
            .body
            .bytes
            .get_mut(place_of)
            .filter(|to| to.len() == bytes.len())
            .ok_or_else(|| place(site))?;
        to.copy_from_slice(bytes);
        Ok(())
    }

    fn put_norm(&mut self, site: Site, words: [i32; 4]) -> Result<NormPart, QuantiseError> {
        let part = self.layout.norm(site).ok_or_else(|| place(site))?;
        self.put(site, part.words.clone(), &words)?;
        Ok(part)
    }

    // --- Layers ---------------------------------------------------------------------------------------------------------------------

    /// A linear layer from `input` codes, whose channels have these `means`, to `target`, in one version for each target.
    fn linear(&mut self, site: Site, input: &Code, means: &[f64], targets: &[Target]) -> Result<(), QuantiseError> {
        let (weight, bias) = (self.weights.get(site, ParamKind::Weight), self.weights.get(site, ParamKind::Bias));
        let inputs = input.step.len();
        let part = self.layout.linear(site, 0).ok_or_else(|| place(site))?;
        let mut codes = vec![0i8; part.outputs * part.inputs];
        let mut rows = Vec::with_capacity(part.outputs);
        for (o, (row, codes)) in weight.chunks_exact(inputs).zip(codes.chunks_exact_mut(part.inputs)).enumerate() {
            let scaled: Vec<f64> = row.iter().zip(&input.step).map(|(&w, step)| f64::from(w) * step).collect();
            let bias = f64::from(bias.get(o).copied().unwrap_or_default());
            // A row of (nearly) no weights must still hold its bias.
            let greatest = targets
                .iter()
                .filter_map(|target| target.origin.get(o))
                .fold(0.0f64, |a, origin| a.max((bias - origin).abs()));
            let step = scaled.iter().fold(0.0f64, |a, w| a.max(w.abs())) / 127.0;
            let step = step.max(greatest / BIAS_STEPS).max(1e-30);
            let mut correction = 0.0;
            let (mut zeros, mut most) = (0i64, 0i64);
            for (((code, &w), &zero), (&mean, channel)) in codes.iter_mut().zip(&scaled).zip(&input.zero).zip(means.iter().zip(&input.step))
            {
                *code = (w / step).round() as i8;
                // What rounding the weight takes away from the mean of the output, bias correction gives back.
                correction += (w - f64::from(*code) * step) * mean / channel;
                zeros += i64::from(*code) * i64::from(zero);
                most += i64::from(*code).abs() * 128;
            }
            let correction = if self.options.bias_correction { correction } else { 0.0 };
            rows.push((step, bias + correction, zeros, most));
        }
        for (set, target) in targets.iter().enumerate() {
            let scales: Vec<f64> = rows.iter().zip(&target.step).map(|(row, out)| row.0 / out).collect();
            let left = left_shift(scales.iter().fold(0.0f64, |a, &b| a.max(b)));
            let multipliers: Vec<i32> = scales.iter().map(|&scale| multiplier(scale, left)).collect();
            let mut biases = Vec::with_capacity(rows.len());
            for ((step, bias, zeros, most), origin) in rows.iter().zip(&target.origin) {
                let bias = ((bias - origin) / step).round() - *zeros as f64;
                if (bias.abs() + *most as f64) * f64::from(left as i32).exp2() >= f64::from(i32::MAX) {
                    return Err(QuantiseError::Overflow { site: site.name().to_string() });
                }
                biases.push(bias as i32);
            }
            let part = self.layout.linear(site, set).ok_or_else(|| place(site))?;
            self.put(site, part.words, &[left as i32, 0, 0, 0])?;
            self.put(site, part.bias, &biases)?;
            self.put(site, part.multiplier, &multipliers)?;
        }
        let (step, bias) = rows.iter().map(|&(step, bias, ..)| (step, bias)).unzip();
        self.body.linears.insert(site, RealLinear { input: input.clone(), step, bias });
        self.put(site, part.weights, &codes)
    }

    /// The shift of a norm whose results are n gain + offset, over all these pairs, in codes.
    fn norm_shift(width: usize, pairs: &[(Vec<f64>, Vec<f64>)]) -> u32 {
        let greatest = |values: &mut dyn Iterator<Item = &f64>| values.fold(0.0f64, |a, b| a.max(b.abs()));
        let gain = greatest(&mut pairs.iter().flat_map(|(gain, _)| gain)) * (-f64::from(fraction_bits(width))).exp2();
        let offset = greatest(&mut pairs.iter().flat_map(|(_, offset)| offset));
        right_shift(gain, 32_767.0, 28).min(right_shift(offset, f64::from(1 << 29), 28))
    }

    /// Gain and offset as integers for a shift.
    fn norm_codes(width: usize, shift: u32, (gain, offset): &(Vec<f64>, Vec<f64>)) -> (Vec<i16>, Vec<i32>) {
        let unit = f64::from(shift).exp2();
        let gain_unit = (f64::from(shift) - f64::from(fraction_bits(width))).exp2();
        let half = if shift > 0 { unit / 2.0 } else { 0.0 };
        (gain.iter().map(|g| to_i16(g * gain_unit)).collect(), offset.iter().map(|o| to_i32(o * unit + half)).collect())
    }

    /// epsilon in units of a stream of this step, squared.
    fn epsilon(stream: f64) -> i32 {
        (f64::from(NORM_EPSILON) / (stream * stream)).round().min(f64::from(u32::MAX)) as u32 as i32
    }

    /// A norm with its own gain and offset into `code`.
    fn norm(&mut self, site: Site, stream: f64, code: &Code) -> Result<(), QuantiseError> {
        let (gain, offset) = (self.weights.get(site, ParamKind::Weight), self.weights.get(site, ParamKind::Bias));
        let pair = (
            gain.iter().zip(&code.step).map(|(&g, step)| f64::from(g) / step).collect(),
            offset
                .iter()
                .zip(&code.step)
                .zip(&code.zero)
                .map(|((&o, step), &zero)| f64::from(o) / step + f64::from(zero))
                .collect(),
        );
        let pairs = [pair];
        let shift = Self::norm_shift(gain.len(), &pairs);
        let part = self.put_norm(site, [shift as i32, Self::epsilon(stream), 0, 0])?;
        let (gain, offset) = Self::norm_codes(gain.len(), shift, &pairs[0]);
        self.put(site, part.gain, &gain)?;
        self.put(site, part.offset, &offset)?;
        self.record(site, code);
        Ok(())
    }

    /// qkv, attention and projection of a block whose normed input has `code`; the result has the step `added`.
    fn attention(&mut self, side: Side, block: usize, code: &Code, added: f64) -> Result<(), QuantiseError> {
        let site = |layer| Site::new(side, block, layer);
        let tower = self.tower(side);
        let (d, hd) = (tower.width, tower.head_width());
        let mut step = Vec::with_capacity(3 * d);
        for part in 0..3 {
            let code = Code::symmetric(self.range(site(Layer::Qkv), part, true)?, d);
            step.extend(code.step);
        }
        let [q, k, v] = [0, d, 2 * d].map(|at| step[at]);
        self.record(site(Layer::Qkv), &Code { zero: vec![0; 3 * d], step: step.clone() });
        let means = self.means(site(Layer::Norm1))?;
        self.linear(site(Layer::Qkv), code, &means, &[Target { origin: vec![0.0; 3 * d], step }])?;

        let out = Code::symmetric(self.range(site(Layer::Attend), 0, true)?, d);
        let scale = q * k / (hd as f64).sqrt() * EXP_STEPS;
        let left = left_shift(scale);
        let mean = (v / out.step[0] * 28f64.exp2()).round().min(f64::from(u32::MAX)) as u32;
        let words = self.layout.words(site(Layer::Attend)).ok_or_else(|| place(site(Layer::Attend)))?;
        self.put(site(Layer::Attend), words, &[multiplier(scale, left), left as i32, mean as i32, 0])?;
        self.record(site(Layer::Attend), &out);
        let means = self.means(site(Layer::Attend))?;
        self.record_wide(site(Layer::Proj), added, d);
        self.linear(site(Layer::Proj), &out, &means, &[Target::even(added, d)])
    }

    /// Both layers of an MLP and the table between them.
    fn mlp(&mut self, side: Side, block: usize, code: &Code, added: f64) -> Result<(), QuantiseError> {
        let site = |layer| Site::new(side, block, layer);
        let before = self.stats(site(Layer::Fc1), 0)?;
        let hidden = before.width;
        let range = before.range(Method::MinMax, TABLE_LEN as f64, false);
        let low = range.low.max(GELU_FLOOR);
        let step = ((range.high - low) / (TABLE_LEN - 1) as f64).max(1e-9);
        let means = self.means(site(Layer::Norm2))?;
        self.linear(site(Layer::Fc1), code, &means, &[Target { step: vec![step; hidden], origin: vec![low; hidden] }])?;
        let after = self.code(site(Layer::Gelu))?;
        let table: Vec<i8> = (0..TABLE_LEN)
            .map(|i| (gelu(low + i as f64 * step) / after.step[0] + f64::from(after.zero[0])).round() as i8)
            .collect();
        self.put(site(Layer::Gelu), self.layout.table(site(Layer::Fc1)), &table)?;
        self.record(site(Layer::Gelu), &after);
        let means = self.means(site(Layer::Gelu))?;
        let d = self.tower(side).width;
        self.record_wide(site(Layer::Fc2), added, d);
        self.linear(site(Layer::Fc2), &after, &means, &[Target::even(added, d)])
    }

    // --- The network ----------------------------------------------------------------------------------------------------------------

    fn tower(&self, side: Side) -> pixgen_core::config::Tower {
        match side {
            Side::Encoder => self.config.encoder,
            Side::Decoder => self.config.decoder,
        }
    }

    /// The steps' records; returns the codes of the patches.
    fn input(&mut self) -> Result<Code, QuantiseError> {
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let (noise, normalisation) = (&self.file.header.noise, &self.file.header.normalisation);
        let inputs = self.config.patch_len();
        // c_in x has unit variance at high noise; 4 standard deviations are 1 in 16,000.
        let reach = if self.levels.len() > 1 { 4.6 } else { 4.1 };
        let code = Code::symmetric(Range { low: -reach, high: reach }, inputs);
        let step = code.step[0];
        let mut records = Vec::new();
        for (number, &t) in self.levels.iter().enumerate() {
            let c_in = noise.c_in(t);
            let skip = noise.output_factors(self.file.header.parametrisation, t).skip;
            let mut words = [0i32; 12];
            words[0] = to_i32(c_in * t / step * 16f64.exp2());
            for c in 0..3 {
                let (mean, std) = (f64::from(normalisation.mean[c]), f64::from(normalisation.std[c]));
                if number > 0 {
                    words[1 + c] = to_i32(c_in / (255.0 * std * step) * 24f64.exp2());
                    words[4 + c] = to_i32(-mean / std * c_in / step * 24f64.exp2());
                }
                words[7 + c] = to_i32(255.0 * LEVELS * std * skip * t * 16f64.exp2());
            }
            words[10] = if number > 0 { to_i32(skip * LEVELS * 16f64.exp2()) } else { 0 };
            records.push(words);
        }
        for (number, words) in records.iter().enumerate() {
            self.put(site, self.layout.step(number), words)?;
        }
        Ok(code)
    }

    /// Tokens and encoder; returns the step of the stream that the decoder takes up.
    fn encoder(&mut self, input: &Code) -> Result<f64, QuantiseError> {
        let d = self.config.encoder.width;
        let depth = self.config.encoder.depth;
        let at = |block, layer| Site::new(Side::Encoder, block, layer);
        let adds = (0..depth).flat_map(|b| [at(b, Layer::Add1), at(b, Layer::Add2), at(b, Layer::Proj), at(b, Layer::Fc2)]);
        let sites: Vec<Site> = adds.chain([at(0, Layer::Position)]).collect();
        let stream = self.wide(&sites)?;
        let wide = |values: &mut dyn Iterator<Item = f64>| values.map(|v| to_i16(v / stream)).collect::<Vec<i16>>();

        let embed = at(0, Layer::PatchEmbed);
        let zero_mean = vec![0.0; input.step.len()];
        self.linear(embed, input, &zero_mean, &[Target::even(stream, d)])?;
        let position = self.weights.get(at(0, Layer::Position), ParamKind::Weight);
        self.put(embed, self.layout.position(), &wide(&mut position.iter().map(|&v| f64::from(v))))?;
        for (number, &t) in self.levels.iter().enumerate() {
            let mut time = vec![0.0; d];
            time_embedding(t, &mut time);
            self.put(embed, self.layout.time(number), &wide(&mut time.iter().map(|&v| f64::from(v))))?;
        }
        for (number, &class) in self.classes.iter().enumerate() {
            let token = self.condition(class, self.levels[0]).class_token;
            self.put(embed, self.layout.class(number), &wide(&mut token.into_iter()))?;
        }
        self.record_wide(at(0, Layer::Position), stream, d);
        for block in 0..depth {
            let code = self.code(at(block, Layer::Norm1))?;
            self.norm(at(block, Layer::Norm1), stream, &code)?;
            self.attention(Side::Encoder, block, &code, stream)?;
            let code = self.code(at(block, Layer::Norm2))?;
            self.norm(at(block, Layer::Norm2), stream, &code)?;
            self.mlp(Side::Encoder, block, &code, stream)?;
            self.record_wide(at(block, Layer::Add1), stream, d);
            self.record_wide(at(block, Layer::Add2), stream, d);
            let kept = self.code(at(block, Layer::Add2))?;
            self.narrow(at(block, Layer::Skip), stream, &kept)?;
        }
        let last = at(0, Layer::FinalNorm);
        if self.config.has_bridge() {
            let code = self.code(last)?;
            self.norm(last, stream, &code)?;
            let bridge = Site::new(Side::Decoder, 0, Layer::Bridge);
            let (means, step) = (self.means(last)?, self.wide(&[bridge])?);
            self.record_wide(bridge, step, self.config.decoder.width);
            self.linear(bridge, &code, &means, &[Target::even(step, self.config.decoder.width)])?;
            return Ok(step);
        }
        let step = self.wide(&[last])?;
        self.norm(last, stream, &Code::even(step, d))?;
        Ok(step)
    }

    /// i16 of step `stream` to int8 of `code`.
    fn narrow(&mut self, site: Site, stream: f64, code: &Code) -> Result<(), QuantiseError> {
        let scale = stream / code.step[0];
        let zero = f64::from(code.zero[0]);
        let shift = right_shift(scale, 32_767.0, 28).min(right_shift(zero, f64::from(1 << 29), 28));
        let unit = f64::from(shift).exp2();
        let half = if shift > 0 { unit / 2.0 } else { 0.0 };
        let words = self.layout.words(site).ok_or_else(|| place(site))?;
        self.put(site, words, &[to_i32(scale * unit), shift as i32, to_i32(zero * unit + half), 0])
    }

    /// Blocks and head of the decoder; `stream` is the step of what it takes up.
    fn decoder(&mut self, mut stream: f64) -> Result<(), QuantiseError> {
        let (d, depth) = (self.config.decoder.width, self.config.decoder.depth);
        let at = |block, layer| Site::new(Side::Decoder, block, layer);
        for block in 0..depth {
            // [x ; skip]: two codes, and one matrix over both.
            let entry = match block {
                0 if self.config.has_bridge() => at(0, Layer::Bridge),
                0 => Site::new(Side::Encoder, 0, Layer::FinalNorm),
                _ => at(block - 1, Layer::Add2),
            };
            let kept = Site::new(Side::Encoder, depth - 1 - block, Layer::Add2);
            let [x, skip] = [self.code(entry)?, self.code(kept)?];
            self.narrow(at(block, Layer::Skip), stream, &x)?;
            let means: Vec<f64> = self.means(entry)?.into_iter().chain(self.means(kept)?).collect();
            let sum = self.wide(&[at(block, Layer::Skip)])?;
            self.linear(at(block, Layer::Skip), &x.chain(&skip), &means, &[Target::even(sum, d)])?;
            self.record_wide(at(block, Layer::Skip), sum, d);

            let layers = [Layer::SkipNorm, Layer::Add1, Layer::Add2];
            stream = self.wide(&layers.map(|layer| at(block, layer)))?;
            self.norm(at(block, Layer::SkipNorm), sum, &Code::even(stream, d))?;
            for layer in [Layer::Add1, Layer::Add2] {
                self.record_wide(at(block, layer), stream, d);
            }
            let (added1, added2) = (self.wide(&[at(block, Layer::Proj)])?, self.wide(&[at(block, Layer::Fc2)])?);
            let code1 = self.code(at(block, Layer::Norm1))?;
            let code2 = self.code(at(block, Layer::Norm2))?;
            self.modulated(block, stream, [&code1, &code2], [added1, added2])?;
            self.attention(Side::Decoder, block, &code1, added1)?;
            self.mlp(Side::Decoder, block, &code2, added2)?;
        }
        let last = at(0, Layer::FinalNorm);
        let code = self.code(last)?;
        self.norm(last, stream, &code)?;
        let means = self.means(last)?;
        let (noise, normalisation) = (&self.file.header.noise, &self.file.header.normalisation);
        let channels = self.config.channels;
        let targets: Vec<Target> = self
            .levels
            .iter()
            .enumerate()
            .map(|(number, &t)| {
                let factors = noise.output_factors(self.file.header.parametrisation, t);
                // Levels of a byte: 255 (mean + std (out F + skip x)), of which the picture's own bytes take their share of the mean.
                let share = if number > 0 { 1.0 - factors.skip } else { 1.0 };
                let by_output = |f: &dyn Fn(usize) -> f64| (0..self.config.patch_len()).map(|o| f(o % channels)).collect::<Vec<f64>>();
                let unit = |c: usize| 255.0 * LEVELS * f64::from(normalisation.std[c]) * factors.out;
                Target {
                    step: by_output(&|c| 1.0 / unit(c)),
                    origin: by_output(&|c| -255.0 * LEVELS * f64::from(normalisation.mean[c]) * share / unit(c)),
                }
            })
            .collect();
        let head = at(0, Layer::Head);
        let zero = targets[0]
            .step
            .iter()
            .zip(&targets[0].origin)
            .map(|(step, origin)| to_i32(-origin / step));
        let meaning = Code { zero: zero.collect(), step: targets[0].step.clone() };
        self.record(head, &meaning);
        self.linear(head, &code, &means, &targets)
    }

    /// The modulated norms and gates of a block, for each class and step.
    fn modulated(&mut self, block: usize, stream: f64, codes: [&Code; 2], added: [f64; 2]) -> Result<(), QuantiseError> {
        let d = self.config.decoder.width;
        let site = |layer| Site::new(Side::Decoder, block, layer);
        let (weight, bias) = (
            self.weights.get(site(Layer::Modulation), ParamKind::Weight),
            self.weights.get(site(Layer::Modulation), ParamKind::Bias),
        );
        for (branch, layer) in [Layer::Norm1, Layer::Norm2].into_iter().enumerate() {
            let (gain, offset) = (self.weights.get(site(layer), ParamKind::Weight), self.weights.get(site(layer), ParamKind::Bias));
            let code = codes[branch];
            let (mut pairs, mut gates) = (Vec::new(), Vec::new());
            for &t in self.levels {
                for &class in self.classes {
                    let c = self.condition(class, t).activated;
                    let inputs = c.len();
                    let row = |i: usize| {
                        let row = &weight[(3 * branch * d + i) * inputs..][..inputs];
                        row.iter().zip(&c).map(|(&w, c)| f64::from(w) * c).sum::<f64>() + f64::from(bias[3 * branch * d + i])
                    };
                    let (shift, scale): (Vec<f64>, Vec<f64>) = (0..d).map(|i| (row(i), 1.0 + row(d + i))).unzip();
                    let channel = |i: usize| (f64::from(gain[i]), f64::from(offset[i]), code.step[i]);
                    let gains = (0..d).map(|i| channel(i).0 * scale[i] / channel(i).2).collect();
                    let offsets = (0..d)
                        .map(|i| (channel(i).1 * scale[i] + shift[i]) / channel(i).2 + f64::from(code.zero[i]))
                        .collect();
                    pairs.push((gains, offsets));
                    gates.push((0..d).map(|i| row(2 * d + i) * added[branch] / stream).collect::<Vec<f64>>());
                }
            }
            let shift = Self::norm_shift(d, &pairs);
            let gate = gates.iter().flatten().fold(0.0f64, |a, g| a.max(g.abs()));
            let gate_shift = right_shift(gate, 32_767.0, 15);
            self.put_norm(site(layer), [shift as i32, Self::epsilon(stream), gate_shift as i32, 0])?;
            for (number, (pair, gate)) in pairs.iter().zip(&gates).enumerate() {
                let (step, class) = (number / self.classes.len(), number % self.classes.len());
                let part = self.layout.modulation(step, class, block, branch);
                let (gain, offset) = Self::norm_codes(d, shift, pair);
                let gate: Vec<i16> = gate.iter().map(|g| to_i16(g * f64::from(gate_shift).exp2())).collect();
                self.put(site(layer), part.gain, &gain)?;
                self.put(site(layer), part.offset, &offset)?;
                self.put(site(layer), part.gate, &gate)?;
            }
            self.record(site(layer), code);
        }
        Ok(())
    }

    /// What class and noise level fold into.
    fn condition(&self, class: usize, t: f64) -> Condition {
        let d = self.config.encoder.width;
        let table = self.weights.get(Site::new(Side::Encoder, 0, Layer::ClassEmbed), ParamKind::Weight);
        let embedding: Vec<f64> = table.iter().skip(class * d).take(d).map(|&v| f64::from(v)).collect();
        let token = self.weights.get(Site::new(Side::Encoder, 0, Layer::ClassToken), ParamKind::Weight);
        let mut time = vec![0.0; d];
        time_embedding(t, &mut time);
        let silu = |c: f64| c / (1.0 + (-c).exp());
        Condition {
            class_token: token.iter().zip(&embedding).map(|(&a, b)| f64::from(a) + b).collect(),
            activated: time.iter().zip(&embedding).map(|(&a, b)| silu(f64::from(a) + b)).collect(),
        }
    }
}

fn place(site: Site) -> QuantiseError {
    QuantiseError::Place { site: site.name().to_string() }
}

/// x Phi(x).
fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}
