//! Noise levels: grid, resolution shift, preconditioning, time embedding, curricula (docs/reference/method.md sections 1, 3.2, 3.3, 5).
//!
//! The process is x_t = x_0 + t eps, so t is the standard deviation of the noise. Levels are defined unshifted; the network and
//! the noise use the shifted level s t. A schedule is evaluated once per step or image, so everything here is in f64.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Constants of the noise process, unshifted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// Lowest level of the grid.
    pub sigma_min: f64,
    /// Highest level of the grid, where sampling starts.
    pub sigma_max: f64,
    /// Curvature of the grid.
    pub rho: f64,
    /// Standard deviation of the normalised data.
    pub sigma_data: f64,
    /// Resolution shift s, H/64 in the paper: the network sees s t.
    pub shift: f64,
}

impl NoiseConfig {
    /// The paper's constants with the given shift.
    pub const fn with_shift(shift: f64) -> Self {
        Self { sigma_min: 0.002, sigma_max: 80.0, rho: 7.0, sigma_data: 0.5, shift }
    }

    /// Checks the constants.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), NoiseError> {
        if !(self.sigma_min > 0.0 && self.sigma_min.is_finite()) {
            return Err(NoiseError::NotPositive { field: "sigma_min" });
        }
        if !(self.sigma_max > self.sigma_min && self.sigma_max.is_finite()) {
            return Err(NoiseError::SigmaMax);
        }
        if !(self.rho >= 1.0 && self.rho.is_finite()) {
            return Err(NoiseError::Rho);
        }
        if !(self.sigma_data > 0.0 && self.sigma_data.is_finite()) {
            return Err(NoiseError::NotPositive { field: "sigma_data" });
        }
        if !(self.shift > 0.0 && self.shift.is_finite()) {
            return Err(NoiseError::NotPositive { field: "shift" });
        }
        Ok(())
    }

    /// sigma_i of the Karras grid of `levels` points: sigma_0 is the highest, sigma_{N-1} the lowest (section 1). Unshifted.
    pub fn grid(&self, levels: usize, i: usize) -> f64 {
        let (high, low) = (libm::pow(self.sigma_max, 1.0 / self.rho), libm::pow(self.sigma_min, 1.0 / self.rho));
        let along = if levels > 1 { i as f64 / (levels - 1) as f64 } else { 0.0 };
        libm::pow(high + along * (low - high), self.rho)
    }

    /// The lowest shifted level, t_0 = s sigma_min: "clean" inputs carry this much noise.
    pub fn t_min(&self) -> f64 {
        self.shift * self.sigma_min
    }

    /// The highest shifted level, where one-step sampling starts.
    pub fn t_max(&self) -> f64 {
        self.shift * self.sigma_max
    }

    /// c_in(t) = 1/sqrt(t^2 + sigma_data^2); t shifted (section 1).
    pub fn c_in(&self, t: f64) -> f64 {
        1.0 / libm::sqrt(t * t + self.sigma_data * self.sigma_data)
    }

    /// c_skip(t) = sd^2/((t - t_min)^2 + sd^2); t shifted (section 5).
    pub fn c_skip(&self, t: f64) -> f64 {
        let (sd2, above) = (self.sigma_data * self.sigma_data, t - self.t_min());
        sd2 / (above * above + sd2)
    }

    /// c_out(t) = (t - t_min) sd / sqrt(t^2 + sd^2); t shifted (section 5).
    pub fn c_out(&self, t: f64) -> f64 {
        (t - self.t_min()) * self.sigma_data * self.c_in(t)
    }

    /// Both factors of f(x, t) = skip x + out F(c_in x, c_noise) for a parametrisation.
    pub fn output_factors(&self, parametrisation: Parametrisation, t: f64) -> OutputFactors {
        match parametrisation {
            Parametrisation::Edm => OutputFactors { skip: self.c_skip(t), out: self.c_out(t) },
            Parametrisation::PlainX => OutputFactors { skip: 0.0, out: 1.0 },
        }
    }
}

/// How the network's output F becomes the picture f(x, t).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parametrisation {
    /// f = c_skip x + c_out F, so that f(x, t_min) = x (section 5).
    Edm,
    /// f = F. There is no boundary condition: training needs an anchor at low noise (section 7).
    PlainX,
}

/// Factors of f(x, t) = skip x + out F.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputFactors {
    /// Of the noisy input.
    pub skip: f64,
    /// Of the network's output.
    pub out: f64,
}

/// c_noise(t) = 1000 * ln(t)/4, what the time embedding sees; t shifted (section 1).
pub fn c_noise(t: f64) -> f64 {
    250.0 * libm::log(t)
}

