//! What values a site puts out, and how much of them an integer should cover.

use std::str::FromStr;

/// Buckets of a histogram: sign, exponent and seven bits of the fraction of an f32.
const BUCKETS: usize = 1 << 16;

/// Values of one site over all calibration pictures.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Values of a row.
    pub width: usize,
    counts: Vec<u32>,
    rows: u64,
    sums: Vec<f64>,
    greatest: Vec<f32>,
}

/// A range of real values that codes cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How a range is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RangeMethod {
    /// Every value that was seen.
    MinMax,
    /// All but this share of the values at each end.
    Percentile(f64),
    /// Least mean squared error of rounding and clipping together.
    Mse,
}

impl FromStr for RangeMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "min-max" => Ok(Self::MinMax),
            "mse" => Ok(Self::Mse),
            _ => {
                let percent = text.strip_prefix("percentile:").and_then(|p| p.parse::<f64>().ok());
                match percent {
                    Some(p) if p > 50.0 && p < 100.0 => Ok(Self::Percentile(1.0 - p / 100.0)),
                    _ => Err("`min-max`, `mse` or `percentile:P` with P above 50 and below 100, for example percentile:99.9".into()),
                }
            }
        }
    }
}

impl Stats {
    /// Of no values.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            counts: vec![0; BUCKETS],
            rows: 0,
            sums: vec![0.0; width],
            greatest: vec![0.0; width],
        }
    }

    /// Counts rows of `width` values.
    pub fn add(&mut self, values: &[f32]) {
        for row in values.chunks_exact(self.width) {
            self.rows += 1;
            for ((&value, sum), greatest) in row.iter().zip(&mut self.sums).zip(&mut self.greatest) {
                self.counts[(value.to_bits() >> 16) as usize] += 1;
                *sum += f64::from(value);
                *greatest = greatest.max(value.abs());
            }
        }
    }

    /// Adds another count of the same site.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.greatest.iter_mut().zip(&other.greatest).for_each(|(a, b)| *a = a.max(*b));
    }

    /// Mean of each channel.
    pub fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.rows.max(1) as f64).collect()
    }

    /// Greatest magnitude of each channel.
    pub fn greatest(&self) -> &[f32] {
        &self.greatest
    }

    /// Greatest magnitude of all.
    pub fn magnitude(&self) -> f64 {
        self.greatest.iter().fold(0.0, |a, &b| a.max(f64::from(b)))
    }

    /// Values and counts, from the lowest value to the highest.
    fn buckets(&self) -> Vec<(f64, f64)> {
        let value = |bucket: usize| f64::from(f32::from_bits((bucket as u32) << 16 | 0x8000));
        let negative = (BUCKETS / 2..BUCKETS).rev();
        negative
            .chain(0..BUCKETS / 2)
            .filter(|&bucket| self.counts[bucket] > 0)
            .map(|bucket| (value(bucket), f64::from(self.counts[bucket])))
            .collect()
    }

    /// The range that `method` chooses for `levels` codes; around zero when `symmetric`. Zero is always inside.
    pub fn range(&self, method: RangeMethod, levels: f64, symmetric: bool) -> Range {
        let buckets = self.buckets();
        let whole = match (buckets.first(), buckets.last()) {
            (Some(first), Some(last)) => Range { low: first.0.min(0.0), high: last.0.max(0.0) },
            _ => Range { low: 0.0, high: 0.0 },
        };
        let range = match method {
            RangeMethod::MinMax => {
                let most = self.magnitude();
                Range { low: whole.low.max(-most), high: whole.high.min(most) }
            }
            RangeMethod::Percentile(share) => {
                let total: f64 = buckets.iter().map(|(_, count)| count).sum();
                let at = |from_end: &[(f64, f64)]| {
                    let mut left = share * total;
                    let outside = |(_, count): &&(f64, f64)| {
                        left -= count;
                        left < 0.0
                    };
                    from_end.iter().find(outside).map_or(0.0, |(value, _)| *value)
                };
                let reversed: Vec<(f64, f64)> = buckets.iter().rev().copied().collect();
                Range { low: at(&buckets).min(0.0), high: at(&reversed).max(0.0) }
            }
            RangeMethod::Mse => return least_error(&buckets, whole, levels, symmetric),
        };
        if symmetric { range.symmetric() } else { range }
    }
}

