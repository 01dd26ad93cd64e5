//! Brings an image of any size and colour to the training shape as ADM does (`center_crop_arr` of guided-diffusion): halve with a box
//! while both sides are at least twice the target's, then bicubic to the size that just covers the target, then the centre of it.
//!
//! The filters are those of Pillow, in whose 8-bit arithmetic ADM's pictures are made: weights are rounded to 22 bits, rows come before
//! columns, and each pass rounds to bytes. So the results are those of Pillow 11, byte for byte; Pillow 13 takes columns first for upright
//! pictures, which differ by a grey level (tests/gen/center_crop.py). Of the bicubic pass only the pixels of the centre are computed, which
//! keeps time and memory bounded for extreme aspects.

use std::borrow::Cow;
use std::ops::Range;

use crate::data::ImageShape;

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// Grey of a colour by BT.601, Y = 0.299 R + 0.587 G + 0.114 B, rounded. Equal channels keep their value.
pub fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000) as u8
}

/// The image `pixels` of shape `from` in the shape `to`. Equal shapes give equal bytes.
///
/// Sides must be at least 1 and channels 1 or 3; `from` may be larger than a training shape.
///
/// # Panics
/// If `pixels` does not have the length of `from`.
pub fn fit(pixels: Vec<u8>, from: ImageShape, to: ImageShape) -> Vec<u8> {
    assert_eq!(pixels.len(), from.len(), "pixels of {from}");
    let mut pixels = convert(pixels, from.channels, to.channels);
    let mut size = ImageShape { channels: to.channels, ..from };
    while size.height >= 2 * to.height && size.width >= 2 * to.width {
        let (height, width) = (size.height / 2, size.width / 2);
        pixels = resample(&pixels, size, &BOX, [(height, 0..height), (width, 0..width)]);
        size = ImageShape { height, width, ..size };
    }
    if size == to {
        return pixels;
    }
    let scale = (to.height as f64 / size.height as f64).max(to.width as f64 / size.width as f64);
    // The pixels of the centre, out of the whole scaled side.
    let centre = |side: usize, wanted: usize| {
        let whole = ((side as f64 * scale).round_ties_even() as usize).max(wanted);
        let start = (whole - wanted) / 2;
        (whole, start..start + wanted)
    };
    resample(&pixels, size, &BICUBIC, [centre(size.height, to.height), centre(size.width, to.width)])
}

/// Grey to colour by repetition, colour to grey by [`luma`].
fn convert(pixels: Vec<u8>, from: usize, to: usize) -> Vec<u8> {
    match (from, to) {
        (1, 3) => pixels.iter().flat_map(|&p| [p; 3]).collect(),
        (3, 1) => pixels.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect(),
        _ => pixels,
    }
}

/// A filter: how far it reaches, and its value at a distance, both in pixels of the coarser side.
struct Filter {
    support: f64,
    value: fn(f64) -> f64,
}

const BOX: Filter = Filter { support: 0.5, value: |x| if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 } };

/// Catmull-Rom: Keys' cubic with a = -1/2.
const BICUBIC: Filter = Filter {
    support: 2.0,
    value: |x| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    },
};

/// What an output pixel is made of: weights of the input pixels from `start` on.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

