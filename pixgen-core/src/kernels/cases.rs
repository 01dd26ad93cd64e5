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
        let (Some(x), Some(w)) = (Rows::new(x, x_stride, len, rows), Rows::new(w, w_stride, len, columns)) else {
            return Err(KernelMismatch { case, sink: "none", shape, place: 0 });
        };

        let mut bias = [0; MAX_COLUMNS];
        bias.fill_with(|| random.next() as i32 >> [8, 16][random.below(2)]);
        let mut multiplier = [0; MAX_ROWS];
        multiplier.fill_with(|| random.next() as i32 >> [0, 1, 4, 8][random.below(4)]);
        let left = random.below(9) as u32;
        let mut table = [0; TABLE_LEN];
        table.fill_with(|| random.next() as i8);
        let scratch = if random.below(4) == 0 {
            random.below(len)
        } else {
            scratch_words(len)
        };
        let sink = ["raw", "i8", "u8", "i16", "lookup", "row", "exponentials"][random.below(7)];
        let exp = core::array::from_fn(|_| random.next() as u8);

        let exponentials = Exponentials { table: &exp, multiplier: multiplier[0], left };
        let (bias, by_column, by_row) = (&bias[..columns], &multiplier[..columns], &multiplier[..rows]);
        let product = Product { x, w, bias, by_column, by_row, left, table: &table, exponentials, stride };
        let places = rows * stride;
        let [wanted, found] = &mut self.out;
        let (wanted, found) = (&mut wanted[..places], &mut found[..places]);
        let (bytes, shorts) = (&mut self.bytes[..places], &mut self.shorts[..places]);
        let sum = product.plain(sink, wanted);
        let place = if product.by::<K>(sink, &mut self.scratch[..scratch], found, bytes, shorts) == sum {
            wanted.iter().zip(&*found).position(|(wanted, found)| wanted != found)
        } else {
            Some(0)
        };
        place.map_or(Ok(()), |place| Err(KernelMismatch { case, sink, shape, place }))
    }
}

/// A product, with all that its sinks may ask for.
struct Product<'a> {
    x: Rows<'a>,
    w: Rows<'a>,
    bias: &'a [i32],
    by_column: &'a [i32],
    by_row: &'a [i32],
    left: u32,
    table: &'a [i8; TABLE_LEN],
    exponentials: Exponentials<'a>,
    stride: usize,
}

impl Product<'_> {
    /// What goes into `out`, by plain loops; 99 where nothing does. Returns the sum of exponentials.
    fn plain(&self, sink: &str, out: &mut [i32]) -> u32 {
        let &Self { left, stride, .. } = self;
        let sum = |t: usize, o: usize| -> i32 {
            let values = self.x.row(t).iter().zip(self.w.row(o));
            values.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
        };
        let scaled = |t: usize, o: usize| high(sum(t, o).wrapping_add(self.bias[o]) << left, self.by_column[o]);
        out.fill(99);
        for (t, row) in out.chunks_mut(stride).enumerate() {
            for (o, out) in row.iter_mut().enumerate().take(self.w.count()) {
                *out = match sink {
                    "i8" => scaled(t, o).clamp(-128, 127),
                    "u8" => scaled(t, o).clamp(0, 255),
                    "i16" => scaled(t, o).clamp(-32_768, 32_767),
                    "lookup" => i32::from(self.table[scaled(t, o).clamp(0, 1023) as usize]),
                    "row" => high(sum(t, o), self.by_row[t]).clamp(-128, 127),
                    _ => sum(t, o),
                };
            }
        }
        let mut total = 0;
        if sink == "exponentials" {
            // A row of scores: all that there are.
            let greatest = out.iter().copied().max().unwrap_or_default();
            for score in out {
                let place = high(greatest.wrapping_sub(*score) << left, self.exponentials.multiplier);
                let value = self.exponentials.table[if (0..255).contains(&place) { place as usize } else { 255 }];
                total += u32::from(value);
                *score = i32::from(value as i8);
            }
        }
        total
    }

    /// The same by a kernel.
    fn by<K: Kernel>(&self, sink: &str, scratch: &mut [u32], found: &mut [i32], bytes: &mut [i8], shorts: &mut [i16]) -> u32 {
        let &Self { x, w, bias, by_column: multiplier, left, table, stride, .. } = self;
        bytes.fill(99);
        match sink {
            "i8" => K::matmul(x, w, scratch, &mut Scaled { bias, multiplier, left, out: bytes, stride }),
            "u8" => {
                // Room for bytes without a sign.
                let unsigned = &mut [99u8; MAX_ROWS * (MAX_COLUMNS + 3)][..bytes.len()];
                K::matmul(x, w, scratch, &mut Scaled { bias, multiplier, left, out: unsigned, stride });
                copy(found, unsigned);
                return 0;
            }
            "i16" => {
                shorts.fill(99);
                K::matmul(x, w, scratch, &mut Scaled { bias, multiplier, left, out: shorts, stride });
                copy(found, shorts);
                return 0;
            }
            "lookup" => K::matmul(x, w, scratch, &mut Lookup { bias, multiplier, left, table, out: bytes, stride }),
            "row" => K::matmul(x, w, scratch, &mut RowScaled { multiplier: self.by_row, out: bytes, stride }),
            "exponentials" => {
                self.plain("raw", found);
                let sum = K::exponentials(&self.exponentials, found, bytes);
                copy(found, bytes);
                return sum;
            }
            _ => {
                found.fill(99);
                K::matmul(x, w, scratch, &mut Raw { out: found, stride });
                return 0;
            }
        }
        copy(found, bytes);
        0
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
