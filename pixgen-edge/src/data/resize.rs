//! Brings an image of any size and colour to the training shape: crop the centre to the target's aspect, halve with a box while the
//! image is at least twice as large, then bicubic.
//!
//! The halving and the bicubic kernel (Catmull-Rom, a = -1/2) are those of ADM's `center_crop_arr`. Cropping first instead of last
//! changes at most the border pixels and keeps memory bounded for extreme aspects.

use std::borrow::Cow;

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Pixel};

use crate::data::ImageShape;

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
pub fn fit(pixels: &[u8], from: ImageShape, to: ImageShape) -> Vec<u8> {
    assert_eq!(pixels.len(), from.len(), "pixels of {from}");
    let pixels = convert(pixels, from.channels, to.channels);
    let mut size = ImageShape { channels: to.channels, ..from };
    let mut pixels = crop_to_aspect(pixels, &mut size, to);
    while size.height >= 2 * to.height && size.width >= 2 * to.width {
        pixels = Cow::Owned(halve(&pixels, &mut size));
    }
    if size == to {
        return pixels.into_owned();
    }
    match to.channels {
        1 => bicubic::<image::Luma<u8>>(pixels.into_owned(), size, to),
        _ => bicubic::<image::Rgb<u8>>(pixels.into_owned(), size, to),
    }
}

/// Grey to colour by repetition, colour to grey by [`luma`].
fn convert(pixels: &[u8], from: usize, to: usize) -> Cow<'_, [u8]> {
    match (from, to) {
        (1, 3) => Cow::Owned(pixels.iter().flat_map(|&p| [p; 3]).collect()),
        (3, 1) => Cow::Owned(pixels.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect()),
        _ => Cow::Borrowed(pixels),
    }
}

/// The largest centred part with the aspect of `to`.
fn crop_to_aspect<'a>(pixels: Cow<'a, [u8]>, size: &mut ImageShape, to: ImageShape) -> Cow<'a, [u8]> {
    // Rounded to the nearest pixel; exact for a square target.
    let scaled = |side: usize, over: usize, under: usize| ((2 * side * over + under) / (2 * under)).max(1);
    let height = size.height.min(scaled(size.width, to.height, to.width));
    let width = size.width.min(scaled(size.height, to.width, to.height));
    if (height, width) == (size.height, size.width) {
        return pixels;
    }
    let (top, left) = ((size.height - height) / 2, (size.width - width) / 2);
    let row = size.width * size.channels;
    let (start, length) = (left * size.channels, width * size.channels);
    let cropped = pixels
        .chunks_exact(row)
        .skip(top)
        .take(height)
        .flat_map(|row| &row[start..start + length])
        .copied()
        .collect();
    size.height = height;
    size.width = width;
    Cow::Owned(cropped)
}

/// Halves both sides; every output pixel is the rounded mean of its 2 x 2 input pixels. Of an odd side, one output pixel covers three.
fn halve(pixels: &[u8], size: &mut ImageShape) -> Vec<u8> {
    let channels = size.channels;
    let (height, width) = (size.height / 2, size.width / 2);
    // Input pixels whose centre lies in the output pixel: [i * n / (n / 2), (i + 1) * n / (n / 2)), centres rounded up.
    let windows = |input: usize, output: usize| -> Vec<(usize, usize)> {
        let border = |i: usize| (2 * i * input + output - 1) / (2 * output);
        (0..output).map(|i| (border(i), border(i + 1))).collect()
    };
    let (rows, columns) = (windows(size.height, height), windows(size.width, width));
    let mut out = Vec::with_capacity(height * width * channels);
    for &(top, bottom) in &rows {
        for &(left, right) in &columns {
            let count = ((bottom - top) * (right - left)) as u32;
            for channel in 0..channels {
                let mut sum = 0;
                for y in top..bottom {
                    for x in left..right {
                        sum += u32::from(pixels[(y * size.width + x) * channels + channel]);
                    }
                }
                out.push(((sum + count / 2) / count) as u8);
            }
        }
    }
    size.height = height;
    size.width = width;
    out
}

