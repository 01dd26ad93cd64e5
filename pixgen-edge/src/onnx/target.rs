//! The float network as the tool chains of accelerators take it: one picture at a time, without the operators that they refuse.
//!
//! Gains and offsets of norms, the noise level, the factor of attention and the range of bytes are folded into the matrices. Queries, keys
//! and values are products of their own. The class is one-hot, or its rows are inputs. The picture ends as levels of bytes in real numbers:
//! a host rounds and clamps them.

use super::error::OnnxError;
use super::float::{gelu, heads, join, transposed};
use super::graph::{Graph, GraphValue};
use super::proto::Element;
use crate::model_file::ModelFile;
use crate::tflite::weights::{LiteMatrix, LiteParams};
use clap::ValueEnum;
use pixgen_core::config::{ModelConfig, NORM_EPSILON, PREFIX_TOKENS, Tower};
use pixgen_core::ops::{Branch, Ops};
use pixgen_core::params::{Layer, Side, Site};

/// Tool chains of accelerators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnnxTarget {
    /// One that is not named here
    Generic,
    /// Rockchip's rknn-toolkit2: RK3588, RK3576, RK3562, RV1126B
    Rknn,
    /// Kendryte's nncase: K230
    Nncase,
    /// Sophgo's tpu-mlir: CV181x (SG2002), CV180x, BM1688
    TpuMlir,
    /// Espressif's esp-ppq: ESP32-S3, ESP32-P4
    Esp,
}

impl OnnxTarget {
    /// Name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether what depends on the class comes in as rows of the class, and the noise in patches: what these tools leave to the CPU or
    /// refuse is then left to the host.
    pub const fn takes_rows(self) -> bool {
        matches!(self, Self::Rknn | Self::TpuMlir | Self::Esp)
    }
}

/// An input of the graph that holds a row of a table with one row for each class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRows {
    /// Name of the input.
    pub name: String,
    /// `[classes, width]`.
    pub values: Vec<f32>,
    /// Values of a row.
    pub width: usize,
}

/// An activation: one value of the graph; queries, keys and values; or the six vectors of AdaLN.
#[derive(Clone, Debug)]
pub struct TargetAct(Vec<GraphValue>);

impl TargetAct {
    fn part(&self, number: usize) -> GraphValue {
        self.0.get(number).cloned().unwrap_or_default()
    }

    fn one(&self) -> GraphValue {
        self.part(0)
    }
}

impl From<GraphValue> for TargetAct {
    fn from(value: GraphValue) -> Self {
        Self(vec![value])
    }
}

/// The interpreter.
#[derive(Debug)]
pub struct TargetGraph<'a> {
    graph: Graph,
    config: ModelConfig,
    target: OnnxTarget,
    params: LiteParams<'a>,
    /// Number of classes.
    classes: usize,
    /// All that depends on the class, one value after another: of each class.
    table: Vec<f32>,
    /// The noise in patches.
    noise: GraphValue,
    /// Inputs so far that are rows of the class.
    rows: Vec<ClassRows>,
}

type Done<T = TargetAct> = Result<T, OnnxError>;

impl<'a> TargetGraph<'a> {
    /// Begins a graph for `classes`, rows of the class embedding; returns it with its noise and what the class chose.
    ///
    /// # Errors
    /// The weights are of another model.
    pub fn new(file: &'a ModelFile, classes: &[usize], target: OnnxTarget) -> Result<(Self, GraphValue, TargetAct), OnnxError> {
        let config = file.header.model;
        let params = LiteParams::new(file, classes, None)?;
        let mut graph = Graph::new(Some(1));
        let shape: &[usize] = if target.takes_rows() {
            &[config.patches(), config.patch_len()]
        } else {
            &[config.size, config.size, config.channels]
        };
        let noise = graph.input("noise", Element::Float, shape, "independent Gaussians, mean 0, variance 1");
        let table = params.class_table();
        let (count, middle): (usize, Vec<f32>) = (classes.len(), table.middle.iter().map(|&v| v as f32).collect());
        let row = if target.takes_rows() {
            TargetAct(Vec::new())
        } else {
            let class = graph.input("class", Element::Float, &[1, count], "1 at the class, 0 elsewhere");
            let rows = graph.constant("class.rows", &[count, middle.len()], &transposed(&table.rows, count, 0, count));
            let rows = graph.matmul("class.differences", &class, &rows);
            let middle = graph.constant("class.middle", &[middle.len()], &middle);
            graph.binary("Add", "class.row", &rows, &middle).into()
        };
        let whole = table.rows.chunks_exact(count.max(1)).zip(&middle);
        let table = whole.flat_map(|(row, middle)| row.iter().map(move |v| v + middle)).collect();
        let network = Self {
            graph,
            config,
            target,
            params,
            classes: count,
            table,
            noise: noise.clone(),
            rows: Vec::new(),
        };
        Ok((network, noise, row))
    }

