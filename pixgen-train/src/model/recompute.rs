//! Activation checkpointing: a pass that keeps the inputs of its blocks and computes everything else a second time.
//!
//! The network is a chain of segments (`pixgen_core::network`). Forward runs outside autodiff and keeps what each block reads: the output
//! of the block before, which is also what the long skips carry. Backward goes from the last segment to the first and builds the graph of
//! one segment at a time, whose output's gradient is known by then. burn cannot run a backward pass inside another, so that this file
//! drives the segments from outside; results are those of the whole graph. Dropout counts instead of remembering and so repeats itself.

use super::batch::Condition;
use super::interpreter::{self, BurnNetwork};
use super::weights::BurnWeights;
use crate::ops::Dropout;
use crate::precision::Precision;
use crate::training::Engine;
use burn_autodiff::Autodiff;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::network;
use pixgen_core::ops::Ops;
use pixgen_core::params::{Layer, Side, Site};
use std::convert::Infallible;

/// A stretch of the network that is computed again as a whole.
#[derive(Clone, Copy, Debug)]
enum Segment {
    /// Tokens and positions.
    Embed,
    /// A block of the encoder.
    EncoderBlock(usize),
    /// LN(CLS).
    ClassFeature,
    /// Final norm of the encoder and bridge.
    Cross,
    /// SiLU(c).
    Condition,
    /// A block of the decoder.
    DecoderBlock(usize),
    /// Final norm of the decoder and head.
    Picture,
}

impl Segment {
    /// Whether it reads the weights of a layer.
    fn reads(self, site: Site) -> bool {
        match self {
            Self::Embed => {
                matches!(site.layer, Layer::ClassToken | Layer::Position | Layer::PatchEmbed | Layer::ClassEmbed)
            }
            Self::EncoderBlock(block) => site.in_block() == Some((Side::Encoder, block)),
            Self::ClassFeature => (site.side, site.layer) == (Side::Encoder, Layer::FinalNorm),
            Self::Cross => (site.side, site.layer) == (Side::Encoder, Layer::FinalNorm) || site.layer == Layer::Bridge,
            Self::Condition => site.layer == Layer::ClassEmbed,
            Self::DecoderBlock(block) => site.in_block() == Some((Side::Decoder, block)),
            Self::Picture => (site.side, site.layer) == (Side::Decoder, Layer::FinalNorm) || site.layer == Layer::Head,
        }
    }
}

/// What a pass keeps for its way back.
#[derive(Debug)]
pub struct Tape<'a, B: Engine> {
    config: &'a ModelConfig,
    weights: &'a BurnWeights<'a, B>,
    image: Tensor<B, 3>,
    condition: Condition<B>,
    dropout: Option<Dropout>,
    /// Inputs of the encoder's blocks, and the output of the last.
    encoder: Vec<Tensor<B, 3>>,
    /// The same of the decoder; empty for features.
    decoder: Vec<Tensor<B, 3>>,
}

impl<'a, B: Engine> Tape<'a, B> {
    /// As [`interpreter::forward`], and the tape: F of a batch, `[B, N_p, p*p*C]`.
    pub fn forward(
        config: &'a ModelConfig,
        weights: &'a BurnWeights<'a, B>,
        image: Tensor<B, 3>,
        condition: Condition<B>,
        dropout: Option<Dropout>,
    ) -> (Tensor<B, 3>, Self) {
        let mut tape = Self { config, weights, image, condition, dropout, encoder: Vec::new(), decoder: Vec::new() };
        let mut network = BurnNetwork::new(config, weights, tape.dropout.as_ref());
        let last = encode(&mut network, config, &tape.image, &tape.condition, &mut tape.encoder);
        let Ok(mut x) = network::cross(&mut network, config, last);
        let Ok(c) = network.condition(&tape.condition);
        for block in 0..config.decoder.depth {
            tape.decoder.push(x.clone());
            let skip = tape.encoder[skip_of(config, block)].clone();
            Ok(x) = network::decoder_block(&mut network, block, x, Some(skip), &c);
        }
        tape.decoder.push(x.clone());
        let Ok(output) = network::picture(&mut network, x);
        (output.cast(Precision::F32.dtype()), tape)
    }

    /// As [`interpreter::features`], and the tape: LN(CLS) of a batch, `[B, d]`.
    pub fn features(
        config: &'a ModelConfig,
        weights: &'a BurnWeights<'a, B>,
        image: Tensor<B, 3>,
        condition: Condition<B>,
    ) -> (Tensor<B, 2>, Self) {
        let mut tape = Self { config, weights, image, condition, dropout: None, encoder: Vec::new(), decoder: Vec::new() };
        let mut network = BurnNetwork::new(config, weights, None);
        let last = encode(&mut network, config, &tape.image, &tape.condition, &mut tape.encoder);
        let Ok(feature) = network::class_feature(&mut network, last);
        (interpreter::flat(feature).cast(Precision::F32.dtype()), tape)
    }