impl Range {
    /// The smallest range around zero that holds this one.
    pub fn symmetric(self) -> Self {
        let most = self.high.max(-self.low);
        Self { low: -most, high: most }
    }

    /// Mean squared error of coding `buckets` in `levels` equal steps from end to end.
    fn error(self, buckets: &[(f64, f64)], levels: f64) -> f64 {
        let step = (self.high - self.low) / (levels - 1.0);
        if step <= 0.0 {
            return f64::INFINITY;
        }
        let error = |value: f64| {
            let inside = value.clamp(self.low, self.high);
            let clipped = value - inside;
            // Rounding errors are uniform within a step.
            clipped * clipped + if clipped == 0.0 { step * step / 12.0 } else { 0.0 }
        };
        buckets.iter().map(|&(value, count)| count * error(value)).sum()
    }
}

/// Tries ends at fractions of the whole range, each end by itself unless the range is symmetric.
fn least_error(buckets: &[(f64, f64)], whole: Range, levels: f64, symmetric: bool) -> Range {
    const TRIES: usize = 40;
    let whole = if symmetric { whole.symmetric() } else { whole };
    let share = |i: usize| 1.0 - i as f64 / TRIES as f64;
    let better = |a: (f64, Range), b: (f64, Range)| if b.0 < a.0 { b } else { a };
    let try_range = |range: Range| (range.error(buckets, levels), range);
    let mut best = try_range(whole);
    if symmetric {
        for i in 1..TRIES {
            best = better(best, try_range(Range { low: whole.low * share(i), high: whole.high * share(i) }));
        }
        return best.1;
    }
    // One end after the other, twice: the error is nearly convex in each.
    for _ in 0..2 {
        for i in 0..TRIES {
            best = better(best, try_range(Range { low: whole.low * share(i), ..best.1 }));
        }
        for i in 0..TRIES {
            best = better(best, try_range(Range { high: whole.high * share(i), ..best.1 }));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;

    fn gaussian(n: u64, outlier: f32) -> Stats {
        let mut stats = Stats::new(1);
        let rng = Rng::new(1, 255);
        stats.add(&(0..n).map(|i| rng.gaussian(i)).collect::<Vec<_>>());
        stats.add(&[outlier]);
        stats
    }

    #[test]
    fn min_max_covers_everything_and_mse_leaves_outliers_out() {
        let stats = gaussian(20_000, 30.0);
        let all = stats.range(RangeMethod::MinMax, 256.0, false);
        assert!((all.high - 30.0).abs() < 0.2 && all.low > -5.0 && all.low < -3.5, "{all:?}");
        // With few codes, a step for one value in 20,000 costs more than clipping it.
        let least = stats.range(RangeMethod::Mse, 16.0, false);
        assert!(least.high < 15.0 && least.high > 3.0, "{least:?}");
        assert!(least.low < -2.0, "{least:?}");
        let around = stats.range(RangeMethod::MinMax, 255.0, true);
        assert_eq!(around.low, -around.high);
        let most = stats.range(RangeMethod::Percentile(0.01), 256.0, false);
        assert!((most.high - 2.33).abs() < 0.1 && (most.low + 2.33).abs() < 0.1, "{most:?}");
    }

    #[test]
    fn means_and_channels() {
        let mut stats = Stats::new(2);
        stats.add(&[1.0, -4.0, 3.0, 2.0]);
        let mut other = Stats::new(2);
        other.add(&[2.0, 5.0]);
        stats.merge(&other);
        assert_eq!(stats.means(), [2.0, 1.0]);
        assert_eq!(stats.greatest(), [3.0, 5.0]);
        assert_eq!(stats.magnitude(), 5.0);
    }

    #[test]
    fn nothing_seen_is_an_empty_range() {
        for method in [RangeMethod::MinMax, RangeMethod::Percentile(0.1), RangeMethod::Mse] {
            let range = Stats::new(3).range(method, 256.0, false);
            assert_eq!((range.low, range.high), (0.0, 0.0));
        }
    }

    #[test]
    fn methods_by_name() {
        assert_eq!("mse".parse(), Ok(RangeMethod::Mse));
        assert!(matches!("percentile:99.9".parse(), Ok(RangeMethod::Percentile(p)) if (p - 0.001).abs() < 1e-9));
        assert!("percentile:20".parse::<RangeMethod>().is_err() && "best".parse::<RangeMethod>().is_err());
    }
}
