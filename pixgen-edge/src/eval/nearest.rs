//! How far is each image from the training set? A generator that memorises has nearest-image distances near 0.
//!
//! Distances are the root mean square over pixels on the scale [0, 1]: 0 is a copy, 1 is black against white. Images of any size.

use rayon::prelude::*;

use crate::eval::error::EvalError;
use crate::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Images compared at once: a block of products is 64 x 512 floats, 128 KiB.
const QUERY_BLOCK: usize = 64;
const REFERENCE_BLOCK: usize = 512;

/// The nearest reference of every query.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// Root mean square pixel distance on the scale [0, 1].
    pub distances: Vec<f32>,
    /// Which reference image that is.
    pub indices: Vec<usize>,
}

impl Nearest {
    /// The median distance; `None` without queries.
    pub fn median(&self) -> Option<f32> {
        self.quantile(0.5)
    }

    /// The distance that a share `q` of the queries stays at or below: the nearest rank, `q` limited to 0..=1.
    pub fn quantile(&self, q: f64) -> Option<f32> {
        let mut sorted = self.distances.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

/// Finds the nearest of the `references` for each of the `queries`, images of `pixels` bytes each.
///
/// |a - b|^2 = |a|^2 + |b|^2 - 2ab through a matrix product in f32 picks the winner; its distance is then recomputed in integers, so
/// a distance is exact, and only references closer together than the rounding of the product (1e-6 of the mean square) can be
/// taken for each other. Uses all rayon threads.
///
/// # Errors
/// `pixels` is 0, a length is not a multiple of it, or there are no references.
pub fn nearest(queries: &[u8], references: &[u8], pixels: usize) -> Result<Nearest, EvalError> {
    for (what, images) in [("images", queries), ("training images", references)] {
        if pixels == 0 || !images.len().is_multiple_of(pixels) {
            return Err(EvalError::PartialImage { what, bytes: images.len(), pixels });
        }
    }
    if references.is_empty() {
        return Err(EvalError::TooFew { what: "training images", needed: 1, found: 0 });
    }
    let half_squares: Vec<f32> = references
        .par_chunks(pixels)
        .map(|image| 0.5 * image.iter().map(|&p| centred(p) * centred(p)).sum::<f32>())
        .collect();
    let found: Vec<(f32, usize)> = queries
        .par_chunks(QUERY_BLOCK * pixels)
        .flat_map_iter(|block| {
            let winners = winners(block, references, &half_squares, pixels);
            block
                .chunks_exact(pixels)
                .zip(winners)
                .map(move |(query, index)| (rms_distance(query, &references[index * pixels..][..pixels]), index))
        })
        .collect();
    let (distances, indices) = found.into_iter().unzip();
    Ok(Nearest { distances, indices })
}

/// The reference with the smallest |b|^2 / 2 - ab for every query of a block.
fn winners(queries: &[u8], references: &[u8], half_squares: &[f32], pixels: usize) -> Vec<usize> {
    let query_values: Vec<f32> = queries.iter().map(|&p| centred(p)).collect();
    let mut best = vec![(f32::INFINITY, 0); queries.len() / pixels];
    let mut reference_values = Vec::new();
    let mut products = Vec::new();
    for (block, images) in references.chunks(REFERENCE_BLOCK * pixels).enumerate() {
        let start = block * REFERENCE_BLOCK;
        let count = images.len() / pixels;
        reference_values.clear();
        reference_values.extend(images.iter().map(|&p| centred(p)));
        products.resize(best.len() * count, 0.0);
        let (output, transposed) =
            (MatrixMut::new(&mut products, best.len(), count), Matrix::new(&reference_values, count, pixels).transposed());
        matmul(output, Into::Overwrite, 1.0, Matrix::new(&query_values, best.len(), pixels), transposed, Threads::Caller);
        for (best, row) in best.iter_mut().zip(products.chunks_exact(count)) {
            for (index, (product, half_square)) in row.iter().zip(&half_squares[start..]).enumerate() {
                let score = half_square - product;
                if score < best.0 {
                    *best = (score, start + index);
                }
            }
        }
    }
    best.into_iter().map(|(_, index)| index).collect()
}

/// A pixel on the scale [-1/2, 1/2]: small values keep the rounding of the product small.
fn centred(pixel: u8) -> f32 {
    f32::from(pixel) / 255.0 - 0.5
}

fn rms_distance(a: &[u8], b: &[u8]) -> f32 {
    let squares: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    ((squares as f64 / a.len() as f64).sqrt() / 255.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;

    fn random_bytes(stream: u64, count: usize) -> Vec<u8> {
        let rng = Rng::new(8, stream);
        (0..count as u64).map(|index| (rng.u32(index) >> 24) as u8).collect()
    }

    #[test]
    fn equals_brute_force() {
        // More than one block of both, with a rest, and few pixels so that near-ties happen.
        let pixels = 12;
        let queries = random_bytes(0, (QUERY_BLOCK + 7) * pixels);
        let references = random_bytes(1, (REFERENCE_BLOCK * 2 + 3) * pixels);
        let found = nearest(&queries, &references, pixels).unwrap();
        assert_eq!(found.distances.len(), QUERY_BLOCK + 7);
        for (query, image) in queries.chunks_exact(pixels).enumerate() {
            let all: Vec<f32> = references.chunks_exact(pixels).map(|other| rms_distance(image, other)).collect();
            let least = all.iter().copied().fold(f32::INFINITY, f32::min);
            assert!((found.distances[query] - least).abs() < 1e-6, "query {query}");
            assert_eq!(found.distances[query], all[found.indices[query]], "query {query}");
        }
    }

    #[test]
    fn a_copy_is_at_zero_and_white_is_at_one_from_black() {
        let references = random_bytes(1, 700 * 28 * 28);
        let copies: Vec<u8> = [699usize, 3, 512].iter().flat_map(|i| references[i * 784..][..784].to_vec()).collect();
        let found = nearest(&copies, &references, 784).unwrap();
        assert_eq!(found.indices, [699, 3, 512]);
        assert_eq!(found.distances, [0.0; 3]);
        assert_eq!(nearest(&[255; 4], &[0; 4], 4).unwrap().distances, [1.0]);
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let some = Nearest { distances: vec![0.4, 0.1, 0.3, 0.2], indices: vec![0; 4] };
        assert_eq!(some.median(), Some(0.2));
        assert_eq!(some.quantile(0.0), Some(0.1));
        assert_eq!(some.quantile(0.75), Some(0.3));
        assert_eq!(some.quantile(7.0), Some(0.4));
        assert_eq!(nearest(&[], &[0; 4], 4).unwrap().median(), None);
    }

    #[test]
    fn bad_sizes_are_errors() {
        assert!(matches!(nearest(&[0; 5], &[0; 4], 4), Err(EvalError::PartialImage { what: "images", bytes: 5, .. })));
        assert!(matches!(nearest(&[0; 4], &[0; 5], 4), Err(EvalError::PartialImage { bytes: 5, .. })));
        assert!(matches!(nearest(&[0; 4], &[], 4), Err(EvalError::TooFew { .. })));
        assert!(matches!(nearest(&[0; 4], &[0; 4], 0), Err(EvalError::PartialImage { .. })));
    }
}
