//! The calls of fused operations that a pass of the network makes, written down by an interpreter of core's op set.
//!
//! The interpreter mirrors [`crate::model::interpreter`]: where that one overrides a composite by a fused operation, so does this one. The
//! list of calls therefore follows the network, and tests hold it to what the burn interpreter really calls, to the multiply-accumulates of
//! [`pixgen_core::plan`] and to the trainer's list of parameters.

use pixgen_core::config::{ModelConfig, PREFIX_TOKENS};
use pixgen_core::network;
use pixgen_core::ops::{Branch, Ops};
use pixgen_core::params::{Layer, ParamKind, Side, Site};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::ProjectorConfig;
use std::convert::Infallible;

/// An activation of one image, `[rows, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TracedActivation {
    /// Number within its trace, in order of creation.
    pub id: usize,
    /// Tokens, or 1.
    pub rows: usize,
    /// Channels.
    pub width: usize,
}

impl TracedActivation {
    /// Values of one image.
    pub const fn len(&self) -> usize {
        self.rows * self.width
    }

    /// True for an activation without values; no valid network has one.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is called; see [`crate::ops::contract`]. Shapes are those of the call's activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Class and time token before the patches, plus the position table. Input: patches.
    Tokens,
    /// Input: x.
    Linear {
        /// Whether the layer has a bias.
        bias: bool,
    },
    /// Linear with bias and GELU. Input: x.
    LinearGelu,
    /// Input: x.
    LayerNorm,
    /// Inputs: x, modulation.
    NormModulate,
    /// Inputs: x, branch, modulation.
    GatedResidual,
    /// Input: q, k and v together.
    Attention {
        /// Heads.
        heads: usize,
    },
    /// Norm of a linear of `[x ; skip]`. Inputs: x, skip.
    SkipFuse,
    /// burn's own sum. Inputs: x, y.
    Add,
    /// Only in passes of a stage with dropout. Input: x.
    Dropout,
    /// Some of the tokens. Input: x.
    Slice,
    /// SiLU of time embedding plus class embedding. No input.
    Condition {
        /// Rows of the table of class embeddings.
        table: usize,
    },
    /// burn's own GELU, where it is not part of a linear. Input: x.
    Gelu,
    /// burn's own concatenation, where it is not part of a skip. Inputs: x, skip.
    Concat,
    /// Batch norm and ReLU of the projector in burn's own operations. Input: x.
    BatchNormRelu,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is called.
    pub op: Op,
    /// Where in the network; `None` in the projector.
    pub site: Option<Site>,
    /// Activations that it reads.
    pub inputs: Vec<TracedActivation>,
    /// The activation that it writes.
    pub output: TracedActivation,
}

impl Call {
    /// Trained values that it reads.
    pub fn parameters(&self) -> usize {
        let (width, input) = (self.output.width, self.inputs.first().map_or(0, |x| x.width));
        match self.op {
            // Position table and class token.
            Op::Tokens => self.output.len() + width,
            Op::Linear { bias } => width * input + if bias { width } else { 0 },
            Op::LinearGelu => width * input + width,
            Op::LayerNorm | Op::NormModulate | Op::BatchNormRelu => 2 * width,
            Op::SkipFuse => width * self.inputs.iter().map(|x| x.width).sum::<usize>() + 3 * width,
            Op::Condition { table } => table * width,
            Op::GatedResidual | Op::Attention { .. } | Op::Add | Op::Dropout | Op::Slice | Op::Gelu | Op::Concat => 0,
        }
    }

    /// Those of them that are the matrix of a product.
    pub fn matrix(&self) -> usize {
        match self.op {
            Op::Linear { .. } | Op::LinearGelu | Op::SkipFuse => self.inputs.iter().map(|x| x.width * self.output.width).sum(),
            _ => 0,
        }
    }

    /// Multiply-accumulates with weights, for one image.
    pub fn macs(&self) -> usize {
        match self.op {
            Op::Linear { .. } | Op::LinearGelu | Op::SkipFuse => self.inputs.iter().map(|x| x.len() * self.output.width).sum(),
            _ => 0,
        }
    }

    /// Multiply-accumulates of QK^T and PV, for one image.
    pub fn attention_macs(&self) -> usize {
        match self.op {
            Op::Attention { .. } => 2 * self.output.rows * self.output.len(),
            _ => 0,
        }
    }

    /// The block it belongs to, if any: what activation checkpointing recomputes as a whole.
    pub fn block(&self) -> Option<(Side, usize)> {
        self.site?.in_block()
    }
}

/// The calls of a pass, in order. Activation 0 is the input; it gets no gradient unless another network made it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The calls.
    pub calls: Vec<Call>,
    acts: usize,
}

/// Number of the input's activation.
pub const INPUT: usize = 0;

