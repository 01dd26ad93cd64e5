//! The self-test: does this machine draw the pictures that the exporter drew?

use super::draw::DrawRequest;
use super::{DrawError, SelfTestError};
use crate::pxg::Model;

impl Model<'_> {
    /// Draws a picture and returns the hash of its bytes.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn picture_hash(&self, request: &DrawRequest, workspace: &mut [u8]) -> Result<u64, DrawError> {
        let mut hash = PictureHash::new();
        self.draw(request, workspace, &mut |band| hash.update(band.bytes()))?;
        Ok(hash.value())
    }

    /// Draws the pictures of the file's self-test vectors and compares their hashes with the exporter's; returns how many there are.
    ///
    /// # Errors
    /// The first picture that differs or cannot be drawn, or a file without vectors.
    pub fn self_test(&self, workspace: &mut [u8]) -> Result<usize, SelfTestError> {
        self.self_test_with(|request| self.picture_hash(request, workspace))
    }

    /// The same by another way to draw: `hash` draws a picture and returns the [`PictureHash`] of its bytes.
    ///
    /// # Errors
    /// As [`self_test`](Self::self_test).
    #[inline]
    pub fn self_test_with(&self, mut hash: impl FnMut(&DrawRequest) -> Result<u64, DrawError>) -> Result<usize, SelfTestError> {
        let tests = usize::from(self.header().tests);
        if tests == 0 {
            return Err(SelfTestError::Missing);
        }
        for number in 0..tests {
            let (seed, class, expected) = self.test(number).ok_or(SelfTestError::Missing)?;
            let found = hash(&DrawRequest { class, seed, number: 0 })?;
            if found != expected {
                return Err(SelfTestError::Picture { number, expected, found });
            }
        }
        Ok(tests)
    }
}

/// FNV-1a, 64 bits: the hash of a picture's bytes, row by row, that host and chip compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureHash(u64);

impl PictureHash {
    /// The hash of no bytes.
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// The hash of all bytes so far.
    pub const fn value(&self) -> u64 {
        self.0
    }
}

impl Default for PictureHash {
    fn default() -> Self {
        Self::new()
    }
}
