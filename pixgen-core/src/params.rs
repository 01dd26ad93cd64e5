//! The one list of parameters: trainer, file names, exporter and importer all read it.
//!
//! Names, shapes and initialisers follow docs/reference/method.md sections 0 and 2. A linear weight is `[out, in]`, as in PyTorch.

use crate::config::{MLP_RATIO, ModelConfig};
use core::fmt::Write;
use heapless::String;

/// Encoder or decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Side {
    /// E, pre-trained in stage 1.
    Encoder,
    /// D, added in stage 2.
    Decoder,
}

/// What a site computes. Those with weights name parameters, the others only calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Layer {
    /// The learned class token.
    ClassToken,
    /// The learned absolute position table, added to all tokens.
    Position,
    /// Linear map of a patch to a token.
    PatchEmbed,
    /// Table of class embeddings; the last row is "no class".
    ClassEmbed,
    /// Linear map from the encoder's width to the decoder's.
    Bridge,
    /// Linear map of [stream ; long skip] to the stream.
    Skip,
    /// LayerNorm after `Skip`.
    SkipNorm,
    /// Linear map of the condition to shift, scale and gate of both branches.
    Modulation,
    /// LayerNorm before attention.
    Norm1,
    /// Queries, keys and values.
    Qkv,
    /// softmax(QK^T)V; no weights.
    Attend,
    /// Projection after attention.
    Proj,
    /// Sum into the stream after attention; no weights.
    Add1,
    /// LayerNorm before the MLP.
    Norm2,
    /// First linear of the MLP.
    Fc1,
    /// GELU; no weights.
    Gelu,
    /// Second linear of the MLP.
    Fc2,
    /// Sum into the stream after the MLP; no weights.
    Add2,
    /// LayerNorm at the end of a tower.
    FinalNorm,
    /// Linear map of a token to a patch.
    Head,
    /// Patches back to rows of pixels; no weights.
    Unpatchify,
}

/// A call in the network: which layer of which block. Interpreters find weights, scales and counters by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Site {
    /// Tower.
    pub side: Side,
    /// Block, and 0 for layers outside blocks.
    pub block: usize,
    /// Layer.
    pub layer: Layer,
}

impl Site {
    /// Names one call.
    pub const fn new(side: Side, block: usize, layer: Layer) -> Self {
        Self { side, block, layer }
    }

    /// The block it belongs to; `None` for layers outside blocks.
    pub const fn in_block(&self) -> Option<(Side, usize)> {
        match self.layer {
            Layer::ClassToken
            | Layer::Position
            | Layer::PatchEmbed
            | Layer::ClassEmbed
            | Layer::Bridge
            | Layer::FinalNorm
            | Layer::Head
            | Layer::Unpatchify => None,
            _ => Some((self.side, self.block)),
        }
    }

    /// `encoder.blocks.3.attn.qkv`, the prefix of the site's parameters.
    pub fn name(&self) -> ParamName {
        let mut name = ParamName::new();
        let side = match self.side {
            Side::Encoder => "encoder",
            Side::Decoder => "decoder",
        };
        let layer = match self.layer {
            Layer::ClassToken => "cls_token",
            Layer::Position => "pos_embed",
            Layer::PatchEmbed => "patch_embed",
            Layer::ClassEmbed => "class_embed",
            Layer::Bridge => "bridge",
            Layer::FinalNorm => "norm",
            Layer::Head => "head",
            Layer::Unpatchify => "unpatchify",
            Layer::Skip => "skip",
            Layer::SkipNorm => "skip_norm",
            Layer::Modulation => "adaln",
            Layer::Norm1 => "norm1",
            Layer::Qkv => "attn.qkv",
            Layer::Attend => "attn",
            Layer::Proj => "attn.proj",
            Layer::Add1 => "add1",
            Layer::Norm2 => "norm2",
            Layer::Fc1 => "mlp.fc1",
            Layer::Gelu => "mlp.gelu",
            Layer::Fc2 => "mlp.fc2",
            Layer::Add2 => "add2",
        };
        // The longest name, "decoder.blocks.31.skip_norm.weight", is shorter than the capacity, so writing cannot fail.
        let _ = if self.layer == Layer::ClassEmbed {
            name.write_str(layer)
        } else if self.in_block().is_some() {
            write!(name, "{side}.blocks.{}.{layer}", self.block)
        } else {
            write!(name, "{side}.{layer}")
        };
        name
    }
}

