//! How good the pictures of a quick start are, by what is on this machine already.

use crate::cache;
use crate::distributed::Collective;
use crate::error::Error;
use crate::prepared::Prepared;
use crate::quality::sweep::{SamplingOptions, Sweep, proportional};
use crate::quality::{Extractor, FeatureNetwork, FeatureRecipe, ReferenceOptions};
use crate::sampling::{Drawing, Generator, SampleRequest};
use crate::training::Engine;
use pixgen_edge::data::Dataset;
use pixgen_edge::eval::EvalReport;
use pixgen_edge::eval::nearest::nearest;
use pixgen_edge::eval::sample::{RealSample, pick};
use pixgen_edge::model_file::ModelFile;
use serde::Serialize;
use std::fmt;

/// One-step pictures that are measured.
const MEASURED: usize = 1000;
/// Their seed: none that training or a grid uses.
const SEED: u64 = 1_000_000;

/// What was measured.
#[derive(Serialize)]
pub(super) struct QuickstartQuality {
    /// Schema, and one row; none without a network whose features tell.
    #[serde(flatten)]
    report: EvalReport,
    /// Without that network.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<NearestDistances>,
}

/// Median distances to the nearest training picture, root mean square of pixels on [0, 1].
#[derive(Serialize)]
struct NearestDistances {
    n: usize,
    generated: f32,
    /// Of pictures that were held out.
    real: f32,
}

impl QuickstartQuality {
    /// Measures pictures that the model draws in one step: by the project's classifier, or by EfficientNet-Lite0 if its weights were fetched.
    pub fn new<B: Engine>(source: &str, file: &ModelFile, prepared: &Prepared, device: &B::Device) -> Result<Self, Error> {
        let Some(extractor) = extractor(&prepared.training)? else {
            return Ok(Self {
                report: EvalReport::new(Vec::new()),
                nearest: Some(NearestDistances::new::<B>(file, prepared, device)?),
            });
        };
        let sampling = [SamplingOptions { drawing: Drawing::Consistency { steps: 1 }, weak: None }];
        let sweep = Sweep {
            source,
            models: std::slice::from_ref(file),
            sampling: &sampling,
            seed: SEED,
            training: &prepared.training,
            held_out: &prepared.held_out,
            reference: ReferenceOptions::new(MEASURED),
            published: None,
            ranks: Collective::default(),
        };
        let sets = sweep.run::<B>(extractor, device, &mut |_, _| ())?;
        Ok(Self { report: EvalReport::new(sets.into_iter().map(|set| set.row).collect()), nearest: None })
    }

    /// Whether a network is missing.
    pub fn is_partial(&self) -> bool {
        self.nearest.is_some()
    }
}

/// A network that knows these pictures.
fn extractor(pictures: &Dataset) -> Result<Option<Extractor>, Error> {
    let usual = FeatureNetwork::usual(pictures.shape, &pictures.class_names);
    if usual == FeatureNetwork::Fashion {
        return Ok(Some(Extractor::fashion()?));
    }
    let weights = cache::efficientnet_lite0();
    if !weights.exists() {
        return Ok(None);
    }
    Ok(Some(Extractor::load(FeatureRecipe::new(usual, None, None, None)?, &weights)?))
}

impl NearestDistances {
    fn new<B: Engine>(file: &ModelFile, prepared: &Prepared, device: &B::Device) -> Result<Self, Error> {
        let Prepared { training, held_out, .. } = prepared;
        let classes = proportional(&training.class_counts(), MEASURED);
        let wanted = SampleRequest { seed: SEED, first: 0, classes: &classes, drawing: Drawing::Consistency { steps: 1 } };
        let drawn = Generator::from(file).draw::<B>(&file.params, None, device, &wanted);
        let known = training.pixels()?;
        let length = training.shape.len();
        let real = RealSample::new(MEASURED, held_out.len(), training.len(), false);
        let real = pick(&held_out.pixels()?, &real.held_out, length);
        let median = |pictures: &[u8]| Ok::<_, Error>(nearest(pictures, &known, length)?.median().unwrap_or_default());
        Ok(Self { n: MEASURED, generated: median(&drawn)?, real: median(&real)? })
    }
}

impl fmt::Display for QuickstartQuality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(NearestDistances { n, generated, real }) = &self.nearest else {
            return self.report.fmt(f);
        };
        write!(
            f,
            "nearest     {generated:.4} to the nearest training picture (median of {n}, root mean square of pixels), {real:.4} from pictures held out"
        )
    }
}
