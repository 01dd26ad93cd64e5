//! Memory for `.pxg` files and workspaces.

use crate::memory::{self, MemoryError, MemoryUse};

/// Bytes that begin at a multiple of 16, as the format asks for.
#[derive(Clone, Debug)]
pub struct AlignedBytes {
    words: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros, where they are few. Ends the process where there is no memory.
    pub fn zeroed(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(16)], len }
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// There is no memory.
    pub fn try_zeroed(purpose: MemoryUse, len: usize) -> Result<Self, MemoryError> {
        Ok(Self { words: memory::zeroed(purpose, len.div_ceil(16))?, len })
    }

    /// A copy of bytes, as [`zeroed`](Self::zeroed).
    pub fn copy(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.bytes_mut().copy_from_slice(bytes);
        copy
    }

    /// A copy of the bytes of a file.
    ///
    /// # Errors
    /// There is no memory.
    pub fn try_copy(bytes: &[u8]) -> Result<Self, MemoryError> {
        let mut copy = Self::try_zeroed(MemoryUse::File, bytes.len())?;
        copy.bytes_mut().copy_from_slice(bytes);
        Ok(copy)
    }

    /// Leaves the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}
