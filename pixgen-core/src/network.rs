//! The EPG network, written once over the op set (docs/reference/method.md section 2).
//!
//! [`forward`] and [`features`] are made of the segments at the end of this file. Training with recomputation takes the same segments one
//! at a time.

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
    class_feature(ops, x)
}

/// The encoder's blocks, without its final norm. Block outputs are pushed on `skips`.
pub fn encode<O: Ops + ?Sized>(
    ops: &mut O,
    config: &ModelConfig,
    image: &O::Image,
    condition: &O::Condition,
    mut skips: Option<&mut Skips<O::Skip>>,
) -> OpResult<O::Act, O> {
    let mut x = embed(ops, image, condition)?;
    for block in 0..config.encoder.depth {
        x = encoder_block(ops, block, x)?;
        if let Some(skips) = skips.as_deref_mut() {
            let skip = ops.keep(Site::new(Side::Encoder, block, Layer::Skip), &x)?;
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
    let mut x = cross(ops, config, x)?;
    let c = ops.condition(condition)?;
    for block in 0..config.decoder.depth {
        // Block j takes the output of encoder block L-1-j: the skip kept last.
        x = decoder_block(ops, block, x, skips.pop(), &c)?;
    }
    ops.release(c);
    picture(ops, x)
}

/// Tokens with their positions, `[2 + N_p, d]`: what the encoder's first block reads.
pub fn embed<O: Ops + ?Sized>(ops: &mut O, image: &O::Image, condition: &O::Condition) -> OpResult<O::Act, O> {
    let x = ops.tokens(image, condition)?;
    ops.add_position(x)
}

/// A block of the encoder.
pub fn encoder_block<O: Ops + ?Sized>(ops: &mut O, block: usize, x: O::Act) -> OpResult<O::Act, O> {
    let site = |layer| Site::new(Side::Encoder, block, layer);
    let y = ops.layer_norm(site(Layer::Norm1), &x)?;
    let y = ops.self_attention(Side::Encoder, block, y)?;
    let x = ops.add(site(Layer::Add1), x, y)?;
    let y = ops.layer_norm(site(Layer::Norm2), &x)?;
    let y = ops.mlp(Side::Encoder, block, y)?;
    ops.add(site(Layer::Add2), x, y)
}

/// LN(CLS) of the last block's output.
pub fn class_feature<O: Ops + ?Sized>(ops: &mut O, x: O::Act) -> OpResult<O::Act, O> {
    let cls = ops.class_token(x)?;
    ops.layer_norm_in_place(Site::new(Side::Encoder, 0, Layer::FinalNorm), cls)
}

/// From the last block of the encoder to the first of the decoder: final norm and, between towers of different widths, the bridge.
pub fn cross<O: Ops + ?Sized>(ops: &mut O, config: &ModelConfig, x: O::Act) -> OpResult<O::Act, O> {
    let x = ops.layer_norm_in_place(Site::new(Side::Encoder, 0, Layer::FinalNorm), x)?;
    if config.has_bridge() { ops.bridge(x) } else { Ok(x) }
}

/// A block of the decoder with its long skip; `c` is SiLU(c), the same for every block.
pub fn decoder_block<O: Ops + ?Sized>(ops: &mut O, block: usize, x: O::Act, skip: Option<O::Skip>, c: &O::Act) -> OpResult<O::Act, O> {
    let site = |layer| Site::new(Side::Decoder, block, layer);
    let x = match skip {
        Some(skip) => ops.skip_fuse(block, x, skip)?,
        None => x,
    };
    let m = ops.modulation(site(Layer::Modulation), c)?;
    let y = ops.modulated_norm(site(Layer::Norm1), &x, &m, Branch::Attention)?;
    let y = ops.self_attention(Side::Decoder, block, y)?;
    let y = ops.dropout(site(Layer::Proj), y)?;
    let x = ops.gated_add(site(Layer::Add1), x, y, &m, Branch::Attention)?;
    let y = ops.modulated_norm(site(Layer::Norm2), &x, &m, Branch::Mlp)?;
    let y = ops.mlp(Side::Decoder, block, y)?;
    let x = ops.gated_add(site(Layer::Add2), x, y, &m, Branch::Mlp)?;
    ops.release(m);
    Ok(x)
}

/// The patch tokens of the last block through final norm and head.
pub fn picture<O: Ops + ?Sized>(ops: &mut O, x: O::Act) -> OpResult<O::Output, O> {
    let x = ops.patch_tokens(x)?;
    let x = ops.layer_norm_in_place(Site::new(Side::Decoder, 0, Layer::FinalNorm), x)?;
    ops.head(Site::new(Side::Decoder, 0, Layer::Head), x)
}
