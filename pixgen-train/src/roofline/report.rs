//! What `bench --roofline` prints: a step of each stage at best, and the whole recipe.

use super::exchange::{Cluster, StageExchange, StepSeconds, exchange};
use super::gpu::GpuPeaks;
use super::step::{self, Cost};
use crate::config::{RunConfig, StageKind};
use crate::needs::memory::{self, Place, Setup};
use crate::precision::Precision;
use pixgen_core::presets::Preset;
use pixgen_edge::units::format_bytes;
use serde::Serialize;
use std::fmt;

/// Hours on 8 H200 that the paper's authors give for EPG-XL/16 at 256 pixels: pre-training, and the rest of their total of 139.
const PAPER: (&str, [f64; 2]) = ("EPG-XL-16-256", [57.0, 82.0]);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RooflineRequest {
    /// Model and recipe.
    pub preset: &'static Preset,
    /// GPU.
    pub gpu: &'static GpuPeaks,
    /// Storage of activations and matrices.
    pub precision: Precision,
    /// Images of a step on one GPU; `None` divides the recipe's batch by the GPUs.
    pub batch: Option<usize>,
    /// Images that go through the network at once; `None` is the whole batch of the GPU.
    pub micro_batch: Option<usize>,
    /// Activation checkpointing by blocks.
    pub recompute: bool,
    /// Share of their peak that matrix products reach; 1 is the roofline itself.
    pub efficiency: f64,
    /// GPUs.
    pub gpus: usize,
    /// How they are joined; `None` leaves out what they tell each other.
    pub cluster: Option<Cluster>,
}

impl RooflineRequest {
    /// Seconds of all operations: each takes as long as its bytes, its products or its other work, whichever is longest (6).
    fn seconds(&self, costs: &[Cost]) -> f64 {
        let of = |cost: &Cost| {
            // In f32 products run on the vector units, after what else is there.
            let products = cost.products / self.efficiency;
            let computing = match self.precision {
                Precision::Bf16 => (products / self.gpu.tensor).max(cost.vector / self.gpu.vector),
                Precision::F32 => (products + cost.vector) / self.gpu.vector,
            };
            cost.times * computing.max(cost.bytes / self.gpu.bandwidth)
        };
        costs.iter().map(of).sum()
    }
}

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub struct RooflineStage {
    /// Which.
    pub stage: StageKind,
    /// Images of a step on one GPU.
    pub batch: usize,
    /// Images of a step of the recipe, on all GPUs.
    pub recipe_batch: usize,
    /// Images that go through the network at once.
    pub micro_batch: usize,
    /// FLOP of products of a step, 1e9.
    pub gflop: f64,
    /// The part of it that is attention's, 1e9.
    pub attention_gflop: f64,
    /// The fewest bytes of a step, 1e6.
    pub mb: f64,
    /// The part of it that the products of linear layers read and write, 1e6.
    pub linear_mb: f64,
    /// Time of a step at best.
    pub seconds: f64,
    /// Speed of one GPU.
    pub images_per_second: f64,
    /// FLOP of products that any implementation needs, over time and peak of the precision's products (7).
    pub mfu: f64,
    /// Bytes of memory (9).
    pub memory: u64,
    /// Images that fit into the GPU's memory at once.
    pub largest_micro_batch: u64,
    /// Images of the whole recipe.
    pub recipe_images: u64,
    /// Hours of the whole recipe on all GPUs.
    pub recipe_hours: f64,
    /// What the GPUs tell each other, if it is asked how they are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<StageExchange>,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct RooflineReport {
    /// Version of these keys.
    pub schema: u32,
    /// Always `bound from published peaks, not a measurement`.
    pub basis: &'static str,
    /// Preset.
    pub model: &'static str,
    /// The GPU and its peaks.
    pub gpu: &'static GpuPeaks,
    /// Storage of activations and matrices.
    pub precision: Precision,
    /// Activation checkpointing.
    pub recompute: bool,
    /// Share of the peak of products.
    pub matmul_efficiency: f64,
    /// GPUs of the recipe.
    pub gpus: usize,
    /// How they are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<String>,
    /// Stages 1, 2a, 2b and 3.
    pub stages: [RooflineStage; 4],
    /// Hours of pre-training and of stage 2a that the paper gives, on 8 H200.
    pub paper_hours: Option<[f64; 2]>,
}

impl RooflineReport {
    /// Computes it.
    pub fn new(request: &RooflineRequest) -> Self {
        Self {
            schema: 2,
            basis: "bound from published peaks, not a measurement",
            model: request.preset.name,
            gpu: request.gpu,
            precision: request.precision,
            recompute: request.recompute,
            matmul_efficiency: request.efficiency,
            gpus: request.gpus,
            joined: request.cluster.map(|cluster| cluster.describe(request.gpu)),
            stages: StageKind::ALL.map(|stage| stage_report(request, stage)),
            paper_hours: (request.preset.name == PAPER.0).then_some(PAPER.1),
        }
    }
}

