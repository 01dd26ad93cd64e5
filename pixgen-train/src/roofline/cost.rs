//! From a call to kernels: operations, the fewest bytes, and the bytes that our kernels move.
//!
//! *Fewest* means that an operation reads each of its inputs once and writes each of its outputs once, in the precision in which they are
//! stored. They are charged to the first of its kernels that needs them, so sums over an operation are right and a single kernel may show
//! less than it could do with alone. *Ours* follows the kernels that pixgen-cubecl and cubek launch. Both count device memory only: tiles
//! of a matrix product and keys and values of attention that are read again by other blocks are taken to come from the L2 cache.
//!
//! Numbers in brackets are the equations of docs/results/performance.md.

use super::trace::{Act, Call, INPUT, Op};
use serde::Serialize;

/// Bytes of vectors, statistics, losses, gradients for the optimiser and master weights.
pub const F32: f64 = 4.0;
/// Rows whose gradients of a norm's gain and offset a block of threads sums before it writes them.
const ROWS_PER_PARTIAL_SUM: f64 = 64.0;
/// FLOP of the vector units in the time of one exponential: 256 a cycle and multiprocessor against 16.
const EXPONENTIAL: f64 = 16.0;
/// FLOP beside the exponential of one attention score: scale, maximum, difference, sum, product.
const SCORE: f64 = 6.0;
/// FLOP of GELU and its slope: erf, exponential and a few products.
const GELU: f64 = 3.0 * EXPONENTIAL;
/// FLOP of an element of a norm, forward and backward.
const NORM: [f64; 2] = [8.0, 16.0];
/// FLOP that take the time of one random number of dropout: a quarter of ten rounds of Philox, integers at half the rate.
const RANDOM: f64 = 50.0;
/// Products of T x T by head width in our attention backward: 3 in the kernel of dq, 4 in that of dk and dv. Needed are 5, and 4 of those
/// count as useful because the forward pass knew the scores.
const ATTENTION_BACKWARD_PRODUCTS: f64 = 7.0;
/// Readings and writings of the whole input by burn's own batch norm and ReLU, forward and backward.
const BATCH_NORM_PASSES: [f64; 2] = [14.0, 28.0];

/// What a kernel does: a row of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// x W^T.
    MatmulForward,
    /// dy W.
    MatmulInput,
    /// dy^T x.
    MatmulWeight,
    /// Adds a bias.
    Bias,
    /// Adds a bias and takes the GELU.
    BiasGelu,
    /// Multiplies with the GELU's slope, and sums the product over rows for the bias.
    GeluBackward,
    /// Sums dy over rows.
    BiasBackward,
    /// softmax(QK^T)V.
    Attention,
    /// dq with delta, then dk and dv.
    AttentionBackward,
    /// Layer norm.
    LayerNorm,
    /// Its gradients.
    LayerNormBackward,
    /// Layer norm, shift and scale.
    NormModulate,
    /// Its gradients.
    NormModulateBackward,
    /// x + gate y.
    GatedResidual,
    /// Its gradients.
    GatedResidualBackward,
    /// `[x ; skip]` of a long skip, and its gradient in two parts.
    SkipJoin,
    /// x + y of the encoder's blocks.
    Residual,
    /// Dropout, both ways.
    Dropout,
    /// Sums gradients of an activation that several operations read.
    GradientSum,
    /// Tokens, slices, condition, projector norms.
    Small,
    /// Noised input, loss and its gradient.
    Loss,
    /// Weight gradients into the f32 buffer.
    Accumulate,
    /// Norm of the gradient.
    GradientNorm,
    /// AdamW and averages.
    Optimiser,
    /// Weights to bf16.
    Cast,
}

