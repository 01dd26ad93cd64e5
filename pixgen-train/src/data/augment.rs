//! The three images of stage 1: two random views and the plain image (docs/reference/method.md section 3.4, after MoCo v3).
//!
//! A view is, in this order: random resized crop (with the flip), colour jitter, grey, Gaussian blur, solarise. `crop`, `colour` and
//! `blur` hold the operations. Images come in as H W C bytes and go out as H W C floats in 0..1.

mod blur;
mod colour;
mod crop;
mod profile;

pub use profile::AugmentProfile;

use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use std::borrow::Cow;

use pixgen_edge::data::ImageShape;

/// Working memory of [`views`], reused from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    columns: Vec<crop::Tap>,
    blur: blur::Buffers,
}

/// The random numbers of the image at `position` in the order of training; [`views`] and then [`plain`] read on from the same draws.
pub const fn draws_at(seed: u64, position: u64) -> Draws {
    Draws::new(Rng::new(seed, stream(Purpose::Augmentation, position)), 0)
}

/// Two independent views of `image`, each H W C in 0..1.
///
/// # Panics
/// If a slice does not have the length of `shape`.
pub fn views(
    profile: &AugmentProfile,
    shape: ImageShape,
    image: &[u8],
    rng: &mut Draws,
    out1: &mut [f32],
    out2: &mut [f32],
    scratch: &mut Scratch,
) {
    for (view, out) in [out1, out2].into_iter().enumerate() {
        assert_eq!((image.len(), out.len()), (shape.len(), shape.len()), "image and view");
        let area = crop::draw(profile, shape, rng);
        let mirror = draw_flip(profile, rng);
        crop::resample(shape, image, area, mirror, &mut scratch.columns, out);
        if rng.uniform() < profile.jitter_probability {
            colour::jitter(profile, shape.channels, out, rng);
        }
        if rng.uniform() < profile.grey_probability && shape.channels == 3 {
            colour::remove(out);
        }
        if rng.uniform() < profile.blur_probability[view] {
            let [low, high] = profile.blur_sigma;
            let sigma = low + (high - low) * rng.uniform();
            blur::gaussian(shape, sigma, out, &mut scratch.blur);
        }
        if rng.uniform() < profile.solarise_probability[view] {
            colour::solarise(out);
        }
    }
}

/// The whole image, mirrored or not, as H W C in 0..1.
///
/// # Panics
/// If a slice does not have the length of `shape`.
pub fn plain(profile: &AugmentProfile, shape: ImageShape, image: &[u8], rng: &mut Draws, out: &mut [f32]) {
    assert_eq!((image.len(), out.len()), (shape.len(), shape.len()), "image and output");
    for (out, &value) in out.iter_mut().zip(&*flipped(profile, shape, image, rng)) {
        *out = f32::from(value) * (1.0 / 255.0);
    }
}

/// The whole image, mirrored or not, as bytes.
pub fn flipped<'a>(profile: &AugmentProfile, shape: ImageShape, image: &'a [u8], rng: &mut Draws) -> Cow<'a, [u8]> {
    if !draw_flip(profile, rng) {
        return Cow::Borrowed(image);
    }
    let mut mirrored = Vec::with_capacity(image.len());
    for row in image.chunks_exact(shape.width * shape.channels) {
        row.chunks_exact(shape.channels).rev().for_each(|pixel| mirrored.extend_from_slice(pixel));
    }
    Cow::Owned(mirrored)
}

