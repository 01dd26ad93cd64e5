//! Every back end that this CPU has, and a model of VNNI that every CPU has, against the portable kernel.

#[cfg(not(target_arch = "wasm32"))]
use std::println;
use std::vec;
use std::vec::Vec;

use super::attention::{Head, HeadScratch, attend, map_stride, strip_rows};
use super::lanes::{Lanes, PANEL, Work};
use super::panels::{Panels, PanelsMut, padded, panels_len};
use super::product::{ProductScratch, matmul};
use crate::integer::EXP;
use crate::kernels::portable::Portable;
use crate::kernels::{Exponentials, Kernel, Lookup, Raw, RowScaled, Rows, Saturate, Scaled, TABLE_LEN, multiply_high};
use crate::rng::{Draws, Rng};

/// VPDPBUSD lane by lane, in the layout of VNNI. `SATURATES` makes it wrong.
#[derive(Clone, Copy, Debug)]
struct Model<const SATURATES: bool>;

/// One lane of the instruction: four products of a byte without a sign and one with, each sign-extended from 16 bits, added without
/// saturation.
fn dpbusd(sum: i32, unsigned: [u8; 4], signed: [i8; 4]) -> i32 {
    unsigned.into_iter().zip(signed).fold(sum, |sum, (u, s)| {
        let product = i16::try_from(i32::from(u) * i32::from(s)).expect("16 bits hold it");
        sum.wrapping_add(i32::from(product))
    })
}

/// One lane of what older CPUs have instead: VPMADDUBSW, then VPMADDWD with ones.
fn maddubs(sum: i32, unsigned: [u8; 4], signed: [i8; 4]) -> i32 {
    let products: [i32; 4] = core::array::from_fn(|i| i32::from(unsigned[i]) * i32::from(signed[i]));
    sum.wrapping_add(i32::from(i16::saturate(products[0] + products[1])) + i32::from(i16::saturate(products[2] + products[3])))
}

impl<const SATURATES: bool> Lanes for Model<SATURATES> {
    const NAME: &'static str = "model";
    const GROUP: usize = 4;
    const FLIP: [i8; 4] = [-128; 4];
    const ROWS: usize = 6;
    type Value = i8;
    type Weight = i8;
    type Sums = [i32; PANEL];

    fn run<W: Work>(self, work: W) -> W::Output {
        work.run()
    }

    fn widen(self, row: &[i8], out: &mut [i8]) -> i32 {
        out.fill(0);
        out[..row.len()].copy_from_slice(row);
        128 * row.iter().map(|&value| i32::from(value)).sum::<i32>()
    }

    fn expand<'a>(self, panel: &'a [i8], _: &'a mut [i16]) -> &'a [i8] {
        panel
    }

    fn tile<const R: usize>(self, x: &[i8], len: usize, w: &[i8], mut sums: [Self::Sums; R]) -> [Self::Sums; R] {
        for (x, sums) in x.chunks_exact(len).zip(&mut sums) {
            for (four, weights) in x.as_chunks::<4>().0.iter().zip(w.chunks_exact(4 * PANEL)) {
                for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                    let unsigned = weights.map(|w| w as u8);
                    *sum = if SATURATES {
                        maddubs(*sum, unsigned, *four)
                    } else {
                        dpbusd(*sum, unsigned, *four)
                    };
                }
            }
        }
        sums
    }

    fn load(self, numbers: &[i32; PANEL]) -> Self::Sums {
        *numbers
    }

    fn less(self, sums: Self::Sums, less: i32) -> Self::Sums {
        sums.map(|sum| sum.wrapping_sub(less))
    }

    fn scale(self, sums: Self::Sums, left: u32, multiplier: &[i32; PANEL]) -> Self::Sums {
        core::array::from_fn(|lane| multiply_high(sums[lane] << left, multiplier[lane]))
    }

    fn scale_all(self, sums: Self::Sums, multiplier: i32) -> Self::Sums {
        sums.map(|sum| multiply_high(sum, multiplier))
    }

    fn store(self, sums: Self::Sums, out: &mut [i32; PANEL]) {
        *out = sums;
    }

    fn store_i16(self, sums: Self::Sums, out: &mut [i16; PANEL]) {
        *out = sums.map(i16::saturate);
    }

    fn store_i8(self, sums: Self::Sums, out: &mut [i8; PANEL]) {
        *out = sums.map(i8::saturate);
    }

    fn store_lookup(self, sums: Self::Sums, table: &[i8; TABLE_LEN], out: &mut [i8; PANEL]) {
        *out = sums.map(|sum| table[sum.clamp(0, TABLE_LEN as i32 - 1) as usize]);
    }
}

