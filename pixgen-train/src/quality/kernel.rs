//! Kernel distance (KID on Inception features; Binkowski et al. 2018): the unbiased squared maximum mean discrepancy under the kernel
//! k(x, y) = (x.y / d + 1)^3.
//!
//! m(X, Y) = mean of k(x, x') over different pairs + the same of Y - 2 mean of k(x, y). Its expectation does not depend on the number
//! of pictures, which the Fréchet distance's does; between two samples of one distribution it scatters around 0, also below it.

use rayon::prelude::*;

use crate::quality::features::{Features, QUERY_BLOCK, REFERENCE_BLOCK};
use pixgen_edge::eval::sample::sample;
use pixgen_edge::eval::{EvalError, KernelSubsets};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Number of subsets, and pictures in each: those of the KID paper's code and of torch-fidelity.
pub const SUBSETS: usize = 100;
/// See [`SUBSETS`].
pub const SUBSET_SIZE: usize = 1000;

/// The unbiased estimate from all pairs of pictures: no subsets, nothing random.
///
/// # Errors
/// Features of different width, or less than two pictures in a set.
pub fn distance(a: &Features, b: &Features) -> Result<f64, EvalError> {
    Features::check_pair(a, b, 2)?;
    Ok(unbiased(a, b))
}

/// The unbiased estimate on `count` pairs of subsets of `size` different pictures each, drawn by `seed`.
///
/// `size` is limited to half of the smaller set, because subsets that are nearly the whole set hardly vary.
///
/// # Errors
/// As [`distance`]; less than four pictures in a set; `count` 0.
pub fn subsets(a: &Features, b: &Features, count: usize, size: usize, seed: u64) -> Result<KernelSubsets, EvalError> {
    Features::check_pair(a, b, 4)?;
    if count == 0 {
        return Err(EvalError::TooFew { what: "subsets", needed: 1, found: 0 });
    }
    let size = size.clamp(2, a.n.min(b.n) / 2);
    let values: Vec<f64> = (0..count as u64)
        .into_par_iter()
        .map(|subset| {
            let pick = |set: &Features, side: u64| set.select(&sample(set.n, size, seed, 2 * subset + side));
            unbiased(&pick(a, 0), &pick(b, 1))
        })
        .collect();
    let mean = values.iter().sum::<f64>() / count as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
    Ok(KernelSubsets { mean, std: variance.sqrt(), count, size })
}

fn unbiased(a: &Features, b: &Features) -> f64 {
    let within = |set: &Features| kernel_sum(set, set, true) / (set.n as f64 * (set.n as f64 - 1.0));
    within(a) + within(b) - 2.0 * kernel_sum(a, b, false) / (a.n as f64 * b.n as f64)
}

/// Sum of the kernel over all pairs, in f64 and in an order that does not depend on the threads.
fn kernel_sum(a: &Features, b: &Features, skip_equal_index: bool) -> f64 {
    let dim = a.dim;
    let gamma = 1.0 / dim as f64;
    let kernel = |product: f32| (f64::from(product) * gamma + 1.0).powi(3);
    let block = |(number, rows): (usize, &[f32])| {
        let mut products = Vec::new();
        let (first, count) = (number * QUERY_BLOCK, rows.len() / dim);
        let mut sum = 0.0;
        for (other, columns) in b.values.chunks(REFERENCE_BLOCK * dim).enumerate() {
            let width = columns.len() / dim;
            products.resize(count * width, 0.0);
            let (output, transposed) = (MatrixMut::new(&mut products, count, width), Matrix::new(columns, width, dim).transposed());
            matmul(output, Into::Overwrite, 1.0, Matrix::new(rows, count, dim), transposed, Threads::Caller);
            sum += products.iter().map(|&product| kernel(product)).sum::<f64>();
            if skip_equal_index {
                let start = other * REFERENCE_BLOCK;
                let equal = (first..first + count).filter(|index| (start..start + width).contains(index));
                sum -= equal.map(|index| kernel(products[(index - first) * width + index - start])).sum::<f64>();
            }
        }
        sum
    };
    let sums: Vec<f64> = a.values.par_chunks(QUERY_BLOCK * dim).enumerate().map(block).collect();
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::features::golden;

    #[test]
    fn three_points_by_hand() {
        let a = Features::new(vec![1.0, 2.0, 3.0], 1).unwrap();
        let b = Features::new(vec![0.0, -1.0], 1).unwrap();
        // k(1,2) = 27, k(1,3) = 64, k(2,3) = 343; k(0,-1) = 1; k(x,0) = 1, k(x,-1) = (1 - x)^3 = 0, -1, -8.
        let expected = (27.0 + 64.0 + 343.0) / 3.0 + 1.0 - 2.0 * (3.0 - 9.0) / 6.0;
        assert!((distance(&a, &b).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn equals_torch_fidelity() {
        for (n1, n2, dim, full, mean, std) in KERNEL_GOLDEN {
            let (a, b) = (golden(1, n1, dim), golden(2, n2, dim));
            let found = distance(&a, &b).unwrap();
            assert!((found / full - 1.0).abs() < 1e-6, "{n1} {n2} {dim}: {found} {full}");
            let found = subsets(&a, &b, 10, 40, 7).unwrap();
            assert_eq!((found.count, found.size), (10, 40));
            assert!((found.mean / mean - 1.0).abs() < 1e-5, "{n1} {n2} {dim}: {found:?} {mean}");
            assert!((found.std / std - 1.0).abs() < 1e-4, "{n1} {n2} {dim}: {found:?} {std}");
        }
    }

    /// n1, n2, width, estimate from all pairs, mean and std of ten subsets of 40: printed by tests/gen/metrics_golden.py.
    const KERNEL_GOLDEN: [(usize, usize, usize, f64, f64, f64); 3] = [
        (100, 90, 4, 4.770872566177015, 5.0315802313714455, 0.6515571130075115),
        (300, 200, 16, 11.107226518180628, 11.482980130593086, 1.3652816376023411),
        (700, 800, 64, 54.18655286893033, 54.31122726503643, 2.165996696133836),
    ];

    #[test]
    fn one_distribution_is_near_zero_at_any_size() {
        let all = golden(1, 1200, 8);
        let part = |from: usize, to: usize| all.select(&(from..to).collect::<Vec<_>>());
        let far = distance(&all, &golden(2, 600, 8)).unwrap();
        for n in [50, 200, 600] {
            let near = distance(&part(0, n), &part(600, 600 + n)).unwrap();
            assert!(near.abs() < far / 50.0, "{n}: {near} {far}");
        }
    }

    #[test]
    fn bad_sets_are_errors() {
        let (a, b) = (golden(1, 10, 4), golden(2, 10, 5));
        assert!(matches!(distance(&a, &b), Err(EvalError::Dimension { .. })));
        assert!(matches!(distance(&a, &golden(1, 1, 4)), Err(EvalError::TooFew { needed: 2, .. })));
        assert!(matches!(subsets(&a, &golden(1, 3, 4), 5, 2, 0), Err(EvalError::TooFew { needed: 4, .. })));
        assert!(matches!(subsets(&a, &a, 0, 2, 0), Err(EvalError::TooFew { what: "subsets", .. })));
        assert_eq!(subsets(&a, &a, 3, 1000, 0).unwrap().size, 5);
    }
}
