//! Kernels over peaks: the tables that `bench --roofline` prints.

use super::cost::{Kernel, Kind};
use super::device::Device;
use super::memory::{self, Estimate, Place, Setup};
use super::step::{self, Plan, mean_teacher_share};
use crate::config::{RunConfig, Stage};
use crate::precision::Precision;
use crate::settings::units::format_bytes;
use pixgen_core::presets::Preset;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Hours on 8 H200 that the paper's authors give for EPG-XL/16 at 256 pixels: pre-training, and the rest of their total of 139.
const PAPER: (&str, [f64; 2]) = ("EPG-XL-16-256", [57.0, 82.0]);

/// Larger ratios are not worth their digits.
const LARGEST_RATIO: f64 = 99.0;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Model and recipe.
    pub preset: &'static Preset,
    /// Device.
    pub device: &'static Device,
    /// Storage of activations and matrices.
    pub precision: Precision,
    /// Images of a step on one GPU; `None` divides the recipe's batch by the GPUs.
    pub batch: Option<usize>,
    /// Images that go through the network at once; `None` is the whole batch of the GPU.
    pub micro_batch: Option<usize>,
    /// Activation checkpointing by blocks.
    pub recompute: bool,
    /// Time that each launch adds, seconds.
    pub launch: f64,
    /// Share of their peak that matrix products reach; 1 is the roofline itself.
    pub efficiency: f64,
    /// GPUs.
    pub gpus: usize,
}

/// What holds a kernel back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Bytes.
    Memory,
    /// Matrix products.
    Products,
    /// Vector units.
    Vector,
    /// Launches.
    Launch,
}

impl Bound {
    const ALL: [Self; 4] = [Self::Memory, Self::Products, Self::Vector, Self::Launch];

    const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Products => "products",
            Self::Vector => "vector",
            Self::Launch => "launch",
        }
    }
}

/// Times of a kernel in seconds: bytes, products, vector units, launches.
struct Times([f64; 4]);

impl Times {
    fn of(kernel: &Kernel, bytes: f64, request: &Request) -> Self {
        let device = request.device;
        // In f32 products run on the vector units, after what else is there.
        let (products, vector) = match request.precision {
            Precision::Bf16 => (kernel.products / (device.tensor * request.efficiency), kernel.vector / device.vector),
            Precision::F32 => ((kernel.products / request.efficiency + kernel.vector) / device.vector, kernel.vector / device.vector),
        };
        Self([bytes / device.bandwidth, products, vector, kernel.launches * request.launch])
    }

    /// max(memory, products, vector), and the launches on top (6).
    fn seconds(&self) -> f64 {
        let [memory, products, vector, launch] = self.0;
        memory.max(products).max(vector) + launch
    }

    /// What takes the longest.
    fn bound(&self) -> Bound {
        let all = Bound::ALL.into_iter().zip(self.0);
        all.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(Bound::Memory, |(bound, _)| bound)
    }
}

/// A kind of kernel in a step.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it does.
    pub kernel: Kind,
    /// Launches.
    pub calls: f64,
    /// 1e9 FLOP, products and vector units together.
    pub gflop: f64,
    /// 1e6 bytes, the fewest.
    pub least_mb: f64,
    /// 1e6 bytes that our kernels move.
    pub our_mb: f64,
    /// `our_mb / least_mb`; `None` where a fused kernel would move nothing.
    pub ratio: Option<f64>,
    /// Predicted time.
    pub milliseconds: f64,
    /// What takes most of it.
    pub bound: Bound,
}

