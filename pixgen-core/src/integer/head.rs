//! From the levels of the last layer to bytes.

use crate::config::ModelConfig;
use crate::kernels::{Saturate, multiply_high};
use crate::pxg::StepRecord;

/// Fractional bits of a grey level before the picture's bytes.
const LEVEL_BITS: u32 = 6;

/// Levels with [`LEVEL_BITS`] fractional bits, patch by patch, to rows of bytes. `skip` adds the noisy input's part: noise, scales, and
/// the bytes of the picture before this step.
#[cfg_attr(host_kernels, inline(always))]
pub(super) fn to_bytes<N: Iterator<Item = i32>>(
    config: &ModelConfig,
    levels: &[i16],
    mut skip: Option<(&mut N, &StepRecord, &[u8])>,
    out: &mut [u8],
) {
    let run = (config.patch * config.channels).max(1);
    let mut before = skip.as_ref().map_or(&[][..], |(_, _, before)| *before).iter();
    for (y, row) in out.chunks_exact_mut((config.size * config.channels).max(1)).enumerate() {
        let patches = levels.chunks_exact(config.patch_len().max(1));
        for (values, patch) in row.chunks_exact_mut(run).zip(patches) {
            let patch = patch.get(y * run..).unwrap_or_default();
            for ((value, &level), c) in values.iter_mut().zip(patch).zip((0..config.channels.min(3)).cycle()) {
                let mut level = i32::from(level);
                if let Some((noise, step, _)) = &mut skip {
                    let byte = before.next().copied().unwrap_or_default();
                    level = level
                        .wrapping_add(multiply_high(noise.next().unwrap_or_default(), step.noise_out[c]))
                        .wrapping_add(multiply_high(i32::from(byte) << 16, step.picture_out));
                }
                *value = u8::saturate((level.wrapping_add(1 << (LEVEL_BITS - 1))) >> LEVEL_BITS);
            }
        }
    }
}