/// Which tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParamKind {
    /// Matrix, norm gain, table or token.
    Weight,
    /// Bias or norm offset.
    Bias,
}

/// Group of a parameter, for weight decay and for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Weight of a linear layer.
    Matrix,
    /// Bias of a linear layer.
    Bias,
    /// Gain or offset of a norm.
    Norm,
    /// Position table.
    Position,
    /// Class token.
    Token,
    /// Class embedding table.
    Embedding,
}

/// Initial values of a parameter (docs/reference/method.md sections 2.1, 2.3, 2.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All the same value.
    Constant(f32),
    /// Uniform on [-bound, bound].
    Uniform(f32),
    /// Gaussian with this standard deviation.
    Normal(f32),
    /// Gaussian with this standard deviation, drawn again beyond two of them.
    TruncatedNormal(f32),
}

/// A parameter's name; 48 bytes hold the longest.
pub type ParamName = String<48>;

/// One row of the parameter list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    /// The layer it belongs to.
    pub site: Site,
    /// Which of the layer's tensors.
    pub kind: ParamKind,
    /// `[rows, columns]`, with one column for vectors.
    pub shape: [usize; 2],
    /// Number of dimensions: 1 or 2.
    pub rank: usize,
    /// Its group in the optimiser.
    pub role: Role,
    /// Its initial values.
    pub init: Init,
}

