//! Are generated pictures among the real ones, and are the real ones reached? Precision and recall (Kynkaanniemi et al. 2019),
//! density and coverage (Naeem et al. 2020), and the class that neighbours vote for.
//!
//! The ball of a picture reaches to its k-th nearest other picture of the same set, in feature space. Precision is the share of
//! generated pictures inside the ball of a real one, density how many balls of real ones they lie in divided by k; recall is the share
//! of real pictures inside the ball of a generated one, coverage the share of real balls that hold a generated picture. All four
//! depend on the number of pictures: compare equal numbers only.

use crate::quality::features::{Features, scan};
use pixgen_edge::eval::EvalError;

/// Which neighbour a ball reaches to unless another is asked for.
pub const NEIGHBOURS: usize = 5;

/// The four shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ManifoldScores {
    /// Generated pictures inside the ball of a real one: are they good?
    pub precision: f64,
    /// Real pictures inside the ball of a generated one: is nothing missing?
    pub recall: f64,
    /// As precision, but counts all balls: about 1 for real pictures, and may be above. Single far real pictures do not help it.
    pub density: f64,
    /// Real balls that hold a generated picture. Far generated pictures do not help it.
    pub coverage: f64,
}

/// Measures `generated` against `real` with balls to the `k`-th neighbour.
///
/// # Errors
/// Features of different width, k = 0, or a set of k pictures or less.
pub fn manifolds(real: &Features, generated: &Features, k: usize) -> Result<ManifoldScores, EvalError> {
    check_k(k)?;
    Features::check_pair(real, generated, k + 1)?;
    RealManifold::new(real, k)?.measure(generated)
}

/// A set of real pictures with the radii of their balls, to measure several sets against.
#[derive(Clone, Debug)]
pub struct RealManifold {
    real: Features,
    k: usize,
    /// Squared.
    radii: Vec<f32>,
}

impl RealManifold {
    /// The balls of `real` to the `k`-th neighbour.
    ///
    /// # Errors
    /// k = 0, or k pictures or less.
    pub fn new(real: &Features, k: usize) -> Result<Self, EvalError> {
        check_k(k)?;
        Features::check_pair(real, real, k + 1)?;
        Ok(Self { real: real.clone(), k, radii: radii(real, k) })
    }

    /// Real pictures.
    pub fn len(&self) -> usize {
        self.real.n
    }

    /// Never: there are more than k.
    pub fn is_empty(&self) -> bool {
        self.real.n == 0
    }

    /// Measures `generated` against these balls.
    ///
    /// # Errors
    /// Features of another width, or k pictures or less.
    pub fn measure(&self, generated: &Features) -> Result<ManifoldScores, EvalError> {
        let Self { real, k, radii: real_radii } = self;
        Features::check_pair(real, generated, k + 1)?;
        let inside = |distances: &[f32], radii: &[f32]| distances.iter().zip(radii).filter(|(d, r)| d < r).count();
        // Of each generated picture the real balls around it; of each real one the generated balls, and the nearest generated one.
        let balls = scan(generated, real, || 0, |count, _, first, distances| *count += inside(distances, &real_radii[first..]));
        let generated_radii = radii(generated, *k);
        let reached = scan(
            real,
            generated,
            || (0, f32::INFINITY),
            |(count, nearest), _, first, distances| {
                *count += inside(distances, &generated_radii[first..]);
                *nearest = distances.iter().copied().fold(*nearest, f32::min);
            },
        );
        let share = |count: usize, of: usize| count as f64 / of as f64;
        Ok(ManifoldScores {
            precision: share(balls.iter().filter(|&&count| count > 0).count(), generated.n),
            recall: share(reached.iter().filter(|(count, _)| *count > 0).count(), real.n),
            density: share(balls.iter().sum(), generated.n * k),
            coverage: share(reached.iter().zip(real_radii).filter(|((_, nearest), radius)| nearest < radius).count(), real.n),
        })
    }
}

fn check_k(k: usize) -> Result<(), EvalError> {
    if k == 0 {
        return Err(EvalError::TooFew { what: "neighbours", needed: 1, found: 0 });
    }
    Ok(())
}

/// The smallest distances seen so far, ascending, with whose they are.
#[derive(Clone, Debug, Default)]
struct Smallest(Vec<(f32, usize)>);

impl Smallest {
    fn see(&mut self, k: usize, distance: f32, index: usize) {
        if self.0.len() == k && self.0.last().is_some_and(|last| distance >= last.0) {
            return;
        }
        // Behind equal ones: the lowest index wins a tie.
        let at = self.0.partition_point(|kept| kept.0 <= distance);
        self.0.insert(at, (distance, index));
        self.0.truncate(k);
    }
}

/// Squared distance of each picture to its k-th nearest other one.
fn radii(set: &Features, k: usize) -> Vec<f32> {
    let found = scan(set, set, Smallest::default, |smallest: &mut Smallest, query, first, distances| {
        for (index, &distance) in (first..).zip(distances) {
            if index != query {
                smallest.see(k, distance, index);
            }
        }
    });
    // More than k pictures, as checked: every picture has k others.
    found.iter().map(|smallest| smallest.0.last().map_or(0.0, |last| last.0)).collect()
}

