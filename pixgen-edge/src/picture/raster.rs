//! A picture in memory.

use super::error::PictureError;
use crate::memory::{self, MemoryUse};

/// Brightness of gaps and empty places: neither ink nor paper of common data.
pub(super) const BACKGROUND: u8 = 96;

/// Grey or RGB bytes, rows of pixels of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    /// A picture of `bytes` in HWC order; `channels` is 1 (grey) or 3 (RGB).
    ///
    /// # Errors
    /// [`PictureError::Size`] and [`PictureError::Bytes`].
    pub fn new(width: usize, height: usize, channels: usize, bytes: Vec<u8>) -> Result<Self, PictureError> {
        if length(width, height, channels)? != bytes.len() {
            return Err(PictureError::Bytes { width, height, channels, bytes: bytes.len() });
        }
        Ok(Self { width, height, channels, bytes })
    }

    /// Square pictures of `size` x `size` x `channels` whose `bytes` lie one after another.
    ///
    /// # Errors
    /// [`PictureError::Size`]; [`PictureError::Bytes`] if the last picture is not whole; [`PictureError::Memory`].
    pub fn squares(bytes: &[u8], size: usize, channels: usize) -> Result<Vec<Self>, PictureError> {
        let pictures = bytes.chunks(length(size, size, channels)?);
        let copy = |bytes: &[u8]| {
            let mut copy = Vec::new();
            memory::reserve(MemoryUse::Pictures, &mut copy, bytes.len())?;
            copy.extend_from_slice(bytes);
            Self::new(size, size, channels, copy)
        };
        pictures.map(copy).collect()
    }

    /// A picture of one colour, [`BACKGROUND`].
    pub(super) fn background(width: usize, height: usize, channels: usize) -> Result<Self, PictureError> {
        let mut bytes = memory::zeroed(MemoryUse::Pictures, length(width, height, channels)?)?;
        bytes.fill(BACKGROUND);
        Self::new(width, height, channels, bytes)
    }

    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Values per pixel: 1 or 3.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, HWC.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.width * self.channels
    }

    /// `width x height x channels`, for messages.
    pub(super) fn size(&self) -> String {
        format!("{} x {} x {}", self.width, self.height, self.channels)
    }

    /// The channels of one pixel.
    pub(super) fn pixel(&self, x: usize, y: usize) -> &[u8] {
        &self.bytes[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// Makes one pixel grey; outside the picture nothing happens.
    pub(super) fn set(&mut self, x: usize, y: usize, brightness: u8) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * self.channels;
            self.bytes[at..at + self.channels].fill(brightness);
        }
    }

    /// Red, green and blue of one pixel.
    pub(super) fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        match *self.pixel(x, y) {
            [red, green, blue] => [red, green, blue],
            [grey, ..] => [grey; 3],
            [] => [0; 3],
        }
    }

    /// Copies `source`, with each pixel `scale` wide and high, so that its corner comes to (`left`, `top`).
    ///
    /// It must fit and have the same channels.
    pub(super) fn paste(&mut self, source: &Self, left: usize, top: usize, scale: usize) {
        for y in 0..source.height * scale {
            let start = ((top + y) * self.width + left) * self.channels;
            let row = &mut self.bytes[start..][..source.row_bytes() * scale];
            for (x, pixel) in row.chunks_exact_mut(self.channels).enumerate() {
                pixel.copy_from_slice(source.pixel(x / scale, y / scale));
            }
        }
    }

    /// The first `rows` rows.
    pub(super) fn crop(mut self, rows: usize) -> Self {
        self.height = rows.min(self.height);
        self.bytes.truncate(self.height * self.row_bytes());
        self
    }
}

/// How many bytes a picture has.
fn length(width: usize, height: usize, channels: usize) -> Result<usize, PictureError> {
    let size = || PictureError::Size { width, height, channels };
    // PNG counts pixels in 32 bits.
    let fits = |side: usize| side > 0 && u32::try_from(side).is_ok();
    if !fits(width) || !fits(height) || ![1, 3].contains(&channels) {
        return Err(size());
    }
    width
        .checked_mul(height)
        .and_then(|pixels| pixels.checked_mul(channels))
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or_else(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert!(Picture::new(2, 3, 1, vec![0; 6]).is_ok());
        assert!(Picture::new(2, 3, 3, vec![0; 18]).is_ok());
        let bytes = Picture::new(2, 3, 1, vec![0; 5]).unwrap_err();
        assert!(matches!(bytes, PictureError::Bytes { bytes: 5, .. }));
        for (width, height, channels) in [
            (0, 3, 1),
            (2, 0, 1),
            (2, 3, 2),
            (2, 3, 4),
            (usize::MAX, 2, 1),
            (4_000_000_000, 4_000_000_000, 3),
        ] {
            let error = Picture::new(width, height, channels, Vec::new()).unwrap_err();
            assert!(matches!(error, PictureError::Size { .. }), "{error}");
        }
    }

    #[test]
    fn cuts_a_row_of_squares() {
        let bytes: Vec<u8> = (0..24).collect();
        let pictures = Picture::squares(&bytes, 2, 3).unwrap();
        assert_eq!(pictures.len(), 2);
        assert_eq!(pictures[1], Picture::new(2, 2, 3, bytes[12..].to_vec()).unwrap());
        assert!(matches!(Picture::squares(&bytes[1..], 2, 3), Err(PictureError::Bytes { bytes: 11, .. })));
        assert!(matches!(Picture::squares(&bytes, 0, 3), Err(PictureError::Size { .. })));
    }

    #[test]
    fn pastes_and_crops() {
        let dot = Picture::new(2, 1, 1, vec![1, 2]).unwrap();
        let mut page = Picture::background(5, 3, 1).unwrap();
        page.paste(&dot, 1, 1, 2);
        let b = BACKGROUND;
        assert_eq!(page.bytes(), [b, b, b, b, b, b, 1, 1, 2, 2, b, 1, 1, 2, 2]);
        assert_eq!(page.rgb(1, 1), [1; 3]);
        let page = page.crop(1);
        assert_eq!((page.height(), page.bytes().len()), (1, 5));
    }
}
