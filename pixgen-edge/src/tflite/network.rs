//! The one-step network as a graph of TensorFlow Lite: an interpreter whose activations are tensors of the graph.
//!
//! The integer form keeps the residual stream and the norms in int16. Products read int8 or, where their result goes into the stream,
//! int16; their weights are int8. The operators are those that an Ethos-U computes itself. In the float form every tensor is f32, and what
//! only integers need is left out.

use super::compare::DrawnInputs;
use super::error::LiteError;
use super::graph::{LiteGraph, LiteValue, LiteWeights, Pairwise, Unary};
use super::options::{LiteGelu, LiteOptions};
use super::ranges::LiteRanges;
use super::scales::{Number, int8, products, scaled, wide};
use super::values::Values;
use super::weights::{LiteMatrix, LiteParams};
use crate::model_file::ModelFile;
use crate::quantise::RangeMethod;
use crate::quantise::build::{BIAS_STEPS, SumScale};
use crate::quantise::scale::Quantisation;
use pixgen_core::accelerator::{NOISE_STEPS, ONE_HOT};
use pixgen_core::config::{ModelConfig, PREFIX_TOKENS, Tower};
use pixgen_core::ops::{Branch, Ops};
use pixgen_core::params::{Layer, Side, Site};

/// Scale of grey levels before the picture's bytes.
const LEVELS: f64 = 1.0 / 64.0;
/// Below this GELU is zero to within a step of int8.
const GELU_FLOOR: f64 = -4.0;
/// Steps of a row's weight in the greatest bias of a product of int16.
const WIDE_BIAS_STEPS: f64 = (1u64 << 34) as f64;
/// Steps of a result in one step of its sum, from which on nothing is left of the result. Kernels take twice as many.
const MOST_STEPS: f64 = 1e5;
/// The least step of scores: weights of attention have 256 steps, and kernels take nothing below 2^-26.
const LEAST_SCORE: f64 = 1.0 / (1 << 20) as f64;

/// An activation: tensors of the graph, and what a product needs to know of them.
#[derive(Clone, Debug)]
pub struct LiteAct {
    /// One tensor; queries, keys and values; or the six vectors of AdaLN.
    parts: Vec<LiteValue>,
    /// Mean of each channel, for bias correction; empty where no product reads it.
    means: Vec<f64>,
    /// The int8 with which a product reads it.
    narrow: Number,
}

impl LiteAct {
    fn new(value: LiteValue, means: Vec<f64>) -> Self {
        Self { parts: vec![value], means, narrow: Number::Real }
    }

    fn part(&self, number: usize, site: Site) -> Result<&LiteValue, LiteError> {
        self.parts.get(number).ok_or(LiteError::Unknown { site })
    }
}

pub(super) type Done<T = LiteAct> = Result<T, LiteError>;

/// The interpreter.
#[derive(Debug)]
pub struct LiteNetwork<'a> {
    pub(super) graph: LiteGraph,
    pub(super) config: ModelConfig,
    options: LiteOptions<'a>,
    params: LiteParams<'a>,
    /// What integers must cover; `None` in the float form.
    pub(super) ranges: Option<&'a LiteRanges<'a>>,
    /// The noise in patches.
    noise: Option<LiteValue>,
    /// What the graph draws.
    picture: Values,
}

impl<'a> LiteNetwork<'a> {
    /// Begins a graph for `classes`, rows of the class embedding, which draws from `inputs` while it is made; returns it with its inputs
    /// noise and class. Without `ranges` it is of real numbers.
    ///
    /// # Errors
    /// The weights are of another model.
    pub fn new(
        file: &'a ModelFile,
        classes: &[usize],
        options: LiteOptions<'a>,
        ranges: Option<&'a LiteRanges<'a>>,
        inputs: DrawnInputs,
    ) -> Result<(Self, LiteValue, LiteAct), LiteError> {
        let config = file.header.model;
        let params = LiteParams::new(file, classes, ranges.map(|ranges| &ranges.factors))?;
        let mut graph = LiteGraph::new(ranges.is_none());
        let steps = Number::Int8 { scale: 1.0 / f64::from(NOISE_STEPS), zero_point: 0 };
        let noise = graph.input("noise", &[1, config.size, config.size, config.channels], steps, inputs.noise);
        let one = Number::Int16 { scale: 1.0 / f64::from(ONE_HOT) };
        let class = graph.input("class", &[1, 1, classes.len()], one, inputs.class);
        let mut network = Self { graph, config, options, params, ranges, noise: None, picture: Values::default() };
        let rows = network.class_rows(&class)?;
        Ok((network, noise, rows))
    }

