//! How fast pictures come from their files: reading and decoding as training does it, beside the decoder alone on the same bytes.
//!
//! Everything takes turns in every round, in one order and then in the other, so that a machine that others use too slows all of it alike.

use super::median;
use crate::config::{RunConfig, StageKind};
use crate::data::order::index_at;
use crate::error::Error;
use crate::objective::BatchSource;
use crate::precision::Precision;
use crate::roofline::gpu::gpu;
use crate::roofline::report::{RooflineReport, RooflineRequest, RooflineStage};
use pixgen_core::config::ModelConfig;
use pixgen_core::presets::Preset;
use pixgen_edge::data::{self, BadFile, DataError, DataPart, DataSpec, Dataset, ImageShape, PixelStore, WHITE, decode_plainly};
use pixgen_edge::terminal::printable;
use pixgen_edge::units::counted;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// Seed of the order.
const SEED: u64 = 1;
/// Pictures that become a batch together.
const BATCH: usize = 256;
/// The machine whose need is shown: GPU, and how many.
const NEED: (&str, usize) = ("h100", 8);

/// A kind of work on pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// The decoder library alone, on files in memory.
    Decoder,
    /// From files to pixels at the model's size.
    Read,
    /// From files to a batch of stage 2: also the flip, normalisation and patches.
    Batch,
    /// The same from pixels in memory.
    BatchFromMemory,
    /// From files to a batch of stage 1: two views and the picture.
    Views,
    /// The same from pixels in memory.
    ViewsFromMemory,
}

impl Work {
    const ALL: [Self; 6] = [
        Self::Decoder,
        Self::Read,
        Self::Batch,
        Self::BatchFromMemory,
        Self::Views,
        Self::ViewsFromMemory,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Decoder => "decoder alone, files in memory",
            Self::Read => "reading and decoding",
            Self::Batch => "batches of stage 2",
            Self::BatchFromMemory => "  of pixels in memory",
            Self::Views => "batches of stage 1",
            Self::ViewsFromMemory => "  of pixels in memory",
        }
    }
}

/// The speed of a kind of work.
#[derive(Clone, Debug, Serialize)]
pub struct WorkSpeed {
    /// What.
    pub work: Work,
    /// Median over the rounds.
    pub images_per_second: f64,
    /// Median over the rounds of the speed over the decoder's in the same round.
    pub of_decoder: f64,
}

/// What training needs at most.
#[derive(Clone, Debug, Serialize)]
pub struct Need {
    /// Stage.
    pub stage: StageKind,
    /// Pictures a second on all GPUs.
    pub images_per_second: f64,
    /// Threads like those of this measurement.
    pub threads: f64,
}

/// What `data bench` prints.
#[derive(Clone, Debug, Serialize)]
pub struct DataBenchReport {
    /// Version of these keys.
    pub schema: u32,
    /// The data.
    pub source: String,
    /// Pictures in them.
    pub pictures: usize,
    /// Pictures of a round.
    pub measured: usize,
    /// Rounds.
    pub rounds: usize,
    /// Bytes of a file on average.
    pub bytes: f64,
    /// The model.
    pub preset: String,
    /// Its pictures.
    pub shape: String,
    /// Threads.
    pub threads: usize,
    /// Speeds.
    pub rows: Vec<WorkSpeed>,
    /// GPUs of the need.
    pub gpus: usize,
    /// Their kind.
    pub device: &'static str,
    /// Need by stage.
    pub needs: Vec<Need>,
}

/// What is read, in the order of training, and the same pictures in memory.
struct Bench {
    model: ModelConfig,
    streamed: Dataset,
    /// Places in the data of the pictures that are measured.
    indices: Vec<usize>,
    /// Their files.
    files: Vec<Vec<u8>>,
    /// Batches of stage 2 and views of stage 1, from files and from pixels in memory.
    batches: [BatchSource; 2],
    views: [BatchSource; 2],
}

impl Bench {
    /// The first `pictures` positions of a run.
    fn open(source: &data::DataSource, preset: &Preset, pictures: usize) -> Result<Self, Error> {
        let model = preset.model;
        let shape = ImageShape { height: model.size, width: model.size, channels: model.channels };
        let listing = data::list(source)?;
        let spec = DataSpec {
            source: source.clone(),
            shape,
            background: WHITE,
            skip_bad: false,
            memory: PixelStore::Never,
            part: DataPart::Train,
            relabel: false,
        };
        let streamed = data::load(&spec)?.dataset;
        let pictures = pictures.min(streamed.len());
        let indices: Vec<usize> = (0..pictures as u64).map(|position| index_at(SEED, streamed.len(), position)).collect();
        let read = |&index: &usize| {
            let mut bytes = Vec::new();
            listing.read(index, &mut bytes).map(|()| bytes)
        };
        let files: Result<Vec<_>, BadFile> = indices.par_iter().map(read).collect();
        let files = files.map_err(DataError::from)?;
        let pixels = |&index: &usize| streamed.image(index).map(|pixels| pixels.into_owned());
        let pixels: Result<Vec<_>, BadFile> = indices.par_iter().map(pixels).collect();
        let labels = indices.iter().map(|&index| streamed.labels[index]).collect();
        // What is measured is a data set of its own, so that its pixels are in the memory for comparison.
        let pixels = pixels.map_err(DataError::from)?.concat();
        let kept = Dataset::new(shape, pixels, labels, streamed.class_names.clone(), streamed.source.clone())?;
        let sources = |stage| -> Result<[BatchSource; 2], DataError> {
            let config = RunConfig::defaults(stage, preset);
            let normalisation = config.normalisation(&kept)?;
            let source = |dataset: &Dataset| BatchSource { dataset: dataset.clone(), normalisation, augment: config.augment.clone() };
            Ok([source(&streamed), source(&kept)])
        };
        let (batches, views) = (sources(StageKind::Consistency)?, sources(StageKind::Pretrain)?);
        Ok(Self { model, streamed, indices, files, batches, views })
    }

