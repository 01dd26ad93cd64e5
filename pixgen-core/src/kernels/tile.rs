//! The loops around a tile: a few rows times a few columns whose sums stay in registers.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;

use super::portable::Portable;
use super::{Kernel, Rows, Sink};

/// Rows whose sums are computed before a sink gets them. A multiple of every R.
const STRIP: usize = 18;

/// What a [`Tile`] computes: sums\[t\]\[o\] = start\[t\]\[o\] + sum over k of x\[t\]\[k\] w\[o\]\[k\], tile by tile. Assembly knows the
/// layout.
#[repr(C)]
pub(super) struct Strip {
    /// Row 0, or what [`Tile::prepare`] made of the rows.
    pub x: *const i8,
    /// Bytes from a row of x to the next.
    pub x_stride: usize,
    /// Weights, or what [`Tile::prepare`] made of them.
    pub w: *const i8,
    /// Bytes from a row of w to the next.
    pub w_stride: usize,
    /// Values of a row, above 0.
    pub len: usize,
    /// C sums of each row; the number of rows is a multiple of R, above 0.
    pub sums: *mut i32,
    /// End of the sums.
    pub end: *mut i32,
    /// What the R times C sums of every tile start from.
    pub start: *const i32,
    /// Sums of the first row that lies at `last`, where rows of x were prepared; the end when there is none.
    pub jump: *mut i32,
    /// A tile of x that does not lie behind the others.
    pub last: *const i8,
}

/// Assembly for R rows times C columns.
pub(super) trait Tile<const R: usize, const C: usize> {
    /// Lengths of rows are multiples of this.
    const STEP: usize;
    /// Addresses of rows are multiples of this.
    const ALIGN: usize;
    /// Words that [`Tile::prepare`] writes for each value of a row; 0 where weights are read as they are.
    const PREPARED: usize = 0;
    /// Whether rows of x are prepared like weights, as many as the scratch takes. R and C are equal then.
    const PREPARES_X: bool = false;

    /// Writes C rows of `len` weights, `stride` apart, to `out` in the form that [`Tile::run`] reads.
    ///
    /// # Safety
    /// The rows can be read, and [`PREPARED`](Self::PREPARED) `len` words can be written.
    unsafe fn prepare(_rows: *const i8, _stride: usize, _len: usize, _out: *mut u32) {}

    /// What [`Tile::run`] starts from where the sums of a row of x start from `start`.
    fn start(start: [i32; C], _len: usize) -> [i32; C] {
        start
    }

    /// Computes the sums of a strip, of rows of x that were prepared or of others.
    ///
    /// # Safety
    /// The rows of x and w and the start can be read, and the sums written. Lengths and addresses are as the constants above say.
    unsafe fn run(strip: &Strip, x_prepared: bool);
}

/// [`Kernel::matmul`] by tiles; shapes that do not suit them go to [`Portable`]. `own` is memory of the kernel besides the scratch, which may
/// be none.
#[inline(always)]
pub(super) fn product<T: Tile<R, C>, S: Sink, const R: usize, const C: usize>(
    x: Rows<'_>,
    w: Rows<'_>,
    scratch: &mut [u32],
    own: &mut [MaybeUninit<u32>],
    sink: &mut S,
) {
    let len = x.row_len().min(w.row_len());
    let aligned = |rows: Rows<'_>| (rows.start().addr() | rows.stride()).is_multiple_of(T::ALIGN);
    let suits = x.count() >= R && w.count() >= C && len > 0 && len.is_multiple_of(T::STEP) && aligned(x) && aligned(w);
    match Room::of(T::PREPARED * len, scratch, own) {
        Some(room) if suits && sink.holds(x.count(), w.count()) => {
            // SAFETY: all that it asks for was checked.
            unsafe { tiles::<T, S, R, C>(x, w, len, room, sink) }
        }
        _ => Portable::matmul(x, w, &mut [], sink),
    }
}

/// Memory for what tiles prepare.
struct Room {
    /// One tile of weights.
    weights: *mut u32,
    /// Tiles of x.
    x: *mut u32,
    /// How many.
    tiles: usize,
    /// One tile of x more, or null.
    last: *mut u32,
}