impl Param {
    /// Values in the tensor.
    pub const fn len(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Never true: no parameter is empty.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape as stored in a file.
    pub fn dims(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    /// `encoder.blocks.3.attn.qkv.weight`.
    pub fn name(&self) -> ParamName {
        let mut name = self.site.name();
        let suffix = match (self.site.layer, self.kind) {
            (Layer::ClassToken | Layer::Position, _) => "",
            (_, ParamKind::Weight) => ".weight",
            (_, ParamKind::Bias) => ".bias",
        };
        let _ = name.push_str(suffix); // fits, see Site::name
        name
    }
}

/// A row before its configuration is known.
type ParamEntry = (Layer, ParamKind);

use ParamKind::{Bias, Weight};

const ENCODER_FIRST: &[ParamEntry] = &[
    (Layer::ClassToken, Weight),
    (Layer::Position, Weight),
    (Layer::PatchEmbed, Weight),
    (Layer::PatchEmbed, Bias),
];
const BLOCK: &[ParamEntry] = &[
    (Layer::Norm1, Weight),
    (Layer::Norm1, Bias),
    (Layer::Qkv, Weight),
    (Layer::Proj, Weight),
    (Layer::Proj, Bias),
    (Layer::Norm2, Weight),
    (Layer::Norm2, Bias),
    (Layer::Fc1, Weight),
    (Layer::Fc1, Bias),
    (Layer::Fc2, Weight),
    (Layer::Fc2, Bias),
];
const ENCODER_LAST: &[ParamEntry] = &[(Layer::FinalNorm, Weight), (Layer::FinalNorm, Bias)];
const CLASS_EMBED: &[ParamEntry] = &[(Layer::ClassEmbed, Weight)];
const BRIDGE: &[ParamEntry] = &[(Layer::Bridge, Weight), (Layer::Bridge, Bias)];
const DECODER_BLOCK_FIRST: &[ParamEntry] = &[
    (Layer::Skip, Weight),
    (Layer::Skip, Bias),
    (Layer::SkipNorm, Weight),
    (Layer::SkipNorm, Bias),
    (Layer::Modulation, Weight),
    (Layer::Modulation, Bias),
];
const DECODER_LAST: &[ParamEntry] = &[
    (Layer::FinalNorm, Weight),
    (Layer::FinalNorm, Bias),
    (Layer::Head, Weight),
    (Layer::Head, Bias),
];

impl ModelConfig {
    /// All parameters, in file order.
    pub fn params(&self) -> Params {
        Params { config: *self, section: 0, block: 0, entry: 0 }
    }

    /// The parameters of the encoder alone: what stage 1 trains and stage 2 starts from.
    pub fn encoder_params(&self) -> impl Iterator<Item = Param> {
        self.params()
            .filter(|p| p.site.side == Side::Encoder && p.site.layer != Layer::ClassEmbed)
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.params().map(|p| p.len()).sum()
    }

    /// Describes one parameter. The caller names a combination of the list; others have no meaning.
    fn describe(&self, site: Site, kind: ParamKind) -> Param {
        let tower = match site.side {
            Side::Encoder => &self.encoder,
            Side::Decoder => &self.decoder,
        };
        let d = tower.width;
        let matrix = |out: usize, inp: usize, init: Init| match kind {
            Weight => ([out, inp], 2, Role::Matrix, init),
            Bias => ([out, 1], 1, Role::Bias, Init::Constant(0.0)),
        };
        let xavier = |fan_out: usize, fan_in: usize| Init::Uniform(uniform_bound(fan_out + fan_in));
        let norm = || {
            let start = if kind == Weight { 1.0 } else { 0.0 };
            ([d, 1], 1, Role::Norm, Init::Constant(start))
        };
        let (shape, rank, role, init) = match site.layer {
            Layer::ClassToken => ([d, 1], 1, Role::Token, Init::Normal(1e-6)),
            Layer::Position => ([self.tokens(), d], 2, Role::Position, Init::TruncatedNormal(0.02)),
            Layer::PatchEmbed => matrix(d, self.patch_len(), xavier(d, self.patch_len())),
            Layer::ClassEmbed => ([self.classes + 1, d], 2, Role::Embedding, Init::Normal(0.02)),
            Layer::Bridge => matrix(d, self.encoder.width, xavier(d, self.encoder.width)),
            Layer::Skip => {
                let inputs = d + self.encoder.width;
                matrix(d, inputs, xavier(d, inputs))
            }
            Layer::Modulation => matrix(6 * d, self.encoder.width, Init::Constant(0.0)),
            // The encoder follows MoCo v3, which treats q, k and v as three matrices.
            Layer::Qkv if site.side == Side::Encoder => matrix(3 * d, d, xavier(d, d)),
            Layer::Qkv => matrix(3 * d, d, xavier(3 * d, d)),
            Layer::Proj => matrix(d, d, xavier(d, d)),
            Layer::Fc1 => matrix(MLP_RATIO * d, d, xavier(MLP_RATIO * d, d)),
            Layer::Fc2 => matrix(d, MLP_RATIO * d, xavier(d, MLP_RATIO * d)),
            Layer::Head => matrix(self.patch_len(), d, Init::Constant(0.0)),
            Layer::Norm1 | Layer::Norm2 | Layer::SkipNorm | Layer::FinalNorm => norm(),
            Layer::Attend | Layer::Add1 | Layer::Gelu | Layer::Add2 | Layer::Unpatchify => ([0, 0], 1, Role::Bias, Init::Constant(0.0)),
        };
        Param { site, kind, shape, rank, role, init }
    }
}

/// sqrt(6 / fans): the Xavier bound.
fn uniform_bound(fans: usize) -> f32 {
    libm::sqrt(6.0 / fans as f64) as f32
}

/// Walks the parameter list.
#[derive(Clone, Debug)]
pub struct Params {
    config: ModelConfig,
    section: usize,
    block: usize,
    entry: usize,
}

impl Params {
    /// Side, repetitions and rows of a section; a block section is repeated per block.
    fn section(&self) -> Option<(Side, usize, &'static [&'static [ParamEntry]])> {
        const ENCODER_BLOCK: &[&[ParamEntry]] = &[BLOCK];
        const DECODER_BLOCK: &[&[ParamEntry]] = &[DECODER_BLOCK_FIRST, BLOCK];
        let config = &self.config;
        Some(match self.section {
            0 => (Side::Encoder, 1, &[ENCODER_FIRST]),
            1 => (Side::Encoder, config.encoder.depth, ENCODER_BLOCK),
            2 => (Side::Encoder, 1, &[ENCODER_LAST, CLASS_EMBED]),
            3 => (Side::Decoder, usize::from(config.has_bridge()), &[BRIDGE]),
            4 => (Side::Decoder, config.decoder.depth, DECODER_BLOCK),
            5 => (Side::Decoder, 1, &[DECODER_LAST]),
            _ => return None,
        })
    }
}

impl Iterator for Params {
    type Item = Param;

