//! The committed Fashion-MNIST classifier: its file, and batches of byte images through its network.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::data::{FASHION_MNIST_CLASSES, ImageShape};
use crate::eval::error::{EvalError, WeightFault};
use crate::eval::frechet::FeatureMoments;
use crate::eval::network::{Activations, CLASSES, ClassifierNetwork, FEATURES, LAYERS, PIXELS, SIDE, normalise};

static FASHION: &[u8] = include_bytes!("../../data/fashion-classifier/classifier.safetensors");

/// Images per task: the windows of 8 images fit in a 2 MiB cache.
const BLOCK: usize = 8;

const REFERENCE_MEAN: &str = "reference.mean";
const REFERENCE_COVARIANCE: &str = "reference.covariance";
const REFERENCE_IMAGES: &str = "reference.images";

/// Where a classifier comes from: the metadata of its file, as text (`test_accuracy`, `command`, `seed`, `data`, ..).
pub type ClassifierCard = BTreeMap<String, String>;

/// A trained network with the moments of its features on real held-out images.
pub struct Classifier {
    network: ClassifierNetwork,
    reference: FeatureMoments,
    card: ClassifierCard,
}

impl Classifier {
    /// The classifier of this crate, with the moments of the 10,000 real test images.
    ///
    /// # Errors
    /// Only if the file was damaged before the build.
    pub fn fashion() -> Result<Self, EvalError> {
        Self::from_bytes(FASHION)
    }

    /// A trained network with the moments of its features on `real` held-out images, and an empty card.
    ///
    /// # Errors
    /// [`EvalError::PartialImage`], or less than two images.
    pub fn new(network: ClassifierNetwork, real: &[u8]) -> Result<Self, EvalError> {
        let reference = FeatureMoments::from_rows(&features(&network, real)?, FEATURES)?;
        Ok(Self { network, reference, card: ClassifierCard::new() })
    }

    /// The same classifier with another card.
    pub fn with_card(self, card: ClassifierCard) -> Self {
        Self { card, ..self }
    }

    /// Reads a safetensors file: `<layer>.weight` (inputs x outputs) and `<layer>.bias` in f32 for each of [`LAYERS`],
    /// `reference.mean` and `reference.covariance` in f64, and in the metadata `reference.images` beside the [`ClassifierCard`].
    ///
    /// # Errors
    /// A file of another format, or a missing, misshapen or non-finite tensor.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvalError> {
        let file = SafeTensors::deserialize(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let mut card: ClassifierCard = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut network = ClassifierNetwork::zeros();
        for ((name, inputs, outputs), layer) in LAYERS.into_iter().zip(&mut network.layers) {
            layer.weight = read(&file, &format!("{name}.weight"), Dtype::F32, &[inputs, outputs], f32::from_le_bytes)?;
            layer.bias = read(&file, &format!("{name}.bias"), Dtype::F32, &[outputs], f32::from_le_bytes)?;
        }
        let mean = read(&file, REFERENCE_MEAN, Dtype::F64, &[FEATURES], f64::from_le_bytes)?;
        let covariance = read(&file, REFERENCE_COVARIANCE, Dtype::F64, &[FEATURES, FEATURES], f64::from_le_bytes)?;
        let images = card
            .remove(REFERENCE_IMAGES)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| EvalError::Entry { name: REFERENCE_IMAGES.into(), fault: WeightFault::Count })?;
        Ok(Self { network, reference: FeatureMoments::from_parts(images, &mean, &covariance)?, card })
    }

    /// The file that [`Classifier::from_bytes`] reads.
    ///
    /// # Errors
    /// Only what the format refuses, such as a card of more than 100 MB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EvalError> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for ((name, inputs, outputs), layer) in LAYERS.into_iter().zip(&self.network.layers) {
            tensors.push((format!("{name}.weight"), Dtype::F32, vec![inputs, outputs], le_bytes(&layer.weight, f32::to_le_bytes)));
            tensors.push((format!("{name}.bias"), Dtype::F32, vec![outputs], le_bytes(&layer.bias, f32::to_le_bytes)));
        }
        let (mean, covariance) = (self.reference.mean(), self.reference.covariance());
        tensors.push((REFERENCE_MEAN.into(), Dtype::F64, vec![FEATURES], le_bytes(mean, f64::to_le_bytes)));
        let shape = vec![FEATURES, FEATURES];
        tensors.push((REFERENCE_COVARIANCE.into(), Dtype::F64, shape, le_bytes(covariance, f64::to_le_bytes)));
        let mut views = Vec::new();
        for (name, dtype, shape, bytes) in &tensors {
            views.push((name, TensorView::new(*dtype, shape.clone(), bytes)?));
        }
        let mut metadata: HashMap<String, String> = self.card.clone().into_iter().collect();
        metadata.insert(REFERENCE_IMAGES.into(), self.reference.n().to_string());
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// The features' moments on real held-out images: what FD-fmnist is measured against.
    pub fn reference(&self) -> &FeatureMoments {
        &self.reference
    }

    /// Where the classifier comes from.
    pub fn card(&self) -> &ClassifierCard {
        &self.card
    }

    /// Whether images of this form can be measured.
    ///
    /// # Errors
    /// [`EvalError::ImageShape`] for anything but one channel of 28x28.
    pub fn check_shape(channels: usize, height: usize, width: usize) -> Result<(), EvalError> {
        if (channels, height, width) == (1, SIDE, SIDE) {
            Ok(())
        } else {
            Err(EvalError::ImageShape { channels, height, width })
        }
    }

    /// Whether it can judge pictures of a shape with these classes: their names must be its own, in its order.
    pub fn knows(shape: ImageShape, class_names: &[String]) -> bool {
        let seen = Self::check_shape(shape.channels, shape.height, shape.width).is_ok();
        seen && class_names.iter().map(String::as_str).eq(FASHION_MNIST_CLASSES)
    }

    /// The 64 features of each image (n x 28 x 28 bytes), row-major. Uses all rayon threads.
    ///
    /// # Errors
    /// [`EvalError::PartialImage`].
    pub fn features(&self, images: &[u8]) -> Result<Vec<f32>, EvalError> {
        features(&self.network, images)
    }

    /// Mean and covariance of the features of images (n x 28 x 28 bytes).
    ///
    /// # Errors
    /// [`EvalError::PartialImage`], or less than two images.
    pub fn moments(&self, images: &[u8]) -> Result<FeatureMoments, EvalError> {
        FeatureMoments::from_rows(&self.features(images)?, FEATURES)
    }

    /// The 10 logits of each image (n x 28 x 28 bytes), row-major.
    ///
    /// # Errors
    /// [`EvalError::PartialImage`].
    pub fn logits(&self, images: &[u8]) -> Result<Vec<f32>, EvalError> {
        each_block(&self.network, images, |kept| std::mem::take(&mut kept.logits))
    }

    /// The most likely class of each image (n x 28 x 28 bytes).
    ///
    /// # Errors
    /// [`EvalError::PartialImage`].
    pub fn predict(&self, images: &[u8]) -> Result<Vec<u8>, EvalError> {
        each_block(&self.network, images, |kept| kept.logits.chunks_exact(CLASSES).map(largest).collect())
    }
}

