//! An optimiser step of a stage as a list of kernels: passes of the network, losses, update (docs/reference/method.md sections 3 to 5).

use super::cost::{self, F32, Kernel, Kind, Run, Wanted};
use super::trace::{self, Trace};
use crate::config::{RunConfig, Stage};
use crate::model::{ParamSet, ProjectorConfig};
use crate::objective::ConsistencyConfig;
use crate::objective::auxiliary::FrozenFeature;
use crate::precision::Precision;
use pixgen_core::noise::NoiseConfig;
use pixgen_core::params::Role;
use pixgen_core::presets::Preset;

/// FLOP of AdamW for a parameter, and of one average.
const ADAMW: f64 = 15.0;
const AVERAGE: f64 = 3.0;
/// Points of the numerical integral over noise levels, and how many standard deviations it covers on each side.
const LEVELS: u32 = 20_000;
const DEVIATIONS: f64 = 8.0;

/// A step to look at.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Settings of the stage.
    pub config: RunConfig,
    /// Storage of activations and matrices.
    pub precision: Precision,
    /// Images of a step on one GPU.
    pub batch: usize,
    /// Images that go through the network at once.
    pub micro_batch: usize,
    /// GPUs that share the batch; negatives come from all of them.
    pub gpus: usize,
    /// Activation checkpointing by blocks.
    pub recompute: bool,
}

/// The projector that belongs to a model by its preset: settings of stage 2b do not hold it.
pub fn projector_of(config: &RunConfig) -> ProjectorConfig {
    let preset = Preset { name: "", about: "", model: config.model, shift: config.noise.shift as f32 };
    let defaults = || RunConfig::defaults(Stage::Pretrain, &preset).pretrain.map(|pretrain| pretrain.projector);
    let own = config.pretrain.as_ref().map(|pretrain| pretrain.projector);
    own.or_else(defaults).unwrap_or(ProjectorConfig { hidden: 0, out: 0 })
}

/// Share of the images whose target needs the teacher at stage `a` of the curriculum: r above its floor and t not below the anchor,
/// ln t ~ N(p_mean, p_std^2) (docs/reference/method.md sections 5 and 6.11).
pub fn teacher_share(settings: &ConsistencyConfig, noise: &NoiseConfig, a: u32) -> f64 {
    let width = 2.0 * DEVIATIONS / f64::from(LEVELS);
    let (mut taught, mut all) = (0.0, 0.0);
    for i in 0..LEVELS {
        let z = -DEVIATIONS + width * (f64::from(i) + 0.5);
        let density = (-0.5 * z * z).exp();
        let level = (settings.p_mean + settings.p_std * z).exp().clamp(noise.sigma_min, noise.sigma_max);
        all += density;
        if settings.pair.r(noise, level, a) > noise.sigma_min && noise.shift * level >= settings.anchor {
            taught += density;
        }
    }
    taught / all
}

/// [`teacher_share`] over a run: its stages are equally long.
pub fn mean_teacher_share(settings: &ConsistencyConfig, noise: &NoiseConfig) -> f64 {
    let stages = settings.stages.max(1);
    (1..=stages).map(|a| teacher_share(settings, noise, a)).sum::<f64>() / f64::from(stages)
}

/// The kernels of a step.
pub fn kernels(plan: &Plan) -> Vec<Kernel> {
    let mut step = Builder { plan, element: plan.precision.bytes() as f64, kernels: Vec::new() };
    match (plan.config.stage, &plan.config.consistency) {
        (Stage::Consistency, Some(settings)) => step.consistency(settings),
        (Stage::Pretrain, _) => step.pretrain(),
        (Stage::Diffusion | Stage::Consistency, _) => step.diffusion(),
    }
    step.kernels
}

struct Builder<'a> {
    plan: &'a Plan,
    element: f64,
    kernels: Vec<Kernel>,
}

