//! Measures pictures of Fashion-MNIST models by the project's classifier alone, beside real pictures.
//!
//! These are the metrics that an export is judged by. `pixgen-train eval` measures the same ones and more.

use crate::data::{Dataset, FASHION_MNIST_CLASSES};
use crate::eval::classifier::Classifier;
use crate::eval::error::EvalError;
use crate::eval::frechet::FrechetReference;
use crate::eval::nearest::nearest;
use crate::eval::network::{CLASSES, FEATURES, PIXELS, SIDE};
use crate::eval::report::{ClassCounts, EvalRow, FeatureInfo, QualityMetrics, Subject, accuracy};
use crate::eval::sample::RealSample;

/// Real pictures of Fashion-MNIST, ready to measure sets of generated ones against.
pub struct FashionReference {
    classifier: Classifier,
    /// Moments of the features of the 10,000 real test pictures, which the classifier did not learn from.
    frechet: FrechetReference,
    training: Vec<u8>,
    class_names: Vec<String>,
    real: QualityMetrics,
}

impl FashionReference {
    /// Against the pictures that a generator learned from, and those that it did not; the numbers of real pictures are of `count` of them.
    ///
    /// # Errors
    /// Pictures of another shape, bad files among them, or a single real picture.
    pub fn new(training: &Dataset, held_out: &Dataset, count: usize) -> Result<Self, EvalError> {
        let classifier = Classifier::fashion()?;
        let frechet = FrechetReference::new(classifier.reference().clone())?;
        for data in [training, held_out] {
            Classifier::check_shape(data.shape.channels, data.shape.height, data.shape.width)?;
        }
        let mut reference = Self {
            classifier,
            frechet,
            training: training.pixels()?.into_owned(),
            class_names: FASHION_MNIST_CLASSES.map(String::from).to_vec(),
            real: QualityMetrics::default(),
        };
        let fresh = held_out.pixels()?;
        let sample = RealSample::new(count, held_out.len(), training.len(), true);
        let pixels = sample.pixels(&fresh, &reference.training, PIXELS);
        // Only the held-out ones say how near a picture comes that was not learned from.
        let near = &pixels[..sample.held_out.len() * PIXELS];
        reference.real = reference.metrics(&pixels, &sample.labels(&held_out.labels, &training.labels), near)?.0;
        Ok(reference)
    }

    /// Measures n pictures (n x 28 x 28 bytes) of `subject` that were asked to show the classes `asked`.
    ///
    /// # Errors
    /// Fewer than two pictures, lengths that do not fit, or a class above 9.
    pub fn measure(&self, subject: Subject, pictures: &[u8], asked: &[u16]) -> Result<EvalRow, EvalError> {
        let (generated, seen) = self.metrics(pictures, asked, pictures)?;
        Ok(EvalRow {
            subject,
            features: FeatureInfo {
                network: "fashion".to_owned(),
                layer: FEATURES.to_string(),
                input: SIDE,
                resize: "none".to_owned(),
                frechet_name: "FD-fmnist".to_owned(),
                kernel_name: "KD-fmnist".to_owned(),
            },
            reference: format!("{} Fashion-MNIST test pictures", self.frechet.moments().n()),
            reference_pictures: None,
            manifold_pictures: None,
            neighbours: None,
            class_judge: Some("the bundled classifier".to_owned()),
            generated,
            real: Some(self.real.clone()),
            classes: ClassCounts::count(&self.class_names, asked, &seen),
        })
    }

