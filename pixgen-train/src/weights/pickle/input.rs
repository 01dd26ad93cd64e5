//! The bytes of a pickle, counted and bounded: no length in it is believed.

use crate::weights::error::{PickleError, PickleProblem};
use std::io::{self, BufRead, Read};

/// Bytes of a pickle. That of the largest published model takes 0.2 MB.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of a string.
const MAX_STRING: u64 = 1 << 20;

type Result<T> = std::result::Result<T, PickleError>;

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
    pub(super) fn fail<T>(&self, problem: PickleProblem) -> Result<T> {
        Err(PickleError::Bad(self.offset, problem))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.inner.read_exact(&mut bytes);
        self.count(read, N as u64)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// An unsigned number of `N` bytes, at most 8, lowest first.
    pub(super) fn number<const N: usize>(&mut self) -> Result<u64> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_STRING {
            return self.fail(PickleProblem::LongString(len));
        }
        let mut bytes = vec![0; len as usize];
        let read = self.inner.read_exact(&mut bytes);
        self.count(read, len)?;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, len: u64) -> Result<String> {
        let bytes = self.bytes(len)?;
        String::from_utf8(bytes).or_else(|_| self.fail(PickleProblem::NotUtf8))
    }

    /// Text up to the end of the line.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(MAX_STRING).read_until(b'\n', &mut bytes);
        self.count(read.map(|_| ()), bytes.len() as u64)?;
        if bytes.pop() != Some(b'\n') {
            return self.fail(PickleProblem::EndlessLine);
        }
        String::from_utf8(bytes).or_else(|_| self.fail(PickleProblem::NotUtf8))
    }

    /// Takes note of what was read, or says why it was not.
    fn count(&mut self, read: io::Result<()>, len: u64) -> Result<()> {
        if let Err(error) = read {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => self.fail(PickleProblem::EndsEarly),
                _ => self.fail(PickleProblem::Unreadable(error.to_string())),
            };
        }
        self.offset += len;
        if self.offset > MAX_BYTES {
            return self.fail(PickleProblem::TooLong);
        }
        Ok(())
    }
}
