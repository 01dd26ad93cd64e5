//! Speed of the fused operations against plain burn: `cargo bench --features testing --bench ops [-- --fastest <filter>..]`.
//!
//! Prints median times of forward and of forward plus backward for every operation at the sizes of the quick-start model and of
//! a mid-size one, then a whole training step. Uses every core that rayon sees (`RAYON_NUM_THREADS` limits it).

use std::time::{Duration, Instant};

use burn_autodiff::Autodiff;
use burn_flex::{Flex, FlexDevice};
use burn_tensor::{Distribution, Tensor};
use pixgen_core::ops::Branch;
use pixgen_train::ops::{
    FusedOps, Implementation, attention, gated_residual, layer_norm, linear, linear_gelu, norm_modulate, set_implementation, skip_fuse,
};

type Tracked = Autodiff<Flex>;

/// Sizes of a network and its batch.
#[derive(Clone, Copy)]
struct Sizes {
    name: &'static str,
    images: usize,
    patches: usize,
    patch: usize,
    width: usize,
    heads: usize,
    blocks: usize,
}

impl Sizes {
    fn tokens(self) -> usize {
        self.patches + 2
    }
    fn mlp(self) -> usize {
        4 * self.width
    }
}

const QUICK: Sizes = Sizes { name: "quick", images: 128, patches: 16, patch: 49, width: 64, heads: 4, blocks: 4 };
const MIDDLE: Sizes = Sizes { name: "middle", images: 32, patches: 64, patch: 48, width: 256, heads: 8, blocks: 6 };

/// Median time of a call over about a second; the shortest with `--fastest`, for a machine that is busy otherwise.
fn time(mut call: impl FnMut()) -> Duration {
    call();
    call();
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || (start.elapsed() < Duration::from_millis(700) && times.len() < 200) {
        let start = Instant::now();
        call();
        times.push(start.elapsed());
    }
    times.sort();
    let fastest = std::env::args().any(|argument| argument == "--fastest");
    times[if fastest { 0 } else { times.len() / 2 }]
}

/// Whether the command line asks for this line of the table.
fn selected(name: &str) -> bool {
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| name.contains(&filter))
}

/// Normal numbers.
fn random<B: FusedOps, const D: usize>(dims: [usize; D], deviation: f64) -> Tensor<B, D> {
    Tensor::random(dims, Distribution::Normal(0.0, deviation), &Default::default())
}

/// One line of the table: forward and forward plus backward, fused and plain.
///
/// `cost` is the floating-point operations of a forward (`true`) or the bytes it must move (`false`), in units of 1e9.
fn compare<const N: usize>(
    name: &str,
    cost: (f64, bool),
    inputs: [Tensor<Tracked, 1>; N],
    forward: impl Fn([Tensor<Tracked, 1>; N]) -> Tensor<Tracked, 3>,
) {
    if !selected(name) {
        return;
    }
    let tracked = inputs.clone().map(Tensor::require_grad);
    let weights: Tensor<Flex, 3> = random(forward(inputs.clone()).dims(), 1.0);
    let [fused, plain] = [Implementation::Fused, Implementation::Plain].map(|choice| {
        set_implementation(choice);
        let inference = time(|| {
            forward(inputs.clone());
        });
        let both = time(|| {
            let output = forward(tracked.clone());
            // The gradient of the loss starts as `weights`, at the price of one multiplication and one sum.
            (output * Tensor::from_inner(weights.clone())).sum().backward();
        });
        (inference.as_secs_f64(), both.as_secs_f64())
    });
    set_implementation(Implementation::Fused);
    let unit = if cost.1 { "GFLOP/s" } else { "GB/s" };
    println!(
        "{name:24} forward {:8.3} ms {:6.0} {unit:7} plain {:8.3} ms ({:5.1}x) | with backward {:8.3} ms, plain {:8.3} ms ({:5.1}x)",
        fused.0 * 1e3,
        cost.0 / fused.0,
        plain.0 * 1e3,
        plain.0 / fused.0,
        fused.1 * 1e3,
        plain.1 * 1e3,
        plain.1 / fused.1,
    );
}

