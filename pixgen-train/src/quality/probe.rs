//! How much of the class the encoder's feature shows, at one noise level: nearest neighbours and a linear probe.
//!
//! Both see frozen features LN(CLS) (docs/reference/method.md section 2.2) of training and of held-out pictures. They are the usual ones of
//! self-supervised learning: weighted neighbours by cosine (Wu et al., "Unsupervised feature learning via non-parametric instance
//! discrimination", CVPR 2018) and a softmax regression on standardised features.

use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};
use rayon::prelude::*;

/// Temperature of the neighbours' votes.
const VOTE_TEMPERATURE: f32 = 0.07;
/// Queries compared at once.
const BLOCK: usize = 64;
/// Weight of the linear probe's squared weights, and its passes over the training features.
const DECAY: f32 = 1e-4;
const PASSES: usize = 400;

/// Features `[n, dim]` with a class each.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Row after row.
    pub values: Vec<f32>,
    /// Features of a picture.
    pub dim: usize,
    /// Classes.
    pub labels: Vec<u16>,
}

impl Labelled {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

/// Share of `queries` whose class wins the vote of the `k` nearest of `known` by cosine, each with the weight exp(cosine/0.07).
pub fn nearest_neighbours(known: &Labelled, queries: &Labelled, classes: usize, k: usize) -> f64 {
    let (keys, dim) = (normalised(known), known.dim);
    let right: usize = normalised(queries)
        .par_chunks(BLOCK * dim)
        .zip(queries.labels.par_chunks(BLOCK))
        .map(|(block, labels)| {
            let mut cosines = vec![0.0; labels.len() * known.len()];
            let transposed = Matrix::new(&keys, known.len(), dim).transposed();
            let output = MatrixMut::new(&mut cosines, labels.len(), known.len());
            matmul(output, Into::Overwrite, 1.0, Matrix::new(block, labels.len(), dim), transposed, Threads::Caller);
            let voted = |row: &[f32]| vote(row, &known.labels, classes, k);
            cosines
                .chunks_exact(known.len())
                .zip(labels)
                .filter(|(row, label)| voted(row) == usize::from(**label))
                .count()
        })
        .sum();
    share(right, queries.len())
}

/// The class with the most weight among the `k` largest cosines; the first among equals.
fn vote(cosines: &[f32], labels: &[u16], classes: usize, k: usize) -> usize {
    let mut order: Vec<usize> = (0..cosines.len()).collect();
    let nearer = |a: &usize, b: &usize| cosines[*b].total_cmp(&cosines[*a]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, nearer);
        order.truncate(k);
    }
    let mut votes = vec![0.0_f32; classes];
    for index in order {
        votes[usize::from(labels[index])] += ((cosines[index] - 1.0) / VOTE_TEMPERATURE).exp();
    }
    largest(&votes)
}

/// Share of `queries` that a softmax regression on `known` puts into their class.
pub fn linear(known: &Labelled, queries: &Labelled, classes: usize) -> f64 {
    let standard = Standard::of(known);
    let (inputs, asked) = (standard.apply(known), standard.apply(queries));
    let weights = Regression { inputs: &inputs, width: known.dim + 1, labels: &known.labels, classes }.fit();
    let logits = product(&asked, &weights, known.dim + 1, classes);
    let right = logits
        .chunks_exact(classes)
        .zip(&queries.labels)
        .filter(|(row, label)| largest(row) == usize::from(**label));
    share(right.count(), queries.len())
}

/// Mean and inverse deviation of each feature.
struct Standard(Vec<(f32, f32)>);

impl Standard {
    fn of(known: &Labelled) -> Self {
        let n = known.len().max(1) as f64;
        let moments = (0..known.dim).map(|column| {
            let column = || known.rows().map(move |row| f64::from(row[column]));
            let mean = column().sum::<f64>() / n;
            let variance = column().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
            (mean as f32, 1.0 / (variance.sqrt() as f32).max(1e-6))
        });
        Self(moments.collect())
    }

    /// Standardised features, each row with a 1 behind it for the bias.
    fn apply(&self, of: &Labelled) -> Vec<f32> {
        let scaled = |row: &[f32]| -> Vec<f32> {
            let values = row.iter().zip(&self.0).map(|(value, (mean, scale))| (value - mean) * scale);
            values.chain([1.0]).collect()
        };
        of.rows().flat_map(scaled).collect()
    }
}

/// The softmax regression: cross-entropy and DECAY/2 |W|^2 over all training features, by Nesterov's method with the step 1/L.
struct Regression<'a> {
    inputs: &'a [f32],
    width: usize,
    labels: &'a [u16],
    classes: usize,
}

