//! Random products against plain loops: what every [`Kernel`] must pass, on the host (tests.rs) and on the chip
//! (firmware-examples/kernel-conformance, which reads this file too).

use super::{Exponentials, Kernel, Lookup, Raw, RowScaled, Rows, Saturate, Scaled, TABLE_LEN, scratch_words};

/// Largest shape.
const MAX_ROWS: usize = 70;
const MAX_COLUMNS: usize = 12;
const MAX_LEN: usize = 272;
/// At least the scratch of every length.
const MAX_SCRATCH: usize = 2 * scratch_words(MAX_LEN);

/// A product that came out wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMismatch {
    /// Number of the case.
    pub case: u32,
    /// Sink.
    pub sink: &'static str,
    /// Rows of x, rows of w, values of a row.
    pub shape: [usize; 3],
    /// First wrong place of the output.
    pub place: usize,
}

/// Runs cases `0..count`; the first that fails.
pub fn check<K: Kernel>(count: u32) -> Result<(), KernelMismatch> {
    let mut buffers = CaseBuffers {
        x: [0; MAX_ROWS * (MAX_LEN + 16) + 4],
        w: [0; MAX_COLUMNS * (MAX_LEN + 16) + 4],
        scratch: [0; MAX_SCRATCH],
        out: [[0; MAX_ROWS * (MAX_COLUMNS + 3)]; 2],
        bytes: [0; MAX_ROWS * (MAX_COLUMNS + 3)],
        shorts: [0; MAX_ROWS * (MAX_COLUMNS + 3)],
    };
    (0..count).try_for_each(|case| buffers.check::<K>(case))
}

/// Aligned so that `x` and `w` start at a word.
#[repr(C, align(4))]
struct CaseBuffers {
    x: [i8; MAX_ROWS * (MAX_LEN + 16) + 4],
    w: [i8; MAX_COLUMNS * (MAX_LEN + 16) + 4],
    scratch: [u32; MAX_SCRATCH],
    /// Wanted and found.
    out: [[i32; MAX_ROWS * (MAX_COLUMNS + 3)]; 2],
    bytes: [i8; MAX_ROWS * (MAX_COLUMNS + 3)],
    shorts: [i16; MAX_ROWS * (MAX_COLUMNS + 3)],
}

