//! The bytes of a pickle, counted and bounded: no length in it is believed.

use super::{PickleError, Result};
use std::io::{self, BufRead, Read};

/// Bytes of a pickle. That of the largest published model takes 0.2 MB.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of a string.
const MAX_STRING: u64 = 1 << 20;

/// The pickle's bytes, counted.
pub(super) struct Input<'a, R> {
    inner: &'a mut R,
    offset: u64,
}

impl<'a, R: BufRead> Input<'a, R> {
    pub(super) fn new(inner: &'a mut R) -> Self {
        Self { inner, offset: 0 }
    }

    /// An error at the byte read last.
    pub(super) fn fail<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(PickleError::Bad(self.offset, what.into()))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.inner.read_exact(&mut bytes);
        self.count(read, N as u64)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_STRING {
            return self.fail(format!("a string of {len} bytes"));
        }
        let mut bytes = vec![0; len as usize];
        let read = self.inner.read_exact(&mut bytes);
        self.count(read, len)?;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, len: u64) -> Result<String> {
        let bytes = self.bytes(len)?;
        String::from_utf8(bytes).or_else(|_| self.fail("a string that is not UTF-8"))
    }

    /// Text up to the end of the line.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(MAX_STRING).read_until(b'\n', &mut bytes);
        self.count(read.map(|_| ()), bytes.len() as u64)?;
        if bytes.pop() != Some(b'\n') {
            return self.fail("a line without end");
        }
        String::from_utf8(bytes).or_else(|_| self.fail("a name that is not UTF-8"))
    }

    /// Takes note of what was read, or says why it was not.
    fn count(&mut self, read: io::Result<()>, len: u64) -> Result<()> {
        if let Err(error) = read {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => self.fail("it ends too early"),
                _ => self.fail(error.to_string()),
            };
        }
        self.offset += len;
        if self.offset > MAX_BYTES {
            return self.fail("more than 64 MiB without the numbers");
        }
        Ok(())
    }
}
