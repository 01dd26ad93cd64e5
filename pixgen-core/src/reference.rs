//! The reference: f32, naive, safe, obvious. The oracle that every other interpreter is held to.

use crate::config::{ModelConfig, NORM_EPSILON, PREFIX_TOKENS};
use crate::network;
use crate::noise::{NoiseConfig, Parametrisation, time_embedding};
use crate::ops::{Branch, Ops};
use crate::params::{Layer, ParamKind, Side, Site};
use crate::patch::unpatchify;
use crate::workspace::{Region, Stack, WorkspaceError};
use core::fmt;

/// Noise level and class of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReferenceCondition {
    /// Shifted noise level t.
    pub t: f64,
    /// Row of the class embedding; `None` adds no embedding at all, as in pre-training.
    pub class: Option<usize>,
}

/// All weights of a model as one slice, in the order of the parameter list.
#[derive(Clone, Copy, Debug)]
pub struct FlatWeights<'a> {
    config: ModelConfig,
    values: &'a [f32],
}

impl<'a> FlatWeights<'a> {
    /// Checks the length against the parameter list.
    pub fn new(config: &ModelConfig, values: &'a [f32]) -> Result<Self, ReferenceError> {
        let want = config.parameter_count();
        if values.len() != want {
            return Err(ReferenceError::WeightCount { want, have: values.len() });
        }
        Ok(Self { config: *config, values })
    }

    /// One tensor; empty if the layer has none of this kind.
    pub fn get(&self, site: Site, kind: ParamKind) -> &'a [f32] {
        let mut start = 0;
        for param in self.config.params() {
            if param.site == site && param.kind == kind {
                return &self.values[start..start + param.len()];
            }
            start += param.len();
        }
        &[]
    }
}

/// Why the reference cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReferenceError {
    /// The weights are of another model.
    WeightCount {
        /// Values of the parameter list.
        want: usize,
        /// Values given.
        have: usize,
    },
    /// A picture has the wrong number of values.
    ImageLen {
        /// Values of a picture.
        want: usize,
        /// Values given.
        have: usize,
    },
    /// There is no such class.
    Class {
        /// Class asked for.
        class: usize,
        /// Rows of the embedding, the unconditional one included.
        rows: usize,
    },
    /// The workspace does not suffice.
    Workspace(WorkspaceError),
}