/// Memory of a GPU.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// As asked for.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The sum.
    pub total: u64,
    /// Whether it is below the device's memory.
    pub fits: bool,
    /// Images that fit at once.
    pub largest_micro_batch: u64,
    /// The sum without and with checkpointing.
    pub total_kept: u64,
    /// See `total_kept`.
    pub total_recomputed: u64,
    /// Images that fit at once with checkpointing.
    pub largest_micro_batch_recomputed: u64,
}

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// Which.
    pub stage: Stage,
    /// Images of a step on one GPU.
    pub batch: usize,
    /// Images that go through the network at once.
    pub micro_batch: usize,
    /// Share of the images that go through the teacher, over the whole run.
    pub teacher_share: Option<f64>,
    /// Kernels, the slowest first.
    pub rows: Vec<Row>,
    /// Sums of the rows.
    pub gflop: f64,
    /// FLOP of products that any implementation needs, 1e9.
    pub useful_gflop: f64,
    /// Sum of the rows.
    pub least_mb: f64,
    /// Sum of the rows.
    pub our_mb: f64,
    /// Predicted time of a step.
    pub seconds: f64,
    /// The same with the fewest bytes, no launches and products at their peak.
    pub seconds_at_least: f64,
    /// Predicted speed of one GPU.
    pub images_per_second: f64,
    /// Useful FLOP over time and peak of the precision's products.
    pub mfu: f64,
    /// Memory.
    pub memory: Memory,
    /// Images of the whole recipe.
    pub recipe_images: u64,
    /// Hours of the whole recipe on all GPUs.
    pub recipe_hours: f64,
}

/// Device and assumptions.
#[derive(Clone, Debug, Serialize)]
pub struct Assumptions {
    /// Name of the device.
    pub device: &'static str,
    /// Product and where its numbers are from.
    pub source: &'static str,
    /// Peak of bf16 products, FLOP/s.
    pub tensor_flops: f64,
    /// Peak of f32, FLOP/s.
    pub vector_flops: f64,
    /// Bytes/s.
    pub bandwidth: f64,
    /// Bytes.
    pub memory: f64,
    /// Storage of activations and matrices.
    pub precision: Precision,
    /// Activation checkpointing.
    pub recompute: bool,
    /// Seconds of a launch.
    pub launch_seconds: f64,
    /// Share of the peak of products.
    pub matmul_efficiency: f64,
    /// GPUs of the recipe.
    pub gpus: usize,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of these keys.
    pub schema: u32,
    /// Always `bound from published peaks, not a measurement`.
    pub basis: &'static str,
    /// Preset.
    pub model: &'static str,
    /// Device and assumptions.
    pub assumptions: Assumptions,
    /// Stages 1, 2a and 2b.
    pub stages: [StageReport; 3],
    /// Hours of pre-training and of stage 2a that the paper gives, on 8 H200.
    pub paper_hours: Option<[f64; 2]>,
}

impl Report {
    /// Computes it.
    pub fn new(request: &Request) -> Self {
        let device = request.device;
        Self {
            schema: 1,
            basis: "bound from published peaks, not a measurement",
            model: request.preset.name,
            assumptions: Assumptions {
                device: device.name,
                source: device.source,
                tensor_flops: device.tensor,
                vector_flops: device.vector,
                bandwidth: device.bandwidth,
                memory: device.memory,
                precision: request.precision,
                recompute: request.recompute,
                launch_seconds: request.launch,
                matmul_efficiency: request.efficiency,
                gpus: request.gpus,
            },
            stages: Stage::ALL.map(|stage| stage_report(request, stage)),
            paper_hours: (request.preset.name == PAPER.0).then_some(PAPER.1),
        }
    }
}

