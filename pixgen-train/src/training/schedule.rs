//! The learning rate as a function of images seen.

use serde::{Deserialize, Serialize};

/// How the rate goes on after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrShape {
    /// Always the same.
    Constant,
    /// Half a cosine, down to `final_factor`.
    Cosine,
    /// Steps of the paper's stage 2b: 1, then 0.3 from 4/7 of the run, then 0.08 from 5/7 (docs/reference/method.md section 5).
    Staged,
}

/// Learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Learning rate after warm-up.
    pub peak: f64,
    /// Images over which the rate rises linearly from 0.
    pub warmup: u64,
    /// How the rate goes on after warm-up.
    pub shape: LrShape,
    /// Where the cosine ends, as a share of the peak.
    pub final_factor: f64,
}

impl Schedule {
    /// The rate for the step that starts at `images` of `total`; warm-up counts the step's own `batch`.
    pub fn rate(&self, images: u64, batch: u64, total: u64) -> f64 {
        let warm = if self.warmup == 0 {
            1.0
        } else {
            ((images + batch) as f64 / self.warmup as f64).min(1.0)
        };
        let done = images as f64 / total.max(1) as f64;
        let factor = match self.shape {
            LrShape::Constant => 1.0,
            LrShape::Cosine => {
                let warmup = self.warmup.min(total) as f64 / total.max(1) as f64;
                let along = ((done - warmup) / (1.0 - warmup).max(1e-9)).clamp(0.0, 1.0);
                self.final_factor + (1.0 - self.final_factor) * 0.5 * (1.0 + (std::f64::consts::PI * along).cos())
            }
            LrShape::Staged if done < 4.0 / 7.0 => 1.0,
            LrShape::Staged if done < 5.0 / 7.0 => 0.3,
            LrShape::Staged => 0.08,
        };
        self.peak * warm * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let cosine = Schedule { peak: 2.0, warmup: 100, shape: LrShape::Cosine, final_factor: 0.02 };
        assert_eq!(cosine.rate(0, 10, 1100), 0.2);
        assert_eq!(cosine.rate(100, 10, 1100), 2.0);
        assert!((cosine.rate(600, 10, 1100) - 1.02).abs() < 1e-12);
        assert!((cosine.rate(1100, 10, 1100) - 0.04).abs() < 1e-12);
        let staged = Schedule { peak: 1.0, warmup: 0, shape: LrShape::Staged, final_factor: 0.0 };
        assert_eq!([0, 399, 400, 500, 700].map(|i| staged.rate(i, 1, 700)), [1.0, 1.0, 0.3, 0.08, 0.08]);
        let constant = Schedule { shape: LrShape::Constant, ..cosine };
        assert_eq!(constant.rate(1000, 10, 1100), 2.0);
    }
}