impl Room {
    /// Room for tiles of `words` words; `None` when there is none for the weights. They go to `own` where they fit.
    #[inline(always)]
    fn of(words: usize, scratch: &mut [u32], own: &mut [MaybeUninit<u32>]) -> Option<Self> {
        let first = own.as_mut_ptr().cast::<u32>();
        if words > own.len() || words == 0 {
            let (weights, rest) = scratch.split_at_mut_checked(words)?;
            return Some(Self {
                weights: weights.as_mut_ptr(),
                x: rest.as_mut_ptr(),
                tiles: rest.len().checked_div(words).unwrap_or_default(),
                last: ptr::null_mut(),
            });
        }
        Some(Self {
            weights: first,
            x: scratch.as_mut_ptr(),
            tiles: scratch.len() / words,
            last: if 2 * words <= own.len() {
                first.wrapping_add(words)
            } else {
                ptr::null_mut()
            },
        })
    }

    /// Tile `tile` of x, where there is room for it.
    #[inline(always)]
    fn x(&self, tile: usize, words: usize) -> Option<*mut u32> {
        if tile < self.tiles {
            Some(self.x.wrapping_add(tile * words))
        } else {
            (tile == self.tiles && !self.last.is_null()).then_some(self.last)
        }
    }

    /// Rows that there is room for, R in a tile.
    #[inline(always)]
    fn rows<const R: usize>(&self) -> usize {
        (self.tiles + usize::from(!self.last.is_null())) * R
    }
}

/// The product over `len` values of a row, `len` > 0.
///
/// # Safety
/// There are R rows of x and C of w at least, `len` long at least; they and `len` are as the tile asks for. `room` is for tiles that take
/// [`Tile::PREPARED`] `len` words. The sink holds all rows and columns.
#[inline(always)]
unsafe fn tiles<T: Tile<R, C>, S: Sink, const R: usize, const C: usize>(x: Rows<'_>, w: Rows<'_>, len: usize, room: Room, sink: &mut S) {
    let words = T::PREPARED * len;
    let ready = if T::PREPARES_X { room.rows::<R>().min(x.count()) } else { 0 };
    if ready > 0 {
        // SAFETY: the caller's.
        unsafe { prepare_x::<T, R, C>(x, len, &room) };
    }
    let mut sums = [[0; C]; STRIP];
    // The last columns and the last rows are moved back where they would reach over the end: their sums come twice.
    for first in (0..w.count()).step_by(C).map(|first| first.min(w.count() - C)) {
        let start = [T::start(sink.start(first), len); R];
        let mut from = w.start().wrapping_add(first * w.stride());
        if T::PREPARED > 0 {
            // SAFETY: first + C <= w.count(), and `weights` takes C rows.
            unsafe { T::prepare(from, w.stride(), len, room.weights) };
            from = room.weights.cast();
        }
        let mut row = 0;
        while row < x.count() {
            let prepared = row < ready;
            let left = if prepared { ready } else { x.count() } - row;
            let rows = (left.min(STRIP) / R * R).max(R);
            let top = row.min(x.count() - rows);
            let Some(sums) = sums.get_mut(..rows) else { return };
            let Range { start: first_sum, end } = sums.as_flattened_mut().as_mut_ptr_range();
            // Rows before those in the last tile.
            let before = (room.tiles * R).saturating_sub(row);
            let strip = Strip {
                x: match prepared {
                    true if before == 0 => room.last.cast(),
                    true => room.x.wrapping_add(row / R * words).cast(),
                    false => x.start().wrapping_add(top * x.stride()),
                },
                x_stride: x.stride(),
                w: from,
                w_stride: w.stride(),
                len,
                sums: first_sum,
                end,
                start: start.as_ptr().cast(),
                jump: if before > 0 && before < rows {
                    first_sum.wrapping_add(before * C)
                } else {
                    end
                },
                last: room.last.cast(),
            };
            // SAFETY: top + rows <= x.count() and first + C <= w.count(), so all rows are inside x and w or were prepared; the sink holds
            // them.
            unsafe {
                T::run(&strip, prepared);
                sink.put_held(top, first, sums);
            }
            row += rows;
        }
    }
}

/// Prepares tiles of x, as many as there is room for, the last moved back like that of [`tiles`].
///
/// # Safety
/// As [`tiles`].
#[inline(never)]
unsafe fn prepare_x<T: Tile<R, C>, const R: usize, const C: usize>(x: Rows<'_>, len: usize, room: &Room) {
    for tile in 0..x.count().div_ceil(R) {
        let Some(out) = room.x(tile, T::PREPARED * len) else { return };
        let top = (tile * R).min(x.count() - R);
        // SAFETY: top + R <= x.count(), and a tile takes R = C rows.
        unsafe { T::prepare(x.start().add(top * x.stride()), x.stride(), len, out) };
    }
}