fn stage_report(request: &Request, stage: Stage) -> StageReport {
    let config = RunConfig::defaults(stage, request.preset);
    let batch = request.batch.unwrap_or(config.train.batch / request.gpus).max(1);
    let micro_batch = request.micro_batch.map_or(batch, |micro| micro.clamp(1, batch));
    let plan = Plan {
        config,
        precision: request.precision,
        batch,
        micro_batch,
        gpus: request.gpus,
        recompute: request.recompute,
    };
    let kernels = step::kernels(&plan);
    let seconds: f64 = kernels.iter().map(|kernel| Times::of(kernel, kernel.ours, request).seconds()).sum();
    let ideal = Request { launch: 0.0, efficiency: 1.0, ..*request };
    let seconds_at_least = kernels.iter().map(|kernel| Times::of(kernel, kernel.least, &ideal).seconds()).sum();
    let rows = rows(&kernels, request);
    let sum = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let useful: f64 = kernels.iter().map(|kernel| kernel.useful).sum();
    let peak = match request.precision {
        Precision::Bf16 => request.device.tensor,
        Precision::F32 => request.device.vector,
    };
    let images_per_second = batch as f64 / seconds;
    let recipe_images = plan.config.train.images;
    StageReport {
        stage,
        batch,
        micro_batch,
        teacher_share: plan.config.consistency.map(|settings| mean_teacher_share(&settings, &plan.config.noise)),
        gflop: sum(|row| row.gflop),
        useful_gflop: useful / 1e9,
        least_mb: sum(|row| row.least_mb),
        our_mb: sum(|row| row.our_mb),
        rows,
        seconds,
        seconds_at_least,
        images_per_second,
        mfu: useful / seconds / peak,
        memory: memory(&plan, request.device),
        recipe_images,
        recipe_hours: recipe_images as f64 / (images_per_second * request.gpus as f64) / 3600.0,
    }
}

fn memory(plan: &Plan, device: &Device) -> Memory {
    let mut config: RunConfig = plan.config.clone();
    (config.train.batch, config.train.micro_batch) = (plan.batch, plan.micro_batch);
    let estimate = |recompute| {
        let setup = Setup { place: Place::Gpu, precision: plan.precision, recompute };
        memory::estimate(&config, setup)
    };
    let (kept, recomputed) = (estimate(false), estimate(true));
    let chosen = if plan.recompute { recomputed } else { kept };
    let memory = device.memory as u64;
    Memory {
        estimate: chosen,
        total: chosen.total(),
        fits: chosen.total() <= memory,
        largest_micro_batch: chosen.images_in(memory),
        total_kept: kept.total(),
        total_recomputed: recomputed.total(),
        largest_micro_batch_recomputed: recomputed.images_in(memory),
    }
}

/// Kernels by kind, the slowest first.
fn rows(kernels: &[Kernel], request: &Request) -> Vec<Row> {
    let mut kinds: BTreeMap<Kind, (Kernel, f64, [f64; 4])> = BTreeMap::new();
    for kernel in kernels {
        let times = Times::of(kernel, kernel.ours, request);
        let (sum, seconds, parts) = kinds
            .entry(kernel.kind)
            .or_insert_with(|| (Kernel::new(kernel.kind, 0.0, 0.0).launches(0.0), 0.0, [0.0; 4]));
        sum.launches += kernel.launches;
        sum.products += kernel.products;
        sum.vector += kernel.vector;
        sum.least += kernel.least;
        sum.ours += kernel.ours;
        *seconds += times.seconds();
        parts.iter_mut().zip(times.0).for_each(|(part, time)| *part += time);
    }
    let mut rows: Vec<Row> = kinds
        .into_iter()
        .map(|(kind, (sum, seconds, parts))| Row {
            kernel: kind,
            calls: sum.launches,
            gflop: (sum.products + sum.vector) / 1e9,
            least_mb: sum.least / 1e6,
            our_mb: sum.ours / 1e6,
            ratio: (sum.least > 0.0).then(|| sum.ours / sum.least),
            milliseconds: 1e3 * seconds,
            bound: Times(parts).bound(),
        })
        .collect();
    rows.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    rows
}