fn operations(s: Sizes) {
    let (b, t, d, e) = (s.images, s.tokens(), s.width, s.mlp());
    let rows = (b * t) as f64;
    let flops = |inputs: usize, outputs: usize| (2e-9 * rows * (inputs * outputs) as f64, true);
    let bytes = |tensors: usize| (4e-9 * rows * (tensors * d) as f64, false);
    let flat = |n: usize, deviation: f64| random::<Tracked, 1>([n], deviation);
    let name = |operation: &str| format!("{} {operation}", s.name);
    compare(&name("linear qkv"), flops(d, 3 * d), [flat(b * t * d, 1.0), flat(3 * d * d, 0.1)], |[x, w]| {
        linear(x.reshape([b, t, d]), w.reshape([3 * d, d]), None)
    });
    compare(&name("linear down"), flops(e, d), [flat(b * t * e, 1.0), flat(d * e, 0.1), flat(d, 0.1)], |[x, w, bias]| {
        linear(x.reshape([b, t, e]), w.reshape([d, e]), Some(bias))
    });
    compare(&name("linear_gelu"), flops(d, e), [flat(b * t * d, 1.0), flat(d * e, 0.1), flat(e, 0.1)], |[x, w, bias]| {
        linear_gelu(x.reshape([b, t, d]), w.reshape([e, d]), bias)
    });
    compare(&name("layer_norm"), bytes(2), [flat(b * t * d, 1.0), flat(d, 1.0), flat(d, 1.0)], |[x, gamma, beta]| {
        layer_norm(x.reshape([b, t, d]), gamma, beta)
    });
    compare(
        &name("norm_modulate"),
        bytes(2),
        [flat(b * t * d, 1.0), flat(d, 1.0), flat(d, 1.0), flat(b * 6 * d, 1.0)],
        |[x, gamma, beta, m]| norm_modulate(x.reshape([b, t, d]), gamma, beta, m.reshape([b, 6 * d]), Branch::Attention),
    );
    compare(
        &name("gated_residual"),
        bytes(3),
        [flat(b * t * d, 1.0), flat(b * t * d, 1.0), flat(b * 6 * d, 1.0)],
        |[x, y, m]| gated_residual(x.reshape([b, t, d]), y.reshape([b, t, d]), m.reshape([b, 6 * d]), Branch::Mlp),
    );
    compare(&name("attention"), (4e-9 * rows * (t * d) as f64, true), [flat(b * t * 3 * d, 1.0)], |[qkv]| {
        attention(qkv.reshape([b, t, 3 * d]), s.heads)
    });
    compare(
        &name("skip_fuse"),
        flops(2 * d, d),
        [
            flat(b * t * d, 1.0),
            flat(b * t * d, 1.0),
            flat(2 * d * d, 0.1),
            flat(d, 0.1),
            flat(d, 1.0),
            flat(d, 1.0),
        ],
        |[x, skip, w, bias, gamma, beta]| {
            let (x, skip) = (x.reshape([b, t, d]), skip.reshape([b, t, d]));
            skip_fuse(x, skip, w.reshape([d, 2 * d]), bias, gamma, beta)
        },
    );
    compare(&name("add (burn)"), bytes(3), [flat(b * t * d, 1.0), flat(b * t * d, 1.0)], |[x, y]| {
        x.reshape([b, t, d]) + y.reshape([b, t, d])
    });
}

/// A network of the shape of EPG's encoder and decoder (docs/reference/method.md section 2), with random weights.
struct Network<B: FusedOps> {
    sizes: Sizes,
    matrices: Vec<Tensor<B, 2>>,
    vectors: Vec<Tensor<B, 1>>,
}

impl Network<Flex> {
    fn new(s: Sizes) -> Self {
        let (d, e) = (s.width, s.mlp());
        let mut matrices = vec![random([d, s.patch], 0.1), random([s.tokens(), d], 0.1), random([s.patch, d], 0.1)];
        let mut vectors = vec![random([s.patch], 0.1)];
        for block in 0..2 * s.blocks {
            let block_matrices = [[3 * d, d], [d, d], [e, d], [d, e]];
            matrices.extend(block_matrices.map(|dims| random(dims, 0.1)));
            vectors.extend([d, d, d, d, d, e, d].map(|width| random([width], 0.1)));
            if block >= s.blocks {
                matrices.extend([[d, 2 * d], [6 * d, d]].map(|dims| random(dims, 0.1)));
                vectors.extend([d, d, d, 6 * d].map(|width| random([width], 0.1)));
            }
        }
        Self { sizes: s, matrices, vectors }
    }

    fn tracked(&self) -> Network<Tracked> {
        Network {
            sizes: self.sizes,
            matrices: self.matrices.iter().map(|t| Tensor::from_inner(t.clone()).require_grad()).collect(),
            vectors: self.vectors.iter().map(|t| Tensor::from_inner(t.clone()).require_grad()).collect(),
        }
    }
}

