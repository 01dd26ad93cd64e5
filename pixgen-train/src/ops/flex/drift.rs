//! The drifting loss (docs/reference/method.md section 8.1): each thread takes whole groups, one place of one set, and then whole pictures. Sums
//! over groups and pictures run in their order.

use rayon::prelude::*;

use super::buffers::{release, take};
use super::lanes::{exp, highest, ln, sum, sum_of, vectorised};
use crate::ops::arguments::DriftKernel;
use crate::ops::plain::{LEAST_DISTANCE, LEAST_FIELD, SELF_DISTANCE};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Sizes of the features of one kind.
#[derive(Debug, Clone, Copy)]
pub struct DriftSizes {
    /// k, the sets of this rank.
    pub sets: usize,
    /// N, generated pictures of a set.
    pub generated: usize,
    /// P, real pictures of a set.
    pub real: usize,
    /// U, those of other sets that push its pictures.
    pub others: usize,
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
    /// Square roots of both softmaxes of `-distance / (S tau)`, multiplied: over a row, in which a picture counts `copies` times, and over a
    /// column; times `copies`, which are given as logarithms.
    fn weigh(distances: &[f32], factor: f32, copies: &[f32], softmax: &mut Softmax, weights: &mut [f32]) {
        let width = softmax.columns.len();
        for (row, distances) in weights.chunks_exact_mut(width).zip(distances.chunks_exact(width)) {
            for ((weight, distance), copies) in row.iter_mut().zip(distances).zip(copies) {
                *weight = factor.mul_add(*distance, *copies);
            }
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
        for ((total, &top), copies) in softmax.columns.iter_mut().zip(&softmax.highest).zip(copies) {
            *total = top + ln(*total) - *copies;
        }
        for (row, &lse) in weights.chunks_exact_mut(width).zip(&softmax.rows) {
            for (weight, &column) in row.iter_mut().zip(&softmax.columns) {
                *weight = exp((lse + column).mul_add(-0.5, *weight));
            }
        }
    }
}

vectorised! {
    /// From A to what a picture is moved by: that of each real picture is multiplied by the sum over those that push, and the other way
    /// round, with a minus.
    fn pull_and_push(weights: &mut [f32], real: usize, width: usize) {
        for row in weights.chunks_exact_mut(width) {
            let (pulling, pushing) = row.split_at_mut(real);
            let (pull, push) = (sum(pushing), -sum(pulling));
            pulling.iter_mut().for_each(|weight| *weight *= pull);
            pushing.iter_mut().for_each(|weight| *weight *= push);
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
    /// Of set `set` of sets of `count` pictures.
    fn of_set(self, set: usize, count: usize) -> Self {
        let len = count * self.places * self.width;
        Self { features: &self.features[set * len..(set + 1) * len], ..self }
    }

    fn count(self) -> usize {
        self.features.len() / (self.places * self.width)
    }

    fn row(self, picture: usize) -> &'a [f32] {
        &self.features[(picture * self.places + self.place) * self.width..][..self.width]
    }

    fn rows(self) -> impl Iterator<Item = &'a [f32]> {
        (0..self.count()).map(move |picture| self.row(picture))
    }
}

/// Features around the mean of the real ones: real, generated, and others that push; and their distances from the generated ones
/// `[N, P + N + U]`. Returns the sums of the distances from real and from other generated pictures.
fn measure([x, real, others]: [Group<'_>; 3], rows: &mut [f32], distances: &mut [f32]) -> [f64; 2] {
    let (n, p, width) = (x.count(), real.count(), x.width);
    let all = n + p + others.count();
    let mut centre = vec![0.0; width];
    real.rows().for_each(|row| add_scaled(row, 1.0 / p as f32, &mut centre));
    let pictures = real.rows().chain(x.rows()).chain(others.rows()).zip(rows.chunks_exact_mut(width));
    let squares: Vec<f32> = pictures.map(|(row, out)| centred(row, &centre, out)).collect();
    let own = Matrix::new(&rows[p * width..(p + n) * width], n, width);
    let rows = Matrix::new(rows, all, width).transposed();
    matmul(MatrixMut::new(distances, n, all), Into::Overwrite, 1.0, own, rows, Threads::Caller);
    to_distances(distances, &squares[p..p + n], &squares);
    let mut sums = [0.0; 2];
    for (i, row) in distances.chunks_exact_mut(all).enumerate() {
        row[p + i] = 0.0;
        sums[0] += f64::from(sum(&row[..p]));
        sums[1] += f64::from(sum(&row[p..p + n]));
    }
    sums
}

/// What the groups of a kind share when their fields are computed.
struct Weighing<'a> {
    sizes: DriftSizes,
    temperatures: &'a [f64],
    /// How many times each picture of a group counts, as logarithms, `[P + N + U]`.
    copies: Vec<f32>,
    /// Of the distances, S sqrt(D).
    mean: f64,
}

/// The fields of a group for all temperatures, `[T, N, D]`, in units of the features, and the square of each.
fn fields(rows: &[f32], distances: &mut [f32], weighing: &Weighing<'_>, out: &mut [f32]) -> Vec<f64> {
    let Weighing { sizes: DriftSizes { generated: n, real: p, width, .. }, temperatures, ref copies, mean } = *weighing;
    let all = copies.len();
    for (i, row) in distances.chunks_exact_mut(all).enumerate() {
        row[p + i] = (SELF_DISTANCE * mean) as f32;
    }
    let mut softmax = Softmax { rows: vec![0.0; n], columns: vec![0.0; all], highest: vec![0.0; all] };
    let rows_of_all = temperatures.len() * n;
    let mut weights = vec![0.0; rows_of_all * all];
    for (tau, weights) in temperatures.iter().zip(weights.chunks_exact_mut(n * all)) {
        weigh(distances, (-1.0 / (mean * tau)) as f32, copies, &mut softmax, weights);
        pull_and_push(weights, p, all);
    }
    let factor = ((width as f64).sqrt() / mean) as f32;
    let (weights, all) = (Matrix::new(&weights, rows_of_all, all), Matrix::new(rows, all, width));
    matmul(MatrixMut::new(out, rows_of_all, width), Into::Overwrite, factor, weights, all, Threads::Caller);
    out.chunks_exact(n * width).map(|field| squared(field, width)).collect()
}

/// Means over all groups of a kind, those of all ranks.
struct Scales {
    /// K.
    sets: usize,
    /// Of the distances, S sqrt(D).
    distance: f64,
    /// Root mean squares of the fields.
    fields: Vec<f64>,
}

/// The field of a picture in all places, as the slope of the loss; its square.
fn slope_of(out: &mut [f32], fields: &[f32], [set, picture]: [usize; 2], sizes: &DriftSizes, scales: &Scales) -> f64 {
    let DriftSizes { generated: n, places, width, .. } = *sizes;
    let (count, share) = (scales.fields.len(), 1.0 / (scales.sets * n * width) as f64);
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

/// The loss and the sizes of the fields, `[1 + T]`, and the gradient with respect to x, `[k, N, L, D]`; features of generated, real and other
/// sets' pictures.
pub fn drift(features: [&[f32]; 3], sizes: DriftSizes, kernel: &DriftKernel<'_>) -> (Vec<f32>, Vec<f32>) {
    let DriftSizes { sets, generated: n, real: p, others: u, places, width } = sizes;
    let copies = kernel.log_copies([p, n, u]);
    let (groups, all, count) = (sets * places, copies.len(), kernel.temperatures.len());
    let (mut rows, mut distances) = (take(groups * all * width), take(groups * n * all));
    let outputs = rows.par_chunks_exact_mut(all * width).zip(distances.par_chunks_exact_mut(n * all));
    let of_groups: Vec<[f64; 2]> = outputs
        .enumerate()
        .map(|(group, (rows, distances))| {
            let (set, place) = (group / places, group % places);
            let of_set = |which: usize, count: usize| Group { features: features[which], place, places, width }.of_set(set, count);
            measure([of_set(0, n), of_set(1, p), of_set(2, u)], rows, distances)
        })
        .collect();
    let mut sums = [0, 1].map(|i| of_groups.iter().map(|sums| sums[i]).sum::<f64>());
    kernel.ranks.sum_few(&mut sums);
    let ([from_real, from_generated], pairs) = (sums, (kernel.sets * places * n) as f64);
    let distance = ((from_real / (pairs * p as f64) + from_generated / (pairs * (n - 1) as f64)) / 2.0).max(LEAST_DISTANCE);

    let weighing = Weighing { sizes, temperatures: kernel.temperatures, copies, mean: distance };
    let mut all_fields = take(groups * count * n * width);
    let inputs = rows.par_chunks_exact(all * width).zip(distances.par_chunks_exact_mut(n * all));
    let squares: Vec<Vec<f64>> = inputs
        .zip(all_fields.par_chunks_exact_mut((count * n * width).max(1)))
        .map(|((rows, distances), out)| fields(rows, distances, &weighing, out))
        .collect();
    let mut squares: Vec<f64> = (0..count).map(|tau| squares.iter().map(|squares| squares[tau]).sum()).collect();
    kernel.ranks.sum_few(&mut squares);
    let fields = squares.into_iter().map(|square| (square / (pairs * width as f64)).sqrt()).collect();
    let scales = Scales { sets: kernel.sets, distance, fields };

    let mut slope = take(features[0].len());
    let losses: Vec<f64> = slope
        .par_chunks_exact_mut(places * width)
        .enumerate()
        .map(|(picture, out)| slope_of(out, &all_fields, [picture / n, picture % n], &sizes, &scales))
        .collect();
    [rows, distances, all_fields].into_iter().for_each(release);
    let loss = losses.into_iter().sum::<f64>();
    ([loss].into_iter().chain(scales.fields).map(|value| value as f32).collect(), slope)
}
