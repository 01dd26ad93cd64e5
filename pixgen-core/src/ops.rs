//! The op set: the vocabulary in which the network is written, once (ARCHITECTURE.md).
//!
//! [`network`](crate::network) calls these operations; an interpreter says what they do. Shapes below are per picture, `[tokens,
//! width]`; an interpreter may carry a batch dimension of its own. Each call names its [`Site`], by which the interpreter finds
//! weights, scales or counters.
//!
//! Handles are taken by value where an operation may write in place of its input. Composite operations have default bodies made of
//! finer ones; an interpreter may override a composite as a whole (a fused kernel, an MLP in row chunks), and the conformance tests
//! hold it to the default's answer.

use crate::params::{Layer, Side, Site};

/// One of the two residual branches of a block, each with its own shift, scale and gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The first.
    Attention = 0,
    /// The second.
    Mlp = 1,
}

/// A modulation vector holds six chunks: shift, scale and gate of attention, then of the MLP (docs/reference/method.md section 2.3).
impl Branch {
    /// Index of the shift chunk.
    pub const fn shift(self) -> usize {
        3 * self as usize
    }

    /// Index of the scale chunk.
    pub const fn scale(self) -> usize {
        self.shift() + 1
    }

    /// Index of the gate chunk.
    pub const fn gate(self) -> usize {
        self.shift() + 2
    }
}

/// Result of an operation.
pub type OpResult<T, O> = Result<T, <O as Ops>::Error>;

/// An interpreter of the network.
pub trait Ops {
    /// The noisy picture, already scaled by c_in.
    type Image: ?Sized;
    /// Noise level and class.
    type Condition;
    /// Result of the decoder.
    type Output;
    /// Handle of an activation. Not to be used after [`release`](Ops::release).
    type Act;
    /// Handle of a long skip.
    type Skip;
    /// What can go wrong.
    type Error;

    /// Embeds patches and puts the class token (plus the class embedding, if there is a class) and the time token before them:
    /// `[2 + N_p, d]` (method.md sections 2.1, 2.4).
    fn tokens(&mut self, image: &Self::Image, condition: &Self::Condition) -> OpResult<Self::Act, Self>;

    /// Adds the position table to all tokens.
    fn add_position(&mut self, x: Self::Act) -> OpResult<Self::Act, Self>;

    /// LayerNorm into a new activation.
    fn layer_norm(&mut self, site: Site, x: &Self::Act) -> OpResult<Self::Act, Self>;

    /// LayerNorm in place.
    fn layer_norm_in_place(&mut self, site: Site, x: Self::Act) -> OpResult<Self::Act, Self>;

    /// x W^T + b into a new activation, with the output width of the site.
    fn linear(&mut self, site: Site, x: &Self::Act) -> OpResult<Self::Act, Self>;

    /// x W^T + b into the place of `out`, whose content is lost.
    fn linear_into(&mut self, site: Site, x: &Self::Act, out: Self::Act) -> OpResult<Self::Act, Self>;

    /// The linear layer between towers of different widths; the result takes the place of `x` (method.md section 2.3).
    fn bridge(&mut self, x: Self::Act) -> OpResult<Self::Act, Self>;

    /// softmax(Q K^T / sqrt(head width)) V of every head, from `[T, 3d]` into the place of `out`, `[T, d]`.
    fn attend(&mut self, site: Site, qkv: &Self::Act, out: Self::Act) -> OpResult<Self::Act, Self>;

    /// Exact GELU in place.
    fn gelu(&mut self, site: Site, x: Self::Act) -> OpResult<Self::Act, Self>;

    /// x + y in place of x; releases y.
    fn add(&mut self, site: Site, x: Self::Act, y: Self::Act) -> OpResult<Self::Act, Self>;

    /// Keeps a copy for the decoder. Skips are used up in the opposite order.
    fn keep(&mut self, site: Site, x: &Self::Act) -> OpResult<Self::Skip, Self>;

    /// `[x ; skip]`, `[T, d_dec + d]`, into a new activation; releases the skip.
    fn concat(&mut self, site: Site, x: &Self::Act, skip: Self::Skip) -> OpResult<Self::Act, Self>;

    /// SiLU(c), c = time sinusoid + class embedding: `[1, d]`. The same for every block (method.md sections 2.3, 2.4).
    fn condition(&mut self, condition: &Self::Condition) -> OpResult<Self::Act, Self>;

    /// Shift, scale and gate of both branches of a block: `[1, 6 d_dec]`.
    fn modulation(&mut self, site: Site, condition: &Self::Act) -> OpResult<Self::Act, Self>;

    /// LN(x) (1 + scale) + shift into a new activation.
    fn modulated_norm(&mut self, site: Site, x: &Self::Act, modulation: &Self::Act, branch: Branch) -> OpResult<Self::Act, Self>;

    /// x + gate y in place of x; releases y.
    fn gated_add(&mut self, site: Site, x: Self::Act, y: Self::Act, modulation: &Self::Act, branch: Branch) -> OpResult<Self::Act, Self>;

    /// Dropout while training; the identity by default.
    fn dropout(&mut self, _site: Site, x: Self::Act) -> OpResult<Self::Act, Self> {
        Ok(x)
    }

    /// The class token alone: `[1, d]`.
    fn class_token(&mut self, x: Self::Act) -> OpResult<Self::Act, Self>;

    /// The patch tokens alone: `[N_p, d]`.
    fn patch_tokens(&mut self, x: Self::Act) -> OpResult<Self::Act, Self>;

    /// Patches `[N_p, p*p*C]` to the interpreter's output.
    fn unpatchify(&mut self, site: Site, patches: Self::Act) -> OpResult<Self::Output, Self>;

    /// Frees an activation.
    fn release(&mut self, x: Self::Act);

    /// qkv, attend, projection. The result may lie elsewhere than `x`, which is used up.
    fn self_attention(&mut self, side: Side, block: usize, x: Self::Act) -> OpResult<Self::Act, Self> {
        let qkv = self.linear(Site::new(side, block, Layer::Qkv), &x)?;
        let x = self.attend(Site::new(side, block, Layer::Attend), &qkv, x)?;
        self.release(qkv);
        let y = self.linear(Site::new(side, block, Layer::Proj), &x)?;
        self.release(x);
        Ok(y)
    }

    /// linear, GELU, linear, in place of `x`.
    fn mlp(&mut self, side: Side, block: usize, x: Self::Act) -> OpResult<Self::Act, Self> {
        let hidden = self.linear(Site::new(side, block, Layer::Fc1), &x)?;
        let hidden = self.gelu(Site::new(side, block, Layer::Gelu), hidden)?;
        let x = self.linear_into(Site::new(side, block, Layer::Fc2), &hidden, x)?;
        self.release(hidden);
        Ok(x)
    }

    /// LN(Linear([x ; skip])) in place of `x` (method.md section 2.3).
    fn skip_fuse(&mut self, block: usize, x: Self::Act, skip: Self::Skip) -> OpResult<Self::Act, Self> {
        let site = Site::new(Side::Decoder, block, Layer::Skip);
        let both = self.concat(site, &x, skip)?;
        let x = self.linear_into(site, &both, x)?;
        self.release(both);
        self.layer_norm_in_place(Site::new(Side::Decoder, block, Layer::SkipNorm), x)
    }

    /// Linear and unpatchify of the decoder's normed patch tokens.
    fn head(&mut self, site: Site, x: Self::Act) -> OpResult<Self::Output, Self> {
        let patches = self.linear(site, &x)?;
        self.release(x);
        self.unpatchify(Site { layer: Layer::Unpatchify, ..site }, patches)
    }
}
