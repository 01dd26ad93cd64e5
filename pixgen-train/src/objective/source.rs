//! Training pictures, normalised and in patch layout, as a function of images seen.

use crate::data::augment::{self, AugmentProfile, Scratch};
use crate::data::normalise::Normalisation;
use crate::data::order::index_at;
use crate::data::{DataError, Dataset};
use pixgen_core::config::ModelConfig;
use pixgen_core::patch::patchify;
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use rayon::prelude::*;

/// A data set as the objectives see it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Pictures at the model's resolution.
    pub dataset: Dataset,
    /// Bytes to network values.
    pub normalisation: Normalisation,
    /// Augmentation of stage 1; its `flip` also holds for stage 2.
    pub augment: AugmentProfile,
}

/// Pictures of a step, `[B, N_p, p*p*C]`, and their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Un-augmented pictures, but for the flip.
    pub x0: Vec<f32>,
    /// Classes.
    pub classes: Vec<usize>,
}

impl Source {
    /// The picture at position `position` of the run.
    fn index(&self, seed: u64, position: u64) -> usize {
        index_at(seed, self.dataset.len(), position)
    }

    /// Calls `fill` for each picture of a step in parallel, with its part of each output. Pictures that are not in memory are decoded
    /// there, by all threads.
    fn each<const N: usize>(
        &self,
        seed: u64,
        start: u64,
        len: usize,
        outputs: [&mut [f32]; N],
        fill: impl Fn(&[u8], &mut Draws, &mut Scratch, [&mut [f32]; N]) + Sync,
    ) -> Result<(), DataError> {
        let count = outputs[0].len() / len;
        let mut pictures: Vec<Vec<&mut [f32]>> = (0..count).map(|_| Vec::with_capacity(N)).collect();
        for output in outputs {
            for (picture, piece) in pictures.iter_mut().zip(output.chunks_exact_mut(len)) {
                picture.push(piece);
            }
        }
        pictures
            .into_par_iter()
            .enumerate()
            .try_for_each_init(Scratch::default, |scratch, (i, pieces)| {
                let position = start + i as u64;
                let mut draws = augment::draws_at(seed, position);
                if let Ok(pieces) = pieces.try_into() {
                    let image = self.dataset.image(self.index(seed, position))?;
                    fill(&image, &mut draws, scratch, pieces);
                }
                Ok(())
            })
    }

    /// The pictures at positions `start..start + count`.
    ///
    /// # Errors
    /// A picture that cannot be read ([`Dataset::image`]).
    pub fn batch(&self, config: &ModelConfig, seed: u64, start: u64, count: usize) -> Result<Batch, DataError> {
        let (len, shape) = (config.image_len(), self.dataset.shape);
        let mut x0 = vec![0.0; count * len];
        self.each(seed, start, len, [&mut x0], |image, draws, _, [out]| {
            let mut plain = vec![0.0; len];
            augment::plain(&self.augment, shape, image, draws, &mut plain);
            self.normalisation.normalise_unit(shape.channels, &mut plain);
            patchify(config, &plain, out);
        })?;
        let classes = (0..count as u64)
            .map(|i| usize::from(self.dataset.labels[self.index(seed, start + i)]))
            .collect();
        Ok(Batch { x0, classes })
    }

    /// Two augmented views and the plain picture of positions `start..start + count`: y1, y2, x0.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch).
    pub fn views(&self, config: &ModelConfig, seed: u64, start: u64, count: usize) -> Result<[Vec<f32>; 3], DataError> {
        let (len, shape) = (config.image_len(), self.dataset.shape);
        let [mut y1, mut y2, mut x0] = [0; 3].map(|_| vec![0.0; count * len]);
        self.each(seed, start, len, [&mut y1, &mut y2, &mut x0], |image, draws, scratch, outputs| {
            let mut rows = [0; 3].map(|_| vec![0.0; len]);
            let [first, second, plain] = &mut rows;
            augment::views(&self.augment, shape, image, draws, first, second, scratch);
            augment::plain(&self.augment, shape, image, draws, plain);
            for (rows, out) in rows.iter_mut().zip(outputs) {
                self.normalisation.normalise_unit(shape.channels, rows);
                patchify(config, rows, out);
            }
        })?;
        Ok([y1, y2, x0])
    }

    /// eps for positions `start..`, one picture after another, in patch layout.
    pub fn noise(config: &ModelConfig, seed: u64, start: u64, count: usize) -> Vec<f32> {
        let len = config.image_len();
        let mut eps = vec![0.0; count * len];
        eps.par_chunks_exact_mut(len).enumerate().for_each(|(i, out)| {
            Rng::new(seed, stream(Purpose::TrainingNoise, start + i as u64)).fill_gaussian(0, out);
        });
        eps
    }
}
