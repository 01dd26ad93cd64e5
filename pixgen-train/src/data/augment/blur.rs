//! Gaussian blur, one direction after the other; the border pixels continue outwards.

use pixgen_edge::data::ImageShape;

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    kernel: Vec<f32>,
    padded: Vec<f32>,
    rows: Vec<f32>,
}

/// Blurs with standard deviation `sigma` in pixels, cut off at 3 sigma.
pub(super) fn gaussian(shape: ImageShape, sigma: f32, image: &mut [f32], buffers: &mut Buffers) {
    let Buffers { kernel, padded, rows } = buffers;
    let radius = fill_kernel(kernel, sigma);
    let channels = shape.channels;
    let row = shape.width * channels;

    // Across: one padded row at a time, into `rows`.
    rows.clear();
    rows.resize(image.len(), 0.0);
    for (out, image) in rows.chunks_exact_mut(row).zip(image.chunks_exact(row)) {
        padded.clear();
        (0..radius).for_each(|_| padded.extend_from_slice(&image[..channels]));
        padded.extend_from_slice(image);
        (0..radius).for_each(|_| padded.extend_from_slice(&image[row - channels..]));
        for (k, &weight) in kernel.iter().enumerate() {
            add_scaled(out, &padded[k * channels..][..row], weight);
        }
    }
    // Down: whole rows at once.
    for (y, out) in image.chunks_exact_mut(row).enumerate() {
        out.fill(0.0);
        for (k, &weight) in kernel.iter().enumerate() {
            let from = (y + k).saturating_sub(radius).min(shape.height - 1);
            add_scaled(out, &rows[from * row..][..row], weight);
        }
        for value in out {
            // The weights sum to one only up to rounding.
            *value = value.min(1.0);
        }
    }
}

/// Writes the normalised weights and returns their radius.
fn fill_kernel(kernel: &mut Vec<f32>, sigma: f32) -> usize {
    let radius = (3.0 * sigma).ceil() as usize;
    let weight = |k: usize| {
        let distance = (k as f32 - radius as f32) / sigma;
        (-0.5 * distance * distance).exp()
    };
    kernel.clear();
    kernel.extend((0..=2 * radius).map(weight));
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|w| *w /= sum);
    radius
}

fn add_scaled(out: &mut [f32], values: &[f32], weight: f32) {
    for (out, value) in out.iter_mut().zip(values) {
        *out += weight * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_direct_sum() {
        let shape = ImageShape { height: 7, width: 9, channels: 3 };
        let image: Vec<f32> = (0..shape.len()).map(|i| (i * 71 % 97) as f32 / 97.0).collect();
        for sigma in [0.1f32, 0.7, 2.0] {
            let mut fast = image.clone();
            gaussian(shape, sigma, &mut fast, &mut Buffers::default());

            let radius = (3.0 * sigma).ceil() as i64;
            let weight = |d: i64| (-0.5 * (d as f64 / f64::from(sigma)).powi(2)).exp();
            let total: f64 = (-radius..=radius).map(weight).sum();
            for y in 0..7i64 {
                for x in 0..9i64 {
                    for c in 0..3 {
                        let mut sum = 0.0;
                        for dy in -radius..=radius {
                            for dx in -radius..=radius {
                                let (sy, sx) = ((y + dy).clamp(0, 6), (x + dx).clamp(0, 8));
                                let value = f64::from(image[(sy * 27 + sx * 3) as usize + c]);
                                sum += value * weight(dy) * weight(dx) / (total * total);
                            }
                        }
                        let found = f64::from(fast[(y * 27 + x * 3) as usize + c]);
                        assert!((found - sum).abs() < 1e-5, "sigma {sigma} at ({y}, {x}, {c})");
                    }
                }
            }
        }
    }

    #[test]
    fn constant_images_stay_constant() {
        let shape = ImageShape { height: 4, width: 1, channels: 1 };
        let mut image = [1.0; 4];
        gaussian(shape, 2.0, &mut image, &mut Buffers::default());
        assert!(image.iter().all(|v| (0.99999..=1.0).contains(v)), "{image:?}");
    }
}