impl Kind {
    /// Name in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MatmulForward => "matmul y = x W^T",
            Self::MatmulInput => "matmul dx = dy W",
            Self::MatmulWeight => "matmul dW = dy^T x",
            Self::Bias => "bias",
            Self::BiasGelu => "bias + GELU",
            Self::GeluBackward => "GELU backward",
            Self::BiasBackward => "bias backward",
            Self::Attention => "attention",
            Self::AttentionBackward => "attention backward",
            Self::LayerNorm => "layer norm",
            Self::LayerNormBackward => "layer norm backward",
            Self::NormModulate => "norm + modulate",
            Self::NormModulateBackward => "norm + modulate backward",
            Self::GatedResidual => "gated residual",
            Self::GatedResidualBackward => "gated residual backward",
            Self::SkipJoin => "skip: join and split",
            Self::Residual => "residual",
            Self::Dropout => "dropout",
            Self::GradientSum => "activation gradient sums",
            Self::Small => "tokens, slices, condition",
            Self::Loss => "noise and losses",
            Self::Accumulate => "weight gradient sums",
            Self::GradientNorm => "gradient norm",
            Self::Optimiser => "AdamW + averages",
            Self::Cast => "weights to bf16",
        }
    }
}

/// Launches of a kernel with the same shapes, together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    /// What it does.
    pub kind: Kind,
    /// Launches.
    pub launches: f64,
    /// FLOP of matrix products, two for each multiply-accumulate.
    pub products: f64,
    /// The part of `products` that any implementation needs.
    pub useful: f64,
    /// FLOP of the vector units.
    pub vector: f64,
    /// The fewest bytes.
    pub least: f64,
    /// Bytes that our kernel moves.
    pub ours: f64,
}

impl Kernel {
    /// One launch that moves `least` bytes at least and `ours` in our implementation.
    pub const fn new(kind: Kind, least: f64, ours: f64) -> Self {
        Self { kind, launches: 1.0, products: 0.0, useful: 0.0, vector: 0.0, least, ours }
    }

    /// The same in `launches` launches.
    pub const fn launches(self, launches: f64) -> Self {
        Self { launches, ..self }
    }

    /// With so many FLOP of the vector units.
    pub const fn vector(self, vector: f64) -> Self {
        Self { vector, ..self }
    }

    /// With so many FLOP of matrix products, all of them useful.
    pub const fn products(self, products: f64) -> Self {
        Self { products, useful: products, ..self }
    }

    /// `times` times the same.
    pub fn times(self, times: f64) -> Self {
        Self {
            launches: times * self.launches,
            products: times * self.products,
            useful: times * self.useful,
            vector: times * self.vector,
            least: times * self.least,
            ours: times * self.ours,
            ..self
        }
    }
}

/// How a pass runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Images at once. An average may be fractional.
    pub images: f64,
    /// Bytes of a stored activation or matrix element, e.
    pub element: f64,
}

/// Gradients that a backward pass is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of the parameters.
    pub weights: bool,
    /// Of the input of the pass.
    pub input: bool,
}

/// A matrix product `[m, k] [k, n]`, of which `least` bytes are charged to it (1).
fn matmul(kind: Kind, [m, k, n]: [f64; 3], run: Run, least: f64) -> Kernel {
    Kernel::new(kind, least, run.element * (m * k + k * n + m * n)).products(2.0 * m * k * n)
}

/// Bytes that writing and reading the partial sums of a norm's parameter gradients takes, and what the sums are, for `rows` of `width`.
fn partial_sums(rows: f64, width: f64) -> f64 {
    2.0 * 2.0 * F32 * width * (rows / ROWS_PER_PARTIAL_SUM).ceil()
}

/// Shapes of a call in a run.
struct Shape<'a> {
    call: &'a Call,
    run: Run,
    /// Rows of the output in all images, M.
    rows: f64,
    /// Width of the output, O or D.
    width: f64,
    /// Values of the output.
    values: f64,
    /// Bytes of the output.
    bytes: f64,
}

impl<'a> Shape<'a> {
    fn new(call: &'a Call, run: Run) -> Self {
        let (rows, width) = (run.images * call.output.rows as f64, call.output.width as f64);
        Self { call, run, rows, width, values: rows * width, bytes: run.element * rows * width }
    }

    /// Width of an input.
    fn input(&self, i: usize) -> f64 {
        self.call.inputs.get(i).map_or(0.0, |act| act.width as f64)
    }

