//! The fused operations one by one, forward and backward, at the sizes of a step.
//!
//! Each is timed as a step runs it: the batch in micro-batches, one per thread ([`crate::objective::micro_batches`]).

use super::median;
use crate::config::{RunConfig, Stage, StageKind};
use crate::objective::micro_batches;
use crate::ops::{self, FusedOps};
use crate::precision::Precision;
use burn_autodiff::Autodiff;
use burn_tensor::{Distribution, Tensor};
use pixgen_core::config::{MLP_RATIO, PREFIX_TOKENS, Tower};
use pixgen_core::ops::Branch;
use serde::Serialize;
use std::ops::Range;
use std::time::Instant;

pub(super) type Tracked<B> = Autodiff<B>;

/// Times of an operation, of which the median counts.
const REPEATS: usize = 9;

/// An operation of the network.
#[derive(Clone, Debug, Serialize)]
pub struct OperationTiming {
    /// What, and in which tower.
    pub name: String,
    /// Calls of one pass.
    pub calls: usize,
    /// Seconds of a forward without gradient, whole batch.
    pub forward: f64,
    /// Seconds of a forward and backward.
    pub both: f64,
    /// Speed of forward and backward, where the operation is a matrix product.
    pub gflops: Option<f64>,
    /// Share of a step: calls with and without gradient over the step's time.
    pub share: f64,
}

/// A parameter of an operation.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    /// Elements.
    pub len: usize,
    /// Stored in the precision of the run.
    pub matrix: bool,
}

/// A matrix or table.
const fn matrix(len: usize) -> Parameter {
    Parameter { len, matrix: true }
}

/// A bias, gain or offset.
const fn vector(len: usize) -> Parameter {
    Parameter { len, matrix: false }
}

/// Number of pictures and inputs to output.
pub(super) type Run<B> = Box<dyn Fn(usize, &[Tensor<Tracked<B>, 1>]) -> Tensor<Tracked<B>, 3> + Sync>;

/// An operation on flat inputs: those of `images` pictures first, then parameters.
pub(super) struct Operation<B: FusedOps> {
    name: &'static str,
    calls: usize,
    /// Elements of the inputs that a picture brings.
    pub inputs: Vec<usize>,
    pub parameters: Vec<Parameter>,
    /// Multiply-accumulates of a picture's forward.
    macs: usize,
    pub run: Run<B>,
}

/// Times the operations of a step of `step` seconds, whose teacher sees `teacher_images` pictures.
pub fn measure<B: FusedOps>(config: &RunConfig, teacher_images: f64, step: f64, device: &B::Device) -> Vec<OperationTiming> {
    let batch = config.train.batch;
    let (tracked, free) = match config.stage {
        Stage::Pretrain(_) => (3.0, 3.0),
        Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => (1.0, teacher_images / batch as f64),
    };
    let tokens = config.model.tokens();
    all::<B>(config)
        .into_iter()
        .map(|(name, operation)| {
            let ranges = micro_batches::ranges::<B>(batch, config.micro_batch(), tokens);
            let [forward, both] = [false, true].map(|gradient| time(&operation, &ranges, config.compute.precision, gradient, device));
            let gflops = (operation.macs > 0).then(|| 6e-9 * (operation.macs * batch) as f64 / both);
            let share = operation.calls as f64 * (tracked * both + free * forward) / step;
            OperationTiming { name, calls: operation.calls, forward, both, gflops, share }
        })
        .collect()
}

/// The operations of a step by their names.
pub(super) fn all<B: FusedOps>(config: &RunConfig) -> Vec<(String, Operation<B>)> {
    let mut operations: Vec<(String, Operation<B>)> = Vec::new();
    let mut add = |side: &str, of: Vec<Operation<B>>| operations.extend(of.into_iter().map(|op| (format!("{side} {}", op.name), op)));
    let model = &config.model;
    add("encoder", tower(model.encoder, model.tokens()));
    add("encoder", encoder(config));
    if config.stage.kind() != StageKind::Pretrain {
        add("decoder", tower(model.decoder, model.tokens()));
        add("decoder", decoder(config));
    }
    operations
}

/// Seconds of an operation on a batch in these micro-batches.
fn time<B: FusedOps>(operation: &Operation<B>, ranges: &[Range<usize>], precision: Precision, gradient: bool, device: &B::Device) -> f64 {
    let random = |len: usize| Tensor::<Tracked<B>, 1>::random([len], Distribution::Normal(0.0, 0.1), device);
    let stored = |len: usize| random(len).cast(precision.dtype());
    let parameter = |&Parameter { len, matrix }: &Parameter| if matrix { stored(len) } else { random(len) };
    let parameters: Vec<_> = operation.parameters.iter().map(parameter).collect();
    let parts: Vec<_> = ranges
        .iter()
        .map(|range| {
            let inputs: Vec<_> = operation.inputs.iter().map(|&len| stored(range.len() * len)).collect();
            let upstream = (operation.run)(range.len(), &[&inputs[..], &parameters].concat()).inner();
            (range.len(), inputs, upstream)
        })
        .collect();
    let once = || {
        let started = Instant::now();
        micro_batches::map::<B, _, _>(parts.iter().collect(), |(images, inputs, upstream)| {
            let leaves = inputs.iter().chain(&parameters).cloned();
            let leaves: Vec<_> = if gradient {
                leaves.map(Tensor::require_grad).collect()
            } else {
                leaves.collect()
            };
            let output = (operation.run)(*images, &leaves);
            if gradient {
                // The gradient of the loss starts as `upstream`, at the price of a product and a sum.
                (output * Tensor::from_inner(upstream.clone())).sum().backward();
            }
        });
        // A failed device has failed in the step before.
        let _ = B::sync(device);
        started.elapsed().as_secs_f64()
    };
    once();
    median((0..REPEATS).map(|_| once()).collect())
}

