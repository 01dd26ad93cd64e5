//! The drifting loss (docs/reference/method.md section 8.1): each thread takes whole groups, one place of one set, and sums over groups run in
//! their order.

use rayon::prelude::*;

use super::buffers::{release, take};
use super::lanes::{exp, highest, ln, sum, sum_of, vectorised};
use crate::ops::plain::{LEAST_DISTANCE, LEAST_FIELD, SELF_DISTANCE};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Sizes of the features of one kind.
#[derive(Debug, Clone, Copy)]
pub struct DriftSizes {
    /// L, places of a picture.
    pub places: usize,
    /// K, sets of pictures.
    pub sets: usize,
    /// N, generated pictures of a set.
    pub generated: usize,
    /// P, real pictures of a set.
    pub real: usize,
    /// D, values of a feature.
    pub width: usize,
}

impl DriftSizes {
    const fn groups(&self) -> usize {
        self.places * self.sets
    }

    /// Real and generated pictures of a set.
    const fn pictures(&self) -> usize {
        self.generated + self.real
    }
}

/// A square and its row and column: logarithms of sums of exponentials.
struct Softmax {
    rows: Vec<f32>,
    columns: Vec<f32>,
    highest: Vec<f32>,
}

vectorised! {
    /// `out = x - centre`, row by row, and the square of each row.
    fn centred(x: &[f32], centre: &[f32], out: &mut [f32], squares: &mut [f32]) {
        let rows = x.chunks_exact(centre.len()).zip(out.chunks_exact_mut(centre.len()));
        for ((x, out), square) in rows.zip(squares) {
            for ((out, x), c) in out.iter_mut().zip(x).zip(centre) {
                *out = *x - *c;
            }
            *square = sum_of(out, out, |a, b| a * b);
        }
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

/// Features around the mean of the real ones, real before generated, and their distances from the generated ones `[N, P + N]`. Returns the
/// sums of the distances from real and from other generated pictures.
fn measure(x: &[f32], real: &[f32], sizes: &DriftSizes, rows: &mut [f32], distances: &mut [f32]) -> [f64; 2] {
    let DriftSizes { generated: n, real: p, width, .. } = *sizes;
    let mut centre = vec![0.0; width];
    real.chunks_exact(width).for_each(|row| add_scaled(row, 1.0 / p as f32, &mut centre));
    let mut squares = vec![0.0; n + p];
    let (real_rows, own_rows) = rows.split_at_mut(p * width);
    centred(real, &centre, real_rows, &mut squares[..p]);
    centred(x, &centre, own_rows, &mut squares[p..]);
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
    let mut weights = vec![0.0; n * (n + p)];
    let field = |(tau, out): (&f64, &mut [f32])| {
        kernel(distances, (-1.0 / (mean * tau)) as f32, &mut softmax, &mut weights);
        pull_and_push(&mut weights, p, n + p);
        let factor = ((width as f64).sqrt() / mean) as f32;
        let (weights, all) = (Matrix::new(&weights, n, n + p), Matrix::new(rows, n + p, width));
        matmul(MatrixMut::new(out, n, width), Into::Overwrite, factor, weights, all, Threads::Caller);
        squared(out, width)
    };
    temperatures.iter().zip(out.chunks_exact_mut(n * width)).map(field).collect()
}

/// The loss and the sizes of the fields, `[1 + T]`, and the gradient with respect to x, `[L, K, N, D]`.
pub fn drift(x: &[f32], real: &[f32], sizes: DriftSizes, temperatures: &[f64]) -> (Vec<f32>, Vec<f32>) {
    let DriftSizes { generated: n, real: p, width, sets, .. } = sizes;
    let (groups, all, count) = (sizes.groups(), sizes.pictures(), temperatures.len());
    let (mut rows, mut distances) = (take(groups * all * width), take(groups * n * all));
    let inputs = x.par_chunks_exact(n * width).zip(real.par_chunks_exact(p * width));
    let places = rows.par_chunks_exact_mut(all * width).zip(distances.par_chunks_exact_mut(n * all));
    let sums: Vec<[f64; 2]> = inputs
        .zip(places)
        .map(|((x, real), (rows, distances))| measure(x, real, &sizes, rows, distances))
        .collect();
    let [from_real, from_generated] = [0, 1].map(|i| sums.iter().map(|sums| sums[i]).sum::<f64>());
    let pairs = (groups * n) as f64;
    let mean = ((from_real / (pairs * p as f64) + from_generated / (pairs * (n - 1) as f64)) / 2.0).max(LEAST_DISTANCE);

    let mut all_fields = take(groups * count * n * width);
    let places = rows.par_chunks_exact(all * width).zip(distances.par_chunks_exact_mut(n * all));
    let squares: Vec<Vec<f64>> = places
        .zip(all_fields.par_chunks_exact_mut((count * n * width).max(1)))
        .map(|((rows, distances), out)| fields(rows, distances, &sizes, mean, temperatures, out))
        .collect();
    let size = |tau: usize| (squares.iter().map(|squares| squares[tau]).sum::<f64>() / (pairs * width as f64)).sqrt();
    let field_sizes: Vec<f64> = (0..count).map(size).collect();

    let share = 1.0 / (sets * n * width) as f64;
    let slope_factor = (-2.0 * share * (width as f64).sqrt() / mean) as f32;
    let mut slope = take(x.len());
    let losses: Vec<f64> = slope
        .par_chunks_exact_mut(n * width)
        .zip(all_fields.par_chunks_exact((count * n * width).max(1)))
        .map(|(slope, fields)| {
            slope.fill(0.0);
            for (field, size) in fields.chunks_exact(n * width).zip(&field_sizes) {
                add_scaled(field, (1.0 / size.max(LEAST_FIELD)) as f32, slope);
            }
            let square = squared(slope, width);
            slope.iter_mut().for_each(|value| *value *= slope_factor);
            square
        })
        .collect();
    [rows, distances, all_fields].into_iter().for_each(release);
    let loss = share * losses.into_iter().sum::<f64>();
    ([loss].into_iter().chain(field_sizes).map(|value| value as f32).collect(), slope)
}
