//! The parts of the body as slices of their types, borrowed in place.

use super::layout::{LinearPart, NormPart, STEP_WORDS};
use super::{MissingPart, Model};
use crate::kernels::{Rows, TABLE_LEN};
use crate::params::{Layer, Site};

/// A linear layer.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// Shift before the multiplication, below 32.
    pub left: u32,
    /// Added to the sums.
    pub bias: &'a [i32],
    /// Scale of each output.
    pub multiplier: &'a [i32],
    /// `[outputs, padded inputs]`.
    pub weights: Rows<'a>,
}

/// A layer norm: out = (n gain + offset) >> shift.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Shift of the result, below 32.
    pub shift: u32,
    /// Added to the variance, in units of the stream squared.
    pub epsilon: u32,
    /// Shift of the gate's product, below 32; decoder only.
    pub gate_shift: u32,
    /// One for each channel; empty where it depends on the class.
    pub gain: &'a [i16],
    /// One for each channel, the rounding included; empty where it depends on the class.
    pub offset: &'a [i32],
}

/// Gain, offset and gate of a modulated norm.
#[derive(Clone, Copy, Debug)]
pub struct Modulation<'a> {
    /// One for each channel.
    pub gain: &'a [i16],
    /// One for each channel, the rounding included.
    pub offset: &'a [i32],
    /// One for each channel.
    pub gate: &'a [i16],
}

/// The record of a step (docs/reference/format-pxg.md).
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// Input: scale of the noise, times 2^16.
    pub noise: i32,
    /// Input: scale of the bytes of the picture so far, times 2^24, by channel.
    pub picture: [i32; 3],
    /// Input: constant, times 2^24, by channel.
    pub constant: [i32; 3],
    /// Output: scale of the noise, by channel.
    pub noise_out: [i32; 3],
    /// Output: scale of the bytes of the picture so far.
    pub picture_out: i32,
}

impl<'a> Model<'a> {
    /// A linear layer; `step` chooses the scales of the head.
    pub fn linear(&self, site: Site, step: usize) -> Result<Linear<'a>, MissingPart> {
        let read = |part: LinearPart| {
            Some(Linear {
                left: self.words::<4>(part.words)?[0] as u32 & 31,
                bias: self.slice(part.bias)?,
                multiplier: self.slice(part.multiplier)?,
                weights: Rows::new(self.slice(part.weights)?, part.inputs, part.inputs, part.outputs)?,
            })
        };
        self.layout().linear(site, step).and_then(read).ok_or(MissingPart(site))
    }

    /// Inputs with padding, and outputs, of a linear layer.
    pub fn linear_shape(&self, site: Site) -> Result<(usize, usize), MissingPart> {
        self.layout().shape(site).ok_or(MissingPart(site))
    }

    /// A norm.
    pub fn norm(&self, site: Site) -> Result<Norm<'a>, MissingPart> {
        let read = |part: NormPart| {
            let [shift, epsilon, gate_shift, _] = self.words(part.words)?.map(|word: i32| word as u32);
            let (gain, offset) = (self.slice(part.gain)?, self.slice(part.offset)?);
            Some(Norm { shift: shift & 31, epsilon, gate_shift: gate_shift & 31, gain, offset })
        };
        self.layout().norm(site).and_then(read).ok_or(MissingPart(site))
    }

    /// What a class and a step make of a modulated norm; `site` names the norm or the sum behind it.
    pub fn modulation(&self, step: usize, class: usize, site: Site) -> Result<Modulation<'a>, MissingPart> {
        let branch = usize::from(site.layer == Layer::Norm2 || site.layer == Layer::Add2);
        let part = self.layout().modulation(step, class, site.block, branch);
        let read = || {
            Some(Modulation {
                gain: self.slice(part.gain)?,
                offset: self.slice(part.offset)?,
                gate: self.slice(part.gate)?,
            })
        };
        read().ok_or(MissingPart(site))
    }

    /// Three words of a site that has nothing else.
    pub fn site_words(&self, site: Site) -> Result<[i32; 3], MissingPart> {
        let words = self.layout().words(site).and_then(|range| self.words(range));
        words.ok_or(MissingPart(site))
    }

    /// GELU of the inputs 0 .. 1023 of a block.
    pub fn table(&self, site: Site) -> Result<&'a [i8; TABLE_LEN], MissingPart> {
        let table = self.slice(self.layout().table(site)).and_then(|values| values.first_chunk());
        table.ok_or(MissingPart(site))
    }

    /// The position table, `[tokens, encoder width]`.
    pub fn position(&self) -> &'a [i16] {
        self.slice(self.layout().position()).unwrap_or_default()
    }

    /// The token of a class, its embedding included; empty when there is no such class.
    pub fn class_token(&self, class: usize) -> &'a [i16] {
        self.slice(self.layout().class(class)).unwrap_or_default()
    }

    /// The time token of a step; empty when there is no such step.
    pub fn time_token(&self, step: usize) -> &'a [i16] {
        self.slice(self.layout().time(step)).unwrap_or_default()
    }

    /// The record of a step; `None` when there is no such step.
    pub fn step(&self, step: usize) -> Option<StepRecord> {
        let [noise, p0, p1, p2, c0, c1, c2, n0, n1, n2, picture_out, _] = self.words::<STEP_WORDS>(self.layout().step(step))?;
        Some(StepRecord { noise, picture: [p0, p1, p2], constant: [c0, c1, c2], noise_out: [n0, n1, n2], picture_out })
    }
}
