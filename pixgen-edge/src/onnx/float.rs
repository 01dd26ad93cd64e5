//! The float network as a graph; and the same with its matrix products in int8, between QuantizeLinear and DequantizeLinear (QDQ).
//!
//! One noise level is folded in, as in a file for chips: class token, time token and every AdaLN are tables with a row for each class.

use super::error::OnnxError;
use super::graph::{Graph, GraphValue};
use super::proto::Element;
use crate::model_file::ModelFile;
use crate::quantise::build::{LinearLayers, SiteScales};
use crate::quantise::condition::FoldedCondition;
use crate::quantise::export::levels;
use crate::quantise::scale::Quantisation;
use pixgen_core::config::{ModelConfig, NORM_EPSILON, Tower};
use pixgen_core::ops::{Branch, Ops};
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_core::pxg::Model;
use pixgen_core::reference::FlatWeights;

/// Scales and int8 weights of a quantised model.
#[derive(Clone, Copy, Debug)]
pub struct Int8<'a> {
    /// Weights, as in the file for chips.
    pub model: &'a Model<'a>,
    /// What the weights and the inputs of products mean.
    pub linears: &'a LinearLayers,
    /// What the results mean.
    pub site_scales: &'a SiteScales,
    /// Whether weights have 7 bits: processors without VNNI add two products of 8 bits in 16, which saturate.
    pub halved: bool,
}

/// The interpreter.
#[derive(Debug)]
pub struct FloatGraph<'a> {
    graph: Graph,
    file: &'a ModelFile,
    config: ModelConfig,
    weights: FlatWeights<'a>,
    /// Of each class of the graph.
    conditions: Vec<FoldedCondition>,
    /// Noise level.
    t: f64,
    int8: Option<Int8<'a>>,
    noise: GraphValue,
}

impl<'a> FloatGraph<'a> {
    /// Begins a graph for `classes`, rows of the class embedding; returns it with its inputs noise and class.
    ///
    /// # Errors
    /// The weights are of another model.
    pub fn new(
        file: &'a ModelFile,
        classes: &[usize],
        batch: Option<usize>,
        int8: Option<Int8<'a>>,
    ) -> Result<(Self, GraphValue, GraphValue), OnnxError> {
        let config = file.header.model;
        let mut graph = Graph::new(batch);
        let (noise, class) = inputs(&mut graph, &config, classes.len());
        let weights = FlatWeights::new(&config, &file.params)?;
        let t = levels(file, 1)[0];
        let fold = |&class: &usize| FoldedCondition::new(&config, &weights, class, t);
        let conditions = classes.iter().map(fold).collect();
        Ok((Self { graph, file, config, weights, conditions, t, int8, noise: noise.clone() }, noise, class))
    }

