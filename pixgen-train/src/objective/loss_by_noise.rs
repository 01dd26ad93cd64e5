//! The loss at low and at high noise: which levels a run still learns at.

use crate::distributed::Collective;
use pixgen_core::noise::NoiseConfig;
use serde::Serialize;

/// Equal parts of ln t between the lowest and the highest level.
pub const BINS: usize = 8;

/// The mean loss of some images at one noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelLoss {
    /// Shifted level.
    pub t: f64,
    /// Mean over the images.
    pub loss: f64,
    /// Images.
    pub count: u64,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NoiseBin {
    /// Lowest shifted level.
    pub t_low: f64,
    /// Highest shifted level.
    pub t_high: f64,
    /// Mean loss; none without images.
    pub loss: Option<f64>,
    /// Images.
    pub count: u64,
}

/// Losses of any number of images, by noise level.
#[derive(Clone, Copy, Debug, Default)]
pub struct LossByNoise {
    sums: [f64; BINS],
    counts: [u64; BINS],
}

impl LossByNoise {
    /// Adds images.
    pub fn add(&mut self, noise: &NoiseConfig, at: &LevelLoss) {
        let (low, high) = (noise.t_min().ln(), noise.t_max().ln());
        let along = (at.t.ln() - low) / (high - low);
        // Levels at the ends may lie beyond them by a rounding error; NaN goes to the first.
        let bin = ((along * BINS as f64).max(0.0) as usize).min(BINS - 1);
        self.sums[bin] += at.loss * at.count as f64;
        self.counts[bin] += at.count;
    }

    /// Adds the images of all other ranks.
    pub fn join(&mut self, ranks: &Collective) {
        if ranks.is_alone() {
            return;
        }
        let mut all = [self.sums, self.counts.map(|count| count as f64)].concat();
        ranks.sum_few(&mut all);
        self.sums.copy_from_slice(&all[..BINS]);
        self.counts.iter_mut().zip(&all[BINS..]).for_each(|(count, sum)| *count = *sum as u64);
    }

    /// The table, from low to high noise; nothing if no images were added.
    pub fn bins(&self, noise: &NoiseConfig) -> Option<[NoiseBin; BINS]> {
        let ratio = noise.t_max() / noise.t_min();
        let edge = |i: usize| noise.t_min() * ratio.powf(i as f64 / BINS as f64);
        let bin = |i: usize| NoiseBin {
            t_low: edge(i),
            t_high: edge(i + 1),
            loss: (self.counts[i] > 0).then(|| self.sums[i] / self.counts[i] as f64),
            count: self.counts[i],
        };
        self.counts.iter().any(|&count| count > 0).then(|| std::array::from_fn(bin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_bin_and_means_are_over_images() {
        let noise = NoiseConfig::with_shift(0.5);
        assert!(LossByNoise::default().bins(&noise).is_none());
        let mut losses = LossByNoise::default();
        for (t, loss, count) in [
            (noise.t_min(), 1.0, 3),
            (noise.t_min() * 1.01, 5.0, 1),
            (noise.t_max(), 7.0, 2),
            (noise.t_max() * 1.001, 9.0, 2),
        ] {
            losses.add(&noise, &LevelLoss { t, loss, count });
        }
        let bins = losses.bins(&noise).expect("images");
        assert_eq!((bins[0].loss, bins[0].count), (Some(2.0), 4));
        assert_eq!((bins[BINS - 1].loss, bins[BINS - 1].count), (Some(8.0), 4));
        assert!(bins[1..BINS - 1].iter().all(|bin| (bin.loss, bin.count) == (None, 0)));
        assert_eq!(bins[0].t_low, noise.t_min());
        assert!((bins[BINS - 1].t_high / noise.t_max() - 1.0).abs() < 1e-12);
        assert!(
            bins.windows(2)
                .all(|pair| pair[0].t_high == pair[1].t_low && pair[0].t_low < pair[0].t_high)
        );
    }
}