impl<B: FusedOps> Network<B> {
    /// Patches `[B, P, patch]` and times `[B, D]` to patches.
    fn forward(&self, patches: Tensor<B, 3>, time: Tensor<B, 2>) -> Tensor<B, 3> {
        let s = self.sizes;
        let (mut matrices, mut vectors) = (self.matrices.iter().cloned(), self.vectors.iter().cloned());
        let mut matrix = || matrices.next().expect("as many as `new` made");
        let mut vector = || vectors.next().expect("as many as `new` made");
        let [images, count, _] = patches.dims();
        let (embed, positions, output, output_bias) = (matrix(), matrix(), matrix(), vector());
        let first = time.clone().reshape([images, 1, s.width]);
        let x = Tensor::cat(vec![first.clone(), first, linear(patches, embed, None)], 1);
        let mut x = x + positions.unsqueeze();
        let mut skips = Vec::new();
        for _ in 0..s.blocks {
            let h = layer_norm(x.clone(), vector(), vector());
            let h = linear(attention(linear(h, matrix(), None), s.heads), matrix(), Some(vector()));
            x = x + h;
            let h = linear_gelu(layer_norm(x.clone(), vector(), vector()), matrix(), vector());
            x = x + linear(h, matrix(), Some(vector()));
            skips.push(x.clone());
        }
        for skip in skips.into_iter().rev() {
            let (gamma, beta, project_bias) = (vector(), vector(), vector());
            let (gamma_mlp, beta_mlp, up_bias, down_bias) = (vector(), vector(), vector(), vector());
            let (qkv, project, up, down) = (matrix(), matrix(), matrix(), matrix());
            let (fuse, modulate) = (matrix(), matrix());
            x = skip_fuse(x, skip, fuse, vector(), vector(), vector());
            let m = linear(time.clone(), modulate, Some(vector()));
            let y = norm_modulate(x.clone(), gamma, beta, m.clone(), Branch::Attention);
            let y = linear(attention(linear(y, qkv, None), s.heads), project, Some(project_bias));
            x = gated_residual(x, y, m.clone(), Branch::Attention);
            let y = norm_modulate(x.clone(), gamma_mlp, beta_mlp, m.clone(), Branch::Mlp);
            let y = linear(linear_gelu(y, up, up_bias), down, Some(down_bias));
            x = gated_residual(x, y, m, Branch::Mlp);
        }
        linear(x.narrow(1, 2, count), output, Some(output_bias))
    }

    fn loss(&self, patches: Tensor<B, 3>, time: Tensor<B, 2>, target: Tensor<B, 3>) -> Tensor<B, 1> {
        (self.forward(patches, time) - target).powi_scalar(2).mean()
    }
}

fn step(s: Sizes) {
    if !selected(&format!("{} step", s.name)) {
        return;
    }
    let network = Network::new(s);
    let tracked = network.tracked();
    let patches: Tensor<Flex, 3> = random([s.images, s.patches, s.patch], 1.0);
    let times: Tensor<Flex, 2> = random([s.images, s.width], 1.0);
    for choice in [Implementation::Fused, Implementation::Plain] {
        set_implementation(choice);
        let inference = time(|| {
            network.forward(patches.clone(), times.clone());
        });
        let training = time(|| {
            let input = || Tensor::from_inner(patches.clone());
            tracked.loss(input(), Tensor::from_inner(times.clone()), input()).backward();
        });
        let consistency = time(|| {
            let half = s.images / 2;
            let teacher = network.forward(patches.clone().narrow(0, 0, half), times.clone().narrow(0, 0, half));
            let target = Tensor::cat(vec![teacher, patches.clone().narrow(0, half, half)], 0);
            let input = Tensor::from_inner(patches.clone());
            tracked
                .loss(input, Tensor::from_inner(times.clone()), Tensor::from_inner(target))
                .backward();
        });
        let rate = |duration: Duration| s.images as f64 / duration.as_secs_f64();
        println!(
            "{} step {choice:?}: forward {:.2} ms {:.0} img/s | forward + backward {:.2} ms {:.0} img/s | with a teacher on half the batch {:.2} ms {:.0} img/s",
            s.name,
            inference.as_secs_f64() * 1e3,
            rate(inference),
            training.as_secs_f64() * 1e3,
            rate(training),
            consistency.as_secs_f64() * 1e3,
            rate(consistency),
        );
    }
    set_implementation(Implementation::Fused);
}

fn main() {
    let _: FlexDevice = Default::default();
    println!("{} threads", rayon::current_num_threads());
    for sizes in [QUICK, MIDDLE] {
        operations(sizes);
        step(sizes);
    }
}
