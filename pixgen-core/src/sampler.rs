//! One-step and two-step consistency sampling (docs/reference/method.md section 5).

use crate::noise::NoiseConfig;
use crate::rng::Rng;
use crate::streams::{Purpose, stream};
use serde::{Deserialize, Serialize};

/// Second, unshifted noise level of two-step sampling (ECT's for small images; docs/reference/method.md section 5).
pub const MIDDLE_LEVEL: f64 = 0.821;

/// Something that computes f(x, t) on a batch.
pub trait Denoiser {
    /// What can go wrong.
    type Error;

    /// Replaces each picture of `x` by f(x, t). Pictures lie one after another, H W C; `classes` has one row number for each.
    fn denoise(&mut self, x: &mut [f32], t: f64, classes: &[usize]) -> Result<(), Self::Error>;
}

/// Settings of a sampler for consistency models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencySampler {
    /// Second, unshifted level of two-step sampling; `None` draws in one step.
    pub middle: Option<f64>,
    /// Range of the normalised data; pictures are clamped to it after each step.
    pub range: (f32, f32),
}

/// Where samplers take noise from. A `u64` is a seed: the same noise on every machine.
pub trait NoiseSource {
    /// The standard Gaussian at `index` of picture number `picture`.
    fn gaussian(&self, purpose: Purpose, picture: u64, index: u64) -> f32;
}

impl NoiseSource for u64 {
    fn gaussian(&self, purpose: Purpose, picture: u64, index: u64) -> f32 {
        Rng::new(*self, stream(purpose, picture)).gaussian(index)
    }
}

impl<S: NoiseSource> NoiseSource for &S {
    fn gaussian(&self, purpose: Purpose, picture: u64, index: u64) -> f32 {
        (**self).gaussian(purpose, picture, index)
    }
}

/// Writes the initial noise of picture number `picture`: N(0, t_max^2).
pub fn latent(noise: &NoiseConfig, source: impl NoiseSource, picture: u64, out: &mut [f32]) {
    gaussian(Purpose::Latent, noise.t_max(), source, picture, out, false);
}

fn gaussian(purpose: Purpose, t: f64, source: impl NoiseSource, picture: u64, out: &mut [f32], add: bool) {
    for (i, value) in out.iter_mut().enumerate() {
        let eps = t as f32 * source.gaussian(purpose, picture, i as u64);
        *value = if add { *value + eps } else { eps };
    }
}

impl ConsistencySampler {
    /// Draws `classes.len()` pictures into `out`: numbers `first`, `first + 1`, ... of a seed or another source of noise. `out.len()` is a
    /// multiple of their count.
    ///
    /// One step: x = f(t_max eps, t_max). Two steps: noise of level s middle is added to that, and f is applied once more.
    pub fn draw<D: Denoiser>(
        &self,
        denoiser: &mut D,
        noise: &NoiseConfig,
        source: impl NoiseSource,
        first: u64,
        classes: &[usize],
        out: &mut [f32],
    ) -> Result<(), D::Error> {
        if classes.is_empty() {
            return Ok(());
        }
        let len = out.len() / classes.len();
        let numbered = |out: &mut [f32], f: &mut dyn FnMut(u64, &mut [f32])| {
            for (number, picture) in (first..).zip(out.chunks_exact_mut(len.max(1))) {
                f(number, picture);
            }
        };
        numbered(out, &mut |number, picture| latent(noise, &source, number, picture));
        denoiser.denoise(out, noise.t_max(), classes)?;
        self.clamp(out);
        if let Some(middle) = self.middle {
            let t = noise.shift * middle;
            numbered(out, &mut |number, picture| {
                gaussian(Purpose::Renoise, t, &source, number, picture, true);
            });
            denoiser.denoise(out, t, classes)?;
            self.clamp(out);
        }
        Ok(())
    }

    fn clamp(&self, out: &mut [f32]) {
        for value in out {
            *value = value.clamp(self.range.0, self.range.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Multiplies by a constant and notes the levels.
    struct Scale(f32, Vec<f64>);

    impl Denoiser for Scale {
        type Error = core::convert::Infallible;

        fn denoise(&mut self, x: &mut [f32], t: f64, classes: &[usize]) -> Result<(), Self::Error> {
            self.1.push(t);
            let len = x.len() / classes.len();
            for (picture, &class) in x.chunks_exact_mut(len).zip(classes) {
                picture.iter_mut().for_each(|v| *v = *v * self.0 + class as f32);
            }
            Ok(())
        }
    }

    #[test]
    fn levels_classes_and_clamp() {
        let noise = NoiseConfig::with_shift(0.5);
        let mut out = [0.0; 12];
        let one = ConsistencySampler { middle: None, range: (-1.0, 1.5) };
        let mut scale = Scale(0.0, Vec::new());
        assert!(one.draw(&mut scale, &noise, 1, 0, &[0, 1, 2], &mut out).is_ok());
        assert_eq!(scale.1, [40.0]);
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.5, 1.5, 1.5, 1.5]);

        let two = ConsistencySampler { middle: Some(0.8), range: (-9.0, 9.0) };
        let mut scale = Scale(0.0, Vec::new());
        assert!(two.draw(&mut scale, &noise, 1, 0, &[2; 3], &mut out).is_ok());
        assert_eq!(scale.1, [40.0, 0.4]);
    }

    #[test]
    fn a_picture_does_not_depend_on_its_batch() {
        let noise = NoiseConfig::with_shift(1.0);
        let sampler = ConsistencySampler { middle: Some(0.8), range: (-100.0, 100.0) };
        let mut all = [0.0; 40];
        let mut one = [0.0; 10];
        assert!(sampler.draw(&mut Scale(0.1, Vec::new()), &noise, 5, 0, &[0; 4], &mut all).is_ok());
        assert!(sampler.draw(&mut Scale(0.1, Vec::new()), &noise, 5, 2, &[0], &mut one).is_ok());
        assert_eq!(all[20..30], one);
        assert_ne!(all[10..20], one);
    }
}
