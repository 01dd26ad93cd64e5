//! Where everything lies in the body of a `.pxg` file: a function of the architecture and the number of steps
//! (docs/reference/format-pxg.md).
//!
//! There are no offsets in the file to be forged. The reader computes the layout from the checked header and compares its length with
//! the body's; the exporter writes to the same places. All offsets are in bytes from the start of the body, multiples of [`ALIGN`].

use crate::aligned::ALIGN;
use crate::config::{MLP_RATIO, ModelConfig};
use crate::kernels::TABLE_LEN;
use crate::params::{Layer, Side, Site};
use core::ops::Range;

/// Bytes of a part of four words.
const WORDS: u64 = 16;
/// Words of a step's record.
pub const STEP_WORDS: usize = 12;
/// Bytes of one self-test vector.
pub const TEST_LEN: usize = 24;

const fn align(len: u64) -> u64 {
    len.next_multiple_of(ALIGN as u64)
}

/// Inputs of a linear layer as stored: padded with zeros to a multiple of four.
pub const fn padded(inputs: usize) -> usize {
    inputs.next_multiple_of(4)
}

/// Bytes of the parts of a block, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BlockLayout {
    /// Decoder: scale of the stream in the concatenation. Encoder: of the kept skip.
    skip_scale: u64,
    skip: u64,
    skip_norm: u64,
    norm1: u64,
    qkv: u64,
    attend: u64,
    proj: u64,
    norm2: u64,
    fc1: u64,
    table: u64,
    fc2: u64,
    len: u64,
}

/// Places of all parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    config: ModelConfig,
    steps: usize,
    position: u64,
    time: u64,
    class: u64,
    patch_embed: u64,
    encoder: u64,
    encoder_block: BlockLayout,
    encoder_norm: u64,
    bridge: u64,
    decoder: u64,
    decoder_block: BlockLayout,
    decoder_norm: u64,
    head: u64,
    modulation: u64,
    tests: u64,
}

/// A linear layer: `[left, 0, 0, 0]`, bias, multiplier, weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearPart {
    /// Inputs with padding: the length of a row of weights.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// Four i32; the first is the shift before the multiplication.
    pub words: Range<usize>,
    /// i32 per output.
    pub bias: Range<usize>,
    /// i32 per output.
    pub multiplier: Range<usize>,
    /// i8, `[outputs, inputs]`.
    pub weights: Range<usize>,
}

/// A norm: `[shift, epsilon, gate shift, 0]`, then gain and offset where they are the same for all classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormPart {
    /// Four i32.
    pub words: Range<usize>,
    /// i16 per channel.
    pub gain: Range<usize>,
    /// i32 per channel.
    pub offset: Range<usize>,
}

/// Gain, offset and gate of a modulated norm for one class and step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulationPart {
    /// i16 per channel.
    pub gain: Range<usize>,
    /// i32 per channel.
    pub offset: Range<usize>,
    /// i16 per channel.
    pub gate: Range<usize>,
}

/// Bytes of a linear layer whose bias and multiplier come in `sets` versions.
const fn linear_len(inputs: usize, outputs: usize, sets: usize) -> u64 {
    let vectors = 2 * sets as u64 * align(4 * outputs as u64);
    WORDS + vectors + align(outputs as u64 * padded(inputs) as u64)
}

const fn norm_len(width: usize) -> u64 {
    WORDS + align(2 * width as u64) + align(4 * width as u64)
}

const fn modulation_len(width: usize) -> u64 {
    2 * align(2 * width as u64) + align(4 * width as u64)
}

impl BlockLayout {
    const fn new(side: Side, width: usize, other: usize) -> Self {
        let decoder = matches!(side, Side::Decoder);
        let norm = if decoder { WORDS } else { norm_len(width) };
        let skip_scale = 0;
        let skip = skip_scale + WORDS;
        let skip_norm = skip + if decoder { linear_len(width + other, width, 1) } else { 0 };
        let norm1 = skip_norm + if decoder { norm_len(width) } else { 0 };
        let qkv = norm1 + norm;
        let attend = qkv + linear_len(width, 3 * width, 1);
        let proj = attend + WORDS;
        let norm2 = proj + linear_len(width, width, 1);
        let fc1 = norm2 + norm;
        let table = fc1 + linear_len(width, MLP_RATIO * width, 1);
        let fc2 = table + align(TABLE_LEN as u64);
        let len = fc2 + linear_len(MLP_RATIO * width, width, 1);
        Self { skip_scale, skip, skip_norm, norm1, qkv, attend, proj, norm2, fc1, table, fc2, len }
    }
}

