//! Kernels of the host against plain loops; those of chips run the same cases in firmware-examples/kernel-conformance.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::slice;
use std::vec;
use std::vec::Vec;

use super::portable::Portable;
use super::tile::product;
use super::*;

#[test]
fn portable_equals_plain_loops() {
    assert_eq!(cases::check::<Portable>(3000), Ok(()));
}

#[test]
fn native_equals_plain_loops() {
    assert_eq!(cases::check::<Native>(3000), Ok(()));
}

/// The loops around tiles, with plain tiles in place of assembly: what each core reads and adds up, in its order.
mod plain {
    use super::super::packed;
    use super::super::tile::{Strip, Tile};
    use super::super::{Kernel, Rows, Sink};
    use super::{MaybeUninit, Vec, product, slice, vec};

    /// R tokens x C outputs as they are; `STEP` values at a time.
    pub struct Direct<const R: usize, const C: usize, const STEP: usize>;

    /// 2 tokens x 2 outputs with weights as 16-bit values, and tokens too, as far as the scratch goes.
    pub struct Expanded;

    /// R tokens x 4 outputs with two weights in a word.
    pub struct Packed<const R: usize>;

    /// Row `r` of `len` values.
    ///
    /// # Safety
    /// The row can be read for `'a`.
    unsafe fn row<'a>(start: *const i8, stride: usize, r: usize, len: usize) -> &'a [i8] {
        // SAFETY: the caller's.
        unsafe { slice::from_raw_parts(start.add(r * stride), len) }
    }

    /// Every sum of the strip: `sum(t, o, start)`, with its place in the tile.
    ///
    /// # Safety
    /// The start of the strip can be read, and its sums written.
    unsafe fn each<const R: usize, const C: usize>(strip: &Strip, sum: impl Fn(usize, usize, i32) -> i32) {
        // SAFETY: the caller's, here and below.
        let count = unsafe { strip.end.offset_from_unsigned(strip.sums) };
        assert!(count > 0 && count.is_multiple_of(R * C));
        for i in 0..count {
            // SAFETY: R times C words of start, and `count` sums.
            unsafe { strip.sums.add(i).write(sum(i / C, i % C, strip.start.add(i % (R * C)).read())) };
        }
    }

    fn dot(x: &[i8], w: &[i8]) -> i32 {
        x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
    }

    impl<const R: usize, const C: usize, const STEP: usize> Tile<R, C> for Direct<R, C, STEP> {
        const STEP: usize = STEP;
        const ALIGN: usize = 1;

        unsafe fn run(strip: &Strip, x_prepared: bool) {
            assert!(!x_prepared);
            let &Strip { x, x_stride, w, w_stride, len, .. } = strip;
            // SAFETY: the caller's.
            unsafe { each::<R, C>(strip, |t, o, start| start + dot(row(x, x_stride, t, len), row(w, w_stride, o, len))) };
        }
    }

    /// Values of a row of two that [`Expanded`] prepared.
    ///
    /// # Safety
    /// Both rows, of `len` values each, can be read for `'a`.
    unsafe fn expanded<'a>(words: *const i8, len: usize, r: usize) -> impl Iterator<Item = i32> + 'a {
        // SAFETY: the caller's.
        let values = unsafe { slice::from_raw_parts(words.cast::<i16>(), 2 * len) };
        let fours = values.chunks_exact(8).map(move |eight| [0, 2, 1, 3].map(|k| i32::from(eight[4 * r + k])));
        fours.flatten()
    }

    impl Tile<2, 2> for Expanded {
        const STEP: usize = 4;
        const ALIGN: usize = 4;
        const PREPARED: usize = 1;
        const PREPARES_X: bool = true;

        unsafe fn prepare(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
            // SAFETY: the caller's.
            let out = unsafe { slice::from_raw_parts_mut(out.cast::<i16>(), 2 * len) };
            for (i, out) in out.chunks_exact_mut(8).enumerate() {
                for r in 0..2 {
                    // SAFETY: one of two rows.
                    let four = &unsafe { row(rows, stride, r, len) }[4 * i..][..4];
                    out[4 * r..][..4].copy_from_slice(&[0, 2, 1, 3].map(|k| i16::from(four[k])));
                }
            }
        }

