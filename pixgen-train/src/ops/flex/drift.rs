//! The drifting loss (docs/reference/method.md section 8.1): each thread takes whole groups, one place of one set, and then whole pictures. Sums
//! over groups and pictures run in their order.

use rayon::prelude::*;

use super::buffers::{release, take};
use super::lanes::{exp, highest, ln, sum, sum_of, vectorised};
use crate::ops::plain::{LEAST_DISTANCE, LEAST_FIELD, SELF_DISTANCE};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Sizes of the features of one kind.
#[derive(Debug, Clone, Copy)]
pub struct DriftSizes {
    /// K, sets of pictures.
    pub sets: usize,
    /// N, generated pictures of a set.
    pub generated: usize,
    /// P, real pictures of a set.
    pub real: usize,
    /// L, places of a picture.
    pub places: usize,
    /// D, values of a feature.
    pub width: usize,
}

/// Logarithms of the sums of exponentials of rows and columns, and the highest of each column on the way.
struct Softmax {
    rows: Vec<f32>,
    columns: Vec<f32>,
    highest: Vec<f32>,
}

vectorised! {
    /// `out = x - centre`, and the square of that.
    fn centred(x: &[f32], centre: &[f32], out: &mut [f32]) -> f32 {
        for ((out, x), c) in out.iter_mut().zip(x).zip(centre) {
            *out = *x - *c;
        }
        sum_of(out, out, |a, b| a * b)
    }
}

vectorised! {
    /// Products of rows to distances, in place: `sqrt(a^2 + b^2 - 2 a b)`.
    fn to_distances(products: &mut [f32], a: &[f32], b: &[f32]) {
        for (row, a) in products.chunks_exact_mut(b.len()).zip(a) {
            for (value, b) in row.iter_mut().zip(b) {
                *value = (*value).mul_add(-2.0, *a + *b).max(0.0).sqrt();
            }
        }
    }
}

vectorised! {
    /// Square roots of both softmaxes of `-distance / (S tau)`, multiplied: over a row, and over a column.
    fn kernel(distances: &[f32], factor: f32, softmax: &mut Softmax, weights: &mut [f32]) {
        let width = softmax.columns.len();
        for (weight, distance) in weights.iter_mut().zip(distances) {
            *weight = factor * *distance;
        }
        softmax.highest.fill(f32::NEG_INFINITY);
        for (row, lse) in weights.chunks_exact(width).zip(&mut softmax.rows) {
            let top = highest(row);
            *lse = top + ln(sum_of(row, row, |x, _| exp(x - top)));
            for (most, &logit) in softmax.highest.iter_mut().zip(row) {
                *most = if logit > *most { logit } else { *most };
            }
        }
        softmax.columns.fill(0.0);
        for row in weights.chunks_exact(width) {
            for ((total, &logit), &top) in softmax.columns.iter_mut().zip(row).zip(&softmax.highest) {
                *total += exp(logit - top);
            }
        }
        for (total, &top) in softmax.columns.iter_mut().zip(&softmax.highest) {
            *total = top + ln(*total);
        }
        for (row, &lse) in weights.chunks_exact_mut(width).zip(&softmax.rows) {
            for (weight, &column) in row.iter_mut().zip(&softmax.columns) {
                *weight = exp((lse + column).mul_add(-0.5, *weight));
            }
        }
    }
}

vectorised! {
    /// From A to what a picture is moved by: that of each real picture is multiplied by the sum over the generated ones, and the other way
    /// round, with a minus.
    fn pull_and_push(weights: &mut [f32], real: usize, width: usize) {
        for row in weights.chunks_exact_mut(width) {
            let (of_real, of_generated) = row.split_at_mut(real);
            let (pull, push) = (sum(of_generated), -sum(of_real));
            of_real.iter_mut().for_each(|weight| *weight *= pull);
            of_generated.iter_mut().for_each(|weight| *weight *= push);
        }
    }
}

vectorised! {
    /// Adds `factor x` to `out`.
    fn add_scaled(x: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = factor.mul_add(*x, *out);
        }
    }
}

/// The sum of the squares, in f64 from row to row.
fn squared(values: &[f32], width: usize) -> f64 {
    values.chunks(width).map(|row| f64::from(square_of(row))).sum()
}

vectorised! {
    /// The square of a row.
    fn square_of(row: &[f32]) -> f32 {
        sum_of(row, row, |a, b| a * b)
    }
}

/// A feature of each picture of a set in one place: rows in the features of all places.
#[derive(Clone, Copy)]
struct Group<'a> {
    features: &'a [f32],
    place: usize,
    places: usize,
    width: usize,
}

impl<'a> Group<'a> {
    fn rows(self) -> impl Iterator<Item = &'a [f32]> {
        let Self { place, places, width, .. } = self;
        self.features
            .chunks_exact(places * width)
            .map(move |picture| &picture[place * width..][..width])
    }
}

/// The features of a set of `len` values.
fn set_of(features: &[f32], set: usize, len: usize) -> &[f32] {
    &features[set * len..(set + 1) * len]
}

/// Features around the mean of the real ones, real before generated, and their distances from the generated ones `[N, P + N]`. Returns the
/// sums of the distances from real and from other generated pictures.
fn measure(x: Group<'_>, real: Group<'_>, sizes: &DriftSizes, rows: &mut [f32], distances: &mut [f32]) -> [f64; 2] {
    let DriftSizes { generated: n, real: p, width, .. } = *sizes;
    let mut centre = vec![0.0; width];
    real.rows().for_each(|row| add_scaled(row, 1.0 / p as f32, &mut centre));
    let pictures = real.rows().chain(x.rows()).zip(rows.chunks_exact_mut(width));
    let squares: Vec<f32> = pictures.map(|(row, out)| centred(row, &centre, out)).collect();
    let own = Matrix::new(&rows[p * width..], n, width);
    let all = Matrix::new(rows, n + p, width).transposed();
    matmul(MatrixMut::new(distances, n, n + p), Into::Overwrite, 1.0, own, all, Threads::Caller);
    to_distances(distances, &squares[p..], &squares);
    let mut sums = [0.0; 2];
    for (i, row) in distances.chunks_exact_mut(n + p).enumerate() {
        row[p + i] = 0.0;
        sums[0] += f64::from(sum(&row[..p]));
        sums[1] += f64::from(sum(&row[p..]));
    }
    sums
}