impl Layout {
    /// Places for a [valid](ModelConfig::validate) architecture drawn in `steps` steps.
    pub const fn new(config: &ModelConfig, steps: usize) -> Self {
        let (enc, dec) = (config.encoder.width, config.decoder.width);
        let encoder_block = BlockLayout::new(Side::Encoder, enc, 0);
        let decoder_block = BlockLayout::new(Side::Decoder, dec, enc);
        let position = steps as u64 * align(4 * STEP_WORDS as u64);
        let time = position + align(2 * config.tokens() as u64 * enc as u64);
        let class = time + steps as u64 * align(2 * enc as u64);
        let patch_embed = class + config.classes as u64 * align(2 * enc as u64);
        let encoder = patch_embed + linear_len(config.patch_len(), enc, 1);
        let encoder_norm = encoder + config.encoder.depth as u64 * encoder_block.len;
        let bridge = encoder_norm + norm_len(enc);
        let decoder = bridge + if config.has_bridge() { linear_len(enc, dec, 1) } else { 0 };
        let decoder_norm = decoder + config.decoder.depth as u64 * decoder_block.len;
        let head = decoder_norm + norm_len(dec);
        let modulation = head + linear_len(dec, config.patch_len(), steps);
        let tables = steps as u64 * config.classes as u64 * config.decoder.depth as u64 * 2;
        let tests = modulation + tables * modulation_len(dec);
        Self {
            config: *config,
            steps,
            position,
            time,
            class,
            patch_embed,
            encoder,
            encoder_block,
            encoder_norm,
            bridge,
            decoder,
            decoder_block,
            decoder_norm,
            head,
            modulation,
            tests,
        }
    }

    /// Bytes of the body with `tests` self-test vectors.
    pub const fn body_len(&self, tests: usize) -> u64 {
        self.tests + tests as u64 * TEST_LEN as u64
    }

    /// The record of a step: 12 i32, see docs/reference/format-pxg.md.
    pub const fn step(&self, step: usize) -> Range<usize> {
        range(step as u64 * align(4 * STEP_WORDS as u64), 4 * STEP_WORDS)
    }

    /// The position table, i16 `[tokens, encoder width]`.
    pub const fn position(&self) -> Range<usize> {
        range(self.position, 2 * self.config.tokens() * self.config.encoder.width)
    }

    /// The time token of a step, i16 per channel.
    pub const fn time(&self, step: usize) -> Range<usize> {
        let width = self.config.encoder.width;
        range(self.time + step as u64 * align(2 * width as u64), 2 * width)
    }

    /// The class token of a class, its embedding included, i16 per channel.
    pub const fn class(&self, class: usize) -> Range<usize> {
        let width = self.config.encoder.width;
        range(self.class + class as u64 * align(2 * width as u64), 2 * width)
    }

    const fn block(&self, site: Site) -> (u64, &BlockLayout) {
        match site.side {
            Side::Encoder => (self.encoder + site.block as u64 * self.encoder_block.len, &self.encoder_block),
            Side::Decoder => (self.decoder + site.block as u64 * self.decoder_block.len, &self.decoder_block),
        }
    }

    const fn width(&self, side: Side) -> usize {
        match side {
            Side::Encoder => self.config.encoder.width,
            Side::Decoder => self.config.decoder.width,
        }
    }

    /// Inputs with padding, and outputs, of a linear layer. `None` for sites that have no weights in the file.
    pub const fn shape(&self, site: Site) -> Option<(usize, usize)> {
        let d = self.width(site.side);
        let (inputs, outputs) = match site.layer {
            Layer::PatchEmbed => (self.config.patch_len(), self.config.encoder.width),
            Layer::Bridge => (self.config.encoder.width, self.config.decoder.width),
            Layer::Head => (self.config.decoder.width, self.config.patch_len()),
            Layer::Qkv => (d, 3 * d),
            Layer::Proj => (d, d),
            Layer::Fc1 => (d, MLP_RATIO * d),
            Layer::Fc2 => (MLP_RATIO * d, d),
            Layer::Skip if matches!(site.side, Side::Decoder) => (d + self.config.encoder.width, d),
            _ => return None,
        };
        Some((padded(inputs), outputs))
    }