        unsafe fn run(strip: &Strip, x_prepared: bool) {
            let &Strip { x, x_stride, w, len, last, .. } = strip;
            // SAFETY: both lie among the sums.
            let before = unsafe { strip.jump.offset_from_unsigned(strip.sums) } / 2;
            // SAFETY: the caller's; a pair of prepared tokens takes `len` words.
            unsafe {
                each::<2, 2>(strip, |t, o, start| {
                    let token: Vec<i32> = if x_prepared {
                        let pair = if t < before { x.add(t / 2 * len * 4) } else { last };
                        expanded(pair, len, t % 2).collect()
                    } else {
                        row(x, x_stride, t, len).iter().map(|&value| value.into()).collect()
                    };
                    start + token.into_iter().zip(expanded(w, len, o)).map(|(x, w)| x * w).sum::<i32>()
                });
            }
        }
    }

    impl<const R: usize> Tile<R, 4> for Packed<R> {
        const STEP: usize = 4;
        const ALIGN: usize = 1;
        const PREPARED: usize = 2;

        unsafe fn prepare(rows: *const i8, stride: usize, len: usize, out: *mut u32) {
            // SAFETY: the caller's.
            let out = unsafe { slice::from_raw_parts_mut(out.cast::<i32>(), 2 * len) };
            // SAFETY: one of four rows.
            let value = |r, k: usize| i32::from(unsafe { row(rows, stride, r, len) }[k]);
            for (i, out) in out.iter_mut().enumerate() {
                *out = value(i % 2 * 2, i / 2) + (value(i % 2 * 2 + 1, i / 2) << 16);
            }
        }

        fn start(start: [i32; 4], len: usize) -> [i32; 4] {
            packed::start(start, len)
        }

        unsafe fn run(strip: &Strip, x_prepared: bool) {
            assert!(!x_prepared);
            let &Strip { x, x_stride, w, len, .. } = strip;
            // SAFETY: the caller's.
            let words = unsafe { slice::from_raw_parts(w.cast::<i32>(), 2 * len) };
            let both = |t: usize, pair: usize| {
                // SAFETY: a row of x; R times C words of start.
                let (token, start) = unsafe { (row(x, x_stride, t, len), strip.start.add(t % R * 4 + 2 * pair)) };
                // SAFETY: as above.
                let (mut a, mut b) = unsafe { (start.read(), start.add(1).read()) };
                for (x, w) in token.chunks_exact(2).zip(words.chunks_exact(4)) {
                    let q = packed::HALF
                        .wrapping_sub(i32::from(x[0]).wrapping_mul(w[pair]))
                        .wrapping_sub(i32::from(x[1]).wrapping_mul(w[pair + 2]));
                    (a, b) = (a.wrapping_sub(q), b.wrapping_sub(q >> 16));
                }
                [a.wrapping_sub(b << 16), b]
            };
            // SAFETY: the caller's.
            unsafe { each::<R, 4>(strip, |t, o, _| both(t, o / 2)[o % 2]) };
        }
    }

    macro_rules! kernel {
        ($(<$(const $n:ident),*> $tile:ty, $r:tt, $c:tt, $own:literal;)*) => {$(
            impl<$(const $n: usize),*> Kernel for $tile {
                const NAME: &'static str = "plain";

                fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
                    product::<Self, S, $r, $c>(x, w, scratch, &mut [MaybeUninit::uninit(); 128][..$own], sink);
                }
            }
        )*};
    }

    kernel! {
        <const R, const C, const STEP> Direct<R, C, STEP>, R, C, 0;
        <> Expanded, 2, 2, 128;
        <const R> Packed<R>, R, 4, 0;
    }

    /// Words that [`Packed`] makes of all extremes, at once in both halves.
    #[test]
    fn packed_words_hold_every_product() {
        let extremes = [-128i8, -127, -1, 0, 1, 127];
        let all = |n: usize| (0..extremes.len().pow(6)).map(move |i| extremes[i / extremes.len().pow(n as u32) % extremes.len()]);
        let cases = all(0).zip(all(1)).zip(all(2)).zip(all(3)).zip(all(4)).zip(all(5));
        for (((((x0, x1), a0), a1), b0), b1) in cases {
            let (x, w) = ([x0, x1, 0, 0], vec![a0, a1, 0, 0, b0, b1, 0, 0]);
            let w = [w.clone(), w].concat();
            let (Some(x), Some(rows)) = (Rows::new(&x, 4, 4, 1), Rows::new(&w, 4, 4, 4)) else {
                panic!("rows")
            };
            let mut out = [0; 4];
            Packed::<1>::matmul(x, rows, &mut [0; 8], &mut super::Raw { out: &mut out, stride: 4 });
            let wanted = [dot(x.row(0), rows.row(0)), dot(x.row(0), rows.row(1))];
            assert_eq!(out, [wanted, wanted].concat()[..], "{x:?} {w:?}");
        }
    }
}