/// `[images, rows, width]` of a flat tensor.
fn rows<B: FusedOps>(x: &Tensor<Tracked<B>, 1>, images: usize, width: usize) -> Tensor<Tracked<B>, 3> {
    let rows = x.dims()[0] / images.max(1) / width;
    x.clone().reshape([images, rows, width])
}

/// A linear layer; without bias if `bias` is false.
fn linear<B: FusedOps>(name: &'static str, calls: usize, tokens: usize, inputs: usize, outputs: usize, bias: bool) -> Operation<B> {
    let mut parameters = vec![matrix(inputs * outputs)];
    parameters.extend(bias.then_some(vector(outputs)));
    let run = move |images: usize, x: &[Tensor<Tracked<B>, 1>]| {
        let weight = x[1].clone().reshape([outputs, inputs]);
        ops::linear(rows(&x[0], images, inputs), weight, x.get(2).cloned())
    };
    Operation {
        name,
        calls,
        inputs: vec![tokens * inputs],
        parameters,
        macs: tokens * inputs * outputs,
        run: Box::new(run),
    }
}

/// What the blocks of both towers share.
fn tower<B: FusedOps>(tower: Tower, tokens: usize) -> Vec<Operation<B>> {
    let Tower { depth, width: d, heads } = tower;
    let hidden = MLP_RATIO * d;
    vec![
        linear("qkv", depth, tokens, d, 3 * d, false),
        Operation {
            name: "attention",
            calls: depth,
            inputs: vec![tokens * 3 * d],
            parameters: Vec::new(),
            macs: 2 * tokens * tokens * d,
            run: Box::new(move |images, x| ops::attention(rows(&x[0], images, 3 * d), heads)),
        },
        linear("proj", depth, tokens, d, d, true),
        Operation {
            name: "fc1 + GELU",
            calls: depth,
            inputs: vec![tokens * d],
            parameters: vec![matrix(hidden * d), vector(hidden)],
            macs: tokens * d * hidden,
            run: Box::new(move |images, x| ops::linear_gelu(rows(&x[0], images, d), x[1].clone().reshape([hidden, d]), x[2].clone())),
        },
        linear("fc2", depth, tokens, hidden, d, true),
    ]
}

/// What only the encoder has.
fn encoder<B: FusedOps>(config: &RunConfig) -> Vec<Operation<B>> {
    let model = &config.model;
    let (depth, d, tokens) = (model.encoder.depth, model.encoder.width, model.tokens());
    vec![
        Operation {
            name: "layer norm",
            calls: 2 * depth + 1,
            inputs: vec![tokens * d],
            parameters: vec![vector(d); 2],
            macs: 0,
            run: Box::new(move |images, x| ops::layer_norm(rows(&x[0], images, d), x[1].clone(), x[2].clone())),
        },
        Operation {
            name: "residual",
            calls: 2 * depth,
            inputs: vec![tokens * d; 2],
            parameters: Vec::new(),
            macs: 0,
            run: Box::new(move |images, x| rows(&x[0], images, d) + rows(&x[1], images, d)),
        },
        linear("patches", 1, model.patches(), model.patch_len(), d, true),
        Operation {
            name: "tokens",
            calls: 1,
            inputs: vec![PREFIX_TOKENS * d, model.patches() * d],
            parameters: vec![vector(tokens * d)],
            macs: 0,
            run: Box::new(move |images, x| ops::tokens(rows(&x[0], images, d), rows(&x[1], images, d), x[2].clone().reshape([tokens, d]))),
        },
    ]
}

/// What only the decoder has.
fn decoder<B: FusedOps>(config: &RunConfig) -> Vec<Operation<B>> {
    let model = &config.model;
    let (depth, d, skip, tokens) = (model.decoder.depth, model.decoder.width, model.encoder.width, model.tokens());
    let joined = d + skip;
    vec![
        Operation {
            name: "long skip",
            calls: depth,
            inputs: vec![tokens * d, tokens * skip],
            parameters: vec![matrix(d * joined), vector(d), vector(d), vector(d)],
            macs: tokens * d * joined,
            run: Box::new(move |images, x| {
                let (weight, [bias, gamma, beta]) = (x[2].clone().reshape([d, joined]), [3, 4, 5].map(|i| x[i].clone()));
                ops::skip_fuse(rows(&x[0], images, d), rows(&x[1], images, skip), weight, bias, gamma, beta)
            }),
        },
        linear("AdaLN", depth, 1, skip, 6 * d, true),
        Operation {
            name: "norm + modulate",
            calls: 2 * depth,
            inputs: vec![tokens * d, 6 * d],
            parameters: vec![vector(d); 2],
            macs: 0,
            run: Box::new(move |images, x| {
                let m = x[1].clone().reshape([images, 6 * d]);
                ops::norm_modulate(rows(&x[0], images, d), x[2].clone(), x[3].clone(), m, Branch::Mlp)
            }),
        },
        Operation {
            name: "gated residual",
            calls: 2 * depth,
            inputs: vec![tokens * d, tokens * d, 6 * d],
            parameters: Vec::new(),
            macs: 0,
            run: Box::new(move |images, x| {
                let m = x[2].clone().reshape([images, 6 * d]);
                ops::gated_residual(rows(&x[0], images, d), rows(&x[1], images, d), m, Branch::Mlp)
            }),
        },
        linear("head", 1, model.patches(), d, model.patch_len(), true),
    ]
}
