//! Features of many pictures, and the squared distances between two such sets, block by block.

use rayon::prelude::*;

use pixgen_edge::eval::EvalError;
use pixgen_edge::eval::frechet::FeatureMoments;
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Rows compared at once: a block of products is 64 x 512 floats, 128 KiB.
pub(crate) const QUERY_BLOCK: usize = 64;
pub(crate) const REFERENCE_BLOCK: usize = 512;

/// Features of n images.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Images.
    pub n: usize,
    /// Features of an image.
    pub dim: usize,
    /// n x dim, row-major.
    pub values: Vec<f32>,
}

impl Features {
    /// From a row-major table of rows of `dim` values.
    ///
    /// # Errors
    /// A length that is not a multiple of `dim`, or a value that is not finite.
    pub fn new(values: Vec<f32>, dim: usize) -> Result<Self, EvalError> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let found = values.len().checked_rem(dim).unwrap_or(values.len());
            return Err(EvalError::Dimension { what: "values left over in the feature table", expected: 0, found });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(EvalError::NonFinite { what: "features", index });
        }
        Ok(Self { n: values.len() / dim, dim, values })
    }

    /// The features of one image.
    ///
    /// # Panics
    /// If `index` is not below n.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..][..self.dim]
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Panics
    /// If an index is not below n.
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&index| self.row(index)).copied().collect();
        Self { n: indices.len(), dim: self.dim, values }
    }

    /// Mean and covariance.
    ///
    /// # Errors
    /// Less than two images, or a value that is not finite.
    pub fn moments(&self) -> Result<FeatureMoments, EvalError> {
        FeatureMoments::from_rows(&self.values, self.dim)
    }

    /// Refuses two sets of different width, or one with fewer rows than `needed`.
    pub(crate) fn check_pair(a: &Self, b: &Self, needed: usize) -> Result<(), EvalError> {
        if a.dim != b.dim {
            return Err(EvalError::Dimension { what: "width of the second features", expected: a.dim, found: b.dim });
        }
        for found in [a.n, b.n] {
            if found < needed {
                return Err(EvalError::TooFew { what: "images with features", needed, found });
            }
        }
        Ok(())
    }
}

/// Shows `see` the squared distances of every query to all references: one state for each query, from `start`.
///
/// `see` gets the state, the query's number, the number of the first reference of a block, and the distances to that block; blocks
/// come in order. |a - b|^2 = |a|^2 + |b|^2 - 2ab in f32, of features less the references' mean, which keeps the rounding at about
/// 1e-6 of the spread. Uses all rayon threads; no more than a block of distances is ever in memory.
pub(crate) fn scan<S: Send>(
    queries: &Features,
    references: &Features,
    start: impl Fn() -> S + Sync,
    see: impl Fn(&mut S, usize, usize, &[f32]) + Sync,
) -> Vec<S> {
    let dim = references.dim;
    let mean = mean(references);
    let centre = |rows: &[f32], out: &mut Vec<f32>| {
        out.clear();
        for row in rows.chunks_exact(dim) {
            out.extend(row.iter().zip(&mean).map(|(value, mean)| value - mean));
        }
    };
    let squares = |centred: &[f32]| -> Vec<f32> { centred.chunks_exact(dim).map(|row| row.iter().map(|v| v * v).sum()).collect() };
    let reference_squares: Vec<f32> = references
        .values
        .par_chunks(REFERENCE_BLOCK * dim)
        .map_init(Vec::new, |centred, rows| {
            centre(rows, centred);
            squares(centred)
        })
        .flatten_iter()
        .collect();
    let block = |(number, rows): (usize, &[f32])| {
        let (mut left, mut right, mut products) = (Vec::new(), Vec::new(), Vec::new());
        centre(rows, &mut left);
        let left_squares = squares(&left);
        let mut states: Vec<S> = left_squares.iter().map(|_| start()).collect();
        for (other, rows) in references.values.chunks(REFERENCE_BLOCK * dim).enumerate() {
            centre(rows, &mut right);
            let (first, count) = (other * REFERENCE_BLOCK, rows.len() / dim);
            products.resize(states.len() * count, 0.0);
            let (output, transposed) = (MatrixMut::new(&mut products, states.len(), count), Matrix::new(&right, count, dim).transposed());
            matmul(output, Into::Overwrite, 1.0, Matrix::new(&left, states.len(), dim), transposed, Threads::Caller);
            for (query, (state, row)) in states.iter_mut().zip(products.chunks_exact_mut(count)).enumerate() {
                for (product, square) in row.iter_mut().zip(&reference_squares[first..]) {
                    *product = (left_squares[query] + square - 2.0 * *product).max(0.0);
                }
                see(state, number * QUERY_BLOCK + query, first, row);
            }
        }
        states
    };
    queries
        .values
        .par_chunks(QUERY_BLOCK * dim)
        .enumerate()
        .map(block)
        .flatten_iter()
        .collect()
}

fn mean(features: &Features) -> Vec<f32> {
    let mut sums = vec![0.0f64; features.dim];
    for row in features.values.chunks_exact(features.dim) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.iter().map(|sum| (sum / features.n.max(1) as f64) as f32).collect()
}

/// The features of tests/gen/frechet_golden.py and metrics_golden.py.
#[cfg(test)]
pub(crate) fn golden(set: u32, n: usize, dim: usize) -> Features {
    let mixed = |i: usize, j: usize| {
        let raw = |j: usize| (i as f64 * 12.9898 + j as f64 * 78.233 + f64::from(set) * 37.719).sin() * 43.7585;
        let value = raw(j) - raw(j).floor();
        f64::from(set) * value + 0.5 * (raw(j / 2) - raw(j / 2).floor()) + 0.01 * f64::from(set) * j as f64
    };
    Features::new((0..n * dim).map(|index| mixed(index / dim, index % dim) as f32).collect(), dim).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_definition() {
        // More than one block of both, with rests, far from the origin.
        let shift = |features: Features| Features::new(features.values.iter().map(|v| v + 100.0).collect(), 5).unwrap();
        let (queries, references) = (shift(golden(1, QUERY_BLOCK + 7, 5)), shift(golden(2, REFERENCE_BLOCK + 3, 5)));
        let all = scan(&queries, &references, Vec::new, |row: &mut Vec<f32>, _, first, distances| {
            assert_eq!(row.len(), first);
            row.extend(distances);
        });
        assert_eq!(all.len(), queries.n);
        for (query, row) in all.iter().enumerate() {
            assert_eq!(row.len(), references.n);
            for (reference, &found) in row.iter().enumerate() {
                let pairs = queries.row(query).iter().zip(references.row(reference));
                let exact: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                assert!((f64::from(found) - exact).abs() < 2e-5, "{query} {reference}: {found} {exact}");
            }
        }
    }

    #[test]
    fn bad_tables_are_errors() {
        assert!(matches!(Features::new(vec![0.0; 7], 2), Err(EvalError::Dimension { found: 1, .. })));
        assert!(matches!(Features::new(vec![0.0], 0), Err(EvalError::Dimension { .. })));
        assert!(matches!(Features::new(vec![0.0, f32::INFINITY], 2), Err(EvalError::NonFinite { index: 1, .. })));
        let two = Features::new(vec![0.0; 4], 2).unwrap();
        let three = Features::new(vec![0.0; 6], 3).unwrap();
        assert!(matches!(Features::check_pair(&two, &three, 1), Err(EvalError::Dimension { expected: 2, found: 3, .. })));
        assert!(matches!(Features::check_pair(&two, &two, 3), Err(EvalError::TooFew { needed: 3, found: 2, .. })));
    }
}