    /// The graph, and what it draws.
    pub fn into_graph(self) -> (LiteGraph, Values) {
        (self.graph, self.picture)
    }

    fn tower(&self, side: Side) -> Tower {
        if side == Side::Encoder {
            self.config.encoder
        } else {
            self.config.decoder
        }
    }

    /// The class's tokens and modulations, from the one-hot class.
    fn class_rows(&mut self, class: &LiteValue) -> Done {
        let table = self.params.class_table();
        let out = self.wide(|_| Ok(table.greatest / 1.5))?;
        let (matrix, no_means) = (LiteMatrix { rows: table.rows, bias: table.middle }, vec![0.0; table.classes]);
        let rows = self.product("class.rows", class, &no_means, matrix, out)?;
        Ok(LiteAct::new(rows, Vec::new()))
    }

    /// x W^T + b, as `out`. int16 comes from int16.
    fn product(&mut self, name: &str, x: &LiteValue, means: &[f64], matrix: LiteMatrix, out: Number) -> Done<LiteValue> {
        let Some(ranges) = self.ranges else {
            return Ok(self.graph.fully_connected(name, x, LiteWeights::Real(matrix.rows), &matrix.bias, out));
        };
        let mut x = x.clone();
        if let (Number::Int8 { scale, .. }, Number::Int16 { .. }) = (x.number(), out) {
            // Exact: codes less their zero point, times 128, are within 16 bits.
            x = self.graph.quantise(&format!("{name}/wide"), &x, Number::Int16 { scale: scale / 128.0 });
        }
        let (width, scale) = (x.width(), x.number().scale());
        let input = Quantisation::uniform(scale, width);
        // Sums of int8 have 32 bits, those of int16 at least 40.
        let bias_steps = if matches!(x.number(), Number::Int8 { .. }) {
            BIAS_STEPS
        } else {
            WIDE_BIAS_STEPS
        };
        let mut codes = vec![0i8; matrix.rows.len()];
        let mut scales = Vec::with_capacity(matrix.bias.len());
        let mut bias = matrix.bias;
        let rows = matrix.rows.chunks_exact(width).zip(codes.chunks_exact_mut(width));
        for ((from, to), bias) in rows.zip(&mut bias) {
            let row = SumScale::new(from, &input, means, bias.abs() / bias_steps, to);
            if row.scale > MOST_STEPS * out.scale() {
                return Err(LiteError::Coarse { at: name.to_owned(), steps: row.scale / out.scale() });
            }
            scales.push(row.scale / scale);
            if ranges.options.bias_correction {
                *bias += row.bias;
            }
        }
        Ok(self.graph.fully_connected(name, &x, LiteWeights::Int8(codes, scales), &bias, out))
    }

    /// A norm whose gain and offset are in the matrix that reads it.
    fn plain_norm(&mut self, site: Site, x: &LiteAct) -> Done {
        let value = self.normed(site, x.part(0, site)?)?;
        let Some(ranges) = self.ranges else {
            return Ok(LiteAct::new(value, Vec::new()));
        };
        let stats = &ranges.norm(site)?.normed;
        let range = stats.range(ranges.options.method_of(site), 256.0, false);
        Ok(LiteAct { narrow: int8(&Quantisation::asymmetric(range, 1)), ..LiteAct::new(value, stats.means()) })
    }

    /// What a product into int8 reads.
    fn narrowed(&mut self, site: Site, x: &LiteAct) -> Done<LiteValue> {
        let value = x.part(0, site)?;
        Ok(self.graph.quantise(&format!("{}/input", site.name()), value, x.narrow))
    }

