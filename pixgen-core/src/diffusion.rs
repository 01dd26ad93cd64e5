//! Sampling of diffusion models: the probability-flow ODE from the highest level to 0, with guidance (docs/reference/method.md section 4).
//!
//! At level t the slope of the ODE is (x - D(x, t))/t, with D the denoiser. [`DiffusionSampler`] follows it along the grid of section 1
//! and takes a last Euler step to 0. Nothing is allocated: the caller lends [`SCRATCH`] pictures of memory for each one drawn.

use crate::noise::NoiseConfig;
use crate::sampler::{Denoiser, NoiseSource, latent};
use crate::streams::Purpose;
use serde::{Deserialize, Serialize};

/// Pictures of scratch memory for each picture that is drawn.
pub const SCRATCH: usize = 4;

/// How a step from one level to the next is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Along the slope at the start: one evaluation.
    Euler,
    /// Along the mean of the slopes at both ends: two evaluations, but for the last step.
    Heun,
    /// Heun's, after noise was added (Karras et al. 2022, algorithm 2).
    Stochastic(Churn),
}

/// Noise of [`Sampler::Stochastic`]; levels unshifted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// S_churn: over the whole grid; a step raises its level by the share `amount / levels`, at most sqrt(2) - 1.
    pub amount: f64,
    /// S_tmin: none below.
    pub low: f64,
    /// S_tmax: none above.
    pub high: f64,
    /// S_noise: standard deviation of what is added, 1 or a little more.
    pub noise: f64,
}

impl Churn {
    /// The values of Karras et al. for ImageNet at 64 pixels.
    pub const IMAGENET_64: Self = Self { amount: 40.0, low: 0.05, high: 50.0, noise: 1.003 };
}

/// Away from a weaker denoiser, D = D_weak + weight (D - D_weak), within an interval of levels (Kynkäänniemi et al. 2024).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// w; 1 is no guidance.
    pub weight: f64,
    /// Unshifted: acts above it.
    pub low: f64,
    /// Unshifted: acts up to it.
    pub high: f64,
}

impl Guidance {
    /// The paper's interval.
    pub const fn paper(weight: f64) -> Self {
        Self { weight, low: 0.19, high: 1.61 }
    }

    /// Whether it acts at the shifted level t.
    fn acts(&self, noise: &NoiseConfig, t: f64) -> bool {
        self.weight != 1.0 && t > noise.shift * self.low && t <= noise.shift * self.high
    }
}

/// The denoiser that guidance leads away from.
#[derive(Debug)]
pub enum Weaker<'a, D> {
    /// The same one with other classes, a row for each picture: classifier-free guidance with rows that mean "no class".
    Classes(&'a [usize]),
    /// Another one with the same classes: autoguidance (Karras et al. 2024).
    Denoiser(&'a mut D),
}

/// Settings of a sampler for diffusion models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionSampler {
    /// Points of the grid, N; 0 comes after them.
    pub levels: usize,
    /// Steps.
    pub method: Sampler,
    /// Guidance, if any.
    pub guidance: Option<Guidance>,
    /// Range of the normalised data; D is clamped to it.
    pub range: (f32, f32),
}

impl DiffusionSampler {
    /// The paper's: Heun on 32 levels, 63 evaluations.
    pub const fn paper(guidance: Option<Guidance>, range: (f32, f32)) -> Self {
        Self { levels: 32, method: Sampler::Heun, guidance, range }
    }

    /// Evaluations of a network for each picture (NFE): two where guidance acts.
    pub fn evaluations(&self, noise: &NoiseConfig) -> u32 {
        let mut count = 0;
        self.steps(noise, |step| {
            count += self.cost(noise, step.from) + if self.corrects(&step) { self.cost(noise, step.to) } else { 0 };
            Ok::<_, core::convert::Infallible>(())
        })
        .unwrap_or_else(|never| match never {});
        count
    }

    fn cost(&self, noise: &NoiseConfig, t: f64) -> u32 {
        1 + u32::from(self.guidance.is_some_and(|guidance| guidance.acts(noise, t)))
    }

