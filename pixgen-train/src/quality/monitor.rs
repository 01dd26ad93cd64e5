//! Fréchet and kernel distance of a model's pictures again and again, while it is trained: the reference is computed once.

use crate::quality::error::QualityError;
use crate::quality::extractor::Extractor;
use crate::quality::features::Features;
use crate::quality::kernel;
use crate::quality::reference::{reference_indices, training_statistics};
use pixgen_edge::data::{DataError, Dataset, ImageShape};
use pixgen_edge::eval::frechet::FrechetReference;
use pixgen_edge::eval::{EvalError, FeatureInfo};

/// How far a set of pictures is from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    /// Pictures in the set. A Fréchet distance depends on their number: compare sets of equal size only.
    pub pictures: usize,
    /// Fréchet distance, at least 0 but for rounding.
    pub frechet: f64,
    /// Unbiased kernel distance over all pairs; around 0, also below it, for pictures of the reference's distribution.
    pub kernel: f64,
}

/// Measures sets of generated pictures against training pictures, whose features it keeps.
pub struct QualityMonitor {
    extractor: Extractor,
    shape: ImageShape,
    reference: String,
    frechet: FrechetReference,
    features: Features,
}

impl QualityMonitor {
    /// Computes the features of at most `reference` of the training pictures: those that `eval` takes where enough pictures are held out.
    ///
    /// # Errors
    /// Pictures that cannot be read or that the network cannot see; fewer than two of them.
    pub fn new(extractor: Extractor, training: &Dataset, reference: usize) -> Result<Self, QualityError> {
        let shape = training.shape;
        let mut pixels = Vec::new();
        for index in reference_indices(training.len(), &[], reference) {
            let picture = training.image(index).map_err(DataError::from).map_err(EvalError::from)?;
            pixels.extend_from_slice(&picture);
        }
        let features = extractor.features(&pixels, shape)?;
        let (reference, frechet) = training_statistics(&extractor, &training.source, &features, shape, &training.class_names)?;
        Ok(Self { extractor, shape, reference, frechet, features })
    }

    /// Distances of pictures of the training pictures' shape: bytes H W C, one picture after another.
    ///
    /// # Errors
    /// Bytes that are no whole pictures, or fewer than two pictures.
    pub fn measure(&self, pictures: &[u8]) -> Result<Distances, QualityError> {
        let features = self.extractor.features(pictures, self.shape)?;
        Ok(Distances {
            pictures: features.n,
            frechet: self.frechet.distance(&features.moments()?)?,
            kernel: kernel::distance(&features, &self.features)?,
        })
    }

    /// The network behind the numbers, and what they are called: `FD-fmnist`, `FD-efficientnet-lite0-112`.
    pub fn info(&self) -> FeatureInfo {
        self.extractor.recipe().info()
    }

    /// What the pictures are compared with, for people.
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{RealPictures, ReferenceOptions, ReferenceSet};
    use pixgen_edge::data::bundled_split;

    /// Some of the bundled pictures, with these names for their classes.
    fn cut(of: &Dataset, count: usize, class_names: Vec<String>) -> Dataset {
        let pixels = of.pixels().unwrap()[..count * of.shape.len()].to_vec();
        Dataset::new(of.shape, pixels, of.labels[..count].to_vec(), class_names, "cut".to_owned()).unwrap()
    }

    /// With its own classes the classifier's test pictures are the reference, with other names the training pictures are.
    #[test]
    fn distances_are_those_of_eval() {
        let (training, held_out) = bundled_split().unwrap();
        let numbers: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        for names in [training.class_names.clone(), numbers] {
            let (training, held_out) = (cut(&training, 900, names.clone()), cut(&held_out, 200, names));
            let real = RealPictures {
                name: "cut",
                shape: training.shape,
                training: &training.pixels().unwrap(),
                labels: &training.labels,
                held_out: &held_out.pixels().unwrap(),
                held_out_labels: &held_out.labels,
                class_names: &training.class_names,
            };
            let options = ReferenceOptions { reference: 500, ..ReferenceOptions::new(100) };
            let set = ReferenceSet::new(Extractor::fashion().unwrap(), real, options, None).unwrap();
            let monitor = QualityMonitor::new(Extractor::fashion().unwrap(), &training, 500).unwrap();
            let pictures = &real.held_out[..100 * real.shape.len()];
            let metrics = set.measure(pictures, None).unwrap().metrics;
            let found = monitor.measure(pictures).unwrap();
            assert_eq!((found.pictures, found.frechet, Some(found.kernel)), (100, metrics.frechet, metrics.kernel));
            assert!(monitor.reference().contains("500"), "{}", monitor.reference());
            // Blank pictures are farther away by both.
            let blank = monitor.measure(&vec![0; pictures.len()]).unwrap();
            assert!(blank.frechet > 2.0 * found.frechet && blank.kernel > found.kernel.abs() * 2.0, "{blank:?} {found:?}");
            assert!(monitor.measure(&pictures[1..]).is_err() && monitor.measure(&pictures[..real.shape.len()]).is_err());
        }
    }
}