impl Builder<'_> {
    fn add(&mut self, times: f64, kernels: impl IntoIterator<Item = Kernel>) {
        self.kernels.extend(kernels.into_iter().map(|kernel| kernel.times(times)));
    }

    /// Passes of the network in a step: how often it is called, and with how many images.
    fn pieces(&self) -> (f64, f64) {
        let (batch, micro) = (self.plan.batch as f64, self.plan.micro_batch as f64);
        (batch / micro, micro)
    }

    fn run(&self, images: f64) -> Run {
        Run { images, element: self.element }
    }

    /// A pass without gradient.
    fn inference(&mut self, times: f64, trace: &Trace, images: f64) {
        let run = self.run(images);
        self.add(times, trace.calls.iter().flat_map(|call| cost::forward(call, run, false)));
    }

    /// A pass forward that keeps what its backward pass needs; with checkpointing, blocks keep nothing.
    fn ahead(&mut self, times: f64, trace: &Trace, images: f64) {
        let (run, recompute) = (self.run(images), self.plan.recompute);
        let keeps = |call: &trace::Call| !(recompute && call.block().is_some());
        self.add(times, trace.calls.iter().flat_map(|call| cost::forward(call, run, keeps(call))));
    }

    /// A pass backward, with the forward pass of its blocks before it where they kept nothing.
    fn back(&mut self, times: f64, trace: &Trace, images: f64, wanted: Wanted) {
        let run = self.run(images);
        if self.plan.recompute {
            let again = trace.calls.iter().filter(|call| call.block().is_some());
            let kernels = again.flat_map(|call| cost::forward(call, run, true));
            self.add(times, kernels.map(|kernel| Kernel { useful: 0.0, ..kernel }));
        }
        self.add(times, trace.calls.iter().flat_map(|call| cost::backward(call, run, wanted)));
        let input = trace.shared().into_iter().filter(|act| wanted.input || act.id != trace::INPUT);
        self.add(times, input.map(|act| cost::gradient_sum(act, run)));
    }

    fn training(&mut self, times: f64, trace: &Trace, images: f64, wanted: Wanted) {
        self.ahead(times, trace, images);
        self.back(times, trace, images, wanted);
    }

    fn pretrain(&mut self) {
        let (config, projector) = (&self.plan.config, projector_of(&self.plan.config));
        let encoder = trace::features(&config.model);
        let head = trace::projector(config.model.encoder.width, &projector);
        let (times, micro) = self.pieces();
        let weights = Wanted { weights: true, input: false };
        if self.plan.micro_batch < self.plan.batch {
            // Features of the whole batch first, without keeping a graph: losses need all of them.
            self.add_repeated(3.0 * times, &encoder, micro);
        }
        self.training(3.0 * times, &encoder, micro, weights);
        self.inference(3.0 * times, &encoder, micro);
        let batch = self.plan.batch as f64;
        self.training(2.0, &head, batch, Wanted { weights: true, input: true });
        self.inference(2.0, &head, batch);
        let keys = batch * self.plan.gpus as f64;
        for (losses, width) in [(2.0, projector.out), (1.0, config.model.encoder.width)] {
            self.add(losses, nt_xent(batch, keys, width as f64));
        }
        // Four noised inputs.
        self.noise(4.0 * times, micro, 2.0);
        self.update(&ParamSet::pretraining(&config.model, &projector), 3.0, true);
    }

    /// Forward passes whose results are thrown away and computed again.
    fn add_repeated(&mut self, times: f64, trace: &Trace, images: f64) {
        let run = self.run(images);
        let kernels = trace.calls.iter().flat_map(|call| cost::forward(call, run, true));
        self.add(times, kernels.map(|kernel| Kernel { useful: 0.0, ..kernel }));
    }

    fn diffusion(&mut self) {
        let (times, micro) = self.pieces();
        let network = trace::forward(&self.plan.config.model, false);
        self.training(times, &network, micro, Wanted { weights: true, input: false });
        // The network's input; the loss compares F itself with x_0.
        self.noise(times, micro, 2.0);
        self.loss(times, micro);
        self.update(&ParamSet::generator(&self.plan.config.model), 1.0, false);
    }

    fn consistency(&mut self, settings: &ConsistencyConfig) {
        let config = &self.plan.config;
        let (times, micro) = self.pieces();
        let network = trace::forward(&config.model, settings.dropout > 0.0);
        let taught = mean_teacher_share(settings, &config.noise) * micro;
        if taught > 0.0 {
            // The network's input, x_r, and the target skip x_r + out F.
            self.noise(3.0 * times, taught, 2.0);
            self.inference(times, &network, taught);
        }
        // The network's input and x_t.
        self.noise(2.0 * times, micro, 2.0);
        self.training(times, &network, micro, Wanted { weights: true, input: false });
        self.loss(times, micro);
        if settings.auxiliary > 0.0 {
            self.auxiliary(settings);
        }
        self.update(&ParamSet::generator(&config.model), 1.0, false);
    }

    /// The frozen encoder on the real pictures, and forward and backward on the generated ones.
    fn auxiliary(&mut self, settings: &ConsistencyConfig) {
        let (times, micro) = self.pieces();
        let config = &self.plan.config;
        let encoder = trace::features(&config.model);
        let frozen = Wanted { weights: false, input: true };
        self.cast(&ParamSet::pretraining(&config.model, &projector_of(config)), 1.0);
        self.inference(times, &encoder, micro);
        self.training(times, &encoder, micro, frozen);
        // f from F and x, and its gradient.
        self.noise(times, micro, 2.0);
        self.noise(times, micro, 1.0);
        let mut width = config.model.encoder.width;
        if settings.auxiliary_feature == FrozenFeature::Projected {
            let projector = projector_of(config);
            let head = trace::projector(width, &projector);
            self.inference(times, &head, micro);
            self.training(times, &head, micro, frozen);
            width = projector.out;
        }
        let keys = (self.plan.batch * self.plan.gpus) as f64;
        self.add(times, nt_xent(micro, keys, width as f64));
    }

    /// Pictures made of `reads` other ones, in f32.
    fn noise(&mut self, times: f64, images: f64, reads: f64) {
        let values = images * self.plan.config.model.image_len() as f64;
        let bytes = F32 * (reads + 1.0) * values;
        self.add(times, [Kernel::new(Kind::Loss, bytes, bytes).vector(2.0 * values)]);
    }

    /// Loss and gradient with respect to F: the first pass writes the difference and sums its squares, the second scales it in place. The
    /// gradient then enters the graph as the sum of its product with F, whose forward and backward pass are burn's.
    fn loss(&mut self, times: f64, images: f64) {
        let values = images * self.plan.config.model.image_len() as f64;
        let (fused, entering) = (6.0, 8.0);
        let kernel = Kernel::new(Kind::Loss, 4.0 * F32 * values, (fused + entering) * F32 * values);
        self.add(times, [kernel.launches(6.0).vector(12.0 * values)]);
    }

    /// From weight gradients to the next step's weights (5). `uses` is how often a graph uses each weight; with `target` there is an
    /// average more, which is a network of its own.
    fn update(&mut self, set: &ParamSet, uses: f64, target: bool) {
        let (e, count) = (self.element, set.len() as f64);
        let tensors = set.entries().len() as f64;
        let graphs = self.pieces().0;
        // Within a graph burn sums the gradients of a weight; a product that adds to its output would only read what is there.
        let sums = graphs * (uses - 1.0);
        let sum = Kernel::new(Kind::Accumulate, F32 * count, 3.0 * e * count)
            .launches(tensors)
            .vector(count);
        self.add(sums, [sum]);
        // Then they are added to the f32 buffer, which is cleared once a step.
        let widened = (F32 - e) * count;
        let first = Kernel::new(Kind::Accumulate, widened, (e + 2.0 * F32) * count + F32 * count).launches(1.0 + tensors);
        let others = Kernel::new(Kind::Accumulate, widened + F32 * count, (e + 2.0 * F32) * count).launches(tensors);
        self.add(1.0, [first.vector(count)]);
        self.add(graphs - 1.0, [others.vector(count)]);
        self.add(
            1.0,
            [Kernel::new(Kind::GradientNorm, F32 * count, F32 * count)
                .launches(2.0)
                .vector(2.0 * count)],
        );

        let averages = self.plan.config.ema.configs().len() as f64;
        // Parameters, both moments and the gradient are read, all but the gradient written; averages are read and written.
        let bytes = F32 * count * (7.0 + 2.0 * averages);
        self.add(1.0, [Kernel::new(Kind::Optimiser, bytes, bytes).vector(count * (ADAMW + averages * AVERAGE))]);
        if target {
            // A pass of its own, which reads the parameters once more.
            self.add(1.0, [Kernel::new(Kind::Optimiser, 2.0 * F32 * count, 3.0 * F32 * count).vector(AVERAGE * count)]);
        }
        self.cast(set, if target { 2.0 } else { 1.0 });
    }

    /// The weights of so many networks in the precision of activations: all but biases and norms. An update could write them at once.
    fn cast(&mut self, set: &ParamSet, networks: f64) {
        if self.plan.precision == Precision::F32 {
            return;
        }
        let stored = || set.entries().iter().filter(|entry| !matches!(entry.role, Role::Bias | Role::Norm));
        let count = stored().map(|entry| entry.range.len()).sum::<usize>() as f64;
        let cast = Kernel::new(Kind::Cast, self.element * count, (F32 + self.element) * count);
        self.add(networks, [cast.launches(stored().count() as f64)]);
    }
}