    fn corrects(&self, step: &SamplerStep) -> bool {
        self.method != Sampler::Euler && step.to > 0.0
    }

    /// Calls `take` for every step.
    fn steps<E>(&self, noise: &NoiseConfig, mut take: impl FnMut(SamplerStep) -> Result<(), E>) -> Result<(), E> {
        let level = |i: usize| {
            if i < self.levels {
                noise.shift * noise.grid(self.levels, i)
            } else {
                0.0
            }
        };
        for number in 0..self.levels {
            let (start, to) = (level(number), level(number + 1));
            let raise = match self.method {
                Sampler::Stochastic(churn) if start >= noise.shift * churn.low && start <= noise.shift * churn.high => {
                    (churn.amount / self.levels as f64).min(core::f64::consts::SQRT_2 - 1.0)
                }
                _ => 0.0,
            };
            take(SamplerStep { number: number as u64, start, from: start * (1.0 + raise), to })?;
        }
        Ok(())
    }

    /// Draws `classes.len()` pictures into `out`: numbers `first`, `first + 1`, ... of a seed or another source of noise. Guidance leads away
    /// from `weaker`, which is unused without guidance. With less scratch memory than [`SCRATCH`] times `out`, nothing is drawn.
    ///
    /// # Errors
    /// What a denoiser returns.
    #[allow(clippy::too_many_arguments)] // two of them are memory
    pub fn draw<D: Denoiser, W: Denoiser<Error = D::Error>>(
        &self,
        denoiser: &mut D,
        mut weaker: Weaker<'_, W>,
        noise: &NoiseConfig,
        source: impl NoiseSource,
        first: u64,
        classes: &[usize],
        out: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), D::Error> {
        let size = out.len();
        if classes.is_empty() || scratch.len() < SCRATCH * size {
            return Ok(());
        }
        let len = (size / classes.len()).max(1);
        let (slope, scratch) = scratch.split_at_mut(size);
        let (next, scratch) = scratch.split_at_mut(size);
        let (denoised, scratch) = scratch.split_at_mut(size);
        let other = &mut scratch[..size];
        for (number, picture) in (first..).zip(out.chunks_exact_mut(len)) {
            latent(noise, &source, number, picture);
        }
        self.steps(noise, |step| {
            if step.from > step.start {
                let spread = libm::sqrt(step.from * step.from - step.start * step.start) * self.spread();
                for (number, picture) in (first..).zip(out.chunks_exact_mut(len)) {
                    let drawn = step.number * len as u64;
                    for (i, value) in picture.iter_mut().enumerate() {
                        *value += spread as f32 * source.gaussian(Purpose::Renoise, number, drawn + i as u64);
                    }
                }
            }
            self.evaluate(denoiser, &mut weaker, noise, step.from, classes, out, [&mut *denoised, &mut *other])?;
            // d = (x - D)/t, and x + (to - from) d as a blend of x and D, which loses nothing where the step ends at 0.
            let kept = (step.to / step.from) as f32;
            for i in 0..size {
                slope[i] = (out[i] - denoised[i]) / step.from as f32;
                next[i] = kept * out[i] + (1.0 - kept) * denoised[i];
            }
            if self.corrects(&step) {
                self.evaluate(denoiser, &mut weaker, noise, step.to, classes, next, [&mut *denoised, &mut *other])?;
                let (half, to) = ((0.5 * (step.to - step.from)) as f32, step.to as f32);
                for i in 0..size {
                    out[i] += half * (slope[i] + (next[i] - denoised[i]) / to);
                }
            } else {
                out.copy_from_slice(next);
            }
            Ok(())
        })
    }

    /// S_noise.
    fn spread(&self) -> f64 {
        match self.method {
            Sampler::Stochastic(churn) => churn.noise,
            _ => 1.0,
        }
    }

