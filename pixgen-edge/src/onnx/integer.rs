//! The integer network as a graph: the integers of a `.pxg` file and the arithmetic of `docs/reference/numerics.md` section 4, bit for bit.
//!
//! Matrix products are MatMulInteger. What happens to their sums is whole numbers of 64 bits, wide enough that nothing wraps, so that
//! the operators' meaning is the same everywhere: a right shift is a division of a number that is not negative.

use super::error::OnnxError;
use super::float::{heads, inputs, join, patchify, transposed, unpatchify};
use super::graph::{Graph, GraphValue};
use super::proto::Element;
use pixgen_core::config::Tower;
use pixgen_core::integer::EXP;
use pixgen_core::integer::norm::fraction_bits;
use pixgen_core::kernels::TABLE_LEN;
use pixgen_core::ops::{Branch, Ops};
use pixgen_core::params::{Layer, Side, Site};
use pixgen_core::pxg::{Model, Modulation, StepRecord};

/// The integers' 1 of the Gaussians, which have 16 fractional bits.
const NOISE_UNIT: f32 = 65_536.0;
/// Fractional bits of a grey level before the picture's bytes.
const LEVEL_BITS: u32 = 6;

/// What a result is clamped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bounds {
    /// int8, as the type int8.
    I8,
    /// int16, as the type int64.
    I16,
    /// An index of the table of GELU, as the type int64.
    Index,
}

/// The interpreter.
#[derive(Debug)]
pub struct IntegerGraph<'a> {
    graph: Graph,
    model: &'a Model<'a>,
    step: StepRecord,
    /// The noise in patches, as drawn.
    noise: Option<GraphValue>,
}

impl<'a> IntegerGraph<'a> {
    /// Begins a graph; returns it with its inputs noise and class.
    ///
    /// # Errors
    /// A file of two steps.
    pub fn new(model: &'a Model<'a>, batch: Option<usize>) -> Result<(Self, GraphValue, GraphValue), OnnxError> {
        let steps = model.steps();
        let Some(step) = model.step(0).filter(|_| steps == 1) else {
            return Err(OnnxError::Steps { steps });
        };
        let mut graph = Graph::new(batch);
        let (noise, class) = inputs(&mut graph, model.config(), model.config().classes);
        Ok((Self { graph, model, step, noise: None }, noise, class))
    }

