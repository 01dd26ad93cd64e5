//! Model files in memory.

use std::io;
use std::path::Path;

/// Bytes that begin at a multiple of 16, as a model file and a workspace do.
#[derive(Clone, Debug)]
pub struct AlignedBytes {
    words: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(size_of::<u128>())], len }
    }

    /// The content of a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let content = std::fs::read(path)?;
        let mut bytes = Self::zeroed(content.len());
        bytes.as_mut_slice().copy_from_slice(&content);
        Ok(bytes)
    }

    /// Leaves the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}
