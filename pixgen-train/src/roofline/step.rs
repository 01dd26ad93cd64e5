//! An optimiser step of a stage as a sum of operations at their least: passes of the network, losses, update
//! (docs/reference/method.md sections 3 to 5 and 8).
//!
//! An operation reads each of its inputs once and writes each of its outputs once, as they are stored, whatever kernels it is made of.
//! Numbers in brackets are the equations of docs/results/performance.md.

use crate::config::{RunConfig, Stage};
use crate::needs::trace::{self, Call, INPUT, Op, Trace};
use crate::objective::auxiliary::FrozenFeature;
use crate::precision::Precision;
use pixgen_edge::param_set::ParamSet;

/// Bytes of statistics, losses, gradients for the optimiser and master weights.
const F32: f64 = 4.0;
/// FLOP of the vector units for one attention score: the time of an exponential (256 FLOP a cycle and multiprocessor against 16), and
/// scale, maximum, difference, sum, product.
const SCORE: f64 = 16.0 + 6.0;

/// What an operation, `times` times the same, takes each time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// How often.
    pub times: f64,
    /// FLOP of matrix products, two for each multiply-accumulate.
    pub products: f64,
    /// The part of `products` that any implementation needs.
    pub useful: f64,
    /// FLOP of the vector units.
    pub vector: f64,
    /// The fewest bytes.
    pub bytes: f64,
}

impl Cost {
    const fn new(products: f64, vector: f64, bytes: f64) -> Self {
        Self { times: 1.0, products, useful: products, vector, bytes }
    }
}

/// Gradients that a backward pass is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gradients {
    /// Of the parameters.
    weights: bool,
    /// Of the input of the pass.
    input: bool,
}

/// A call on so many images with elements of so many bytes.
struct Sizes<'a> {
    call: &'a Call,
    /// Bytes of the output, and of all inputs; of a modulation's six parts those that the operation reads.
    out: f64,
    inputs: f64,
    /// Bytes of the parameters, and FLOP of a product of all inputs with them.
    parameters: f64,
    product: f64,
    /// FLOP of one of attention's products of T x T, its scores, and bytes of one f32 for each query and head.
    attention: f64,
    scores: f64,
    statistics: f64,
}

impl<'a> Sizes<'a> {
    fn new(call: &'a Call, images: f64, element: f64) -> Self {
        let (rows, width) = (images * call.output.rows as f64, call.output.width as f64);
        let inputs = call.inputs.iter().map(|act| element * images * act.len() as f64).sum::<f64>();
        let unread = match call.op {
            Op::NormModulate => 4.0,
            Op::GatedResidual => 5.0,
            _ => 0.0,
        };
        let heads = if let Op::Attention { heads } = call.op { heads as f64 } else { 0.0 };
        Self {
            call,
            out: element * rows * width,
            inputs: inputs - unread * element * images * width,
            parameters: element * call.parameters() as f64,
            product: 2.0 * images * call.macs() as f64,
            attention: images * call.attention_macs() as f64,
            scores: rows * heads * call.output.rows as f64,
            statistics: F32 * rows * heads,
        }
    }

    /// The forward pass; `train` asks for what the backward pass needs (1), (3).
    fn forward(&self, train: bool) -> Cost {
        let kept = if train { self.out } else { 0.0 };
        let bytes = self.inputs + self.parameters + self.out;
        match self.call.op {
            // The GELU's slope, the input of the norm.
            Op::LinearGelu | Op::SkipFuse => Cost::new(self.product, 0.0, bytes + kept),
            Op::Attention { .. } => Cost::new(2.0 * self.attention, SCORE * self.scores, bytes + if train { self.statistics } else { 0.0 }),
            // A view would do.
            Op::Slice => Cost::default(),
            _ => Cost::new(self.product, 0.0, bytes),
        }
    }

