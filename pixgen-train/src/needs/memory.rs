//! Memory of a training step by device, precision and checkpointing.
//!
//! What the nodes of the autodiff graph keep follows from the calls of [`super::trace`] and from what [`crate::ops::contract`] says that each
//! backward pass takes back. An activation that several nodes keep is one tensor and counts once.

use super::trace::{self, Call, Op, Trace, TracedActivation};
use crate::config::{RunConfig, Stage, StageKind};
use crate::device::{Cpu, DeviceProblem, Requirements, TrainingMemory, usable};
use crate::error::Error;
use crate::objective::auxiliary::FrozenFeature;
use crate::ops::FusedOps;
use crate::precision::Precision;
use pixgen_core::params::Side;
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::units::format_bytes;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Bytes of an f32.
const F32: u64 = 4;
/// Pictures in f32 that a step holds for each image beside the network: x_0, noise, input, target, output and its gradient.
const PICTURES: u64 = 6;
/// Tensors of the input's size that burn's own batch norm and ReLU keep.
const BATCH_NORM_KEEPS: u64 = 6;

/// Where a step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine: threads take micro-batches of `tokens` tokens through forward and backward.
    Cpu {
        /// Tokens of a thread's micro-batch; `None` if the batch goes through the network as a whole.
        tokens: Option<usize>,
        /// Threads.
        threads: usize,
    },
    /// On a GPU, a micro-batch at a time.
    Gpu,
}

/// Choices that decide about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Device.
    pub place: Place,
    /// Storage of activations and matrices.
    pub precision: Precision,
    /// Activations are recomputed block by block.
    pub recompute: bool,
    /// Ranks that divide moments and averages.
    pub ranks: usize,
}

impl Setup {
    /// What a run's settings say: the device, there or not, decides about the place. `ranks` divide moments and averages.
    ///
    /// # Errors
    /// A device that has no such name.
    pub fn of(config: &RunConfig, ranks: usize) -> Result<Self, DeviceProblem> {
        let place = if config.device()?.is_gpu() {
            Place::Gpu
        } else {
            Place::Cpu { tokens: <Cpu as FusedOps>::MICRO_BATCH_TOKENS, threads: rayon::current_num_threads() }
        };
        Ok(Self { place, precision: config.compute.precision, recompute: config.compute.recompute, ranks })
    }
}

/// What a training run asks of its device. `ranks` divide moments and averages.
///
/// # Errors
/// A device that has no such name.
pub fn requirements(config: &RunConfig, ranks: usize) -> Result<Requirements, DeviceProblem> {
    let estimate = estimate(config, Setup::of(config, ranks)?);
    let training = TrainingMemory { micro_batch: config.micro_batch(), fixed: estimate.state(), per_image: estimate.per_image };
    let bf16 = config.compute.precision == Precision::Bf16;
    Ok(Requirements { memory: Some(estimate.total()), training: Some(training), bf16, tf32: config.compute.tf32 })
}

/// Takes the largest micro-batch that fits into the free memory of the run's device; returns that memory in bytes. `ranks` divide moments
/// and averages.
///
/// # Errors
/// A device that is not there or does not tell its memory, and one on which not even one image fits.
pub fn fit_micro_batch(config: &mut RunConfig, ranks: usize) -> Result<u64, Error> {
    let device = config.device()?;
    let free = device.free_memory()?.ok_or_else(|| Error::Argument {
        what: format!("--micro-batch auto: {device} does not tell how much memory is free"),
        hint: Some("give a number of images".to_owned()),
    })?;
    let largest = largest_micro_batch(config, Setup::of(config, ranks)?, free);
    config.train.micro_batch = largest.ok_or_else(|| Error::Argument {
        what: format!("--micro-batch auto: not even one image fits into the {} that are free on {device}", format_bytes(free)),
        hint: Some(if device.is_gpu() {
            "--recompute or --precision bf16 need less, and so does a smaller --preset".to_owned()
        } else {
            "--recompute needs less, and so does a smaller --preset".to_owned()
        }),
    })?;
    Ok(free)
}

