//! The noisy picture as int8 patches, drawn where it is needed: no picture of noise is ever held.

use crate::config::ModelConfig;
use crate::kernels::Saturate;
use crate::pxg::StepRecord;
use crate::pxg::layout::padded;
use crate::rng::{Blend, Gaussians, Rng};
use crate::streams::{Purpose, stream};

/// Where the noise of a picture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseSeed {
    /// Seed of the generator.
    pub seed: u64,
    /// Number of the picture.
    pub number: u64,
}

impl NoiseSeed {
    /// The noise that step `step` adds.
    pub(crate) const fn noise(&self, step: usize) -> Rng {
        let purpose = if step == 0 { Purpose::Latent } else { Purpose::Renoise };
        Rng::new(self.seed, stream(purpose, self.number))
    }
}

/// The noise of a picture, or of a place on the way from one picture's noise to another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoiseWalk {
    from: NoiseSeed,
    to: Option<(NoiseSeed, Blend)>,
}

impl NoiseWalk {
    /// The noise of one picture, or a place on the way from there.
    pub(super) fn new(from: NoiseSeed, to: Option<(NoiseSeed, Blend)>) -> Self {
        // Between a noise and itself there is nothing but that noise.
        Self { from, to: to.filter(|(to, _)| *to != from) }
    }

    /// The Gaussians of a step from `start` on.
    pub(super) fn gaussians(&self, step: usize, start: u64) -> Noise {
        let gaussians = |source: NoiseSeed| source.noise(step).gaussians_q16(start);
        Noise { from: gaussians(self.from), to: self.to.map(|(to, blend)| (gaussians(to), blend)) }
    }
}

/// Gaussians with 16 fractional bits.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    from: Gaussians,
    to: Option<(Gaussians, Blend)>,
}

impl Noise {
    /// The Gaussians of one picture; `None` on a walk.
    #[inline(always)]
    pub(super) fn plain(&self) -> Option<impl Iterator<Item = i32> + use<>> {
        match self.to {
            None => Some(self.from.in_place()),
            Some(_) => None,
        }
    }
}

impl Iterator for Noise {
    type Item = i32;

    #[inline]
    fn next(&mut self) -> Option<i32> {
        let from = self.from.next()?;
        match &mut self.to {
            None => Some(from),
            Some((to, blend)) => Some(blend.q16(from, to.next()?)),
        }
    }
}

/// c_in (x + t eps) of the picture so far (empty before the first step) in int8, as padded patches `[N_p, padded(p*p*C)]`: some bands
/// of patches, with the noise and the bytes of their pixels.
#[cfg_attr(host_kernels, inline(always))]
pub(super) fn noisy_patches(
    config: &ModelConfig,
    step: &StepRecord,
    mut gaussians: impl Iterator<Item = i32>,
    picture: &[u8],
    patches: &mut [i8],
) {
    let mut bytes = picture.iter();
    let (channels, row_len) = (config.channels, padded(config.patch_len()));
    let run = (config.patch * channels).max(1);
    patches.fill(0);
    for band in patches.chunks_mut((config.across() * row_len).max(1)) {
        for y in 0..config.patch {
            for patch in band.chunks_mut(row_len.max(1)) {
                let values = patch.iter_mut().skip(y * run).take(run);
                for (value, c) in values.zip((0..channels.min(3)).cycle()) {
                    let gaussian = gaussians.next().unwrap_or_default();
                    let picture = i64::from(bytes.next().copied().unwrap_or_default()) * i64::from(step.picture[c]);
                    let constant = (picture + i64::from(step.constant[c])) << 8;
                    let sum = i64::from(gaussian) * i64::from(step.noise) + constant;
                    *value = i8::saturate(((sum + (1 << 31)) >> 32) as i32);
                }
            }
        }
    }
}
