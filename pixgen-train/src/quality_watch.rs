//! Quality during training: distances of a few pictures of the exported average, now and then. Nothing of the training depends on it.

use crate::config::{RunConfig, Stage};
use crate::prepared::Prepared;
use crate::quality::sweep::proportional;
use crate::quality::{Distances, Extractor, QualityError, QualityMonitor, ReferenceOptions};
use crate::run::{RunError, RunFolder};
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::training::Engine;
use pixgen_edge::file_error::FileError;
use pixgen_edge::interrupt::Interrupt;
use serde::{Deserialize, Serialize};
use std::io;

/// Seed of the measured pictures: none that grids use.
const SEED: u64 = 1_000_000;
/// Pictures that are drawn between two looks at the interrupt.
const SLICE: usize = 250;

/// Measures a run while it trains.
pub struct QualityWatch {
    monitor: QualityMonitor,
    /// A class for each picture, as often as the data have it.
    classes: Vec<usize>,
    drawing: Drawing,
    /// The lowest Fréchet distance so far.
    best: Option<f64>,
}

/// The field `quality` of a line of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityLine {
    /// Fréchet distance; none if it is not finite.
    pub fd: Option<f64>,
    /// Kernel distance; likewise.
    pub kd: Option<f64>,
    /// Pictures.
    pub count: usize,
}

/// How a run draws while it trains; nothing in stage 1.
pub fn preview(config: &RunConfig) -> Option<Drawing> {
    match config.stage {
        Stage::Pretrain(_) => None,
        Stage::Diffusion(_) => Some(Drawing::PREVIEW),
        Stage::Consistency(_) | Stage::Drift(_) => Some(Drawing::Consistency { steps: 1 }),
    }
}

impl QualityWatch {
    /// Whether a run that measures itself has the weights that it needs, before its folder is made.
    ///
    /// # Errors
    /// Weights of the network that were not fetched.
    pub fn check(prepared: &Prepared) -> Result<(), QualityError> {
        if preview(&prepared.config).is_some() && prepared.config.quality.every > 0 {
            let training = &prepared.training;
            Extractor::usual(training.shape, &training.class_names)?;
        }
        Ok(())
    }

    /// For a run that measures itself; the best so far is that of its log.
    ///
    /// # Errors
    /// Weights of the network that were not fetched, pictures that cannot be read, and a log that cannot.
    pub fn new(prepared: &Prepared, folder: &RunFolder) -> Result<Option<Self>, crate::error::Error> {
        let settings = &prepared.config.quality;
        let Some(drawing) = preview(&prepared.config).filter(|_| settings.every > 0) else {
            return Ok(None);
        };
        let training = &prepared.training;
        let extractor = Extractor::usual(training.shape, &training.class_names)?;
        let monitor = QualityMonitor::new(extractor, training, ReferenceOptions::new(settings.count).reference)?;
        let classes = proportional(&training.class_counts(), settings.count);
        Ok(Some(Self { monitor, classes, drawing, best: best_of(folder, settings.count)? }))
    }

    /// Draws pictures and measures them; nothing if someone asked to stop meanwhile.
    ///
    /// # Errors
    /// Those of [`QualityMonitor::measure`].
    pub fn measure<B: Engine>(
        &self,
        generator: &Generator<'_>,
        params: &[f32],
        device: &B::Device,
        interrupt: &Interrupt,
    ) -> Result<Option<QualityLine>, QualityError> {
        let mut generator = generator.load::<B>(params, None, device);
        let mut pictures = Vec::new();
        for (first, classes) in (0..).step_by(SLICE).zip(self.classes.chunks(SLICE)) {
            let request = SampleRequest { seed: SEED, first, classes, drawing: self.drawing };
            pictures.extend(generator.draw(&request));
            if interrupt.requested() {
                return Ok(None);
            }
        }
        let Distances { pictures: count, frechet, kernel } = self.monitor.measure(&pictures)?;
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Ok(Some(QualityLine { fd: finite(frechet), kd: finite(kernel), count }))
    }

    /// Whether the pictures are nearer than all before; they are then the best so far.
    pub fn is_best(&mut self, line: &QualityLine) -> bool {
        let better = line.fd.is_some_and(|fd| self.best.is_none_or(|best| fd < best));
        if better {
            self.best = line.fd;
        }
        better
    }
}

/// The lowest distance of `count` pictures in the log of a run. Distances of other counts are biased in another way.
fn best_of(folder: &RunFolder, count: usize) -> Result<Option<f64>, RunError> {
    #[derive(Deserialize)]
    struct Line {
        quality: Option<QualityLine>,
    }
    let path = folder.metrics();
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(FileError::read(&path))?,
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()?.quality);
    let distances = lines.filter(|line| line.count == count).filter_map(|line| line.fd);
    Ok(distances.min_by(f64::total_cmp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_a_log_is_found_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(parent.path()).unwrap();
        assert_eq!(best_of(&folder, 100).unwrap(), None);
        let log = "{\"images\":1,\"loss\":2.0}\n\
            {\"images\":2,\"quality\":{\"fd\":7.5,\"kd\":0.1,\"count\":100}}\n\
            {\"images\":3,\"quality\":{\"fd\":3.5,\"kd\":null,\"count\":100}}\n\
            {\"images\":4,\"quality\":{\"fd\":null,\"kd\":null,\"count\":100}}\n\
            {\"images\":5,\"quality\":{\"fd\":1.5,\"kd\":0.1,\"count\":5000}}\n";
        std::fs::write(folder.metrics(), log).unwrap();
        assert_eq!(best_of(&folder, 100).unwrap(), Some(3.5));
        assert_eq!(best_of(&folder, 5000).unwrap(), Some(1.5));
        assert_eq!(best_of(&folder, 50).unwrap(), None, "more pictures are nearer however they look");
    }
}