    /// The backward pass (2), (3).
    fn backward(&self, wanted: Gradients) -> Cost {
        let Self { out, inputs, parameters, product, .. } = *self;
        let want_input = wanted.input || self.call.inputs.iter().any(|act| act.id != INPUT);
        let of_weights = if wanted.weights { parameters } else { 0.0 };
        // dx and dW are a product each, which reads an operand beside dy and writes its result.
        let products = [want_input, wanted.weights].map(f64::from).iter().sum::<f64>();
        let linear = out + products * (inputs + parameters);
        match self.call.op {
            Op::Linear { .. } => Cost::new(products * product, 0.0, linear),
            Op::LinearGelu | Op::SkipFuse => Cost::new(products * product, 0.0, linear + out),
            Op::Attention { .. } => {
                // One of the five products makes the scores again, which the forward pass knew. q, k, v, the output and dy are read.
                let cost = Cost::new(5.0 * self.attention, SCORE * self.scores, 2.0 * (inputs + out) + self.statistics);
                Cost { useful: 4.0 * self.attention, ..cost }
            }
            // Gradients of the inputs are dy, or parts of it.
            Op::Add | Op::Concat | Op::Slice => Cost::default(),
            Op::GatedResidual | Op::Dropout | Op::Tokens => Cost::new(0.0, 0.0, out + inputs + of_weights),
            _ => Cost::new(0.0, 0.0, out + 2.0 * inputs + parameters + of_weights),
        }
    }
}

/// The operations of a step on one GPU; `config` says how many images it takes, in which precision and with or without recomputation.
/// Pictures, noise and losses are left out. In stage 1 each of `gpus` computes the projector on the whole batch of all of them.
pub fn costs(config: &RunConfig, gpus: usize) -> Vec<Cost> {
    let (batch, micro) = (config.train.batch as f64, config.micro_batch() as f64);
    let (encoder, recompute) = (trace::features(&config.model), config.compute.recompute);
    let head = || trace::projector(config.model.encoder.width, &config.projector());
    let element = config.compute.precision.bytes() as f64;
    let mut step = StepCosts { times: batch / micro, images: micro, element, recompute, costs: Vec::new() };
    let (weights, image) = (Gradients { weights: true, input: false }, Gradients { weights: false, input: true });
    match &config.stage {
        Stage::Pretrain(_) => {
            if micro < batch {
                // Features of the whole batch first, without keeping a graph: losses need all of them.
                step.repeated(3.0, &encoder);
            }
            step.training(3.0, &encoder, weights);
            step.inference(3.0, &encoder);
            step.update(config, &ParamSet::pretraining(&config.model, &config.projector()), true);
            // The projector sees the whole batch.
            (step.times, step.images) = (1.0, batch * gpus as f64);
            step.training(2.0, &head(), Gradients { weights: true, input: true });
            step.inference(2.0, &head());
        }
        Stage::Diffusion(_) => step.training(1.0, &trace::forward(&config.model, false), weights),
        Stage::Consistency(settings) => {
            let network = trace::forward(&config.model, settings.dropout > 0.0);
            step.training(1.0, &network, weights);
            if settings.auxiliary > 0.0 {
                // The frozen encoder on the real pictures, and forward and backward on the generated ones.
                let projected = (settings.auxiliary_feature == FrozenFeature::Projected).then(head);
                for frozen in [Some(encoder), projected].iter().flatten() {
                    step.inference(1.0, frozen);
                    step.training(1.0, frozen, image);
                }
            }
            let with_teacher = settings.teacher_share(&config.noise);
            if with_teacher > 0.0 {
                step.images *= with_teacher;
                step.inference(1.0, &network);
            }
        }
        Stage::Drift(settings) => {
            let network = trace::forward(&config.model, false);
            if micro < batch {
                // All pictures first, without keeping a graph: the field needs them together.
                step.repeated(1.0, &network);
            }
            step.training(1.0, &network, weights);
            if !config.encoder.is_empty() {
                if micro < batch {
                    step.repeated(1.0, &encoder);
                }
                step.training(1.0, &encoder, image);
                step.inference(settings.real as f64 / settings.generated as f64, &encoder);
            }
        }
    }
    if !matches!(config.stage, Stage::Pretrain(_)) {
        step.update(config, &ParamSet::generator(&config.model), false);
    }
    step.costs
}

