//! Exponential moving averages of the parameters; one of them is the exported model.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How fast an average forgets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum EmaConfig {
    /// Half-life as a share of the whole run's images: short runs get short memories.
    HalfLife {
        /// Between 0 and 1.
        share: f64,
    },
    /// The same decay at every step, as in papers.
    Decay {
        /// Between 0 and 1.
        decay: f64,
    },
}

impl EmaConfig {
    /// The decay of a step of `batch` images, `update` updates after the start of a run of `total` images.
    ///
    /// All averages warm up as min(decay, (1 + k)/(10 + k)), so that the start is forgotten early.
    pub fn decay(&self, update: u64, batch: u64, total: u64) -> f64 {
        let decay = match *self {
            Self::HalfLife { share } => 0.5f64.powf(batch as f64 / (share * total.max(1) as f64).max(1e-9)),
            Self::Decay { decay } => decay,
        };
        decay.min((1.0 + update as f64) / (10.0 + update as f64))
    }
}

/// `share-0.02` or `decay-0.99`: the average's name in files and reports.
impl fmt::Display for EmaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfLife { share } => write!(f, "share-{share}"),
            Self::Decay { decay } => write!(f, "decay-{decay}"),
        }
    }
}

/// Moves an average in host memory the share `share` of the way to `params`.
pub fn lerp(values: &mut [f32], params: &[f32], share: f32) {
    values
        .par_chunks_mut(1 << 15)
        .zip(params.par_chunks(1 << 15))
        .for_each(|(values, params)| {
            for (value, param) in values.iter_mut().zip(params) {
                *value += share * (param - *value);
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_life_is_a_share_of_the_run() {
        let config = EmaConfig::HalfLife { share: 0.1 };
        // A tenth of 10,000 images in steps of 10: one hundred steps halve what was there.
        let kept: f64 = (0..100).map(|_| config.decay(u64::MAX >> 1, 10, 10_000)).product();
        assert!((kept - 0.5).abs() < 1e-9);
        assert_eq!(config.decay(0, 10, 10_000), 0.1);
        assert_eq!(EmaConfig::Decay { decay: 0.99 }.decay(5_000, 1, 1), 0.99);
    }

    #[test]
    fn it_follows() {
        let mut values = [0.0; 3];
        let share = 1.0 - EmaConfig::Decay { decay: 0.9 }.decay(1_000, 1, 1) as f32;
        lerp(&mut values, &[1.0; 3], share);
        assert_eq!(values, [0.100000024; 3]);
    }
}