    fn queries_keys_values(&mut self, site: Site, x: &LiteAct) -> Done {
        let (name, tower, wide_attention) = (site.name(), self.tower(site.side), self.options.wide_attention);
        let input = if wide_attention {
            x.part(0, site)?.clone()
        } else {
            self.narrowed(site, x)?
        };
        let matrix = self.params.matrix(site);
        let mut parts = Vec::with_capacity(3);
        for (number, part) in ["q", "k", "v"].into_iter().enumerate() {
            let rows = number * tower.width..(number + 1) * tower.width;
            let out = if wide_attention {
                self.wide(|ranges| Ok(ranges.stats(site, number)?.magnitude()))?
            } else {
                self.narrow(site, number, true)?
            };
            let (mut matrix, mut out) = (matrix.rows(rows), out);
            if number == 0 {
                // The scores' factor is part of the queries.
                let factor = 1.0 / (tower.head_width() as f64).sqrt();
                matrix.scale(factor);
                out = scaled(out, factor);
            }
            parts.push(self.product(&format!("{name}/{part}"), &input, &x.means, matrix, out)?);
        }
        Ok(LiteAct { parts, means: Vec::new(), narrow: Number::Real })
    }

    /// The first layer of an MLP: what GELU reads.
    fn first_of_mlp(&mut self, site: Site, x: &LiteAct) -> Done {
        let mut matrix = self.params.matrix(site);
        let mut out = Number::Real;
        let mut wide_out = None;
        if let Some(ranges) = self.ranges {
            let stats = ranges.stats(site, 0)?;
            let mut range = stats.range(RangeMethod::MinMax, 256.0, false);
            range.low = range.low.max(GELU_FLOOR);
            // Above what its results hold, steps would be lost.
            let gelu = Site { layer: Layer::Gelu, ..site };
            range.high = range
                .high
                .min(ranges.stats(gelu, 0)?.range(ranges.options.method_of(gelu), 256.0, false).high.max(1.0));
            out = int8(&Quantisation::asymmetric(range, 1));
            wide_out = self.options.wide_attention.then(|| wide(stats.magnitude()));
        }
        if self.options.gelu == LiteGelu::Sigmoid {
            matrix.scale(SIGMOID);
            out = scaled(out, SIGMOID);
            wide_out = wide_out.map(|number| scaled(number, SIGMOID));
        }
        let name = site.name();
        let Some(wide_out) = wide_out else {
            let input = self.narrowed(site, x)?;
            return Ok(LiteAct::new(self.product(&name, &input, &x.means, matrix, out)?, Vec::new()));
        };
        let y = self.product(&format!("{name}/wide"), x.part(0, site)?, &x.means, matrix, wide_out)?;
        Ok(LiteAct::new(self.graph.quantise(&name, &y, out), Vec::new()))
    }

    /// `[1, T, d]` by heads: `[heads, T, head width]`.
    fn heads(&mut self, tower: &Tower, name: &str, x: &LiteValue) -> LiteValue {
        let split = self
            .graph
            .reshape(&format!("{name}/heads"), x, &[x.shape()[1], tower.heads, tower.head_width()]);
        self.graph.transpose(name, &split, &[1, 0, 2])
    }

    /// A picture's rows `[a p, a, p C]` as patches or the other way round: the same exchange of two dimensions.
    fn exchanged(&mut self, name: &str, x: &LiteValue, shape: [usize; 4]) -> LiteValue {
        let split = self.graph.reshape(&format!("{name}/split"), x, &shape);
        self.graph.transpose(&format!("{name}/exchanged"), &split, &[0, 2, 1, 3])
    }
}

/// The factor of x sigmoid(1.702 x).
const SIGMOID: f64 = 1.702;