    /// The graph.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    fn tower(&self, side: Side) -> Tower {
        if side == Side::Encoder {
            self.config.encoder
        } else {
            self.config.decoder
        }
    }

    /// A parameter as a vector, each value divided by its channel's factor.
    fn vector(&mut self, site: Site, kind: ParamKind, factors: &[f32]) -> GraphValue {
        let suffix = if kind == ParamKind::Weight { "weight" } else { "bias" };
        let values: Vec<f32> = self
            .weights
            .get(site, kind)
            .iter()
            .zip(factors)
            .map(|(&value, &factor)| value / factor)
            .collect();
        self.graph.constant(&format!("{}.{suffix}", site.name()), &[values.len()], &values)
    }

    /// What equalisation divides the channels of a norm by: the scales of its results, less their common part.
    fn factors(&self, site: Site) -> Vec<f32> {
        let width = self.tower(site.side).width;
        let reader = match site.layer {
            Layer::Norm1 => Some(Layer::Qkv),
            Layer::Norm2 => Some(Layer::Fc1),
            _ => None,
        };
        let input = reader.and_then(|layer| Some(&self.int8?.linears.get(&Site { layer, ..site })?.input));
        input.map_or(vec![1.0; width], |input| {
            let common = common_scale(input);
            input.scale.iter().map(|scale| (scale / common) as f32).collect()
        })
    }

    /// x to int8 and back.
    fn fake_quantised(&mut self, name: &str, x: &GraphValue, scale: f64, zero_point: i32) -> GraphValue {
        let scale = self.graph.constant(&format!("{name}.scale"), &[], &[scale as f32]);
        let zero_point = self.graph.scalar(zero_point as i8);
        let int8 = self.graph.quantise(&format!("{name}/int8"), x, &scale, &zero_point);
        self.graph.dequantise(&format!("{name}/real"), &int8, &scale, &zero_point)
    }

    /// Columns `from..to` of a matrix as `[inputs, outputs]`; `name` is the parameter's.
    fn matrix(&mut self, site: Site, name: &str, from: usize, to: usize, input_scale: f64) -> GraphValue {
        let (int8, weights) = (self.int8, self.weights.get(site, ParamKind::Weight));
        let Some((int8, real)) = int8.and_then(|int8| Some((int8, int8.linears.get(&site)?))) else {
            return self
                .graph
                .constant(name, &[to - from, weights.len() / to.max(1)], &transposed(weights, to, from, to));
        };
        let rows: Vec<i8> = match int8.model.linear(site, 0) {
            Ok(layer) => (0..layer.weights.count()).flat_map(|o| layer.weights.row(o)).copied().collect(),
            Err(_) => Vec::new(),
        };
        let outputs = real.scale.len();
        let mut values = transposed(&rows, rows.len() / outputs.max(1), from, to);
        let mut step = 1.0 / input_scale;
        if int8.halved {
            values
                .iter_mut()
                .for_each(|code| *code = (f32::from(*code) / 2.0).round_ties_even() as i8);
            step *= 2.0;
        }
        let int8 = self.graph.constant(name, &[to - from, outputs], &values);
        let scales: Vec<f32> = real.scale.iter().map(|sum| (sum * step) as f32).collect();
        let scale = self.graph.constant(&format!("{name}.scale"), &[outputs], &scales);
        self.graph.dequantise_columns(&format!("{name}/real"), &int8, &scale)
    }

    /// x W^T + b.
    fn product(&mut self, site: Site, x: &GraphValue) -> GraphValue {
        let name = site.name();
        let mut x = x.clone();
        let mut scale = 1.0;
        let mut bias = self.weights.get(site, ParamKind::Bias).to_vec();
        if let Some(real) = self.int8.and_then(|int8| int8.linears.get(&site)) {
            scale = common_scale(&real.input);
            x = self.fake_quantised(&format!("{name}/input"), &x, scale, first(&real.input.zero_point));
            bias = real.bias.iter().map(|&bias| bias as f32).collect();
        }
        let matrix = self.matrix(site, &format!("{name}.weight"), 0, x.width(), scale);
        if bias.iter().all(|&bias| bias == 0.0) {
            return self.graph.matmul(&name, &x, &matrix);
        }
        let y = self.graph.matmul(&format!("{name}/product"), &x, &matrix);
        let bias = self.graph.constant(&format!("{name}.bias"), &[bias.len()], &bias);
        self.graph.binary("Add", &name, &y, &bias)
    }

    /// One of the six vectors of a block's AdaLN: `[N, 1, d]`.
    fn chunk(&mut self, name: &str, modulation: &GraphValue, number: usize) -> GraphValue {
        self.graph.slice(name, modulation, 1, number, number + 1)
    }
}

/// The inputs of every form of the graph.
pub(super) fn inputs(graph: &mut Graph, config: &ModelConfig, classes: usize) -> (GraphValue, GraphValue) {
    let picture = [config.channels, config.size, config.size];
    let noise = graph.input("noise", Element::Float, &picture, "independent Gaussians, mean 0, variance 1");
    let class = graph.input("class", Element::Int64, &[], &format!("0 to {}", classes.saturating_sub(1)));
    (noise, class)
}

/// `[N, C, H, W]` to patches `[N, N_p, p p C]`, pixel by pixel and colours innermost.
pub(super) fn patchify(graph: &mut Graph, config: &ModelConfig, name: &str, x: &GraphValue) -> GraphValue {
    let blocks = graph.space_to_depth(&format!("{name}/blocks"), x, config.patch);
    let blocks = graph.reshape(&format!("{name}/columns"), &blocks, &[config.patch_len(), config.patches()]);
    graph.transpose(&format!("{name}/patches"), &blocks, &[0, 2, 1])
}

/// The inverse.
pub(super) fn unpatchify(graph: &mut Graph, config: &ModelConfig, name: &str, x: &GraphValue) -> GraphValue {
    let columns = graph.transpose(&format!("{name}/columns"), x, &[0, 2, 1]);
    let blocks = graph.reshape(&format!("{name}/blocks"), &columns, &[config.patch_len(), config.across(), config.across()]);
    graph.depth_to_space(name, &blocks, config.patch)
}

/// Queries, keys or values, `[N, T, d]`, by heads: `[N, heads, T, head width]`, or with the last two exchanged.
pub(super) fn heads(graph: &mut Graph, tower: &Tower, name: &str, x: &GraphValue, columns: bool) -> GraphValue {
    let split = graph.reshape(&format!("{name}/heads"), x, &[x.rows(), tower.heads, tower.head_width()]);
    graph.transpose(name, &split, if columns { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] })
}