/// Images, at most the whole batch, that go through the network at once in `free` bytes. `None` if not even one does.
pub fn largest_micro_batch(config: &RunConfig, setup: Setup, free: u64) -> Option<usize> {
    let batch = config.train.batch;
    let at = |micro_batch| {
        let mut config = config.clone();
        config.train.micro_batch = micro_batch;
        estimate(&config, setup)
    };
    match setup.place {
        // Fewer images at once are more micro-batches, each with a gradient of its own, so that less is not always smaller. More than a
        // thread takes at once make a difference only where a whole batch keeps its graphs.
        Place::Cpu { tokens: Some(tokens), .. } => {
            let most = (tokens / config.model.tokens()).clamp(1, batch);
            let mut sizes = std::iter::once(batch).chain((1..=most).rev());
            sizes.find(|&size| at(size).total() <= usable(free))
        }
        Place::Cpu { tokens: None, .. } | Place::Gpu => {
            let largest = at(1).images_in(usable(free)).min(batch as u64) as usize;
            (largest > 0).then_some(largest)
        }
    }
}

/// Bytes of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Master weights, f32.
    pub parameters: u64,
    /// Gradients: the f32 buffer, and those that a pass hands over, most of them in f32 as well.
    pub gradients: u64,
    /// Moments of AdamW, f32.
    pub moments: u64,
    /// Averages, f32, the target network of stage 1 among them.
    pub averages: u64,
    /// Weights as the network reads them, where they are copies, the frozen encoder, and the features of a whole batch of stage 3.
    pub copies: u64,
    /// Activations that are kept for the backward pass, and pictures.
    pub activations: u64,
    /// Gradients of activations: those that wait, and those of the largest operation.
    pub in_flight: u64,
    /// The part of `activations` and `in_flight` that an image adds.
    pub per_image: u64,
}

impl Estimate {
    /// Everything that does not depend on the batch.
    pub const fn state(&self) -> u64 {
        self.parameters + self.gradients + self.moments + self.averages + self.copies
    }

    /// The sum.
    pub const fn total(&self) -> u64 {
        self.state() + self.activations + self.in_flight
    }

    /// Images that fit at once into `bytes`.
    pub const fn images_in(&self, bytes: u64) -> u64 {
        let left = bytes.saturating_sub(self.state());
        match left.checked_div(self.per_image) {
            Some(images) => images,
            None => 0,
        }
    }
}

/// Memory of a step of `config` with its batch and micro-batch. Code, contexts and workspaces of libraries, and the allocator's gaps are
/// not in it.
pub fn estimate(config: &RunConfig, setup: Setup) -> Estimate {
    let projector = config.projector();
    let pretraining = ParamSet::pretraining(&config.model, &projector);
    let auxiliary = match config.stage {
        Stage::Consistency(settings) => Some(settings).filter(|settings| settings.auxiliary > 0.0),
        Stage::Pretrain(_) | Stage::Diffusion(_) | Stage::Drift(_) => None,
    };
    let encoder_features = matches!(config.stage, Stage::Drift(_)) && !config.encoder.is_empty();
    let (element, recompute) = (setup.precision.bytes() as u64, setup.recompute);
    let encoder = || trace::features(&config.model);
    let head = || trace::projector(config.model.encoder.width, &projector);

    let (set, graphs, networks) = match config.stage {
        // Three branches are alive at once; the target network is a second one.
        Stage::Pretrain(_) => (pretraining.len(), vec![(3, encoder()), (2, head())], 2),
        Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => {
            let mut graphs = vec![(1, trace::forward(&config.model, false))];
            if let Some(settings) = auxiliary {
                graphs.push((1, encoder()));
                if settings.auxiliary_feature == FrozenFeature::Projected {
                    graphs.push((1, head()));
                }
            }
            if encoder_features {
                graphs.push((1, encoder()));
            }
            (ParamSet::generator(&config.model).len(), graphs, 1)
        }
    };
    let kept: u64 = graphs.iter().map(|(times, graph)| times * kept(graph, element, recompute)).sum();
    let waiting = graphs.iter().map(|(_, graph)| waiting(graph, element)).max().unwrap_or(0);
    let pictures = PICTURES * F32 * config.model.image_len() as u64;

    let set = set as u64;
    let target = config.stage.kind() == StageKind::Pretrain;
    // The frozen encoder has no gradient and no moments: its buffer, and its weights as the network reads them.
    let frozen = if auxiliary.is_some() || encoder_features {
        pretraining.len() as u64
    } else {
        0
    };
    let (gradients, copies, images) = match setup.place {
        Place::Cpu { tokens, threads } => {
            let images = tokens.map(|rows| (rows / config.model.tokens()).max(1));
            let size = images.map_or(config.micro_batch(), |images| images.min(config.micro_batch())).max(1);
            let parts = config.train.batch.div_ceil(size);
            let parallel = if tokens.is_some() { parts.min(threads.max(1)) } else { 1 };
            // Micro-batches hand their own gradients over, if there are several: one is worked on by each thread, and about as many wait for
            // their turn. Those of a graph lie beside them. Tensors are copies.
            let handed = if tokens.is_some() && parts > 1 {
                parts.min(2 * parallel)
            } else {
                0
            };
            ((1 + handed + parallel) as u64 * F32 * set, F32 * (networks * set + 2 * frozen), size * parallel)
        }
        Place::Gpu => {
            // The gradients of the last graph lie beside the buffer. In f32 tensors share the buffer's memory.
            let read = if setup.precision == Precision::F32 { 0 } else { element };
            let trained = match config.stage {
                Stage::Pretrain(_) => vec![encoder(), head()],
                Stage::Diffusion(_) | Stage::Consistency(_) | Stage::Drift(_) => vec![trace::forward(&config.model, false)],
            };
            let handed: u64 = trained.iter().flat_map(|graph| &graph.calls).map(|call| handed(call, element)).sum();
            (F32 * set + handed, read * (networks * set + frozen) + F32 * frozen, config.micro_batch())
        }
    };
    // In stages 1 and 3 a whole batch keeps its graphs until the losses are known.
    let whole = target || matches!(config.stage, Stage::Drift(_));
    let images = if whole && config.micro_batch() >= config.train.batch {
        config.train.batch
    } else {
        images.min(config.train.batch)
    };
    Estimate {
        parameters: F32 * set,
        gradients,
        moments: (2 * F32 * set).div_ceil(setup.ranks as u64),
        averages: (config.ema.configs().len() as u64 * F32 * set).div_ceil(setup.ranks as u64) + u64::from(target) * F32 * set,
        copies: copies + features_of_drift(config),
        activations: images as u64 * (kept + pictures),
        in_flight: images as u64 * waiting,
        per_image: kept + pictures + waiting,
    }
}

