//! Which images of a batch are a rank's.

use std::ops::Range;

/// Part number `rank` of `size` equal parts, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of the part, from 0.
    pub rank: usize,
    /// Number of parts.
    pub size: usize,
}

impl Default for Share {
    /// The whole.
    fn default() -> Self {
        Self { rank: 0, size: 1 }
    }
}

impl Share {
    /// The part of `count` things, which `size` divides.
    pub const fn of(&self, count: usize) -> Range<usize> {
        let each = count / self.size;
        self.rank * each..(self.rank + 1) * each
    }
}
