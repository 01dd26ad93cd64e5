//! A pass of the network whose gradient is wanted: with its whole graph in memory, or block by block.

use super::batch::Condition;
use super::interpreter::{features, forward, token_features};
use super::recompute::Tape;
use super::weights::BurnWeights;
use crate::ops::Dropout;
use crate::training::Engine;
use burn_autodiff::Autodiff;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;

/// What a pass has gradients for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientOf {
    /// The weights; the picture is a constant.
    Weights,
    /// The picture; the weights are constants.
    Image,
}

/// A pass and what its backward needs: F `[B, N_p, p*p*C]` or LN(CLS) `[B, d]`.
///
/// Both kinds do the same arithmetic. Recomputation keeps less and takes a second forward pass for it (docs/results/performance.md).
#[derive(Debug)]
pub struct Pass<'a, B: Engine, const D: usize> {
    output: Tensor<B, D>,
    kept: Kept<'a, B, D>,
}

#[derive(Debug)]
enum Kept<'a, B: Engine, const D: usize> {
    Graph {
        weights: BurnWeights<'a, Autodiff<B>>,
        image: Tensor<Autodiff<B>, 3>,
        output: Tensor<Autodiff<B>, D>,
    },
    Tape(Tape<'a, B>),
}

impl<'a, B: Engine> Pass<'a, B, 3> {
    /// F for a batch with gradients of the weights; see [`forward`].
    pub fn forward(
        recompute: bool,
        config: &'a ModelConfig,
        weights: &'a BurnWeights<'a, B>,
        image: Tensor<B, 3>,
        condition: Condition<B>,
        dropout: Option<Dropout>,
    ) -> Self {
        if recompute {
            let (output, tape) = Tape::forward(config, weights, image, condition, dropout);
            return Self { output, kept: Kept::Tape(tape) };
        }
        Self::graph(weights, image, GradientOf::Weights, |weights, image| {
            forward(config, weights, image, &condition.constant(), dropout.as_ref())
        })
    }

    /// Tokens of the encoder for a batch, with the gradient of the picture; see [`token_features`]. Always with its whole graph.
    pub fn tokens(config: &'a ModelConfig, weights: &'a BurnWeights<'a, B>, image: Tensor<B, 3>, condition: Condition<B>) -> Self {
        Self::graph(weights, image, GradientOf::Image, |weights, image| {
            token_features(config, weights, image, &condition.constant())
        })
    }
}

impl<'a, B: Engine> Pass<'a, B, 2> {
    /// LN(CLS) for a batch; see [`features`].
    pub fn features(
        recompute: bool,
        config: &'a ModelConfig,
        weights: &'a BurnWeights<'a, B>,
        image: Tensor<B, 3>,
        condition: Condition<B>,
        wanted: GradientOf,
    ) -> Self {
        if recompute {
            let (output, tape) = Tape::features(config, weights, image, condition);
            return Self { output, kept: Kept::Tape(tape) };
        }
        Self::graph(weights, image, wanted, |weights, image| features(config, weights, image, &condition.constant()))
    }
}

impl<'a, B: Engine, const D: usize> Pass<'a, B, D> {
    fn graph(
        weights: &BurnWeights<'a, B>,
        image: Tensor<B, 3>,
        wanted: GradientOf,
        run: impl FnOnce(&BurnWeights<'a, Autodiff<B>>, &Tensor<Autodiff<B>, 3>) -> Tensor<Autodiff<B>, D>,
    ) -> Self {
        let image = Tensor::from_inner(image);
        let (weights, image) = match wanted {
            GradientOf::Weights => (weights.tracked(), image),
            GradientOf::Image => (weights.constant(), image.require_grad()),
        };
        let output = run(&weights, &image);
        Self { output: output.clone().inner(), kept: Kept::Graph { weights, image, output } }
    }

    /// The output of a pass, and the pass itself if it is wanted later. Without `keep` none is made, as a graph that no backward pass takes
    /// up stays in burn's memory to the end of the step; `output` computes the same without one.
    pub fn kept_if(keep: bool, pass: impl FnOnce() -> Self, output: impl FnOnce() -> Tensor<B, D>) -> (Option<Self>, Tensor<B, D>) {
        let pass = keep.then(pass);
        let output = pass.as_ref().map_or_else(output, Self::output);
        (pass, output)
    }

    /// What the network gave, in `f32`.
    pub fn output(&self) -> Tensor<B, D> {
        self.output.clone()
    }

    /// Adds the gradient of the weights to `gradient`, given that of the output. For passes that wanted [`GradientOf::Weights`].
    pub fn backward(self, upstream: Tensor<B, D>, gradient: &mut B::Flat) {
        self.back(upstream, Some(gradient));
    }

    /// The gradient of the image, `[B, N_p, p*p*C]`, given that of the output. `None` for passes that did not want [`GradientOf::Image`].
    pub fn image_gradient(self, upstream: Tensor<B, D>) -> Option<Tensor<B, 3>> {
        self.back(upstream, None)
    }

    fn back(self, upstream: Tensor<B, D>, gradient: Option<&mut B::Flat>) -> Option<Tensor<B, 3>> {
        match self.kept {
            Kept::Tape(tape) => tape.backward(upstream, gradient),
            Kept::Graph { weights, image, output } => {
                let mut gradients = (output * Tensor::from_inner(upstream)).backward();
                if let Some(gradient) = gradient {
                    weights.add_gradients(&mut gradients, gradient);
                }
                image.grad_remove(&mut gradients)
            }
        }
    }
}
