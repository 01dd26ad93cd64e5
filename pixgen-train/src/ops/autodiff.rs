//! The operations as custom nodes of burn's autodiff graph.
//!
//! One implementation for every inner backend: the forward calls the inner backend's `*_train` function when an input is
//! tracked and its plain forward otherwise, the backward calls the inner backend's `*_backward`. Nodes are registered as
//! compute bound, so no checkpointing strategy recomputes them.

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops as Node, OpsKind};
use burn_tensor::TensorMetadata;
use burn_tensor::backend::{AutodiffBackend, Backend};
use burn_tensor::ops::FloatTensor;

use super::arguments::{Dropout, InputGradients};
use super::contract::FusedOps;
use super::implementation::{Implementation, implementation};
use super::plain;
use pixgen_core::ops::Branch;

/// The backward of a node with `N` inputs: what the forward saved, the output's gradient and which inputs want theirs.
type BackwardFn<B, S, const N: usize> = fn(S, FloatTensor<B>, [bool; N]) -> InputGradients<B, N>;

/// Adapts a [`BackwardFn`] to burn's `Backward`.
#[derive(Debug)]
struct Step<B: Backend, S, const N: usize>(BackwardFn<B, S, N>);

impl<B, S, const N: usize> Backward<B, N> for Step<B, S, N>
where
    B: Backend,
    S: Clone + Send + std::fmt::Debug + 'static,
{
    type State = S;

    fn backward(self, node: Node<S, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&node.node);
        let wanted = node.parents.each_ref().map(Option::is_some);
        let gradients = (self.0)(node.state, dy, wanted);
        for (parent, gradient) in node.parents.iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// Makes a node: `inference` computes the output when no input is tracked, `train` the output and what `backward` needs.
fn node<B, C, S, const N: usize>(
    inputs: [&FloatTensor<Autodiff<B, C>>; N],
    inference: impl FnOnce() -> FloatTensor<B>,
    train: impl FnOnce() -> (FloatTensor<B>, S),
    backward: BackwardFn<B, S, N>,
) -> FloatTensor<Autodiff<B, C>>
where
    B: Backend,
    C: CheckpointStrategy,
    S: Clone + Send + std::fmt::Debug + 'static,
{
    let nodes = inputs.map(|input| input.node.clone());
    match Step(backward).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, state) = train();
            prepared.finish(state, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(inference()),
    }
}

/// Whether the composition of burn's operations, differentiated by burn, was asked for.
fn plain_chosen() -> bool {
    implementation() == Implementation::Plain
}

