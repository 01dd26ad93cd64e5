//! The Fréchet distance between two Gaussians fitted to features (Dowson and Landau 1982).
//!
//! d(1, 2) = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The eigenvalues of S1 S2 are those of the symmetric S1^(1/2) S2 S1^(1/2),
//! so two symmetric eigendecompositions in f64 replace the square root of a matrix that is not symmetric; no epsilon is added.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::eval::error::EvalError;

/// Rows that enter a covariance at once.
const BLOCK: usize = 1024;

/// The sample mean and covariance of n feature vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMoments {
    n: usize,
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl FeatureMoments {
    /// Of the rows of a row-major table, `dim` values each, in f64.
    ///
    /// # Errors
    /// Less than two rows, a length that is not a multiple of `dim`, or a value that is not finite.
    pub fn from_rows(values: &[f32], dim: usize) -> Result<Self, EvalError> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(EvalError::Dimension {
                what: "values left over in the feature table",
                expected: 0,
                found: values.len().checked_rem(dim).unwrap_or(values.len()),
            });
        }
        let n = values.len() / dim;
        check_count(n)?;
        check_finite("features", values.iter().copied().map(f64::from))?;
        let mut mean = DVector::zeros(dim);
        for row in values.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        mean /= n as f64;
        let mut covariance = DMatrix::zeros(dim, dim);
        for rows in values.chunks(BLOCK * dim) {
            // The rows of the table are columns here, where columns are contiguous.
            let centred = rows.iter().enumerate().map(|(index, &value)| f64::from(value) - mean[index % dim]);
            let centred = DMatrix::from_iterator(dim, rows.len() / dim, centred);
            covariance.gemm(1.0, &centred, &centred.transpose(), 1.0);
        }
        covariance /= (n - 1) as f64;
        symmetrise(&mut covariance);
        Ok(Self { n, mean, covariance })
    }

    /// From a stored mean and a row-major covariance (divisor n - 1) of its width squared.
    ///
    /// # Errors
    /// n below two, lengths that do not fit, a value that is not finite.
    pub fn from_parts(n: usize, mean: &[f64], covariance: &[f64]) -> Result<Self, EvalError> {
        check_count(n)?;
        Ok(Self { n, ..Self::published(mean, covariance)? })
    }

    /// As [`from_parts`](Self::from_parts) for a file that does not tell of how many pictures: n is 0.
    ///
    /// # Errors
    /// Lengths that do not fit, a value that is not finite.
    pub fn published(mean: &[f64], covariance: &[f64]) -> Result<Self, EvalError> {
        let dim = mean.len();
        if covariance.len() != dim * dim {
            return Err(EvalError::Dimension { what: "length of the covariance", expected: dim * dim, found: covariance.len() });
        }
        check_finite("mean", mean.iter().copied())?;
        check_finite("covariance", covariance.iter().copied())?;
        Ok(Self {
            n: 0,
            mean: DVector::from_row_slice(mean),
            covariance: DMatrix::from_row_slice(dim, dim, covariance),
        })
    }

    /// How many feature vectors were seen; 0 if that is not known.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Width of the feature vectors.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// The mean.
    pub fn mean(&self) -> &[f64] {
        self.mean.as_slice()
    }

    /// The unbiased covariance (divisor n - 1); it is symmetric, so its row-major and column-major tables are the same.
    pub fn covariance(&self) -> &[f64] {
        self.covariance.as_slice()
    }
}

fn check_count(n: usize) -> Result<(), EvalError> {
    if n < 2 {
        return Err(EvalError::TooFew { what: "samples of a covariance", needed: 2, found: n });
    }
    Ok(())
}

fn check_finite(what: &'static str, mut values: impl Iterator<Item = f64>) -> Result<(), EvalError> {
    match values.position(|value| !value.is_finite()) {
        Some(index) => Err(EvalError::NonFinite { what, index }),
        None => Ok(()),
    }
}

/// A Gaussian that others are measured against: the root of its covariance is taken once.
#[derive(Clone, Debug)]
pub struct FrechetReference {
    moments: FeatureMoments,
    root: DMatrix<f64>,
}

impl FrechetReference {
    /// Takes the root of the covariance.
    ///
    /// # Errors
    /// Eigenvalues that do not converge.
    pub fn new(moments: FeatureMoments) -> Result<Self, EvalError> {
        const SWEEPS: usize = 10_000;
        let eigen = SymmetricEigen::try_new(moments.covariance.clone(), f64::EPSILON, SWEEPS).ok_or(EvalError::Eigenvalues)?;
        let scaled = &eigen.eigenvectors * DMatrix::from_diagonal(&eigen.eigenvalues.map(root));
        let root = scaled * eigen.eigenvectors.transpose();
        Ok(Self { moments, root })
    }

    /// The mean and covariance.
    pub fn moments(&self) -> &FeatureMoments {
        &self.moments
    }

    /// As [`distance`].
    ///
    /// # Errors
    /// Moments of different width, or so large that the result is not finite.
    pub fn distance(&self, other: &FeatureMoments) -> Result<f64, EvalError> {
        let this = &self.moments;
        if this.dim() != other.dim() {
            return Err(EvalError::Dimension { what: "width of the second moments", expected: this.dim(), found: other.dim() });
        }
        let mut product = &self.root * &other.covariance * &self.root;
        symmetrise(&mut product);
        check_finite("product of the covariances", product.iter().copied())?;
        let cross = product.symmetric_eigenvalues().map(root).sum();
        let means = (&this.mean - &other.mean).norm_squared();
        Ok((means + this.covariance.trace() + other.covariance.trace() - 2.0 * cross).max(0.0))
    }
}