#[test]
fn tiles_of_every_core_cover_all_shapes() {
    assert_eq!(cases::check::<plain::Direct<2, 4, 1>>(1000), Ok(()));
    assert_eq!(cases::check::<plain::Direct<3, 2, 4>>(1000), Ok(()));
    assert_eq!(cases::check::<plain::Expanded>(1000), Ok(()));
    assert_eq!(cases::check::<plain::Packed<1>>(1000), Ok(()));
    assert_eq!(cases::check::<plain::Packed<3>>(1000), Ok(()));
}

/// A kernel that is wrong in one sum of many must fail.
#[test]
fn cases_find_errors() {
    struct Wrong;
    impl Kernel for Wrong {
        const NAME: &'static str = "wrong";

        fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S) {
            Portable::matmul(x, w, scratch, sink);
            sink.put_one(x.count() - 1, w.count() - 1, 12_345_678);
        }
    }
    assert!(cases::check::<Wrong>(20).is_err());
}

/// A block of sums, as [`product`] and [`Portable`] hand it over.
fn put<S: Sink, const C: usize>(mut sink: S, row: usize, column: usize, sums: &[[i32; C]]) {
    let ends = row.checked_add(sums.len()).zip(column.checked_add(C));
    if ends.is_some_and(|(rows, columns)| sink.holds(rows, columns)) {
        // SAFETY: it holds them.
        return unsafe { sink.put_held(row, column, sums) };
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, &sum) in sums.iter().enumerate() {
            sink.put_one(row.saturating_add(r), column.saturating_add(c), sum);
        }
    }
}

#[test]
fn sinks_saturate_and_round_half_up() {
    let sums = [[i32::MIN, -3, -1], [1, 3, i32::MAX]];
    let quarter = [1 << 30; 3];
    let (bias, mut bytes, mut shorts) = ([0; 3], [0i8; 6], [0i16; 6]);
    let mut unsigned = [0u8; 6];
    put(Scaled { bias: &bias, multiplier: &quarter, left: 1, out: &mut bytes, stride: 3 }, 0, 0, &sums[1..]);
    assert_eq!(bytes[..3], [1, 2, 0], "halves go up; a shift drops what is above 32 bits");
    put(Scaled { bias: &bias, multiplier: &quarter, left: 0, out: &mut shorts, stride: 3 }, 0, 0, &sums);
    assert_eq!(shorts, [-32_768, -1, 0, 0, 1, 32_767]);
    put(Scaled { bias: &bias, multiplier: &quarter, left: 0, out: &mut unsigned, stride: 3 }, 0, 0, &sums);
    assert_eq!(unsigned, [0, 0, 0, 0, 1, 255]);
    let table = core::array::from_fn(|i| (i / 8) as i8);
    put(Lookup { bias: &bias, multiplier: &quarter, left: 0, table: &table, out: &mut bytes, stride: 3 }, 0, 0, &sums);
    assert_eq!(bytes, [0, 0, 0, 0, 0, 127]);
    put(RowScaled { multiplier: &[i32::MAX, 1 << 30], out: &mut bytes, stride: 3 }, 0, 0, &sums);
    assert_eq!(bytes, [-128, -1, 0, 0, 1, 127]);
}

#[test]
fn sinks_ignore_what_lies_outside() {
    let sums = [[10, 20]; 4];
    let mut out = [0; 7];
    put(Raw { out: &mut out, stride: 2 }, 2, 0, &sums);
    assert_eq!(out, [0, 0, 0, 0, 10, 20, 10]);
    put(Raw { out: &mut out, stride: usize::MAX }, 1, 1, &sums);
    put(Raw { out: &mut out, stride: 2 }, usize::MAX - 8, 1, &sums);
    assert_eq!(out, [0, 0, 0, 0, 10, 20, 10]);

    let mut out = [9i8; 8];
    let whole = [1 << 30; 2];
    put(Scaled { bias: &[0], multiplier: &whole, left: 2, out: &mut out, stride: 2 }, 0, 0, &sums);
    assert_eq!(out, [10, 9, 10, 9, 10, 9, 10, 9], "a column without a bias");
    put(RowScaled { multiplier: &whole, out: &mut out, stride: 2 }, 0, 0, &[[4, 8]; 4]);
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