impl<B: FusedOps, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    const MICRO_BATCH_TOKENS: Option<usize> = B::MICRO_BATCH_TOKENS;

    fn fused_tokens(prefix: FloatTensor<Self>, patches: FloatTensor<Self>, position: FloatTensor<Self>) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::tokens::<Self>(prefix, patches, position);
        }
        let forward = || {
            let (patches, position) = (patches.primitive.clone(), position.primitive.clone());
            B::fused_tokens(prefix.primitive.clone(), patches, position)
        };
        node::<B, C, _, _>(
            [&prefix, &patches, &position],
            forward,
            || (forward(), prefix.primitive.shape().as_slice()[1]),
            |prefix, dy, wanted| B::fused_tokens_backward(dy, prefix, wanted),
        )
    }

    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: Option<FloatTensor<Self>>) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::linear::<Self>(x, w, b);
        }
        let saved = || (x.primitive.clone(), w.primitive.clone());
        let forward = || {
            let b = b.as_ref().map(|b| b.primitive.clone());
            B::fused_linear(x.primitive.clone(), w.primitive.clone(), b)
        };
        let train = || (forward(), saved());
        match &b {
            Some(b) => node::<B, C, _, _>([&x, &w, b], forward, train, |(x, w), dy, wanted| B::fused_linear_backward(x, w, dy, wanted)),
            None => node::<B, C, _, _>([&x, &w], forward, train, |(x, w), dy, [want_x, want_w]| {
                let [dx, dw, _] = B::fused_linear_backward(x, w, dy, [want_x, want_w, false]);
                [dx, dw]
            }),
        }
    }

    fn fused_linear_gelu(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::linear_gelu::<Self>(x, w, b);
        }
        let inputs = || (x.primitive.clone(), w.primitive.clone(), b.primitive.clone());
        node::<B, C, _, _>(
            [&x, &w, &b],
            || {
                let (x, w, b) = inputs();
                B::fused_linear_gelu(x, w, b)
            },
            || {
                let (x, w, b) = inputs();
                let (y, kept) = B::fused_linear_gelu_train(x.clone(), w.clone(), b.clone());
                (y, [x, w, b, kept])
            },
            |[x, w, b, kept], dy, wanted| B::fused_linear_gelu_backward(x, w, b, kept, dy, wanted),
        )
    }

    fn fused_layer_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::layer_norm::<Self>(x, gamma, beta);
        }
        let forward = || {
            let (gamma, beta) = (gamma.primitive.clone(), beta.primitive.clone());
            B::fused_layer_norm(x.primitive.clone(), gamma, beta)
        };
        node::<B, C, _, _>(
            [&x, &gamma, &beta],
            forward,
            || (forward(), (x.primitive.clone(), gamma.primitive.clone())),
            |(x, gamma), dy, wanted| B::fused_layer_norm_backward(x, gamma, dy, wanted),
        )
    }

    fn fused_norm_modulate(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        m: FloatTensor<Self>,
        branch: Branch,
    ) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::norm_modulate::<Self>(x, gamma, beta, m, branch);
        }
        let inputs = || [&x, &gamma, &beta, &m].map(|input| input.primitive.clone());
        let forward = || {
            let [x, gamma, beta, m] = inputs();
            B::fused_norm_modulate(x, gamma, beta, m, branch)
        };
        node::<B, C, _, _>(
            [&x, &gamma, &beta, &m],
            forward,
            || (forward(), (inputs(), branch)),
            |([x, gamma, beta, m], branch), dy, wanted| B::fused_norm_modulate_backward(x, gamma, beta, m, branch, dy, wanted),
        )
    }

    fn fused_gated_residual(x: FloatTensor<Self>, y: FloatTensor<Self>, m: FloatTensor<Self>, branch: Branch) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::gated_residual::<Self>(x, y, m, branch);
        }
        let forward = || {
            let (y, m) = (y.primitive.clone(), m.primitive.clone());
            B::fused_gated_residual(x.primitive.clone(), y, m, branch)
        };
        node::<B, C, _, _>(
            [&x, &y, &m],
            forward,
            || (forward(), (y.primitive.clone(), m.primitive.clone(), branch)),
            |(y, m, branch), dy, wanted| B::fused_gated_residual_backward(y, m, branch, dy, wanted),
        )
    }

    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::attention::<Self>(qkv, heads);
        }
        node::<B, C, _, _>(
            [&qkv],
            || B::fused_attention(qkv.primitive.clone(), heads),
            || {
                let (y, lse) = B::fused_attention_train(qkv.primitive.clone(), heads);
                (y.clone(), (qkv.primitive.clone(), y, lse, heads))
            },
            |(qkv, y, lse, heads), dy, [wanted]| [wanted.then(|| B::fused_attention_backward(qkv, y, lse, heads, dy))],
        )
    }

    fn fused_skip_fuse(
        x: FloatTensor<Self>,
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::skip_fuse_train::<Self>(x, s, w, b, gamma, beta).0;
        }
        let inputs = || [&x, &s, &w, &b, &gamma, &beta].map(|input| input.primitive.clone());
        node::<B, C, _, _>(
            [&x, &s, &w, &b, &gamma, &beta],
            || {
                let [x, s, w, b, gamma, beta] = inputs();
                B::fused_skip_fuse(x, s, w, b, gamma, beta)
            },
            || {
                let [x, s, w, b, gamma, beta] = inputs();
                let (y, normed) = B::fused_skip_fuse_train(x.clone(), s.clone(), w.clone(), b, gamma.clone(), beta);
                (y, [x, s, w, normed, gamma])
            },
            |[x, s, w, normed, gamma], dy, wanted| B::fused_skip_fuse_backward(x, s, w, normed, gamma, dy, wanted),
        )
    }

    fn fused_dropout(x: FloatTensor<Self>, dropout: &Dropout) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::dropout::<Self>(x, dropout);
        }
        let forward = || B::fused_dropout(x.primitive.clone(), dropout);
        node::<B, C, _, _>(
            [&x],
            forward,
            || (forward(), dropout.clone()),
            |dropout, dy, wanted| [wanted[0].then(|| B::fused_dropout(dy, &dropout))],
        )
    }

    fn fused_weighted_sum(x: FloatTensor<Self>, y: FloatTensor<Self>, a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        if plain_chosen() {
            return plain::weighted_sum::<Self>(x, y, a, b);
        }
        let factors = || (a.primitive.clone(), b.primitive.clone());
        let forward = || B::fused_weighted_sum(x.primitive.clone(), y.primitive.clone(), a.primitive.clone(), b.primitive.clone());
        node::<B, C, _, _>(
            [&x, &y],
            forward,
            || (forward(), factors()),
            |(a, b), dy, wanted| B::fused_weighted_sum_backward(a, b, dy, wanted),
        )
    }

    fn fused_nt_xent(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        first: usize,
        tau: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if plain_chosen() {
            return plain::nt_xent::<Self>(queries, keys, first, tau);
        }
        let (q, k) = (queries.primitive.clone(), keys.primitive.clone());
        let (loss, lse) = B::fused_nt_xent(q.clone(), k.clone(), first, tau);
        let saved = lse.clone();
        let loss = node::<B, C, _, _>(
            [&queries, &keys],
            || loss.clone(),
            || (loss.clone(), (q, k, saved, first, tau)),
            |(q, k, lse, first, tau), dy, wanted| B::fused_nt_xent_backward(q, k, lse, first, tau, dy, wanted),
        );
        (loss, <Self as AutodiffBackend>::from_inner(lse))
    }
}
