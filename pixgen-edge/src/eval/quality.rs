//! One report on a set of generated images, each number beside what real images get.

use std::fmt;

use pixgen_core::rng::{Draws, Rng};
use serde::Serialize;

use crate::data::idx::FASHION_MNIST_CLASSES;
use crate::eval::classifier::{Classifier, check_images};
use crate::eval::error::EvalError;
use crate::eval::frechet;
use crate::eval::nearest::nearest;
use crate::eval::network::{CLASSES, PIXELS};

/// Seed of the sample of training images behind [`Floors::real_fd_at_same_n`].
const SAMPLE_SEED: u64 = 0x7265_616C;

/// The quality of generated Fashion-MNIST images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Generated images measured.
    pub images: usize,
    /// Share of images in which the classifier sees the class that was asked for.
    pub accuracy: f64,
    /// FD-fmnist: Frechet distance of the features to those of the 10,000 real test images. Not a FID.
    pub fd: f64,
    /// Median over the images of the distance to the nearest training image, root mean square of pixels on [0, 1].
    pub nearest_median: f64,
    /// The distance that one image in twenty does not exceed; far below the floor's, it shows memorised images.
    pub nearest_p05: f64,
    /// The same of real images.
    pub floors: Floors,
    /// Classes 0 to 9.
    pub per_class: [ClassQuality; CLASSES],
}

/// What real images get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Floors {
    /// Real held-out images measured for the accuracy and the nearest distances.
    pub real_images: usize,
    /// Accuracy of the classifier on them: generated images cannot be expected to pass it.
    pub real_accuracy: f64,
    /// FD-fmnist of as many real training images as were generated: the number depends on the count.
    pub real_fd_at_same_n: f64,
    /// Median distance of the held-out images to the nearest training image.
    pub real_nearest_median: f64,
    /// Their fifth percentile.
    pub real_nearest_p05: f64,
}

/// One class of the generated images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassQuality {
    /// Its name.
    pub name: &'static str,
    /// Images that were asked to show it.
    pub asked: usize,
    /// Those of them in which the classifier sees it.
    pub correct: usize,
    /// All images in which the classifier sees it.
    pub predicted: usize,
}

/// Measures `generated` images (n x 28 x 28 bytes) that were asked to show the classes `asked` (n labels).
///
/// `train` are all images that the generator learned from, at least n of them. `real_held_out` are images and labels it did not learn
/// from; take them from the test split, because the classifier has seen all training images, the bundled ones too, and agrees with
/// those more often. The nearest-image search makes (n + held-out) x train comparisons, about 10 s for 10,000 x 60,000 on two cores;
/// all else takes a second.
///
/// # Errors
/// Lengths that do not fit, labels above 9, fewer than two generated images, none held out, or less training than generated images.
pub fn measure(
    classifier: &Classifier,
    generated: &[u8],
    asked: &[u8],
    train: &[u8],
    real_held_out: (&[u8], &[u8]),
) -> Result<Quality, EvalError> {
    let (held_out, held_out_labels) = real_held_out;
    let images = check_set("generated images", generated, asked, 2)?;
    let real_images = check_set("held-out images", held_out, held_out_labels, 1)?;
    check_images("training images", train)?;
    if train.len() < generated.len() {
        return Err(EvalError::TooFew { what: "training images", needed: images, found: train.len() / PIXELS });
    }

    let predictions = classifier.predict(generated)?;
    let real_predictions = classifier.predict(held_out)?;
    let fd = |images: &[u8]| frechet::distance(&classifier.moments(images)?, classifier.reference());
    let (nearest_median, nearest_p05) = nearest_summary(generated, train)?;
    let (real_nearest_median, real_nearest_p05) = nearest_summary(held_out, train)?;
    Ok(Quality {
        images,
        accuracy: agreement(&predictions, asked),
        fd: fd(generated)?,
        nearest_median,
        nearest_p05,
        floors: Floors {
            real_images,
            real_accuracy: agreement(&real_predictions, held_out_labels),
            real_fd_at_same_n: fd(&sample(train, images))?,
            real_nearest_median,
            real_nearest_p05,
        },
        per_class: std::array::from_fn(|class| class_quality(class, &predictions, asked)),
    })
}

