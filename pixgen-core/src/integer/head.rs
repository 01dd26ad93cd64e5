//! The last layer, one row of patches at a time: the picture leaves in bands and is never whole in the workspace.

use super::{Act, Integer, Kind};
use crate::config::ModelConfig;
use crate::kernels::{Saturate, multiply_high};
use crate::params::Site;
use crate::pixels::Band;
use crate::pxg::{DrawError, Step};
use crate::rng::Gaussians;

/// Fractional bits of a grey level before the picture's bytes.
const LEVEL_BITS: u32 = 6;

/// Draws the bands from the normed patch tokens `x`.
pub(super) fn bands(integer: &mut Integer<'_, '_>, site: Site, x: &Act) -> Result<(), DrawError> {
    let config = *integer.model.config();
    let across = config.across();
    let (band_len, row_len) = (across * config.patch_len(), config.size * config.channels);
    let patches = integer.alloc(Kind::I16, across, config.patch_len())?;
    let pixels = integer.alloc(Kind::I8, config.patch, row_len)?;
    let mut noise = integer.input.noise(integer.step).gaussians_q16(0);
    for band in 0..across {
        integer.product(site, across, x.rows(&(band * across..(band + 1) * across)), patches.bytes(), Kind::I16)?;
        let place = band * band_len..(band + 1) * band_len;
        let kept = if integer.picture == 0 { 0..0 } else { place.clone() };
        let (skips, first_step, parameters) = (integer.model.header().skips_input, integer.step == 0, integer.parameters);
        let ranges = [kept, patches.bytes(), pixels.bytes()];
        let parts = integer.memory.get_disjoint_mut(ranges);
        let [picture, levels, out] = parts.map_err(|_| DrawError::Sequence(site))?;
        let levels: &[i16] = bytemuck::try_cast_slice(levels).map_err(|_| DrawError::Sequence(site))?;
        let before = if first_step { &[][..] } else { &*picture };
        let skip = if skips { Some((&mut noise, &parameters, before)) } else { None };
        to_bytes(&config, levels, skip, out);
        match integer.output.as_mut() {
            Some(output) => output(&Band::new(band * config.patch, config.size, config.channels, out)),
            None => picture.iter_mut().zip(out).for_each(|(kept, &mut byte)| *kept = byte),
        }
    }
    integer.stack.release(pixels.region);
    integer.stack.release(patches.region);
    Ok(())
}

/// Levels with [`LEVEL_BITS`] fractional bits, patch by patch, to rows of bytes. `skip` adds the noisy input's part: noise, scales, and
/// the bytes of the picture before this step.
fn to_bytes(config: &ModelConfig, levels: &[i16], mut skip: Option<(&mut Gaussians, &Step, &[u8])>, out: &mut [u8]) {
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