impl CaseBuffers {
    fn check<K: Kernel>(&mut self, case: u32) -> Result<(), KernelMismatch> {
        let mut random = Random(case.wrapping_mul(0x9e37_79b9) | 1);
        // Half of the cases are as models have them: lengths in fours, aligned.
        let (fours, offset) = if random.below(2) == 0 { (4, 0) } else { (1, random.below(4)) };
        let shape @ [rows, columns, len] = [
            1 + random.below(MAX_ROWS),
            1 + random.below(MAX_COLUMNS),
            (1 + random.below(MAX_LEN / fours)) * fours,
        ];
        let x_stride = len + random.below(4) * fours;
        let w_stride = len + random.below(4) * fours;
        let stride = columns + random.below(4);
        // Some cases are all extremes.
        let byte = |random: &mut Random, extreme: bool| {
            if extreme {
                [-128, 127][random.below(2)]
            } else {
                random.next() as i8
            }
        };
        let extreme = random.below(8) == 0;
        self.x.iter_mut().chain(&mut self.w).for_each(|value| *value = byte(&mut random, extreme));
        let x = &self.x[offset..][..(rows - 1) * x_stride + len];
        let w = &self.w[offset..][..(columns - 1) * w_stride + len];
        let sum = |t: usize, o: usize| {
            (0..len)
                .map(|k| i32::from(x[t * x_stride + k]) * i32::from(w[o * w_stride + k]))
                .sum::<i32>()
        };
        let (Some(x), Some(w)) = (Rows::new(x, x_stride, len, rows), Rows::new(w, w_stride, len, columns)) else {
            return Err(KernelMismatch { case, sink: "none", shape, place: 0 });
        };

        let mut bias = [0; MAX_COLUMNS];
        bias.fill_with(|| random.next() as i32 >> [8, 16][random.below(2)]);
        let mut multiplier = [0; MAX_ROWS];
        multiplier.fill_with(|| random.next() as i32 >> [0, 1, 4, 8][random.below(4)]);
        let left = random.below(9) as u32;
        let (column_multiplier, bias) = (&multiplier[..columns], &bias[..columns]);
        let mut table = [0; TABLE_LEN];
        table.fill_with(|| random.next() as i8);
        let table = &table;

        let scaled = |t: usize, o: usize| high(sum(t, o).wrapping_add(bias[o]) << left, column_multiplier[o]);
        let places = rows * stride;
        let scratch = if random.below(4) == 0 {
            random.below(len)
        } else {
            scratch_words(len)
        };
        let scratch = &mut self.scratch[..scratch];
        let [wanted, found] = &mut self.out;
        let (wanted, found) = (&mut wanted[..places], &mut found[..places]);
        let (bytes, shorts) = (&mut self.bytes[..places], &mut self.shorts[..places]);
        wanted.fill(99);
        let mut want = |value: &dyn Fn(usize, usize) -> i32| {
            (0..rows * columns).for_each(|i| wanted[i / columns * stride + i % columns] = value(i / columns, i % columns));
        };
        let sink = ["raw", "i8", "u8", "i16", "lookup", "row", "exponentials"][random.below(7)];
        match sink {
            "raw" => {
                want(&|t, o| sum(t, o));
                found.fill(99);
                K::matmul(x, w, scratch, &mut Raw { out: found, stride });
            }
            "i8" => {
                want(&|t, o| scaled(t, o).clamp(-128, 127));
                bytes.fill(99);
                K::matmul(x, w, scratch, &mut Scaled { bias, multiplier: column_multiplier, left, out: bytes, stride });
                copy(found, bytes);
            }
            "u8" => {
                want(&|t, o| scaled(t, o).clamp(0, 255));
                // Room for bytes without a sign.
                let unsigned = &mut [99u8; MAX_ROWS * (MAX_COLUMNS + 3)][..places];
                K::matmul(x, w, scratch, &mut Scaled { bias, multiplier: column_multiplier, left, out: unsigned, stride });
                copy(found, unsigned);
            }
            "i16" => {
                want(&|t, o| scaled(t, o).clamp(-32_768, 32_767));
                shorts.fill(99);
                K::matmul(x, w, scratch, &mut Scaled { bias, multiplier: column_multiplier, left, out: shorts, stride });
                copy(found, shorts);
            }
            "lookup" => {
                want(&|t, o| i32::from(table[scaled(t, o).clamp(0, 1023) as usize]));
                bytes.fill(99);
                K::matmul(x, w, scratch, &mut Lookup { bias, multiplier: column_multiplier, left, table, out: bytes, stride });
                copy(found, bytes);
            }
            "exponentials" => {
                want(&|t, o| sum(t, o));
                // A row of scores: all that there are.
                let (table, multiplier) = (core::array::from_fn(|_| random.next() as u8), multiplier[0]);
                let count = K::exponentials(&Exponentials { table: &table, multiplier, left }, wanted, bytes);
                let greatest = wanted.iter().copied().max().unwrap_or_default();
                let mut total = 0;
                for score in &mut *wanted {
                    let place = high(greatest.wrapping_sub(*score) << left, multiplier);
                    let value = table[if (0..255).contains(&place) { place as usize } else { 255 }];
                    total += u32::from(value);
                    *score = i32::from(value as i8);
                }
                copy(found, bytes);
                if total != count {
                    found[0] = !wanted[0];
                }
            }
            _ => {
                want(&|t, o| high(sum(t, o), multiplier[t]).clamp(-128, 127));
                bytes.fill(99);
                K::matmul(x, w, scratch, &mut RowScaled { multiplier: &multiplier[..rows], out: bytes, stride });
                copy(found, bytes);
            }
        }
        match wanted.iter().zip(&*found).position(|(wanted, found)| wanted != found) {
            Some(place) => Err(KernelMismatch { case, sink, shape, place }),
            None => Ok(()),
        }
    }
}

fn copy<T: Saturate + Into<i32>>(out: &mut [i32], from: &[T]) {
    out.iter_mut().zip(from).for_each(|(out, &from)| *out = from.into());
}

/// (a b + 2^31) / 2^32, rounded down.
fn high(a: i32, b: i32) -> i32 {
    (i64::from(a) * i64::from(b) + (1 << 31)).div_euclid(1 << 32) as i32
}

/// Marsaglia's xorshift.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.wrapping_mul(0x9e37_79b1)
    }

    fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.next()) * end as u64) >> 32) as usize
    }
}