    /// Bytes of an input.
    fn input_bytes(&self, i: usize) -> f64 {
        self.call.inputs.get(i).map_or(0.0, |act| act_bytes(*act, self.run))
    }

    /// Width of all inputs together.
    fn joined(&self) -> f64 {
        self.call.inputs.iter().map(|act| act.width as f64).sum()
    }

    /// Bytes of `chunks` vectors of the output's width for each image: parts of a modulation.
    fn chunks(&self, chunks: f64) -> f64 {
        self.run.element * self.run.images * chunks * self.width
    }

    /// Scores of all heads, and bytes of one f32 for each query and head.
    fn scores(&self, heads: usize) -> (f64, f64) {
        let queries = self.rows * heads as f64;
        (queries * self.call.output.rows as f64, F32 * queries)
    }
}

fn act_bytes(act: Act, run: Run) -> f64 {
    run.element * run.images * act.len() as f64
}

/// Kernels of the forward pass of a call; `train` asks for what the backward pass needs.
pub fn forward(call: &Call, run: Run, train: bool) -> Vec<Kernel> {
    let shape = Shape::new(call, run);
    let Shape { rows, width, values, bytes, .. } = shape;
    let (e, input) = (run.element, shape.input(0));
    let product = |kind| matmul(kind, [rows, input, width], run, e * (rows * input + input * width) + bytes);
    match call.op {
        Op::Linear { bias } => {
            let epilogue = Kernel::new(Kind::Bias, F32 * width, 2.0 * bytes + F32 * width).vector(values);
            std::iter::once(product(Kind::MatmulForward)).chain(bias.then_some(epilogue)).collect()
        }
        Op::LinearGelu => {
            let slope = if train { bytes } else { 0.0 };
            let epilogue = Kernel::new(Kind::BiasGelu, slope + F32 * width, 2.0 * bytes + slope + F32 * width);
            vec![product(Kind::MatmulForward), epilogue.vector(GELU * values)]
        }
        Op::LayerNorm => {
            let all = 2.0 * bytes + 2.0 * F32 * width;
            vec![Kernel::new(Kind::LayerNorm, all, all).vector(NORM[0] * values)]
        }
        Op::NormModulate => {
            let all = 2.0 * bytes + shape.chunks(2.0) + 2.0 * F32 * width;
            vec![Kernel::new(Kind::NormModulate, all, all).vector((NORM[0] + 2.0) * values)]
        }
        Op::GatedResidual => {
            let all = 3.0 * bytes + shape.chunks(1.0);
            vec![Kernel::new(Kind::GatedResidual, all, all).vector(2.0 * values)]
        }
        Op::Attention { heads } => {
            let (scores, statistics) = shape.scores(heads);
            let all = 4.0 * bytes + if train { statistics } else { 0.0 };
            let kernel = Kernel::new(Kind::Attention, all, all).vector((EXPONENTIAL + SCORE) * scores);
            vec![kernel.products(4.0 * values * call.output.rows as f64)]
        }
        Op::SkipFuse => {
            // Join, product, bias, norm, each a kernel. The norm's input is kept for training.
            let joined = shape.joined();
            let kept = if train { bytes } else { 0.0 };
            let join = Kernel::new(Kind::SkipJoin, e * rows * joined, 2.0 * e * rows * joined);
            let product = matmul(Kind::MatmulForward, [rows, joined, width], run, e * joined * width + kept);
            let bias = Kernel::new(Kind::Bias, F32 * width, 2.0 * bytes + F32 * width).vector(values);
            let norm = Kernel::new(Kind::LayerNorm, bytes + 2.0 * F32 * width, 2.0 * bytes + 2.0 * F32 * width);
            vec![join, product, bias, norm.vector(NORM[0] * values)]
        }
        Op::Tokens => {
            let (patches, table) = (shape.input_bytes(0), F32 * call.output.len() as f64);
            // Two small kernels make the prefix before it.
            let all = patches + bytes + table;
            vec![Kernel::new(Kind::Small, all, all + 3.0 * (bytes - patches)).launches(3.0).vector(values)]
        }
        Op::Add => vec![Kernel::new(Kind::Residual, 3.0 * bytes, 3.0 * bytes).vector(values)],
        Op::Dropout => vec![dropout(&shape)],
        // A view would do.
        Op::Slice => vec![Kernel::new(Kind::Small, 0.0, 2.0 * bytes)],
        // Gather, sum and SiLU.
        Op::Condition { .. } => vec![
            Kernel::new(Kind::Small, 3.0 * bytes, 7.0 * bytes)
                .launches(3.0)
                .vector((EXPONENTIAL + 4.0) * values),
        ],
        Op::Gelu => vec![Kernel::new(Kind::BiasGelu, 2.0 * bytes, 2.0 * bytes).vector(GELU * values)],
        Op::Concat => vec![Kernel::new(Kind::Small, 2.0 * bytes, 2.0 * bytes)],
        Op::BatchNormRelu => {
            let bytes = F32 * values;
            vec![
                Kernel::new(Kind::Small, 2.0 * bytes, BATCH_NORM_PASSES[0] * bytes)
                    .launches(9.0)
                    .vector(NORM[0] * values),
            ]
        }
    }
}

