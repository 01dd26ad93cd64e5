//! Settings of stage 2b, and the levels and weights that follow from them (docs/reference/method.md section 5).

use super::TrainingProgress;
use super::auxiliary::FrozenFeature;
use pixgen_core::noise::{NoiseConfig, PairMap, Parametrisation};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use serde::{Deserialize, Serialize};

/// The weight of a pair (t, r), both shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1/(t - r), and 0 where t = r: the paper.
    InverseGap,
    /// 1/sqrt((t - r)^2 + 0.25): never large (section 7).
    Smooth,
}

impl Weighting {
    /// The weight.
    pub fn at(self, t: f64, r: f64) -> f64 {
        match self {
            Self::InverseGap if t > r => 1.0 / (t - r),
            Self::InverseGap => 0.0,
            Self::Smooth => 1.0 / ((t - r) * (t - r) + 0.25).sqrt(),
        }
    }
}

/// Settings of stage 2b.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// How F becomes a picture.
    pub parametrisation: Parametrisation,
    /// Weight of a pair.
    pub weighting: Weighting,
    /// Below this shifted level the target is x0 itself; 0 switches it off. Needed by `plain-x`.
    pub anchor: f64,
    /// ln t ~ N(p_mean, p_std^2), unshifted.
    pub p_mean: f64,
    /// Standard deviation of ln t; see `p_mean`.
    pub p_std: f64,
    /// The map from t to r.
    pub pair: PairMap,
    /// Number of equal parts of the run; part a = 1, 2, .. brings r closer to t.
    pub stages: u32,
    /// c of the pseudo-Huber loss.
    pub huber: f64,
    /// Dropout on the decoder's attention projection.
    pub dropout: f64,
    /// Weight of the auxiliary loss through the frozen encoder; 0 switches it off.
    pub auxiliary: f64,
    /// Temperature of the auxiliary loss.
    pub auxiliary_temperature: f64,
    /// What the auxiliary loss compares.
    pub auxiliary_feature: FrozenFeature,
}

impl ConsistencyConfig {
    /// The stage a, from 1, at `images` of `total`.
    pub fn stage(&self, images: u64, total: u64) -> u32 {
        let stages = u64::from(self.stages.max(1));
        (1 + images * stages / total.max(1)).min(stages) as u32
    }

    /// The levels of each picture of the next step's share (section 5).
    pub fn pairs(&self, noise: &NoiseConfig, progress: &TrainingProgress) -> Vec<LevelPair> {
        let stage = self.stage(progress.images, progress.total);
        let z = |picture| f64::from(Draws::new(Rng::new(progress.seed, stream(Purpose::NoiseLevel, picture)), 0).gaussian());
        (progress.first()..)
            .take(progress.count())
            .map(|picture| self.pair(noise, z(picture), stage))
            .collect()
    }

    /// ln t = p_mean + p_std z, and r from t at this stage.
    fn pair(&self, noise: &NoiseConfig, z: f64, stage: u32) -> LevelPair {
        let level = (self.p_mean + self.p_std * z).exp().clamp(noise.sigma_min, noise.sigma_max);
        let below = self.pair.r(noise, level, stage);
        LevelPair { t: noise.shift * level, r: noise.shift * below, r_at_floor: below <= noise.sigma_min }
    }

    /// Share of the images of a run whose target needs the teacher: the integral of [`needs_teacher`](Self::needs_teacher) over
    /// ln t ~ N(p_mean, p_std^2), and the mean over the equally long stages (sections 5 and 6.11).
    pub fn teacher_share(&self, noise: &NoiseConfig) -> f64 {
        let stages = self.stages.max(1);
        (1..=stages).map(|a| self.teacher_share_at(noise, a)).sum::<f64>() / f64::from(stages)
    }

    fn teacher_share_at(&self, noise: &NoiseConfig, stage: u32) -> f64 {
        /// Points, and how many standard deviations they cover on each side.
        const POINTS: u32 = 20_000;
        const DEVIATIONS: f64 = 8.0;
        let width = 2.0 * DEVIATIONS / f64::from(POINTS);
        let (mut with_teacher, mut all) = (0.0, 0.0);
        for z in (0..POINTS).map(|i| -DEVIATIONS + width * (f64::from(i) + 0.5)) {
            let density = (-0.5 * z * z).exp();
            all += density;
            if self.needs_teacher(&self.pair(noise, z, stage)) {
                with_teacher += density;
            }
        }
        with_teacher / all
    }

    /// Whether the target of a picture is what the current weights draw from x_r, and not x0 itself.
    pub fn needs_teacher(&self, pair: &LevelPair) -> bool {
        !pair.r_at_floor && pair.t >= self.anchor
    }
}

/// The two levels of a picture, shifted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelPair {
    /// Of the trained pass.
    pub t: f64,
    /// Of the target, at most t.
    pub r: f64,
    /// Whether r is the lowest level.
    pub r_at_floor: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 6.11: a quarter at a = 1, 56 % at a = 2, almost all from a = 3 on.
    #[test]
    fn teacher_shares_of_the_paper() {
        let settings = ConsistencyConfig {
            parametrisation: Parametrisation::Edm,
            weighting: Weighting::InverseGap,
            anchor: 0.0,
            p_mean: -0.4,
            p_std: 1.6,
            pair: PairMap::PAPER,
            stages: 7,
            huber: 0.06,
            dropout: 0.5,
            auxiliary: 1.0,
            auxiliary_temperature: 0.1,
            auxiliary_feature: FrozenFeature::Projected,
        };
        let noise = NoiseConfig::with_shift(4.0);
        let shares: Vec<f64> = (1..=7).map(|a| settings.teacher_share_at(&noise, a)).collect();
        assert!((shares[0] - 0.25).abs() < 0.01 && (shares[1] - 0.56).abs() < 0.01, "{shares:?}");
        assert!(shares[2..].iter().all(|share| (0.97..=1.0).contains(share)), "{shares:?}");
        assert!((settings.teacher_share(&noise) - shares.iter().sum::<f64>() / 7.0).abs() < 1e-12);
        // A map that always stops at the floor needs no teacher, an anchor above all levels neither.
        let anchored = ConsistencyConfig { anchor: 1e9, ..settings };
        assert_eq!(anchored.teacher_share(&noise), 0.0);
    }
}
