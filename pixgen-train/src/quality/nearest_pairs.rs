//! Generated pictures beside the training pictures that are nearest to them: does the model draw, or does it remember?

use crate::config::RunConfig;
use crate::error::Error;
use crate::ops::Ops;
use crate::prepared;
use crate::sampling::{Drawing, Generator, Request};
use pixgen_edge::eval::nearest::nearest;
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::picture::Picture;

/// Seed of the noise, not one of those that runs sample with.
const SEED: u64 = 4_000_000;
/// Held-out pictures whose own distances are measured for comparison, at most.
const REAL: usize = 500;

/// A generated picture and its nearest.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Generated.
    pub picture: Picture,
    /// The class that was asked for.
    pub class: String,
    /// From the training pictures.
    pub nearest: Picture,
    /// Root mean square of the pixels' differences on the scale [0, 1].
    pub distance: f32,
}

/// Pairs, and what is usual between real pictures.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// One for each generated picture.
    pub pairs: Vec<Pair>,
    /// How they were drawn.
    pub how: String,
    /// Median distance of the pairs.
    pub median: Option<f32>,
    /// Median distance of held-out pictures from their nearest training picture, and their number.
    pub real: Option<(f32, usize)>,
}

/// Draws `count` pictures, the classes in turn, and finds their nearest training pictures; `None` for an encoder, which does not draw.
///
/// # Errors
/// If the run's data cannot be loaded, or are not those of the model.
pub fn pairs<B: Ops>(config: &RunConfig, file: &ModelFile, count: usize, device: &B::Device) -> Result<Option<Pairs>, Error> {
    let drawing = match file.header.content {
        Content::Encoder => return Ok(None),
        Content::Generator => Drawing::Consistency { steps: 1 },
        Content::Denoiser => Drawing::PREVIEW,
    };
    let (training, held_out, _) = prepared::load(&config.data, &config.model)?;
    let model = &file.header.model;
    if training.fingerprint() != file.header.data {
        return Err(Error::Argument { what: format!("{} has other pictures now", config.data.path), hint: None });
    }
    let classes: Vec<usize> = (0..count).map(|i| i % model.classes).collect();
    let wanted = Request { seed: SEED, first: 0, classes: &classes, drawing };
    let bytes = Generator::from(file).draw::<B>(&file.params, None, device, &wanted);
    let len = model.image_len();
    let (known, fresh) = (training.pixels()?, held_out.pixels()?);
    let found = nearest(&bytes, &known, len)?;
    let real_median = nearest(&fresh[..held_out.len().min(REAL) * len], &known, len)?.median();
    let originals: Vec<u8> = found.indices.iter().flat_map(|&index| &known[index * len..][..len]).copied().collect();
    let pictures = Picture::squares(&bytes, model.size, model.channels)?.into_iter();
    let nearest = Picture::squares(&originals, model.size, model.channels)?;
    let pairs = pictures.zip(nearest).zip(&found.distances).zip(&classes);
    let pairs = pairs.map(|(((picture, nearest), &distance), &class)| {
        let class = file.header.class_names.get(class).cloned().unwrap_or_default();
        Pair { picture, class, nearest, distance }
    });
    Ok(Some(Pairs {
        pairs: pairs.collect(),
        how: format!("seed {SEED}, {} evaluations each, average {}", drawing.evaluations(&file.header.noise), file.header.ema),
        median: found.median(),
        real: real_median.map(|median| (median, held_out.len().min(REAL))),
    }))
}
