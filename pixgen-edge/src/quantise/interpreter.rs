//! The network as the quantiser sees it: an interpreter whose activations are scales instead of numbers. Each operation looks up the range
//! that calibration found for its result and writes the integers with which a chip computes it.

use super::build::{Builder, OutputScales};
use super::error::QuantiseError;
use super::range::RangeMethod;
use super::scale::{Quantisation, left_shift, multiplier, to_i16, to_i32};
use pixgen_core::config::Tower;
use pixgen_core::kernels::TABLE_LEN;
use pixgen_core::ops::{Branch, OpResult, Ops};
use pixgen_core::params::{Layer, ParamKind, Side, Site};

/// Steps of the table of exp for each unit of its argument (docs/reference/numerics.md section 4.5).
const EXP_STEPS: f64 = 46.0;
/// Below this GELU is zero to within a step of int8.
const GELU_FLOOR: f64 = -5.0;

/// An activation of the integer network.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The site whose result it is.
    site: Site,
    /// What its integers mean, by channel.
    quantisation: Quantisation,
    /// Mean of each channel, for bias correction; empty where no linear layer reads it.
    means: Vec<f64>,
}

impl Activation {
    /// An activation of i16, the same scale for all channels.
    fn wide(site: Site, scale: f64, width: usize) -> Self {
        Self { site, quantisation: Quantisation::uniform(scale, width), means: Vec::new() }
    }

    /// The scale of an activation of i16.
    fn scale(&self) -> f64 {
        self.quantisation.scale.first().copied().unwrap_or_default()
    }

    fn width(&self) -> usize {
        self.quantisation.scale.len()
    }
}

/// What an operation hands to the next.
#[derive(Clone, Debug)]
pub enum Act {
    /// Integers.
    Integers(Activation),
    /// The condition, which is folded into tables.
    Condition,
    /// AdaLN of one block, `[6 d_dec]` for each step and class.
    Modulations(Vec<Vec<f64>>),
}

impl Act {
    fn integers(&self, site: Site) -> Result<&Activation, QuantiseError> {
        match self {
            Self::Integers(x) => Ok(x),
            _ => Err(QuantiseError::place(site)),
        }
    }

    fn modulations(&self, site: Site) -> Result<&[Vec<f64>], QuantiseError> {
        match self {
            Self::Modulations(rows) => Ok(rows),
            _ => Err(QuantiseError::place(site)),
        }
    }
}

/// x Phi(x).
fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

impl Builder<'_> {
    fn tower(&self, side: Side) -> Tower {
        match side {
            Side::Encoder => self.config.encoder,
            Side::Decoder => self.config.decoder,
        }
    }

    /// The result of a site as the int8 that linear layers read.
    fn narrow_result(&self, site: Site) -> Result<Activation, QuantiseError> {
        Ok(Activation { site, quantisation: self.quantisation(site)?, means: self.means(site)? })
    }

    /// The scale of the encoder's residual stream: one for all blocks and for what they add to it.
    fn encoder_stream(&self) -> Result<f64, QuantiseError> {
        let on_stream = [Layer::Position, Layer::Add1, Layer::Add2, Layer::Proj, Layer::Fc2];
        let sites = self.calibration.sites();
        let sites = sites.filter(|site| site.side == Side::Encoder && on_stream.contains(&site.layer));
        self.wide_scale(sites)
    }

    /// The scale of what a branch adds to the stream. In the decoder a gate changes it to the stream's.
    fn branch_scale(&self, site: Site) -> Result<f64, QuantiseError> {
        match site.side {
            Side::Encoder => self.encoder_stream(),
            Side::Decoder => self.wide_scale([site]),
        }
    }

    /// A linear layer into i16 of one scale.
    fn wide_linear(&mut self, site: Site, x: &Act, scale: f64, width: usize) -> Result<Act, QuantiseError> {
        let x = x.integers(site)?;
        self.write_linear(site, &x.quantisation, &x.means, &[OutputScales::uniform(scale, width)])?;
        let y = Activation::wide(site, scale, width);
        self.record(site, &y.quantisation);
        Ok(Act::Integers(y))
    }

    /// Queries, keys and values, each with a scale of its own.
    fn qkv(&mut self, site: Site, x: &Act) -> Result<Act, QuantiseError> {
        let x = x.integers(site)?;
        let d = self.tower(site.side).width;
        let mut scale = Vec::with_capacity(3 * d);
        for part in 0..3 {
            scale.extend(Quantisation::symmetric(self.range(site, part, true)?, d).scale);
        }
        let quantisation = Quantisation { zero_point: vec![0; 3 * d], scale: scale.clone() };
        self.write_linear(site, &x.quantisation, &x.means, &[OutputScales { offset: vec![0.0; 3 * d], scale }])?;
        self.record(site, &quantisation);
        Ok(Act::Integers(Activation { site, quantisation, means: Vec::new() }))
    }

    /// The first layer of an MLP puts out indices of the table of GELU.
    fn fc1(&mut self, site: Site, x: &Act) -> Result<Act, QuantiseError> {
        let x = x.integers(site)?;
        let (low, scale, hidden) = self.gelu_inputs(site)?;
        let indices = OutputScales { scale: vec![scale; hidden], offset: vec![low; hidden] };
        self.write_linear(site, &x.quantisation, &x.means, &[indices])?;
        Ok(Act::Integers(Activation::wide(site, scale, hidden)))
    }

    /// Lowest input of the table of GELU, distance of two inputs, and how many channels there are.
    fn gelu_inputs(&self, fc1: Site) -> Result<(f64, f64, usize), QuantiseError> {
        let stats = self.stats(fc1, 0)?;
        let range = stats.range(RangeMethod::MinMax, TABLE_LEN as f64, false);
        let low = range.low.max(GELU_FLOOR);
        Ok((low, ((range.high - low) / (TABLE_LEN - 1) as f64).max(1e-9), stats.width))
    }

    /// The head puts out fractions of grey levels, with other factors in each step.
    fn write_head(&mut self, site: Site, x: &Act) -> Result<(), QuantiseError> {
        let x = x.integers(site)?;
        let outputs = self.head_scales();
        if let Some(first) = outputs.first() {
            let zero_point = first.scale.iter().zip(&first.offset).map(|(scale, offset)| to_i32(-offset / scale));
            let quantisation = Quantisation { zero_point: zero_point.collect(), scale: first.scale.clone() };
            self.record(site, &quantisation);
        }
        self.write_linear(site, &x.quantisation, &x.means, &outputs)
    }

    /// A norm into int8 for linear layers, or into i16 of scale `wide`.
    fn write_norm(&mut self, site: Site, x: &Act, wide: Option<f64>) -> Result<Act, QuantiseError> {
        let x = x.integers(site)?;
        let y = match wide {
            Some(scale) => Activation::wide(site, scale, x.width()),
            None => self.narrow_result(site)?,
        };
        self.norm(site, x.scale(), &y.quantisation)?;
        Ok(Act::Integers(y))
    }
}

