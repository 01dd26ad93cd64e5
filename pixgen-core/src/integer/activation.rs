//! Activations in the workspace of bytes.

use crate::workspace::Region;
use core::ops::Range;

/// How the values of an activation are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActKind {
    /// One byte.
    I8,
    /// Two bytes: the residual stream and what is added to it.
    I16,
    /// Nothing: condition and modulation are looked up in the file.
    Table,
}

/// An activation `[tokens, width]` in the workspace.
#[derive(Debug)]
pub struct IntegerAct {
    pub(super) region: Region,
    /// Byte of the first value.
    pub(super) offset: usize,
    pub(super) tokens: usize,
    pub(super) width: usize,
    pub(super) kind: ActKind,
}

impl IntegerAct {
    /// Values of a token.
    pub const fn width(&self) -> usize {
        self.width
    }

    pub(super) const fn len(&self) -> usize {
        self.tokens * self.width
    }

    pub(super) const fn bytes(&self) -> Range<usize> {
        let size = match self.kind {
            ActKind::I8 => 1,
            ActKind::I16 => 2,
            ActKind::Table => 0,
        };
        self.offset..self.offset + size * self.len()
    }

    /// Some of its rows.
    pub(super) const fn rows(&self, rows: &Range<usize>) -> Range<usize> {
        let all = self.bytes();
        let row = (all.end - all.start) / if self.tokens == 0 { 1 } else { self.tokens };
        all.start + rows.start * row..all.start + rows.end * row
    }
}

/// A kept activation at the low end, int8.
#[derive(Debug)]
pub struct IntegerSkip {
    pub(super) offset: usize,
    pub(super) width: usize,
}

/// A view of the values of an activation.
#[derive(Clone, Copy, Debug)]
pub enum ActValues<'a> {
    /// Input of a linear layer.
    I8(&'a [i8]),
    /// The residual stream, or what is added to it.
    I16(&'a [i16]),
}