/// The Fréchet distance between two Gaussians; at least 0.
///
/// It grows as samples get fewer even between two halves of one set: compare only distances of the same n, and print the distance
/// of real images beside it.
///
/// # Errors
/// Moments of different width, or eigenvalues that do not converge.
pub fn distance(a: &FeatureMoments, b: &FeatureMoments) -> Result<f64, EvalError> {
    FrechetReference::new(a.clone())?.distance(b)
}

/// Rounding breaks the symmetry in the last bits.
fn symmetrise(matrix: &mut DMatrix<f64>) {
    for column in 0..matrix.ncols() {
        for row in 0..column {
            let mean = 0.5 * (matrix[(row, column)] + matrix[(column, row)]);
            matrix[(row, column)] = mean;
            matrix[(column, row)] = mean;
        }
    }
}

/// The root of an eigenvalue that is 0 or more but for rounding.
fn root(eigenvalue: f64) -> f64 {
    eigenvalue.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(mean: &[f64], variances: &[f64]) -> FeatureMoments {
        let covariance = DMatrix::from_diagonal(&DVector::from_row_slice(variances));
        FeatureMoments::from_parts(10, mean, covariance.as_slice()).unwrap()
    }

    /// The features of tests/gen/frechet_golden.py.
    fn golden(set: u32, n: usize, dim: usize) -> FeatureMoments {
        let mixed = |i: usize, j: usize| {
            let raw = |j: usize| (i as f64 * 12.9898 + j as f64 * 78.233 + f64::from(set) * 37.719).sin() * 43.7585;
            let value = raw(j) - raw(j).floor();
            f64::from(set) * value + 0.5 * (raw(j / 2) - raw(j / 2).floor()) + 0.01 * f64::from(set) * j as f64
        };
        let values: Vec<f32> = (0..n * dim).map(|index| mixed(index / dim, index % dim) as f32).collect();
        FeatureMoments::from_rows(&values, dim).unwrap()
    }

    #[test]
    fn moments_of_three_points() {
        let moments = FeatureMoments::from_rows(&[0.0, 1.0, 2.0, 1.0, 4.0, 7.0], 2).unwrap();
        assert_eq!((moments.n(), moments.dim()), (3, 2));
        assert_eq!(moments.mean(), [2.0, 3.0]);
        assert_eq!(moments.covariance(), [4.0, 6.0, 6.0, 12.0]);
    }

    #[test]
    fn diagonal_gaussians_have_a_closed_form() {
        // |m1 - m2|^2 + sum (s1 - s2)^2 over the standard deviations.
        let a = gaussian(&[0.0, 1.0, -2.0], &[1.0, 4.0, 0.25]);
        let b = gaussian(&[3.0, 1.0, -1.0], &[9.0, 0.0, 0.25]);
        let expected = 9.0 + 0.0 + 1.0 + (4.0 + 4.0 + 0.0);
        assert!((distance(&a, &b).unwrap() - expected).abs() < 1e-12);
        assert!((distance(&b, &a).unwrap() - expected).abs() < 1e-12);
        assert!(distance(&a, &a).unwrap() < 1e-12);
    }

    #[test]
    fn equals_scipy_sqrtm() {
        for (n1, n2, dim, expected) in FRECHET_GOLDEN {
            let found = distance(&golden(1, n1, dim), &golden(2, n2, dim)).unwrap();
            assert!((found / expected - 1.0).abs() < 1e-6, "{n1} {n2} {dim}: {found} {expected}");
        }
    }

    /// n1, n2, width, distance: printed by tests/gen/frechet_golden.py.
    const FRECHET_GOLDEN: [(usize, usize, usize, f64); 3] = [
        (50, 80, 4, 1.1809482168271923),
        (300, 200, 16, 6.561458456981599),
        (1000, 500, 64, 50.94456265002018),
    ];

    #[test]
    fn singular_covariances_are_fine() {
        // Three points in eight dimensions: rank 2.
        let a = golden(1, 3, 8);
        let b = golden(2, 3, 8);
        assert!(distance(&a, &a).unwrap() < 1e-6);
        assert!(distance(&a, &b).unwrap().is_finite());
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(matches!(FeatureMoments::from_rows(&[1.0, 2.0], 2), Err(EvalError::TooFew { found: 1, .. })));
        assert!(matches!(FeatureMoments::from_rows(&[], 2), Err(EvalError::TooFew { found: 0, .. })));
        assert!(matches!(FeatureMoments::from_rows(&[1.0; 7], 2), Err(EvalError::Dimension { found: 1, .. })));
        assert!(matches!(FeatureMoments::from_rows(&[1.0], 0), Err(EvalError::Dimension { .. })));
        let nan = FeatureMoments::from_rows(&[1.0, 2.0, f32::NAN, 0.0], 2);
        assert!(matches!(nan, Err(EvalError::NonFinite { index: 2, .. })));
        assert!(matches!(FeatureMoments::from_parts(5, &[0.0; 2], &[0.0; 3]), Err(EvalError::Dimension { expected: 4, .. })));
        let a = gaussian(&[0.0], &[1.0]);
        let b = gaussian(&[0.0; 2], &[1.0; 2]);
        assert!(matches!(distance(&a, &b), Err(EvalError::Dimension { expected: 1, found: 2, .. })));
    }
}