/// Number of images in a set with labels.
fn check_set(what: &'static str, images: &[u8], labels: &[u8], needed: usize) -> Result<usize, EvalError> {
    check_images(what, images)?;
    let found = images.len() / PIXELS;
    if found != labels.len() {
        return Err(EvalError::LabelCount { what, images: found, labels: labels.len() });
    }
    if found < needed {
        return Err(EvalError::TooFew { what, needed, found });
    }
    match labels.iter().position(|&label| usize::from(label) >= CLASSES) {
        Some(index) => Err(EvalError::Label { what, index, label: labels[index] }),
        None => Ok(found),
    }
}

/// Median and fifth percentile of the distances to the nearest training image.
fn nearest_summary(images: &[u8], train: &[u8]) -> Result<(f64, f64), EvalError> {
    let found = nearest(images, train, PIXELS)?;
    match (found.median(), found.quantile(0.05)) {
        (Some(median), Some(p05)) => Ok((median.into(), p05.into())),
        _ => Err(EvalError::TooFew { what: "images", needed: 1, found: 0 }),
    }
}

/// The share of equal labels.
fn agreement(predictions: &[u8], labels: &[u8]) -> f64 {
    let equal = predictions.iter().zip(labels).filter(|(p, l)| p == l).count();
    equal as f64 / labels.len() as f64
}

/// `count` different images, drawn by the first steps of a Fisher-Yates shuffle.
fn sample(images: &[u8], count: usize) -> Vec<u8> {
    let mut order: Vec<usize> = (0..images.len() / PIXELS).collect();
    let mut draws = Draws::new(Rng::new(SAMPLE_SEED, 0), 0);
    for i in 0..count.min(order.len()) {
        let rest = (order.len() - i) as u32;
        order.swap(i, i + draws.below(rest) as usize);
    }
    order.iter().take(count).flat_map(|&i| &images[i * PIXELS..][..PIXELS]).copied().collect()
}

