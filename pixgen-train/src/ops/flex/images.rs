//! Operations on whole images: a x + b y of two, the consistency loss, dropout.

use rayon::prelude::*;

use super::buffers::take;
use super::lanes::vectorised;
use crate::ops::arguments::{Dropout, LossFactors};

vectorised! {
    /// `a x + b y`.
    fn weighted_sum_image(x: &[f32], y: &[f32], a: f32, b: f32, out: &mut [f32]) {
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = a.mul_add(*x, b * *y);
        }
    }
}

vectorised! {
    /// `factor x`.
    fn scale_image(x: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = factor * *x;
        }
    }
}

vectorised! {
    /// Writes `skip x + out f - target`, and adds its squares to sixteen sums.
    fn difference(f: &[f32], x: &[f32], target: &[f32], skip: f32, out: f32, d: &mut [f32], sums: &mut [f64; 16]) {
        let values = f.chunks(16).zip(x.chunks(16)).zip(target.chunks(16));
        for (((f, x), target), d) in values.zip(d.chunks_mut(16)) {
            for (((d, f), (x, target)), sum) in d.iter_mut().zip(f).zip(x.iter().zip(target)).zip(&mut *sums) {
                *d = out.mul_add(*f, skip.mul_add(*x, -*target));
                *sum += f64::from(*d * *d);
            }
        }
    }
}

/// Length of an image of a batch of `count`.
fn image_len(values: &[f32], count: usize) -> usize {
    (values.len() / count.max(1)).max(1)
}

/// `a_i x_i + b_i y_i` for each image i.
pub fn weighted_sum(x: &[f32], y: &[f32], a: &[f32], b: &[f32]) -> Vec<f32> {
    let len = image_len(x, a.len());
    let mut out = take(x.len());
    let images = out.par_chunks_mut(len).zip(x.par_chunks(len)).zip(y.par_chunks(len));
    images
        .zip(a.par_iter().zip(b))
        .for_each(|(((out, x), y), (&a, &b))| weighted_sum_image(x, y, a, b, out));
    out
}

/// `factor_i x_i` for each image i.
pub fn scale(x: &[f32], factors: &[f32]) -> Vec<f32> {
    let len = image_len(x, factors.len());
    let mut out = take(x.len());
    let images = out.par_chunks_mut(len).zip(x.par_chunks(len));
    images.zip(factors).for_each(|((out, x), &factor)| scale_image(x, factor, out));
    out
}

/// The consistency loss of each image and its gradient with respect to f.
pub fn consistency_loss(f: &[f32], x: &[f32], target: &[f32], factors: &LossFactors<&[f32]>, huber: f64) -> (Vec<f32>, Vec<f32>) {
    let count = factors.weight.len();
    let len = image_len(f, count);
    let (mut losses, mut slope) = (vec![0.0; count], take(f.len()));
    let images = f.par_chunks(len).zip(x.par_chunks(len)).zip(target.par_chunks(len));
    let outputs = losses.par_iter_mut().zip(slope.par_chunks_mut(len)).enumerate();
    outputs.zip(images).for_each(|((i, (loss, slope)), ((f, x), target))| {
        let mut sums = [0.0; 16];
        difference(f, x, target, factors.skip[i], factors.out[i], slope, &mut sums);
        let u: f64 = sums.iter().sum();
        let scale = f64::from(factors.weight[i]) / (u + huber * huber).sqrt();
        *loss = (scale * u) as f32;
        let scale = (2.0 * scale) as f32 * factors.out[i];
        slope.iter_mut().for_each(|value| *value *= scale);
    });
    (losses, slope)
}

/// Drops elements in place.
pub fn dropout(values: &mut [f32], dropout: &Dropout) {
    let len = image_len(values, dropout.streams.len());
    values
        .par_chunks_mut(len)
        .enumerate()
        .for_each(|(picture, values)| dropout.apply(picture, values));
}
