//! The loops of layer norm over the values of a row, in the fewest instructions of each core (docs/reference/numerics.md section 4.4).
#![allow(unsafe_code)]

#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
use core::arch::naked_asm;

use super::sink::Saturate;

/// Mean and spread of a row, prepared for its values.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct NormScale {
    /// d, times a power of two in a row of little spread.
    pub width: i32,
    /// Minus the sum, times the same.
    pub minus_sum: i32,
    /// Shift of their difference to 16 bits, below 32.
    pub shift: u32,
    /// 2^31 over the normalised root, 15 to 17 bits.
    pub inverse: i32,
}

/// What becomes of normalised values: (n gain + offset) >> shift.
#[derive(Clone, Copy, Debug)]
pub struct NormAffine<'a> {
    /// A gain for each value.
    pub gain: &'a [i16],
    /// An offset for each value.
    pub offset: &'a [i32],
    /// Shift to the right, below 32.
    pub shift: u32,
}

impl NormScale {
    /// (value - mean) / sigma, with the fractional bits that the scale was made for.
    #[inline(always)]
    pub fn normalise(&self, value: i16) -> i32 {
        let centred = i32::from(value).wrapping_mul(self.width).wrapping_add(self.minus_sum);
        (centred >> (self.shift & 31)).wrapping_mul(self.inverse) >> 15
    }

    /// A value after gain and offset, not yet clamped.
    #[inline(always)]
    fn scaled(&self, value: i16, gain: i16, offset: i32, shift: u32) -> i32 {
        self.normalise(value).wrapping_mul(i32::from(gain)).wrapping_add(offset) >> (shift & 31)
    }

    /// Every value in 8 bits, clamped. By itself, so that its loop has all registers.
    #[inline(never)]
    pub fn write_i8(&self, values: &[i16], affine: &NormAffine<'_>, out: &mut [i8]) {
        #[cfg(any(kernel = "dsp", kernel = "armv7m"))]
        let (values, affine, out) = {
            let count = values.len().min(out.len());
            let fours = fours(count, affine);
            if fours > 0 {
                let out = out.as_mut_ptr();
                // SAFETY: all slices have `fours` values, a multiple of 4 above 0.
                unsafe { to_i8(&Arguments::new(self, values.as_ptr(), affine, out.wrapping_add(fours).addr()), out) };
            }
            (values.get(fours..).unwrap_or_default(), &affine.tail(fours), out.get_mut(fours..).unwrap_or_default())
        };
        self.write_i8_inline(values, affine, out);
    }

    /// The same where the caller chose the instructions.
    #[inline(always)]
    pub fn write_i8_inline(&self, values: &[i16], affine: &NormAffine<'_>, out: &mut [i8]) {
        for (((&value, out), &gain), &offset) in values.iter().zip(out).zip(affine.gain).zip(affine.offset) {
            *out = i8::saturate(self.scaled(value, gain, offset, affine.shift));
        }
    }

    /// Every value in place, in 16 bits, clamped.
    #[inline(never)]
    pub fn in_place(&self, values: &mut [i16], affine: &NormAffine<'_>) {
        #[cfg(any(kernel = "dsp", kernel = "armv7m"))]
        let (values, affine) = {
            let fours = fours(values.len(), affine);
            if fours > 0 {
                let at = values.as_mut_ptr();
                // SAFETY: all slices have `fours` values, a multiple of 4 above 0; each value is read before it is written.
                unsafe { to_i16(&Arguments::new(self, at, affine, at.wrapping_add(fours).addr()), at) };
            }
            (values.get_mut(fours..).unwrap_or_default(), &affine.tail(fours))
        };
        self.in_place_inline(values, affine);
    }

    /// The same where the caller chose the instructions.
    #[inline(always)]
    pub fn in_place_inline(&self, values: &mut [i16], affine: &NormAffine<'_>) {
        for ((value, &gain), &offset) in values.iter_mut().zip(affine.gain).zip(affine.offset) {
            *value = i16::saturate(self.scaled(*value, gain, offset, affine.shift));
        }
    }
}

/// Sum, and sum of squares, of a row.
#[inline(always)]
pub fn row_sums(values: &[i16]) -> (i32, u64) {
    #[cfg(any(kernel = "dsp", kernel = "mve"))]
    let ((sum, squares), values) = wide_sums(values);
    #[cfg(not(any(kernel = "dsp", kernel = "mve")))]
    let (sum, squares) = (0, 0);
    let (more, more_squares) = row_sums_inline(values);
    (more.wrapping_add(sum), more_squares.wrapping_add(squares))
}

/// The same where the caller chose the instructions.
#[inline(always)]
pub fn row_sums_inline(values: &[i16]) -> (i32, u64) {
    let (mut sum, mut squares) = (0i32, 0u64);
    for &value in values {
        let value = i32::from(value);
        sum = sum.wrapping_add(value);
        squares = squares.wrapping_add(u64::from(value.wrapping_mul(value) as u32));
    }
    (sum, squares)
}

