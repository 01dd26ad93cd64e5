//! Draws sets of pictures and measures each against the same reference: one set for every average and every weight of guidance.

use crate::distributed::Collective;
use crate::ops::FusedOps as Fused;
use crate::quality::error::QualityError;
use crate::quality::extractor::Extractor;
use crate::quality::npz::Npz;
use crate::quality::reference_set::{RealPictures, ReferenceOptions, ReferenceSet};
use crate::sampling::{BATCH, Drawing, Generator, SampleRequest};
use pixgen_edge::data::Dataset;
use pixgen_edge::eval::nearest::Nearest;
use pixgen_edge::eval::{EvalError, EvalRow, Subject};
use pixgen_edge::model_file::ModelFile;

/// How a set is drawn.
#[derive(Debug)]
pub struct SamplingOptions {
    /// Steps and guidance.
    pub drawing: Drawing,
    /// The weaker model of autoguidance.
    pub weak: Option<ModelFile>,
}

/// What is drawn, and what it is measured against.
pub struct Sweep<'a> {
    /// Name of the model, for people.
    pub source: &'a str,
    /// Averages of it.
    pub models: &'a [ModelFile],
    /// A set is drawn in each of these ways.
    pub sampling: &'a [SamplingOptions],
    /// Seed of the noise, the same for all sets.
    pub seed: u64,
    /// Pictures that the model learned from.
    pub training: &'a Dataset,
    /// Pictures that it did not learn from.
    pub held_out: &'a Dataset,
    /// Pictures of a set, and how they are measured.
    pub reference: ReferenceOptions,
    /// A reference file, with its name, in place of the training pictures.
    pub published: Option<(&'a str, Npz)>,
    /// Those who draw together.
    pub ranks: Collective,
}

/// A measured set with its pictures.
#[derive(Debug)]
pub struct EvaluatedSet {
    /// Its metrics and what they depend on.
    pub row: EvalRow,
    /// Pictures, bytes H W C, one after another.
    pub pictures: Vec<u8>,
    /// The nearest training picture of each, by pixels.
    pub nearest: Option<Nearest>,
}

impl Sweep<'_> {
    /// Draws every set on a device and measures it. Classes are asked for as often as the training pictures have them. `drawn` gets the
    /// number of pictures drawn of a set, and of all of it: 0 first, all of them last.
    ///
    /// # Errors
    /// Those of [`ReferenceSet::new`] and [`ReferenceSet::measure`], and pictures that cannot be read.
    pub fn run<B: Fused>(
        self,
        extractor: Extractor,
        device: &B::Device,
        drawn: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<EvaluatedSet>, QualityError> {
        let Self { source, models, sampling, seed, training, held_out, reference, published, ranks } = self;
        let (known, fresh) = (training.pixels().map_err(EvalError::from)?, held_out.pixels().map_err(EvalError::from)?);
        let real = RealPictures {
            name: &training.source,
            shape: training.shape,
            training: &known,
            labels: &training.labels,
            held_out: &fresh,
            held_out_labels: &held_out.labels,
            class_names: &training.class_names,
        };
        let classes = proportional(&training.class_counts(), reference.n);
        let asked: Vec<u16> = classes.iter().map(|&class| class as u16).collect();
        let reference = ReferenceSet::new(extractor, real, reference, published)?;
        let mut sets = Vec::new();
        for file in models {
            for SamplingOptions { drawing, weak } in sampling {
                let mut generator = Generator::from(file).load::<B>(&file.params, weak.as_ref(), device);
                let mut pictures = Vec::with_capacity(classes.len() * training.shape.len());
                drawn(0, classes.len());
                let parts: Vec<&[usize]> = classes.chunks(BATCH).collect();
                let draw = |part: usize| {
                    let first = (part * BATCH) as u64;
                    generator.draw(&SampleRequest { seed, first, classes: parts[part], drawing: *drawing })
                };
                ranks.in_turns(parts.len(), draw, |_, bytes| {
                    pictures.extend(bytes);
                    drawn(pictures.len() / training.shape.len(), classes.len());
                    Ok::<(), QualityError>(())
                })?;
                let measured = reference.measure(&pictures, Some(&asked))?;
                let subject = Subject {
                    source: source.to_owned(),
                    ema: Some(file.header.ema.clone()),
                    images_seen: Some(file.header.images),
                    arithmetic: Some("f32"),
                    seed: Some(seed),
                    evaluations: Some(drawing.evaluations(&file.header.noise)),
                    guidance: guidance_weight(drawing),
                };
                let row = reference.row(subject, &measured, Some(&asked));
                sets.push(EvaluatedSet { row, pictures, nearest: measured.nearest });
            }
        }
        Ok(sets)
    }
}

/// The weight of guidance: 1 for none, and nothing for models that take none.
fn guidance_weight(drawing: &Drawing) -> Option<f64> {
    match drawing {
        Drawing::Consistency { .. } => None,
        Drawing::Diffusion { guidance, .. } => Some(guidance.map_or(1.0, |guidance| guidance.weight)),
    }
}

/// `count` classes as often as `real` has them, so that a distance does not tell other frequencies; any first part of them too.
pub fn proportional(real: &[usize], count: usize) -> Vec<usize> {
    let total: usize = real.iter().sum();
    let mut given = vec![0usize; real.len()];
    (1..=count)
        .map(|drawn| {
            // The class that is the farthest behind; the first among equals.
            let behind = |class: usize| real[class] as i128 * drawn as i128 - given[class] as i128 * total as i128;
            let class = (0..real.len()).rev().max_by_key(|&class| behind(class)).unwrap_or(0);
            given[class] += 1;
            class
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_as_often_as_in_the_data() {
        assert_eq!(proportional(&[7, 7, 7], 7), [0, 1, 2, 0, 1, 2, 0]);
        let classes = proportional(&[600, 300, 100, 0], 50);
        let count = |class: usize| classes.iter().filter(|&&c| c == class).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [30, 15, 5, 0]);
        assert_eq!(proportional(&[5], 3), [0; 3]);
        assert!(proportional(&[1, 1], 0).is_empty());
    }
}
