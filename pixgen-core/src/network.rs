//! The EPG network, written once over the op set (docs/method.md section 2).

use crate::config::{MAX_DEPTH, ModelConfig};
use crate::ops::{Branch, OpResult, Ops};
use crate::params::{Layer, Side, Site};
use heapless::Vec;

/// The long skips of one pass, at most [`MAX_DEPTH`].
pub type Skips<S> = Vec<S, MAX_DEPTH>;

/// F(c_in x, c_noise): encoder, then decoder.
///
/// `config` must be [valid](ModelConfig::validate); skips beyond [`MAX_DEPTH`] are not kept.
pub fn forward<O: Ops + ?Sized>(ops: &mut O, config: &ModelConfig, image: &O::Image, condition: &O::Condition) -> OpResult<O::Output, O> {
    let mut skips = Skips::new();
    let x = encode(ops, config, image, condition, Some(&mut skips))?;
    decode(ops, config, x, skips, condition)
}

/// The pre-training feature LN(CLS): `[1, d]` (method.md section 2.1).
pub fn features<O: Ops + ?Sized>(ops: &mut O, config: &ModelConfig, image: &O::Image, condition: &O::Condition) -> OpResult<O::Act, O> {
    let x = encode(ops, config, image, condition, None)?;
    let cls = ops.class_token(x)?;
    ops.layer_norm_in_place(Site::new(Side::Encoder, 0, Layer::FinalNorm), cls)
}

/// The encoder's blocks, without its final norm. Block outputs are pushed on `skips`.
pub fn encode<O: Ops + ?Sized>(
    ops: &mut O,
    config: &ModelConfig,
    image: &O::Image,
    condition: &O::Condition,
    mut skips: Option<&mut Skips<O::Skip>>,
) -> OpResult<O::Act, O> {
    let x = ops.tokens(image, condition)?;
    let mut x = ops.add_position(x)?;
    for block in 0..config.encoder.depth {
        let site = |layer| Site::new(Side::Encoder, block, layer);
        let y = ops.layer_norm(site(Layer::Norm1), &x)?;
        let y = ops.self_attention(Side::Encoder, block, y)?;
        x = ops.add(site(Layer::Add1), x, y)?;
        let y = ops.layer_norm(site(Layer::Norm2), &x)?;
        let y = ops.mlp(Side::Encoder, block, y)?;
        x = ops.add(site(Layer::Add2), x, y)?;
        if let Some(skips) = skips.as_deref_mut() {
            let skip = ops.keep(site(Layer::Skip), &x)?;
            let _ = skips.push(skip); // depth <= MAX_DEPTH in a valid configuration
        }
    }
    Ok(x)
}

/// The decoder: final norm of the encoder, bridge, blocks with long skips and AdaLN-Zero, head.
pub fn decode<O: Ops + ?Sized>(
    ops: &mut O,
    config: &ModelConfig,
    x: O::Act,
    mut skips: Skips<O::Skip>,
    condition: &O::Condition,
) -> OpResult<O::Output, O> {
    let mut x = ops.layer_norm_in_place(Site::new(Side::Encoder, 0, Layer::FinalNorm), x)?;
    if config.has_bridge() {
        x = ops.bridge(x)?;
    }
    let c = ops.condition(condition)?;
    for block in 0..config.decoder.depth {
        let site = |layer| Site::new(Side::Decoder, block, layer);
        // Block j takes the output of encoder block L-1-j: the skip kept last.
        if let Some(skip) = skips.pop() {
            x = ops.skip_fuse(block, x, skip)?;
        }
        let m = ops.modulation(site(Layer::Modulation), &c)?;
        let y = ops.modulated_norm(site(Layer::Norm1), &x, &m, Branch::Attention)?;
        let y = ops.self_attention(Side::Decoder, block, y)?;
        let y = ops.dropout(site(Layer::Proj), y)?;
        x = ops.gated_add(site(Layer::Add1), x, y, &m, Branch::Attention)?;
        let y = ops.modulated_norm(site(Layer::Norm2), &x, &m, Branch::Mlp)?;
        let y = ops.mlp(Side::Decoder, block, y)?;
        x = ops.gated_add(site(Layer::Add2), x, y, &m, Branch::Mlp)?;
        ops.release(m);
    }
    ops.release(c);
    let x = ops.patch_tokens(x)?;
    let x = ops.layer_norm_in_place(Site::new(Side::Decoder, 0, Layer::FinalNorm), x)?;
    ops.head(Site::new(Side::Decoder, 0, Layer::Head), x)
}