/// The sinusoid of c_noise(t): `[cos(f_0 c) .. cos(f_{h-1} c), sin(f_0 c) ..]` with f_i = 10000^(-i/h), h = len/2 (section 1).
///
/// The result is used raw, as the time token and in the decoder's condition. t is shifted; `out.len()` is even.
pub fn time_embedding(t: f64, out: &mut [f32]) {
    let half = out.len() / 2;
    let c = c_noise(t);
    let (cosines, sines) = out.split_at_mut(half);
    for (i, (cosine, sine)) in cosines.iter_mut().zip(sines).enumerate() {
        let angle = c * libm::exp(-libm::log(10_000.0) * i as f64 / half as f64);
        *cosine = libm::cos(angle) as f32;
        *sine = libm::sin(angle) as f32;
    }
}

/// The growing number of noise levels of stage 1 (section 3.2, the form of iCT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelCurriculum {
    /// s_0: levels at the start, less one.
    pub start: u32,
    /// s_1: levels at the end, less one.
    pub end: u32,
}

impl LevelCurriculum {
    /// The paper's: 20 to 1280.
    pub const PAPER: Self = Self { start: 20, end: 1280 };

    /// K' = ceil(K / log2(ceil(s_1/s_0) + 1)): the length of one doubling, in the unit of K.
    pub fn doubling(&self, total: u64) -> u64 {
        let ratio = self.end.div_ceil(self.start.max(1));
        let doublings = libm::log2(f64::from(ratio) + 1.0);
        (libm::ceil(total as f64 / doublings) as u64).max(1)
    }

    /// N(k) = min(s_0 2^ceil(k/K'), s_1) + 1 grid points at progress k of K.
    pub fn levels(&self, k: u64, total: u64) -> usize {
        let doublings = k.div_ceil(self.doubling(total)).min(31) as u32;
        let grown = u64::from(self.start.max(1)) << doublings;
        grown.min(u64::from(self.end)) as usize + 1
    }
}

/// Temperature of the representation-consistency term (section 3.3).
///
/// tau1 = `low` at low noise, rising linearly in sigma to tau2(k), which falls from `start` to `low` by 2/3 of the run.
/// `start = low` is the constant temperature of the released configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// tau1, also where tau2 ends.
    pub low: f64,
    /// tau2 at the start.
    pub start: f64,
}

impl Temperature {
    /// The paper's: 0.1, from 0.2.
    pub const PAPER: Self = Self { low: 0.1, start: 0.2 };

    /// tau at unshifted level `sigma` and progress k of K.
    pub fn at(&self, noise: &NoiseConfig, sigma: f64, k: u64, total: u64) -> f64 {
        // cos(pi/2 (p + 1)) runs from 0 to -1 while p = 1.5 k/K runs from 0 to 1.
        let p = (1.5 * k as f64 / total.max(1) as f64).min(1.0);
        let cosine = libm::cos(core::f64::consts::FRAC_PI_2 * (p + 1.0));
        let high = self.start + (self.start - self.low) * cosine;
        let w = (sigma - noise.sigma_min) / (noise.sigma_max - noise.sigma_min);
        w * high + (1.0 - w) * self.low
    }
}

/// The map t -> r of consistency training: the less noisy end of a pair (section 5, the form of ECT).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairMap {
    /// q: r/t -> 1 - 1/q^a for large t.
    pub q: f64,
    /// k of the factor 1 + k sigmoid(-b t), which lowers r at low levels.
    pub k: f64,
    /// b of that factor.
    pub b: f64,
}

impl PairMap {
    /// The paper's: q = 2, k = 8, b = 1.
    pub const PAPER: Self = Self { q: 2.0, k: 8.0, b: 1.0 };

    /// r = max(sigma_min, t (1 - n(t)/q^a)) with n(t) = 1 + k sigmoid(-b t). t and r unshifted; `a` is the stage, from 1.
    pub fn r(&self, noise: &NoiseConfig, t: f64, a: u32) -> f64 {
        let n = 1.0 + self.k / (1.0 + libm::exp(self.b * t));
        (t * (1.0 - n / libm::pow(self.q, f64::from(a)))).max(noise.sigma_min)
    }
}

/// Why no noise process can have these constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NoiseError {
    /// A constant is not a positive number.
    NotPositive {
        /// `sigma_min`, `sigma_data` or `shift`.
        field: &'static str,
    },
    /// `sigma_max` is not a number above `sigma_min`.
    SigmaMax,
    /// `rho` is not a number of 1 or more.
    Rho,
}

impl NoiseError {
    /// The field of [`NoiseConfig`] at fault.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NotPositive { field } => field,
            Self::SigmaMax => "sigma_max",
            Self::Rho => "rho",
        }
    }

    /// What the field must be.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotPositive { .. } => "must be positive",
            Self::SigmaMax => "must be above sigma_min",
            Self::Rho => "must be at least 1",
        }
    }
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "noise.{}: {}", self.field(), self.reason())
    }
}