fn features(network: &ClassifierNetwork, images: &[u8]) -> Result<Vec<f32>, EvalError> {
    each_block(network, images, |kept| std::mem::take(&mut kept.features))
}

/// Joins what `take` finds in the activations of every block of images.
fn each_block<T: Send>(
    network: &ClassifierNetwork,
    images: &[u8],
    take: impl Fn(&mut Activations) -> Vec<T> + Sync,
) -> Result<Vec<T>, EvalError> {
    check_images("images", images)?;
    let run = |(pixels, kept): &mut (Vec<f32>, Activations), block: &[u8]| {
        pixels.clear();
        pixels.extend(block.iter().copied().map(normalise));
        network.forward(pixels, kept);
        take(kept)
    };
    Ok(images.par_chunks(BLOCK * PIXELS).map_init(Default::default, run).flatten_iter().collect())
}

/// Index of the largest logit, the first among equals.
fn largest(logits: &[f32]) -> u8 {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (index, &logit)| if logit > best.1 { (index, logit) } else { best });
    best.0 as u8
}

/// Refuses a table of bytes that is not a whole number of images.
fn check_images(what: &'static str, images: &[u8]) -> Result<(), EvalError> {
    if !images.len().is_multiple_of(PIXELS) {
        return Err(EvalError::PartialImage { what, bytes: images.len(), pixels: PIXELS });
    }
    Ok(())
}

fn read<T: Into<f64> + Copy, const N: usize>(
    file: &SafeTensors<'_>,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, EvalError> {
    let wrong = |fault| EvalError::Entry { name: name.into(), fault };
    let tensor = file.tensor(name).map_err(|_| wrong(WeightFault::Missing))?;
    if tensor.dtype() != dtype || tensor.shape() != shape {
        return Err(wrong(WeightFault::Form {
            expected_type: dtype,
            expected: shape.to_vec(),
            found_type: tensor.dtype(),
            found: tensor.shape().to_vec(),
        }));
    }
    let (values, _) = tensor.data().as_chunks();
    let values: Vec<T> = values.iter().copied().map(from_le_bytes).collect();
    if let Some(index) = values.iter().position(|&value| !value.into().is_finite()) {
        return Err(wrong(WeightFault::NotFinite { index }));
    }
    Ok(values)
}