fn draw_flip(profile: &AugmentProfile, rng: &mut Draws) -> bool {
    profile.flip && rng.uniform() < 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY28: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };
    const COLOUR: ImageShape = ImageShape { height: 12, width: 10, channels: 3 };

    fn picture(shape: ImageShape) -> Vec<u8> {
        (0..shape.len()).map(|i| (i * 97 % 251) as u8).collect()
    }

    fn both(profile: &AugmentProfile, shape: ImageShape, image: &[u8], position: u64) -> [Vec<f32>; 2] {
        let mut out = [vec![0.0; shape.len()], vec![0.0; shape.len()]];
        let [one, two] = &mut out;
        views(profile, shape, image, &mut draws_at(5, position), one, two, &mut Scratch::default());
        out
    }

    /// A profile that changes nothing.
    fn still() -> AugmentProfile {
        AugmentProfile {
            crop_scale: [1.0, 1.0],
            crop_ratio: [1.0, 1.0],
            flip: false,
            jitter_probability: 0.0,
            grey_probability: 0.0,
            blur_probability: [0.0; 2],
            solarise_probability: [0.0; 2],
            ..AugmentProfile::moco_v3()
        }
    }

    #[test]
    fn a_profile_that_does_nothing_gives_the_image() {
        let image = picture(GREY28);
        let expected: Vec<f32> = image.iter().map(|&v| f32::from(v) / 255.0).collect();
        for view in both(&still(), GREY28, &image, 0) {
            for (a, b) in view.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn views_are_functions_of_the_position() {
        let image = picture(COLOUR);
        let profile = AugmentProfile::moco_v3();
        assert_eq!(both(&profile, COLOUR, &image, 3), both(&profile, COLOUR, &image, 3));
        assert_ne!(both(&profile, COLOUR, &image, 3), both(&profile, COLOUR, &image, 4));
        let [one, two] = both(&profile, COLOUR, &image, 3);
        assert_ne!(one, two);
    }

    #[test]
    fn values_stay_in_range_for_every_shape() {
        for shape in [
            GREY28,
            COLOUR,
            ImageShape { height: 1, width: 1, channels: 3 },
            ImageShape { height: 3, width: 50, channels: 1 },
        ] {
            let image = picture(shape);
            for position in 0..300 {
                for view in both(&AugmentProfile::moco_v3(), shape, &image, position) {
                    assert!(view.iter().all(|v| (0.0..=1.0).contains(v)), "{shape} at {position}");
                }
            }
        }
    }

    /// Each probability, measured with a profile that does nothing else. 4,000 draws: four standard errors are below 0.032.
    #[test]
    fn rates_are_those_of_the_profile() {
        let image = picture(COLOUR);
        let unchanged = both(&still(), COLOUR, &image, 0);
        let n = 4000;
        let rates = |profile: AugmentProfile| -> [f32; 2] {
            let mut changed = [0f32; 2];
            for position in 0..n {
                let out = both(&profile, COLOUR, &image, position);
                for view in 0..2 {
                    changed[view] += f32::from(u8::from(out[view] != unchanged[view]));
                }
            }
            changed.map(|c| c / n as f32)
        };
        let moco = AugmentProfile::moco_v3();
        let cases = [
            ("flip", AugmentProfile { flip: true, ..still() }, [0.5, 0.5]),
            ("jitter", AugmentProfile { jitter_probability: moco.jitter_probability, ..still() }, [0.8, 0.8]),
            ("grey", AugmentProfile { grey_probability: moco.grey_probability, ..still() }, [0.2, 0.2]),
            (
                "blur",
                AugmentProfile { blur_probability: moco.blur_probability, blur_sigma: [1.0, 2.0], ..still() },
                [1.0, 0.1],
            ),
            ("solarise", AugmentProfile { solarise_probability: moco.solarise_probability, ..still() }, [0.0, 0.2]),
        ];
        for (name, profile, expected) in cases {
            let found = rates(profile);
            for view in 0..2 {
                assert!((found[view] - expected[view]).abs() < 0.032, "{name}: {found:?}");
            }
        }
    }

    #[test]
    fn grey_images_ignore_colour_operations() {
        let image = picture(GREY28);
        let profile = AugmentProfile {
            jitter_probability: 1.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 1.0,
            hue: 0.5,
            grey_probability: 1.0,
            ..still()
        };
        assert_eq!(both(&profile, GREY28, &image, 9), both(&still(), GREY28, &image, 9));
    }

    #[test]
    fn plain_only_mirrors() {
        let image = [0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6];
        let shape = ImageShape { height: 2, width: 2, channels: 3 };
        let straight: Vec<f32> = image.iter().map(|&v| f32::from(v) / 255.0).collect();
        let mirrored: Vec<f32> = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8].map(|i| straight[i]).to_vec();
        let mut seen = [0; 2];
        for position in 0..100 {
            let mut out = vec![0.0; 12];
            plain(&AugmentProfile::small_image(), shape, &image, &mut draws_at(0, position), &mut out);
            let close = |to: &[f32]| out.iter().zip(to).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close(&straight) || close(&mirrored));
            seen[usize::from(close(&mirrored))] += 1;
        }
        assert!(seen.iter().all(|&n| n > 30), "{seen:?}");
    }

    #[test]
    fn profiles_are_checked_and_survive_toml() {
        for profile in [AugmentProfile::moco_v3(), AugmentProfile::small_image()] {
            profile.check().unwrap();
            let text = toml::to_string(&profile).unwrap();
            assert_eq!(toml::from_str::<AugmentProfile>(&text).unwrap(), profile);
        }
        let mut bad = AugmentProfile::moco_v3();
        bad.crop_scale = [1.0, 0.5];
        let error = bad.check().unwrap_err().to_string();
        assert_eq!(error, "crop_scale is [1.0, 0.5], expected [lowest, highest]");
        bad = AugmentProfile::moco_v3();
        bad.hue = f32::NAN;
        assert_eq!(bad.check().unwrap_err().to_string(), "hue is NaN, expected a number from 0 to 0.5");
    }
}
