//! The burn interpreter of the network: batched tensors, on an autodiff backend or not, through the fused operations.
//!
//! Pictures are in patch layout, `[B, N_p, p*p*C]`; losses do not care about the order of pixels, so the trainer keeps that layout
//! throughout and only pictures for people are put back into rows.

use super::batch::Condition;
use super::weights::BurnWeights;
use crate::ops::{self as fused, Dropout, FusedOps};
use crate::precision::Precision;
use burn_tensor::{Tensor, activation};
use pixgen_core::config::{ModelConfig, PREFIX_TOKENS};
use pixgen_core::network;
use pixgen_core::ops::{Branch, Ops};
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use std::convert::Infallible;
use std::ops::Range;

/// Keeps the slope of a deviation finite.
const LEAST_VARIANCE: f64 = 1e-6;

/// The network with weights on a device.
#[derive(Debug)]
pub struct BurnNetwork<'a, B: FusedOps> {
    config: &'a ModelConfig,
    weights: &'a BurnWeights<'a, B>,
    dropout: Option<&'a Dropout>,
}

/// F for a batch: `image` `[B, N_p, p*p*C]`, scaled by c_in, and the result of that shape, both in `f32`. `dropout` holds the decoder's
/// for its first block (docs/reference/method.md section 2.3).
pub fn forward<B: FusedOps>(
    config: &ModelConfig,
    weights: &BurnWeights<'_, B>,
    image: &Tensor<B, 3>,
    condition: &Condition<B>,
    dropout: Option<&Dropout>,
) -> Tensor<B, 3> {
    let mut network = BurnNetwork::new(config, weights, dropout);
    match network::forward(&mut network, config, image, condition) {
        Ok(output) => output.cast(Precision::F32.dtype()),
        Err(never) => match never {},
    }
}

/// LN(CLS) for a batch, `[B, d]` in `f32`.
pub fn features<B: FusedOps>(
    config: &ModelConfig,
    weights: &BurnWeights<'_, B>,
    image: &Tensor<B, 3>,
    condition: &Condition<B>,
) -> Tensor<B, 2> {
    let mut network = BurnNetwork::new(config, weights, None);
    match network::features(&mut network, config, image, condition) {
        Ok(features) => flat(features).cast(Precision::F32.dtype()),
        Err(never) => match never {},
    }
}

/// The encoder's blocks whose tokens [`token_features`] shows: the middle one and the last.
fn shown_blocks(config: &ModelConfig) -> Vec<usize> {
    let (middle, last) = ((config.encoder.depth - 1) / 2, config.encoder.depth - 1);
    if middle == last { vec![last] } else { vec![middle, last] }
}

/// Rows of [`token_features`] that belong together: the patch tokens of each shown block, then every other row by itself.
pub fn token_groups(config: &ModelConfig) -> Vec<Range<usize>> {
    let (blocks, patches) = (shown_blocks(config).len(), config.patches());
    let tokens = (0..blocks).map(|block| block * patches..(block + 1) * patches);
    let single = (blocks * patches..blocks * patches + 2 * blocks + 1).map(|row| row..row + 1);
    tokens.chain(single).collect()
}

/// What stage 3 compares of the encoder, `[B, rows, d]` in `f32`: the patch tokens of the middle and of the last block, then the mean
/// over patches and the deviation from it of each, then LN(CLS).
pub fn token_features<B: FusedOps>(
    config: &ModelConfig,
    weights: &BurnWeights<'_, B>,
    image: &Tensor<B, 3>,
    condition: &Condition<B>,
) -> Tensor<B, 3> {
    let mut network = BurnNetwork::new(config, weights, None);
    let Ok(mut x) = network::embed(&mut network, image, condition);
    let shown = shown_blocks(config);
    let (mut rows, mut moments) = (Vec::new(), Vec::new());
    for block in 0..config.encoder.depth {
        Ok(x) = network::encoder_block(&mut network, block, x);
        if shown.contains(&block) {
            let Ok(tokens) = network.patch_tokens(x.clone());
            let tokens = tokens.cast(Precision::F32.dtype());
            let mean = tokens.clone().mean_dim(1);
            let variance = (tokens.clone() - mean.clone()).square().mean_dim(1);
            moments.extend([mean, (variance + LEAST_VARIANCE).sqrt()]);
            rows.push(tokens);
        }
    }
    let Ok(feature) = network::class_feature(&mut network, x);
    rows.extend(moments);
    rows.push(feature.cast(Precision::F32.dtype()));
    Tensor::cat(rows, 1)
}