/// Runs `$check` with each back end that this CPU has, and says which it has not.
macro_rules! with_every_back_end {
    ($check:ident) => {
        $check(Model::<false>);
        #[cfg(target_arch = "wasm32")]
        $check(super::simd128::Simd128::built_in());
        #[cfg(target_arch = "aarch64")]
        #[allow(unsafe_code)]
        {
            use super::dotprod::Dotprod;
            use super::neon::Neon;
            if std::arch::is_aarch64_feature_detected!("neon") {
                // SAFETY: it was detected.
                $check(unsafe { Neon::detected() });
            } else {
                println!("skipped, no NEON");
            }
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                // SAFETY: it was detected, and NEON is a part of it.
                $check(unsafe { Dotprod::detected() });
            } else {
                println!("skipped, no dot products");
            }
        }
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        {
            use super::avx2::Avx2;
            use super::avx512::Avx512Vnni;
            use super::vnni::AvxVnni;
            if std::is_x86_feature_detected!("avx2") {
                // SAFETY: it was detected, here and below.
                unsafe {
                    $check(Avx2::<false>::detected());
                    $check(Avx2::<true>::detected());
                }
            } else {
                println!("skipped, no AVX2");
            }
            let avx512 = std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw");
            if avx512 && std::is_x86_feature_detected!("avx512vl") && std::is_x86_feature_detected!("avx512vnni") {
                // SAFETY: as above.
                $check(unsafe { Avx512Vnni::detected() });
            } else {
                println!("skipped, no VNNI of AVX-512");
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("avxvnni") {
                // SAFETY: as above.
                $check(unsafe { AvxVnni::detected() });
            } else {
                println!("skipped, no AVX-VNNI");
            }
        }
    };
}

/// int8 of a kind: any, the ends, or the lower end everywhere.
fn values(draws: &mut Draws, count: usize, kind: u32) -> Vec<i8> {
    let value = |draws: &mut Draws| match kind {
        0 => -128,
        1 => [-128, 127][draws.below(2) as usize],
        _ => draws.below(256) as u8 as i8,
    };
    (0..count).map(|_| value(draws)).collect()
}

/// Memory for a product or a head of any shape here.
#[derive(Default)]
struct Memory {
    wide: Vec<i16>,
    excess: Vec<i32>,
    panel: Vec<i16>,
    panels: [Vec<u32>; 2],
    scores: Vec<i32>,
    row: Vec<i8>,
    multiplier: Vec<i32>,
}

impl Memory {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            wide: vec![0x5555; rows * padded(inputs)],
            excess: vec![0x5555; rows],
            panel: vec![0x5555; PANEL * padded(inputs)],
            panels: [0, 1].map(|_| vec![0x5555_5555; panels_len(inputs, outputs) / 4]),
            ..Self::default()
        }
    }

    fn product(&mut self) -> (ProductScratch<'_>, &mut [Vec<u32>; 2]) {
        (ProductScratch { wide: &mut self.wide, excess: &mut self.excess, panel: &mut self.panel }, &mut self.panels)
    }
}

