//! Bytes to network numbers and back: x = (byte / 255 - mean) / std (docs/reference/method.md section 1).
//!
//! The noise process assumes data with a standard deviation of sigma_data = 0.5 about a mean of 0.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{DataError, Dataset};

/// Most images that [`Normalisation::measured`] looks at. Their mean is within a thousandth of the whole's.
const MEASURED: usize = 1 << 16;

/// An affine map per channel. Grey images use the first entry.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Value on the 0..1 scale that becomes 0.
    pub mean: [f32; 3],
    /// Distance on the 0..1 scale that becomes 1.
    pub std: [f32; 3],
}

impl Normalisation {
    /// ImageNet's mean and twice its standard deviation.
    pub const fn imagenet() -> Self {
        Self { mean: [0.485, 0.456, 0.406], std: [2.0 * 0.229, 2.0 * 0.224, 2.0 * 0.225] }
    }

    /// 0..1 to -1..1.
    pub const fn simple() -> Self {
        Self { mean: [0.5; 3], std: [0.5; 3] }
    }

    /// The measured mean of each channel and one common `std`, so that the values of all channels together have the standard
    /// deviation `sigma_data`. One `std` keeps the balance of colours. Images of a single value count as one grey step (1/255) wide.
    /// Of more than 65,536 images, so many are measured, evenly spread over the set.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn measured(dataset: &Dataset, sigma_data: f32) -> Result<Self, DataError> {
        let channels = dataset.shape.channels;
        let measured = dataset.len().min(MEASURED);
        let none = || vec![[0u64; 256]; channels];
        let count = |mut counts: Vec<[u64; 256]>, number: usize| {
            let index = (number as u128 * dataset.len() as u128 / measured as u128) as usize;
            for pixel in dataset.image(index)?.chunks_exact(channels) {
                for (count, &value) in counts.iter_mut().zip(pixel) {
                    count[usize::from(value)] += 1;
                }
            }
            Ok::<_, DataError>(counts)
        };
        let add = |mut a: Vec<[u64; 256]>, b: Vec<[u64; 256]>| {
            a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += b);
            Ok(a)
        };
        let counts = (0..measured).into_par_iter().try_fold(none, count).try_reduce(none, add)?;
        // Exact integers up to here: the result does not depend on the order of the images.
        let moment = |count: &[u64; 256], f: &dyn Fn(f64) -> f64| -> f64 {
            let total: u64 = count.iter().sum();
            let sum: f64 = (0u8..=255).map(|v| count[usize::from(v)] as f64 * f(f64::from(v) / 255.0)).sum();
            sum / total.max(1) as f64
        };
        let means: Vec<f64> = counts.iter().map(|count| moment(count, &|x| x)).collect();
        let variance = counts
            .iter()
            .zip(&means)
            .map(|(count, mean)| moment(count, &|x| (x - mean).powi(2)))
            .sum::<f64>()
            / channels as f64;
        let std = variance.sqrt().max(1.0 / 255.0) / f64::from(sigma_data);
        Ok(Self { mean: std::array::from_fn(|c| means[c.min(channels - 1)] as f32), std: [std as f32; 3] })
    }

    /// Refuses values that do not describe a map, for example from a damaged file.
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |field, found: [f32; 3], expected| DataError::Setting { field, found: format!("{found:?}"), expected };
        if !self.mean.iter().all(|m| m.is_finite()) {
            return Err(refuse("normalisation.mean", self.mean, "finite numbers"));
        }
        if !self.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(refuse("normalisation.std", self.std, "finite numbers above 0"));
        }
        Ok(())
    }

    /// Normalises H W C bytes into `out` of the same length.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn normalise(&self, channels: usize, image: &[u8], out: &mut [f32]) {
        assert_eq!(image.len(), out.len(), "image and output");
        let (scale, offset) = self.affine(1.0 / 255.0);
        for (out, image) in out.chunks_exact_mut(channels).zip(image.chunks_exact(channels)) {
            for c in 0..channels {
                out[c] = f32::from(image[c]) * scale[c] + offset[c];
            }
        }
    }

    /// What each byte of each channel becomes, as by [`normalise_unit`](Self::normalise_unit).
    pub fn table(&self) -> [[f32; 256]; 3] {
        let (scale, offset) = self.affine(1.0);
        std::array::from_fn(|c| std::array::from_fn(|byte| byte as f32 * (1.0 / 255.0) * scale[c] + offset[c]))
    }

    /// Normalises H W C values on the 0..1 scale in place.
    pub fn normalise_unit(&self, channels: usize, image: &mut [f32]) {
        let (scale, offset) = self.affine(1.0);
        for pixel in image.chunks_exact_mut(channels) {
            for c in 0..channels {
                pixel[c] = pixel[c] * scale[c] + offset[c];
            }
        }
    }

    /// Back to bytes: rounded, and clamped to 0..=255; NaN becomes 0.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn to_u8(&self, channels: usize, image: &[f32], out: &mut [u8]) {
        assert_eq!(image.len(), out.len(), "image and output");
        for (out, image) in out.chunks_exact_mut(channels).zip(image.chunks_exact(channels)) {
            for c in 0..channels {
                // `as` saturates.
                out[c] = ((image[c] * self.std[c] + self.mean[c]) * 255.0).round() as u8;
            }
        }
    }

    /// The smallest and largest number that a byte of any of `channels` channels can become.
    pub fn range(&self, channels: usize) -> (f32, f32) {
        let (scale, offset) = self.affine(1.0);
        (0..channels.min(3)).fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), c| (low.min(offset[c]), high.max(scale[c] + offset[c])))
    }

    /// (scale, offset) with x = value * scale + offset, for values that count `unit` each.
    fn affine(&self, unit: f32) -> ([f32; 3], [f32; 3]) {
        (self.std.map(|std| unit / std), std::array::from_fn(|c| -self.mean[c] / self.std[c]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    fn dataset(channels: usize, pixels: Vec<u8>) -> Dataset {
        let shape = ImageShape { height: 1, width: pixels.len() / channels, channels };
        Dataset::new(shape, pixels, vec![0], vec!["c".into()], "test".into()).unwrap()
    }

    #[test]
    fn bytes_survive_the_round_trip() {
        let image: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
        for normalisation in [
            Normalisation::imagenet(),
            Normalisation::simple(),
            Normalisation::measured(&dataset(3, image.clone()), 0.5).unwrap(),
        ] {
            for channels in [1, 3] {
                let mut numbers = vec![0.0; image.len()];
                normalisation.normalise(channels, &image, &mut numbers);
                let (low, high) = normalisation.range(channels);
                assert!(numbers.iter().all(|&x| x >= low - 1e-6 && x <= high + 1e-6));
                let mut back = vec![0; image.len()];
                normalisation.to_u8(channels, &numbers, &mut back);
                assert_eq!(back, image);

                let mut unit: Vec<f32> = image.iter().map(|&v| f32::from(v) / 255.0).collect();
                normalisation.normalise_unit(channels, &mut unit);
                for (a, b) in unit.iter().zip(&numbers) {
                    assert!((a - b).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn ranges_are_those_of_the_method() {
        assert_eq!(Normalisation::simple().range(3), (-1.0, 1.0));
        let (low, high) = Normalisation::imagenet().range(3);
        assert!((low + 1.0590).abs() < 1e-3 && (high - 1.32).abs() < 1e-3, "{low} {high}");
    }

    #[test]
    fn measured_data_have_the_wanted_spread() {
        // Red varies, green less, blue not at all.
        let pixels: Vec<u8> = (0..1000u32).flat_map(|i| [(i * 37 % 256) as u8, 100 + (i % 20) as u8, 7]).collect();
        let data = dataset(3, pixels);
        let map = Normalisation::measured(&data, 0.5).unwrap();
        assert_eq!(map.std[0], map.std[2]);
        let pixels = data.pixels().unwrap();
        let mut x = vec![0.0; pixels.len()];
        map.normalise(3, &pixels, &mut x);
        let n = x.len() as f32;
        let variance = x.iter().map(|v| v * v).sum::<f32>() / n;
        assert!((variance.sqrt() - 0.5).abs() < 1e-4, "{variance}");
        for c in 0..3 {
            let mean = x.iter().skip(c).step_by(3).sum::<f32>() / (n / 3.0);
            assert!(mean.abs() < 1e-4, "channel {c}: {mean}");
        }
        let constant = Normalisation::measured(&dataset(1, vec![9; 16]), 0.5).unwrap();
        assert!(constant.check().is_ok(), "{constant:?}");
    }

    #[test]
    fn numbers_outside_the_range_clamp() {
        let mut out = [9; 4];
        Normalisation::simple().to_u8(1, &[-3.0, 3.0, f32::NAN, f32::INFINITY], &mut out);
        assert_eq!(out, [0, 255, 0, 255]);
    }

    #[test]
    fn damaged_maps_are_refused() {
        let mut map = Normalisation::simple();
        map.std[1] = 0.0;
        let error = map.check().unwrap_err().to_string();
        assert_eq!(error, "normalisation.std is [0.5, 0.0, 0.5], expected finite numbers above 0");
        map = Normalisation::simple();
        map.mean[2] = f32::NAN;
        assert!(map.check().is_err());
    }
}