    /// The graph.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    fn tower(&self, side: Side) -> Tower {
        if side == Side::Encoder {
            self.model.config().encoder
        } else {
            self.model.config().decoder
        }
    }

    // --- Whole numbers --------------------------------------------------------------------------------------------------------------

    fn op(&mut self, op: &str, name: &str, a: &GraphValue, b: i64) -> GraphValue {
        let b = self.graph.scalar(b);
        self.graph.binary(op, name, a, &b)
    }

    /// floor(x / 2^bits), for |x| up to 2^62: a quotient of positive numbers, which every runtime rounds alike.
    fn shift_right(&mut self, name: &str, x: &GraphValue, bits: u32) -> GraphValue {
        let raised = self.op("Add", &format!("{name}/raised"), x, 1 << 62);
        let quotient = self.op("Div", &format!("{name}/quotient"), &raised, 1 << bits);
        self.op("Sub", name, &quotient, 1 << (62 - bits))
    }

    /// The rounding rule: (x M + 2^31) >> 32.
    fn scaled(&mut self, name: &str, x: &GraphValue, multiplier: &GraphValue) -> GraphValue {
        let product = self.graph.binary("Mul", &format!("{name}/scaled"), x, multiplier);
        let half = self.op("Add", &format!("{name}/half"), &product, 1 << 31);
        self.shift_right(&format!("{name}/rounded"), &half, 32)
    }

    /// Clamps.
    fn stored(&mut self, name: &str, x: &GraphValue, bounds: Bounds) -> GraphValue {
        match bounds {
            Bounds::I16 => self.graph.clip(name, x, i64::from(i16::MIN), i64::from(i16::MAX)),
            Bounds::Index => self.graph.clip(name, x, 0, TABLE_LEN as i64 - 1),
            Bounds::I8 => {
                let clipped = self.graph.clip(&format!("{name}/clipped"), x, i64::from(i8::MIN), i64::from(i8::MAX));
                self.graph.cast(name, &clipped, Element::Int8)
            }
        }
    }

    fn wide(&mut self, name: &str, x: &GraphValue) -> GraphValue {
        self.graph.cast(name, x, Element::Int64)
    }

    // --- Layers ---------------------------------------------------------------------------------------------------------------------

    /// int8 rows through the matrix of a site.
    fn product(&mut self, site: Site, x: &GraphValue, bounds: Bounds) -> Result<GraphValue, OnnxError> {
        let name = site.name();
        let layer = self.model.linear(site, 0)?;
        let (inputs, outputs) = (x.width(), layer.weights.count());
        let rows: Vec<i8> = (0..outputs).flat_map(|o| layer.weights.row(o)).copied().collect();
        // A sum must not wrap, neither by itself nor after the shift.
        let greatest = layer.bias.iter().map(|bias| u64::from(bias.unsigned_abs())).max().unwrap_or_default();
        if (greatest + inputs as u64 * 128 * 128) << layer.left >= 1 << 31 {
            let row = |o: usize| layer.weights.row(o).iter().map(|w| u64::from(w.unsigned_abs()) * 128).sum::<u64>();
            let most = |o: usize| (row(o) + u64::from(layer.bias.get(o).map_or(0, |bias| bias.unsigned_abs()))) << layer.left;
            if (0..outputs).any(|o| most(o) >= 1 << 31) {
                return Err(OnnxError::Wraps { site });
            }
        }
        let values = transposed(&rows, layer.weights.row_len(), 0, inputs);
        let matrix = self.graph.constant(&format!("{name}.weight"), &[inputs, outputs], &values);
        let bias = self.graph.constant(&format!("{name}.bias"), &[outputs], layer.bias);
        let multipliers: Vec<i64> = layer.multiplier.iter().map(|&m| i64::from(m) << layer.left).collect();
        let multiplier = self.graph.constant(&format!("{name}.multiplier"), &[outputs], &multipliers);
        let sums = self.graph.matmul_integer(&format!("{name}/product"), x, &matrix);
        let sums = self.graph.binary("Add", &format!("{name}/sums"), &sums, &bias);
        let sums = self.wide(&format!("{name}/wide"), &sums);
        let scaled = self.scaled(&name, &sums, &multiplier);
        Ok(self.stored(&name, &scaled, bounds))
    }

    /// A norm (docs/reference/numerics.md section 4.4) of rows of int16; gain and offset are int64.
    fn norm(&mut self, site: Site, x: &GraphValue, gain: &GraphValue, offset: &GraphValue) -> Result<GraphValue, OnnxError> {
        let name = site.name();
        let at = |part: &str| format!("{name}/{part}");
        let norm = self.model.norm(site)?;
        let d = x.width() as i64;
        let bits = fraction_bits(x.width());

        let sum = self.graph.sum(&at("sum"), x);
        let squares = self.graph.binary("Mul", &at("squares"), x, x);
        let squares = self.graph.sum(&at("square_sum"), &squares);
        let squares = self.op("Mul", &at("d_square_sum"), &squares, d);
        let square = self.graph.binary("Mul", &at("sum_square"), &sum, &sum);
        let spread = self.graph.binary("Sub", &at("d2_variance"), &squares, &square);
        let spread = self.op("Add", &at("with_epsilon"), &spread, d * d * i64::from(norm.epsilon));
        let spread = self.graph.clip(&at("spread"), &spread, 1, i64::MAX);

        // half = floor((bits of the spread - 31) / 2) = -15 + the number of powers 4, 16, .. 4^31 that the spread reaches. What depends on
        // it alone are tables, the first entry for -15.
        let powers: Vec<i64> = (1..32).map(|k| 1 << (2 * k)).collect();
        let powers = self.graph.constant("norm.powers", &[31], &powers);
        let reached = self.graph.at_least(&at("reached"), &spread, &powers);
        let reached = self.wide(&at("reached_number"), &reached);
        let row = self.graph.sum(&at("half"), &reached);
        let halves = || -15..=16i32;
        let mut table = |what: &str, f: &dyn Fn(i32) -> i64| {
            let values: Vec<i64> = halves().map(f).collect();
            let table = self.graph.constant(what, &[values.len()], &values);
            let name = what.trim_start_matches("norm.").split('.').next().unwrap_or_default();
            self.graph.gather(&at(name), &table, &row)
        };
        let up = table("norm.up", &|half| 1 << (2 * (-half).max(0)));
        let down = table("norm.down", &|half| 1 << (2 * half.max(0)));
        // The shift of a centred value to 16 bits, to the left where it is negative.
        let shift = move |half: i32| half + 16 - bits as i32;
        let left = table(&format!("norm.left.{bits}"), &|half| 1 << (-shift(half)).max(0));
        let right = table(&format!("norm.right.{bits}"), &|half| 1 << shift(half).max(0));
        let lowered = table(&format!("norm.lowered.{bits}"), &|half| 1 << (60 - shift(half).max(0)));

        let root = self.graph.binary("Mul", &at("spread_up"), &spread, &up);
        let root = self.graph.binary("Div", &at("spread_32_bits"), &root, &down);
        // The root of a number of 32 bits is right in f64, and so is what a cast leaves of it.
        let root = self.graph.cast(&at("spread_real"), &root, Element::Double);
        let root = self.graph.unary("Sqrt", &at("root_real"), &root);
        let root = self.wide(&at("root"), &root);
        let one = self.graph.scalar(1i64 << 31);
        let inverse = self.graph.binary("Div", &at("inverse"), &one, &root);

        let centred = self.op("Mul", &at("d_x"), x, d);
        let centred = self.graph.binary("Sub", &at("centred"), &centred, &sum);
        let centred = self.graph.binary("Mul", &at("centred_left"), &centred, &left);
        let centred = self.op("Add", &at("centred_raised"), &centred, 1 << 60);
        let centred = self.graph.binary("Div", &at("centred_right"), &centred, &right);
        let centred = self.graph.binary("Sub", &at("centred_16_bits"), &centred, &lowered);
        let n = self.graph.binary("Mul", &at("times_inverse"), &centred, &inverse);
        let n = self.shift_right(&at("normal"), &n, 15);

        let y = self.graph.binary("Mul", &at("gained"), &n, gain);
        let y = self.graph.binary("Add", &at("moved"), &y, offset);
        let y = self.shift_right(&at("shifted"), &y, norm.shift);
        let to_linear = match site.layer {
            Layer::Norm1 | Layer::Norm2 => true,
            Layer::FinalNorm => site.side == Side::Decoder || self.model.config().has_bridge(),
            _ => false,
        };
        Ok(self.stored(&name, &y, if to_linear { Bounds::I8 } else { Bounds::I16 }))
    }

    /// int16 to int8 by the words of a site.
    fn narrow(&mut self, site: Site, part: &str, x: &GraphValue) -> Result<GraphValue, OnnxError> {
        let [gain, shift, offset] = self.model.site_words(site)?;
        let name = format!("{}/{part}", site.name());
        let y = self.op("Mul", &format!("{name}/gained"), x, i64::from(gain));
        let y = self.op("Add", &format!("{name}/moved"), &y, i64::from(offset));
        let y = self.shift_right(&format!("{name}/shifted"), &y, shift as u32 & 31);
        Ok(self.stored(&name, &y, Bounds::I8))
    }

    /// A row of a table for each picture's class, `[N, 1, d]`.
    fn of_class<T: super::graph::Item>(
        &mut self,
        name: &str,
        site: Site,
        class: &GraphValue,
        part: impl Fn(&Modulation<'a>) -> &'a [T],
    ) -> Result<GraphValue, OnnxError> {
        let (mut table, mut width) = (Vec::new(), 0);
        for number in 0..self.model.config().classes {
            let row = part(&self.model.modulation(0, number, site)?);
            width = row.len();
            table.extend_from_slice(row);
        }
        let dims = [self.model.config().classes, 1, width];
        let table = self.graph.constant(&format!("{name}.table"), &dims, &table);
        let row = self.graph.gather(&format!("{name}/row"), &table, class);
        Ok(self.wide(name, &row))
    }
}

