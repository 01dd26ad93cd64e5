//! Initial values of parameters, drawn from the one generator (docs/reference/method.md section 2).

use crate::params::{Init, Param};
use crate::rng::{Draws, Rng};
use crate::streams::{Purpose, stream};

impl Param {
    /// Writes the initial values of the parameter at position `index` of the list.
    ///
    /// A pure function of (seed, index): adding a tensor elsewhere does not move the values of this one.
    /// `out` holds [`Param::len`] values; a shorter slice gets the first ones.
    pub fn initialise(&self, seed: u64, index: usize, out: &mut [f32]) {
        self.init.fill(Rng::new(seed, stream(Purpose::Initialisation, index as u64)), out);
    }
}

impl Init {
    /// Fills `out` from `rng`.
    pub fn fill(&self, rng: Rng, out: &mut [f32]) {
        let mut draws = Draws::new(rng, 0);
        for value in out {
            *value = match *self {
                Init::Constant(value) => value,
                Init::Uniform(bound) => bound * (2.0 * draws.uniform() - 1.0),
                Init::Normal(std) => std * draws.gaussian(),
                Init::TruncatedNormal(std) => {
                    let mut z = draws.gaussian();
                    while !(-2.0..=2.0).contains(&z) {
                        z = draws.gaussian();
                    }
                    std * z
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, var.sqrt())
    }

    #[test]
    fn spreads_are_as_asked() {
        let mut values = [0.0; 40_000];
        for (init, std) in [
            (Init::Uniform(0.3), 0.3 / 3f64.sqrt()),
            (Init::Normal(0.02), 0.02),
            (Init::TruncatedNormal(0.02), 0.02 * 0.8796),
        ] {
            init.fill(Rng::new(7, 3), &mut values);
            let (mean, got) = moments(&values);
            assert!(mean.abs() < 0.02 * std, "{init:?} mean {mean}");
            assert!((got / std - 1.0).abs() < 0.02, "{init:?} std {got}, want {std}");
        }
        Init::TruncatedNormal(1.0).fill(Rng::new(7, 3), &mut values);
        assert!(values.iter().all(|v| v.abs() <= 2.0));
    }
}
