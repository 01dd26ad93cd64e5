//! Generated pictures beside the training pictures that are nearest to them: does the model draw, or does it remember?

use crate::ops::FusedOps as Fused;
use crate::quality::error::QualityError;
use crate::sampling::{Drawing, Generator, SampleRequest};
use pixgen_edge::data::Dataset;
use pixgen_edge::eval::EvalError;
use pixgen_edge::eval::nearest::nearest;
use pixgen_edge::eval::sample::pick;
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::picture::Picture;
use pixgen_edge::units::counted;

/// Seed of the noise, not one of those that runs sample with.
const SEED: u64 = 4_000_000;
/// Held-out pictures whose own distances are measured for comparison, at most.
const REAL: usize = 500;

/// A generated picture and its nearest.
#[derive(Clone, Debug)]
pub struct NearestPair {
    /// Generated.
    pub picture: Picture,
    /// The class that was asked for.
    pub class: String,
    /// From the training pictures.
    pub nearest: Picture,
    /// Root mean square of the pixels' differences on the scale [0, 1].
    pub distance: f32,
}

/// Pictures beside their nearest training pictures, and the distance that is usual between real pictures.
#[derive(Clone, Debug)]
pub struct NearestPairs {
    /// One for each generated picture.
    pub pairs: Vec<NearestPair>,
    /// How they were drawn.
    pub how: String,
    /// Median distance of the pairs.
    pub median: Option<f32>,
    /// Median distance of held-out pictures from their nearest training picture, and their number.
    pub real: Option<(f32, usize)>,
}

/// Draws `count` pictures on a device, the classes in turn, and finds their nearest training pictures; `None` for an encoder, which does
/// not draw.
///
/// # Errors
/// Pictures that cannot be read, or of another shape than the model's.
pub fn nearest_pairs<B: Fused>(
    file: &ModelFile,
    training: &Dataset,
    held_out: &Dataset,
    count: usize,
    device: &B::Device,
) -> Result<Option<NearestPairs>, QualityError> {
    let drawing = match file.header.content {
        Content::Encoder => return Ok(None),
        Content::Generator => Drawing::Consistency { steps: 1 },
        Content::Denoiser => Drawing::PREVIEW,
    };
    let model = &file.header.model;
    let classes: Vec<usize> = (0..count).map(|i| i % model.classes).collect();
    let request = SampleRequest { seed: SEED, first: 0, classes: &classes, drawing };
    let bytes = Generator::from(file).draw::<B>(&file.params, None, device, &request);
    let len = model.image_len();
    let (known, fresh) = (training.pixels().map_err(EvalError::from)?, held_out.pixels().map_err(EvalError::from)?);
    let found = nearest(&bytes, &known, len)?;
    let real = held_out.len().min(REAL);
    let real_median = nearest(&fresh[..real * len], &known, len)?.median();
    let originals = pick(&known, &found.indices, len);
    let pictures = Picture::squares(&bytes, model.size, model.channels)?.into_iter();
    let nearest = Picture::squares(&originals, model.size, model.channels)?;
    let pairs = pictures.zip(nearest).zip(&found.distances).zip(&classes);
    let pairs = pairs.map(|(((picture, nearest), &distance), &class)| {
        let class = file.header.class_names.get(class).cloned().unwrap_or_default();
        NearestPair { picture, class, nearest, distance }
    });
    let evaluations = counted(drawing.evaluations(&file.header.noise) as usize, "evaluation", "evaluations");
    Ok(Some(NearestPairs {
        pairs: pairs.collect(),
        how: format!("seed {SEED}, {evaluations} each, average {}", file.header.ema),
        median: found.median(),
        real: real_median.map(|median| (median, real)),
    }))
}