fn dropout(shape: &Shape<'_>) -> Kernel {
    Kernel::new(Kind::Dropout, 2.0 * shape.bytes, 2.0 * shape.bytes).vector(RANDOM * shape.values)
}

/// The two products of a linear layer's backward pass, given the bytes of dy that are not charged elsewhere (2).
fn linear_backward(rows: f64, [input, width]: [f64; 2], run: Run, dy: f64, want_input: bool, wanted: Wanted) -> Vec<Kernel> {
    let e = run.element;
    let (x, w) = (e * rows * input, e * input * width);
    let mut kernels = Vec::new();
    if want_input {
        kernels.push(matmul(Kind::MatmulInput, [rows, width, input], run, dy + w + x));
    }
    if wanted.weights {
        let dy = if want_input { 0.0 } else { dy };
        kernels.push(matmul(Kind::MatmulWeight, [width, rows, input], run, dy + x + w));
    }
    kernels
}

/// The sum of dy over rows, in two steps; reads dy once more than a product that sums on its way.
fn bias_backward(shape: &Shape<'_>) -> Kernel {
    let partial = partial_sums(shape.rows, shape.width) / 2.0;
    let db = F32 * shape.width;
    Kernel::new(Kind::BiasBackward, db, shape.bytes + partial + db)
        .launches(2.0)
        .vector(shape.values)
}

/// The backward pass of a norm of `read` bytes in (x, dy and whatever else) and one dx out, with the sums for gain and offset.
fn norm_backward(kind: Kind, shape: &Shape<'_>, least: f64, ours: f64, wanted: Wanted) -> Kernel {
    let sums = if wanted.weights {
        (2.0 * F32 * shape.width, partial_sums(shape.rows, shape.width) + 2.0 * F32 * shape.width)
    } else {
        (0.0, 0.0)
    };
    let gain = F32 * shape.width;
    let launches = if wanted.weights { 2.0 } else { 1.0 };
    Kernel::new(kind, least + gain + sums.0, ours + gain + sums.1)
        .launches(launches)
        .vector(NORM[1] * shape.values)
}