/// `[N, heads, T, head width]` to `[N, T, d]`.
pub(super) fn join(graph: &mut Graph, tower: &Tower, name: &str, x: &GraphValue) -> GraphValue {
    let tokens = x.rows();
    let rows = graph.transpose(&format!("{name}/tokens"), x, &[0, 2, 1, 3]);
    graph.reshape(name, &rows, &[tokens, tower.width])
}

/// x/2 (1 + erf(x / sqrt(2))), in the order of operations that runtimes know as GELU.
pub(super) fn gelu(graph: &mut Graph, name: &str, x: &GraphValue) -> GraphValue {
    let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|number| graph.scalar(number));
    let y = graph.binary("Div", &format!("{name}/scaled"), x, &root);
    let y = graph.unary("Erf", &format!("{name}/erf"), &y);
    let y = graph.binary("Add", &format!("{name}/above"), &y, &one);
    let y = graph.binary("Mul", &format!("{name}/double"), x, &y);
    graph.binary("Mul", name, &y, &half)
}

/// Columns `from..to` of rows of `width` values as rows.
pub(super) fn transposed<T: Copy>(values: &[T], width: usize, from: usize, to: usize) -> Vec<T> {
    let rows = values.chunks_exact(width.max(1));
    (from..to).flat_map(|i| rows.clone().filter_map(move |row| row.get(i).copied())).collect()
}

/// The geometric mean of the scales: what is left is a factor for each channel.
fn common_scale(quantisation: &Quantisation) -> f64 {
    let logs: f64 = quantisation.scale.iter().map(|scale| scale.ln()).sum();
    (logs / quantisation.scale.len().max(1) as f64).exp()
}

fn first(zero_points: &[i32]) -> i32 {
    zero_points.first().copied().unwrap_or_default()
}

type Done = Result<GraphValue, OnnxError>;