/// The class that most of the `k` nearest of `labelled` have, for each of `queries`; among equals that of the nearest.
///
/// # Errors
/// Features of different width, k = 0, fewer labelled pictures than k, or a number of labels that is not theirs.
pub fn vote(queries: &Features, labelled: &Features, labels: &[u16], k: usize) -> Result<Vec<u16>, EvalError> {
    check_k(k)?;
    Features::check_pair(labelled, labelled, k)?;
    Features::check_pair(labelled, queries, 0)?;
    if labels.len() != labelled.n {
        return Err(EvalError::LabelCount { what: "labelled images", images: labelled.n, labels: labels.len() });
    }
    let found = scan(queries, labelled, Smallest::default, |smallest: &mut Smallest, _, first, distances| {
        for (index, &distance) in (first..).zip(distances) {
            smallest.see(k, distance, index);
        }
    });
    let elect = |smallest: &Smallest| {
        let votes: Vec<u16> = smallest.0.iter().map(|&(_, index)| labels[index]).collect();
        let count = |label: u16| votes.iter().filter(|&&vote| vote == label).count();
        // The first of the largest: votes are in order of distance.
        votes.iter().fold(None, |best: Option<(usize, u16)>, &label| match best {
            Some((most, _)) if count(label) <= most => best,
            _ => Some((count(label), label)),
        })
    };
    Ok(found.iter().filter_map(elect).map(|(_, label)| label).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::features::golden;

    fn line(values: &[f32]) -> Features {
        Features::new(values.to_vec(), 1).unwrap()
    }

    #[test]
    fn a_line_by_hand() {
        // Real balls to the first neighbour: radii 1, 1, 2 and 10.
        let real = line(&[0.0, 1.0, 3.0, 13.0]);
        // Generated balls: 0.5, 0.5 and 3.5.
        let generated = line(&[0.5, 1.0, 4.5]);
        let found = manifolds(&real, &generated, 1).unwrap();
        assert_eq!(found.precision, 1.0);
        // 0.5 lies in two balls, 1.0 (a radius away from 0, and from 3) in one, 4.5 in those of 3 and 13.
        assert_eq!(found.density, 5.0 / 3.0);
        // 1.0 and 3.0 lie in generated balls; 0.0 is exactly on the border of one, 13 far from all.
        assert_eq!(found.recall, 0.5);
        // The balls of 0 (0.5), 1 (0.5, 1.0), 3 (4.5) and 13 (4.5) hold one.
        assert_eq!(found.coverage, 1.0);
    }

    #[test]
    fn equals_prdc() {
        for (n1, n2, dim, k, expected) in MANIFOLD_GOLDEN {
            let ManifoldScores { precision, recall, density, coverage } = manifolds(&golden(1, n1, dim), &golden(2, n2, dim), k).unwrap();
            for (found, expected) in [precision, recall, density, coverage].into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{n1} {n2} {dim} {k}: {found} {expected}");
            }
        }
    }

    /// Real, generated, width, k; precision, recall, density, coverage: printed by tests/gen/metrics_golden.py.
    const MANIFOLD_GOLDEN: [(usize, usize, usize, usize, [f64; 4]); 3] = [
        (100, 90, 4, 1, [0.14444444444444443, 0.68, 0.2, 0.16]),
        (300, 200, 6, 5, [0.075, 1.0, 0.043000000000000003, 0.13333333333333333]),
        (700, 600, 8, 3, [0.01, 0.9342857142857143, 0.0061111111111111106, 0.015714285714285715]),
    ];

    #[test]
    fn copies_are_perfect_and_far_pictures_are_nothing() {
        let real = golden(1, 300, 6);
        let same = manifolds(&real, &real, 5).unwrap();
        assert_eq!((same.precision, same.recall, same.coverage), (1.0, 1.0, 1.0));
        let far = Features::new(real.values.iter().map(|v| v + 100.0).collect(), 6).unwrap();
        let none = ManifoldScores { precision: 0.0, recall: 0.0, density: 0.0, coverage: 0.0 };
        assert_eq!(manifolds(&real, &far, 5).unwrap(), none);
        // One picture again and again: precise, and nothing is covered.
        let collapsed = real.select(&[7; 300]);
        let found = manifolds(&real, &collapsed, 5).unwrap();
        assert_eq!((found.precision, found.recall), (1.0, 0.0));
        assert!(found.coverage < 0.1, "{found:?}");
    }

    #[test]
    fn neighbours_vote() {
        let labelled = line(&[0.0, 1.0, 2.0, 10.0, 11.0]);
        let labels = [4, 9, 9, 0, 0];
        assert_eq!(vote(&line(&[0.1, 10.4]), &labelled, &labels, 3).unwrap(), [9, 0]);
        assert_eq!(vote(&line(&[0.1]), &labelled, &labels, 1).unwrap(), [4]);
        // A tie goes to the nearest.
        assert_eq!(vote(&line(&[0.1, 0.9]), &labelled, &labels, 2).unwrap(), [4, 9]);
        assert!(
            vote(&Features { n: 0, dim: 1, values: vec![] }, &labelled, &labels, 2)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn bad_sets_are_errors() {
        let (a, b) = (golden(1, 10, 4), golden(2, 10, 5));
        assert!(matches!(manifolds(&a, &b, 5), Err(EvalError::Dimension { .. })));
        assert!(matches!(manifolds(&a, &a, 10), Err(EvalError::TooFew { needed: 11, found: 10, .. })));
        assert!(matches!(manifolds(&a, &a, 0), Err(EvalError::TooFew { what: "neighbours", .. })));
        assert!(matches!(vote(&a, &a, &[0; 9], 1), Err(EvalError::LabelCount { .. })));
        assert!(matches!(vote(&a, &a, &[0; 10], 11), Err(EvalError::TooFew { .. })));
        assert!(matches!(vote(&a, &b, &[0; 10], 1), Err(EvalError::Dimension { .. })));
    }
}