/// Kernels of the backward pass of a call.
pub fn backward(call: &Call, run: Run, wanted: Wanted) -> Vec<Kernel> {
    let shape = Shape::new(call, run);
    let Shape { rows, width, values, bytes, .. } = shape;
    let want_input = wanted.input || call.inputs.iter().any(|act| act.id != INPUT);
    let shapes = [shape.input(0), width];
    match call.op {
        Op::Linear { bias } => {
            let products = linear_backward(rows, shapes, run, bytes, want_input, wanted);
            products
                .into_iter()
                .chain((bias && wanted.weights).then(|| bias_backward(&shape)))
                .collect()
        }
        Op::LinearGelu => {
            // dy is charged to the products, which read dy times the slope. The sum for the bias is made on the way.
            let (partial, db) = (partial_sums(rows, width) / 2.0, F32 * width);
            let slope = Kernel::new(Kind::GeluBackward, bytes + if wanted.weights { db } else { 0.0 }, 3.0 * bytes + partial + db);
            let products = linear_backward(rows, shapes, run, bytes, want_input, wanted);
            std::iter::once(slope.launches(2.0).vector(2.0 * values)).chain(products).collect()
        }
        Op::LayerNorm => vec![norm_backward(Kind::LayerNormBackward, &shape, 3.0 * bytes, 3.0 * bytes, wanted)],
        Op::NormModulate => {
            // The gradient of the modulation has room for all six parts; this operation fills two.
            let (least, ours) = (3.0 * bytes + shape.chunks(3.0), 3.0 * bytes + shape.chunks(7.0));
            vec![norm_backward(Kind::NormModulateBackward, &shape, least, ours, wanted).launches(4.0)]
        }
        Op::GatedResidual => {
            let (least, ours) = (3.0 * bytes + shape.chunks(2.0), 3.0 * bytes + shape.chunks(7.0));
            vec![Kernel::new(Kind::GatedResidualBackward, least, ours).launches(3.0).vector(3.0 * values)]
        }
        Op::Attention { heads } => {
            let (scores, statistics) = shape.scores(heads);
            // Both kernels read q, k, v, dy and the log-sum-exp. The first reads the output too and leaves delta for the second.
            let ours = 2.0 * (4.0 * bytes + statistics) + bytes + 3.0 * bytes + 2.0 * statistics;
            let product = 2.0 * values * call.output.rows as f64;
            let kernel = Kernel::new(Kind::AttentionBackward, 8.0 * bytes + statistics, ours).launches(2.0);
            let kernel = kernel.vector(2.0 * (EXPONENTIAL + SCORE) * scores);
            vec![Kernel { products: ATTENTION_BACKWARD_PRODUCTS * product, useful: 4.0 * product, ..kernel }]
        }
        Op::SkipFuse => {
            let joined = shape.joined();
            let part = run.element * rows * joined;
            // The join is made again and not kept; its gradient is cut in two.
            let mut kernels = vec![
                norm_backward(Kind::LayerNormBackward, &shape, 2.0 * bytes, 3.0 * bytes, wanted),
                Kernel::new(Kind::SkipJoin, part, 2.0 * part),
                Kernel::new(Kind::SkipJoin, part, 2.0 * part).launches(2.0),
            ];
            let weight = run.element * joined * width;
            kernels.push(matmul(Kind::MatmulInput, [rows, width, joined], run, weight));
            if wanted.weights {
                kernels.push(matmul(Kind::MatmulWeight, [width, rows, joined], run, weight));
                kernels.push(bias_backward(&shape));
            }
            kernels
        }
        Op::Tokens => {
            let (patches, table) = (shape.input_bytes(0), F32 * call.output.len() as f64);
            // dy is cut into prefix and patches, and summed over images for the position table.
            let (cut, sum) = (2.0 * bytes, if wanted.weights { bytes + table } else { 0.0 });
            let least = bytes + patches + if wanted.weights { table } else { 0.0 };
            vec![Kernel::new(Kind::Small, least, cut + sum).launches(4.0).vector(values)]
        }
        // The gradient of both inputs is dy itself.
        Op::Add => Vec::new(),
        Op::Dropout => vec![dropout(&shape)],
        Op::Slice => vec![Kernel::new(Kind::Small, bytes + shape.input_bytes(0), 2.0 * bytes + shape.input_bytes(0)).launches(2.0)],
        Op::Condition { table } if wanted.weights => {
            // The table is used here and in the tokens; each use makes a gradient of the whole table.
            let table = run.element * table as f64 * width;
            vec![
                Kernel::new(Kind::Small, 2.0 * bytes + table, 5.0 * bytes + 2.0 * table)
                    .launches(5.0)
                    .vector((EXPONENTIAL + 8.0) * values),
            ]
        }
        Op::Condition { .. } => Vec::new(),
        Op::Gelu => vec![Kernel::new(Kind::GeluBackward, 3.0 * bytes, 3.0 * bytes).vector(GELU * values)],
        Op::Concat => vec![Kernel::new(Kind::Small, 2.0 * bytes, 2.0 * bytes).launches(2.0)],
        Op::BatchNormRelu => {
            let bytes = F32 * values;
            vec![
                Kernel::new(Kind::Small, 3.0 * bytes, BATCH_NORM_PASSES[1] * bytes)
                    .launches(18.0)
                    .vector(NORM[1] * values),
            ]
        }
    }
}

