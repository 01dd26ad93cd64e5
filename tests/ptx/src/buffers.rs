//! Global memory: buffers far from each other, so that every access outside one is noticed.

use crate::fault::{FaultKind, Space};

/// What kernels read and write as global memory.
pub trait Memory {
    /// Reads from an address.
    ///
    /// # Errors
    /// It is in no buffer, or some of it was never written.
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), FaultKind>;

    /// Writes to an address.
    ///
    /// # Errors
    /// It is in no buffer.
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), FaultKind>;
}

/// A number of address bits that no buffer reaches.
const SPACING: u32 = 32;

/// A buffer of [`Buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferId(usize);

/// Global memory.
#[derive(Debug, Clone, Default)]
pub struct Buffers {
    buffers: Vec<Buffer>,
}

#[derive(Debug, Clone)]
struct Buffer {
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Buffers {
    /// A buffer with these bytes.
    pub fn filled(&mut self, bytes: Vec<u8>) -> BufferId {
        let written = vec![true; bytes.len()];
        self.buffers.push(Buffer { bytes, written });
        BufferId(self.buffers.len() - 1)
    }

    /// A buffer that nothing has been written to.
    pub fn empty(&mut self, bytes: usize) -> BufferId {
        self.buffers.push(Buffer { bytes: vec![0xcd; bytes], written: vec![false; bytes] });
        BufferId(self.buffers.len() - 1)
    }

    /// The bytes of a buffer.
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        &self.buffers[id.0].bytes
    }

    /// Whether a byte of a buffer was written.
    pub fn is_written(&self, id: BufferId, at: usize) -> bool {
        self.buffers[id.0].written[at]
    }

    /// The address of a buffer, as the argument of a kernel.
    pub fn argument(&self, id: BufferId) -> Vec<u8> {
        self.address(id).to_le_bytes().to_vec()
    }

    fn address(&self, id: BufferId) -> u64 {
        (id.0 as u64 + 1) << SPACING
    }

    fn place(&self, address: u64, bytes: usize) -> Result<(usize, usize), FaultKind> {
        let out = FaultKind::OutOfBounds { space: Space::Global, address, bytes };
        let index = (address >> SPACING).checked_sub(1).ok_or_else(|| out.clone())? as usize;
        let at = (address & ((1 << SPACING) - 1)) as usize;
        let fits = self.buffers.get(index).is_some_and(|buffer| at + bytes <= buffer.bytes.len());
        if fits { Ok((index, at)) } else { Err(out) }
    }
}

impl Memory for Buffers {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), FaultKind> {
        let (index, at) = self.place(address, into.len())?;
        let buffer = &self.buffers[index];
        if let Some(unwritten) = buffer.written[at..at + into.len()].iter().position(|written| !written) {
            return Err(FaultKind::Uninitialised { space: Space::Global, address: address + unwritten as u64 });
        }
        into.copy_from_slice(&buffer.bytes[at..at + into.len()]);
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), FaultKind> {
        let (index, at) = self.place(address, from.len())?;
        let buffer = &mut self.buffers[index];
        buffer.bytes[at..at + from.len()].copy_from_slice(from);
        buffer.written[at..at + from.len()].fill(true);
        Ok(())
    }
}