    /// D(x, t) into `denoised`, guided where guidance acts.
    #[allow(clippy::too_many_arguments)] // two of them are memory
    fn evaluate<D: Denoiser, W: Denoiser<Error = D::Error>>(
        &self,
        denoiser: &mut D,
        weaker: &mut Weaker<'_, W>,
        noise: &NoiseConfig,
        t: f64,
        classes: &[usize],
        x: &[f32],
        [denoised, other]: [&mut [f32]; 2],
    ) -> Result<(), D::Error> {
        denoised.copy_from_slice(x);
        denoiser.denoise(denoised, t, classes)?;
        if let Some(guidance) = self.guidance.filter(|guidance| guidance.acts(noise, t)) {
            other.copy_from_slice(x);
            match weaker {
                Weaker::Classes(rows) => denoiser.denoise(other, t, rows)?,
                Weaker::Denoiser(weaker) => weaker.denoise(other, t, classes)?,
            }
            let weight = guidance.weight as f32;
            for (value, weak) in denoised.iter_mut().zip(other.iter()) {
                *value = weak + weight * (*value - weak);
            }
        }
        for value in denoised {
            *value = value.clamp(self.range.0, self.range.1);
        }
        Ok(())
    }
}

/// A step; levels shifted.
struct SamplerStep {
    number: u64,
    /// Where the step before ended.
    start: f64,
    /// Where the slope is taken, above `start` if noise is added.
    from: f64,
    to: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use std::vec;
    use std::vec::Vec;

    /// The best denoiser of data N(class, 0.5^2): D = mean + (x - mean) sd^2/(sd^2 + t^2). Counts its calls.
    #[derive(Default)]
    struct Gaussian {
        calls: u32,
    }

    const SD: f64 = 0.5;

    impl Denoiser for Gaussian {
        type Error = Infallible;

        fn denoise(&mut self, x: &mut [f32], t: f64, classes: &[usize]) -> Result<(), Infallible> {
            self.calls += 1;
            let share = (SD * SD / (SD * SD + t * t)) as f32;
            let len = x.len() / classes.len();
            for (picture, &class) in x.chunks_exact_mut(len).zip(classes) {
                picture.iter_mut().for_each(|v| *v = class as f32 + (*v - class as f32) * share);
            }
            Ok(())
        }
    }

    fn draw(sampler: &DiffusionSampler, classes: &[usize], len: usize) -> (Vec<f32>, u32) {
        let noise = NoiseConfig::with_shift(1.0);
        let (mut out, mut scratch) = (vec![0.0; classes.len() * len], vec![0.0; SCRATCH * classes.len() * len]);
        let (mut denoiser, weaker) = (Gaussian::default(), Weaker::<Gaussian>::Classes(&[0; 9][..classes.len()]));
        let Ok(()) = sampler.draw(&mut denoiser, weaker, &noise, 1, 0, classes, &mut out, &mut scratch);
        (out, denoiser.calls)
    }

    fn plain(levels: usize, method: Sampler) -> DiffusionSampler {
        DiffusionSampler { levels, method, guidance: None, range: (-1e9, 1e9) }
    }

    /// The exact end of the ODE: x scaled from the spread of the noisy data to that of the data, about the mean.
    fn exact(class: f32, len: usize) -> Vec<f32> {
        let noise = NoiseConfig::with_shift(1.0);
        let mut x = vec![0.0; len];
        latent(&noise, 1, 0, &mut x);
        let share = (SD / libm::sqrt(SD * SD + noise.t_max() * noise.t_max())) as f32;
        x.iter().map(|x| class + (x - class) * share).collect()
    }

    fn error(levels: usize, method: Sampler) -> f64 {
        let (found, _) = draw(&plain(levels, method), &[2], 64);
        let differences = found.iter().zip(exact(2.0, 64)).map(|(a, b)| f64::from((a - b).abs()));
        differences.fold(0.0, f64::max)
    }

    /// Twice the levels: half the error with Euler's steps, a quarter with Heun's.
    #[test]
    fn methods_have_their_order() {
        let ratio = |method| error(64, method) / error(128, method);
        assert!((1.8..2.3).contains(&ratio(Sampler::Euler)), "{}", ratio(Sampler::Euler));
        assert!((3.4..5.0).contains(&ratio(Sampler::Heun)), "{}", ratio(Sampler::Heun));
        assert!(error(128, Sampler::Heun) < 0.1 * error(128, Sampler::Euler));
    }

