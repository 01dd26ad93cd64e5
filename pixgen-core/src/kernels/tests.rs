//! Kernels of the host against plain loops; those of chips run the same cases in firmware-examples/kernel-conformance.
#![allow(unsafe_code)]

use std::slice;
use std::vec;
use std::vec::Vec;

use super::portable::Portable;
use super::tile::{Strip, Tile, product};
use super::*;

#[test]
fn portable_equals_plain_loops() {
    assert_eq!(cases::check::<Portable>(3000), Ok(()));
}

#[test]
fn native_equals_plain_loops() {
    assert_eq!(cases::check::<Native>(3000), Ok(()));
}

/// The loops around tiles, with tiles in place of assembly. `EXPANDS` keeps weights in the scratch, a row after another.
struct Plain<const R: usize, const C: usize, const EXPANDS: bool>;

impl<const R: usize, const C: usize, const EXPANDS: bool> Tile<R, C> for Plain<R, C, EXPANDS> {
    const STEP: usize = 4;
    const ALIGN: usize = if EXPANDS { 4 } else { 1 };
    const EXPANDS: bool = EXPANDS;

    unsafe fn prepare(w: *const i8, stride: usize, len: usize, scratch: *mut u32) {
        // SAFETY: the caller's, here and below.
        let out = unsafe { slice::from_raw_parts_mut(scratch.cast::<i8>(), 4 * len) };
        for (c, out) in out.chunks_exact_mut(len).take(C).enumerate() {
            // SAFETY: row c of the weights.
            out.copy_from_slice(unsafe { slice::from_raw_parts(w.add(c * stride), len) });
        }
    }

    unsafe fn run(strip: &Strip) {
        // SAFETY: the caller's, here and below.
        let rows = unsafe { strip.end.offset_from_unsigned(strip.sums) } / C;
        assert!(rows > 0 && rows.is_multiple_of(R));
        // SAFETY: R times C sums.
        let start = unsafe { slice::from_raw_parts(strip.start, R * C) }.to_vec();
        // SAFETY: all sums of the strip; a copy of the start was made.
        let sums = unsafe { slice::from_raw_parts_mut(strip.sums, rows * C) };
        let w_stride = if EXPANDS { strip.len } else { strip.w_stride };
        // SAFETY: a row of x or w.
        let row = |start: *const i8, stride, r| unsafe { slice::from_raw_parts(start.add(r * stride), strip.len) };
        for (i, sum) in sums.iter_mut().enumerate() {
            let (x, w) = (row(strip.x, strip.x_stride, i / C), row(strip.w, w_stride, i % C));
            *sum = x
                .iter()
                .zip(w)
                .fold(start[i % (R * C)], |sum, (&x, &w)| sum + i32::from(x) * i32::from(w));
        }
    }
}

impl<const R: usize, const C: usize, const EXPANDS: bool> Kernel for Plain<R, C, EXPANDS> {
    const NAME: &'static str = "plain";

    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
        product::<Self, S, R, C>(x, w, scratch, sink);
    }
}

#[test]
fn tiles_of_every_core_cover_all_shapes() {
    assert_eq!(cases::check::<Plain<2, 2, true>>(1000), Ok(()));
    assert_eq!(cases::check::<Plain<3, 2, false>>(1000), Ok(()));
    assert_eq!(cases::check::<Plain<3, 4, false>>(1000), Ok(()));
    assert_eq!(cases::check::<Plain<1, 4, false>>(1000), Ok(()));
}

/// A kernel that is wrong in one sum of many must fail.
#[test]
fn cases_find_errors() {
    struct Wrong;
    impl Kernel for Wrong {
        const NAME: &'static str = "wrong";

        fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
            Portable::matmul(x, w, scratch, sink);
            sink.put(x.count() - 1, w.count() - 1, &[[12_345_678]]);
        }
    }
    assert!(cases::check::<Wrong>(20).is_err());
}

#[test]
fn sinks_saturate_and_round_half_up() {
    let sums = [[i32::MIN, -3, -1], [1, 3, i32::MAX]];
    let quarter = [1 << 30; 3];
    let (bias, mut bytes, mut shorts) = ([0; 3], [0i8; 6], [0i16; 6]);
    let mut unsigned = [0u8; 6];
    Scaled { bias: &bias, multiplier: &quarter, left: 1, out: &mut bytes, stride: 3 }.put(0, 0, &sums[1..]);
    assert_eq!(bytes[..3], [1, 2, 0], "halves go up; a shift drops what is above 32 bits");
    Scaled { bias: &bias, multiplier: &quarter, left: 0, out: &mut shorts, stride: 3 }.put(0, 0, &sums);
    assert_eq!(shorts, [-32_768, -1, 0, 0, 1, 32_767]);
    Scaled { bias: &bias, multiplier: &quarter, left: 0, out: &mut unsigned, stride: 3 }.put(0, 0, &sums);
    assert_eq!(unsigned, [0, 0, 0, 0, 1, 255]);
    let table = core::array::from_fn(|i| (i / 8) as i8);
    Lookup { bias: &bias, multiplier: &quarter, left: 0, table: &table, out: &mut bytes, stride: 3 }.put(0, 0, &sums);
    assert_eq!(bytes, [0, 0, 0, 0, 0, 127]);
    RowScaled { multiplier: &[i32::MAX, 1 << 30], out: &mut bytes, stride: 3 }.put(0, 0, &sums);
    assert_eq!(bytes, [-128, -1, 0, 0, 1, 127]);
}

#[test]
fn sinks_ignore_what_lies_outside() {
    let sums = [[10, 20]; 4];
    let mut out = [0; 7];
    Raw { out: &mut out, stride: 2 }.put(2, 0, &sums);
    assert_eq!(out, [0, 0, 0, 0, 10, 20, 10]);
    Raw { out: &mut out, stride: usize::MAX }.put(1, 1, &sums);
    Raw { out: &mut out, stride: 2 }.put(usize::MAX - 8, 1, &sums);
    assert_eq!(out, [0, 0, 0, 0, 10, 20, 10]);

    let mut out = [9i8; 8];
    let whole = [1 << 30; 2];
    Scaled { bias: &[0], multiplier: &whole, left: 2, out: &mut out, stride: 2 }.put(0, 0, &sums);
    assert_eq!(out, [10, 9, 10, 9, 10, 9, 10, 9], "a column without a bias");
    RowScaled { multiplier: &whole, out: &mut out, stride: 2 }.put(0, 0, &[[4, 8]; 4]);
    assert_eq!(out, [1, 2, 1, 2, 10, 9, 10, 9], "rows without a multiplier");
}

#[test]
fn rows_lie_inside_their_slice() {
    let values: Vec<i8> = (0..20).collect();
    assert!(Rows::new(&values, 8, 4, 3).is_some());
    assert!(Rows::new(&values, 8, 5, 3).is_none());
    assert!(Rows::new(&values, 4, 5, 2).is_none(), "rows that overlap");
    assert!(Rows::new(&values, usize::MAX, 4, 3).is_none());
    assert!(Rows::new(&values, 8, 4, 0).is_some_and(|rows| rows.row(0).is_empty()));
    let rows = Rows::new(&values, 8, 4, 3).map(|rows| vec![rows.row(0), rows.row(2), rows.row(3), rows.row(usize::MAX)]);
    assert_eq!(rows, Some(vec![&values[0..4], &values[16..20], &[], &[]]));
}