    /// The graph, and the inputs that are rows of the class.
    pub fn into_graph(self) -> (Graph, Vec<ClassRows>) {
        (self.graph, self.rows)
    }

    fn tower(&self, side: Side) -> Tower {
        if side == Side::Encoder {
            self.config.encoder
        } else {
            self.config.decoder
        }
    }

    /// Values `from..to` of what depends on the class.
    fn class_row(&mut self, name: &str, all: &TargetAct, from: usize, to: usize) -> GraphValue {
        if !self.target.takes_rows() {
            return self.graph.slice(name, &all.one(), 2, from, to);
        }
        let values = transposed(self.table.get(from * self.classes..to * self.classes).unwrap_or_default(), self.classes, 0, self.classes);
        self.rows.push(ClassRows { name: name.to_owned(), values, width: to - from });
        self.graph.input(name, Element::Float, &[1, to - from], "the row of the class")
    }

    /// x W^T + b.
    fn product(&mut self, name: &str, x: &GraphValue, matrix: &LiteMatrix) -> GraphValue {
        let (inputs, outputs) = (x.width(), matrix.bias.len());
        let weights = self
            .graph
            .constant(&format!("{name}.weight"), &[inputs, outputs], &transposed(&matrix.rows, inputs, 0, inputs));
        if matrix.bias.iter().all(|&bias| bias == 0.0) {
            return self.graph.matmul(name, x, &weights);
        }
        let y = self.graph.matmul(&format!("{name}/product"), x, &weights);
        let bias: Vec<f32> = matrix.bias.iter().map(|&bias| bias as f32).collect();
        let bias = self.graph.constant(&format!("{name}.bias"), &[outputs], &bias);
        self.graph.binary("Add", name, &y, &bias)
    }

    /// (x - mean) / sqrt(variance + epsilon), times a gain and with an offset where there are some.
    fn normed(&mut self, name: &str, x: &GraphValue, affine: Option<(Vec<f64>, Vec<f64>)>) -> GraphValue {
        let width = x.width();
        let vector = |graph: &mut Graph, part: &str, values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            graph.constant(&format!("{name}.{part}"), &[width], &values)
        };
        if self.target != OnnxTarget::Nncase {
            let (gain, offset) = affine.unwrap_or((vec![1.0; width], vec![0.0; width]));
            let (gain, offset) = (vector(&mut self.graph, "weight", &gain), vector(&mut self.graph, "bias", &offset));
            return self.graph.layer_norm(name, x, &gain, &offset, NORM_EPSILON);
        }
        let at = |part: &str| format!("{name}/{part}");
        let mean = self.graph.mean(&at("mean"), x);
        let centred = self.graph.binary("Sub", &at("centred"), x, &mean);
        let square = self.graph.binary("Mul", &at("square"), &centred, &centred);
        let variance = self.graph.mean(&at("variance"), &square);
        let epsilon = self.graph.scalar(NORM_EPSILON);
        let variance = self.graph.binary("Add", &at("above"), &variance, &epsilon);
        let deviation = self.graph.unary("Sqrt", &at("deviation"), &variance);
        let Some((gain, offset)) = affine else {
            return self.graph.binary("Div", name, &centred, &deviation);
        };
        let y = self.graph.binary("Div", &at("normed"), &centred, &deviation);
        let (gain, offset) = (vector(&mut self.graph, "weight", &gain), vector(&mut self.graph, "bias", &offset));
        let y = self.graph.binary("Mul", &at("scaled"), &y, &gain);
        self.graph.binary("Add", name, &y, &offset)
    }

    /// A picture's rows `[a, p, a, p C]` as patches or the other way round: the same exchange of two dimensions.
    fn exchanged(&mut self, name: &str, x: &GraphValue, shape: [usize; 4]) -> GraphValue {
        let split = self.graph.reshape(&format!("{name}/split"), x, &shape);
        self.graph.transpose(&format!("{name}/exchanged"), &split, &[0, 1, 3, 2, 4])
    }
}