impl core::error::Error for NoiseError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const UNIT: NoiseConfig = NoiseConfig::with_shift(1.0);

    /// w sigma^(6/7) is nearly constant at 125.6 on the grid of 1280 points, w = 1/(sigma_i - sigma_{i+1}) (method.md section 4).
    #[test]
    fn grid_spacing_is_a_power_law() {
        for i in 0..1279 {
            let (high, low) = (UNIT.grid(1280, i), UNIT.grid(1280, i + 1));
            let product = libm::pow(high, 6.0 / 7.0) / (high - low);
            assert!((product / 125.6 - 1.0).abs() < 0.03, "{i}: {product}");
        }
        let middle = (UNIT.grid(1280, 640), UNIT.grid(1280, 641));
        let product = libm::pow(middle.0, 6.0 / 7.0) / (middle.0 - middle.1);
        assert!((product / 125.6 - 1.0).abs() < 0.006, "{product}");
        assert!((UNIT.grid(41, 0) - 80.0).abs() < 1e-9);
        assert!((UNIT.grid(41, 40) - 0.002).abs() < 1e-12);
    }

    /// K' = 99,629 for K = 600,000 and the levels 21, 41, 81, 161, 321, 641, 1281 (method.md section 3.2).
    #[test]
    fn curriculum_of_the_paper() {
        let c = LevelCurriculum::PAPER;
        assert_eq!(c.doubling(600_000), 99_629);
        assert_eq!(c.levels(0, 600_000), 21);
        let seen: Vec<usize> = (0..6).map(|i| c.levels(1 + i * 99_629, 600_000)).collect();
        assert_eq!(seen, [41, 81, 161, 321, 641, 1281]);
        assert_eq!(c.levels(498_145, 600_000), 641);
        assert_eq!(c.levels(600_000, 600_000), 1281);
        // Nothing overflows at absurd progress.
        assert_eq!(c.levels(u64::MAX, 1), 1281);
        assert_eq!(LevelCurriculum { start: 0, end: 0 }.levels(5, 0), 1);
    }

    #[test]
    fn boundary_condition() {
        for shift in [0.5, 1.0, 4.0] {
            let noise = NoiseConfig::with_shift(shift);
            let at_min = noise.output_factors(Parametrisation::Edm, noise.t_min());
            assert_eq!((at_min.skip, at_min.out), (1.0, 0.0));
        }
        let plain = UNIT.output_factors(Parametrisation::PlainX, 3.0);
        assert_eq!((plain.skip, plain.out), (0.0, 1.0));
    }

    #[test]
    fn temperature_runs_from_start_to_low() {
        let t = Temperature::PAPER;
        assert!((t.at(&UNIT, 80.0, 0, 300) - 0.2).abs() < 1e-12);
        assert!((t.at(&UNIT, 80.0, 200, 300) - 0.1).abs() < 1e-12);
        assert!((t.at(&UNIT, 80.0, 300, 300) - 0.1).abs() < 1e-12);
        assert!((t.at(&UNIT, 0.002, 0, 300) - 0.1).abs() < 1e-12);
        assert_eq!(Temperature { low: 0.1, start: 0.1 }.at(&UNIT, 5.0, 3, 9), 0.1);
    }

    #[test]
    fn pair_map_stages() {
        let map = PairMap::PAPER;
        assert_eq!(map.r(&UNIT, 0.5, 1), 0.002);
        assert!((map.r(&UNIT, 60.0, 1) / 60.0 - 0.5).abs() < 1e-6);
        assert!((map.r(&UNIT, 60.0, 2) / 60.0 - 0.75).abs() < 1e-6);
        assert!((map.r(&UNIT, 60.0, 7) / 60.0 - 0.992).abs() < 1e-3);
        for stage in 1..9 {
            for t in [0.002, 0.01, 0.3, 2.0, 80.0] {
                let r = map.r(&UNIT, t, stage);
                assert!((0.002..=t).contains(&r), "{r} {t}");
            }
        }
    }

    #[test]
    fn bad_constants_are_named() {
        for (field, config) in [
            ("sigma_min", NoiseConfig { sigma_min: 0.0, ..UNIT }),
            ("sigma_max", NoiseConfig { sigma_max: f64::NAN, ..UNIT }),
            ("rho", NoiseConfig { rho: 0.5, ..UNIT }),
            ("sigma_data", NoiseConfig { sigma_data: -1.0, ..UNIT }),
            ("shift", NoiseConfig { shift: f64::INFINITY, ..UNIT }),
        ] {
            assert_eq!(config.validate().expect_err(field).field(), field);
        }
    }
}
