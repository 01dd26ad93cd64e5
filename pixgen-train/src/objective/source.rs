//! Training pictures, normalised and in patch layout, as a function of images seen.

use crate::data::augment::{self, AugmentProfile, Scratch};
use crate::data::order::index_at;
use pixgen_core::config::ModelConfig;
use pixgen_core::patch::patchify;
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::data::{DataError, Dataset};
use rayon::prelude::*;

/// A data set as the objectives see it.
#[derive(Clone, Debug)]
pub struct BatchSource {
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

impl BatchSource {
    /// The picture at position `position` of the run.
    fn index(&self, seed: u64, position: u64) -> usize {
        index_at(seed, self.dataset.len(), position)
    }

    /// The pictures at positions `start..start + count`.
    fn indices(&self, seed: u64, start: u64, count: usize) -> Vec<usize> {
        (start..).take(count).map(|position| self.index(seed, position)).collect()
    }

    /// Calls `fill` for each of these pictures in parallel, with its part of each output. What is drawn for them is that of positions
    /// `start..`. Pictures that are not in memory are decoded there, by all threads.
    fn each<const N: usize>(
        &self,
        seed: u64,
        start: u64,
        indices: &[usize],
        outputs: [&mut [f32]; N],
        fill: impl Fn(&[u8], &mut Draws, &mut Scratch, [&mut [f32]; N]) + Sync,
    ) -> Result<(), DataError> {
        let mut pictures: Vec<Vec<&mut [f32]>> = indices.iter().map(|_| Vec::with_capacity(N)).collect();
        for output in outputs {
            let len = (output.len() / indices.len().max(1)).max(1);
            for (picture, piece) in pictures.iter_mut().zip(output.chunks_exact_mut(len)) {
                picture.push(piece);
            }
        }
        pictures
            .into_par_iter()
            .zip(indices)
            .enumerate()
            .try_for_each_init(Scratch::default, |scratch, (i, (pieces, &index))| {
                let mut draws = augment::draws_at(seed, start + i as u64);
                if let Ok(pieces) = pieces.try_into() {
                    let image = self.dataset.image(index)?;
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
        let indices = self.indices(seed, start, count);
        let x0 = self.pictures(config, seed, start, &indices)?;
        let classes = indices.iter().map(|&index| usize::from(self.dataset.labels[index])).collect();
        Ok(Batch { x0, classes })
    }

    /// These pictures of the data set, one after another in patch layout, flipped as those at positions `start..` of a run.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch).
    pub fn pictures(&self, config: &ModelConfig, seed: u64, start: u64, indices: &[usize]) -> Result<Vec<f32>, DataError> {
        let (len, shape) = (config.image_len(), self.dataset.shape);
        let mut x0 = vec![0.0; indices.len() * len];
        let table = self.normalisation.table();
        self.each(seed, start, indices, [&mut x0], |image, draws, _, [out]| {
            // Bytes are moved, which are a quarter of the floats.
            let mut patches = vec![0; len];
            patchify(config, &augment::flipped(&self.augment, shape, image, draws), &mut patches);
            for (out, pixel) in out.chunks_exact_mut(shape.channels).zip(patches.chunks_exact(shape.channels)) {
                for ((out, &byte), values) in out.iter_mut().zip(pixel).zip(&table) {
                    *out = values[usize::from(byte)];
                }
            }
        })?;
        Ok(x0)
    }

    /// Two augmented views and the plain picture of positions `start..start + count`: y1, y2, x0.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch).
    pub fn views(&self, config: &ModelConfig, seed: u64, start: u64, count: usize) -> Result<[Vec<f32>; 3], DataError> {
        let (len, shape) = (config.image_len(), self.dataset.shape);
        let [mut y1, mut y2, mut x0] = [0; 3].map(|_| vec![0.0; count * len]);
        let indices = self.indices(seed, start, count);
        self.each(seed, start, &indices, [&mut y1, &mut y2, &mut x0], |image, draws, scratch, outputs| {
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

#[cfg(test)]
mod tests {
    use super::super::test_source::MODEL;
    use super::*;
    use crate::data::prepare::{PictureFormat, PrepareOptions, prepare};
    use pixgen_edge::data::{DataPart, DataSpec, ImageShape, PixelStore, WHITE, load};

    /// The table and the bytes in patches give the normalised floats in patches, to the bit.
    #[test]
    fn bytes_in_patches_are_the_plain_picture() {
        let shape = ImageShape { height: 8, width: 8, channels: 3 };
        let model = ModelConfig { channels: 3, ..MODEL };
        let pixels = (0..20 * 192).map(|i| (i * 37 % 251) as u8).collect();
        let dataset = Dataset::new(shape, pixels, vec![0; 20], vec!["a".to_owned()], "test".to_owned()).expect("a data set");
        let source = BatchSource { dataset, normalisation: Normalisation::imagenet(), augment: AugmentProfile::moco_v3() };
        let batch = source.batch(&model, 3, 0, 40).expect("pictures");
        for (position, found) in (0..).zip(batch.x0.chunks_exact(192)) {
            let mut plain = vec![0.0; 192];
            let image = source.dataset.image(source.index(3, position)).expect("a picture");
            augment::plain(&source.augment, shape, &image, &mut augment::draws_at(3, position), &mut plain);
            source.normalisation.normalise_unit(3, &mut plain);
            let mut wanted = vec![0.0; 192];
            patchify(&model, &plain, &mut wanted);
            assert_eq!(found, wanted, "position {position}");
        }
    }

    /// From an archive, the same pictures in the same order as from memory, wherever a run begins.
    #[test]
    fn pictures_do_not_depend_on_where_they_are() {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let pixels = (0..30 * 64).map(|i| (i * 37 % 251) as u8).collect();
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let kept = Dataset::new(shape, pixels, (0..30).map(|i| i % 3).collect(), names, "test".to_owned()).expect("a data set");
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("data.zip");
        let options = PrepareOptions { out: out.clone(), format: PictureFormat::Png, shard_images: 1, skip_bad: false };
        prepare(&kept, &options, &mut |_| ()).expect("an archive");
        let spec = DataSpec {
            source: pixgen_edge::data::DataSource::Path(out),
            shape,
            background: WHITE,
            skip_bad: false,
            memory: PixelStore::Never,
            part: DataPart::Train,
            relabel: false,
        };
        let streamed = load(&spec).expect("a data set").dataset;
        let source = |dataset| BatchSource { dataset, normalisation: Normalisation::simple(), augment: AugmentProfile::moco_v3() };
        let (kept, streamed) = (source(kept), source(streamed));
        let batch = |source: &BatchSource, start, count| source.batch(&MODEL, 5, start, count).expect("pictures");
        let whole = batch(&kept, 0, 80);
        assert_eq!(batch(&streamed, 0, 80), whole);
        // On from the middle of the second epoch.
        let rest = batch(&streamed, 37, 43);
        assert_eq!((rest.x0.as_slice(), rest.classes.as_slice()), (&whole.x0[37 * 64..], &whole.classes[37..]));
        let views = |source: &BatchSource| source.views(&MODEL, 5, 11, 40).expect("pictures");
        assert_eq!(views(&streamed), views(&kept));
    }
}
