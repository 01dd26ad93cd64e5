//! Instructions of products as models have them.

use core::hint::black_box;

use crate::kernels::{Kernel, Lookup, Native, Raw, RowScaled, Rows, Scaled, scratch_words};
use crate::meter::Meter;
use pixgen_core::Aligned;

/// What becomes of the sums.
#[derive(Clone, Copy)]
pub enum Output {
    /// `Scaled<i8>`
    Bytes,
    /// `Scaled<i16>`
    Shorts,
    /// `Lookup`
    Lookup,
    /// `Raw`, of two activations
    Raw,
    /// `RowScaled`, of two activations
    Row,
}

impl Output {
    /// Short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "i8",
            Self::Shorts => "i16",
            Self::Lookup => "lookup",
            Self::Raw => "raw",
            Self::Row => "row",
        }
    }
}

/// A product of `rows` tokens with `columns` rows of `len` values.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Shape {
    pub rows: usize,
    pub columns: usize,
    pub len: usize,
    pub sink: Output,
}

const fn shape(rows: usize, columns: usize, len: usize, sink: Output) -> Shape {
    Shape { rows, columns, len, sink }
}

/// Layers of a model with 18 tokens of 64 values and of one with 66 tokens of 96 values.
pub const SHAPES: [Shape; 9] = [
    shape(18, 192, 64, Output::Bytes),
    shape(18, 256, 64, Output::Lookup),
    shape(18, 64, 256, Output::Shorts),
    shape(66, 288, 96, Output::Bytes),
    shape(66, 96, 384, Output::Shorts),
    shape(66, 192, 192, Output::Bytes),
    shape(18, 18, 16, Output::Raw),
    shape(66, 66, 32, Output::Raw),
    shape(66, 32, 68, Output::Row),
];

static X: Aligned<[i8; 66 * 384]> = Aligned([3; 66 * 384]);
static W: Aligned<[i8; 288 * 192]> = Aligned([-2; 288 * 192]);
static BIAS: [i32; 288] = [700; 288];
static MULTIPLIER: [i32; 288] = [1 << 22; 288];
static TABLE: [i8; 1024] = [7; 1024];

/// Instructions of one product, call and stores included.
#[inline(never)]
pub fn instructions(meter: &Meter, Shape { rows, columns, len, sink }: Shape) -> u64 {
    let mut bytes = Aligned([0i8; 66 * 288]);
    let mut shorts = Aligned([0i16; 66 * 96]);
    let mut sums = [0i32; 66 * 66];
    let mut scratch = [0u32; scratch_words(384)];
    let (Some(x), Some(w)) = (Rows::new(black_box(&X.0), len, len, rows), Rows::new(black_box(&W.0), len, len, columns)) else {
        return 0;
    };
    let (bias, multiplier, left, stride) = (&BIAS[..columns], &MULTIPLIER[..columns], black_box(4), columns);
    let start = meter.instructions();
    match sink {
        Output::Bytes => Native::matmul(x, w, &mut scratch, &mut Scaled { bias, multiplier, left, out: &mut bytes.0, stride }),
        Output::Shorts => Native::matmul(x, w, &mut scratch, &mut Scaled { bias, multiplier, left, out: &mut shorts.0, stride }),
        Output::Lookup => {
            Native::matmul(x, w, &mut scratch, &mut Lookup { bias, multiplier, left, table: &TABLE, out: &mut bytes.0, stride });
        }
        Output::Raw => Native::matmul(x, w, &mut scratch, &mut Raw { out: &mut sums, stride }),
        Output::Row => Native::matmul(x, w, &mut scratch, &mut RowScaled { multiplier: &MULTIPLIER[..rows], out: &mut bytes.0, stride }),
    }
    let end = meter.instructions();
    black_box((&bytes, &shorts, &sums));
    end - start
}
