//! The one rounding rule of the integer path, in the fewest instructions of each core.
#![allow(unsafe_code)]

/// High word of a product, rounded half up: (a b + 2^31) >> 32.
#[cfg(any(kernel = "portable", kernel = "riscv32"))]
#[inline(always)]
pub const fn multiply_high(a: i32, b: i32) -> i32 {
    ((a as i64 * b as i64 + (1 << 31)) >> 32) as i32
}

/// High word of a product, rounded half up: (a b + 2^31) >> 32.
#[cfg(any(kernel = "dsp", kernel = "mve"))]
#[inline(always)]
pub fn multiply_high(a: i32, b: i32) -> i32 {
    let high;
    // SAFETY: an instruction that reads and writes only these registers.
    unsafe {
        core::arch::asm!("smmulr {}, {}, {}", lateout(reg) high, in(reg) a, in(reg) b, options(pure, nomem, nostack, preserves_flags))
    };
    high
}

/// High word of a product, rounded half up: (a b + 2^31) >> 32.
#[cfg(kernel = "armv7m")]
#[inline(always)]
pub fn multiply_high(a: i32, b: i32) -> i32 {
    let high;
    // SAFETY: instructions that read and write only these registers. What is below the high word rounds up when its first bit is set.
    unsafe {
        core::arch::asm!("smull {low}, {high}, {a}, {b}", "add {high}, {high}, {low}, lsr #31",
            low = out(reg) _, high = out(reg) high, a = in(reg) a, b = in(reg) b, options(pure, nomem, nostack, preserves_flags));
    }
    high
}

/// High word of a product, rounded half up: (a b + 2^31) >> 32.
#[cfg(kernel = "armv6m")]
#[inline(always)]
pub fn multiply_high(a: i32, b: i32) -> i32 {
    by_halves(a, b)
}

/// The same from products of 16-bit halves, for cores without a 64-bit product. No partial sum leaves i32.
#[cfg(any(kernel = "armv6m", test))]
#[inline(always)]
fn by_halves(a: i32, b: i32) -> i32 {
    let (a_high, a_low) = (a >> 16, a & 0xffff);
    let (b_high, b_low) = (b >> 16, b & 0xffff);
    let low = (a_low as u32 * b_low as u32) >> 16;
    let middle = a_high * b_low + low as i32 + 0x8000;
    let other = a_low * b_high + (middle & 0xffff);
    a_high * b_high + (middle >> 16) + (other >> 16)
}

#[cfg(test)]
mod tests {
    use super::{by_halves, multiply_high};

    const HALVES: [i32; 9] = [0, 1, 2, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff, 0x1234];

    #[test]
    fn halves_give_the_same() {
        let values = || HALVES.into_iter().flat_map(|high| HALVES.into_iter().map(move |low| high << 16 | low));
        for a in values() {
            for b in values() {
                let wanted = (i64::from(a) * i64::from(b) + (1 << 31)).div_euclid(1 << 32) as i32;
                assert_eq!(by_halves(a, b), wanted, "{a} {b}");
                assert_eq!(multiply_high(a, b), wanted, "{a} {b}");
            }
        }
        let mut a = 1i32;
        let mut b = -7i32;
        for _ in 0..1_000_000 {
            a = a.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b = b.wrapping_mul(22_695_477).wrapping_add(1);
            assert_eq!(by_halves(a, b), multiply_high(a, b), "{a} {b}");
        }
    }
}