impl From<WorkspaceError> for ReferenceError {
    fn from(error: WorkspaceError) -> Self {
        Self::Workspace(error)
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WeightCount { want, have } => write!(f, "{have} weights given, the model has {want}"),
            Self::ImageLen { want, have } => write!(f, "picture of {have} values, the model's has {want}"),
            Self::Class { class, rows } => write!(f, "class {class}, but the embedding has {rows} rows"),
            Self::Workspace(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReferenceError {}

/// Runs the network on one picture in a workspace of [`ModelConfig::workspace_len`] values.
#[derive(Debug)]
pub struct Reference<'a> {
    config: ModelConfig,
    weights: FlatWeights<'a>,
    memory: &'a mut [f32],
    stack: Stack,
}

impl<'a> Reference<'a> {
    /// Binds weights and workspace.
    pub fn new(weights: FlatWeights<'a>, workspace: &'a mut [f32]) -> Result<Self, ReferenceError> {
        let (need, have) = (weights.config.workspace_len(), workspace.len());
        if have < need {
            return Err(WorkspaceError::TooSmall { need, have }.into());
        }
        Ok(Self { config: weights.config, weights, stack: Stack::new(have), memory: workspace })
    }

    /// F(image, t, class): `image` is H W C, scaled by c_in; so is `out`.
    pub fn forward(&mut self, image: &[f32], condition: &ReferenceCondition, out: &mut [f32]) -> Result<(), ReferenceError> {
        self.check(image.len(), condition)?;
        self.check(out.len(), condition)?;
        self.stack = Stack::new(self.memory.len());
        let config = self.config;
        let rows = network::forward(self, &config, image, condition)?;
        out.copy_from_slice(self.read(&rows));
        self.release(rows);
        Ok(())
    }

    /// The pre-training feature LN(CLS), `encoder.width` values; `image` as in [`forward`](Self::forward).
    pub fn features(&mut self, image: &[f32], condition: &ReferenceCondition, out: &mut [f32]) -> Result<(), ReferenceError> {
        self.check(image.len(), condition)?;
        let (want, have) = (self.config.encoder.width, out.len());
        if want != have {
            return Err(ReferenceError::ImageLen { want, have });
        }
        self.stack = Stack::new(self.memory.len());
        let config = self.config;
        let cls = network::features(self, &config, image, condition)?;
        out.copy_from_slice(self.read(&cls));
        self.release(cls);
        Ok(())
    }

    /// f(x, t) = c_skip x + c_out F(c_in x, t) in place (docs/reference/method.md section 5); `scratch` is as long as the picture.
    pub fn denoise(
        &mut self,
        noise: &NoiseConfig,
        parametrisation: Parametrisation,
        condition: &ReferenceCondition,
        x: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), ReferenceError> {
        let (want, have) = (x.len(), scratch.len());
        if want != have {
            return Err(ReferenceError::ImageLen { want, have });
        }
        let c_in = noise.c_in(condition.t) as f32;
        let factors = noise.output_factors(parametrisation, condition.t);
        for (scaled, &value) in scratch.iter_mut().zip(x.iter()) {
            *scaled = c_in * value;
        }
        self.check(x.len(), condition)?;
        self.stack = Stack::new(self.memory.len());
        let config = self.config;
        let rows = network::forward(self, &config, scratch, condition)?;
        for (value, &f) in x.iter_mut().zip(self.read(&rows)) {
            *value = factors.skip as f32 * *value + factors.out as f32 * f;
        }
        self.release(rows);
        Ok(())
    }

    /// The values of an activation, `[tokens, width]`.
    pub fn values(&self, x: &ReferenceAct) -> &[f32] {
        self.read(x)
    }

    /// The most values in use during the last pass.
    pub fn high_water_mark(&self) -> usize {
        self.stack.mark()
    }

    fn check(&self, len: usize, condition: &ReferenceCondition) -> Result<(), ReferenceError> {
        let want = self.config.image_len();
        if len != want {
            return Err(ReferenceError::ImageLen { want, have: len });
        }
        let rows = self.config.classes + 1;
        match condition.class {
            Some(class) if class >= rows => Err(ReferenceError::Class { class, rows }),
            _ => Ok(()),
        }
    }

    fn alloc(&mut self, tokens: usize, width: usize) -> Result<ReferenceAct, WorkspaceError> {
        let region = self.stack.push(tokens * width)?;
        Ok(ReferenceAct { region, offset: self.stack.offset(region), tokens, width })
    }

    fn read(&self, x: &ReferenceAct) -> &[f32] {
        &self.memory[x.offset..x.offset + x.len()]
    }

    fn write(&mut self, x: &ReferenceAct) -> &mut [f32] {
        &mut self.memory[x.offset..x.offset + x.len()]
    }

    /// One activation to read and another to write; regions never overlap.
    fn pair(&mut self, from: &ReferenceAct, to: &ReferenceAct) -> (&[f32], &mut [f32]) {
        if from.offset < to.offset {
            let (low, high) = self.memory.split_at_mut(to.offset);
            (&low[from.offset..from.offset + from.len()], &mut high[..to.len()])
        } else {
            let (low, high) = self.memory.split_at_mut(from.offset);
            (&high[..from.len()], &mut low[to.offset..to.offset + to.len()])
        }
    }

    fn weight(&self, site: Site) -> &'a [f32] {
        self.weights.get(site, ParamKind::Weight)
    }

    fn bias(&self, site: Site) -> &'a [f32] {
        self.weights.get(site, ParamKind::Bias)
    }

    /// c = time sinusoid + class embedding, into `out`.
    fn embed_condition(&self, condition: &ReferenceCondition, out: &mut [f32]) {
        time_embedding(condition.t, out);
        self.add_class(condition, out);
    }

    fn add_class(&self, condition: &ReferenceCondition, out: &mut [f32]) {
        if let Some(class) = condition.class {
            let table = self.weight(Site::new(Side::Encoder, 0, Layer::ClassEmbed));
            add(out, &table[class * out.len()..(class + 1) * out.len()]);
        }
    }
}

/// An activation `[tokens, width]` in the workspace.
#[derive(Debug)]
pub struct ReferenceAct {
    region: Region,
    offset: usize,
    tokens: usize,
    width: usize,
}

impl ReferenceAct {
    /// Values of a token.
    pub const fn width(&self) -> usize {
        self.width
    }

    const fn len(&self) -> usize {
        self.tokens * self.width
    }
}

/// A kept activation at the low end.
#[derive(Debug)]
pub struct ReferenceSkip {
    offset: usize,
    width: usize,
}

type ReferenceResult<T = ReferenceAct> = Result<T, ReferenceError>;