/// The fields of a group for all temperatures, `[T, N, D]`, in units of the features, and the square of each.
fn fields(rows: &[f32], distances: &mut [f32], sizes: &DriftSizes, mean: f64, temperatures: &[f64], out: &mut [f32]) -> Vec<f64> {
    let DriftSizes { generated: n, real: p, width, .. } = *sizes;
    for (i, row) in distances.chunks_exact_mut(n + p).enumerate() {
        row[p + i] = (SELF_DISTANCE * mean) as f32;
    }
    let mut softmax = Softmax { rows: vec![0.0; n], columns: vec![0.0; n + p], highest: vec![0.0; n + p] };
    let mut weights = vec![0.0; temperatures.len() * n * (n + p)];
    for (tau, weights) in temperatures.iter().zip(weights.chunks_exact_mut(n * (n + p))) {
        kernel(distances, (-1.0 / (mean * tau)) as f32, &mut softmax, weights);
        pull_and_push(weights, p, n + p);
    }
    let factor = ((width as f64).sqrt() / mean) as f32;
    let rows_of_all = temperatures.len() * n;
    let (weights, all) = (Matrix::new(&weights, rows_of_all, n + p), Matrix::new(rows, n + p, width));
    matmul(MatrixMut::new(out, rows_of_all, width), Into::Overwrite, factor, weights, all, Threads::Caller);
    out.chunks_exact(n * width).map(|field| squared(field, width)).collect()
}

/// Means over all groups of a kind.
struct Scales {
    /// Of the distances, S sqrt(D).
    distance: f64,
    /// Root mean squares of the fields.
    fields: Vec<f64>,
}

/// The field of a picture in all places, as the slope of the loss; its square.
fn slope_of(out: &mut [f32], fields: &[f32], [set, picture]: [usize; 2], sizes: &DriftSizes, scales: &Scales) -> f64 {
    let DriftSizes { sets, generated: n, places, width, .. } = *sizes;
    let (count, share) = (scales.fields.len(), 1.0 / (sets * n * width) as f64);
    let factor = (-2.0 * share * (width as f64).sqrt() / scales.distance) as f32;
    out.fill(0.0);
    for (place, out) in out.chunks_exact_mut(width).enumerate() {
        for (tau, size) in scales.fields.iter().enumerate() {
            let start = (((set * places + place) * count + tau) * n + picture) * width;
            add_scaled(&fields[start..start + width], (1.0 / size.max(LEAST_FIELD)) as f32, out);
        }
    }
    let square = squared(out, width);
    out.iter_mut().for_each(|value| *value *= factor);
    share * square
}

/// The loss and the sizes of the fields, `[1 + T]`, and the gradient with respect to x, `[K, N, L, D]`.
pub fn drift(x: &[f32], real: &[f32], sizes: DriftSizes, temperatures: &[f64]) -> (Vec<f32>, Vec<f32>) {
    let DriftSizes { sets, generated: n, real: p, places, width } = sizes;
    let (groups, all, count) = (sets * places, n + p, temperatures.len());
    let (mut rows, mut distances) = (take(groups * all * width), take(groups * n * all));
    let outputs = rows.par_chunks_exact_mut(all * width).zip(distances.par_chunks_exact_mut(n * all));
    let sums: Vec<[f64; 2]> = outputs
        .enumerate()
        .map(|(group, (rows, distances))| {
            let (set, place) = (group / places, group % places);
            let of_set = |features, pictures| Group { features: set_of(features, set, pictures * places * width), place, places, width };
            let (x, real) = (of_set(x, n), of_set(real, p));
            measure(x, real, &sizes, rows, distances)
        })
        .collect();
    let [from_real, from_generated] = [0, 1].map(|i| sums.iter().map(|sums| sums[i]).sum::<f64>());
    let pairs = (groups * n) as f64;
    let distance = ((from_real / (pairs * p as f64) + from_generated / (pairs * (n - 1) as f64)) / 2.0).max(LEAST_DISTANCE);

    let mut all_fields = take(groups * count * n * width);
    let inputs = rows.par_chunks_exact(all * width).zip(distances.par_chunks_exact_mut(n * all));
    let squares: Vec<Vec<f64>> = inputs
        .zip(all_fields.par_chunks_exact_mut((count * n * width).max(1)))
        .map(|((rows, distances), out)| fields(rows, distances, &sizes, distance, temperatures, out))
        .collect();
    let size = |tau: usize| (squares.iter().map(|squares| squares[tau]).sum::<f64>() / (pairs * width as f64)).sqrt();
    let scales = Scales { distance, fields: (0..count).map(size).collect() };

    let mut slope = take(x.len());
    let losses: Vec<f64> = slope
        .par_chunks_exact_mut(places * width)
        .enumerate()
        .map(|(picture, out)| slope_of(out, &all_fields, [picture / n, picture % n], &sizes, &scales))
        .collect();
    [rows, distances, all_fields].into_iter().for_each(release);
    let loss = losses.into_iter().sum::<f64>();
    ([loss].into_iter().chain(scales.fields).map(|value| value as f32).collect(), slope)
}
