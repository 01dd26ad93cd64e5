//! int8 matrix products of the integer interpreter, one implementation per kind of core (docs/reference/numerics.md section 4.3).
//!
//! All implementations give the same bits: sums are exact in i32, and what happens to a sum is fixed by its [`Sink`]. The
//! implementation is chosen when the crate is built (build.rs): [`Native`], whose name is [`NAME`]. [`portable`] is safe Rust and always
//! there, the others are checked against it.

mod exponentials;
mod multiply;
pub mod portable;
mod sink;
mod store;
#[cfg(any(test, not(kernel = "portable")))]
mod tile;

#[cfg(kernel = "armv6m")]
mod armv6m;
#[cfg(kernel = "armv7m")]
mod armv7m;
#[cfg(kernel = "dsp")]
mod dsp;
#[cfg(kernel = "mve")]
mod mve;
#[cfg(kernel = "mve")]
mod mve_store;
#[cfg(kernel = "riscv32")]
mod riscv32;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

pub use exponentials::Exponentials;
pub use multiply::multiply_high;
pub use sink::{Lookup, Raw, RowScaled, Saturate, Scaled, Sink, TABLE_LEN};

#[cfg(kernel = "armv6m")]
use armv6m::Armv6m as Chosen;
#[cfg(kernel = "armv7m")]
use armv7m::Armv7m as Chosen;
#[cfg(kernel = "dsp")]
use dsp::Dsp as Chosen;
#[cfg(kernel = "mve")]
use mve::Mve as Chosen;
#[cfg(kernel = "portable")]
use portable::Portable as Chosen;
#[cfg(kernel = "riscv32")]
use riscv32::Riscv32 as Chosen;

/// The implementation for this target.
pub type Native = Chosen;

/// Name of [`Native`], for logs and reports.
pub const NAME: &str = <Native as Kernel>::NAME;

/// Rows of int8 values in one slice: row r is `values[r * stride ..][.. len]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [i8],
    stride: usize,
    len: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows of `len` values, `stride` apart; `None` when they do not lie inside `values`.
    pub fn new(values: &'a [i8], stride: usize, len: usize, count: usize) -> Option<Self> {
        let last = count.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(len))?;
        (last <= values.len() && (len <= stride || count <= 1)).then_some(Self { values, stride, len, count })
    }

    /// Number of rows.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Values of a row.
    pub const fn row_len(&self) -> usize {
        self.len
    }

    /// `count` rows from `first` on; `None` when there are not as many.
    pub fn tail(&self, first: usize, count: usize) -> Option<Self> {
        let end = first.checked_add(count)?;
        let values = self.values.get(first.checked_mul(self.stride)?..)?;
        (end <= self.count).then_some(Self { values, count, ..*self })
    }

    /// Values between the starts of two rows.
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Address of row 0.
    #[cfg(any(test, not(kernel = "portable")))]
    pub(crate) const fn start(&self) -> *const i8 {
        self.values.as_ptr()
    }

    /// Row `r`; empty when there is none.
    pub fn row(&self, r: usize) -> &'a [i8] {
        let start = if r < self.count { r * self.stride } else { return &[] };
        self.values.get(start..start + self.len).unwrap_or_default()
    }
}

/// A matrix product for one kind of core.
pub trait Kernel {
    /// What `info` prints.
    const NAME: &'static str;

    /// Gives `sink` its start plus the sum over k of x\[t\]\[k\] w\[o\]\[k\] for every row t of `x` and o of `w`, exact modulo 2^32.
    ///
    /// Rows of `x` are as long as those of `w`; where they are not, the shorter length counts. `scratch` holds [`scratch_words`] words
    /// for that length; with fewer the product is slower. Fast where rows lie at multiples of 4 bytes and have a multiple of 4 values.
    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S);

    /// [`Exponentials::row`].
    fn exponentials(exponentials: &Exponentials<'_>, scores: &[i32], weights: &mut [i8]) -> u32 {
        exponentials.row(scores, weights)
    }
}

/// Words of scratch for [`Kernel::matmul`] over rows of `len` values: two rows of weights as 16-bit values.
pub const fn scratch_words(len: usize) -> usize {
    len
}
