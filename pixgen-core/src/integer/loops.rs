//! Loops over values: what is neither a product nor attention (docs/reference/numerics.md section 4). They are inlined, so that each is
//! compiled with the instructions that its caller chose.

use super::head;
use super::input::{self, Noise};
use crate::config::ModelConfig;
use crate::kernels::Saturate;
use crate::pxg::StepRecord;

/// x + y in place of x.
#[inline(always)]
pub(super) fn add(x: &mut [i16], y: &[i16]) {
    for (value, &add) in x.iter_mut().zip(y) {
        *value = value.saturating_add(add);
    }
}

/// x + gate y in place of x, row by row; the product is shifted to the right.
#[inline(always)]
pub(super) fn add_gated(width: usize, x: &mut [i16], y: &[i16], gates: &[i16], shift: u32) {
    let half = (1i32 << shift) >> 1;
    for (x, y) in x.chunks_exact_mut(width.max(1)).zip(y.chunks_exact(width.max(1))) {
        for ((value, &add), &gate) in x.iter_mut().zip(y).zip(gates) {
            let add = (i32::from(add) * i32::from(gate)).wrapping_add(half) >> shift;
            *value = i16::saturate(i32::from(*value).wrapping_add(add));
        }
    }
}

/// int8 of i16: (value gain + offset) >> shift, by the words of a site. Products of 16 bits, so that vectors of 32 bits hold them.
#[inline(always)]
pub(super) fn narrow([gain, shift, offset]: [i32; 3], from: &[i16], to: &mut [i8]) {
    for (to, &value) in to.iter_mut().zip(from) {
        *to = i8::saturate(i32::from(value).wrapping_mul(gain).wrapping_add(offset) >> (shift & 31));
    }
}

/// [x ; kept] row by row, of these widths; x is narrowed.
#[inline(always)]
pub(super) fn concat(words: [i32; 3], [width, kept_width]: [usize; 2], x: &[i16], kept: &[i8], to: &mut [i8]) {
    for (t, row) in to.chunks_exact_mut((width + kept_width).max(1)).enumerate() {
        let (x, kept) = (x.get(t * width..(t + 1) * width), kept.get(t * kept_width..(t + 1) * kept_width));
        if let (Some(x), Some(kept), Some((left, right))) = (x, kept, row.split_at_mut_checked(width)) {
            narrow(words, x, left);
            right.iter_mut().zip(kept).for_each(|(value, &kept)| *value = kept);
        }
    }
}

/// The noisy picture in int8 ([`input::noisy_patches`]).
#[inline(always)]
pub(super) fn noisy_patches(config: &ModelConfig, step: &StepRecord, noise: Noise, picture: &[u8], patches: &mut [i8]) {
    // The loop without a walk has its own code: it need not ask for one at every value.
    match noise.plain() {
        Some(noise) => input::noisy_patches(config, step, noise, picture, patches),
        None => input::noisy_patches(config, step, noise, picture, patches),
    }
}

/// The noise of the output, with what else goes into it besides the levels.
pub(super) type OutputNoise<'a> = Option<(&'a mut Noise, &'a StepRecord, &'a [u8])>;

/// Levels to bytes ([`head::to_bytes`]).
#[inline(always)]
pub(super) fn to_bytes(config: &ModelConfig, levels: &[i16], noise: OutputNoise<'_>, out: &mut [u8]) {
    #[cfg(host_kernels)]
    let noise = match noise {
        Some((noise, step, before)) => match noise.plain() {
            Some(mut noise) => return head::to_bytes(config, levels, Some((&mut noise, step, before)), out),
            None => Some((noise, step, before)),
        },
        None => None,
    };
    head::to_bytes(config, levels, noise, out);
}