    /// A linear layer; `step` chooses the bias and multiplier of the head. `None` for sites that have no weights in the file.
    pub const fn linear(&self, site: Site, step: usize) -> Option<LinearPart> {
        let (base, block) = self.block(site);
        let Some((inputs, outputs)) = self.shape(site) else {
            return None;
        };
        let (start, sets) = match site.layer {
            Layer::PatchEmbed => (self.patch_embed, 1),
            Layer::Bridge => (self.bridge, 1),
            Layer::Head => (self.head, self.steps),
            Layer::Qkv => (base + block.qkv, 1),
            Layer::Proj => (base + block.proj, 1),
            Layer::Fc1 => (base + block.fc1, 1),
            Layer::Fc2 => (base + block.fc2, 1),
            _ => (base + block.skip, 1),
        };
        let vector = align(4 * outputs as u64);
        let set = if sets > 1 { step as u64 } else { 0 };
        Some(LinearPart {
            inputs,
            outputs,
            words: range(start, WORDS as usize),
            bias: range(start + WORDS + 2 * set * vector, 4 * outputs),
            multiplier: range(start + WORDS + (2 * set + 1) * vector, 4 * outputs),
            weights: range(start + WORDS + 2 * sets as u64 * vector, outputs * inputs),
        })
    }

    /// A norm. Gain and offset of the decoder's Norm1 and Norm2 are empty here: see [`modulation`](Self::modulation).
    pub const fn norm(&self, site: Site) -> Option<NormPart> {
        let (base, block) = self.block(site);
        let decoder = matches!(site.side, Side::Decoder);
        let (start, modulated) = match site.layer {
            Layer::Norm1 => (base + block.norm1, decoder),
            Layer::Norm2 => (base + block.norm2, decoder),
            Layer::SkipNorm if decoder => (base + block.skip_norm, false),
            Layer::FinalNorm if decoder => (self.decoder_norm, false),
            Layer::FinalNorm => (self.encoder_norm, false),
            _ => return None,
        };
        let width = if modulated { 0 } else { self.width(site.side) };
        let gain = start + WORDS;
        Some(NormPart {
            words: range(start, WORDS as usize),
            gain: range(gain, 2 * width),
            offset: range(gain + align(2 * width as u64), 4 * width),
        })
    }

    /// Gain, offset and gate of branch 0 or 1 of a decoder block.
    pub const fn modulation(&self, step: usize, class: usize, block: usize, branch: usize) -> ModulationPart {
        let width = self.config.decoder.width;
        let number = ((step * self.config.classes + class) * self.config.decoder.depth + block) * 2 + branch;
        let gain = self.modulation + number as u64 * modulation_len(width);
        let offset = gain + align(2 * width as u64);
        let gate = offset + align(4 * width as u64);
        ModulationPart {
            gain: range(gain, 2 * width),
            offset: range(offset, 4 * width),
            gate: range(gate, 2 * width),
        }
    }

    /// Four i32 of a site: of attention `[score multiplier, left, mean multiplier, 0]`; of the decoder's Skip, for the stream, and of the
    /// encoder's Skip, for what is kept, `[gain, shift, offset, 0]`.
    pub const fn words(&self, site: Site) -> Option<Range<usize>> {
        let (base, block) = self.block(site);
        match site.layer {
            Layer::Attend => Some(range(base + block.attend, WORDS as usize)),
            Layer::Skip => Some(range(base + block.skip_scale, WORDS as usize)),
            _ => None,
        }
    }

    /// The table of GELU of a block, 1,024 i8.
    pub const fn table(&self, site: Site) -> Range<usize> {
        let (base, block) = self.block(site);
        range(base + block.table, TABLE_LEN)
    }

    /// A self-test vector: u64 seed, u32 class, u32 zero, u64 hash.
    pub const fn test(&self, number: usize) -> Range<usize> {
        range(self.tests + (number * TEST_LEN) as u64, TEST_LEN)
    }
}

const fn range(start: u64, len: usize) -> Range<usize> {
    start as usize..start as usize + len
}
