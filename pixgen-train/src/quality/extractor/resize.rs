//! Byte images at the size that a network sees, as floats that are never rounded to bytes.

use std::fmt;
use std::str::FromStr;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use pixgen_edge::data::ImageShape;

/// How an image comes to the size that a network sees. Distances depend on it (Parmar et al. 2022), so every result names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Not at all.
    None,
    /// PIL's bicubic filter on floats, which averages when it shrinks, limited to [0, 255]: what clean-fid does.
    PilBicubic,
    /// TensorFlow 1's bilinear interpolation between the four nearest pixels: what the FID's own code does.
    TfBilinear,
}

impl Resize {
    /// Those that can be asked for.
    pub const NAMES: [&str; 2] = ["pil-bicubic", "tf-bilinear"];
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::PilBicubic => Self::NAMES[0],
            Self::TfBilinear => Self::NAMES[1],
        })
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pil-bicubic" => Ok(Self::PilBicubic),
            "tf-bilinear" => Ok(Self::TfBilinear),
            _ => Err(format!("one of {} is needed", Self::NAMES.join(", "))),
        }
    }
}

/// One image as `side` x `side` x 3 floats in [0, 255]; grey is repeated. The aspect is not kept.
///
/// # Panics
/// If `pixels` does not have the length of `shape`.
pub(super) fn resize(pixels: &[u8], shape: ImageShape, side: usize, how: Resize) -> Vec<f32> {
    assert_eq!(pixels.len(), shape.len(), "pixels of {shape}");
    let planes: Vec<Vec<f32>> = (0..shape.channels)
        .map(|channel| {
            let plane: Vec<f32> = pixels[channel..].iter().step_by(shape.channels).map(|&p| f32::from(p)).collect();
            if (shape.height, shape.width) == (side, side) {
                return plane;
            }
            match how {
                Resize::None => plane,
                Resize::PilBicubic => bicubic(&plane, shape, side),
                Resize::TfBilinear => bilinear(&plane, shape, side),
            }
        })
        .collect();
    (0..side * side)
        .flat_map(|at| std::array::from_fn::<f32, 3, _>(|channel| planes[channel.min(planes.len() - 1)][at]))
        .collect()
}

fn bicubic(plane: &[f32], shape: ImageShape, side: usize) -> Vec<f32> {
    let pixels: Vec<F32> = plane.iter().map(|&value| F32::new(value)).collect();
    // Sides are at most data::MAX_SIDE or a few thousand.
    let (width, height, side) = (shape.width as u32, shape.height as u32, side as u32);
    let mut out = TypedImage::<F32>::new(side, side);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    let resized = TypedImageRef::new(width, height, &pixels).map(|image| Resizer::new().resize_typed(&image, &mut out, &options));
    assert!(matches!(resized, Ok(Ok(()))), "a whole image of {shape} can be resized");
    out.pixels().iter().map(|pixel| pixel.0.clamp(0.0, 255.0)).collect()
}

fn bilinear(plane: &[f32], shape: ImageShape, side: usize) -> Vec<f32> {
    // The nearest pixel before, the one behind, and the way between them; no half pixels, and the scale is a float, as there.
    let ways = |input: usize| -> Vec<(usize, usize, f32)> {
        let scale = (input as f64 / side as f64) as f32;
        let way = |index: usize| {
            let at = index as f32 * scale;
            let before = (at as usize).min(input - 1);
            (before, (before + 1).min(input - 1), at - before as f32)
        };
        (0..side).map(way).collect()
    };
    let (rows, columns) = (ways(shape.height), ways(shape.width));
    let mut out = Vec::with_capacity(side * side);
    for (top, bottom, down) in rows {
        for &(left, right, across) in &columns {
            let at = |y: usize, x: usize| plane[y * shape.width + x];
            let upper = at(top, left) + (at(top, right) - at(top, left)) * across;
            let lower = at(bottom, left) + (at(bottom, right) - at(bottom, left)) * across;
            out.push(upper + (lower - upper) * down);
        }
    }
    out
}