impl Filter {
    /// The taps of output pixels `window` when `input` pixels become `output`.
    fn taps(&self, input: usize, output: usize, window: Range<usize>) -> Vec<Taps> {
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let support = self.support * stretch;
        let taps = |place: usize| {
            let centre = (place as f64 + 0.5) * scale;
            // Casts saturate at 0.
            let start = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weights: Vec<f64> = (start..end).map(|x| (self.value)((x as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (weight / sum * f64::from(1 << BITS)).round() as i32;
            Taps { start, weights: weights.iter().map(fixed).collect() }
        };
        window.map(taps).collect()
    }
}

/// Rows, then columns. Each side is given as its whole new length and the part of it that is wanted.
fn resample(pixels: &[u8], size: ImageShape, filter: &Filter, [rows, columns]: [(usize, Range<usize>); 2]) -> Vec<u8> {
    let (height, wanted_rows) = rows;
    let row_taps = (height != size.height).then(|| filter.taps(size.height, height, wanted_rows.clone()));
    // Input rows that the wanted ones are made of.
    let needed = match &row_taps {
        None => wanted_rows,
        Some(taps) => {
            let start = taps.first().map_or(0, |taps| taps.start);
            start..taps.last().map_or(start, |taps| taps.start + taps.weights.len())
        }
    };
    let row = size.width * size.channels;
    let needed_pixels = &pixels[needed.start * row..needed.end * row];
    let (width, wanted) = columns;
    let narrow = if width == size.width {
        let (start, end) = (wanted.start * size.channels, wanted.end * size.channels);
        match wanted.len() == width {
            true => Cow::Borrowed(needed_pixels),
            false => Cow::Owned(needed_pixels.chunks_exact(row).flat_map(|row| &row[start..end]).copied().collect()),
        }
    } else {
        let taps = filter.taps(size.width, width, wanted.clone());
        Cow::Owned(match size.channels {
            1 => across::<1>(needed_pixels, size.width, &taps),
            _ => across::<3>(needed_pixels, size.width, &taps),
        })
    };
    match row_taps {
        None => narrow.into_owned(),
        Some(taps) => down(&narrow, wanted.len() * size.channels, needed.start, &taps),
    }
}

/// The sum of a pixel's weighted inputs as a byte.
fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// Half a grey level, so that [`byte`] rounds.
const HALF: i32 = 1 << (BITS - 1);

/// Filters every row.
fn across<const C: usize>(pixels: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / width * taps.len());
    for row in pixels.chunks_exact(width * C) {
        for Taps { start, weights } in taps {
            let mut sums = [HALF; C];
            for (pixel, &weight) in row[start * C..].chunks_exact(C).zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(byte));
        }
    }
    out
}

/// Filters columns; `pixels` begins with input row `first`.
fn down(pixels: &[u8], row: usize, first: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = Vec::with_capacity(taps.len() * row);
    let mut sums = vec![0; row];
    for Taps { start, weights } in taps {
        sums.fill(HALF);
        for (input, &weight) in pixels[(start - first) * row..].chunks_exact(row).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(input) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| byte(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn shape(height: usize, width: usize, channels: usize) -> ImageShape {
        ImageShape { height, width, channels }
    }

    #[test]
    fn equal_shapes_are_untouched() {
        let pixels: Vec<u8> = (0..75).collect();
        assert_eq!(fit(pixels.to_vec(), shape(5, 5, 3), shape(5, 5, 3)), pixels);
    }

    #[test]
    fn halving_is_the_mean_of_four_rounded_twice() {
        #[rustfmt::skip]
        let pixels = [
            0, 4, 100, 101,
            8, 12, 102, 103,
            1, 0, 255, 255,
            0, 0, 255, 255,
        ];
        // Along rows 2, 10 and 100.5 -> 101, 102.5 -> 103 and 0.5 -> 1, 0; then along columns 6, 102 and 0.5 -> 1.
        assert_eq!(fit(pixels.to_vec(), shape(4, 4, 1), shape(2, 2, 1)), [6, 102, 1, 255]);
        // Twice in a row down to one pixel.
        assert_eq!(fit(pixels.to_vec(), shape(4, 4, 1), shape(1, 1, 1)), [91]);
    }

    #[test]
    fn odd_sides_halve_without_losing_a_pixel() {
        // 5 -> 2: the box of the first output reaches from 0 to 2.5 and so over three centres.
        let pixels = [10, 20, 60, 90, 120].repeat(5);
        assert_eq!(fit(pixels, shape(5, 5, 1), shape(2, 2, 1)), [30, 105, 30, 105]);
    }

    #[test]
    fn the_crop_takes_the_centre() {
        let wide: Vec<u8> = (0..20).collect();
        // Rows of ten; the middle 2 x 2 are columns 4 and 5.
        assert_eq!(fit(wide.clone(), shape(2, 10, 1), shape(2, 2, 1)), [4, 5, 14, 15]);
        assert_eq!(fit(wide.clone(), shape(10, 2, 1), shape(2, 2, 1)), [8, 9, 10, 11]);
        // A wide target from a square: rows 1 and 2 of four.
        let square: Vec<u8> = (0..16).collect();
        assert_eq!(fit(square, shape(4, 4, 1), shape(2, 4, 1)), [4, 5, 6, 7, 8, 9, 10, 11]);
    }

    /// Catmull-Rom by hand: doubling samples at -1/4 and +1/4, where the weights are -9/128, 111/128, 29/128, -3/128.
    #[test]
    fn bicubic_has_catmull_rom_weights() {
        let row = [0u8, 0, 0, 0, 128, 0, 0, 0];
        let out = fit(row.repeat(8), shape(8, 8, 1), shape(16, 16, 1));
        // Two outputs per input: distances from pixel 4 of outputs 4..=13 are 1.75, 1.25, 0.75, 0.25, 0.25, ...
        let by_hand: Vec<f32> = [1.75, 1.25, 0.75, 0.25, 0.25, 0.75, 1.25, 1.75]
            .iter()
            .map(|&d: &f32| {
                let w = if d < 1.0 {
                    1.5 * d.powi(3) - 2.5 * d.powi(2) + 1.0
                } else {
                    -0.5 * d.powi(3) + 2.5 * d.powi(2) - 4.0 * d + 2.0
                };
                (128.0 * w).round().max(0.0)
            })
            .collect();
        let found: Vec<f32> = out[5..13].iter().map(|&p| f32::from(p)).collect();
        assert_eq!(found, by_hand);
    }

    /// ADM's crop as Pillow computes it, printed by tests/gen/center_crop.py: height, width, channels, target, pixels.
    #[test]
    fn the_same_as_pillow() {
        #[rustfmt::skip]
        let cases: [(usize, usize, usize, usize, &[u8]); 6] = [
            (64, 64, 1, 8, &[73, 106, 136, 169, 173, 114, 126, 149, 93, 123, 151, 176, 151, 107, 135, 160, 107, 137, 163, 186, 127,
                113, 142, 130, 115, 141, 173, 200, 98, 133, 158, 74, 126, 159, 178, 127, 112, 143, 135, 74, 144, 174, 162, 106, 132,
                146, 90, 80, 150, 180, 143, 104, 135, 148, 76, 94, 164, 184, 106, 118, 150, 116, 78, 103]),
            (53, 97, 3, 6, &[169, 182, 119, 173, 138, 107, 114, 123, 148, 129, 154, 131, 156, 121, 70, 99, 80, 105, 176, 161, 98,
                151, 104, 129, 108, 133, 152, 138, 143, 84, 152, 89, 86, 78, 91, 116, 186, 139, 116, 127, 120, 145, 114, 139, 128,
                141, 126, 83, 120, 77, 102, 75, 100, 125, 155, 104, 129, 108, 133, 146, 136, 134, 93, 144, 81, 90, 74, 91, 116, 96,
                121, 146, 108, 113, 138, 117, 142, 139, 153, 123, 74, 95, 76, 101, 77, 102, 127, 113, 138, 163, 110, 135, 156, 139,
                152, 89, 135, 83, 88, 85, 94, 119, 95, 120, 145, 119, 144, 169]),
            (30, 41, 1, 8, &[80, 103, 88, 131, 131, 143, 183, 150, 90, 98, 122, 123, 141, 157, 166, 182, 92, 105, 126, 129, 147,
                164, 173, 176, 106, 120, 115, 147, 153, 164, 190, 174, 101, 112, 143, 136, 159, 176, 179, 191, 112, 126, 133, 154,
                164, 178, 197, 161, 118, 134, 137, 159, 171, 183, 205, 155, 117, 125, 164, 148, 179, 197, 188, 139]),
            (5, 9, 1, 8, &[6, 8, 10, 6, 42, 111, 120, 118, 7, 9, 12, 7, 44, 114, 123, 121, 9, 12, 15, 10, 48, 120, 129, 127, 5, 8,
                11, 6, 49, 130, 141, 139, 40, 44, 47, 48, 67, 102, 108, 110, 108, 113, 117, 128, 100, 42, 39, 48, 119, 125, 129,
                141, 108, 38, 35, 46, 116, 121, 125, 138, 108, 45, 44, 55]),
            (131, 200, 3, 4, &[131, 122, 115, 121, 133, 142, 132, 123, 114, 114, 131, 146, 114, 110, 111, 143, 146, 149, 115, 111,
                110, 147, 151, 148, 110, 126, 145, 148, 136, 121, 110, 122, 143, 148, 142, 129, 144, 150, 146, 123, 118, 119, 140,
                148, 150, 132, 119, 115]),
            (100, 37, 1, 10, &[121, 125, 135, 170, 161, 187, 171, 124, 87, 102, 101, 142, 159, 147, 184, 187, 156, 118, 112, 113,
                139, 139, 147, 181, 174, 183, 122, 119, 85, 119, 124, 150, 163, 168, 189, 160, 108, 94, 112, 125, 133, 153, 168,
                176, 175, 151, 113, 97, 119, 128, 154, 155, 164, 196, 186, 120, 89, 127, 104, 132, 132, 167, 187, 167, 151, 127,
                111, 92, 143, 138, 174, 166, 175, 201, 138, 81, 100, 136, 112, 149, 146, 172, 186, 172, 152, 113, 112, 109, 142,
                145, 155, 180, 189, 152, 122, 107, 117, 132, 139, 151]),
        ];
        for (height, width, channels, size, wanted) in cases {
            let value = |i: usize| {
                let (y, x, c) = (i / (width * channels), i / channels % width, i % channels);
                ((x * 7 + y * 3 + c * 50) / 2 + 97 * ((x / 5 + y / 3) % 2) + (x * y) % 31) as u8
            };
            let from = shape(height, width, channels);
            let pixels = (0..from.len()).map(value).collect();
            assert_eq!(fit(pixels, from, shape(size, size, channels)), wanted, "{from}");
        }
    }

    #[test]
    fn constant_images_stay_constant() {
        for (from, to) in [
            (shape(28, 28, 1), shape(32, 32, 1)),
            (shape(97, 201, 3), shape(32, 32, 3)),
            (shape(97, 201, 3), shape(24, 40, 1)),
            (shape(1, 1, 1), shape(16, 16, 3)),
            (shape(1, 5000, 1), shape(8, 8, 1)),
        ] {
            let out = fit(vec![77; from.len()], from, to);
            assert_eq!(out, vec![77; to.len()], "{from} -> {to}");
        }
    }

    #[test]
    fn channels_convert() {
        assert_eq!(fit(vec![5, 9], shape(1, 2, 1), shape(1, 2, 3)), [5, 5, 5, 9, 9, 9]);
        // BT.601: 76.245, 149.685, 29.07.
        let primaries = [255, 0, 0, 0, 255, 0, 0, 0, 255];
        assert_eq!(fit(primaries.to_vec(), shape(1, 3, 3), shape(1, 3, 1)), [76, 150, 29]);
        for p in 0..=255 {
            assert_eq!(luma([p; 3]), p);
        }
    }
}
