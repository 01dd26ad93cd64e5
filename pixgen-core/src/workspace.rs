//! Where activations lie: one caller-given workspace, handed out from both ends.
//!
//! The residual stream and temporaries form a stack at the high end, long skips a stack at the low end. The reference computes in
//! the regions, the plan only counts them, and [`ModelConfig::workspace_len`] gives the high-water mark in closed form; a test holds
//! the three together.

use crate::config::{MLP_RATIO, ModelConfig};
use core::fmt;
use heapless::Vec;

/// Live regions at the high end at any time; the network needs eight.
const MAX_REGIONS: usize = 16;

/// The workspace is too small, or the interpreter was misused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WorkspaceError {
    /// More values are needed than the caller gave.
    TooSmall {
        /// Values needed at least.
        need: usize,
        /// Values given.
        have: usize,
    },
    /// More activations are alive than the book-keeping holds: the op sequence is not the network's.
    TooManyRegions,
}

impl fmt::Display for WorkspaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { need, have } => {
                write!(f, "workspace too small: {need} values needed, {have} given")
            }
            Self::TooManyRegions => write!(f, "more than {MAX_REGIONS} activations alive"),
        }
    }
}

impl core::error::Error for WorkspaceError {}

/// A piece of the high end, counted downwards from the end of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    start: usize,
    len: usize,
}

/// Book-keeping of a workspace of `capacity` values.
#[derive(Debug)]
pub(crate) struct Stack {
    capacity: usize,
    low: usize,
    mark: usize,
    /// Regions from the end of the workspace downwards, and whether they are in use.
    regions: Vec<(Region, bool), MAX_REGIONS>,
}

impl Stack {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { capacity, low: 0, mark: 0, regions: Vec::new() }
    }

    fn high(&self) -> usize {
        self.regions.last().map_or(0, |(r, _)| r.start + r.len)
    }

    fn reserve(&mut self, len: usize) -> Result<(), WorkspaceError> {
        let need = self.low + self.high() + len;
        if need > self.capacity {
            return Err(WorkspaceError::TooSmall { need, have: self.capacity });
        }
        self.mark = self.mark.max(need);
        Ok(())
    }

    /// Takes `len` values at the high end.
    pub(crate) fn push(&mut self, len: usize) -> Result<Region, WorkspaceError> {
        self.reserve(len)?;
        let region = Region { start: self.high(), len };
        self.regions.push((region, true)).map_err(|_| WorkspaceError::TooManyRegions)?;
        Ok(region)
    }

    /// Gives a region back. It becomes free when nothing newer is in use.
    pub(crate) fn release(&mut self, region: Region) {
        // The newest: regions of no length can be equal.
        if let Some(entry) = self.regions.iter_mut().rev().find(|(r, _)| *r == region) {
            entry.1 = false;
        }
        while self.regions.last().is_some_and(|(_, used)| !used) {
            self.regions.pop();
        }
    }

    /// Takes `len` values at the low end; returns their offset.
    pub(crate) fn push_low(&mut self, len: usize) -> Result<usize, WorkspaceError> {
        self.reserve(len)?;
        self.low += len;
        Ok(self.low - len)
    }

    /// Gives back everything at the low end from `offset` on.
    pub(crate) fn pop_low(&mut self, offset: usize) {
        self.low = offset;
    }

    /// The region of `len` values that was taken first.
    pub(crate) const fn bottom(&self, len: usize) -> Region {
        Region { start: 0, len }
    }

    /// Where a region begins.
    pub(crate) const fn offset(&self, region: Region) -> usize {
        self.capacity - region.start - region.len
    }

    /// Values in use now.
    pub(crate) fn in_use(&self) -> usize {
        self.low + self.high()
    }

    /// The most values in use so far.
    pub(crate) const fn mark(&self) -> usize {
        self.mark
    }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl ModelConfig {
    /// Values of the region that carries the residual stream through both towers.
    pub(crate) const fn stream_len(&self) -> usize {
        self.tokens() * max(self.encoder.width, self.decoder.width)
    }

    /// Workspace of the f32 interpreters for one picture, in values: the exact high-water mark of a forward pass.
    pub const fn workspace_len(&self) -> usize {
        let tokens = self.tokens();
        let (enc, dec) = (tokens * self.encoder.width, tokens * self.decoder.width);
        let (depth, stream) = (self.encoder.depth, self.stream_len());
        // A block above its stream: the normed input with qkv and a row of scores, or with the MLP's hidden layer.
        let enc_block = enc + max(3 * enc + tokens, MLP_RATIO * enc);
        let dec_block = 6 * self.decoder.width + dec + max(3 * dec + tokens, MLP_RATIO * dec);
        // The last block of the encoder runs above depth - 1 skips, and its output is then kept.
        let encoder = stream + (depth - 1) * enc + max(enc_block, enc);
        let bridge = if self.has_bridge() { stream + depth * enc + dec } else { 0 };
        // The first block of the decoder: [x ; skip] while the skip is still there, then the block without it.
        let c = self.encoder.width;
        let fuse = stream + depth * enc + c + enc + dec;
        let decoder = stream + (depth - 1) * enc + c + dec_block;
        // The stream, the patches, and the picture in row order.
        let output = stream + 2 * self.image_len();
        max(max(max(encoder, bridge), max(fuse, decoder)), output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_regions_do_not_pile_up() {
        let mut stack = Stack::new(0);
        let outer = stack.push(0).expect("room");
        for _ in 0..2 * MAX_REGIONS {
            let inner = stack.push(0).expect("room");
            stack.release(inner);
        }
        stack.release(outer);
        assert!(stack.regions.is_empty());
    }

    #[test]
    fn holes_close_when_the_top_goes() {
        let mut stack = Stack::new(100);
        let a = stack.push(10).expect("room");
        let b = stack.push(20).expect("room");
        let c = stack.push(30).expect("room");
        assert_eq!((stack.offset(a), stack.offset(b), stack.offset(c)), (90, 70, 40));
        stack.release(b);
        assert_eq!(stack.high(), 60);
        stack.release(c);
        assert_eq!(stack.high(), 10);
        assert_eq!(stack.push_low(40), Ok(0));
        assert_eq!(stack.push(51), Err(WorkspaceError::TooSmall { need: 101, have: 100 }));
        assert_eq!(stack.mark(), 60);
        stack.pop_low(0);
        stack.release(a);
        assert_eq!((stack.high(), stack.low), (0, 0));
    }
}