/// `[B, 1, d]` to `[B, d]`.
pub(super) fn flat<B: FusedOps>(x: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, _, width] = x.dims();
    x.reshape([batch, width])
}

impl<'a, B: FusedOps> BurnNetwork<'a, B> {
    /// The interpreter of one pass; `dropout` holds the decoder's for its first block (docs/reference/method.md section 2.3).
    pub(super) fn new(config: &'a ModelConfig, weights: &'a BurnWeights<'a, B>, dropout: Option<&'a Dropout>) -> Self {
        Self { config, weights, dropout }
    }

    fn heads(&self, side: Side) -> usize {
        match side {
            Side::Encoder => self.config.encoder.heads,
            Side::Decoder => self.config.decoder.heads,
        }
    }

    /// The type of activations.
    fn cast<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        x.cast(self.weights.precision().dtype())
    }

    fn class_embedding(&self, condition: &Condition<B>) -> Option<Tensor<B, 3>> {
        let rows = condition.classes.clone()?;
        let table = self.weights.matrix(Site::new(Side::Encoder, 0, Layer::ClassEmbed), ParamKind::Weight);
        Some(table.select(0, rows).unsqueeze_dim(1))
    }

    fn apply_linear(&self, site: Site, x: Tensor<B, 3>) -> Tensor<B, 3> {
        fused::linear(x, self.weights.matrix(site, ParamKind::Weight), self.weights.bias(site))
    }

    fn norm_weights(&self, site: Site) -> (Tensor<B, 1>, Tensor<B, 1>) {
        (self.weights.vector(site, ParamKind::Weight), self.weights.vector(site, ParamKind::Bias))
    }
}

type Done<T> = Result<T, Infallible>;