/// The sum of two gradients of an activation: a fused backward would read the other gradient and write nothing more (4).
pub fn gradient_sum(act: Act, run: Run) -> Kernel {
    let bytes = act_bytes(act, run);
    Kernel::new(Kind::GradientSum, bytes, 3.0 * bytes).vector(bytes / run.element)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::trace::{features, forward as trace, projector};
    use pixgen_core::presets::PRESETS;
    use pixgen_edge::projector::ProjectorConfig;

    const BF16: Run = Run { images: 2.0, element: 2.0 };
    const ALL: Wanted = Wanted { weights: true, input: true };

    fn act(id: usize, rows: usize, width: usize) -> Act {
        Act { id, rows, width }
    }

    fn call(op: Op, inputs: &[Act], rows: usize, width: usize) -> Call {
        Call { op, site: None, inputs: inputs.to_vec(), output: act(9, rows, width) }
    }

    fn totals(kernels: &[Kernel]) -> [f64; 3] {
        let sum = |of: fn(&Kernel) -> f64| kernels.iter().map(of).sum();
        [sum(|k| k.products), sum(|k| k.least), sum(|k| k.ours)]
    }

    /// x [2 x 5, 3], W [4, 3], b [4].
    #[test]
    fn linear_by_hand() {
        let linear = call(Op::Linear { bias: true }, &[act(1, 5, 3)], 5, 4);
        let (x, w, y, b) = (30.0, 12.0, 40.0, 4.0);
        let product = 2.0 * 10.0 * 3.0 * 4.0;
        assert_eq!(
            totals(&forward(&linear, BF16, true)),
            [product, 2.0 * (x + w + y) + 4.0 * b, 2.0 * (x + w + 3.0 * y) + 8.0 * b / 2.0]
        );
        // Inputs dy, x and W and outputs dx, dW and db once each; ours reads dy and x, W again for each product and dy for the bias.
        let backward = totals(&backward(&linear, BF16, ALL));
        let partial = 2.0 * 4.0 * b;
        assert_eq!(backward[..2], [2.0 * product, 2.0 * (y + 2.0 * x + 2.0 * w) + 4.0 * b]);
        assert_eq!(backward[2], 2.0 * (3.0 * y + 2.0 * x + 2.0 * w) + partial + 4.0 * b);
    }

    #[test]
    fn no_gradient_of_pictures_and_frozen_weights() {
        let first = call(Op::Linear { bias: true }, &[act(INPUT, 5, 3)], 5, 4);
        let kinds = |wanted| backward(&first, BF16, wanted).iter().map(|k| k.kind).collect::<Vec<_>>();
        assert_eq!(kinds(Wanted { weights: true, input: false }), [Kind::MatmulWeight, Kind::BiasBackward]);
        assert_eq!(kinds(Wanted { weights: false, input: true }), [Kind::MatmulInput]);
        assert_eq!(kinds(ALL), [Kind::MatmulInput, Kind::MatmulWeight, Kind::BiasBackward]);
    }

    /// Two images of 5 tokens and 2 heads of 3 channels: q, k, v and the output hold 60 values each, the scores 100.
    #[test]
    fn attention_by_hand() {
        let attention = call(Op::Attention { heads: 2 }, &[act(1, 5, 18)], 5, 6);
        let statistics = 2.0 * 2.0 * 5.0 * 4.0;
        let product = 2.0 * 2.0 * 5.0 * 5.0 * 6.0;
        assert_eq!(totals(&forward(&attention, BF16, true)), [2.0 * product, 480.0 + statistics, 480.0 + statistics]);
        assert_eq!(totals(&forward(&attention, BF16, false)), [2.0 * product, 480.0, 480.0]);
        let kernels = backward(&attention, BF16, ALL);
        assert_eq!(totals(&kernels), [7.0 * product, 8.0 * 120.0 + statistics, 12.0 * 120.0 + 4.0 * statistics]);
        assert_eq!(kernels[0].useful, 2.0 * 2.0 * product);
    }

    /// x [2 x 5, 4], skip [2 x 5, 3], W [4, 7]: the least is both inputs, the weight and, in training, two outputs.
    #[test]
    fn long_skip_by_hand() {
        let fuse = call(Op::SkipFuse, &[act(1, 5, 4), act(2, 5, 3)], 5, 4);
        let (x, s, w, vectors) = (40.0, 30.0, 28.0, 3.0 * 4.0);
        let product = 2.0 * 10.0 * 7.0 * 4.0;
        // Ours reads and writes the join, reads it again, and has the product's result four times before the norm writes.
        let join = x + s;
        assert_eq!(
            totals(&forward(&fuse, BF16, false)),
            [
                product,
                2.0 * (join + w + x) + 4.0 * vectors,
                2.0 * (3.0 * join + w + 5.0 * x) + 4.0 * vectors
            ]
        );
        assert_eq!(totals(&forward(&fuse, BF16, true))[1], 2.0 * (join + w + 2.0 * x) + 4.0 * vectors);
        // Read dy, normed, x, skip, W and the gain; write dx, ds, dW, db and the gradients of gain and offset.
        let least = 2.0 * (2.0 * x + x + s + w + x + s + w) + 4.0 * 4.0 * 4.0;
        assert_eq!(totals(&backward(&fuse, BF16, ALL))[..2], [2.0 * product, least]);
    }

    #[test]
    fn norms_and_residuals_by_hand() {
        let (x, m) = (act(1, 5, 4), act(2, 1, 24));
        let norm = call(Op::NormModulate, &[x, m], 5, 4);
        let (values, chunk, vector) = (40.0, 8.0, 4.0);
        assert_eq!(totals(&forward(&norm, BF16, true))[1], 2.0 * (2.0 * values + 2.0 * chunk) + 4.0 * 2.0 * vector);
        assert_eq!(totals(&backward(&norm, BF16, ALL))[1], 2.0 * (3.0 * values + 3.0 * chunk) + 4.0 * 3.0 * vector);
        let gated = call(Op::GatedResidual, &[x, act(3, 5, 4), m], 5, 4);
        assert_eq!(totals(&forward(&gated, BF16, true)), [0.0, 2.0 * (3.0 * values + chunk), 2.0 * (3.0 * values + chunk)]);
        assert_eq!(totals(&backward(&gated, BF16, ALL))[1], 2.0 * (3.0 * values + 2.0 * chunk));
        assert_eq!(totals(&[gradient_sum(x, BF16)]), [0.0, 2.0 * values, 6.0 * values]);
    }

    /// No kernel of ours moves less than the least, and the useful work of a backward pass is twice that of the forward pass.
    #[test]
    fn ours_is_never_less_than_the_least() {
        let run = Run { images: 3.0, element: 2.0 };
        for preset in PRESETS {
            let projector = projector(preset.model.encoder.width, &ProjectorConfig { hidden: 64, out: 16 });
            for trace in [trace(&preset.model, true), features(&preset.model), projector] {
                let (mut ahead, mut back) = (0.0, 0.0);
                for call in &trace.calls {
                    let kernels = [forward(call, run, true), backward(call, run, ALL)];
                    for kernel in kernels.iter().flatten() {
                        assert!(kernel.ours >= kernel.least && kernel.least >= 0.0, "{}: {kernel:?}", preset.name);
                        assert!(kernel.useful <= kernel.products, "{kernel:?}");
                    }
                    ahead += kernels[0].iter().map(|k| k.useful).sum::<f64>();
                    back += kernels[1].iter().map(|k| k.useful).sum::<f64>();
                }
                let macs = trace.calls.iter().map(|call| (call.macs() + call.attention_macs()) as f64).sum::<f64>();
                assert_eq!(ahead, 2.0 * run.images * macs);
                assert_eq!(back, 2.0 * ahead);
            }
        }
    }
}
