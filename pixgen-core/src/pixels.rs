//! Pixels on their way to a display: bands of rows in the formats that displays take.

/// Some rows of a picture, drawn just now.
#[derive(Clone, Copy, Debug)]
pub struct Band<'a> {
    y: usize,
    width: usize,
    channels: usize,
    bytes: &'a [u8],
}

impl<'a> Band<'a> {
    /// Rows from `y` on, `width` pixels of `channels` bytes each (1: grey, 3: red, green, blue).
    pub(crate) const fn new(y: usize, width: usize, channels: usize, bytes: &'a [u8]) -> Self {
        Self { y, width, channels, bytes }
    }

    /// Number of the first row, from the top.
    pub const fn y(&self) -> usize {
        self.y
    }

    /// Pixels in a row; as many as the whole picture has rows.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Bytes of a pixel: 1 or 3.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// The pixels, row by row.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The rows, from the top.
    pub fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks_exact((self.width * self.channels).max(1))
    }

    /// Each pixel as red, green, blue.
    pub fn rgb888(&self) -> impl Iterator<Item = [u8; 3]> + use<'a> {
        self.bytes.chunks_exact(self.channels.max(1)).map(|pixel| match *pixel {
            [r, g, b] => [r, g, b],
            _ => [pixel.first().copied().unwrap_or_default(); 3],
        })
    }

    /// Each pixel in 16 bits, red in the highest five; rounded to nearest.
    pub fn rgb565(&self) -> impl Iterator<Item = u16> + use<'a> {
        let scale = |value: u8, most: u32| (u32::from(value) * most + 127) / 255;
        self.rgb888()
            .map(move |[r, g, b]| (scale(r, 31) << 11 | scale(g, 63) << 5 | scale(b, 31)) as u16)
    }

    /// Each pixel as one grey value; colours are weighted 77, 150 and 29 parts of 256 (BT.601).
    pub fn grey(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.rgb888()
            .map(|[r, g, b]| ((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn formats() {
        let grey = Band::new(3, 2, 1, &[0, 255, 8, 100]);
        assert_eq!(grey.rgb888().collect::<Vec<_>>(), [[0; 3], [255; 3], [8; 3], [100; 3]]);
        assert_eq!(grey.rgb565().collect::<Vec<_>>(), [0, 0xffff, 1 << 11 | 2 << 5 | 1, 12 << 11 | 25 << 5 | 12]);
        assert_eq!(grey.grey().collect::<Vec<_>>(), [0, 255, 8, 100]);
        assert_eq!(grey.rows().collect::<Vec<_>>(), [&[0, 255][..], &[8, 100]]);
        let colour = Band::new(0, 1, 3, &[255, 0, 0, 0, 0, 255]);
        assert_eq!(colour.rgb565().collect::<Vec<_>>(), [0xf800, 0x001f]);
        assert_eq!(colour.grey().collect::<Vec<_>>(), [77, 29]);
    }
}
