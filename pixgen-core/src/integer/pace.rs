//! How a picture is cut into slices: an operation hands out pieces of its rows, and a slice takes pieces until it is full.
//!
//! A slice walks the network from the start. Pieces that earlier slices took are left out, those of later slices too; what remains of an
//! operation then is its book-keeping, a few dozen instructions. So the network needs no second form that can be left and entered again,
//! and the state between two slices is one number.

use core::ops::Range;

/// Work after which a slice is full, in multiply-accumulates; other work counts as what takes as long.
pub const SLICE_WORK: usize = 1 << 17;

/// The fewest rows of a matrix product that are taken at a time: fewer would read the weights too often and leave tiles empty.
pub(super) const LEAST_ROWS: usize = 6;

/// Work of one value in each kind of operation, in multiply-accumulates of a Cortex-M4.
pub(super) mod work {
    /// A Gaussian of the noise, and what is done with it.
    pub const NOISE: usize = 64;
    /// A normalised value.
    pub const NORM: usize = 20;
    /// A score of the attention map, besides its products.
    pub const SCORE: usize = 10;
    /// A value that is added, narrowed or copied.
    pub const MOVE: usize = 6;
    /// A byte of the picture, with the noise that some models add to it.
    pub const PIXEL: usize = 80;
}

/// Pieces of some rows, as ranges.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    next: usize,
    count: usize,
    rows: usize,
    work: usize,
}

impl Pieces {
    /// `count` rows of `work` each in pieces of `rows`.
    pub(super) const fn of(rows: usize, count: usize, work: usize) -> Self {
        Self { next: 0, count, rows: if rows == 0 { 1 } else { rows }, work }
    }

    /// As few pieces as a slice of `limit` allows, of about the same size and of no fewer than `least` rows.
    pub(super) const fn within(limit: usize, least: usize, count: usize, work: usize) -> Self {
        // A picture drawn at once need not ask what would fit.
        if limit == usize::MAX {
            return Self::of(count, count, work);
        }
        let fitting = limit / if work == 0 { 1 } else { work };
        let most = if fitting > least { fitting } else { least };
        let pieces = count.div_ceil(if most == 0 { 1 } else { most });
        Self::of(count.div_ceil(if pieces == 0 { 1 } else { pieces }), count, work)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.count.div_ceil(if self.rows == 0 { 1 } else { self.rows })
    }

    /// The next rows and their work.
    pub(super) fn take(&mut self) -> Option<(Range<usize>, usize)> {
        let start = self.next;
        if start >= self.count {
            return None;
        }
        self.next = self.count.min(start + self.rows);
        Some((start..self.next, (self.next - start).saturating_mul(self.work)))
    }
}

/// Which pieces belong to this slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    limit: usize,
    /// Pieces that were taken, by this slice and those before it.
    done: usize,
    /// Pieces that the network has come to.
    met: usize,
    spent: usize,
    full: bool,
}

impl Pace {
    /// A slice of `limit` after `done` pieces.
    pub(super) const fn new(limit: usize, done: usize) -> Self {
        Self { limit, done, met: 0, spent: 0, full: false }
    }

    /// Rows of an operation, `work` each.
    pub(super) const fn rows(&self, least: usize, count: usize, work: usize) -> Pieces {
        Pieces::within(self.limit, least, count, work)
    }

    /// The next piece that belongs to this slice.
    pub(super) fn next(&mut self, pieces: &mut Pieces) -> Option<Range<usize>> {
        if self.full {
            return None;
        }
        while let Some((rows, work)) = pieces.take() {
            let mine = self.met >= self.done;
            self.met = self.met.saturating_add(1);
            if mine && self.takes(work) {
                self.done = self.met;
                return Some(rows);
            }
        }
        None
    }

    /// Whether none of the next `count` pieces belongs to this slice; they are then left behind.
    pub(super) fn passes(&mut self, count: usize) -> bool {
        let met = self.met.saturating_add(count);
        let passed = self.full || met <= self.done;
        if passed {
            self.met = met;
        }
        passed
    }

    /// Whether an operation on `count` values, which is not divided, belongs to this slice.
    pub(super) fn whole(&mut self, count: usize, work: usize) -> bool {
        self.next(&mut Pieces::of(count, count, work)).is_some()
    }

    /// A slice takes one piece at least, however large.
    fn takes(&mut self, work: usize) -> bool {
        let spent = self.spent.saturating_add(work);
        self.full |= self.spent > 0 && spent > self.limit;
        if !self.full {
            self.spent = spent;
        }
        !self.full
    }

    /// Pieces that were taken so far; `None` when all of them were.
    pub(super) const fn rest(&self) -> Option<usize> {
        if self.full { Some(self.done) } else { None }
    }
}

/// Counts slices instead of drawing them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SliceCount {
    /// Slices that are full; the one at hand comes on top.
    pub full: usize,
    /// Work of the longest.
    pub longest: usize,
    spent: usize,
}

impl SliceCount {
    /// An operation's pieces, as [`Pace::next`] hands them out.
    pub(super) fn add(&mut self, mut pieces: Pieces) {
        while let Some((_, work)) = pieces.take() {
            let spent = self.spent.saturating_add(work);
            let full = self.spent > 0 && spent > SLICE_WORK;
            self.full += usize::from(full);
            self.spent = if full { work } else { spent };
            self.longest = self.longest.max(self.spent);
        }
    }
}