    fn next(&mut self) -> Option<Param> {
        loop {
            let (side, repetitions, groups) = self.section()?;
            if self.block < repetitions {
                if let Some(&(layer, kind)) = groups.iter().copied().flatten().nth(self.entry) {
                    self.entry += 1;
                    return Some(self.config.describe(Site::new(side, self.block, layer), kind));
                }
                self.entry = 0;
                self.block += 1;
            } else {
                self.block = 0;
                self.section += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::{PRESETS, preset};

    #[test]
    fn names_are_unique_and_shapes_full() {
        for preset in PRESETS.iter().take(9) {
            let mut before: heapless::Vec<ParamName, 512> = heapless::Vec::new();
            for param in preset.model.params() {
                let name = param.name();
                assert!(!before.contains(&name), "{name}");
                assert!(!param.is_empty(), "{name}");
                before.push(name).expect("fewer than 512 parameters");
            }
        }
    }

    #[test]
    fn known_names_and_shapes() {
        let model = preset("EPG-XL-16-256").expect("preset").model;
        for (name, shape) in [
            ("encoder.cls_token", &[768][..]),
            ("encoder.pos_embed", &[258, 768]),
            ("encoder.patch_embed.weight", &[768, 768]),
            ("encoder.blocks.11.attn.qkv.weight", &[2304, 768]),
            ("encoder.norm.bias", &[768]),
            ("class_embed.weight", &[1001, 768]),
            ("decoder.bridge.weight", &[1584, 768]),
            ("decoder.blocks.0.skip.weight", &[1584, 2352]),
            ("decoder.blocks.3.adaln.weight", &[9504, 768]),
            ("decoder.blocks.11.mlp.fc2.weight", &[1584, 6336]),
            ("decoder.head.weight", &[768, 1584]),
        ] {
            let param = model.params().find(|p| p.name() == name).expect(name);
            assert_eq!(param.dims(), shape, "{name}");
        }
        let same_width = preset("EPG-L-16-256").expect("preset").model;
        assert!(same_width.params().all(|p| p.site.layer != Layer::Bridge));
    }

    /// MoCo v3: qkv bound sqrt(6/(d_out/3 + d_in)); the Base encoder has 86 M parameters, with the projector 107 M.
    #[test]
    fn encoder_facts() {
        let model = preset("EPG-B-16-256").expect("preset").model;
        let encoder: usize = model.encoder_params().map(|p| p.len()).sum();
        assert_eq!((encoder + 500_000) / 1_000_000, 86);
        let qkv = model.params().find(|p| p.site.layer == Layer::Qkv).expect("qkv");
        assert_eq!(qkv.init, Init::Uniform(libm::sqrt(6.0 / 1536.0) as f32));
    }
}