impl Ops for Reference<'_> {
    type Image = [f32];
    type Condition = ReferenceCondition;
    type Output = ReferenceAct;
    type Act = ReferenceAct;
    type Skip = ReferenceSkip;
    type Error = ReferenceError;

    fn tokens(&mut self, image: &[f32], condition: &ReferenceCondition) -> ReferenceResult {
        let (config, d) = (self.config, self.config.encoder.width);
        let region = self.stack.push(config.stream_len())?;
        let x = ReferenceAct { region, offset: self.stack.offset(region), tokens: config.tokens(), width: d };
        let embed = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let (weight, bias) = (self.weight(embed), self.bias(embed));
        let class_token = self.weight(Site::new(Side::Encoder, 0, Layer::ClassToken));
        // The stream is empty, so a patch can be gathered value by value: naive and without another buffer.
        let across = config.size / config.patch;
        for token in 0..config.patches() {
            let (top, left) = (token / across * config.patch, token % across * config.patch);
            let row = &mut self.write(&x)[(PREFIX_TOKENS + token) * d..][..d];
            for (o, value) in row.iter_mut().enumerate() {
                let mut sum = bias[o];
                for i in 0..config.patch_len() {
                    let (p1, p2, c) = (i / (config.patch * config.channels), i / config.channels % config.patch, i % config.channels);
                    let pixel = ((top + p1) * config.size + left + p2) * config.channels + c;
                    sum += weight[o * config.patch_len() + i] * image[pixel];
                }
                *value = sum;
            }
        }
        let mut memory = core::mem::take(&mut self.memory);
        let (cls, time) = memory[x.offset..x.offset + 2 * d].split_at_mut(d);
        cls.copy_from_slice(class_token);
        self.add_class(condition, cls);
        time_embedding(condition.t, time);
        core::mem::swap(&mut self.memory, &mut memory);
        Ok(x)
    }

    fn add_position(&mut self, x: ReferenceAct) -> ReferenceResult {
        let table = self.weight(Site::new(Side::Encoder, 0, Layer::Position));
        add(self.write(&x), table);
        Ok(x)
    }

    fn layer_norm(&mut self, site: Site, x: &ReferenceAct) -> ReferenceResult {
        let y = self.alloc(x.tokens, x.width)?;
        let (from, to) = self.pair(x, &y);
        to.copy_from_slice(from);
        self.layer_norm_in_place(site, y)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: ReferenceAct) -> ReferenceResult {
        let (gain, offset) = (self.weight(site), self.bias(site));
        for row in self.write(&x).chunks_exact_mut(gain.len()) {
            layer_norm(row, gain, offset);
        }
        Ok(x)
    }

    fn linear(&mut self, site: Site, x: &ReferenceAct) -> ReferenceResult {
        let width = self.bias(site).len().max(self.weight(site).len() / x.width);
        let y = self.alloc(x.tokens, width)?;
        self.linear_into(site, x, y)
    }

    fn linear_into(&mut self, site: Site, x: &ReferenceAct, out: ReferenceAct) -> ReferenceResult {
        let (weight, bias) = (self.weight(site), self.bias(site));
        let out = ReferenceAct { tokens: x.tokens, width: weight.len() / x.width, ..out };
        let (from, to) = self.pair(x, &out);
        for (input, output) in from.chunks_exact(x.width).zip(to.chunks_exact_mut(out.width)) {
            for (o, value) in output.iter_mut().enumerate() {
                let dot = dot(input, &weight[o * x.width..(o + 1) * x.width]);
                *value = dot + bias.get(o).copied().unwrap_or(0.0);
            }
        }
        Ok(out)
    }

    fn bridge(&mut self, x: ReferenceAct) -> ReferenceResult {
        let y = self.linear(Site::new(Side::Decoder, 0, Layer::Bridge), &x)?;
        let x = ReferenceAct { width: y.width, ..x };
        let (from, to) = self.pair(&y, &x);
        to.copy_from_slice(from);
        self.release(y);
        Ok(x)
    }

    fn attend(&mut self, site: Site, qkv: &ReferenceAct, out: ReferenceAct) -> ReferenceResult {
        let tower = match site.side {
            Side::Encoder => self.config.encoder,
            Side::Decoder => self.config.decoder,
        };
        let (d, hd) = (tower.width, tower.head_width());
        let scale = 1.0 / libm::sqrtf(hd as f32);
        let row = self.alloc(1, qkv.tokens)?;
        for head in 0..tower.heads {
            for query in 0..qkv.tokens {
                let at = |token: usize, part: usize| token * 3 * d + part * d + head * hd;
                let (all, scores) = self.pair(qkv, &row);
                let q = &all[at(query, 0)..][..hd];
                for (key, score) in scores.iter_mut().enumerate() {
                    *score = scale * dot(q, &all[at(key, 1)..][..hd]);
                }
                softmax(scores);
                for i in 0..hd {
                    let (all, scores) = (self.read(qkv), self.read(&row));
                    let sum = (0..qkv.tokens).map(|key| scores[key] * all[at(key, 2) + i]).sum();
                    self.write(&out)[query * d + head * hd + i] = sum;
                }
            }
        }
        self.release(row);
        Ok(out)
    }

    fn gelu(&mut self, _: Site, x: ReferenceAct) -> ReferenceResult {
        for value in self.write(&x) {
            *value = gelu(*value);
        }
        Ok(x)
    }

    fn add(&mut self, _: Site, x: ReferenceAct, y: ReferenceAct) -> ReferenceResult {
        let (from, to) = self.pair(&y, &x);
        add(to, from);
        self.release(y);
        Ok(x)
    }

    fn keep(&mut self, _: Site, x: &ReferenceAct) -> ReferenceResult<ReferenceSkip> {
        let offset = self.stack.push_low(x.len())?;
        self.memory.copy_within(x.offset..x.offset + x.len(), offset);
        Ok(ReferenceSkip { offset, width: x.width })
    }

    fn concat(&mut self, _: Site, x: &ReferenceAct, skip: ReferenceSkip) -> ReferenceResult {
        let both = self.alloc(x.tokens, x.width + skip.width)?;
        for token in 0..x.tokens {
            let to = both.offset + token * both.width;
            let (from, kept) = (x.offset + token * x.width, skip.offset + token * skip.width);
            self.memory.copy_within(from..from + x.width, to);
            self.memory.copy_within(kept..kept + skip.width, to + x.width);
        }
        self.stack.pop_low(skip.offset);
        Ok(both)
    }

    fn condition(&mut self, condition: &ReferenceCondition) -> ReferenceResult {
        let c = self.alloc(1, self.config.encoder.width)?;
        let memory = core::mem::take(&mut self.memory);
        let values = &mut memory[c.offset..c.offset + c.width];
        self.embed_condition(condition, values);
        for value in values {
            *value *= 1.0 / (1.0 + libm::expf(-*value));
        }
        self.memory = memory;
        Ok(c)
    }

    fn modulation(&mut self, site: Site, condition: &ReferenceAct) -> ReferenceResult {
        self.linear(site, condition)
    }

    fn modulated_norm(&mut self, site: Site, x: &ReferenceAct, modulation: &ReferenceAct, branch: Branch) -> ReferenceResult {
        let y = self.layer_norm(site, x)?;
        let d = y.width;
        for token in 0..y.tokens {
            for i in 0..d {
                let at = modulation.offset + branch.shift() * d + i;
                let (shift, scale) = (self.memory[at], self.memory[at + d]);
                let value = &mut self.memory[y.offset + token * d + i];
                *value = *value * (1.0 + scale) + shift;
            }
        }
        Ok(y)
    }

    fn gated_add(&mut self, _: Site, x: ReferenceAct, y: ReferenceAct, modulation: &ReferenceAct, branch: Branch) -> ReferenceResult {
        let d = x.width;
        for token in 0..x.tokens {
            for i in 0..d {
                let gate = self.memory[modulation.offset + branch.gate() * d + i];
                let add = gate * self.memory[y.offset + token * d + i];
                self.memory[x.offset + token * d + i] += add;
            }
        }
        self.release(y);
        Ok(x)
    }

    fn class_token(&mut self, x: ReferenceAct) -> ReferenceResult {
        Ok(ReferenceAct { tokens: 1, ..x })
    }

    fn patch_tokens(&mut self, x: ReferenceAct) -> ReferenceResult {
        Ok(ReferenceAct { offset: x.offset + PREFIX_TOKENS * x.width, tokens: x.tokens - PREFIX_TOKENS, ..x })
    }

    fn unpatchify(&mut self, _: Site, patches: ReferenceAct) -> ReferenceResult {
        let rows = self.alloc(patches.tokens, patches.width)?;
        let config = self.config;
        let (from, to) = self.pair(&patches, &rows);
        unpatchify(&config, from, to);
        self.release(patches);
        Ok(rows)
    }

    fn release(&mut self, x: ReferenceAct) {
        self.stack.release(x.region);
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    for (a, b) in to.iter_mut().zip(from) {
        *a += b;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// (x - mean)/sqrt(var + eps) * gain + offset, in place.
fn layer_norm(row: &mut [f32], gain: &[f32], offset: &[f32]) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    let scale = 1.0 / libm::sqrtf(variance + NORM_EPSILON);
    for ((value, gain), offset) in row.iter_mut().zip(gain).zip(offset) {
        *value = (*value - mean) * scale * gain + offset;
    }
}

fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = libm::expf(*value - max);
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}

/// x Phi(x), exact (erf).
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2))
}