impl Trace {
    fn act(&mut self, rows: usize, width: usize) -> TracedActivation {
        self.acts += 1;
        TracedActivation { id: self.acts - 1, rows, width }
    }

    fn call(&mut self, op: Op, site: impl Into<Option<Site>>, inputs: &[TracedActivation], rows: usize, width: usize) -> TracedActivation {
        let output = self.act(rows, width);
        self.calls.push(Call { op, site: site.into(), inputs: inputs.to_vec(), output });
        output
    }

    /// Activations that are read more than once, once for each reading after the first: gradients that have to be summed.
    pub fn shared(&self) -> Vec<TracedActivation> {
        let mut seen = vec![false; self.acts];
        let inputs = self.calls.iter().flat_map(|call| call.inputs.iter());
        inputs.filter(|act| std::mem::replace(&mut seen[act.id], true)).copied().collect()
    }

    /// Trained values of all calls.
    pub fn parameters(&self) -> usize {
        self.calls.iter().map(Call::parameters).sum()
    }
}

/// The whole network; `dropout` says whether the decoder drops activations.
pub fn forward(config: &ModelConfig, dropout: bool) -> Trace {
    record(config, dropout, |recorder| network::forward(recorder, config, &(), &()))
}

/// The encoder up to LN(CLS).
pub fn features(config: &ModelConfig) -> Trace {
    record(config, false, |recorder| network::features(recorder, config, &(), &()))
}

/// The projector on features of width `width` ([`crate::model::Projector`]).
pub fn projector(width: usize, config: &ProjectorConfig) -> Trace {
    let mut trace = Trace::default();
    let mut x = trace.act(1, width);
    for _ in 0..2 {
        x = trace.call(Op::Linear { bias: false }, None, &[x], 1, config.hidden);
        x = trace.call(Op::BatchNormRelu, None, &[x], 1, config.hidden);
    }
    trace.call(Op::Linear { bias: false }, None, &[x], 1, config.out);
    trace
}

fn record(config: &ModelConfig, dropout: bool, run: impl FnOnce(&mut Recorder<'_>) -> Done) -> Trace {
    let mut recorder = Recorder { config, set: ParamSet::generator(config), dropout, trace: Trace::default() };
    match run(&mut recorder) {
        Ok(_) => recorder.trace,
        Err(never) => match never {},
    }
}

/// The interpreter.
struct Recorder<'a> {
    config: &'a ModelConfig,
    set: ParamSet,
    dropout: bool,
    trace: Trace,
}

type Done = Result<TracedActivation, Infallible>;

impl Recorder<'_> {
    /// Rows of the weight at a site.
    fn out_width(&self, site: Site) -> usize {
        let position = self.set.position(site, ParamKind::Weight);
        position.map_or(0, |at| self.set.entries()[at].dims[0])
    }
}