impl Regression<'_> {
    /// W, `[width, classes]`.
    fn fit(&self) -> Vec<f32> {
        let step = 1.0 / (0.5 * self.largest_eigenvalue() * 1.05 + DECAY);
        let mut weights = vec![0.0; self.width * self.classes];
        let (mut ahead, mut momentum) = (weights.clone(), 1.0_f32);
        for _ in 0..PASSES {
            let gradient = self.gradient(&ahead);
            let next_momentum = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
            let push = (momentum - 1.0) / next_momentum;
            for ((weight, ahead), gradient) in weights.iter_mut().zip(&mut ahead).zip(gradient) {
                let moved = *ahead - step * (gradient + DECAY * *ahead);
                *ahead = moved + push * (moved - *weight);
                *weight = moved;
            }
            momentum = next_momentum;
        }
        weights
    }

    /// X^T (softmax(X W) - Y) / n.
    fn gradient(&self, weights: &[f32]) -> Vec<f32> {
        let n = self.labels.len();
        let mut errors = product(self.inputs, weights, self.width, self.classes);
        errors.par_chunks_exact_mut(self.classes).zip(self.labels).for_each(|(row, &label)| {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|logit| *logit = (*logit - top).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|weight| *weight /= sum);
            row[usize::from(label)] -= 1.0;
        });
        let mut gradient = vec![0.0; weights.len()];
        let output = MatrixMut::new(&mut gradient, self.width, self.classes);
        let inputs = Matrix::new(self.inputs, n, self.width).transposed();
        matmul(output, Into::Overwrite, 1.0 / n as f32, inputs, Matrix::new(&errors, n, self.classes), Threads::Pool);
        gradient
    }

    /// That of X^T X / n, by power iteration; half of it bounds the curvature of the cross-entropy.
    fn largest_eigenvalue(&self) -> f32 {
        let n = self.labels.len();
        let mut vector = vec![(1.0 / self.width as f32).sqrt(); self.width];
        let mut value = 1.0;
        for _ in 0..50 {
            let seen = product(self.inputs, &vector, self.width, 1);
            let output = MatrixMut::new(&mut vector, self.width, 1);
            let inputs = Matrix::new(self.inputs, n, self.width).transposed();
            matmul(output, Into::Overwrite, 1.0 / n as f32, inputs, Matrix::new(&seen, n, 1), Threads::Pool);
            value = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            vector.iter_mut().for_each(|v| *v /= value);
        }
        value
    }
}

/// Rows of `width` values times `[width, columns]`.
fn product(rows: &[f32], weights: &[f32], width: usize, columns: usize) -> Vec<f32> {
    let n = rows.len() / width;
    let mut out = vec![0.0; n * columns];
    let output = MatrixMut::new(&mut out, n, columns);
    matmul(output, Into::Overwrite, 1.0, Matrix::new(rows, n, width), Matrix::new(weights, width, columns), Threads::Pool);
    out
}

/// Rows of length 1.
fn normalised(of: &Labelled) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        row.iter().map(move |v| v / norm).collect::<Vec<f32>>()
    };
    of.rows().flat_map(unit).collect()
}

fn largest(values: &[f32]) -> usize {
    let better = |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).reduce(better).unwrap_or(0)
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;

    /// Three clouds in four dimensions whose centres are `apart` from each other; the fourth only adds noise.
    fn clouds(n: usize, apart: f32, seed: u64) -> Labelled {
        let rng = Rng::new(seed, 0);
        let labels: Vec<u16> = (0..n).map(|i| (i % 3) as u16).collect();
        let value = |i: usize, j: usize| {
            let centre = if i % 3 == j { apart } else { 0.0 };
            centre + rng.gaussian((4 * i + j) as u64)
        };
        Labelled { values: (0..4 * n).map(|at| value(at / 4, at % 4)).collect(), dim: 4, labels }
    }

    #[test]
    fn both_find_classes_that_are_there_and_none_that_are_not() {
        let (known, queries) = (clouds(600, 8.0, 1), clouds(300, 8.0, 2));
        assert!(nearest_neighbours(&known, &queries, 3, 20) > 0.98);
        assert!(linear(&known, &queries, 3) > 0.98);
        let (known, queries) = (clouds(600, 0.0, 1), clouds(300, 0.0, 2));
        for found in [nearest_neighbours(&known, &queries, 3, 20), linear(&known, &queries, 3)] {
            assert!((found - 1.0 / 3.0).abs() < 0.1, "{found}");
        }
    }

    /// Classes that differ in an offset only are for the bias and the scale to find, not for the angle.
    #[test]
    fn the_linear_probe_does_not_depend_on_scale_or_offset() {
        let moved = |mut of: Labelled| {
            of.values
                .chunks_exact_mut(4)
                .for_each(|row| (row[0], row[1]) = (1e3 * row[0] - 5e3, 1e-3 * row[1] + 2.0));
            of
        };
        let (known, queries) = (clouds(600, 4.0, 3), clouds(300, 4.0, 4));
        let plain = linear(&known, &queries, 3);
        assert!((linear(&moved(known), &moved(queries), 3) - plain).abs() < 0.01);
    }

    /// One neighbour of a known picture is that picture.
    #[test]
    fn a_picture_is_its_own_neighbour() {
        let known = clouds(50, 0.0, 5);
        assert_eq!(nearest_neighbours(&known, &known, 3, 1), 1.0);
        // With more neighbours than pictures every one of them votes.
        assert!(nearest_neighbours(&known, &known, 3, 1000) > 0.5);
    }

    /// The gradient is 0 where the regression ends.
    #[test]
    fn the_regression_converges() {
        let known = clouds(300, 2.0, 6);
        let inputs = Standard::of(&known).apply(&known);
        let regression = Regression { inputs: &inputs, width: 5, labels: &known.labels, classes: 3 };
        let weights = regression.fit();
        let rest: Vec<f32> = regression.gradient(&weights).iter().zip(&weights).map(|(g, w)| g + DECAY * w).collect();
        assert!(rest.iter().all(|g| g.abs() < 1e-4), "{rest:?}");
    }
}