fn products_equal<L: Lanes>(lanes: L) {
    let mut draws = Draws::new(Rng::new(20, 255), 0);
    for case in 0..300u32 {
        let mut below = |end: u32| draws.below(end) as usize;
        // Shapes of presets among them: heads of 12, 49 outputs, K that is no multiple of 4.
        let [count, outputs, inputs] = [
            1 + below(70),
            [12, 49, 16, 1 + below(70)][below(4)],
            [1 + below(300), 4 * (1 + below(70)), 49, 512][below(4)],
        ];
        let (x_stride, stride, left) = (inputs + below(5), outputs + below(20), below(9) as u32);
        let (x, w) = (values(&mut draws, count * x_stride, case % 4), values(&mut draws, outputs * inputs, case / 4 % 4));
        let mut numbers = |count: usize| (0..count).map(|_| draws.u32() as i32 >> (4 * draws.below(5))).collect::<Vec<i32>>();
        let (bias, multiplier, by_row) = (numbers(outputs), numbers(outputs), numbers(count));
        let table: [i8; TABLE_LEN] = core::array::from_fn(|i| (i as i8).wrapping_mul(37));
        let x = Rows::new(&x, x_stride, inputs, count).expect("rows");
        let transposed: Vec<i8> = (0..inputs)
            .flat_map(|k| (0..outputs).map(move |o| (o, k)))
            .map(|(o, k)| w[o * inputs + k])
            .collect();
        let w = Rows::new(&w, inputs, inputs, outputs).expect("rows");

        let mut memory = Memory::new(count, inputs, outputs);
        let (mut scratch, [packed, same]) = memory.product();
        PanelsMut::new(bytemuck::cast_slice_mut(packed), inputs, outputs)
            .expect("room")
            .pack_rows::<L>(w);
        let columns = Rows::new(&transposed, outputs, outputs, inputs).expect("rows");
        PanelsMut::new(bytemuck::cast_slice_mut(same), inputs, outputs)
            .expect("room")
            .pack_columns::<L>(columns);
        assert!(packed == same, "{}: {count} x {inputs} x {outputs}", L::NAME);
        let panels = Panels::new(bytemuck::cast_slice(packed), inputs, outputs).expect("packed");

        macro_rules! equal {
            ($type:ty, $name:literal, |$out:ident| $sink:expr) => {{
                // One place after the last is watched too.
                let [wanted, found] = [true, false].map(|portable| {
                    let mut all: Vec<$type> = vec![99; count * stride + 1];
                    let $out = &mut all[..count * stride];
                    if portable {
                        Portable::matmul(x, w, &mut [], &mut $sink);
                    } else {
                        assert!(matmul(lanes, x, panels, &mut scratch, &mut $sink));
                    }
                    all
                });
                assert!(wanted == found, "{}, {}, case {case}: {count} x {inputs} x {outputs}", L::NAME, $name);
            }};
        }
        let (bias, multiplier) = (&bias[..], &multiplier[..]);
        equal!(i32, "raw", |out| Raw { out, stride });
        equal!(i8, "i8", |out| Scaled { bias, multiplier, left, out, stride });
        equal!(u8, "u8", |out| Scaled { bias, multiplier, left, out, stride });
        equal!(i16, "i16", |out| Scaled { bias, multiplier, left, out, stride });
        equal!(i8, "lookup", |out| Lookup { bias, multiplier, left, table: &table, out, stride });
        equal!(i8, "row", |out| RowScaled { multiplier: &by_row, out, stride });
        // Sinks of fewer columns and rows than the product has: what lies outside is left alone.
        let (bias, multiplier) = (&bias[..outputs / 2], &multiplier[..outputs / 3]);
        equal!(i8, "fewer columns", |out| Scaled { bias, multiplier, left, out, stride });
        equal!(i8, "fewer rows", |out| RowScaled {
            multiplier: &by_row[..count / 2],
            out: &mut out[..count * stride / 2],
            stride
        });
    }
}

#[test]
fn products_of_every_back_end_are_the_portable_ones() {
    with_every_back_end!(products_equal);
}

