//! Which images of a batch are a rank's.

use std::ops::Range;

/// Part number `rank` of `size` parts, one after another.
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
    /// The part of `count` things: parts differ by one thing at most.
    pub const fn of(&self, count: usize) -> Range<usize> {
        self.rank * count / self.size..(self.rank + 1) * count / self.size
    }

    /// Whether it is all of it.
    pub const fn is_whole(&self) -> bool {
        self.size == 1
    }

    /// Length of the parts of `count` things that are cut at multiples of `unit` only; the last parts may be shorter.
    pub const fn length(&self, count: usize, unit: usize) -> usize {
        count.div_ceil(unit).div_ceil(self.size) * unit
    }

    /// The part of so many things.
    pub fn part(&self, count: usize, unit: usize) -> Range<usize> {
        let length = self.length(count, unit);
        (self.rank * length).min(count)..((self.rank + 1) * length).min(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_by_one() {
        for (count, size, lengths) in [
            (10, 4, vec![2, 3, 2, 3]),
            (10, 1, vec![10]),
            (3, 3, vec![1; 3]),
            (8, 2, vec![4; 2]),
            (1, 2, vec![0, 1]),
        ] {
            let parts: Vec<_> = (0..size).map(|rank| Share { rank, size }.of(count)).collect();
            assert_eq!(parts.iter().map(Range::len).collect::<Vec<_>>(), lengths);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
        }
    }

    #[test]
    fn parts_cover_everything_once() {
        for (count, unit, size) in [(1000, 1, 3), (1000, 256, 3), (1024, 256, 4), (300, 256, 8), (0, 1, 2), (7, 1, 1)] {
            let parts: Vec<_> = (0..size).map(|rank| Share { rank, size }.part(count, unit)).collect();
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
            assert_eq!((parts[0].start, parts[size - 1].end), (0, count));
            assert!(parts.iter().all(|part| part.start % unit == 0 || part.start == count), "{parts:?}");
        }
    }
}