/// Bytes of what stage 3 compares in a step, whatever goes through the network at once: latents and pictures, and of one kind of features
/// after another those of generated and real pictures, the same once more around their mean and side by side, the slope, and what is as long
/// as pairs of pictures, for which a field of each temperature is counted; of the encoder's tokens those of all kinds.
fn features_of_drift(config: &RunConfig) -> u64 {
    let Stage::Drift(settings) = config.stage else { return 0 };
    let (model, generated) = (&config.model, config.train.batch);
    let real = generated / settings.generated.max(1) * settings.real;
    let windows = settings
        .window_sides()
        .map(|side| model.size.div_ceil((side / 2).max(1)).pow(2) * side * side * model.channels);
    let widest = windows.chain([model.image_len()]).max().unwrap_or(0);
    let tokens = if config.encoder.is_empty() {
        0
    } else {
        2 * model.patches() * model.encoder.width
    };
    // With guidance real pictures are weighed twice: among those of their set, and among the others of another one.
    let weighed = generated + if settings.guidance > 1.0 { 2 * real } else { real };
    let kind = 3 * weighed + (settings.temperatures.len() + 3) * generated;
    F32 * ((4 * generated + real) * model.image_len() + kind * widest.max(tokens / 2) + 2 * (generated + real) * tokens) as u64
}

/// Bytes of the gradients of a call's parameters, at most: in `f32`, but for matrices whose products do not take the gradient of a bias
/// along (`weight_gradient` in pixgen-cubecl).
fn handed(call: &Call, element: u64) -> u64 {
    let of_matrix = match call.op {
        Op::Linear { bias: false } | Op::LinearGelu => element,
        _ => F32,
    };
    let matrix = call.matrix();
    of_matrix * matrix as u64 + F32 * (call.parameters() - matrix) as u64
}

/// What a call keeps for its backward pass: activations, and bytes of its own beside them, for one image.
fn keeps(call: &Call, element: u64) -> (Vec<TracedActivation>, u64) {
    let (all, output) = (call.inputs.clone(), call.output.len() as u64);
    match call.op {
        Op::Linear { .. } | Op::LayerNorm | Op::NormModulate | Op::Gelu => (all, 0),
        // The slope of the GELU.
        Op::LinearGelu => (all, element * output),
        // Not x: its gradient is dy itself.
        Op::GatedResidual => (call.inputs.iter().skip(1).copied().collect(), 0),
        // The result and the log-sum-exp.
        Op::Attention { heads } => ([all, vec![call.output]].concat(), F32 * (heads * call.output.rows) as u64),
        // The input of the norm.
        Op::SkipFuse => (all, element * output),
        Op::Condition { .. } => (all, element * output),
        Op::BatchNormRelu => (Vec::new(), BATCH_NORM_KEEPS * F32 * output),
        Op::Tokens | Op::Add | Op::Dropout | Op::Slice | Op::Concat => (Vec::new(), 0),
    }
}

