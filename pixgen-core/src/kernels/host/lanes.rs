//! What a vector extension does for the products of a host.

use crate::kernels::TABLE_LEN;
use bytemuck::Pod;

/// Outputs of a panel: the sums of one row and one panel lie side by side in vectors.
pub const PANEL: usize = 16;

/// Something to compute with the instructions of [`Lanes`]. `run` is `#[inline(always)]`, and so is what it calls: a function of its own
/// would be compiled without them.
pub trait Work {
    /// Its result.
    type Output;

    /// Computes it.
    fn run(self) -> Self::Output;
}

/// Vectors of 16 sums. A value of the type is the proof that the CPU has the instructions, so the methods are safe; they are to be called
/// inside [`run`](Self::run), where they become a few instructions each.
///
/// A way to multiply may count too much, as long as the excess is a sum of what depends on the row and what depends on the output: the
/// former comes from [`widen`](Self::widen), the latter from the packing ([`CROSSWISE`](Self::CROSSWISE)). Both are subtracted from
/// what sums start from, modulo 2^32.
pub trait Lanes: Copy + Send + Sync {
    /// Name, for logs and reports.
    const NAME: &'static str;
    /// Weights of an output that lie side by side in a panel, 2 or 4: `[K / GROUP][16 outputs][GROUP]`.
    const GROUP: usize;
    /// The weights of each four inputs are packed as w ^ `FLIP`.
    const FLIP: [i8; 4] = [0; 4];
    /// Whether [`tile`](Self::tile) counts x0 x2 + x1 x3 + w0 w2 + w1 w3 of each four values too much.
    const CROSSWISE: bool = false;
    /// Rows of a tile, at most [`MOST_ROWS`].
    const ROWS: usize;
    /// A value of a widened row.
    type Value: Pod;
    /// A weight of an expanded panel.
    type Weight: Pod;
    /// 16 sums of a row.
    type Sums: Copy;

    /// Runs `work` with the instructions.
    fn run<W: Work>(self, work: W) -> W::Output;

    /// Widens a row, with zeros behind it; returns what [`tile`](Self::tile) counts too much for this row in each of its sums. `out` has a
    /// multiple of 4 values, and no fewer than `row`.
    fn widen(self, row: &[i8], out: &mut [Self::Value]) -> i32;

    /// A packed panel as [`tile`](Self::tile) takes it: itself, or expanded into `scratch`, which has as many values.
    fn expand<'a>(self, panel: &'a [i8], scratch: &'a mut [i16]) -> &'a [Self::Weight];

    /// Adds to `sums` the products of R widened rows, `len` apart, and a panel. `len` is a multiple of 4; nothing happens where `x` or `w`
    /// are shorter than that asks for.
    fn tile<const R: usize>(self, x: &[Self::Value], len: usize, w: &[Self::Weight], sums: [Self::Sums; R]) -> [Self::Sums; R];

    /// 16 numbers.
    fn load(self, numbers: &[i32; PANEL]) -> Self::Sums;

    /// The numbers, less `less`.
    fn less(self, sums: Self::Sums, less: i32) -> Self::Sums;

    /// [`multiply_high`](crate::kernels::multiply_high) of each number, shifted to the left by `left` first, and its multiplier.
    fn scale(self, sums: Self::Sums, left: u32, multiplier: &[i32; PANEL]) -> Self::Sums;

    /// As [`scale`](Self::scale) with one multiplier and no shift.
    fn scale_all(self, sums: Self::Sums, multiplier: i32) -> Self::Sums;

    /// The numbers.
    fn store(self, sums: Self::Sums, out: &mut [i32; PANEL]);

    /// The numbers, clamped.
    fn store_i16(self, sums: Self::Sums, out: &mut [i16; PANEL]);

    /// The numbers, clamped.
    fn store_i8(self, sums: Self::Sums, out: &mut [i8; PANEL]);

    /// Entries of a table, with the numbers clamped to its places.
    fn store_lookup(self, sums: Self::Sums, table: &[i8; TABLE_LEN], out: &mut [i8; PANEL]);
}

/// A row whose values stay as they are, with zeros behind it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn copy(row: &[i8], out: &mut [i8]) {
    let (to, behind) = out.split_at_mut(row.len().min(out.len()));
    to.iter_mut().zip(row).for_each(|(to, &from)| *to = from);
    behind.fill(0);
}

/// The outputs of a panel that there are.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The first.
    pub first: usize,
    /// How many, at most 16.
    pub count: usize,
}

/// The most rows of a tile.
pub const MOST_ROWS: usize = 12;
