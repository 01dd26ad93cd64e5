//! The settings of the views.

use pixgen_edge::data::DataError;
use serde::{Deserialize, Serialize};

/// How views are made. Pairs are [lowest, highest], or [view 1, view 2] for probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentProfile {
    /// Area of a view as a share of the picture: [lowest, highest].
    pub crop_scale: [f32; 2],
    /// Width of a view over its height: [lowest, highest].
    pub crop_ratio: [f32; 2],
    /// Mirror left and right with probability 1/2; off for data such as digits, where it changes the meaning.
    pub flip: bool,
    /// Probability of colour jitter in a view.
    pub jitter_probability: f32,
    /// Brightness factor from 1 - this to 1 + this.
    pub brightness: f32,
    /// Contrast factor, likewise.
    pub contrast: f32,
    /// Saturation factor, likewise; colour images only.
    pub saturation: f32,
    /// Turn of the hue in either direction, in full circles; colour images only.
    pub hue: f32,
    /// Probability of removing the colour; colour images only.
    pub grey_probability: f32,
    /// Probability of blur: [view 1, view 2].
    pub blur_probability: [f32; 2],
    /// Standard deviation of the blur in pixels: [lowest, highest].
    pub blur_sigma: [f32; 2],
    /// Probability of solarising (inverting values of 128/255 and above): [view 1, view 2].
    pub solarise_probability: [f32; 2],
}

impl AugmentProfile {
    /// MoCo v3 as used for ImageNet.
    pub const fn moco_v3() -> Self {
        Self {
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: true,
            jitter_probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
            grey_probability: 0.2,
            blur_probability: [1.0, 0.1],
            blur_sigma: [0.1, 2.0],
            solarise_probability: [0.0, 0.2],
        }
    }

    /// For images of 32 pixels and less: larger crops, half the jitter, no grey, no blur.
    pub const fn small_image() -> Self {
        Self {
            crop_scale: [0.3, 1.0],
            brightness: 0.2,
            contrast: 0.2,
            saturation: 0.1,
            hue: 0.05,
            grey_probability: 0.0,
            blur_probability: [0.0, 0.0],
            ..Self::moco_v3()
        }
    }

    /// Refuses numbers outside their range.
    pub fn check(&self) -> Result<(), DataError> {
        let within = |field, values: &[f32], low: f32, high: f32, expected| {
            let bad = values.iter().find(|v| !(low..=high).contains(*v));
            bad.map_or(Ok(()), |value| Err(DataError::Setting { field, found: value.to_string(), expected }))
        };
        let ascending = |field, pair: [f32; 2]| {
            if pair[0] <= pair[1] {
                return Ok(());
            }
            Err(DataError::Setting { field, found: format!("{pair:?}"), expected: "[lowest, highest]" })
        };
        const UNIT: &str = "a number from 0 to 1";
        within("crop_scale", &self.crop_scale, 1e-4, 1.0, "numbers from 0.0001 to 1")?;
        within("crop_ratio", &self.crop_ratio, 0.01, 100.0, "numbers from 0.01 to 100")?;
        within("blur_sigma", &self.blur_sigma, 0.01, 16.0, "numbers from 0.01 to 16")?;
        ascending("crop_scale", self.crop_scale)?;
        ascending("crop_ratio", self.crop_ratio)?;
        ascending("blur_sigma", self.blur_sigma)?;
        within("jitter_probability", &[self.jitter_probability], 0.0, 1.0, UNIT)?;
        within("brightness", &[self.brightness], 0.0, 1.0, UNIT)?;
        within("contrast", &[self.contrast], 0.0, 1.0, UNIT)?;
        within("saturation", &[self.saturation], 0.0, 1.0, UNIT)?;
        within("hue", &[self.hue], 0.0, 0.5, "a number from 0 to 0.5")?;
        within("grey_probability", &[self.grey_probability], 0.0, 1.0, UNIT)?;
        within("blur_probability", &self.blur_probability, 0.0, 1.0, UNIT)?;
        within("solarise_probability", &self.solarise_probability, 0.0, 1.0, UNIT)
    }
}