const fn bytes(act: TracedActivation, element: u64) -> u64 {
    element * act.len() as u64
}

/// Bytes that a graph keeps for one image. With checkpointing a block keeps what it reads from outside, and one block at a time the rest.
pub fn kept(trace: &Trace, element: u64, recompute: bool) -> u64 {
    let block_of = |call: &Call| call.block().filter(|_| recompute);
    let made: HashMap<usize, Option<(Side, usize)>> = trace.calls.iter().map(|call| (call.output.id, block_of(call))).collect();
    let mut seen = HashSet::new();
    let mut always = 0;
    let mut blocks: HashMap<(Side, usize), u64> = HashMap::new();
    for call in &trace.calls {
        let block = block_of(call);
        let (acts, own) = keeps(call, element);
        let place = block.map_or(&mut always, |block| blocks.entry(block).or_default());
        *place += own;
        for act in acts.iter().chain(call.inputs.iter().filter(|_| block.is_some())) {
            let inside = block.is_some() && made.get(&act.id) == Some(&block);
            // What a block makes and only reads again is kept by nobody.
            if inside && !acts.contains(act) || !seen.insert(act.id) {
                continue;
            }
            let place = if inside {
                block.map_or(&mut always, |block| blocks.entry(block).or_default())
            } else {
                &mut always
            };
            *place += bytes(*act, element);
        }
    }
    always + blocks.values().max().copied().unwrap_or(0)
}

