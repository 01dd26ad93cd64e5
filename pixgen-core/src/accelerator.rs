//! What an accelerator's own runtime does not do: the noise and the class that go into a graph of `pixgen-edge tflite`, and the picture
//! that comes out. The network itself is the vendor's; its pictures are close to those of a `.pxg` file, not the same bytes.
//!
//! ```
//! use pixgen_core::accelerator::{inputs, picture};
//! use pixgen_core::integer::DrawRequest;
//!
//! # fn invoke(_: &[i8], _: &[i16]) -> [u8; 28 * 28] { [0; 28 * 28] }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut noise, mut class) = ([0i8; 28 * 28], [0i16; 10]); // the tensors `noise` and `class` of the runtime
//! inputs(&DrawRequest { class: 9, seed: 7, number: 0 }, &mut noise, &mut class)?;
//! let mut output = invoke(&noise, &class); // the tensor `pixels`
//! for row in picture(28, 1, &mut output).ok_or("another picture")?.rows() {
//!     print!("{row:?}"); // to a display
//! }
//! # Ok(()) }
//! ```

use crate::integer::{DrawError, DrawRequest, NoiseSeed};
use crate::kernels::Saturate;
use crate::pixels::Band;
use crate::rng::GAUSSIAN_FRACTION_BITS;

/// Steps of the input `noise` in one standard deviation: the tensor's scale is 1/32. A power of two, so that rounding is the same on every
/// machine; what lies beyond 127/32 standard deviations, 1 value in 14,000, is clamped.
pub const NOISE_STEPS: i32 = 32;

/// What the input `class` holds at the class; 0 elsewhere.
pub const ONE_HOT: i16 = i16::MAX;

/// Fills both inputs: `noise`, `[H W C]`, with the Gaussians from which every Pixgen program draws this picture, and `class`, one value
/// for each class.
///
/// # Errors
/// [`DrawError::Class`]: there is no such class, and nothing was written.
pub fn inputs(request: &DrawRequest, noise: &mut [i8], class: &mut [i16]) -> Result<(), DrawError> {
    let classes = class.len();
    if request.class >= classes {
        return Err(DrawError::Class { class: request.class, classes });
    }
    for (number, value) in class.iter_mut().enumerate() {
        *value = if number == request.class { ONE_HOT } else { 0 };
    }
    let gaussians = NoiseSeed { seed: request.seed, number: request.number }.noise(0).gaussians_q16(0);
    for (code, gaussian) in noise.iter_mut().zip(gaussians) {
        *code = i8::saturate((gaussian + HALF_STEP) >> STEP_BITS);
    }
    Ok(())
}

/// Bits of a step of the noise in units of its Gaussians, which have 16 fractional bits.
const STEP_BITS: u32 = GAUSSIAN_FRACTION_BITS - NOISE_STEPS.ilog2();
const HALF_STEP: i32 = 1 << (STEP_BITS - 1);

/// The output `pixels` of a square picture, `width` times `width` pixels of `channels` bytes, turned into bytes where it lies: int8 values,
/// which a runtime may call signed or not, become levels of 0 to 255. `None`, and nothing is changed, where `output` has another length or
/// channels are neither 1 nor 3.
pub fn picture(width: usize, channels: usize, output: &mut [u8]) -> Option<Band<'_>> {
    let len = width.checked_mul(width)?.checked_mul(channels)?;
    if len == 0 || output.len() != len || !matches!(channels, 1 | 3) {
        return None;
    }
    output.iter_mut().for_each(|value| *value ^= 0x80);
    Some(Band::new(0, width, channels, output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::streams::{Purpose, stream};
    use std::vec::Vec;

    /// The nearest code of every Gaussian of the picture's own stream, halves upwards.
    #[test]
    fn noise_is_that_of_the_picture() {
        let (mut noise, mut class) = ([0i8; 5000], [7i16; 3]);
        assert!(inputs(&DrawRequest { class: 1, seed: 9, number: 4 }, &mut noise, &mut class).is_ok());
        assert_eq!(class, [0, i16::MAX, 0]);
        let rng = Rng::new(9, stream(Purpose::Latent, 4));
        for (i, &code) in (0..).zip(&noise) {
            let steps = f64::from(rng.gaussian_q16(i)) / 65_536.0 * 32.0;
            assert_eq!(f64::from(code), (steps + 0.5).floor().clamp(-128.0, 127.0), "{i}");
        }
    }

    #[test]
    fn a_class_that_is_not_there_changes_nothing() {
        let (mut noise, mut class) = ([3i8; 4], [7i16; 3]);
        let refused = inputs(&DrawRequest { class: 3, seed: 0, number: 0 }, &mut noise, &mut class);
        assert_eq!(refused, Err(DrawError::Class { class: 3, classes: 3 }));
        assert_eq!((noise, class), ([3; 4], [7; 3]));
    }

    #[test]
    fn codes_become_bytes() {
        let mut output: Vec<u8> = [-128i8, -1, 0, 127].map(|code| code as u8).to_vec();
        let shown = picture(2, 1, &mut output);
        assert_eq!(shown.map(|band| (band.y(), band.width(), band.bytes())), Some((0, 2, &[0, 127, 128, 255][..])));
        for (width, channels) in [(2, 3), (3, 1), (0, 1), (1, 4), (usize::MAX, 1)] {
            assert!(picture(width, channels, &mut [0; 4]).is_none());
        }
    }
}
