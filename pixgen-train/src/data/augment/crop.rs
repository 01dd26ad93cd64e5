//! Random resized crop: draw a part of the image, then resample it bilinearly to the full size.

use pixgen_core::rng::Draws;

use super::profile::AugmentProfile;
use pixgen_edge::data::ImageShape;

/// Crops to try before falling back on the centre.
const TRIES: usize = 10;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// Two input positions and the weight of the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    first: usize,
    second: usize,
    weight: f32,
}

/// Draws an area: its share of the image is uniform, the logarithm of its ratio is uniform, its place is uniform. If ten draws do not
/// fit, the largest centred part with an allowed ratio.
pub(super) fn draw(profile: &AugmentProfile, shape: ImageShape, rng: &mut Draws) -> Area {
    let between = |[low, high]: [f32; 2], u: f32| low + (high - low) * u;
    let (height, width) = (shape.height as f32, shape.width as f32);
    let log_ratio = profile.crop_ratio.map(f32::ln);
    for _ in 0..TRIES {
        let area = height * width * between(profile.crop_scale, rng.uniform());
        let ratio = between(log_ratio, rng.uniform()).exp();
        let w = (area * ratio).sqrt().round() as usize;
        let h = (area / ratio).sqrt().round() as usize;
        if (1..=shape.width).contains(&w) && (1..=shape.height).contains(&h) {
            return Area {
                top: rng.below((shape.height - h + 1) as u32) as usize,
                left: rng.below((shape.width - w + 1) as u32) as usize,
                height: h,
                width: w,
            };
        }
    }
    let [low, high] = profile.crop_ratio;
    let w = shape.width.min((height * high).round().max(1.0) as usize);
    let h = shape.height.min((width / low).round().max(1.0) as usize);
    Area { top: (shape.height - h) / 2, left: (shape.width - w) / 2, height: h, width: w }
}

/// Resamples `area` of `image` to the full `shape`, as 0..1. An area is never larger than the output, so no low-pass filter is needed.
pub(super) fn resample(shape: ImageShape, image: &[u8], area: Area, mirror: bool, columns: &mut Vec<Tap>, out: &mut [f32]) {
    let channels = shape.channels;
    let row = shape.width * channels;
    columns.clear();
    columns.extend(taps(area.left, area.width, shape.width));
    if mirror {
        columns.reverse();
    }
    for (tap, out) in taps(area.top, area.height, shape.height).zip(out.chunks_exact_mut(row)) {
        let upper = &image[tap.first * row..][..row];
        let lower = &image[tap.second * row..][..row];
        match channels {
            1 => resample_row::<1>(upper, lower, tap.weight, columns, out),
            _ => resample_row::<3>(upper, lower, tap.weight, columns, out),
        }
    }
}

/// One output row from two input rows.
fn resample_row<const CHANNELS: usize>(upper: &[u8], lower: &[u8], weight: f32, columns: &[Tap], out: &mut [f32]) {
    let lower_weight = weight * (1.0 / 255.0);
    let upper_weight = (1.0 - weight) * (1.0 / 255.0);
    for (tap, out) in columns.iter().zip(out.chunks_exact_mut(CHANNELS)) {
        for (c, out) in out.iter_mut().enumerate() {
            let at = |pixel: usize| {
                let i = pixel * CHANNELS + c;
                f32::from(upper[i]) * upper_weight + f32::from(lower[i]) * lower_weight
            };
            let (first, second) = (at(tap.first), at(tap.second));
            // Rounding may leave a hair above one.
            *out = (first + (second - first) * tap.weight).min(1.0);
        }
    }
}

/// The taps of `output` equal steps over `length` pixels from `start`; pixel centres lie at +1/2.
fn taps(start: usize, length: usize, output: usize) -> impl Iterator<Item = Tap> {
    let step = length as f32 / output as f32;
    (0..output).map(move |i| {
        let at = ((i as f32 + 0.5) * step - 0.5).clamp(0.0, (length - 1) as f32);
        let first = at as usize;
        Tap {
            first: start + first,
            second: start + (first + 1).min(length - 1),
            weight: at - first as f32,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::draws_at;

    const SQUARE: ImageShape = ImageShape { height: 64, width: 64, channels: 1 };

    #[test]
    fn areas_have_the_wanted_distribution() {
        let profile = AugmentProfile::moco_v3();
        let n = 20_000;
        let (mut share, mut log_ratio, mut top, mut left) = (0.0, 0.0, 0.0, 0.0);
        for position in 0..n {
            let area = draw(&profile, SQUARE, &mut draws_at(3, position));
            assert!(area.top + area.height <= 64 && area.left + area.width <= 64);
            let ratio = area.width as f64 / area.height as f64;
            // Sides are rounded: at least 16 pixels, so the ratio is off by 7 % at most.
            assert!((0.69..1.44).contains(&ratio), "{area:?}");
            share += (area.width * area.height) as f64 / 4096.0;
            log_ratio += ratio.ln();
            top += area.top as f64 - (64 - area.height) as f64 / 2.0;
            left += area.left as f64 - (64 - area.width) as f64 / 2.0;
        }
        let n = n as f64;
        // A share s above 3/4 fits with probability -ln s / ln(4/3), which lowers the mean of U(0.08, 1) to 0.478 (by integration).
        assert!((share / n - 0.478).abs() < 0.01, "{}", share / n);
        assert!((log_ratio / n).abs() < 0.01, "{}", log_ratio / n);
        assert!((top / n).abs() < 0.3 && (left / n).abs() < 0.3, "{} {}", top / n, left / n);
    }

    #[test]
    fn areas_that_never_fit_fall_back_on_the_centre() {
        let thin = ImageShape { height: 10, width: 100, channels: 1 };
        let profile = AugmentProfile { crop_scale: [1.0, 1.0], ..AugmentProfile::moco_v3() };
        let area = draw(&profile, thin, &mut draws_at(0, 0));
        let centre = Area { top: 0, left: 43, height: 10, width: 13 };
        assert_eq!(area, centre);
    }

    #[test]
    fn resampling_matches_hand_values() {
        let shape = ImageShape { height: 1, width: 4, channels: 1 };
        let area = Area { top: 0, left: 1, height: 1, width: 2 };
        let mut out = [0.0; 4];
        resample(shape, &[9, 0, 255, 9], area, false, &mut Vec::new(), &mut out);
        // Positions -0.25, 0.25, 0.75, 1.25 between the two pixels, clamped: nothing leaks in from outside the area.
        for (found, expected) in out.iter().zip([0.0, 0.25, 0.75, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{out:?}");
        }
        let mut mirrored = [0.0; 4];
        resample(shape, &[9, 0, 255, 9], area, true, &mut Vec::new(), &mut mirrored);
        mirrored.reverse();
        assert_eq!(mirrored, out);
    }

    #[test]
    fn channels_stay_apart() {
        let shape = ImageShape { height: 2, width: 2, channels: 3 };
        let area = Area { top: 0, left: 0, height: 1, width: 1 };
        let mut out = [0.0; 12];
        resample(shape, &[10, 20, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0], area, false, &mut Vec::new(), &mut out);
        for pixel in out.chunks(3) {
            let bytes: Vec<u8> = pixel.iter().map(|v| (v * 255.0).round() as u8).collect();
            assert_eq!(bytes, [10, 20, 30]);
        }
    }
}