fn heads_equal<L: Lanes>(lanes: L) {
    let mut draws = Draws::new(Rng::new(21, 255), 0);
    for case in 0..120u32 {
        let mut below = |end: u32| draws.below(end) as usize;
        // Maps in one strip, and in several.
        let (tokens, width) = ([18, 51, 66, 1 + below(70), 182 + below(100)][below(5)], [12, 16, 32, 1 + below(70)][below(4)]);
        let (d, exp_left, mean) = (width + below(9), below(4) as u32, below(1 << 24) as u32);
        let multiplier = below(1 << 20) as i32;
        let qkv = values(&mut draws, tokens * 3 * d, case % 4);
        let part = |part: usize| Rows::new(&qkv[part * d..], 3 * d, width, tokens).expect("rows");
        let exponentials = Exponentials { table: &EXP, multiplier, left: exp_left };
        let head = Head { queries: part(0), keys: part(1), values: part(2), exponentials, mean };

        let mut scores = vec![0; tokens * tokens];
        Portable::matmul(head.queries, head.keys, &mut [], &mut Raw { out: &mut scores, stride: tokens });
        let mut weights = vec![0; tokens * tokens];
        let rows = scores.chunks(tokens).zip(weights.chunks_mut(tokens));
        let by_row: Vec<i32> = rows
            .map(|(scores, weights)| (mean.checked_div(exponentials.row(scores, weights)).unwrap_or(0) << 4) as i32)
            .collect();
        let columns: Vec<i8> = (0..width)
            .flat_map(|c| (0..tokens).map(move |t| (c, t)))
            .map(|(c, t)| head.values.row(t)[c])
            .collect();
        let [weights, columns] =
            [(&weights, tokens), (&columns, width)].map(|(values, count)| Rows::new(values, tokens, tokens, count).expect("rows"));
        let mut wanted = vec![99i8; tokens * d];
        Portable::matmul(weights, columns, &mut [], &mut RowScaled { multiplier: &by_row, out: &mut wanted, stride: d });

        let longer = tokens.max(width);
        let mut memory = Memory {
            scores: vec![0x5555; strip_rows(tokens) * map_stride(tokens)],
            row: vec![0x55; tokens],
            multiplier: vec![0x5555; strip_rows(tokens)],
            ..Memory::new(strip_rows(tokens), longer, longer)
        };
        let [keys, values] = &mut memory.panels;
        let mut scratch = HeadScratch {
            product: ProductScratch { wide: &mut memory.wide, excess: &mut memory.excess, panel: &mut memory.panel },
            keys: bytemuck::cast_slice_mut(keys),
            values: bytemuck::cast_slice_mut(values),
            scores: &mut memory.scores,
            row: &mut memory.row,
            multiplier: &mut memory.multiplier,
        };
        let mut found = vec![99i8; tokens * d];
        assert!(attend(lanes, &head, &mut scratch, &mut found, d));
        assert!(wanted == found, "{}, case {case}: {tokens} tokens, width {width}", L::NAME);
        scratch.scores = &mut [];
        assert!(!attend(lanes, &head, &mut scratch, &mut found, d), "no room for scores");
    }
}

#[test]
fn heads_of_every_back_end_are_the_portable_ones() {
    with_every_back_end!(heads_equal);
}

/// Numbers at the ends of their range, where a vector's rounding, shift and clamp could differ.
fn ends_equal<L: Lanes>(lanes: L) {
    const ENDS: [i32; PANEL] = [
        i32::MIN,
        i32::MIN + 1,
        i32::MAX,
        i32::MAX - 1,
        0,
        1,
        -1,
        1 << 30,
        -(1 << 30),
        1 << 16,
        -(1 << 16),
        0x7fff_8000,
        3,
        -3,
        255,
        -256,
    ];
    struct Ends<L>(L);
    impl<L: Lanes> Work for Ends<L> {
        type Output = ();

        fn run(self) {
            let lanes = self.0;
            for left in [0, 1, 15, 31] {
                for (turn, &end) in ENDS.iter().enumerate() {
                    let mut multiplier = ENDS;
                    multiplier.rotate_left(turn);
                    let sums = lanes.scale(lanes.less(lanes.load(&ENDS), turn as i32), left, &multiplier);
                    let want: [i32; PANEL] =
                        core::array::from_fn(|i| multiply_high(ENDS[i].wrapping_sub(turn as i32) << left, multiplier[i]));
                    let (mut numbers, mut shorts, mut bytes) = ([0; PANEL], [0i16; PANEL], [0i8; PANEL]);
                    lanes.store(sums, &mut numbers);
                    lanes.store_i16(sums, &mut shorts);
                    lanes.store_i8(sums, &mut bytes);
                    assert_eq!(numbers, want, "{}", L::NAME);
                    assert_eq!(shorts, want.map(i16::saturate), "{}", L::NAME);
                    assert_eq!(bytes, want.map(i8::saturate), "{}", L::NAME);
                    let table = core::array::from_fn(|i| (i % 251) as i8);
                    lanes.store_lookup(sums, &table, &mut bytes);
                    assert_eq!(bytes, want.map(|sum| table[sum.clamp(0, TABLE_LEN as i32 - 1) as usize]), "{}", L::NAME);
                    lanes.store(lanes.scale_all(lanes.load(&ENDS), end), &mut numbers);
                    assert_eq!(numbers, ENDS.map(|other| multiply_high(other, end)), "{}", L::NAME);
                }
            }
        }
    }
    lanes.run(Ends(lanes));
}