/// The picture is noise and the condition one of the exported classes: every step and class is written in one walk.
impl Ops for Builder<'_> {
    type Image = ();
    type Condition = ();
    type Output = ();
    type Act = Act;
    type Skip = Activation;
    type Error = QuantiseError;

    fn tokens(&mut self, _: &(), _: &()) -> OpResult<Act, Self> {
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let input = self.input(site)?;
        let (stream, d) = (self.encoder_stream()?, self.config.encoder.width);
        let zero_mean = vec![0.0; input.scale.len()];
        self.write_linear(site, &input, &zero_mean, &[OutputScales::uniform(stream, d)])?;
        self.prefix_tokens(site, stream)?;
        Ok(Act::Integers(Activation::wide(site, stream, d)))
    }

    fn add_position(&mut self, x: Act) -> OpResult<Act, Self> {
        let site = Site::new(Side::Encoder, 0, Layer::Position);
        let x = x.integers(site)?;
        let table = self.weights.get(site, ParamKind::Weight);
        let table: Vec<i16> = table.iter().map(|&v| to_i16(f64::from(v) / x.scale())).collect();
        self.put(site, self.layout.position(), &table)?;
        self.record(site, &x.quantisation);
        Ok(Act::Integers(Activation { site, ..x.clone() }))
    }

    fn layer_norm(&mut self, site: Site, x: &Act) -> OpResult<Act, Self> {
        self.write_norm(site, x, None)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: Act) -> OpResult<Act, Self> {
        let wide = match (site.side, site.layer) {
            // What this norm puts out is the stream of the block.
            (Side::Decoder, Layer::SkipNorm) => {
                Some(self.wide_scale([Layer::SkipNorm, Layer::Add1, Layer::Add2].map(|layer| Site { layer, ..site }))?)
            }
            (Side::Encoder, Layer::FinalNorm) if !self.config.has_bridge() => Some(self.wide_scale([site])?),
            _ => None,
        };
        self.write_norm(site, &x, wide)
    }

    fn linear(&mut self, site: Site, x: &Act) -> OpResult<Act, Self> {
        match site.layer {
            Layer::Qkv => self.qkv(site, x),
            Layer::Fc1 => self.fc1(site, x),
            _ => self.wide_linear(site, x, self.branch_scale(site)?, self.tower(site.side).width),
        }
    }

    fn linear_into(&mut self, site: Site, x: &Act, _: Act) -> OpResult<Act, Self> {
        self.linear(site, x)
    }

    fn bridge(&mut self, x: Act) -> OpResult<Act, Self> {
        let site = Site::new(Side::Decoder, 0, Layer::Bridge);
        self.wide_linear(site, &x, self.wide_scale([site])?, self.config.decoder.width)
    }

    fn attend(&mut self, site: Site, qkv: &Act, _: Act) -> OpResult<Act, Self> {
        let tower = self.tower(site.side);
        let (d, head_width) = (tower.width, tower.head_width());
        let scales = &qkv.integers(site)?.quantisation.scale;
        let [q, k, v] = [0, d, 2 * d].map(|at| scales[at]);
        let quantisation = Quantisation::symmetric(self.range(site, 0, true)?, d);
        let scale = q * k / (head_width as f64).sqrt() * EXP_STEPS;
        let left = left_shift(scale);
        let mean = (v / quantisation.scale[0] * 28f64.exp2()).round().min(f64::from(u32::MAX)) as u32;
        self.put_words(site, [multiplier(scale, left), left as i32, mean as i32, 0])?;
        self.record(site, &quantisation);
        Ok(Act::Integers(Activation { site, quantisation, means: self.means(site)? }))
    }

    fn gelu(&mut self, site: Site, x: Act) -> OpResult<Act, Self> {
        let fc1 = x.integers(site)?.site;
        let (low, distance, _) = self.gelu_inputs(fc1)?;
        let y = self.narrow_result(site)?;
        let (scale, zero_point) = (y.quantisation.scale[0], f64::from(y.quantisation.zero_point[0]));
        let value = |i: usize| (gelu(low + i as f64 * distance) / scale + zero_point).round() as i8;
        let table: Vec<i8> = (0..TABLE_LEN).map(value).collect();
        self.put(site, self.layout.table(fc1), &table)?;
        self.record(site, &y.quantisation);
        Ok(Act::Integers(y))
    }

    fn add(&mut self, site: Site, x: Act, _: Act) -> OpResult<Act, Self> {
        let sum = Activation { site, ..x.integers(site)?.clone() };
        self.record(site, &sum.quantisation);
        Ok(Act::Integers(sum))
    }

    fn keep(&mut self, site: Site, x: &Act) -> OpResult<Activation, Self> {
        let x = x.integers(site)?;
        let kept = self.narrow_result(x.site)?;
        self.narrow(site, x.scale(), &kept.quantisation)?;
        Ok(kept)
    }

    /// Two quantisations, and one matrix over both.
    fn concat(&mut self, site: Site, x: &Act, skip: Activation) -> OpResult<Act, Self> {
        let x = x.integers(site)?;
        let entry = self.narrow_result(x.site)?;
        self.narrow(site, x.scale(), &entry.quantisation)?;
        let means = [entry.means, skip.means].concat();
        let quantisation = entry.quantisation.chain(&skip.quantisation);
        Ok(Act::Integers(Activation { site, quantisation, means }))
    }

    fn condition(&mut self, _: &()) -> OpResult<Act, Self> {
        Ok(Act::Condition)
    }

    fn modulation(&mut self, site: Site, _: &Act) -> OpResult<Act, Self> {
        let rows = self.conditions.iter().map(|condition| condition.modulation(&self.weights, site));
        Ok(Act::Modulations(rows.collect()))
    }

    fn modulated_norm(&mut self, site: Site, x: &Act, modulation: &Act, branch: Branch) -> OpResult<Act, Self> {
        let x = x.integers(site)?;
        let y = self.narrow_result(site)?;
        self.modulated(site, x.scale(), &y.quantisation, modulation.modulations(site)?, branch)?;
        Ok(Act::Integers(y))
    }

    fn gated_add(&mut self, site: Site, x: Act, y: Act, modulation: &Act, branch: Branch) -> OpResult<Act, Self> {
        let (stream, added) = (x.integers(site)?.scale(), y.integers(site)?.scale());
        let norm = match branch {
            Branch::Attention => Layer::Norm1,
            Branch::Mlp => Layer::Norm2,
        };
        self.gates(Site { layer: norm, ..site }, [added, stream], modulation.modulations(site)?, branch)?;
        self.add(site, x, y)
    }

    fn class_token(&mut self, x: Act) -> OpResult<Act, Self> {
        Ok(x)
    }

    fn patch_tokens(&mut self, x: Act) -> OpResult<Act, Self> {
        Ok(x)
    }

    fn head(&mut self, site: Site, x: Act) -> OpResult<(), Self> {
        self.write_head(site, &x)
    }

    /// The bytes of a picture come from the head's words.
    fn unpatchify(&mut self, _: Site, _: Act) -> OpResult<(), Self> {
        Ok(())
    }

    fn release(&mut self, _: Act) {}
}