impl Ops for LiteNetwork<'_> {
    type Image = LiteValue;
    type Condition = LiteAct;
    type Output = ();
    type Act = LiteAct;
    type Skip = LiteAct;
    type Error = LiteError;

    fn tokens(&mut self, image: &LiteValue, rows: &LiteAct) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let (name, config) = (site.name(), self.config);
        let (across, row) = (config.across(), config.patch * config.channels);
        let patches = self.exchanged(&name, image, [across, config.patch, across, row]);
        let patches = self
            .graph
            .reshape(&format!("{name}/patches"), &patches, &[1, config.patches(), config.patch_len()]);
        self.noise = Some(patches.clone());
        let stream = self.stream(site)?;
        let zero_mean = vec![0.0; config.patch_len()];
        let matrix = self.params.matrix(site);
        let patches = self.product(&name, &patches, &zero_mean, matrix, stream)?;

        let d = config.encoder.width;
        let token = self.graph.slice("encoder.class/row", rows.part(0, site)?, 2, 0, d);
        let token = self.graph.quantise("encoder.class", &token, stream);
        let time: Vec<f64> = self.params.time_token();
        let time = self.graph.constant("encoder.time", &[1, 1, d], &time, stream);
        Ok(LiteAct::new(self.graph.concat("encoder.tokens", &[&token, &time, &patches], 1), Vec::new()))
    }

    fn add_position(&mut self, x: LiteAct) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::Position);
        let (d, stream) = (self.config.encoder.width, self.stream(site)?);
        let table = self.params.vector(site);
        let table = self.graph.constant(&site.name(), &[1, self.config.tokens(), d], &table, stream);
        let x = self.graph.pairwise(Pairwise::Add, "encoder.stream", x.part(0, site)?, &table, stream);
        Ok(LiteAct::new(x, Vec::new()))
    }

    fn layer_norm(&mut self, site: Site, x: &LiteAct) -> Done {
        self.plain_norm(site, x)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: LiteAct) -> Done {
        if site.layer != Layer::SkipNorm {
            return self.plain_norm(site, &x);
        }
        let name = site.name();
        let normed = self.normed(site, x.part(0, site)?)?;
        let (gain, offset) = self.params.gain_and_offset(site);
        let width = gain.len();
        let greatest = |values: &[f64]| values.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let gain_number = wide(greatest(&gain) / 1.5);
        let out = self.wide(|ranges| Ok(products(ranges.norm(site)?.normed.greatest(), &gain)))?;
        let stream = self.stream(site)?;
        let gain = self.graph.constant(&format!("{name}.weight"), &[1, 1, width], &gain, gain_number);
        let y = self.graph.pairwise(Pairwise::Mul, &format!("{name}/scaled"), &normed, &gain, out);
        let offset_number = wide(greatest(&offset) / 1.5);
        let offset = self.graph.constant(&format!("{name}.bias"), &[1, 1, width], &offset, offset_number);
        let y = self.graph.pairwise(Pairwise::Add, &name, &y, &offset, stream);
        Ok(LiteAct::new(y, self.means(site)?))
    }

    fn linear(&mut self, site: Site, x: &LiteAct) -> Done {
        let out = match site.layer {
            Layer::Qkv => return self.queries_keys_values(site, x),
            Layer::Fc1 => return self.first_of_mlp(site, x),
            Layer::Head => self.wide(|_| Ok(LEVELS * 32_767.0 / 1.5))?,
            // The matrix takes the mean away.
            Layer::Skip => self.wide(|ranges| Ok(ranges.norm(Site { layer: Layer::SkipNorm, ..site })?.centred))?,
            _ if site.side == Side::Encoder => self.stream(site)?,
            _ => self.wide_sites([site])?,
        };
        let mut matrix = self.params.matrix(site);
        if site.layer == Layer::Fc2 && self.options.gelu == LiteGelu::Sigmoid {
            matrix.scale_inputs(1.0 / SIGMOID);
        }
        let y = self.product(&site.name(), x.part(0, site)?, &x.means, matrix, out)?;
        Ok(LiteAct::new(y, Vec::new()))
    }

    fn linear_into(&mut self, site: Site, x: &LiteAct, _: LiteAct) -> Done {
        self.linear(site, x)
    }

    fn bridge(&mut self, x: LiteAct) -> Done {
        let site = Site::new(Side::Decoder, 0, Layer::Bridge);
        let y = self.linear(site, &x)?;
        Ok(LiteAct { means: self.means(site)?, ..y })
    }

    fn attend(&mut self, site: Site, qkv: &LiteAct, _: LiteAct) -> Done {
        let (name, tower) = (site.name(), self.tower(site.side));
        let mut parts = Vec::with_capacity(3);
        for (number, part) in ["queries", "keys", "values"].into_iter().enumerate() {
            let value = qkv.part(number, site)?.clone();
            parts.push(self.heads(&tower, &format!("{name}/{part}"), &value));
        }
        let (mut score, mut weight, mut out) =
            (Number::Real, Number::Int8 { scale: 1.0 / 256.0, zero_point: -128 }, self.narrow(site, 0, true)?);
        if let Some(ranges) = self.ranges {
            let stats = ranges.scores(site)?;
            let mut range = stats.range(RangeMethod::MinMax, 256.0, false);
            range.high = range.high.max(range.low + 256.0 * LEAST_SCORE);
            score = int8(&Quantisation::asymmetric(range, 1));
            if self.options.wide_attention {
                (score, weight) = (wide(stats.magnitude()), Number::Int16 { scale: 1.0 / 32_768.0 });
                out = self.wide_sites([site])?;
            }
        }
        let scores = self.graph.batch_matmul(&format!("{name}/scores"), &parts[0], &parts[1], true, score);
        let weights = self.graph.softmax(&format!("{name}/softmax"), &scores, weight);
        let mean = self.graph.batch_matmul(&format!("{name}/mean"), &weights, &parts[2], false, out);
        let rows = self.graph.transpose(&format!("{name}/tokens"), &mean, &[1, 0, 2]);
        let tokens = rows.shape()[0];
        let y = self.graph.reshape(&name, &rows, &[1, tokens, tower.width]);
        Ok(LiteAct::new(y, self.means(site)?))
    }

    fn gelu(&mut self, site: Site, x: LiteAct) -> Done {
        let (name, x, out) = (site.name(), x.part(0, site)?, self.narrow(site, 0, false)?);
        let y = match self.options.gelu {
            LiteGelu::Exact => self.graph.unary(Unary::Gelu, &name, x, out),
            LiteGelu::Sigmoid => {
                // x is 1.702 times what it would be, and so is the result: the next matrix has the inverse.
                let share = Number::Int8 { scale: 1.0 / 256.0, zero_point: -128 };
                let share = self.graph.unary(Unary::Logistic, &format!("{name}/share"), x, share);
                self.graph.pairwise(Pairwise::Mul, &name, x, &share, scaled(out, SIGMOID))
            }
        };
        let mut means = self.means(site)?;
        if self.options.gelu == LiteGelu::Sigmoid {
            means.iter_mut().for_each(|mean| *mean *= SIGMOID);
        }
        Ok(LiteAct::new(y, means))
    }

    fn add(&mut self, site: Site, x: LiteAct, y: LiteAct) -> Done {
        let out = self.stream(site)?;
        let sum = self.graph.pairwise(Pairwise::Add, &site.name(), x.part(0, site)?, y.part(0, site)?, out);
        Ok(LiteAct::new(sum, self.means(site)?))
    }

    fn keep(&mut self, _: Site, x: &LiteAct) -> Done {
        Ok(x.clone())
    }

    fn concat(&mut self, site: Site, x: &LiteAct, skip: LiteAct) -> Done {
        let name = site.name();
        let (stream, kept) = (x.part(0, site)?, skip.part(0, site)?);
        let common = if stream.number().scale() > kept.number().scale() {
            stream.number()
        } else {
            kept.number()
        };
        let stream = self.graph.quantise(&format!("{name}/stream"), stream, common);
        let kept = self.graph.quantise(&format!("{name}/kept"), kept, common);
        let both = self.graph.concat(&format!("{name}/both"), &[&stream, &kept], 2);
        Ok(LiteAct::new(both, [&x.means[..], &skip.means].concat()))
    }

    /// Folded into the rows that the class chose.
    fn condition(&mut self, rows: &LiteAct) -> Done {
        Ok(rows.clone())
    }

    fn modulation(&mut self, site: Site, rows: &LiteAct) -> Done {
        let (d, rows) = (self.config.decoder.width, rows.part(0, site)?.clone());
        let first = self.config.encoder.width + 6 * d * site.block;
        let chunk = |number: usize| {
            self.graph
                .slice(&format!("{}/{number}", site.name()), &rows, 2, first + number * d, first + (number + 1) * d)
        };
        Ok(LiteAct { parts: (0..6).map(chunk).collect(), means: Vec::new(), narrow: Number::Real })
    }

    fn modulated_norm(&mut self, site: Site, x: &LiteAct, modulation: &LiteAct, branch: Branch) -> Done {
        let name = site.name();
        let normed = self.normed(site, x.part(0, site)?)?;
        let gains = self.params.greatest_gains(site, branch);
        let out = self.wide(|ranges| Ok(products(ranges.norm(site)?.normed.greatest(), &gains)))?;
        let y = self
            .graph
            .pairwise(Pairwise::Mul, &format!("{name}/scaled"), &normed, modulation.part(branch.scale(), site)?, out);
        let out = self.wide_sites([site])?;
        let y = self.graph.pairwise(Pairwise::Add, &name, &y, modulation.part(branch.shift(), site)?, out);
        Ok(LiteAct { narrow: self.narrow(site, 0, false)?, ..LiteAct::new(y, self.means(site)?) })
    }

    fn gated_add(&mut self, site: Site, x: LiteAct, y: LiteAct, modulation: &LiteAct, branch: Branch) -> Done {
        let stream = self.stream(site)?;
        let gated = format!("{}/gated", site.name());
        let y = self
            .graph
            .pairwise(Pairwise::Mul, &gated, y.part(0, site)?, modulation.part(branch.gate(), site)?, stream);
        self.add(site, x, LiteAct::new(y, Vec::new()))
    }

    fn class_token(&mut self, x: LiteAct) -> Done {
        Ok(x)
    }

    fn patch_tokens(&mut self, x: LiteAct) -> Done {
        let site = Site::new(Side::Decoder, 0, Layer::FinalNorm);
        let (value, tokens) = (x.part(0, site)?, self.config.tokens());
        let patches = self.graph.slice("decoder.patches", value, 1, PREFIX_TOKENS, tokens);
        Ok(LiteAct::new(patches, Vec::new()))
    }

    /// Levels of bytes in patches to the picture.
    fn unpatchify(&mut self, site: Site, patches: LiteAct) -> Done<()> {
        let (name, config) = (site.name(), self.config);
        let mut levels = patches.part(0, site)?.clone();
        if let (Some(part), Some(noise)) = (self.params.noise_levels(), self.noise.clone()) {
            // The noisy input is part of the picture.
            let noise = match noise.number() {
                Number::Int8 { scale, .. } => self
                    .graph
                    .quantise(&format!("{name}/noise"), &noise, Number::Int16 { scale: scale / 128.0 }),
                _ => noise,
            };
            let greatest = part.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let part = self
                .graph
                .constant(&format!("{name}.noise"), &[1, 1, part.len()], &part, wide(greatest / 1.5));
            let noise = self
                .graph
                .pairwise(Pairwise::Mul, &format!("{name}/scaled"), &noise, &part, levels.number());
            levels = self
                .graph
                .pairwise(Pairwise::Add, &format!("{name}/sum"), &levels, &noise, levels.number());
        }
        let bytes = self
            .graph
            .quantise(&format!("{name}/bytes"), &levels, Number::Int8 { scale: 1.0, zero_point: -128 });
        let (across, row) = (config.across(), config.patch * config.channels);
        let rows = self.exchanged(&name, &bytes, [across, across, config.patch, row]);
        let picture = self.graph.reshape("pixels", &rows, &[1, config.size, config.size, config.channels]);
        self.graph.output(&picture);
        self.picture = picture.values().clone();
        Ok(())
    }

    fn release(&mut self, _: LiteAct) {}
}