type Done = Result<GraphValue, OnnxError>;

impl Ops for IntegerGraph<'_> {
    type Image = GraphValue;
    type Condition = GraphValue;
    type Output = ();
    type Act = GraphValue;
    type Skip = GraphValue;
    type Error = OnnxError;

    fn tokens(&mut self, image: &GraphValue, class: &GraphValue) -> Done {
        let (model, config) = (self.model, *self.model.config());
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let name = site.name();
        let patches = patchify(&mut self.graph, &config, &name, image);
        let unit = self.graph.scalar(NOISE_UNIT);
        let noise = self.graph.binary("Mul", "noise/scaled", &patches, &unit);
        let noise = self.graph.unary("Round", "noise/rounded", &noise);
        let noise = self.wide("noise/fixed_point", &noise);
        let scaled = self.op("Mul", &format!("{name}/gained"), &noise, i64::from(self.step.noise));
        let constant: Vec<i64> = (0..config.patch_len())
            .map(|i| {
                self.step
                    .constant
                    .get(i % config.channels)
                    .map_or(0, |&constant| (i64::from(constant) << 8) + (1 << 31))
            })
            .collect();
        let constant = self.graph.constant(&format!("{name}.constant"), &[constant.len()], &constant);
        let moved = self.graph.binary("Add", &format!("{name}/moved"), &scaled, &constant);
        let rounded = self.shift_right(&format!("{name}/shifted"), &moved, 32);
        let codes = self.stored(&format!("{name}/input"), &rounded, Bounds::I8);
        self.noise = Some(noise);
        let patches = self.product(site, &codes, Bounds::I16)?;

        let d = config.encoder.width;
        let rows = (0..config.classes).flat_map(|class| [model.class_token(class), model.time_token(0)]);
        let rows: Vec<i16> = rows.flatten().copied().collect();
        let table = self.graph.constant("encoder.prefix.table", &[config.classes, 2, d], &rows);
        let prefix = self.graph.gather("encoder.prefix/row", &table, class);
        let prefix = self.wide("encoder.prefix", &prefix);
        Ok(self.graph.concat("encoder.tokens", &prefix, &patches, 1))
    }

    fn add_position(&mut self, x: GraphValue) -> Done {
        let name = Site::new(Side::Encoder, 0, Layer::Position).name();
        let table = self.graph.constant(&name, &[x.rows(), x.width()], self.model.position());
        let table = self.wide(&format!("{name}/wide"), &table);
        let sum = self.graph.binary("Add", "encoder.stream/sum", &x, &table);
        Ok(self.stored("encoder.stream", &sum, Bounds::I16))
    }

    fn layer_norm(&mut self, site: Site, x: &GraphValue) -> Done {
        let (name, norm) = (site.name(), self.model.norm(site)?);
        let gain: Vec<i64> = norm.gain.iter().copied().map(i64::from).collect();
        let offset: Vec<i64> = norm.offset.iter().copied().map(i64::from).collect();
        let gain = self.graph.constant(&format!("{name}.weight"), &[gain.len()], &gain);
        let offset = self.graph.constant(&format!("{name}.bias"), &[offset.len()], &offset);
        self.norm(site, x, &gain, &offset)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: GraphValue) -> Done {
        self.layer_norm(site, &x)
    }

    fn linear(&mut self, site: Site, x: &GraphValue) -> Done {
        let bounds = match site.layer {
            Layer::Proj | Layer::Head => Bounds::I16,
            Layer::Fc1 => Bounds::Index,
            _ => Bounds::I8,
        };
        self.product(site, x, bounds)
    }

    fn linear_into(&mut self, site: Site, x: &GraphValue, _: GraphValue) -> Done {
        self.product(site, x, Bounds::I16)
    }

    fn bridge(&mut self, x: GraphValue) -> Done {
        self.product(Site::new(Side::Decoder, 0, Layer::Bridge), &x, Bounds::I16)
    }

    fn attend(&mut self, site: Site, qkv: &GraphValue, _: GraphValue) -> Done {
        let (name, tower) = (site.name(), self.tower(site.side));
        let at = |part: &str| format!("{name}/{part}");
        let d = tower.width;
        let [score, left, mean] = self.model.site_words(site)?;
        let left = left as u32 & 31;
        if (2 * 128 * 128 * tower.head_width() as u64) << left >= 1 << 31 {
            return Err(OnnxError::Wraps { site });
        }
        let [q, k, v] = [("q", 0), ("k", 1), ("v", 2)].map(|(part, number)| {
            let x = self.graph.slice(&at(&format!("{part}/part")), qkv, 2, number * d, (number + 1) * d);
            heads(&mut self.graph, &tower, &at(part), &x, number == 1)
        });
        let scores = self.graph.matmul_integer(&at("scores"), &q, &k);
        let most = self.graph.greatest(&at("greatest"), &scores);
        let below = self.graph.binary("Sub", &at("below"), &most, &scores);
        let below = self.wide(&at("below_wide"), &below);
        let multiplier = self.graph.scalar(i64::from(score) << left);
        let step = self.scaled(&at("step"), &below, &multiplier);
        // Below 0, which no exporter's multiplier gives, counts as the end of the table.
        let last = EXP.len() as i64 - 1;
        let step = self.graph.clip(&at("step"), &step, 0, last);
        let table = self.graph.constant("exp.table", &[EXP.len()], &EXP.map(|value| value as i8));
        let weights = self.graph.gather(&at("weights"), &table, &step);
        let wide = self.wide(&at("weights_wide"), &weights);
        let sum = self.graph.sum(&at("sum"), &wide);
        let mean = self.graph.scalar(i64::from(mean as u32));
        let multiplier = self.graph.binary("Div", &at("multiplier"), &mean, &sum);
        let sums = self.graph.matmul_integer(&at("weighted"), &weights, &v);
        let sums = self.wide(&at("weighted_wide"), &sums);
        // (x (m << 4) + 2^31) >> 32 without the common factor. A product between Div and here would make onnxruntime 1.32 take these nodes
        // for a product in f32.
        let mean = self.graph.binary("Mul", &at("mean_scaled"), &sums, &multiplier);
        let mean = self.op("Add", &at("mean_half"), &mean, 1 << 27);
        let mean = self.shift_right(&at("mean_rounded"), &mean, 28);
        let mean = self.stored(&at("mean"), &mean, Bounds::I8);
        Ok(join(&mut self.graph, &tower, &name, &mean))
    }

    /// The index that the layer before gave, in its table.
    fn gelu(&mut self, site: Site, x: GraphValue) -> Done {
        let name = site.name();
        let table = self.model.table(site)?;
        let table = self.graph.constant(&format!("{name}.table"), &[table.len()], table);
        Ok(self.graph.gather(&name, &table, &x))
    }

    fn add(&mut self, site: Site, x: GraphValue, y: GraphValue) -> Done {
        let name = site.name();
        let sum = self.graph.binary("Add", &format!("{name}/sum"), &x, &y);
        Ok(self.stored(&name, &sum, Bounds::I16))
    }

    fn keep(&mut self, site: Site, x: &GraphValue) -> Done {
        self.narrow(site, "kept", x)
    }

    fn concat(&mut self, site: Site, x: &GraphValue, skip: GraphValue) -> Done {
        let x = self.narrow(site, "stream", x)?;
        Ok(self.graph.concat(&format!("{}/both", site.name()), &x, &skip, 2))
    }

    /// The class: all else is in tables.
    fn condition(&mut self, class: &GraphValue) -> Done {
        Ok(class.clone())
    }

    fn modulation(&mut self, _: Site, class: &GraphValue) -> Done {
        Ok(class.clone())
    }

    fn modulated_norm(&mut self, site: Site, x: &GraphValue, class: &GraphValue, _: Branch) -> Done {
        let name = site.name();
        let gain = self.of_class(&format!("{name}.weight"), site, class, |row| row.gain)?;
        let offset = self.of_class(&format!("{name}.bias"), site, class, |row| row.offset)?;
        self.norm(site, x, &gain, &offset)
    }

    fn gated_add(&mut self, site: Site, x: GraphValue, y: GraphValue, class: &GraphValue, branch: Branch) -> Done {
        let name = site.name();
        let norm = if branch == Branch::Attention { Layer::Norm1 } else { Layer::Norm2 };
        let shift = self.model.norm(Site { layer: norm, ..site })?.gate_shift;
        let gate = self.of_class(&format!("{name}.gate"), site, class, |row| row.gate)?;
        let y = self.graph.binary("Mul", &format!("{name}/gated"), &y, &gate);
        let y = self.op("Add", &format!("{name}/half"), &y, (1 << shift) >> 1);
        let y = self.shift_right(&format!("{name}/shifted"), &y, shift);
        self.add(site, x, y)
    }

    fn class_token(&mut self, x: GraphValue) -> Done {
        Ok(self.graph.slice("class_token", &x, 1, 0, 1))
    }

    fn patch_tokens(&mut self, x: GraphValue) -> Done {
        Ok(self
            .graph
            .slice("decoder.patches", &x, 1, x.rows() - self.model.config().patches(), x.rows()))
    }

    fn unpatchify(&mut self, site: Site, patches: GraphValue) -> Result<(), OnnxError> {
        let config = *self.model.config();
        let mut levels = patches;
        if let (true, Some(noise)) = (self.model.header().skips_input, self.noise.clone()) {
            let multipliers = (0..config.patch_len()).map(|i| self.step.noise_out.get(i % config.channels).copied().unwrap_or_default());
            let multipliers: Vec<i64> = multipliers.map(i64::from).collect();
            let multiplier = self.graph.constant("pixels.noise", &[multipliers.len()], &multipliers);
            let part = self.scaled("pixels/noise", &noise, &multiplier);
            levels = self.graph.binary("Add", "pixels/levels", &levels, &part);
        }
        let levels = self.op("Add", "pixels/half", &levels, 1 << (LEVEL_BITS - 1));
        let levels = self.shift_right("pixels/shifted", &levels, LEVEL_BITS);
        let bytes = self.graph.clip("pixels/bytes", &levels, 0i64, 255);
        // Few runtimes move blocks of whole numbers; these are small.
        let real = self.graph.cast("pixels/real", &bytes, Element::Float);
        let real = unpatchify(&mut self.graph, &config, &site.name(), &real);
        let pixels = self.graph.cast("pixels", &real, Element::Uint8);
        self.graph.output(&pixels, "grey levels or colours");
        Ok(())
    }

    fn release(&mut self, _: GraphValue) {}
}
