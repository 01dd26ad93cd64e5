//! The noisy picture as int8 patches, drawn where it is needed: no picture of noise is ever held.

use crate::config::ModelConfig;
use crate::kernels::Saturate;
use crate::pxg::StepRecord;
use crate::pxg::layout::padded;
use crate::rng::Rng;
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
    pub(super) const fn noise(&self, step: usize) -> Rng {
        let purpose = if step == 0 { Purpose::Latent } else { Purpose::Renoise };
        Rng::new(self.seed, stream(purpose, self.number))
    }
}

/// c_in (x + t eps) of the picture so far (empty before the first step) in int8, as padded patches `[N_p, padded(p*p*C)]`.
pub(super) fn noisy_patches(config: &ModelConfig, step: &StepRecord, noise: Rng, picture: &[u8], patches: &mut [i8]) {
    let mut gaussians = noise.gaussians_q16(0);
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