/// NT-Xent forward and backward to the queries, in f32; scores are made again instead of kept (docs/reference/method.md section 3.1).
fn nt_xent(queries: f64, keys: f64, width: f64) -> [Kernel; 2] {
    let product = 2.0 * queries * keys * width;
    let (read, write) = (F32 * (queries + keys) * width + F32 * queries, F32 * queries * width);
    [
        Kernel::new(Kind::Loss, read, read).launches(2.0).vector(product),
        Kernel::new(Kind::Loss, read + write, read + write).launches(2.0).vector(2.0 * product),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::plan::plan as count;
    use pixgen_core::presets::preset;

    fn plan(stage: Stage, name: &str) -> Plan {
        Plan {
            config: RunConfig::defaults(stage, preset(name).expect("preset")),
            precision: Precision::Bf16,
            batch: 8,
            micro_batch: 8,
            gpus: 1,
            recompute: false,
        }
    }

    fn sum(kernels: &[Kernel], of: fn(&Kernel) -> f64) -> f64 {
        kernels.iter().map(of).sum()
    }

    /// docs/reference/method.md section 6.11: a quarter at a = 1, 56 % at a = 2, almost all from a = 3 on.
    #[test]
    fn teacher_shares_of_the_paper() {
        let config = RunConfig::defaults(Stage::Consistency, preset("EPG-L-16-256").expect("preset"));
        let settings = config.consistency.expect("stage 2b");
        let shares: Vec<f64> = (1..=7).map(|a| teacher_share(&settings, &config.noise, a)).collect();
        assert!((shares[0] - 0.25).abs() < 0.01 && (shares[1] - 0.56).abs() < 0.01, "{shares:?}");
        assert!(shares[2..].iter().all(|share| (0.97..=1.0).contains(share)), "{shares:?}");
        assert!((mean_teacher_share(&settings, &config.noise) - shares.iter().sum::<f64>() / 7.0).abs() < 1e-12);
        // A map that always stops at the floor needs no teacher, an anchor above all levels neither.
        let anchored = ConsistencyConfig { anchor: 1e9, ..settings };
        assert_eq!(teacher_share(&anchored, &config.noise, 7), 0.0);
    }

    /// A diffusion step is three times the forward pass, less the gradient of the pictures that nobody wants.
    #[test]
    fn useful_work_of_a_diffusion_step() {
        let plan = plan(Stage::Diffusion, "EPG-B-16-256");
        let (model, totals) = (plan.config.model, count(&plan.config.model));
        let embed = model.patches() * model.patch_len() * model.encoder.width;
        let macs = 3 * (totals.macs + totals.attention_macs) - embed;
        assert_eq!(sum(&kernels(&plan), |k| k.useful), 2.0 * 8.0 * macs as f64);
    }

    /// Stage 1: three passes at 3 and three at 1 times the forward pass of the encoder; projectors beside them.
    #[test]
    fn useful_work_of_a_pretraining_step() {
        let plan = plan(Stage::Pretrain, "EPG-B-16-256");
        let model = plan.config.model;
        let macs = |trace: Trace| trace.calls.iter().map(|call| call.macs() + call.attention_macs()).sum::<usize>();
        let encoder = macs(trace::features(&model));
        let head = macs(trace::projector(model.encoder.width, &projector_of(&plan.config)));
        let embed = model.patches() * model.patch_len() * model.encoder.width;
        let want = 3 * (3 * encoder - embed) + 3 * encoder + 2 * 3 * head + 2 * head;
        assert_eq!(sum(&kernels(&plan), |k| k.useful), 2.0 * 8.0 * want as f64);
    }

    #[test]
    fn recomputing_and_micro_batches_cost_work_that_is_not_useful() {
        for stage in Stage::ALL {
            let plan = plan(stage, "EPG-B-16-256");
            let whole = kernels(&plan);
            let recomputed = kernels(&Plan { recompute: true, ..plan.clone() });
            let pieces = kernels(&Plan { micro_batch: 2, ..plan });
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
            for (other, name) in [(&recomputed, "recompute"), (&pieces, "pieces")] {
                assert!(near(sum(other, |k| k.useful), sum(&whole, |k| k.useful)), "{stage:?} {name}");
                assert!(sum(other, |k| k.ours) > sum(&whole, |k| k.ours), "{stage:?} {name}");
                assert!(other.iter().all(|k| k.ours >= k.least * (1.0 - 1e-12)), "{stage:?} {name}");
            }
            assert!(sum(&recomputed, |k| k.products) > 1.1 * sum(&whole, |k| k.products), "{stage:?}");
        }
    }

    #[test]
    fn single_precision_casts_nothing_and_moves_more() {
        let plan = plan(Stage::Consistency, "small-32-rgb");
        let half = kernels(&plan);
        let single = kernels(&Plan { precision: Precision::F32, ..plan });
        assert!(half.iter().any(|k| k.kind == Kind::Cast) && single.iter().all(|k| k.kind != Kind::Cast));
        assert!(sum(&single, |k| k.ours) > sum(&half, |k| k.ours));
        assert!(single.iter().all(|k| k.ours >= k.least), "{single:?}");
    }
}