impl<B: FusedOps> Ops for BurnNetwork<'_, B> {
    type Image = Tensor<B, 3>;
    type Condition = Condition<B>;
    type Output = Tensor<B, 3>;
    type Act = Tensor<B, 3>;
    type Skip = Tensor<B, 3>;
    type Error = Infallible;

    fn tokens(&mut self, image: &Tensor<B, 3>, condition: &Condition<B>) -> Done<Tensor<B, 3>> {
        let patches = self.apply_linear(Site::new(Side::Encoder, 0, Layer::PatchEmbed), self.cast(image.clone()));
        let [batch, _, width] = patches.dims();
        let token = self.weights.vector(Site::new(Side::Encoder, 0, Layer::ClassToken), ParamKind::Weight);
        let mut cls = token.reshape([1, 1, width]).expand([batch, 1, width]);
        if let Some(embedding) = self.class_embedding(condition) {
            cls = cls + embedding;
        }
        let time = self.cast(condition.time.clone()).unsqueeze_dim(1);
        let prefix = Tensor::cat(vec![cls, time], 1);
        let table = self.weights.matrix(Site::new(Side::Encoder, 0, Layer::Position), ParamKind::Weight);
        Ok(fused::tokens(prefix, patches, table))
    }

    /// [`tokens`](Ops::tokens) has added it already.
    fn add_position(&mut self, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(x)
    }

    fn layer_norm(&mut self, site: Site, x: &Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        self.layer_norm_in_place(site, x.clone())
    }

    fn layer_norm_in_place(&mut self, site: Site, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        let (gain, offset) = self.norm_weights(site);
        Ok(fused::layer_norm(x, gain, offset))
    }

    fn linear(&mut self, site: Site, x: &Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(self.apply_linear(site, x.clone()))
    }

    fn linear_into(&mut self, site: Site, x: &Tensor<B, 3>, _: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        self.linear(site, x)
    }

    fn bridge(&mut self, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(self.apply_linear(Site::new(Side::Decoder, 0, Layer::Bridge), x))
    }

    fn attend(&mut self, site: Site, qkv: &Tensor<B, 3>, _: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(fused::attention(qkv.clone(), self.heads(site.side)))
    }

    fn gelu(&mut self, _: Site, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(activation::gelu(x))
    }

    fn add(&mut self, _: Site, x: Tensor<B, 3>, y: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(x + y)
    }

    fn keep(&mut self, _: Site, x: &Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(x.clone())
    }

    fn concat(&mut self, _: Site, x: &Tensor<B, 3>, skip: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(Tensor::cat(vec![x.clone(), skip], 2))
    }

    fn condition(&mut self, condition: &Condition<B>) -> Done<Tensor<B, 3>> {
        let mut c = self.cast(condition.time.clone()).unsqueeze_dim(1);
        if let Some(embedding) = self.class_embedding(condition) {
            c = c + embedding;
        }
        Ok(activation::silu(c))
    }

    fn modulation(&mut self, site: Site, condition: &Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        self.linear(site, condition)
    }

    fn modulated_norm(&mut self, site: Site, x: &Tensor<B, 3>, modulation: &Tensor<B, 3>, branch: Branch) -> Done<Tensor<B, 3>> {
        let (gain, offset) = self.norm_weights(site);
        let m = flat(modulation.clone());
        Ok(fused::norm_modulate(x.clone(), gain, offset, m, branch))
    }

    fn gated_add(&mut self, _: Site, x: Tensor<B, 3>, y: Tensor<B, 3>, modulation: &Tensor<B, 3>, branch: Branch) -> Done<Tensor<B, 3>> {
        Ok(fused::gated_residual(x, y, flat(modulation.clone()), branch))
    }

    fn dropout(&mut self, site: Site, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(match self.dropout {
            Some(dropout) => fused::dropout(x, &Dropout { mask: site.block as u64, ..dropout.clone() }),
            None => x,
        })
    }

    fn class_token(&mut self, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(x.narrow(1, 0, 1))
    }

    fn patch_tokens(&mut self, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(x.narrow(1, PREFIX_TOKENS, self.config.patches()))
    }

    fn unpatchify(&mut self, _: Site, patches: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        Ok(patches)
    }

    fn release(&mut self, _: Tensor<B, 3>) {}

    /// Every activation is handed on, not copied, so that its memory can be used again.
    fn self_attention(&mut self, side: Side, block: usize, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        let qkv = self.apply_linear(Site::new(side, block, Layer::Qkv), x);
        let y = fused::attention(qkv, self.heads(side));
        Ok(self.apply_linear(Site::new(side, block, Layer::Proj), y))
    }

    /// GELU rides on the first linear.
    fn mlp(&mut self, side: Side, block: usize, x: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        let fc1 = Site::new(side, block, Layer::Fc1);
        let weight = self.weights.matrix(fc1, ParamKind::Weight);
        let hidden = fused::linear_gelu(x, weight, self.weights.vector(fc1, ParamKind::Bias));
        Ok(self.apply_linear(Site::new(side, block, Layer::Fc2), hidden))
    }

    /// Concat, linear and norm at once.
    fn skip_fuse(&mut self, block: usize, x: Tensor<B, 3>, skip: Tensor<B, 3>) -> Done<Tensor<B, 3>> {
        let site = Site::new(Side::Decoder, block, Layer::Skip);
        let (gain, offset) = self.norm_weights(Site::new(Side::Decoder, block, Layer::SkipNorm));
        let (weight, bias) = (self.weights.matrix(site, ParamKind::Weight), self.weights.vector(site, ParamKind::Bias));
        Ok(fused::skip_fuse(x, skip, weight, bias, gain, offset))
    }
}
