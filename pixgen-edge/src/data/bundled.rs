//! The grey data set inside the binary: 10,000 Fashion-MNIST training images, 1,000 of each class.
//!
//! tests/gen/fashion_subset.py makes the files; data/fashion-mnist-10k/README.md states their licence (MIT).

use std::path::Path;

use crate::data::{DataError, Dataset, SPLIT_SEED, idx};

/// Name of the bundled data set in configurations and reports.
pub const BUNDLED_NAME: &str = "fashion-mnist-10k";

static IMAGES: &[u8] = include_bytes!("../../data/fashion-mnist-10k/train-images-idx3-ubyte.gz");
static LABELS: &[u8] = include_bytes!("../../data/fashion-mnist-10k/train-labels-idx1-ubyte.gz");

/// The bundled images at their native 28 x 28 x 1.
///
/// # Errors
/// Only if the files were damaged when the program was built.
pub fn bundled() -> Result<Dataset, DataError> {
    let images = idx::read_images(IMAGES, Path::new("bundled images"))?;
    let labels = idx::read_labels(LABELS, Path::new("bundled labels"))?;
    idx::join(images, labels, idx::FASHION_MNIST_CLASSES.map(String::from).to_vec(), format!("bundled {BUNDLED_NAME}"))
}

/// The bundled images as (training, held out): 9,000 that models are trained on and 1,000 that none sees.
///
/// # Errors
/// Those of [`bundled`].
pub fn bundled_split() -> Result<(Dataset, Dataset), DataError> {
    bundled()?.split(1000, SPLIT_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_thousand_images_of_each_class() {
        let data = bundled().unwrap();
        assert_eq!(data.len(), 10_000);
        assert_eq!(data.shape.to_string(), "28x28x1");
        assert_eq!(data.class_counts(), [1000; 10]);
        assert_eq!(data.class_names[9], "Ankle boot");
        // Measured by tests/gen/fashion_subset.py's source data: Fashion-MNIST is dark, mean 0.286.
        let mean = data.pixels().unwrap().iter().map(|&p| f64::from(p)).sum::<f64>() / (255.0 * data.bytes_in_memory() as f64);
        assert!((mean - 0.286).abs() < 0.003, "{mean}");
    }

    #[test]
    fn fits_in_a_crate() {
        assert!(IMAGES.len() + LABELS.len() <= 5_000_000);
    }
}