    #[test]
    fn the_papers_setting_takes_75_evaluations() {
        let noise = NoiseConfig::with_shift(4.0);
        let range = (-1.0, 1.0);
        assert_eq!(DiffusionSampler::paper(Some(Guidance::paper(2.5)), range).evaluations(&noise), 75);
        assert_eq!(DiffusionSampler::paper(None, range).evaluations(&noise), 63);
        assert_eq!(DiffusionSampler::paper(Some(Guidance::paper(1.0)), range).evaluations(&noise), 63);
        assert_eq!(DiffusionSampler { method: Sampler::Euler, ..DiffusionSampler::paper(None, range) }.evaluations(&noise), 32);
    }

    #[test]
    fn evaluations_are_those_that_are_made() {
        let noise = NoiseConfig::with_shift(1.0);
        for method in [Sampler::Euler, Sampler::Heun, Sampler::Stochastic(Churn::IMAGENET_64)] {
            for guidance in [None, Some(Guidance::paper(2.0))] {
                let sampler = DiffusionSampler { guidance, ..plain(18, method) };
                assert_eq!(draw(&sampler, &[1, 2], 4).1, sampler.evaluations(&noise), "{method:?}");
            }
        }
    }

    /// Guidance at all levels leads from the mean of class 0 through that of class 1 to weight times it.
    #[test]
    fn guidance_leads_away_from_the_weaker_denoiser() {
        let everywhere = Guidance { weight: 3.0, low: 0.0, high: 1e9 };
        let (guided, _) = draw(&DiffusionSampler { guidance: Some(everywhere), ..plain(64, Sampler::Heun) }, &[1], 256);
        let (three, _) = draw(&plain(64, Sampler::Heun), &[3], 256);
        assert!(guided.iter().zip(&three).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn another_denoiser_guides_as_well() {
        let noise = NoiseConfig::with_shift(1.0);
        let sampler = DiffusionSampler { guidance: Some(Guidance { weight: 2.0, low: 0.1, high: 9.0 }), ..plain(16, Sampler::Heun) };
        let (mut out, mut scratch) = ([0.0; 8], [0.0; 8 * SCRATCH]);
        let (mut strong, mut weak) = (Gaussian::default(), Gaussian::default());
        let Ok(()) = sampler.draw(&mut strong, Weaker::Denoiser(&mut weak), &noise, 1, 0, &[2], &mut out, &mut scratch);
        assert_eq!(strong.calls + weak.calls, sampler.evaluations(&noise));
        assert!(weak.calls > 0);
        // Both are the same, so guidance changes nothing.
        let (alone, _) = draw(&plain(16, Sampler::Heun), &[2], 8);
        assert!(out.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    /// Noise on the way leaves mean and spread as they are, and is other noise in each picture.
    #[test]
    fn stochastic_samples_have_the_spread_of_the_data() {
        let sampler = plain(64, Sampler::Stochastic(Churn { noise: 1.0, ..Churn::IMAGENET_64 }));
        let (found, _) = draw(&sampler, &[1, 1], 4096);
        let mean = |x: &[f32]| x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        let m = mean(&found);
        let squares: Vec<f32> = found.iter().map(|v| (*v - m as f32).powi(2)).collect();
        assert!((m - 1.0).abs() < 0.03 && (libm::sqrt(mean(&squares)) - SD).abs() < 0.02, "{m} {}", libm::sqrt(mean(&squares)));
        let (without, _) = draw(&plain(64, Sampler::Heun), &[1, 1], 4096);
        assert_ne!(found, without);
        assert_ne!(found[..4096], found[4096..]);
    }

    #[test]
    fn a_picture_does_not_depend_on_its_batch_and_is_clamped() {
        let sampler = DiffusionSampler { range: (0.9, 1.1), ..plain(8, Sampler::Stochastic(Churn::IMAGENET_64)) };
        let (all, _) = draw(&sampler, &[1, 2, 1], 10);
        let (one, _) = draw(&sampler, &[1], 10);
        assert_eq!(all[..10], one);
        assert!(all.iter().all(|v| (0.9..=1.1).contains(v)));
    }
}