    /// Goes back, given the gradient of the output. With `gradient`, the gradients of the weights are added to it. Without, the weights are
    /// constants and the gradient of the image is returned.
    pub fn backward<const D: usize>(mut self, upstream: Tensor<B, D>, mut gradient: Option<&mut B::Flat>) -> Option<Tensor<B, 3>> {
        let mut from_skips: Vec<_> = self.encoder.iter().map(|_| None).collect();
        let mut dx = in_tokens(upstream);
        let end = if self.decoder.is_empty() {
            Segment::ClassFeature
        } else {
            dx = self.decoder_backward(dx, &mut from_skips, &mut gradient);
            Segment::Cross
        };
        if let Some(x) = self.encoder.pop() {
            [dx] = self.segment(end, [x], dx, &mut gradient, |network, [x]| match end {
                Segment::ClassFeature => Ok(network::class_feature(network, x)?.cast(Precision::F32.dtype())),
                _ => network::cross(network, self.config, x),
            });
        }
        while let Some(x) = self.encoder.pop() {
            let block = self.encoder.len();
            dx = sum(from_skips.pop().flatten(), dx);
            [dx] = self
                .segment(Segment::EncoderBlock(block), [x], dx, &mut gradient, |network, [x]| network::encoder_block(network, block, x));
        }
        let condition = self.condition.constant();
        if gradient.is_some() {
            let image = Tensor::from_inner(self.image.clone());
            let [] = self.segment(Segment::Embed, [], dx, &mut gradient, |network, []| network::embed(network, &image, &condition));
            return None;
        }
        let image = [self.image.clone()];
        let [image] = self.segment(Segment::Embed, image, dx, &mut None, |network, [image]| network::embed(network, &image, &condition));
        Some(image)
    }

    /// From F to the decoder's first input. What the long skips want goes to the encoder's blocks by place in `self.encoder`.
    fn decoder_backward(
        &mut self,
        mut dx: Tensor<B, 3>,
        from_skips: &mut [Option<Tensor<B, 3>>],
        gradient: &mut Option<&mut B::Flat>,
    ) -> Tensor<B, 3> {
        if let Some(x) = self.decoder.pop() {
            [dx] = self.segment(Segment::Picture, [x], dx, gradient, |network, [x]| {
                Ok(network::picture(network, x)?.cast(Precision::F32.dtype()))
            });
        }
        let Ok(c) = BurnNetwork::new(self.config, self.weights, None).condition(&self.condition);
        let mut of_condition = None;
        while let Some(x) = self.decoder.pop() {
            let block = self.decoder.len();
            let place = skip_of(self.config, block);
            let inputs = [x, self.encoder[place].clone(), c.clone()];
            let [of_x, of_skip, of_c] = self.segment(Segment::DecoderBlock(block), inputs, dx, gradient, |network, [x, skip, c]| {
                network::decoder_block(network, block, x, Some(skip), &c)
            });
            dx = of_x;
            from_skips[place] = Some(of_skip);
            of_condition = Some(sum(of_condition, of_c));
        }
        // The class embedding is all that c has of weights.
        if let Some(upstream) = of_condition.filter(|_| gradient.is_some() && self.condition.classes.is_some()) {
            let condition = self.condition.constant();
            let [] = self.segment(Segment::Condition, [], upstream, gradient, |network, []| network.condition(&condition));
        }
        dx
    }

    /// Runs a segment in a graph of its own, forward and back: gradients of its weights are added, those of its inputs returned.
    fn segment<const N: usize>(
        &self,
        segment: Segment,
        inputs: [Tensor<B, 3>; N],
        upstream: Tensor<B, 3>,
        gradient: &mut Option<&mut B::Flat>,
        run: impl FnOnce(&mut BurnNetwork<'_, Autodiff<B>>, [Tensor<Autodiff<B>, 3>; N]) -> Result<Tensor<Autodiff<B>, 3>, Infallible>,
    ) -> [Tensor<B, 3>; N] {
        let weights = self
            .weights
            .part::<Autodiff<B>>(|entry| entry.site.is_some_and(|site| segment.reads(site)));
        let weights = if gradient.is_some() { weights.leaves() } else { weights };
        let inputs = inputs.map(|input| Tensor::<Autodiff<B>, 3>::from_inner(input).require_grad());
        let Ok(output) = run(&mut BurnNetwork::new(self.config, &weights, self.dropout.as_ref()), inputs.clone());
        let mut gradients = (output * Tensor::from_inner(upstream)).backward();
        if let Some(gradient) = gradient.as_deref_mut() {
            weights.add_gradients(&mut gradients, gradient);
        }
        // An input that the output does not depend on has none.
        inputs.map(|input| input.grad_remove(&mut gradients).unwrap_or_else(|| input.inner().zeros_like()))
    }
}

/// The encoder: the input of each block and the output of the last go to `kept`.
fn encode<B: Engine>(
    network: &mut BurnNetwork<'_, B>,
    config: &ModelConfig,
    image: &Tensor<B, 3>,
    condition: &Condition<B>,
    kept: &mut Vec<Tensor<B, 3>>,
) -> Tensor<B, 3> {
    let Ok(mut x) = network::embed(network, image, condition);
    for block in 0..config.encoder.depth {
        kept.push(x.clone());
        Ok(x) = network::encoder_block(network, block, x);
    }
    kept.push(x.clone());
    x
}

/// Place in the encoder's list of what a block of the decoder takes as its long skip: block j the output of block L-1-j.
const fn skip_of(config: &ModelConfig, block: usize) -> usize {
    config.encoder.depth - block // a valid configuration has as many blocks in the decoder
}

/// `[B, d]` as `[B, 1, d]`; other shapes stay.
fn in_tokens<B: Engine, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 3> {
    let dims = x.dims();
    let tokens = dims[1..D - 1].iter().product();
    x.reshape([dims[0], tokens, dims[D - 1]])
}

fn sum<B: Engine>(a: Option<Tensor<B, 3>>, b: Tensor<B, 3>) -> Tensor<B, 3> {
    match a {
        Some(a) => a + b,
        None => b,
    }
}