    /// Metrics of pictures, with the class seen in each; `near` are those whose nearest training picture is looked for.
    fn metrics(&self, pictures: &[u8], asked: &[u16], near: &[u8]) -> Result<(QualityMetrics, Vec<u16>), EvalError> {
        let moments = self.classifier.moments(pictures)?;
        if moments.n() != asked.len() {
            return Err(EvalError::LabelCount { what: "images", images: moments.n(), labels: asked.len() });
        }
        if let Some(index) = asked.iter().position(|&label| usize::from(label) >= CLASSES) {
            return Err(EvalError::Label { what: "images", index, label: asked[index] });
        }
        let seen: Vec<u16> = self.classifier.predict(pictures)?.into_iter().map(u16::from).collect();
        let nearest = nearest(near, &self.training, PIXELS)?;
        let metrics = QualityMetrics {
            n: moments.n(),
            frechet: self.frechet.distance(&moments)?,
            accuracy: accuracy(asked, &seen),
            nearest_median: nearest.quantile(0.5).map(f64::from),
            nearest_p05: nearest.quantile(0.05).map(f64::from),
            ..QualityMetrics::default()
        };
        Ok((metrics, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::bundled_split;
    use crate::eval::sample::pick;

    const COUNT: usize = 300;

    fn reference() -> (FashionReference, Dataset, Dataset) {
        let (training, held_out) = bundled_split().unwrap();
        (FashionReference::new(&training, &held_out, COUNT).unwrap(), training, held_out)
    }

    #[test]
    fn real_images_are_good_and_wrong_labels_are_not() {
        let (reference, training, held_out) = reference();
        let measure = |data: &Dataset, indices: &[usize], turn: u16| {
            let asked: Vec<u16> = indices.iter().map(|&index| (data.labels[index] + turn) % 10).collect();
            let pictures = pick(&data.pixels().unwrap(), indices, PIXELS);
            reference.measure(Subject::pictures("real"), &pictures, &asked).unwrap()
        };
        // Held-out pictures that are not in the sample of real ones.
        let sample = RealSample::new(COUNT, held_out.len(), training.len(), true);
        let fresh: Vec<usize> = (0..held_out.len()).filter(|index| !sample.held_out.contains(index)).take(COUNT).collect();
        let good = measure(&held_out, &fresh, 0);
        let (found, floor) = (&good.generated, good.real.as_ref().unwrap());
        assert_eq!((found.n, floor.n), (COUNT, COUNT));
        assert!(found.accuracy.unwrap() > 0.85, "{good}");
        assert!(found.frechet < 2.0 * floor.frechet, "{good}");
        assert!((found.nearest_median.unwrap() / floor.nearest_median.unwrap() - 1.0).abs() < 0.2, "{good}");
        assert!(found.nearest_p05 <= found.nearest_median && found.nearest_p05 > Some(0.0));
        let total = |count: fn(&ClassCounts) -> usize| good.classes.iter().map(count).sum::<usize>();
        assert_eq!((total(|c| c.asked), total(|c| c.seen)), (COUNT, COUNT));
        assert_eq!(total(|c| c.correct) as f64, (found.accuracy.unwrap() * COUNT as f64).round());

        let wrong = measure(&held_out, &fresh, 1).generated;
        assert!(wrong.accuracy.unwrap() < 0.2 && wrong.frechet == found.frechet);

        // Copies of training images: a perfect Fréchet distance, and the nearest distance tells.
        let copies = measure(&training, &Vec::from_iter(0..COUNT), 0);
        assert_eq!((copies.generated.nearest_median, copies.generated.nearest_p05), (Some(0.0), Some(0.0)));
        assert!(copies.generated.frechet < 2.0 * floor.frechet);

        let blank = reference.measure(Subject::default(), &vec![0; COUNT * PIXELS], &[0; COUNT]).unwrap();
        assert!(blank.generated.frechet > 10.0 * found.frechet, "{blank}");
    }

    #[test]
    fn bad_sets_are_errors() {
        let (reference, ..) = reference();
        let ten = [0u8; 10 * PIXELS];
        let run = |pictures: &[u8], asked: &[u16]| reference.measure(Subject::default(), pictures, asked).unwrap_err();
        assert!(matches!(run(&ten[..1024], &[0]), EvalError::PartialImage { bytes: 1024, .. }));
        assert!(matches!(run(&ten, &[0; 9]), EvalError::LabelCount { images: 10, labels: 9, .. }));
        assert!(matches!(run(&ten[..PIXELS], &[0]), EvalError::TooFew { needed: 2, found: 1, .. }));
        assert!(matches!(run(&ten, &[10; 10]), EvalError::Label { index: 0, label: 10, .. }));
    }
}
