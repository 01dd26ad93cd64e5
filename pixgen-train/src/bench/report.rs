//! What `bench` prints.

use super::operations::OperationTiming;
use pixgen_edge::units::{counted, format_bytes};
use serde::Serialize;
use std::fmt;

/// The result of a call of `bench`.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Version of these keys.
    pub schema: u32,
    /// Threads that compute.
    pub threads: usize,
    /// The fastest square matrix product in this run, GFLOP/s.
    pub peak_gflops: f64,
    /// bf16 products that the data sheet of the GPU promises, GFLOP/s; none on other devices and in f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_gflops: Option<f64>,
    /// One for each stage.
    pub stages: Vec<StageBench>,
}

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageBench {
    /// `pretrain`, `finetune`, `diffusion` or `drift`.
    pub stage: &'static str,
    /// Preset that the settings started from.
    pub preset: String,
    /// Pictures of a step.
    pub batch: usize,
    /// Those that go through the network at once.
    pub micro_batch: usize,
    /// Mean number of pictures of a step that the teacher draws.
    #[serde(rename = "taught")]
    pub teacher_images: f64,
    /// Trained values.
    pub parameters: usize,
    /// Timed steps.
    pub steps: usize,
    /// Median time of a step.
    pub seconds: f64,
    /// The fastest step.
    pub fastest: f64,
    /// Batch over median time.
    pub images_per_second: f64,
    /// Mean number of floating-point operations of a step, in units of 1e9.
    pub gflop: f64,
    /// Those over the median time, as a share of the peak.
    pub of_peak: f64,
    /// The same as a share of the published peak, MFU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Bytes of device memory that were taken by the end of the steps; none on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The fused operations; empty unless asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationTiming>,
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = counted(self.threads, "thread", "threads");
        write!(f, "{threads}, matrix products reach {:.0} GFLOP/s", self.peak_gflops)?;
        match self.published_gflops {
            Some(published) => writeln!(f, " of {published:.0}")?,
            None => writeln!(f)?,
        }
        self.stages.iter().try_for_each(|stage| write!(f, "\n{stage}"))
    }
}

impl fmt::Display for StageBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {}: {:.2} M parameters, batch {}, of which the teacher sees {:.1}",
            self.stage,
            self.preset,
            self.parameters as f64 / 1e6,
            self.batch,
            self.teacher_images
        )?;
        if self.micro_batch < self.batch {
            writeln!(f, "  at once     {}", counted(self.micro_batch, "picture", "pictures"))?;
        }
        writeln!(f, "  step        {:.4} s, median of {}; fastest {:.4} s", self.seconds, self.steps, self.fastest)?;
        writeln!(f, "  images/s    {:.1}", self.images_per_second)?;
        write!(f, "  arithmetic  {:.1} GFLOP a step, {:.1} % of the peak", self.gflop, 100.0 * self.of_peak)?;
        match self.mfu {
            Some(mfu) => writeln!(f, ", MFU {:.1} %", 100.0 * mfu)?,
            None => writeln!(f)?,
        }
        if let Some(memory) = self.memory {
            writeln!(f, "  memory      {} on the device", format_bytes(memory))?;
        }
        if !self.operations.is_empty() {
            writeln!(
                f,
                "\n  {:22} {:>5} {:>12} {:>12} {:>10} {:>7}",
                "operation", "calls", "forward ms", "+backward ms", "GFLOP/s", "share"
            )?;
        }
        for row in &self.operations {
            let rate = row.gflops.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
            writeln!(
                f,
                "  {:22} {:>5} {:>12.3} {:>12.3} {rate:>10} {:>5.1} %",
                row.name,
                row.calls,
                1e3 * row.forward,
                1e3 * row.both,
                100.0 * row.share
            )?;
        }
        Ok(())
    }
}