fn le_bytes<T: Copy, const N: usize>(values: &[T], to_le_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| to_le_bytes(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::bundled;
    use pixgen_core::rng::Rng;

    fn classifier() -> Classifier {
        Classifier::fashion().unwrap()
    }

    /// Bundled images are training images of the classifier; its accuracy on the test split is on its card.
    fn accuracy(images: &[u8], labels: &[u16]) -> f64 {
        let predicted = classifier().predict(images).unwrap();
        assert_eq!(predicted.len(), labels.len());
        let right = predicted.iter().zip(labels).filter(|(p, l)| u16::from(**p) == **l).count();
        right as f64 / labels.len() as f64
    }

    #[test]
    fn the_committed_file_is_complete_and_small() {
        assert!(FASHION.len() <= 300_000, "{}", FASHION.len());
        let classifier = classifier();
        assert_eq!(classifier.reference().n(), 10_000);
        assert_eq!(classifier.reference().dim(), FEATURES);
        let stated: f64 = classifier.card()["test_accuracy"].parse().unwrap();
        assert!(stated >= 0.915, "{stated}");
    }

    #[test]
    fn sees_real_images_and_not_turned_ones_or_noise() {
        let data = bundled().unwrap();
        let pixels = data.pixels().unwrap();
        let real = accuracy(&pixels, &data.labels);
        assert!(real > 0.9, "{real}");
        let turned: Vec<u8> = pixels
            .chunks_exact(PIXELS)
            .flat_map(|image| (0..PIXELS).map(|i| image[(i % SIDE) * SIDE + i / SIDE]))
            .collect();
        let turned = accuracy(&turned, &data.labels);
        assert!(turned < 0.6, "{turned}");
        let rng = Rng::new(1, 0);
        let noise: Vec<u8> = (0..(500 * PIXELS) as u64).map(|i| (rng.u32(i) >> 24) as u8).collect();
        let noise = accuracy(&noise, &data.labels[..500]);
        assert!(noise < 0.4, "{noise}");
    }

    #[test]
    fn an_image_gets_the_same_answer_in_any_batch() {
        let data = bundled().unwrap();
        let classifier = classifier();
        let some = &data.pixels().unwrap()[..(BLOCK * 2 + 3) * PIXELS];
        let together = classifier.logits(some).unwrap();
        let features = classifier.features(some).unwrap();
        assert_eq!(features.len(), 19 * 64);
        for (index, image) in some.chunks_exact(PIXELS).enumerate() {
            let alone = classifier.logits(image).unwrap();
            for (a, b) in alone.iter().zip(&together[index * CLASSES..]) {
                assert!((a - b).abs() < 1e-3, "image {index}: {a} {b}");
            }
            assert_eq!(classifier.predict(image).unwrap(), [largest(&alone)]);
        }
    }

    #[test]
    fn frechet_distance_separates_real_images_from_noise() {
        let classifier = classifier();
        let data = bundled().unwrap();
        let rng = Rng::new(2, 0);
        let noise: Vec<u8> = (0..(1000 * PIXELS) as u64).map(|i| (rng.u32(i) >> 24) as u8).collect();
        let fd = |images: &[u8]| {
            let moments = classifier.moments(images).unwrap();
            crate::eval::frechet::distance(&moments, classifier.reference()).unwrap()
        };
        let real = fd(&data.pixels().unwrap());
        let noise = fd(&noise);
        assert!(noise > 100.0 * real, "real {real}, noise {noise}");
    }

    #[test]
    fn a_file_survives_a_round_trip() {
        let first = classifier();
        let again = Classifier::from_bytes(&first.to_bytes().unwrap()).unwrap();
        assert_eq!(first.network, again.network);
        assert_eq!(first.reference, again.reference);
        assert_eq!(first.card, again.card);
    }

    #[test]
    fn damaged_files_are_errors() {
        assert!(matches!(Classifier::from_bytes(&[]), Err(EvalError::Container(_))));
        assert!(matches!(Classifier::from_bytes(&FASHION[..FASHION.len() - 1]), Err(EvalError::Container(_))));
        let mut nan = classifier();
        nan.network.layers[1].weight[7] = f32::NAN;
        let error = Classifier::from_bytes(&nan.to_bytes().unwrap()).err().unwrap();
        assert_eq!(error.to_string(), "the classifier's `conv2.weight`: value 7 is not finite");
        let empty = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap();
        let error = Classifier::from_bytes(&empty).err().unwrap();
        assert_eq!(error.to_string(), "the classifier's `conv1.weight`: missing");
    }

    #[test]
    fn images_of_another_size_are_errors() {
        let error = classifier().features(&[0; 32 * 32]).unwrap_err();
        assert!(matches!(error, EvalError::PartialImage { bytes: 1024, pixels: PIXELS, .. }));
        assert!(Classifier::check_shape(1, 28, 28).is_ok());
        let shape = |side| ImageShape { height: side, width: side, channels: 1 };
        let mut names = FASHION_MNIST_CLASSES.map(String::from);
        assert!(Classifier::knows(shape(28), &names) && !Classifier::knows(shape(32), &names));
        // Ten digits in 28 x 28 grey pixels, and its own classes in another order.
        assert!(!Classifier::knows(shape(28), &std::array::from_fn::<_, 10, _>(|digit| digit.to_string())));
        names.swap(0, 1);
        assert!(!Classifier::knows(shape(28), &names));
        let error = Classifier::check_shape(3, 32, 32).unwrap_err();
        assert!(error.to_string().contains("3x32x32"), "{error}");
        assert!(error.hint().is_some());
        assert!(classifier().predict(&[]).unwrap().is_empty());
    }
}