/// Sums of the first values, four at a time, and the values that are left.
#[cfg(kernel = "dsp")]
#[inline(always)]
fn wide_sums(values: &[i16]) -> ((i32, u64), &[i16]) {
    let (fours, rest) = values.as_chunks::<4>();
    if fours.is_empty() || !fours.as_ptr().addr().is_multiple_of(4) {
        return ((0, 0), values);
    }
    let (sum, low, high): (i32, u32, u32);
    // SAFETY: reads whole words of `fours`, which is not empty.
    unsafe {
        core::arch::asm!(
            "2:",
            "ldm {at}!, {{r2, r3}}",
            "smlald {low}, {high}, r2, r2",
            "smlad {sum}, r2, {ones}, {sum}",
            "smlald {low}, {high}, r3, r3",
            "smlad {sum}, r3, {ones}, {sum}",
            "cmp {at}, {end}",
            "bne 2b",
            at = inout(reg) fours.as_ptr() => _,
            end = in(reg) fours.as_ptr_range().end,
            ones = in(reg) 0x0001_0001,
            low = inout(reg) 0 => low,
            high = inout(reg) 0 => high,
            sum = inout(reg) 0 => sum,
            out("r2") _, out("r3") _,
            options(nostack, readonly),
        );
    }
    ((sum, u64::from(high) << 32 | u64::from(low)), rest)
}

/// Sums of all values, eight at a time, and no values.
#[cfg(kernel = "mve")]
#[inline(always)]
fn wide_sums(values: &[i16]) -> ((i32, u64), &[i16]) {
    let (sum, low, high): (i32, u32, u32);
    // SAFETY: reads `values`, and nothing where there is none.
    unsafe {
        core::arch::asm!(
            "wlstp.16 lr, {count}, 3f",
            "2:",
            "vldrh.u16 q0, [{at}], #16",
            "vmlaldava.s16 r0, r1, q0, q0",
            "vaddva.s16 r2, q0",
            "letp lr, 2b",
            "3:",
            at = inout(reg) values.as_ptr() => _,
            count = in(reg) values.len(),
            inout("r0") 0 => low,
            inout("r1") 0 => high,
            inout("r2") 0 => sum,
            out("lr") _,
            out("d0") _, out("d1") _,
            options(nostack, readonly),
        );
    }
    ((sum, u64::from(high) << 32 | u64::from(low)), &[])
}

#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
impl NormAffine<'_> {
    /// From value `first` on.
    fn tail(&self, first: usize) -> Self {
        Self {
            gain: self.gain.get(first..).unwrap_or_default(),
            offset: self.offset.get(first..).unwrap_or_default(),
            shift: self.shift,
        }
    }
}

/// The most of `count` values that all have gain and offset, in fours.
#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
fn fours(count: usize, affine: &NormAffine<'_>) -> usize {
    count.min(affine.gain.len()).min(affine.offset.len()) & !3
}

/// What the assembly reads.
#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
#[repr(C)]
struct Arguments {
    values: *const i16,
    gain: *const i16,
    offset: *const i32,
    end: usize,
    scale: NormScale,
    shift: u32,
}

#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
impl Arguments {
    /// For values from `values` on, until the address of the output is `end`.
    #[inline(always)]
    fn new(scale: &NormScale, values: *const i16, affine: &NormAffine<'_>, end: usize) -> Self {
        let scale = NormScale { shift: scale.shift & 31, ..*scale };
        Self {
            values,
            gain: affine.gain.as_ptr(),
            offset: affine.offset.as_ptr(),
            end,
            scale,
            shift: affine.shift & 31,
        }
    }
}

/// 11 instructions for a value. r0 is at the values, r2 at the gains, r3 at the offsets, r1 at the output.
#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
macro_rules! value {
    ($bits:literal, $store:literal) => {
        concat!(
            "ldrsh r10, [r0], #2\n",
            "ldrsh r11, [r2], #2\n",
            "ldr lr, [r3], #4\n",
            "mla r10, r10, r5, r6\n",
            "asr r10, r10, r7\n",
            "mul r10, r10, r8\n",
            "asr r10, r10, #15\n",
            "mla r10, r10, r11, lr\n",
            "asr r10, r10, r9\n",
            "ssat r10, ",
            $bits,
            ", r10\n",
            $store,
            "\n",
        )
    };
}

/// Normalises values into `out`, four a turn.
///
/// # Safety
/// Values, gains and offsets can be read, and values written to `out`, until its address is `end`; there is one at least, and their
/// number is a multiple of 4.
#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
#[unsafe(naked)]
unsafe extern "C" fn to_i8(arguments: &Arguments, out: *mut i8) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, lr}}",
        "ldm r0, {{r0, r2, r3, r4, r5, r6, r7, r8, r9}}",
        "2:",
        value!("#8", "strb r10, [r1], #1"),
        value!("#8", "strb r10, [r1], #1"),
        value!("#8", "strb r10, [r1], #1"),
        value!("#8", "strb r10, [r1], #1"),
        "cmp r1, r4",
        "bne 2b",
        "pop {{r4, r5, r6, r7, r8, r9, r10, r11, pc}}",
    )
}

/// The same in 16 bits.
///
/// # Safety
/// As [`to_i8`].
#[cfg(any(kernel = "dsp", kernel = "armv7m"))]
#[unsafe(naked)]
unsafe extern "C" fn to_i16(arguments: &Arguments, out: *mut i16) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, lr}}",
        "ldm r0, {{r0, r2, r3, r4, r5, r6, r7, r8, r9}}",
        "2:",
        value!("#16", "strh r10, [r1], #2"),
        value!("#16", "strh r10, [r1], #2"),
        value!("#16", "strh r10, [r1], #2"),
        value!("#16", "strh r10, [r1], #2"),
        "cmp r1, r4",
        "bne 2b",
        "pop {{r4, r5, r6, r7, r8, r9, r10, r11, pc}}",
    )
}