fn bicubic<P: Pixel<Subpixel = u8> + 'static>(pixels: Vec<u8>, from: ImageShape, to: ImageShape) -> Vec<u8> {
    // The buffer is exactly as long as `from`: fit() checked it and every step above keeps it so. Sides come from decoders that
    // count in u32.
    let image = ImageBuffer::<P, Vec<u8>>::from_raw(from.width as u32, from.height as u32, pixels).expect("pixels fill the shape");
    imageops::resize(&image, to.width as u32, to.height as u32, FilterType::CatmullRom).into_raw()
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
        assert_eq!(fit(&pixels, shape(5, 5, 3), shape(5, 5, 3)), pixels);
    }

    #[test]
    fn halving_is_the_mean_of_four() {
        #[rustfmt::skip]
        let pixels = [
            0, 4, 100, 101,
            8, 12, 102, 103,
            1, 0, 255, 255,
            0, 0, 255, 255,
        ];
        // (0 + 4 + 8 + 12) / 4 = 6; 406 / 4 = 101.5 -> 102; 1 / 4 -> 0.
        assert_eq!(fit(&pixels, shape(4, 4, 1), shape(2, 2, 1)), [6, 102, 0, 255]);
        // Twice in a row down to one pixel.
        assert_eq!(fit(&pixels, shape(4, 4, 1), shape(1, 1, 1)), [91]);
    }

    #[test]
    fn odd_sides_halve_without_losing_a_pixel() {
        // 5 -> 2: pixel centres 0.5, 1.5 lie left of 2.5; centre 2.5 lies on the border and goes right.
        let pixels = [10, 20, 60, 90, 120].repeat(5);
        let mut size = shape(5, 5, 1);
        let out = halve(&pixels, &mut size);
        assert_eq!(size, shape(2, 2, 1));
        assert_eq!(out, [15, 90, 15, 90]);
    }

    #[test]
    fn the_crop_takes_the_centre() {
        let wide: Vec<u8> = (0..20).collect();
        // Rows of ten; the middle 2 x 2 are columns 4 and 5.
        assert_eq!(fit(&wide, shape(2, 10, 1), shape(2, 2, 1)), [4, 5, 14, 15]);
        assert_eq!(fit(&wide, shape(10, 2, 1), shape(2, 2, 1)), [8, 9, 10, 11]);
        // A wide target from a square: rows 1 and 2 of four.
        let square: Vec<u8> = (0..16).collect();
        assert_eq!(fit(&square, shape(4, 4, 1), shape(2, 4, 1)), [4, 5, 6, 7, 8, 9, 10, 11]);
    }

    /// Catmull-Rom by hand: doubling samples at -1/4 and +1/4, where the weights are -9/128, 111/128, 29/128, -3/128.
    #[test]
    fn bicubic_has_catmull_rom_weights() {
        let row = [0u8, 0, 0, 0, 128, 0, 0, 0];
        let out = fit(&row.repeat(8), shape(8, 8, 1), shape(16, 16, 1));
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

    #[test]
    fn constant_images_stay_constant() {
        for (from, to) in [
            (shape(28, 28, 1), shape(32, 32, 1)),
            (shape(97, 201, 3), shape(32, 32, 3)),
            (shape(97, 201, 3), shape(24, 40, 1)),
            (shape(1, 1, 1), shape(16, 16, 3)),
            (shape(1, 5000, 1), shape(8, 8, 1)),
        ] {
            let out = fit(&vec![77; from.len()], from, to);
            assert_eq!(out, vec![77; to.len()], "{from} -> {to}");
        }
    }

    #[test]
    fn channels_convert() {
        assert_eq!(fit(&[5, 9], shape(1, 2, 1), shape(1, 2, 3)), [5, 5, 5, 9, 9, 9]);
        // BT.601: 76.245, 149.685, 29.07.
        let primaries = [255, 0, 0, 0, 255, 0, 0, 0, 255];
        assert_eq!(fit(&primaries, shape(1, 3, 3), shape(1, 3, 1)), [76, 150, 29]);
        for p in 0..=255 {
            assert_eq!(luma([p; 3]), p);
        }
    }
}
