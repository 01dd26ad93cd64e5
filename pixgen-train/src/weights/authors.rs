//! The authors' names and layouts (docs/reference/weights.md): one table, made from the parameter list, read in both directions.

use pixgen_core::config::ModelConfig;
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_edge::model_file::ModelHeader;
use pixgen_edge::tensor_file::Shaped;
use std::collections::HashMap;

/// Buffers of the authors' batch norms that count steps and mean nothing here.
pub const COUNTER: &str = "num_batches_tracked";

/// How a tensor lies in the authors' files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorLayout {
    /// As here, but for dimensions of one.
    Same,
    /// A convolution `[d, C, p, p]`; here a matrix `[d, p*p*C]` with the pixels in the order of patches.
    Convolution {
        /// Colour channels C.
        channels: usize,
        /// Pixels of a patch, p*p.
        pixels: usize,
    },
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Name here.
    pub name: String,
    /// The authors' name.
    pub theirs: String,
    /// The authors' dimensions.
    pub shape: Vec<usize>,
    /// How the values lie there.
    pub layout: TensorLayout,
}

impl Mapping {
    /// The authors' values as they lie here.
    pub fn import(&self, values: Vec<f32>) -> Vec<f32> {
        match self.layout {
            TensorLayout::Same => values,
            TensorLayout::Convolution { channels, pixels } => swap(&values, channels, pixels),
        }
    }

    /// Values as they lie here, for the authors.
    pub fn export(&self, values: Vec<f32>) -> Vec<f32> {
        match self.layout {
            TensorLayout::Same => values,
            TensorLayout::Convolution { channels, pixels } => swap(&values, pixels, channels),
        }
    }
}

/// Rows `[a, b]` as `[b, a]`.
fn swap(values: &[f32], a: usize, b: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for row in values.chunks_exact(a * b) {
        out.extend((0..b).flat_map(|j| (0..a).map(move |i| row[i * b + j])));
    }
    out
}

/// The table of a model file, in the order of [`ModelHeader::tensors`].
pub fn table(header: &ModelHeader) -> Vec<Mapping> {
    let model = &header.model;
    let params = header.params();
    let sites: HashMap<&str, Site> = params
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.name.as_str(), entry.site?)))
        .collect();
    let row = |tensor: Shaped| {
        let (theirs, shape, layout) = match sites.get(tensor.name.as_str()) {
            Some(site) => network(model, *site, &tensor.name, &tensor.shape),
            None => (projector(&tensor.name), tensor.shape, TensorLayout::Same),
        };
        Mapping { name: tensor.name, theirs, shape, layout }
    };
    header.tensors().into_iter().map(row).collect()
}

/// Name, dimensions and layout of a parameter of the network.
fn network(model: &ModelConfig, site: Site, name: &str, shape: &[usize]) -> (String, Vec<usize>, TensorLayout) {
    let kind = if name.ends_with(".bias") {
        ParamKind::Bias
    } else {
        ParamKind::Weight
    };
    let layer = match (site.layer, site.side) {
        (Layer::ClassToken, _) => "cls_token",
        (Layer::Position, _) => "pos_embed",
        (Layer::PatchEmbed, _) => "patch_embed.proj",
        (Layer::ClassEmbed, _) => "class_embed",
        (Layer::Bridge, _) => "encoder_to_decoder",
        (Layer::FinalNorm, Side::Encoder) => "norm",
        (Layer::FinalNorm, Side::Decoder) => "out_norm",
        (Layer::Head, _) => "out",
        (Layer::Skip, _) => "skip_linear",
        (Layer::SkipNorm, _) => "skip_norm",
        (Layer::Modulation, _) => "adaLN_modulation.1",
        (Layer::Norm1, _) => "norm1",
        (Layer::Qkv, _) => "attn.qkv",
        (Layer::Proj, _) => "attn.proj",
        (Layer::Norm2, _) => "norm2",
        (Layer::Fc1, _) => "mlp.fc1",
        (Layer::Fc2, _) => "mlp.fc2",
        // Layers without weights are in no parameter list.
        (Layer::Attend | Layer::Add1 | Layer::Gelu | Layer::Add2 | Layer::Unpatchify, _) => "",
    };
    let suffix = match (site.layer, kind) {
        (Layer::ClassToken | Layer::Position, _) => "",
        (_, ParamKind::Weight) => ".weight",
        (_, ParamKind::Bias) => ".bias",
    };
    let theirs = match site.in_block() {
        Some((Side::Encoder, block)) => format!("blocks.{block}.{layer}{suffix}"),
        Some((Side::Decoder, block)) => format!("decoder_blocks.{block}.{layer}{suffix}"),
        None => format!("{layer}{suffix}"),
    };
    let (channels, patch) = (model.channels, model.patch);
    match (site.layer, kind) {
        (Layer::ClassToken, _) => (theirs, vec![1, 1, shape[0]], TensorLayout::Same),
        (Layer::Position, _) => (theirs, vec![1, shape[0], shape[1]], TensorLayout::Same),
        (Layer::PatchEmbed, ParamKind::Weight) => {
            (theirs, vec![shape[0], channels, patch, patch], TensorLayout::Convolution { channels, pixels: patch * patch })
        }
        _ => (theirs, shape.to_vec(), TensorLayout::Same),
    }
}

/// The authors' projector is a list of layers: linear, norm, ReLU, linear, norm, ReLU, linear.
fn projector(name: &str) -> String {
    let rest = name.strip_prefix("projector.").unwrap_or(name);
    let (layer, kind) = rest.split_once('.').unwrap_or((rest, ""));
    let number = match layer {
        "fc1" => 0,
        "bn1" => 1,
        "fc2" => 3,
        "bn2" => 4,
        _ => 6,
    };
    format!("projection_head.{number}.{kind}")
}

/// What tells a set of the authors' weights in a file: the name of the patch embedding.
pub(super) const ANCHOR: &str = "patch_embed.proj.weight";
/// What only encoders with a projector have; its first dimension is the hidden width.
pub(super) const PROJECTOR_FIRST: &str = "projection_head.0.weight";
/// Its first dimension is the output width.
pub(super) const PROJECTOR_LAST: &str = "projection_head.6.weight";
/// What only models with a decoder have; its first dimension is the classes and one.
pub(super) const CLASSES: &str = "class_embed.weight";
/// What a name of the decoder begins with.
pub(super) const DECODER: &str = "decoder_blocks.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_there_and_back() {
        // One row, two channels, patches of 2 x 2: the authors' c p1 p2 is p1 p2 c here.
        let row = Mapping {
            name: String::new(),
            theirs: String::new(),
            shape: vec![1, 2, 2, 2],
            layout: TensorLayout::Convolution { channels: 2, pixels: 4 },
        };
        let theirs: Vec<f32> = (0..8u8).map(f32::from).collect();
        let here = row.import(theirs.clone());
        assert_eq!(here, [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        assert_eq!(row.export(here), theirs);
    }
}