impl Ops for Recorder<'_> {
    type Image = ();
    type Condition = ();
    type Output = TracedActivation;
    type Act = TracedActivation;
    type Skip = TracedActivation;
    type Error = Infallible;

    fn tokens(&mut self, (): &(), (): &()) -> Done {
        let image = self.trace.act(self.config.patches(), self.config.patch_len());
        let patches = self.linear(Site::new(Side::Encoder, 0, Layer::PatchEmbed), &image)?;
        let site = Site::new(Side::Encoder, 0, Layer::Position);
        Ok(self.trace.call(Op::Tokens, site, &[patches], PREFIX_TOKENS + patches.rows, patches.width))
    }

    /// [`tokens`](Ops::tokens) has added it already.
    fn add_position(&mut self, x: TracedActivation) -> Done {
        Ok(x)
    }

    fn layer_norm(&mut self, site: Site, x: &TracedActivation) -> Done {
        Ok(self.trace.call(Op::LayerNorm, site, &[*x], x.rows, x.width))
    }

    fn layer_norm_in_place(&mut self, site: Site, x: TracedActivation) -> Done {
        self.layer_norm(site, &x)
    }

    fn linear(&mut self, site: Site, x: &TracedActivation) -> Done {
        let bias = self.set.position(site, ParamKind::Bias).is_some();
        Ok(self.trace.call(Op::Linear { bias }, site, &[*x], x.rows, self.out_width(site)))
    }

    fn linear_into(&mut self, site: Site, x: &TracedActivation, _: TracedActivation) -> Done {
        self.linear(site, x)
    }

    fn bridge(&mut self, x: TracedActivation) -> Done {
        self.linear(Site::new(Side::Decoder, 0, Layer::Bridge), &x)
    }

    fn attend(&mut self, site: Site, qkv: &TracedActivation, _: TracedActivation) -> Done {
        let heads = match site.side {
            Side::Encoder => self.config.encoder.heads,
            Side::Decoder => self.config.decoder.heads,
        };
        Ok(self.trace.call(Op::Attention { heads }, site, &[*qkv], qkv.rows, qkv.width / 3))
    }

    fn gelu(&mut self, site: Site, x: TracedActivation) -> Done {
        Ok(self.trace.call(Op::Gelu, site, &[x], x.rows, x.width))
    }

    fn add(&mut self, site: Site, x: TracedActivation, y: TracedActivation) -> Done {
        Ok(self.trace.call(Op::Add, site, &[x, y], x.rows, x.width))
    }

    fn keep(&mut self, _: Site, x: &TracedActivation) -> Done {
        Ok(*x)
    }

    fn concat(&mut self, site: Site, x: &TracedActivation, skip: TracedActivation) -> Done {
        Ok(self.trace.call(Op::Concat, site, &[*x, skip], x.rows, x.width + skip.width))
    }

    fn condition(&mut self, (): &()) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::ClassEmbed);
        let table = self.out_width(site);
        Ok(self.trace.call(Op::Condition { table }, site, &[], 1, self.config.encoder.width))
    }

    fn modulation(&mut self, site: Site, condition: &TracedActivation) -> Done {
        self.linear(site, condition)
    }

    fn modulated_norm(&mut self, site: Site, x: &TracedActivation, modulation: &TracedActivation, _: Branch) -> Done {
        Ok(self.trace.call(Op::NormModulate, site, &[*x, *modulation], x.rows, x.width))
    }

    fn gated_add(&mut self, site: Site, x: TracedActivation, y: TracedActivation, modulation: &TracedActivation, _: Branch) -> Done {
        Ok(self.trace.call(Op::GatedResidual, site, &[x, y, *modulation], x.rows, x.width))
    }

    fn dropout(&mut self, site: Site, x: TracedActivation) -> Done {
        Ok(if self.dropout {
            self.trace.call(Op::Dropout, site, &[x], x.rows, x.width)
        } else {
            x
        })
    }

    fn class_token(&mut self, x: TracedActivation) -> Done {
        let site = Site::new(Side::Encoder, 0, Layer::ClassToken);
        Ok(self.trace.call(Op::Slice, site, &[x], 1, x.width))
    }

    fn patch_tokens(&mut self, x: TracedActivation) -> Done {
        let site = Site::new(Side::Decoder, 0, Layer::Head);
        Ok(self.trace.call(Op::Slice, site, &[x], self.config.patches(), x.width))
    }

    fn unpatchify(&mut self, _: Site, patches: TracedActivation) -> Done {
        Ok(patches)
    }

    fn release(&mut self, _: TracedActivation) {}

    /// GELU rides on the first linear.
    fn mlp(&mut self, side: Side, block: usize, x: TracedActivation) -> Done {
        let fc1 = Site::new(side, block, Layer::Fc1);
        let hidden = self.trace.call(Op::LinearGelu, fc1, &[x], x.rows, self.out_width(fc1));
        self.linear(Site::new(side, block, Layer::Fc2), &hidden)
    }

    /// Concat, linear and norm at once.
    fn skip_fuse(&mut self, block: usize, x: TracedActivation, skip: TracedActivation) -> Done {
        let site = Site::new(Side::Decoder, block, Layer::Skip);
        Ok(self.trace.call(Op::SkipFuse, site, &[x, skip], x.rows, x.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::upload;
    use crate::model::{self, BurnWeights, Condition, NormMode, Projector};
    use crate::ops::Dropout;
    use crate::ops::calls::{Noted, record};
    use burn_flex::Flex;
    use pixgen_core::config::Tower;
    use pixgen_core::plan::plan;
    use pixgen_core::presets::PRESETS;

    #[test]
    fn macs_and_parameters_are_those_of_the_plan_and_of_the_trainer() {
        for preset in PRESETS {
            let (trace, want) = (forward(&preset.model, true), plan(&preset.model));
            let sum = |of: fn(&Call) -> usize| trace.calls.iter().map(of).sum::<usize>();
            assert_eq!(sum(Call::macs), want.macs, "{}", preset.name);
            assert_eq!(sum(Call::attention_macs), want.attention_macs, "{}", preset.name);
            assert_eq!(trace.parameters(), ParamSet::generator(&preset.model).len(), "{}", preset.name);

            let config = ProjectorConfig { hidden: 4096, out: 256 };
            let encoder = features(&preset.model).parameters() + projector(preset.model.encoder.width, &config).parameters();
            assert_eq!(encoder, ParamSet::pretraining(&preset.model, &config).len(), "{}", preset.name);
        }
    }

    /// The residual stream is read by a norm and by a sum; a block's modulation by four operations; the condition by every block.
    #[test]
    fn shared_activations_are_the_streams_and_the_modulations() {
        let model = PRESETS[0].model;
        let (depth, trace) = (model.encoder.depth, forward(&model, false));
        let shared = trace.shared();
        let of = |rows, width| shared.iter().filter(|act| (act.rows, act.width) == (rows, width)).count();
        assert_eq!(of(1, 6 * model.decoder.width), 3 * depth);
        assert_eq!(of(1, model.encoder.width), depth - 1);
        // Two in each encoder block, its output as a skip, and two in each decoder block.
        assert_eq!(of(model.tokens(), model.encoder.width), (2 + 1 + 2) * depth);
        assert_eq!(shared.len(), 9 * depth - 1);
    }

    /// What the trace lists as a fused call, with the dimensions that [`crate::ops::calls`] notes for it: a batch of one.
    fn noted(call: &Call) -> Option<Noted> {
        let (output, dims) = (call.output, |act: &TracedActivation| [1, act.rows, act.width]);
        let inputs: Vec<[usize; 3]> = call.inputs.iter().map(dims).collect();
        let weight = |x: [usize; 3]| [output.width, x[2]];
        Some(match call.op {
            Op::Tokens => ("tokens", [[1, PREFIX_TOKENS, output.width], inputs[0]].concat()),
            // The projector works on rows, `[B, d]`.
            Op::Linear { .. } if call.site.is_none() => ("linear", [&inputs[0][1..], &weight(inputs[0])].concat()),
            Op::Linear { .. } => ("linear", [&inputs[0][..], &weight(inputs[0])].concat()),
            Op::LinearGelu => ("linear_gelu", [&inputs[0][..], &weight(inputs[0])].concat()),
            Op::LayerNorm => ("layer_norm", inputs[0].to_vec()),
            Op::NormModulate => ("norm_modulate", inputs[0].to_vec()),
            Op::GatedResidual => ("gated_residual", inputs[0].to_vec()),
            Op::Attention { heads } => ("attention", [&inputs[0][..], &[heads]].concat()),
            Op::SkipFuse => ("skip_fuse", inputs.concat()),
            Op::Dropout => ("dropout", inputs[0].to_vec()),
            Op::Add | Op::Slice | Op::Condition { .. } | Op::Gelu | Op::Concat | Op::BatchNormRelu => return None,
        })
    }

    /// The burn interpreter and the projector run for real, and the calls of fused operations are those of the traces, in order.
    #[test]
    fn the_burn_interpreter_makes_the_same_calls() {
        let config = ProjectorConfig { hidden: 8, out: 4 };
        let tower = |width, heads| Tower { depth: 2, width, heads };
        // With and without a bridge.
        for decoder in [tower(12, 3), tower(8, 2)] {
            let model = ModelConfig { size: 4, channels: 1, patch: 2, classes: 3, encoder: tower(8, 2), decoder };
            let device = Default::default();
            let image = upload::<Flex>(vec![0.5; 16], [1, 4, 4], &device);
            let (generator, encoder) = (ParamSet::generator(&model), ParamSet::pretraining(&model, &config));
            let (first, second) = (generator.initialise(1), encoder.initialise(1));
            let weights = BurnWeights::<Flex>::upload(&generator, &first, &device);
            let condition = Condition::new(&[1.0], Some(&[2]), model.encoder.width, &device);
            let listed = |trace: Trace| trace.calls.iter().filter_map(noted).collect::<Vec<_>>();
            for dropout in [None, Some(Dropout { rate: 0.5, seed: 1, streams: [7].into(), mask: 0 })] {
                let calls = record(|| drop(model::forward(&model, &weights, &image, &condition, dropout.as_ref())));
                assert_eq!(calls, listed(forward(&model, dropout.is_some())));
            }

            let weights = BurnWeights::<Flex>::upload(&encoder, &second, &device);
            let condition = Condition::new(&[1.0], None, model.encoder.width, &device);
            let calls = record(|| {
                let z = model::features(&model, &weights, &image, &condition);
                drop(Projector::new(&weights).forward(z, NormMode::Batch));
            });
            let listed = [listed(features(&model)), listed(projector(model.encoder.width, &config))].concat();
            assert_eq!(calls, listed);
        }
    }

    #[test]
    fn blocks_hold_the_same_calls() {
        let model = PRESETS[0].model;
        let trace = forward(&model, true);
        for (side, calls) in [(Side::Encoder, 9), (Side::Decoder, 12)] {
            for block in 0..model.encoder.depth {
                let found = trace.calls.iter().filter(|call| call.block() == Some((side, block))).count();
                assert_eq!(found, calls, "{side:?} {block}");
            }
        }
        let outside = trace.calls.iter().filter(|call| call.block().is_none()).count();
        // Patch embedding, tokens, encoder norm, condition, patch tokens, decoder norm, head.
        assert_eq!(outside, 7);
    }
}
