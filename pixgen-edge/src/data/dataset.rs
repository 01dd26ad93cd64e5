//! Images and labels at the training resolution.

use std::borrow::Cow;

use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};

use crate::data::error::{BadFile, DataError};
use crate::data::passed::PassedOver;
use crate::data::pictures::ImageStore;
use crate::data::resize;
use crate::data::shape::ImageShape;

/// Seed of the split into training and held-out pictures: the same for every run, so that a picture that one stage or seed kept out
/// is never seen by another.
pub const SPLIT_SEED: u64 = 0;

/// Labelled images at the training resolution: pixels in memory, or files that are decoded when their turn comes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Size of every image.
    pub shape: ImageShape,
    /// The class of each image, below `class_names.len()`.
    pub labels: Vec<u16>,
    /// Names of the classes, at least one.
    pub class_names: Vec<String>,
    /// Where the images come from, for people.
    pub source: String,
    pictures: ImageStore,
    /// What is known of the content of each image without decoding it; of pixels that never were files, nothing.
    marks: Option<Vec<u32>>,
    /// What lay beside the images and was not used.
    passed: PassedOver,
}

impl Dataset {
    /// Puts a data set of pixels, one image after another, each H W C, together and refuses parts that do not fit.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>, source: String) -> Result<Self, DataError> {
        Self::from_parts(shape, ImageStore::Memory(pixels), labels, class_names, source, None)
    }

    /// The same of pictures that may be files, with what is known of each.
    pub(crate) fn from_parts(
        shape: ImageShape,
        pictures: ImageStore,
        labels: Vec<u16>,
        class_names: Vec<String>,
        source: String,
        marks: Option<Vec<u32>>,
    ) -> Result<Self, DataError> {
        shape.check()?;
        let fault = if labels.is_empty() {
            Some("there is no image".to_string())
        } else if let ImageStore::Memory(pixels) = &pictures
            && labels.len().checked_mul(shape.len()) != Some(pixels.len())
        {
            Some(format!("{} bytes of pixels for {} images of {shape}", pixels.len(), labels.len()))
        } else {
            let beyond = |&label: &u16| usize::from(label) >= class_names.len();
            labels
                .iter()
                .position(beyond)
                .map(|index| format!("image {index} has label {} of {} classes", labels[index], class_names.len()))
        };
        match fault {
            Some(what) => Err(DataError::Inconsistent { name: source, what }),
            None => Ok(Self { shape, labels, class_names, source, pictures, marks, passed: PassedOver::default() }),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Image `index` as H W C bytes, decoded now if it is not in memory.
    ///
    /// # Errors
    /// A file that cannot be read or decoded. If bad files are skipped, the next good file of the class takes its place, counted on
    /// from `index` and beginning again after the last: the same one every time. Then it is an error only if the class has none.
    ///
    /// # Panics
    /// If `index` is not below `len()`.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, BadFile> {
        self.pictures.image(index, self.shape.len())
    }

    /// All images, one after another.
    ///
    /// # Errors
    /// Those of [`image`](Self::image).
    pub fn pixels(&self) -> Result<Cow<'_, [u8]>, DataError> {
        if let ImageStore::Memory(pixels) = &self.pictures {
            return Ok(Cow::Borrowed(pixels));
        }
        let mut pixels = Vec::with_capacity(self.len() * self.shape.len());
        for index in 0..self.len() {
            pixels.extend_from_slice(&self.image(index)?);
        }
        Ok(Cow::Owned(pixels))
    }

    /// Bytes of pixels in memory; 0 if images are decoded when their turn comes.
    pub fn bytes_in_memory(&self) -> usize {
        match &self.pictures {
            ImageStore::Memory(pixels) => pixels.len(),
            ImageStore::Stream(_) => 0,
        }
    }

    /// The same, with what lay beside the images.
    pub(crate) fn beside(self, passed: PassedOver) -> Self {
        Self { passed, ..self }
    }

    /// What lay beside the images and was not used.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed
    }

    /// Bad files whose place others took since the last call. Parts of a split share them.
    pub fn newly_bad(&self) -> Vec<BadFile> {
        self.pictures.newly_bad()
    }

    /// The images in another shape.
    ///
    /// # Errors
    /// Those of [`pixels`](Self::pixels).
    pub(crate) fn fitted(self, shape: ImageShape) -> Result<Self, DataError> {
        use rayon::prelude::*;

        if self.shape == shape {
            return Ok(self);
        }
        let mut pixels = vec![0; self.len() * shape.len()];
        let fit = |(index, out): (usize, &mut [u8])| {
            out.copy_from_slice(&resize::fit(self.image(index)?.into_owned(), self.shape, shape));
            Ok::<(), BadFile>(())
        };
        pixels.par_chunks_exact_mut(shape.len()).enumerate().try_for_each(fit)?;
        Ok(Self { shape, pictures: ImageStore::Memory(pixels), ..self })
    }

    /// Images of each class, in class order.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names.len()];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// Sixteen hexadecimal digits: CRC-32 of shape and labels, then of the content. They recognise data and do not protect against
    /// forgery.
    ///
    /// The content of files is their names under the root, their sizes, and in a zip archive the check sums that it has: the same
    /// whether or not the pictures are in memory, and known without decoding one. Of other data it is the pixels.
    pub fn fingerprint(&self) -> String {
        let mut head = crc32fast::Hasher::new();
        for size in [self.shape.height, self.shape.width, self.shape.channels, self.len()] {
            head.update(&(size as u64).to_le_bytes());
        }
        for label in &self.labels {
            head.update(&label.to_le_bytes());
        }
        let mut content = crc32fast::Hasher::new();
        match (&self.marks, &self.pictures) {
            (None, ImageStore::Memory(pixels)) => content.update(pixels),
            (marks, _) => marks.iter().flatten().for_each(|mark| content.update(&mark.to_le_bytes())),
        }
        format!("{:08x}{:08x}", head.finalize(), content.finalize())
    }

    /// Splits into (training, held out) with exactly `held_out` images in the second part.
    ///
    /// Every class gives the same share of its images (largest remainders first) and keeps at least one for training. Which images
    /// are held out depends on `seed` alone; both parts keep the original order.
    pub fn split(&self, held_out: usize, seed: u64) -> Result<(Self, Self), DataError> {
        let quota = self.held_out_quotas(held_out)?;
        let rng = Rng::new(seed, stream(Purpose::Split, 0));
        let mut ranked: Vec<usize> = (0..self.len()).collect();
        ranked.sort_by_cached_key(|&index| (self.labels[index], rng.u32(index as u64), index));

        let mut is_held_out = vec![false; self.len()];
        let mut taken = vec![0; quota.len()];
        for index in ranked {
            let class = usize::from(self.labels[index]);
            if taken[class] < quota[class] {
                taken[class] += 1;
                is_held_out[index] = true;
            }
        }
        Ok((
            self.select(|index| !is_held_out[index], "training part"),
            self.select(|index| is_held_out[index], "held-out part"),
        ))
    }

    /// Images to hold out of each class.
    fn held_out_quotas(&self, held_out: usize) -> Result<Vec<usize>, DataError> {
        let counts = self.class_counts();
        let most: usize = counts.iter().map(|n| n.saturating_sub(1)).sum();
        if held_out > most {
            return Err(DataError::HeldOut { wanted: held_out, images: self.len(), most });
        }
        let share = |n: usize| (held_out as u128 * n as u128, self.len() as u128);
        let mut quota: Vec<usize> = counts
            .iter()
            .map(|&n| {
                let (part, whole) = share(n);
                (part / whole) as usize
            })
            .collect();
        let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
        by_remainder.sort_by_key(|&class| {
            let (part, whole) = share(counts[class]);
            (std::cmp::Reverse(part % whole), class)
        });
        let mut left = held_out - quota.iter().sum::<usize>();
        // Ends because held_out <= most: as long as images are left over, some class can still give one.
        while left > 0 {
            for &class in &by_remainder {
                if left > 0 && quota[class] + 1 < counts[class] {
                    quota[class] += 1;
                    left -= 1;
                }
            }
        }
        Ok(quota)
    }

    /// The images whose index `keep` accepts.
    fn select(&self, keep: impl Fn(usize) -> bool, part: &str) -> Self {
        let indices: Vec<usize> = (0..self.len()).filter(|&index| keep(index)).collect();
        let marks = self.marks.as_ref().map(|marks| indices.iter().map(|&index| marks[index]).collect());
        Self {
            shape: self.shape,
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            class_names: self.class_names.clone(),
            source: format!("{}, {part}", self.source),
            pictures: self.pictures.select(&indices, self.shape.len()),
            marks,
            passed: self.passed.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MAX_SIDE;

    const SHAPE: ImageShape = ImageShape { height: 1, width: 2, channels: 1 };

    /// Image i has the pixels (i, i / 256), so every image can be recognised.
    fn numbered(class_sizes: &[usize]) -> Dataset {
        let labels: Vec<u16> = class_sizes
            .iter()
            .enumerate()
            .flat_map(|(class, &n)| std::iter::repeat_n(class as u16, n))
            .collect();
        let pixels = (0..labels.len()).flat_map(|i| [i as u8, (i >> 8) as u8]).collect();
        let names = (0..class_sizes.len()).map(|c| c.to_string()).collect();
        Dataset::new(SHAPE, pixels, labels, names, "test".into()).unwrap()
    }

    #[test]
    fn split_is_balanced_complete_and_repeatable() {
        let all = numbered(&[100, 100, 100]);
        let (train, held) = all.split(31, 7).unwrap();
        assert_eq!((train.len(), held.len()), (269, 31));
        assert_eq!(held.class_counts(), [11, 10, 10]);
        let images = |data: &Dataset| -> Vec<Vec<u8>> { (0..data.len()).map(|i| data.image(i).unwrap().into_owned()).collect() };
        let mut both = [images(&train), images(&held)].concat();
        both.sort_by_key(|p| (p[1], p[0]));
        assert_eq!(both, images(&all));

        assert_eq!(images(&all.split(31, 7).unwrap().1), images(&held));
        assert_ne!(images(&all.split(31, 8).unwrap().1), images(&held));
    }

    #[test]
    fn split_takes_the_same_share_of_unequal_classes() {
        let (_, held) = numbered(&[300, 100, 4]).split(40, 0).unwrap();
        // 29.70, 9.90 and 0.40 images.
        assert_eq!(held.class_counts(), [30, 10, 0]);
    }

    #[test]
    fn split_never_empties_a_class() {
        let all = numbered(&[5, 1, 1]);
        let (train, held) = all.split(4, 1).unwrap();
        assert_eq!(train.class_counts(), [1, 1, 1]);
        assert_eq!(held.class_counts(), [4, 0, 0]);
        assert!(matches!(all.split(5, 1), Err(DataError::HeldOut { wanted: 5, images: 7, most: 4 })));
        assert_eq!(all.split(0, 1).unwrap().1.len(), 0);
    }

    #[test]
    fn fingerprint_sees_every_part() {
        let base = numbered(&[3, 3]);
        let mut variants = vec![base.fingerprint()];
        let mut pixels = base.pixels().unwrap().into_owned();
        pixels[5] ^= 1;
        variants.push(Dataset { pictures: ImageStore::Memory(pixels), ..base.clone() }.fingerprint());
        let mut label = base.clone();
        label.labels[0] = 1;
        variants.push(label.fingerprint());
        let mut shape = base.clone();
        shape.shape = ImageShape { height: 2, width: 1, channels: 1 };
        variants.push(shape.fingerprint());
        let unique: std::collections::HashSet<_> = variants.iter().collect();
        assert_eq!(unique.len(), variants.len(), "{variants:?}");
        assert_eq!(base.fingerprint(), numbered(&[3, 3]).fingerprint());
        assert_eq!(base.fingerprint().len(), 16);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let build = |pixels: usize, labels: &[u16], names: usize| {
            Dataset::new(SHAPE, vec![0; pixels], labels.to_vec(), vec!["c".into(); names], "here".into())
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert_eq!(build(4, &[0, 0], 1), Ok(()));
        let refused = [
            (build(0, &[], 1), "data set here: there is no image"),
            (build(3, &[0, 0], 1), "data set here: 3 bytes of pixels for 2 images of 1x2x1"),
            (build(4, &[0, 2], 2), "data set here: image 1 has label 2 of 2 classes"),
        ];
        for (result, text) in refused {
            assert_eq!(result, Err(text.to_string()));
        }
        for (height, width, channels) in [(0, 1, 1), (1, MAX_SIDE + 1, 1), (8, 8, 2), (8, 8, 4)] {
            let shape = ImageShape { height, width, channels };
            assert!(shape.check().is_err(), "{shape}");
        }
    }
}