impl Ops for TargetGraph<'_> {
    type Image = GraphValue;
    type Condition = TargetAct;
    type Output = ();
    type Act = TargetAct;
    type Skip = TargetAct;
    type Error = OnnxError;

    fn tokens(&mut self, image: &GraphValue, rows: &TargetAct) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let (name, config, d) = (site.name(), self.config, self.config.encoder.width);
        if !self.target.takes_rows() {
            let (across, row) = (config.across(), config.patch * config.channels);
            let patches = self.exchanged(&name, image, [across, config.patch, across, row]);
            self.noise = self
                .graph
                .reshape(&format!("{name}/patches"), &patches, &[config.patches(), config.patch_len()]);
        }
        let (noise, matrix) = (self.noise.clone(), self.params.matrix(site));
        let patches = self.product(&name, &noise, &matrix);
        let class = self.class_row("encoder.class", rows, 0, d);
        let time: Vec<f32> = self.params.time_token().iter().map(|&v| v as f32).collect();
        let time = self.graph.constant("encoder.time", &[1, 1, d], &time);
        let prefix = self.graph.concat("encoder.prefix", &class, &time, 1);
        Ok(self.graph.concat("encoder.tokens", &prefix, &patches, 1).into())
    }

    fn add_position(&mut self, x: TargetAct) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::Position);
        let table: Vec<f32> = self.params.vector(site).iter().map(|&v| v as f32).collect();
        let table = self
            .graph
            .constant(&site.name(), &[self.config.tokens(), self.config.encoder.width], &table);
        Ok(self.graph.binary("Add", "encoder.stream", &x.one(), &table).into())
    }

    fn layer_norm(&mut self, site: Site, x: &TargetAct) -> Done {
        // Gain and offset of the others are in the matrix that reads them.
        let affine = (site.layer == Layer::SkipNorm).then(|| self.params.gain_and_offset(site));
        Ok(self.normed(&site.name(), &x.one(), affine).into())
    }

    fn layer_norm_in_place(&mut self, site: Site, x: TargetAct) -> Done {
        self.layer_norm(site, &x)
    }

    fn linear(&mut self, site: Site, x: &TargetAct) -> Done {
        let (name, matrix) = (site.name(), self.params.matrix(site));
        if site.layer != Layer::Qkv {
            return Ok(self.product(&name, &x.one(), &matrix).into());
        }
        let tower = self.tower(site.side);
        let mut parts = Vec::with_capacity(3);
        for (number, part) in ["q", "k", "v"].into_iter().enumerate() {
            let mut matrix = matrix.rows(number * tower.width..(number + 1) * tower.width);
            if number == 0 {
                // The scores' factor is part of the queries.
                matrix.scale(1.0 / (tower.head_width() as f64).sqrt());
            }
            parts.push(self.product(&format!("{name}.{part}"), &x.one(), &matrix));
        }
        Ok(TargetAct(parts))
    }

    fn linear_into(&mut self, site: Site, x: &TargetAct, _: TargetAct) -> Done {
        self.linear(site, x)
    }

    fn bridge(&mut self, x: TargetAct) -> Done {
        self.linear(Site::new(Side::Decoder, 0, Layer::Bridge), &x)
    }

    fn attend(&mut self, site: Site, qkv: &TargetAct, _: TargetAct) -> Done {
        let (name, tower) = (site.name(), self.tower(site.side));
        let [q, k, v] = [("q", 0), ("k", 1), ("v", 2)]
            .map(|(part, number)| heads(&mut self.graph, &tower, &format!("{name}/{part}"), &qkv.part(number), number == 1));
        let scores = self.graph.matmul(&format!("{name}/scores"), &q, &k);
        let weights = self.graph.softmax(&format!("{name}/softmax"), &scores);
        let mean = self.graph.matmul(&format!("{name}/mean"), &weights, &v);
        Ok(join(&mut self.graph, &tower, &name, &mean).into())
    }

    /// In the order of operations that tools know as GELU, or as the operator where they know that.
    fn gelu(&mut self, site: Site, x: TargetAct) -> Done {
        let (name, x) = (site.name(), x.one());
        Ok(if self.target == OnnxTarget::Esp {
            self.graph.gelu(&name, &x)
        } else {
            gelu(&mut self.graph, &name, &x)
        }
        .into())
    }

    fn add(&mut self, site: Site, x: TargetAct, y: TargetAct) -> Done {
        Ok(self.graph.binary("Add", &site.name(), &x.one(), &y.one()).into())
    }

    fn keep(&mut self, _: Site, x: &TargetAct) -> Done {
        Ok(x.clone())
    }

    fn concat(&mut self, site: Site, x: &TargetAct, skip: TargetAct) -> Done {
        Ok(self.graph.concat(&format!("{}/both", site.name()), &x.one(), &skip.one(), 2).into())
    }

    /// Folded into the rows that the class chose.
    fn condition(&mut self, rows: &TargetAct) -> Done {
        Ok(rows.clone())
    }

    fn modulation(&mut self, site: Site, rows: &TargetAct) -> Done {
        let d = self.config.decoder.width;
        let first = self.config.encoder.width + 6 * d * site.block;
        let name = site.name();
        let chunk = |number: usize| self.class_row(&format!("{name}.{number}"), rows, first + number * d, first + (number + 1) * d);
        Ok(TargetAct((0..6).map(chunk).collect()))
    }

    fn modulated_norm(&mut self, site: Site, x: &TargetAct, modulation: &TargetAct, branch: Branch) -> Done {
        let name = site.name();
        let y = self.normed(&format!("{name}/norm"), &x.one(), None);
        let y = self.graph.binary("Mul", &format!("{name}/scaled"), &y, &modulation.part(branch.scale()));
        Ok(self.graph.binary("Add", &name, &y, &modulation.part(branch.shift())).into())
    }

    fn gated_add(&mut self, site: Site, x: TargetAct, y: TargetAct, modulation: &TargetAct, branch: Branch) -> Done {
        let y = self
            .graph
            .binary("Mul", &format!("{}/gated", site.name()), &y.one(), &modulation.part(branch.gate()));
        self.add(site, x, y.into())
    }

    fn class_token(&mut self, x: TargetAct) -> Done {
        Ok(x)
    }

    fn patch_tokens(&mut self, x: TargetAct) -> Done {
        Ok(self
            .graph
            .slice("decoder.patches", &x.one(), 1, PREFIX_TOKENS, self.config.tokens())
            .into())
    }

    /// Levels of bytes in patches, and as a picture where the noise is one.
    fn unpatchify(&mut self, site: Site, patches: TargetAct) -> Done<()> {
        let (name, config) = (site.name(), self.config);
        let mut levels = patches.one();
        if let Some(part) = self.params.noise_levels() {
            // The noisy input is part of the picture.
            let part: Vec<f32> = part.iter().map(|&v| v as f32).collect();
            let part = self.graph.constant(&format!("{name}.noise"), &[part.len()], &part);
            let noise = self.graph.binary("Mul", &format!("{name}/noise"), &self.noise.clone(), &part);
            levels = self.graph.binary("Add", &format!("{name}/sum"), &levels, &noise);
        }
        if self.target.takes_rows() {
            // A name that does not depend on the parametrisation.
            levels = self.graph.unary("Identity", "levels", &levels);
        } else {
            let (across, row) = (config.across(), config.patch * config.channels);
            let rows = self.exchanged(&name, &levels, [across, across, config.patch, row]);
            levels = self.graph.reshape("levels", &rows, &[config.size, config.size, config.channels]);
        }
        self.graph.output(&levels, "levels of bytes: round, then clamp to 0 to 255");
        Ok(())
    }

    fn release(&mut self, _: TargetAct) {}
}