/// Hours, where somebody says them.
fn known(hours: Option<f64>) -> String {
    hours.map_or("-".to_owned(), |hours| format!("{hours:.0}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a = &self.assumptions;
        writeln!(f, "{} on {}, {}{}", self.model, a.device, a.precision, if a.recompute { ", recomputing blocks" } else { "" })?;
        writeln!(f, "A bound computed from published peaks. Nothing here was measured.\n")?;
        writeln!(f, "device       {}", a.source)?;
        writeln!(
            f,
            "peaks        {:.1} TFLOP/s bf16 products, {:.1} TFLOP/s f32, {:.2} TB/s, {}",
            a.tensor_flops / 1e12,
            a.vector_flops / 1e12,
            a.bandwidth / 1e12,
            format_bytes(a.memory as u64)
        )?;
        writeln!(
            f,
            "assumed      {:.1} us a launch, products at {:.0} % of their peak",
            1e6 * a.launch_seconds,
            100.0 * a.matmul_efficiency
        )?;
        for stage in &self.stages {
            writeln!(f, "\n{stage}")?;
        }
        writeln!(f, "\nthe full recipe on {} x {}; communication is taken to hide behind the backward pass", a.gpus, a.device)?;
        writeln!(f, "{:<9} {:>9} {:>10} {:>7} {:>9}  paper, 8 x H200", "stage", "Mimg", "img/s", "MFU %", "hours")?;
        for (i, stage) in self.stages.iter().enumerate() {
            let paper = self.paper_hours.and_then(|hours| hours.get(i).copied());
            writeln!(
                f,
                "{:<9} {:>9.1} {:>10.0} {:>7.1} {:>9.1}  {}",
                stage.stage.label(),
                stage.recipe_images as f64 / 1e6,
                stage.images_per_second * a.gpus as f64,
                100.0 * stage.mfu,
                stage.recipe_hours,
                known(paper),
            )?;
        }
        for (name, parts, paper) in [("1 + 2a", [0, 1], self.paper_hours.map(|[a, b]| a + b)), ("1 + 2b", [0, 2], None)] {
            let hours: f64 = parts.iter().map(|&i| self.stages[i].recipe_hours).sum();
            writeln!(f, "{name:<9} {:>9} {:>10} {:>7} {hours:>9.1}  {}", "", "", "", known(paper))?;
        }
        Ok(())
    }
}

impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: a step of {} images on one GPU, {} at once", self.stage.label(), self.batch, self.micro_batch)?;
        match self.teacher_share {
            Some(share) => writeln!(f, "; {:.1} % of them through the teacher", 100.0 * share)?,
            None => writeln!(f)?,
        }
        let header = ["calls", "GFLOP", "least MB", "our MB", "ratio", "ms"];
        let [calls, gflop, least, ours, ratio, ms] = header;
        writeln!(f, "{:<26} {calls:>7} {gflop:>10} {least:>10} {ours:>10} {ratio:>6} {ms:>8}  bound by", "kernel")?;
        let ratio = |ratio: Option<f64>| match ratio {
            None => "-".to_owned(),
            // The kernel exists only because it is not fused into a product.
            Some(ratio) if ratio > LARGEST_RATIO => format!(">{LARGEST_RATIO}"),
            Some(ratio) => format!("{ratio:.2}"),
        };
        for row in &self.rows {
            writeln!(
                f,
                "{:<26} {:>7.0} {:>10.1} {:>10.1} {:>10.1} {:>6} {:>8.2}  {}",
                row.kernel.label(),
                row.calls,
                row.gflop,
                row.least_mb,
                row.our_mb,
                ratio(row.ratio),
                row.milliseconds,
                row.bound.label()
            )?;
        }
        let calls: f64 = self.rows.iter().map(|row| row.calls).sum();
        writeln!(
            f,
            "{:<26} {calls:>7.0} {:>10.1} {:>10.1} {:>10.1} {:>6} {:>8.2}",
            "sum",
            self.gflop,
            self.least_mb,
            self.our_mb,
            ratio((self.least_mb > 0.0).then(|| self.our_mb / self.least_mb)),
            1e3 * self.seconds
        )?;
        writeln!(
            f,
            "step     {:.1} ms, {:.0} img/s, MFU {:.1} %; {:.1} ms with the fewest bytes and free launches",
            1e3 * self.seconds,
            self.images_per_second,
            100.0 * self.mfu,
            1e3 * self.seconds_at_least
        )?;
        let memory = &self.memory;
        let Estimate { parameters, gradients, moments, averages, copies, activations, in_flight, .. } = memory.estimate;
        let [parameters, gradients, moments, averages, copies, activations, in_flight] =
            [parameters, gradients, moments, averages, copies, activations, in_flight].map(format_bytes);
        writeln!(
            f,
            "memory   {} = weights {parameters} + gradients {gradients} + moments {moments} + averages {averages}",
            format_bytes(memory.total)
        )?;
        writeln!(f, "         + copies {copies} + activations {activations} + their gradients {in_flight}")?;
        write!(
            f,
            "         {}; {} without --recompute, {} with it; at most {} images at once, {} with --recompute",
            if memory.fits { "fits" } else { "does not fit" },
            format_bytes(memory.total_kept),
            format_bytes(memory.total_recomputed),
            memory.largest_micro_batch,
            memory.largest_micro_batch_recomputed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::device::device;
    use pixgen_core::presets::preset;

    fn request(name: &str) -> Request {
        Request {
            preset: preset(name).expect("preset"),
            device: device("h100").expect("device"),
            precision: Precision::Bf16,
            batch: None,
            micro_batch: None,
            recompute: false,
            launch: 4e-6,
            efficiency: 1.0,
            gpus: 8,
        }
    }

    #[test]
    fn time_is_the_largest_share_and_the_launches() {
        let request = request("EPG-L-16-256");
        let kernel = Kernel::new(Kind::MatmulForward, 3.35e9, 6.7e9)
            .products(989.4e9)
            .vector(66.9e9)
            .launches(2.0);
        let times = Times::of(&kernel, kernel.ours, &request);
        assert!((times.seconds() - (2e-3 + 8e-6)).abs() < 1e-9);
        assert_eq!(times.bound(), Bound::Memory);
        let least = Times::of(&kernel, kernel.least, &Request { efficiency: 0.5, ..request });
        assert!((least.seconds() - (2e-3 + 8e-6)).abs() < 1e-9);
        assert_eq!(least.bound(), Bound::Products);
        let single = Times::of(&kernel, 0.0, &Request { precision: Precision::F32, ..request });
        assert!((single.seconds() - ((989.4 + 66.9) / 66.9 * 1e-3 + 8e-6)).abs() < 1e-9);
    }

    #[test]
    fn sums_and_bounds_agree() {
        for name in ["EPG-L-16-256", "EPG-XL-16-256", "small-32-rgb"] {
            let report = Report::new(&request(name));
            assert_eq!(report.stages.len(), 3);
            for stage in &report.stages {
                let seconds: f64 = stage.rows.iter().map(|row| row.milliseconds / 1e3).sum();
                assert!((seconds / stage.seconds - 1.0).abs() < 1e-9);
                assert!(stage.seconds_at_least < stage.seconds, "{name} {:?}", stage.stage);
                assert!((0.0..1.0).contains(&stage.mfu), "{name} {:?}: {}", stage.stage, stage.mfu);
                assert!(stage.rows.windows(2).all(|pair| pair[0].milliseconds >= pair[1].milliseconds));
                assert!(stage.memory.total_recomputed < stage.memory.total_kept);
                let rate = stage.images_per_second * 8.0 * 3600.0;
                assert!((stage.recipe_hours * rate / stage.recipe_images as f64 - 1.0).abs() < 1e-9);
            }
            assert_eq!(report.paper_hours.is_some(), name == "EPG-XL-16-256");
        }
    }

    #[test]
    fn lower_efficiency_and_slower_launches_take_longer() {
        let base = request("EPG-B-16-256");
        let seconds = |request: &Request| Report::new(request).stages.iter().map(|stage| stage.seconds).sum::<f64>();
        let fast = seconds(&base);
        assert!(seconds(&Request { efficiency: 0.5, ..base }) > 1.2 * fast);
        assert!(seconds(&Request { launch: 1e-4, ..base }) > fast);
        assert!(seconds(&Request { recompute: true, ..base }) > fast);
        assert!(seconds(&Request { precision: Precision::F32, ..base }) > 4.0 * fast);
    }
}