/// Bytes of gradients of activations in flight for one image: those of the long skips, which wait for the encoder, and around the largest
/// operation its dy, the gradients of its inputs and one temporary of its output's size.
fn waiting(trace: &Trace, element: u64) -> u64 {
    let skips = trace
        .calls
        .iter()
        .filter(|call| call.op == Op::SkipFuse)
        .filter_map(|call| call.inputs.get(1));
    let skips: u64 = skips.map(|skip| bytes(*skip, element)).sum();
    let around = |call: &Call| 2 * bytes(call.output, element) + call.inputs.iter().map(|act| bytes(*act, element)).sum::<u64>();
    skips + trace.calls.iter().map(around).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::config::{MLP_RATIO, Tower};
    use pixgen_core::presets::{PRESETS, preset};

    const GPU: Setup = Setup { place: Place::Gpu, precision: Precision::Bf16, recompute: false, ranks: 1 };

    /// Per token of a block in units of the width. Encoder: x, both norms' outputs, q, k, v, attention's output, x again, slope and hidden
    /// layer. Decoder: the norm's input of the skip, x, both norms' outputs, q, k, v, attention's output, both branches, x, slope, hidden.
    #[test]
    fn kept_by_hand() {
        let model = preset("EPG-L-16-256").expect("preset").model;
        let (tokens, patches, width, depth) = (model.tokens(), model.patches(), model.encoder.width, model.encoder.depth);
        let statistics = 4 * model.encoder.heads * tokens;
        let encoder = (1 + 2 + 3 + 1 + 1 + 4 + 4) * tokens * width * 2 + statistics;
        let decoder = (1 + 1 + 2 + 3 + 1 + 2 + 1 + 4 + 4) * tokens * width * 2 + 6 * width * 2 + statistics;
        // Pictures in patches; the input of the encoder's norm, which is the last skip; the first input of the decoder; c and its SiLU;
        // input of the decoder's norm and of the head.
        let outside = model.image_len() * 2 + tokens * width * 2 + tokens * width * 2 + 2 * width * 2 + 2 * patches * width * 2;
        // The inputs of the decoder's skips: the encoder's are its blocks' and its norm's inputs, x of block 0 is in `outside`, those of
        // the others are what the block before gave.
        let between = (depth - 1) * tokens * width * 2;
        let want = depth * (encoder + decoder) + outside + between;
        assert_eq!(kept(&trace::forward(&model, false), 2, false), want as u64);
    }

    #[test]
    fn checkpointing_keeps_less_and_more_precision_more() {
        for preset in PRESETS {
            for stage in StageKind::ALL {
                let config = RunConfig::defaults(stage, preset);
                let of = |setup| estimate(&config, setup);
                let (full, less) = (of(GPU), of(Setup { recompute: true, ..GPU }));
                assert!(less.activations < full.activations, "{} {stage:?}", preset.name);
                assert_eq!(less.state(), full.state());
                let single = of(Setup { precision: Precision::F32, ..GPU });
                assert!(single.activations > full.activations, "{} {stage:?}", preset.name);
                assert_eq!(full.total(), full.state() + full.activations + full.in_flight);
                assert_eq!(full.activations + full.in_flight, full.per_image * config.micro_batch() as u64);
            }
        }
    }

    /// With checkpointing the encoder of a deep model keeps the inputs of its blocks and what one block keeps.
    #[test]
    fn checkpointed_encoder_by_hand() {
        let model = preset("EPG-B-16-256").expect("preset").model;
        let (tokens, width, depth) = (model.tokens(), model.encoder.width, model.encoder.depth);
        let inputs = depth * tokens * width * 2 + model.image_len() * 2 + width * 2;
        let block = (2 + 3 + 1 + 1 + 4 + 4) * tokens * width * 2 + 4 * model.encoder.heads * tokens;
        assert_eq!(kept(&trace::features(&model), 2, true), (inputs + block) as u64);
    }

    #[test]
    fn state_by_hand() {
        let preset = preset("EPG-XL-16-256").expect("preset");
        let config = RunConfig::defaults(StageKind::Consistency, preset);
        let count = preset.model.parameter_count() as u64;
        let frozen = ParamSet::pretraining(&config.model, &config.projector()).len() as u64;
        // Weights, moments, two averages and the buffer of gradients in f32, weights in bf16, the frozen encoder in both. The gradients of a
        // graph are in f32, but for query, key and value, which have no bias, and the first matrix of each MLP.
        let short = |tower: Tower| (tower.depth * tower.width * (3 + MLP_RATIO) * tower.width) as u64;
        let state = count * (4 + 8 + 8 + 4 + 2 + 4) - 2 * (short(config.model.encoder) + short(config.model.decoder));
        assert_eq!(estimate(&config, GPU).state(), state + 6 * frozen);
        let diffusion = RunConfig::defaults(StageKind::Diffusion, preset);
        assert_eq!(estimate(&diffusion, GPU).state(), state);
        let single = Setup { precision: Precision::F32, ..GPU };
        assert_eq!(estimate(&diffusion, single).state(), count * (4 + 8 + 8 + 4 + 4));
        // On the CPU both threads have a gradient, and there are those of twice as many micro-batches; the tensors are copies.
        let cpu = Setup {
            place: Place::Cpu { tokens: Some(64 * preset.model.tokens()), threads: 2 },
            precision: Precision::F32,
            recompute: false,
            ranks: 1,
        };
        let estimate = estimate(&config, cpu);
        assert_eq!(estimate.state(), 4 * count * (1 + 2 + 2 + (1 + 4 + 2) + 1) + 8 * frozen);
        assert_eq!(estimate.activations + estimate.in_flight, 128 * estimate.per_image);
    }

    /// What is chosen fits and one image more does not; on the CPU the whole batch fits where a small part of it does.
    #[test]
    fn the_largest_micro_batch_fits() {
        let preset = preset("EPG-L-16-256").expect("preset");
        for stage in StageKind::ALL {
            let mut config = RunConfig::defaults(stage, preset);
            let free = 80 << 30;
            let largest = largest_micro_batch(&config, GPU, free).expect("some fit");
            let mut total = |micro_batch| {
                config.train.micro_batch = micro_batch;
                estimate(&config, GPU).total()
            };
            assert!(total(largest) <= usable(free) && total(largest + 1) > usable(free), "{stage:?}: {largest}");
            assert_eq!(largest_micro_batch(&config, GPU, 1 << 30), None);
        }
        let config = RunConfig::defaults(StageKind::Consistency, PRESETS.first().expect("a preset"));
        assert_eq!(largest_micro_batch(&config, GPU, 80 << 30), Some(config.train.batch));
        let place = Place::Cpu { tokens: <Cpu as FusedOps>::MICRO_BATCH_TOKENS, threads: 2 };
        assert_eq!(largest_micro_batch(&config, Setup { place, ..GPU }, 8 << 30), Some(config.train.batch));
    }

    #[test]
    fn images_that_fit() {
        let estimate = Estimate { parameters: 100, per_image: 7, ..Estimate::default() };
        assert_eq!((estimate.images_in(99), estimate.images_in(106), estimate.images_in(121)), (0, 0, 3));
        assert_eq!(Estimate::default().images_in(5), 0);
    }
}
