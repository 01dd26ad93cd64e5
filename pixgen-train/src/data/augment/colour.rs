//! Operations on the values of single pixels, in 0..1: jitter, grey, solarise.

use pixgen_core::rng::Draws;

use super::profile::AugmentProfile;

/// Values from here on are inverted by [`solarise`].
const SOLARISE_FROM: f32 = 128.0 / 255.0;

/// Brightness, contrast, saturation and hue in random order; the last two for colour images only.
pub(super) fn jitter(profile: &AugmentProfile, channels: usize, image: &mut [f32], rng: &mut Draws) {
    let order = draw_order(rng);
    let mut around = |middle: f32, spread: f32| middle + spread * (2.0 * rng.uniform() - 1.0);
    let brightness = around(1.0, profile.brightness);
    let contrast = around(1.0, profile.contrast);
    let saturation = around(1.0, profile.saturation);
    let hue = around(0.0, profile.hue);
    for operation in order {
        match operation {
            0 => scale(image, brightness),
            1 if channels == 1 => stretch_grey(image, contrast),
            1 => stretch(image, contrast),
            2 if channels == 3 => saturate(image, saturation),
            3 if channels == 3 => turn_hue(image, hue),
            _ => {}
        }
    }
}

/// A uniform permutation (Fisher and Yates).
fn draw_order(rng: &mut Draws) -> [u8; 4] {
    let mut order = [0, 1, 2, 3];
    for last in (1..order.len()).rev() {
        order.swap(last, rng.below(last as u32 + 1) as usize);
    }
    order
}

/// Replaces colours by their grey.
pub(super) fn remove(image: &mut [f32]) {
    for pixel in image.chunks_exact_mut(3) {
        let grey = grey_of(pixel);
        pixel.fill(grey);
    }
}

/// Inverts the bright values.
pub(super) fn solarise(image: &mut [f32]) {
    for value in image {
        if *value >= SOLARISE_FROM {
            *value = 1.0 - *value;
        }
    }
}

/// BT.601, as in [`pixgen_edge::data::luma`].
fn grey_of(pixel: &[f32]) -> f32 {
    0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

fn scale(image: &mut [f32], factor: f32) {
    for value in image {
        *value = (*value * factor).clamp(0.0, 1.0);
    }
}

/// Moves all values away from (factor > 1) or towards the mean grey of the image.
fn stretch(image: &mut [f32], factor: f32) {
    let sum: f32 = image.chunks_exact(3).map(grey_of).sum();
    blend(image, 3.0 * sum / image.len() as f32, factor);
}

fn stretch_grey(image: &mut [f32], factor: f32) {
    let sum: f32 = image.iter().sum();
    blend(image, sum / image.len() as f32, factor);
}

fn blend(image: &mut [f32], with: f32, factor: f32) {
    let offset = with * (1.0 - factor);
    for value in image {
        *value = (*value * factor + offset).clamp(0.0, 1.0);
    }
}

/// Moves each pixel away from or towards its own grey.
fn saturate(image: &mut [f32], factor: f32) {
    for pixel in image.chunks_exact_mut(3) {
        let grey = grey_of(pixel);
        blend(pixel, grey, factor);
    }
}

/// Turns the hue by `turn`, at most half a circle either way, with saturation and value of the HSV model unchanged.
fn turn_hue(image: &mut [f32], turn: f32) {
    let turn = 6.0 * turn;
    for pixel in image.chunks_exact_mut(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]];
        let (high, low) = (r.max(g).max(b), r.min(g).min(b));
        let chroma = high - low;
        if chroma <= 0.0 {
            continue;
        }
        // Sixths of the circle: red 0, green 2, blue 4.
        let hue = if high == r {
            (g - b) / chroma
        } else if high == g {
            2.0 + (b - r) / chroma
        } else {
            4.0 + (r - g) / chroma
        };
        let hue = hue + turn;
        // The share of each primary falls off with its distance on the circle: 1 up to one sixth, 0 from two on. The hue lies in
        // [-4, 8], so the distance to one of the three images of the primary is right.
        for (value, centre) in pixel.iter_mut().zip([0.0, 2.0, 4.0]) {
            let apart = (hue - centre).abs();
            let distance = apart.min((6.0 - apart).abs());
            *value = low + chroma * (2.0 - distance).clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::draws_at;

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn hand_values() {
        let mut image = [0.1, 0.5, 0.9];
        scale(&mut image, 1.2);
        assert_close(&image, &[0.12, 0.6, 1.0]);

        let mut image = [0.2, 0.4, 0.6];
        stretch_grey(&mut image, 0.5);
        assert_close(&image, &[0.3, 0.4, 0.5]);

        // Greys of red and white: 0.299 and 1; their mean is 0.6495.
        let mut image = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        stretch(&mut image, 0.0);
        assert_close(&image, &[0.6495; 6]);

        let mut image = [1.0, 0.0, 0.0];
        saturate(&mut image, 0.5);
        assert_close(&image, &[0.6495, 0.1495, 0.1495]);
        remove(&mut image);
        assert_close(&image, &[0.299; 3]);

        let mut image = [0.0, 0.5, 128.0 / 255.0, 1.0];
        solarise(&mut image);
        assert_close(&image, &[0.0, 0.5, 127.0 / 255.0, 0.0]);
    }

    #[test]
    fn hue_turns_around_the_circle() {
        let red = [0.8, 0.2, 0.2];
        for (turn, expected) in [
            (1.0 / 3.0, [0.2, 0.8, 0.2]),
            (-1.0 / 3.0, [0.2, 0.2, 0.8]),
            (1.0 / 6.0, [0.8, 0.8, 0.2]),
            (1.0 / 12.0, [0.8, 0.5, 0.2]),
            (0.5, [0.2, 0.8, 0.8]),
        ] {
            let mut image = red;
            turn_hue(&mut image, turn);
            assert_close(&image, &expected);
        }
        let mut grey = [0.4; 3];
        turn_hue(&mut grey, 0.3);
        assert_eq!(grey, [0.4; 3]);
        // There and back for many colours.
        let image: Vec<f32> = (0..300).map(|i| (i * 53 % 101) as f32 / 100.0).collect();
        let mut turned = image.clone();
        turn_hue(&mut turned, 0.23);
        turn_hue(&mut turned, -0.23);
        assert_close(&turned, &image);
    }

    /// Brightness alone on a constant image shows the factor: U(0.6, 1.4) has mean 1 and standard deviation 0.8 / sqrt(12) = 0.231.
    #[test]
    fn factors_are_uniform() {
        let profile = AugmentProfile { contrast: 0.0, ..AugmentProfile::moco_v3() };
        let factors: Vec<f64> = (0..5000)
            .map(|position| {
                let mut image = [0.5];
                jitter(&profile, 1, &mut image, &mut draws_at(1, position));
                f64::from(image[0]) * 2.0
            })
            .collect();
        let n = factors.len() as f64;
        let mean = factors.iter().sum::<f64>() / n;
        let std = (factors.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!((mean - 1.0).abs() < 0.014, "{mean}");
        assert!((std - 0.231).abs() < 0.008, "{std}");
        assert!(factors.iter().all(|f| (0.5999..=1.4001).contains(f)));
    }

    /// 24 orders over 24,000 draws: four standard errors are 124.
    #[test]
    fn every_order_is_as_likely() {
        let mut counts = std::collections::HashMap::new();
        for position in 0..24_000 {
            *counts.entry(draw_order(&mut draws_at(2, position))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|n| (876..1124).contains(n)), "{counts:?}");
    }
}