fn stage_report(request: &RooflineRequest, stage: StageKind) -> RooflineStage {
    let mut config = RunConfig::defaults(stage, request.preset);
    let recipe_batch = config.train.batch;
    let batch = request.batch.unwrap_or(recipe_batch / request.gpus).max(1);
    let micro_batch = request.micro_batch.map_or(batch, |micro| micro.clamp(1, batch));
    let RooflineRequest { gpu, precision, recompute, gpus, .. } = *request;
    (config.train.batch, config.train.micro_batch) = (batch, micro_batch);
    (config.compute.precision, config.compute.recompute) = (precision, recompute);
    let memory = memory::estimate(&config, Setup { place: Place::Gpu, precision, recompute, ranks: 1 });
    let costs = step::costs(&config, 1);
    let sum = |of: fn(&Cost) -> f64| costs.iter().map(|cost| cost.times * of(cost)).sum::<f64>();
    let seconds = request.seconds(&costs);
    let peak = match precision {
        Precision::Bf16 => gpu.tensor,
        Precision::F32 => gpu.vector,
    };
    let images_per_second = batch as f64 / seconds;
    let recipe_images = config.train.images;
    let exchange = request.cluster.map(|cluster| {
        let computing = request.seconds(&step::costs(&config, gpus));
        exchange(&config, &cluster, StepSeconds { alone: seconds, computing }, &memory)
    });
    RooflineStage {
        stage,
        batch,
        recipe_batch,
        micro_batch,
        gflop: sum(|cost| cost.products) / 1e9,
        attention_gflop: sum(|cost| if cost.vector > 0.0 { cost.products } else { 0.0 }) / 1e9,
        mb: sum(|cost| cost.bytes) / 1e6,
        linear_mb: sum(|cost| {
            if cost.products > 0.0 && cost.vector == 0.0 {
                cost.bytes
            } else {
                0.0
            }
        }) / 1e6,
        seconds,
        images_per_second,
        mfu: sum(|cost| cost.useful) / seconds / peak,
        memory: memory.total(),
        largest_micro_batch: memory.images_in(gpu.memory as u64),
        recipe_images,
        recipe_hours: recipe_images as f64 / (images_per_second * gpus as f64) / 3600.0,
        exchange,
    }
}

impl fmt::Display for RooflineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gpu, recompute) = (self.gpu, if self.recompute { ", recomputing blocks" } else { "" });
        writeln!(f, "{} on {}, {}{recompute}", self.model, gpu.source, self.precision)?;
        let efficiency = 100.0 * self.matmul_efficiency;
        writeln!(
            f,
            "A bound from published peaks; matrix products reach {efficiency:.0} % of their peak. Nothing here was measured.\n"
        )?;
        writeln!(f, "a step of one {0}, at best{1:>63} {2} x {0}", gpu.name, "the recipe on", self.gpus)?;
        let [batch, micro, tflop, gb, ms, rate] = ["batch", "at once", "TFLOP", "GB", "ms", "img/s"];
        let [mfu, memory, fits, images, hours] = ["MFU %", "memory", "fit at once", "Mimg", "hours"];
        write!(f, "{:<9}{batch:>7}{micro:>9}{tflop:>9}{gb:>8}{ms:>8}{rate:>8}{mfu:>7}", "stage")?;
        writeln!(f, "{memory:>10}{fits:>13}{images:>8}{hours:>8}")?;
        for s in &self.stages {
            let (label, gb, ms, mfu) = (s.stage.label(), s.mb / 1e3, 1e3 * s.seconds, 100.0 * s.mfu);
            let (rate, memory) = (s.images_per_second, format_bytes(s.memory));
            let [tflop, gb, ms, hours] = [s.gflop / 1e3, gb, ms, s.recipe_hours].map(cell);
            write!(f, "{label:<9}{:>7}{:>9}{tflop:>9}{gb:>8}{ms:>8}{rate:>8.0}{mfu:>7.1}", s.batch, s.micro_batch)?;
            writeln!(f, "{memory:>10}{:>13}{:>8.1}{hours:>8}", s.largest_micro_batch, s.recipe_images as f64 / 1e6)?;
        }
        for s in self.stages.iter().filter(|s| s.micro_batch as u64 > s.largest_micro_batch) {
            let (label, memory) = (s.stage.label(), format_bytes(gpu.memory as u64));
            let instead = match s.largest_micro_batch {
                0 => "not even one does".to_owned(),
                most => format!("--micro-batch {most} does"),
            };
            writeln!(f, "{label}: {} images at once do not fit into {memory}; {instead}", s.micro_batch)?;
        }
        for s in self
            .stages
            .iter()
            .filter(|s| s.batch == s.recipe_batch / self.gpus && s.recipe_batch % self.gpus != 0)
        {
            let (label, whole) = (s.stage.label(), s.batch * self.gpus);
            writeln!(
                f,
                "{label}: the recipe's batch of {} does not divide by {} GPUs; counted with {whole}",
                s.recipe_batch, self.gpus
            )?;
        }
        write!(f, "\n{}", in_all(self.stages.each_ref().map(|stage| stage.recipe_hours)))?;
        match self.paper_hours {
            Some([first, second]) => writeln!(f, "; the paper measured {first:.0} and {second:.0} for stages 1 and 2a on 8 x H200")?,
            None => writeln!(f)?,
        }
        self.joined.as_ref().map_or(Ok(()), |joined| self.write_exchange(joined, f))
    }
}