#[test]
fn numbers_at_the_ends_of_their_range() {
    with_every_back_end!(ends_equal);
}

/// Rows of softmax, with differences that wrap; what lies behind a row is left alone.
fn exponentials_equal<L: Lanes>(lanes: L) {
    struct Row<'a>(Exponentials<'a>, &'a [i32], &'a mut [i8]);
    impl Work for Row<'_> {
        type Output = u32;

        #[inline(always)]
        fn run(self) -> u32 {
            self.0.row_inline(self.1, self.2)
        }
    }
    let mut draws = Draws::new(Rng::new(22, 255), 0);
    for case in 0..300u32 {
        let mut score = |kind: u32| match kind {
            0 => [i32::MIN, i32::MAX, 0, -1][draws.below(4) as usize],
            _ => draws.u32() as i32 >> (8 * (kind - 1)),
        };
        let (multiplier, left) = ([i32::MIN, i32::MAX, score(2), score(3)][case as usize / 4 % 4], case % 32);
        let scores: Vec<i32> = (0..case % 133).map(|_| score(case % 4)).collect();
        let exponentials = Exponentials { table: &EXP, multiplier, left };
        let (mut wanted, mut found) = (vec![99; scores.len() + 1], vec![99; scores.len() + 1]);
        let sum = exponentials.row(&scores, &mut wanted);
        assert_eq!(lanes.run(Row(exponentials, &scores, &mut found)), sum, "{}, case {case}", L::NAME);
        assert!(wanted == found, "{}, case {case}", L::NAME);
    }
}

#[test]
fn rows_of_softmax_of_every_back_end_are_the_portable_ones() {
    with_every_back_end!(exponentials_equal);
}

/// The noise of a picture, many values side by side, from any start and across the ends of its counters.
fn noise_equal<L: Lanes>(lanes: L) {
    struct Noise<'a>(Rng, u64, &'a mut [i32]);
    impl Work for Noise<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            let noise = self.0.gaussians_q16(self.1).in_place();
            self.2.iter_mut().zip(noise).for_each(|(value, noise)| *value = noise);
        }
    }
    for (seed, stream) in [(0, 0), (42, 1), (u64::MAX, u64::MAX), (1 << 33, 1 << 40)] {
        let rng = Rng::new(seed, stream);
        for start in [0, 1, 2, 3, 63, 64, 1536, (1 << 34) - 70, (1 << 34) - 1] {
            let mut found = [0; 150];
            lanes.run(Noise(rng, start, &mut found));
            let wanted: [i32; 150] = core::array::from_fn(|i| rng.gaussian_q16(start + i as u64));
            assert_eq!(found, wanted, "{}, from {start} on", L::NAME);
        }
    }
}

#[test]
fn noise_of_every_back_end_is_the_same() {
    with_every_back_end!(noise_equal);
}

/// VPMADDUBSW saturates sums of two products at 16 bits; the cases see that.
#[test]
#[should_panic(expected = "model, raw")]
fn the_comparison_finds_errors() {
    products_equal(Model::<true>);
}