/// A step that is being added up.
struct StepCosts {
    /// Passes of the network, and images of each.
    times: f64,
    images: f64,
    element: f64,
    recompute: bool,
    costs: Vec<Cost>,
}

impl StepCosts {
    fn add(&mut self, times: f64, cost: Cost) {
        self.costs.push(Cost { times: times * self.times, ..cost });
    }

    fn sizes<'a>(&self, call: &'a Call) -> Sizes<'a> {
        Sizes::new(call, self.images, self.element)
    }

    /// A pass forward without gradient.
    fn inference(&mut self, times: f64, trace: &Trace) {
        trace.calls.iter().for_each(|call| self.add(times, self.sizes(call).forward(false)));
    }

    /// A pass forward that a later one repeats.
    fn repeated(&mut self, times: f64, trace: &Trace) {
        for call in &trace.calls {
            self.add(times, Cost { useful: 0.0, ..self.sizes(call).forward(true) });
        }
    }

    /// A pass forward and backward; with checkpointing, blocks keep nothing and run again.
    fn training(&mut self, times: f64, trace: &Trace, wanted: Gradients) {
        for call in &trace.calls {
            let (sizes, again) = (self.sizes(call), self.recompute && call.block().is_some());
            self.add(times, sizes.forward(!again));
            if again {
                self.add(times, Cost { useful: 0.0, ..sizes.forward(true) });
            }
            self.add(times, sizes.backward(wanted));
        }
        // A backward pass of an activation that others read too reads their gradient (4).
        let shared = trace.shared().into_iter().filter(|act| wanted.input || act.id != INPUT);
        let bytes: f64 = shared.map(|act| self.element * self.images * act.len() as f64).sum();
        self.add(times, Cost::new(0.0, 0.0, bytes));
    }

    /// From weight gradients to the next step's weights (5); with `target` there is an average more, which is a network of its own.
    fn update(&mut self, config: &RunConfig, set: &ParamSet, target: bool) {
        let (count, more) = (set.len() as f64, if target { 1.0 } else { 0.0 });
        let averages = config.ema.configs().len() as f64 + more;
        // Each graph after the first adds to the gradient's buffer. Its norm is read first; then parameters, both moments and the gradient
        // are read and all but the gradient written; averages are read and written. Weights are written in the precision of activations.
        let stored = if config.compute.precision == Precision::F32 {
            0.0
        } else {
            self.element
        };
        let passes = (self.times - 1.0) + 1.0 + 7.0 + 2.0 * averages;
        let bytes = count * (F32 * passes + stored * (1.0 + more));
        self.costs.push(Cost::new(0.0, 0.0, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StageKind;
    use pixgen_core::plan::plan as count;
    use pixgen_core::presets::preset;

    fn config(stage: StageKind, name: &str) -> RunConfig {
        let mut config = RunConfig::defaults(stage, preset(name).expect("preset"));
        (config.train.batch, config.compute.precision) = (8, Precision::Bf16);
        config
    }

    fn sum(costs: &[Cost], of: fn(&Cost) -> f64) -> f64 {
        costs.iter().map(|cost| cost.times * of(cost)).sum()
    }

    /// A diffusion step is three times the forward pass, less the gradient of the pictures that nobody wants. Stage 1: three passes at 3
    /// and three at 1 times the forward pass of the encoder; projectors beside them.
    #[test]
    fn useful_work_of_a_step() {
        let diffusion = config(StageKind::Diffusion, "EPG-B-16-256");
        let (model, totals) = (diffusion.model, count(&diffusion.model));
        let embed = model.patches() * model.patch_len() * model.encoder.width;
        let macs = 3 * (totals.macs + totals.attention_macs) - embed;
        assert_eq!(sum(&costs(&diffusion, 1), |cost| cost.useful), 2.0 * 8.0 * macs as f64);

        let pretrain = config(StageKind::Pretrain, "EPG-B-16-256");
        let macs = |trace: Trace| trace.calls.iter().map(|call| call.macs() + call.attention_macs()).sum::<usize>();
        let encoder = macs(trace::features(&model));
        let head = macs(trace::projector(model.encoder.width, &pretrain.projector()));
        let want = 3 * (3 * encoder - embed) + 3 * encoder + 2 * 3 * head + 2 * head;
        assert_eq!(sum(&costs(&pretrain, 1), |cost| cost.useful), 2.0 * 8.0 * want as f64);
    }

    #[test]
    fn recomputing_and_micro_batches_cost_work_that_is_not_useful() {
        for stage in StageKind::ALL {
            let base = config(stage, "EPG-B-16-256");
            let changed = |change: fn(&mut RunConfig)| {
                let mut config = base.clone();
                change(&mut config);
                costs(&config, 1)
            };
            let whole = costs(&base, 1);
            let recomputed = changed(|config| config.compute.recompute = true);
            let (pieces, single) =
                (changed(|config| config.train.micro_batch = 2), changed(|config| config.compute.precision = Precision::F32));
            for (other, name) in [(&recomputed, "recompute"), (&pieces, "pieces"), (&single, "f32")] {
                assert!((sum(other, |cost| cost.useful) / sum(&whole, |cost| cost.useful) - 1.0).abs() < 1e-9, "{stage:?} {name}");
                assert!(sum(other, |cost| cost.bytes) > sum(&whole, |cost| cost.bytes), "{stage:?} {name}");
            }
            assert!(sum(&recomputed, |cost| cost.products) > 1.1 * sum(&whole, |cost| cost.products), "{stage:?}");
        }
    }

    /// x `[2 x 5, 3]`, W `[4, 3]`: inputs and outputs once each. Nobody wants the gradient of pictures, frozen weights have none.
    #[test]
    fn linear_by_hand() {
        let act = |id, rows, width| trace::TracedActivation { id, rows, width };
        let linear = |id| Call {
            op: Op::Linear { bias: false },
            site: None,
            inputs: vec![act(id, 5, 3)],
            output: act(9, 5, 4),
        };
        let (x, w, y, product) = (60.0, 24.0, 80.0, 240.0);
        let cost = |products: f64, bytes| Cost::new(products * product, 0.0, bytes);
        let (inner, first) = (linear(1), linear(INPUT));
        let sizes = Sizes::new(&inner, 2.0, 2.0);
        assert_eq!(sizes.forward(true), cost(1.0, x + w + y));
        assert_eq!(sizes.backward(Gradients { weights: true, input: true }), cost(2.0, y + 2.0 * (x + w)));
        assert_eq!(sizes.backward(Gradients { weights: false, input: true }), cost(1.0, y + x + w));
        assert_eq!(Sizes::new(&first, 2.0, 2.0).backward(Gradients { weights: true, input: false }), cost(1.0, y + x + w));
    }

    /// Two images of 5 tokens and 2 heads of 3 channels: q, k, v and the output hold 60 values each, the scores 100.
    #[test]
    fn attention_by_hand() {
        let act = |id, width| trace::TracedActivation { id, rows: 5, width };
        let attention = Call { op: Op::Attention { heads: 2 }, site: None, inputs: vec![act(1, 18)], output: act(9, 6) };
        let sizes = Sizes::new(&attention, 2.0, 2.0);
        let (statistics, product) = (2.0 * 2.0 * 5.0 * 4.0, 2.0 * 2.0 * 5.0 * 5.0 * 6.0);
        assert_eq!(sizes.forward(true), Cost::new(2.0 * product, SCORE * 100.0, 480.0 + statistics));
        let backward = Cost::new(5.0 * product, SCORE * 100.0, 8.0 * 120.0 + statistics);
        assert_eq!(sizes.backward(Gradients { weights: true, input: true }), Cost { useful: 4.0 * product, ..backward });
    }
}