fn class_quality(class: usize, predictions: &[u8], asked: &[u8]) -> ClassQuality {
    let is = |label: &u8| usize::from(*label) == class;
    ClassQuality {
        name: FASHION_MNIST_CLASSES[class],
        asked: asked.iter().filter(|a| is(a)).count(),
        correct: predictions.iter().zip(asked).filter(|(p, a)| is(p) && is(a)).count(),
        predicted: predictions.iter().filter(|p| is(p)).count(),
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Floors { real_images, real_accuracy, real_fd_at_same_n, real_nearest_median, real_nearest_p05 } = self.floors;
        writeln!(f, "{:30}{:>10}{:>10}", "", "generated", "real")?;
        writeln!(f, "{:30}{:>10}{:>10}", "images", self.images, real_images)?;
        let (percent, real_percent) = (100.0 * self.accuracy, 100.0 * real_accuracy);
        writeln!(f, "{:30}{percent:>9.1}%{real_percent:>9.1}%", "classifier agrees")?;
        let n = self.images;
        writeln!(f, "{:30}{:>10.2}{:>10.2}", format!("FD-fmnist, both of n = {n}"), self.fd, real_fd_at_same_n)?;
        writeln!(f, "{:30}{:>10.4}{:>10.4}", "nearest training image, median", self.nearest_median, real_nearest_median)?;
        writeln!(f, "{:30}{:>10.4}{:>10.4}", "  one in twenty is nearer than", self.nearest_p05, real_nearest_p05)?;
        writeln!(f)?;
        writeln!(f, "{:30}{:>10}{:>10}{:>10}", "class", "asked", "correct", "seen")?;
        for class in &self.per_class {
            writeln!(f, "  {:28}{:>10}{:>10}{:>10}", class.name, class.asked, class.correct, class.predicted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::bundled;

    const COUNT: usize = 300;

    /// Bundled images and labels: the first 7,000 to train on, then 300 to hold out, then 300 that pass for generated ones.
    fn bundled_bytes() -> (Vec<u8>, Vec<u8>) {
        let data = bundled().unwrap();
        let labels = data.labels.iter().map(|&label| label as u8).collect();
        (data.pixels().unwrap().into_owned(), labels)
    }

    #[test]
    fn real_images_are_good_and_wrong_labels_are_not() {
        let classifier = Classifier::fashion().unwrap();
        let (pixels, labels) = bundled_bytes();
        let images = |from: usize, count: usize| &pixels[from * PIXELS..][..count * PIXELS];
        let train = images(0, 7000);
        let held_out = (images(7000, COUNT), &labels[7000..][..COUNT]);
        let generated = images(7300, COUNT);
        let asked = &labels[7300..][..COUNT];
        let good = measure(&classifier, generated, asked, train, held_out).unwrap();
        assert_eq!((good.images, good.floors.real_images), (COUNT, COUNT));
        assert!(good.accuracy > 0.85, "{good}");
        assert!(good.fd < 2.0 * good.floors.real_fd_at_same_n, "{good}");
        assert!((good.nearest_median / good.floors.real_nearest_median - 1.0).abs() < 0.2, "{good}");
        assert!(good.nearest_p05 <= good.nearest_median && good.nearest_p05 > 0.0);
        let total = |count: fn(&ClassQuality) -> usize| good.per_class.iter().map(count).sum::<usize>();
        assert_eq!((total(|c| c.asked), total(|c| c.predicted)), (COUNT, COUNT));
        assert_eq!(total(|c| c.correct) as f64, (good.accuracy * COUNT as f64).round());

        let others: Vec<u8> = asked.iter().map(|label| (label + 1) % 10).collect();
        let wrong = measure(&classifier, generated, &others, train, held_out).unwrap();
        assert!(wrong.accuracy < 0.2 && wrong.fd == good.fd);

        // Copies of training images: a perfect Frechet distance, and the nearest distance tells.
        let copies = measure(&classifier, images(0, COUNT), &labels[..COUNT], train, held_out).unwrap();
        assert_eq!((copies.nearest_median, copies.nearest_p05), (0.0, 0.0));
        assert!(copies.fd < 2.0 * copies.floors.real_fd_at_same_n);

        let blank = measure(&classifier, &vec![0; COUNT * PIXELS], asked, train, held_out).unwrap();
        assert!(blank.fd > 10.0 * good.fd, "{blank}");
    }

    #[test]
    fn the_report_is_a_table_for_people_and_json_for_machines() {
        let classifier = Classifier::fashion().unwrap();
        let (pixels, labels) = bundled_bytes();
        let some = &pixels[..20 * PIXELS];
        let quality = measure(&classifier, some, &labels[..20], some, (some, &labels[..20])).unwrap();
        let table = quality.to_string();
        assert!(table.contains("FD-fmnist, both of n = 20") && table.contains("Ankle boot"), "{table}");
        assert!(table.lines().all(|line| line.len() <= 60), "{table}");
        let json = serde_json::to_value(&quality).unwrap();
        assert_eq!(json["images"], 20);
        assert_eq!(json["floors"]["real_nearest_median"], 0.0);
        assert_eq!(json["per_class"].as_array().unwrap().len(), 10);
        assert_eq!(json["per_class"][8]["name"], "Bag");
    }

    #[test]
    fn a_sample_has_no_image_twice() {
        let images: Vec<u8> = (0..50u8).flat_map(|i| [i; PIXELS]).collect();
        let mut seen: Vec<u8> = sample(&images, 50).chunks_exact(PIXELS).map(|image| image[0]).collect();
        assert_ne!(seen, Vec::from_iter(0..50));
        seen.sort_unstable();
        assert_eq!(seen, Vec::from_iter(0..50));
        assert_eq!(sample(&images, 3).len(), 3 * PIXELS);
    }

    #[test]
    fn bad_sets_are_errors() {
        let classifier = Classifier::fashion().unwrap();
        let ten = [0u8; 10 * PIXELS];
        let run = |generated: &[u8], asked: &[u8], train: &[u8], held: &[u8], labels: &[u8]| {
            measure(&classifier, generated, asked, train, (held, labels)).unwrap_err()
        };
        let one = &ten[..PIXELS];
        let error = run(&ten[..1024], &[0], &ten, one, &[0]);
        assert!(matches!(error, EvalError::PartialImage { what: "generated images", bytes: 1024, .. }));
        assert!(matches!(run(&ten, &[0; 9], &ten, one, &[0]), EvalError::LabelCount { images: 10, labels: 9, .. }));
        assert!(matches!(run(one, &[0], &ten, one, &[0]), EvalError::TooFew { needed: 2, found: 1, .. }));
        assert!(matches!(run(&ten, &[10; 10], &ten, one, &[0]), EvalError::Label { index: 0, label: 10, .. }));
        assert!(matches!(run(&ten, &[0; 10], one, one, &[0]), EvalError::TooFew { needed: 10, found: 1, .. }));
        assert!(matches!(run(&ten, &[0; 10], &ten, &[], &[]), EvalError::TooFew { needed: 1, found: 0, .. }));
        assert!(matches!(run(&ten, &[0; 10], &ten[..5], one, &[0]), EvalError::PartialImage { bytes: 5, .. }));
    }
}