    /// Pictures a second.
    fn run(&self, work: Work) -> Result<f64, DataError> {
        let pictures = self.indices.len();
        let each_batch = |make: &dyn Fn(u64, usize) -> Result<(), DataError>| {
            (0..pictures)
                .step_by(BATCH)
                .try_for_each(|start| make(start as u64, BATCH.min(pictures - start)))
        };
        let batches = |of: &BatchSource| each_batch(&|start, count| of.batch(&self.model, SEED, start, count).map(drop));
        let views = |of: &BatchSource| each_batch(&|start, count| of.views(&self.model, SEED, start, count).map(drop));
        let started = Instant::now();
        match work {
            Work::Decoder => drop(self.files.par_iter().map(|bytes| decode_plainly(bytes)).collect::<Vec<_>>()),
            Work::Read => self.indices.par_iter().try_for_each(|&index| self.streamed.image(index).map(drop))?,
            Work::Batch => batches(&self.batches[0])?,
            Work::BatchFromMemory => batches(&self.batches[1])?,
            Work::Views => views(&self.views[0])?,
            Work::ViewsFromMemory => views(&self.views[1])?,
        }
        Ok(pictures as f64 / started.elapsed().as_secs_f64())
    }

    /// All kinds of work in turn, in one order and then in the other.
    fn rounds(&self, rounds: usize) -> Result<Vec<WorkSpeed>, DataError> {
        let mut speeds = vec![Vec::with_capacity(rounds); Work::ALL.len()];
        for round in 0..=rounds {
            let mut order: Vec<usize> = (0..Work::ALL.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let speed = self.run(Work::ALL[at])?;
                // The first round warms up.
                if round > 0 {
                    speeds[at].push(speed);
                }
            }
        }
        let speed = |(work, of): (&Work, &Vec<f64>)| WorkSpeed {
            work: *work,
            images_per_second: median(of.clone()),
            of_decoder: median(of.iter().zip(&speeds[0]).map(|(speed, decoder)| speed / decoder).collect()),
        };
        Ok(Work::ALL.iter().zip(&speeds).map(speed).collect())
    }
}

/// What training needs at most, on threads that do the work at these speeds.
fn needs(preset: &'static Preset, rows: &[WorkSpeed], threads: usize) -> Vec<Need> {
    let (name, gpus) = NEED;
    let Some(gpu) = gpu(name) else { return Vec::new() };
    let report = RooflineReport::new(&RooflineRequest {
        preset,
        gpu,
        precision: Precision::Bf16,
        batch: None,
        micro_batch: None,
        recompute: false,
        efficiency: 1.0,
        gpus,
        cluster: None,
    });
    let per_thread = |work: Work| rows.iter().find(|row| row.work == work).map_or(f64::NAN, |row| row.images_per_second) / threads as f64;
    let need = |stage: &RooflineStage| {
        let work = if stage.stage == StageKind::Pretrain {
            Work::Views
        } else {
            Work::Batch
        };
        let images_per_second = stage.images_per_second * gpus as f64;
        Need { stage: stage.stage, images_per_second, threads: images_per_second / per_thread(work) }
    };
    report.stages.iter().map(need).collect()
}

/// Measures `rounds` rounds on the first `pictures` positions of a run.
///
/// # Errors
/// Data without image files, and a bad file among those that are read.
pub fn measure(source: &data::DataSource, preset: &'static Preset, pictures: usize, rounds: usize) -> Result<DataBenchReport, Error> {
    let bench = Bench::open(source, preset, pictures)?;
    let rows = bench.rounds(rounds)?;
    let threads = rayon::current_num_threads();
    let (device, gpus) = NEED;
    Ok(DataBenchReport {
        schema: 1,
        source: bench.streamed.source.clone(),
        pictures: bench.streamed.len(),
        measured: bench.indices.len(),
        rounds,
        bytes: bench.files.iter().map(|bytes| bytes.len() as f64).sum::<f64>() / bench.files.len().max(1) as f64,
        preset: preset.name.to_owned(),
        shape: bench.streamed.shape.to_string(),
        threads,
        needs: needs(preset, &rows, threads),
        rows,
        gpus,
        device,
    })
}

impl fmt::Display for DataBenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "source    {}: {} pictures, {:.1} kB a file", printable(&self.source), self.pictures, self.bytes / 1e3)?;
        writeln!(
            f,
            "measured  {} pictures for {} ({}) on {}, median of {}",
            self.measured,
            self.preset,
            self.shape,
            counted(self.threads, "thread", "threads"),
            counted(self.rounds, "round", "rounds")
        )?;
        writeln!(f, "\n{:<32} {:>9} {:>16}", "", "images/s", "of the decoder")?;
        for row in &self.rows {
            writeln!(f, "{:<32} {:>9.0} {:>14.1} %", row.work.label(), row.images_per_second, 100.0 * row.of_decoder)?;
        }
        writeln!(f, "\n{} x {} in bf16 at published peaks (bench --roofline {1}) would need", self.gpus, self.device)?;
        for need in &self.needs {
            let stage = need.stage.label();
            writeln!(f, "{stage:<32} {:>9.0}   from {:.0} threads like these", need.images_per_second, need.threads.ceil())?;
        }
        Ok(())
    }
}
