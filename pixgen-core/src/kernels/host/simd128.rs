//! WebAssembly with SIMD128: 8 products of 16 bits an instruction (`i32x4.dot_i16x8_s`), in pairs.
//!
//! Crosswise products (`avx2.rs`) were 3 % slower here, in V8 on Zen 4: their additions take more registers than compilers of browsers have.
#![allow(unsafe_code)]

use super::lanes::{Lanes, PANEL, Work};
use crate::kernels::TABLE_LEN;
use core::arch::wasm32::*;
use core::array;

/// The instructions, which a module is validated for as a whole: where this file is compiled, they are there.
#[derive(Clone, Copy, Debug)]
pub struct Simd128(());

impl Simd128 {
    /// The proof.
    pub const fn built_in() -> Self {
        Self(())
    }
}

/// Vectors of the sums of a row and a panel.
const VECTORS: usize = PANEL / 4;
/// Those that a pass computes. Two rows and half a panel were the fastest tile in V8, by 11 to 18 %: what is larger leaves the registers.
const HALF: usize = VECTORS / 2;

impl Lanes for Simd128 {
    const NAME: &'static str = "simd128";
    const GROUP: usize = 2;
    const ROWS: usize = 2;
    type Value = i16;
    type Weight = i16;
    type Sums = [v128; VECTORS];

    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        work.run()
    }

    #[inline(always)]
    fn widen(self, row: &[i8], out: &mut [i16]) -> i32 {
        let (whole, rest) = row.as_chunks::<8>();
        let (to, rest_to) = out.split_at_mut(out.len().min(8 * whole.len()));
        for (from, to) in whole.iter().zip(to.as_chunks_mut::<8>().0) {
            // SAFETY: both chunks have 8 values, and neither load nor store asks for an alignment.
            unsafe { v128_store(to.as_mut_ptr().cast(), i16x8_load_extend_i8x8(from.as_ptr())) }
        }
        rest_to.fill(0);
        rest_to.iter_mut().zip(rest).for_each(|(to, &value)| *to = i16::from(value));
        0
    }

    #[inline(always)]
    fn expand<'a>(self, panel: &'a [i8], scratch: &'a mut [i16]) -> &'a [i16] {
        for (from, to) in panel.as_chunks::<8>().0.iter().zip(scratch.as_chunks_mut::<8>().0) {
            // SAFETY: both chunks have 8 values.
            unsafe { v128_store(to.as_mut_ptr().cast(), i16x8_load_extend_i8x8(from.as_ptr())) }
        }
        scratch
    }

    #[inline(always)]
    fn tile<const R: usize>(self, x: &[i16], len: usize, w: &[i16], mut sums: [Self::Sums; R]) -> [Self::Sums; R] {
        let steps = len / 4;
        if x.len() < R * len || w.len() < steps * 4 * PANEL {
            return sums;
        }
        let (x, w) = (x.as_ptr(), w.as_ptr().cast::<v128>());
        for half in 0..2 {
            let mut part = [[i32x4_splat(0); HALF]; R];
            for step in 0..steps {
                // SAFETY: step s reads vectors 2 VECTORS s .. 2 VECTORS (s + 1) of `w`, of 8 values each, and values 4 s .. 4 s + 4 of each of the R
                // rows of `len`: all inside, as was checked.
                unsafe {
                    let w = w.add(2 * VECTORS * step + HALF * half);
                    let a = [v128_load(w), v128_load(w.add(1))];
                    let b = [v128_load(w.add(VECTORS)), v128_load(w.add(VECTORS + 1))];
                    for (r, part) in part.iter_mut().enumerate() {
                        let at = x.add(r * len + 4 * step);
                        let (u, v) = (v128_load32_splat(at.cast()), v128_load32_splat(at.add(2).cast()));
                        for (i, part) in part.iter_mut().enumerate() {
                            *part = i32x4_add(i32x4_add(*part, i32x4_dot_i16x8(u, a[i])), i32x4_dot_i16x8(v, b[i]));
                        }
                    }
                }
            }
            for (sums, part) in sums.iter_mut().zip(&part) {
                for (sums, &part) in sums.iter_mut().skip(HALF * half).zip(part) {
                    *sums = i32x4_add(*sums, part);
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn load(self, numbers: &[i32; PANEL]) -> Self::Sums {
        let from = numbers.as_ptr().cast::<v128>();
        // SAFETY: the vectors are the array.
        array::from_fn(|i| unsafe { v128_load(from.add(i)) })
    }

    #[inline(always)]
    fn less(self, sums: Self::Sums, less: i32) -> Self::Sums {
        sums.map(|sums| i32x4_sub(sums, i32x4_splat(less)))
    }

    #[inline(always)]
    fn scale(self, sums: Self::Sums, left: u32, multiplier: &[i32; PANEL]) -> Self::Sums {
        let multiplier = self.load(multiplier);
        array::from_fn(|i| high(i32x4_shl(sums[i], left), multiplier[i]))
    }

    #[inline(always)]
    fn scale_all(self, sums: Self::Sums, multiplier: i32) -> Self::Sums {
        sums.map(|sums| high(sums, i32x4_splat(multiplier)))
    }

    #[inline(always)]
    fn store(self, sums: Self::Sums, out: &mut [i32; PANEL]) {
        let to = out.as_mut_ptr().cast::<v128>();
        for (i, sums) in sums.into_iter().enumerate() {
            // SAFETY: the vectors are the array.
            unsafe { v128_store(to.add(i), sums) }
        }
    }

    #[inline(always)]
    fn store_i16(self, sums: Self::Sums, out: &mut [i16; PANEL]) {
        let [a, b] = words(sums);
        let to = out.as_mut_ptr().cast::<v128>();
        // SAFETY: the two vectors are the array.
        unsafe {
            v128_store(to, a);
            v128_store(to.add(1), b);
        }
    }

    #[inline(always)]
    fn store_i8(self, sums: Self::Sums, out: &mut [i8; PANEL]) {
        let [a, b] = words(sums);
        // SAFETY: the vector is the array.
        unsafe { v128_store(out.as_mut_ptr().cast(), i8x16_narrow_i16x8(a, b)) }
    }

    #[inline(always)]
    fn store_lookup(self, sums: Self::Sums, table: &[i8; TABLE_LEN], out: &mut [i8; PANEL]) {
        let mut places = [0u16; PANEL];
        let to = places.as_mut_ptr().cast::<v128>();
        for (i, words) in words(sums).into_iter().enumerate() {
            let words = i16x8_min(i16x8_max(words, i16x8_splat(0)), i16x8_splat(TABLE_LEN as i16 - 1));
            // SAFETY: the two vectors are the array.
            unsafe { v128_store(to.add(i), words) }
        }
        for (out, place) in out.iter_mut().zip(places) {
            // SAFETY: places were clamped to the table.
            *out = unsafe { *table.get_unchecked(usize::from(place)) };
        }
    }
}

/// (a b + 2^31) >> 32 in 4 lanes.
#[inline(always)]
fn high(a: v128, b: v128) -> v128 {
    let half = i64x2_splat(1 << 31);
    let low = i64x2_add(i64x2_extmul_low_i32x4(a, b), half);
    let high = i64x2_add(i64x2_extmul_high_i32x4(a, b), half);
    i32x4_shuffle::<1, 3, 5, 7>(low, high)
}

/// 16 numbers, clamped to 16 bits.
#[inline(always)]
fn words([a, b, c, d]: [v128; VECTORS]) -> [v128; 2] {
    [i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d)]
}