/// A number of at least 0 in a table: three digits that count, zeros among them, or all of its whole part.
fn cell(value: f64) -> String {
    let decimals = if value > 0.0 {
        (2.0 - value.log10().floor()).clamp(0.0, 5.0)
    } else {
        0.0
    };
    format!("{value:.*}", decimals as usize)
}

/// Hours of the recipe that each choice of stages takes.
fn in_all([pretrain, diffusion, consistency, drift]: [f64; 4]) -> String {
    let one_step = pretrain + consistency;
    format!(
        "hours in all: {:.1} with stage 2a, {one_step:.1} with stage 2b, {:.1} with 2b and 3",
        pretrain + diffusion,
        one_step + drift
    )
}

impl RooflineReport {
    fn write_exchange(&self, joined: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{joined}; nothing hides behind the backward pass")?;
        let [sent, exchange, step, efficiency] = ["sent GB", "exchange ms", "step ms", "efficiency %"];
        let [memory, sharded, hours] = ["memory", "sharded state", "hours"];
        writeln!(f, "{:<9}{sent:>9}{exchange:>13}{step:>9}{efficiency:>14}{memory:>11}{sharded:>15}{hours:>8}", "stage")?;
        for (stage, exchange) in self.stages.iter().filter_map(|stage| Some((stage.stage, stage.exchange?))) {
            let StageExchange { sent, seconds, step_seconds, efficiency, memory, memory_sharded, recipe_hours } = exchange;
            let [memory, sharded] = [memory, memory_sharded].map(format_bytes);
            write!(f, "{:<9}{:>9.2}{:>13.1}{:>9.1}", stage.label(), sent / 1e9, 1e3 * seconds, 1e3 * step_seconds)?;
            writeln!(f, "{:>14.1}{memory:>11}{sharded:>15}{recipe_hours:>8.1}", 100.0 * efficiency)?;
        }
        let hours = self
            .stages
            .each_ref()
            .map(|stage| stage.exchange.map_or(0.0, |exchange| exchange.recipe_hours));
        writeln!(f, "\n{}", in_all(hours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::gpu::gpu;
    use pixgen_core::presets::preset;

    fn request(name: &str) -> RooflineRequest {
        let (preset, gpu) = (preset(name).expect("preset"), gpu("h100").expect("GPU"));
        let precision = Precision::Bf16;
        RooflineRequest {
            preset,
            gpu,
            precision,
            batch: None,
            micro_batch: None,
            recompute: false,
            efficiency: 1.0,
            gpus: 8,
            cluster: None,
        }
    }

    #[test]
    fn time_is_the_largest_share() {
        let request = request("EPG-L-16-256");
        let cost = Cost { times: 2.0, products: 989.4e9, useful: 0.0, vector: 66.9e9, bytes: 6.7e9 };
        let near = |request: RooflineRequest, want: f64| assert!((request.seconds(&[cost]) / want - 1.0).abs() < 1e-9, "{want}");
        near(request, 4e-3);
        near(RooflineRequest { efficiency: 0.25, ..request }, 8e-3);
        near(RooflineRequest { precision: Precision::F32, ..request }, 2.0 * (989.4 + 66.9) / 66.9 * 1e-3);
    }

    #[test]
    fn lower_efficiency_and_more_work_take_longer() {
        let base = request("EPG-XL-16-256");
        let of = |request: &RooflineRequest| RooflineReport::new(request).stages;
        let seconds = |request| of(&request).iter().map(|stage| stage.seconds).sum::<f64>();
        let fast = seconds(base);
        assert!(seconds(RooflineRequest { efficiency: 0.5, ..base }) > 1.2 * fast);
        assert!(seconds(RooflineRequest { recompute: true, ..base }) > fast);
        assert!(seconds(RooflineRequest { precision: Precision::F32, ..base }) > 4.0 * fast);
        assert!(of(&base).iter().all(|stage| (0.0..1.0).contains(&stage.mfu)));
    }
}