impl Ops for FloatGraph<'_> {
    type Image = GraphValue;
    type Condition = GraphValue;
    type Output = ();
    type Act = GraphValue;
    type Skip = GraphValue;
    type Error = OnnxError;

    fn tokens(&mut self, image: &GraphValue, class: &GraphValue) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let name = site.name();
        // x = t noise, and the network takes c_in x.
        let scale = self.graph.scalar((self.t * self.file.header.noise.c_in(self.t)) as f32);
        let scaled = self.graph.binary("Mul", &format!("{name}/scaled"), image, &scale);
        let patches = patchify(&mut self.graph, &self.config, &name, &scaled);
        let patches = self.product(site, &patches);

        let d = self.config.encoder.width;
        let mut rows = Vec::with_capacity(2 * d * self.conditions.len());
        for condition in &self.conditions {
            rows.extend(condition.class_token.iter().map(|&value| value as f32));
            rows.extend(&condition.time_token);
        }
        let table = self.graph.constant("encoder.prefix.table", &[self.conditions.len(), 2, d], &rows);
        let prefix = self.graph.gather("encoder.prefix", &table, class);
        Ok(self.graph.concat("encoder.tokens", &prefix, &patches, 1))
    }

    fn add_position(&mut self, x: GraphValue) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::Position);
        let table = self.weights.get(site, ParamKind::Weight);
        let table = self.graph.constant(&site.name(), &[x.rows(), x.width()], table);
        Ok(self.graph.binary("Add", "encoder.stream", &x, &table))
    }

    fn layer_norm(&mut self, site: Site, x: &GraphValue) -> Done {
        let factors = self.factors(site);
        let (gain, offset) = (self.vector(site, ParamKind::Weight, &factors), self.vector(site, ParamKind::Bias, &factors));
        Ok(self.graph.layer_norm(&site.name(), x, &gain, &offset, NORM_EPSILON))
    }

    fn layer_norm_in_place(&mut self, site: Site, x: GraphValue) -> Done {
        self.layer_norm(site, &x)
    }

    fn linear(&mut self, site: Site, x: &GraphValue) -> Done {
        Ok(self.product(site, x))
    }

    fn linear_into(&mut self, site: Site, x: &GraphValue, _: GraphValue) -> Done {
        Ok(self.product(site, x))
    }

    fn bridge(&mut self, x: GraphValue) -> Done {
        Ok(self.product(Site::new(Side::Decoder, 0, Layer::Bridge), &x))
    }

    fn attend(&mut self, site: Site, qkv: &GraphValue, _: GraphValue) -> Done {
        let (name, tower) = (site.name(), self.tower(site.side));
        let d = tower.width;
        let quantised = self.int8.and_then(|int8| int8.site_scales.get(&Site { layer: Layer::Qkv, ..site }));
        let [q, k, v] = [("q", 0), ("k", 1), ("v", 2)].map(|(part, number)| {
            let part = format!("{name}/{part}");
            let mut x = self.graph.slice(&format!("{part}/part"), qkv, 2, number * d, (number + 1) * d);
            if let Some(scale) = quantised.and_then(|quantised| quantised.scale.get(number * d)) {
                x = self.fake_quantised(&part, &x, *scale, 0);
            }
            heads(&mut self.graph, &tower, &part, &x, number == 1)
        });
        let scores = self.graph.matmul(&format!("{name}/product"), &q, &k);
        let scale = self.graph.scalar(1.0 / (tower.head_width() as f32).sqrt());
        let scores = self.graph.binary("Mul", &format!("{name}/scores"), &scores, &scale);
        let mean = if quantised.is_none() {
            let weights = self.graph.softmax(&format!("{name}/softmax"), &scores);
            self.graph.matmul(&format!("{name}/mean"), &weights, &v)
        } else {
            // Rounded before the division, as in the integer network: a row's greatest is 127, whatever the number of tokens.
            let most = self.graph.greatest(&format!("{name}/greatest"), &scores);
            let below = self.graph.binary("Sub", &format!("{name}/below"), &scores, &most);
            let weights = self.graph.unary("Exp", &format!("{name}/exp"), &below);
            let weights = self.fake_quantised(&format!("{name}/weights"), &weights, 1.0 / 127.0, 0);
            let sum = self.graph.sum(&format!("{name}/sum"), &weights);
            let mean = self.graph.matmul(&format!("{name}/weighted"), &weights, &v);
            self.graph.binary("Div", &format!("{name}/mean"), &mean, &sum)
        };
        Ok(join(&mut self.graph, &tower, &name, &mean))
    }

    fn gelu(&mut self, site: Site, x: GraphValue) -> Done {
        Ok(gelu(&mut self.graph, &site.name(), &x))
    }

    fn add(&mut self, site: Site, x: GraphValue, y: GraphValue) -> Done {
        Ok(self.graph.binary("Add", &site.name(), &x, &y))
    }

    fn keep(&mut self, _: Site, x: &GraphValue) -> Done {
        Ok(x.clone())
    }

    fn concat(&mut self, site: Site, x: &GraphValue, skip: GraphValue) -> Done {
        Ok(self.graph.concat(&format!("{}/both", site.name()), x, &skip, 2))
    }

    /// Folded into the tables that the class chooses from.
    fn condition(&mut self, class: &GraphValue) -> Done {
        Ok(class.clone())
    }

    /// Shift, 1 + scale and gate of both branches, `[N, 6, d]`, from a table with a row for each class.
    fn modulation(&mut self, site: Site, class: &GraphValue) -> Done {
        let d = self.config.decoder.width;
        let norms = [Layer::Norm1, Layer::Norm2].map(|layer| self.factors(Site { layer, ..site }));
        let mut table = Vec::with_capacity(6 * d * self.conditions.len());
        for condition in &self.conditions {
            for (i, value) in condition.modulation(&self.weights, site).into_iter().enumerate() {
                // Shift, scale, gate; a norm's channels are divided by its factors.
                let (branch, chunk, channel) = (i / (3 * d), i / d % 3, i % d);
                table.push(match chunk {
                    0 => (value / f64::from(norms[branch][channel])) as f32,
                    1 => (1.0 + value) as f32,
                    _ => value as f32,
                });
            }
        }
        let name = site.name();
        let table = self.graph.constant(&format!("{name}.table"), &[self.conditions.len(), 6, d], &table);
        Ok(self.graph.gather(&name, &table, class))
    }

    fn modulated_norm(&mut self, site: Site, x: &GraphValue, modulation: &GraphValue, branch: Branch) -> Done {
        let name = site.name();
        let factors = self.factors(site);
        let (gain, offset) = (self.vector(site, ParamKind::Weight, &factors), self.vector(site, ParamKind::Bias, &factors));
        let y = self.graph.layer_norm(&format!("{name}/norm"), x, &gain, &offset, NORM_EPSILON);
        let scale = self.chunk(&format!("{name}/scale"), modulation, branch.scale());
        let shift = self.chunk(&format!("{name}/shift"), modulation, branch.shift());
        let y = self.graph.binary("Mul", &format!("{name}/scaled"), &y, &scale);
        Ok(self.graph.binary("Add", &name, &y, &shift))
    }

    fn gated_add(&mut self, site: Site, x: GraphValue, y: GraphValue, modulation: &GraphValue, branch: Branch) -> Done {
        let name = site.name();
        let gate = self.chunk(&format!("{name}/gate"), modulation, branch.gate());
        let y = self.graph.binary("Mul", &format!("{name}/gated"), &y, &gate);
        Ok(self.graph.binary("Add", &name, &x, &y))
    }

    fn class_token(&mut self, x: GraphValue) -> Done {
        Ok(self.graph.slice("class_token", &x, 1, 0, 1))
    }

    fn patch_tokens(&mut self, x: GraphValue) -> Done {
        Ok(self.graph.slice("decoder.patches", &x, 1, x.rows() - self.config.patches(), x.rows()))
    }

    /// f = skip x + out F, within the range of the data; and its bytes.
    fn unpatchify(&mut self, site: Site, patches: GraphValue) -> Result<(), OnnxError> {
        let header = &self.file.header;
        let f = unpatchify(&mut self.graph, &self.config, &site.name(), &patches);
        let factors = header.noise.output_factors(header.parametrisation, self.t);
        let mut value = f;
        if factors.out != 1.0 {
            let out = self.graph.scalar(factors.out as f32);
            value = self.graph.binary("Mul", "picture/out", &value, &out);
        }
        if factors.skip != 0.0 {
            let skip = self.graph.scalar((factors.skip * self.t) as f32);
            let skip = self.graph.binary("Mul", "picture/skip", &self.noise, &skip);
            value = self.graph.binary("Add", "picture/sum", &value, &skip);
        }
        let channels = self.config.channels;
        let (low, high) = header.normalisation.range(channels);
        let picture = self.graph.clip("picture", &value, low, high);
        self.graph.output(&picture, &format!("values of the normalised data, {low} to {high}"));

        let by_channel = |graph: &mut Graph, name: &str, values: [f32; 3]| {
            let values: Vec<f32> = values.iter().take(channels).map(|value| value * 255.0).collect();
            graph.constant(name, &[channels, 1, 1], &values)
        };
        let std = by_channel(&mut self.graph, "pixels.std", header.normalisation.std);
        let mean = by_channel(&mut self.graph, "pixels.mean", header.normalisation.mean);
        let half = self.graph.scalar(0.5f32);
        let value = self.graph.binary("Mul", "pixels/spread", &picture, &std);
        let value = self.graph.binary("Add", "pixels/levels", &value, &mean);
        let value = self.graph.binary("Add", "pixels/above", &value, &half);
        let value = self.graph.unary("Floor", "pixels/rounded", &value);
        let value = self.graph.clip("pixels/bytes", &value, 0.0f32, 255.0);
        let pixels = self.graph.cast("pixels", &value, Element::Uint8);
        self.graph.output(&pixels, "grey levels or colours");
        Ok(())
    }

    fn release(&mut self, _: GraphValue) {}

    /// In int8 stream and skip have scales of their own, so each half of the matrix is multiplied by itself.
    fn skip_fuse(&mut self, block: usize, x: GraphValue, skip: GraphValue) -> Done {
        let site = Site::new(Side::Decoder, block, Layer::Skip);
        let norm = Site { layer: Layer::SkipNorm, ..site };
        let Some(real) = self.int8.and_then(|int8| int8.linears.get(&site)) else {
            let both = self.concat(site, &x, skip)?;
            let y = self.product(site, &both);
            return self.layer_norm(norm, &y);
        };
        let (name, middle) = (site.name(), x.width());
        let [stream, kept] = [("stream", x, 0), ("kept", skip, middle)].map(|(part, x, from)| {
            let scale = real.input.scale.get(from).copied().unwrap_or(1.0);
            let zero_point = real.input.zero_point.get(from).copied().unwrap_or_default();
            let half = self.fake_quantised(&format!("{name}/{part}"), &x, scale, zero_point);
            let matrix = self.matrix(site, &format!("{name}.weight.{part}"), from, from + x.width(), scale);
            self.graph.matmul(&format!("{name}/{part}/product"), &half, &matrix)
        });
        let y = self.graph.binary("Add", &format!("{name}/product"), &stream, &kept);
        let bias: Vec<f32> = real.bias.iter().map(|&bias| bias as f32).collect();
        let bias = self.graph.constant(&format!("{name}.bias"), &[bias.len()], &bias);
        let y = self.graph.binary("Add", &name, &y, &bias);
        self.layer_norm(norm, &y)
    }
}
