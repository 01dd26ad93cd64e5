//! Pixels on their way to a display: bands of rows in the formats that displays take.

#[cfg(feature = "embedded-graphics")]
use embedded_graphics_core::prelude::*;
#[cfg(feature = "embedded-graphics")]
use embedded_graphics_core::{pixelcolor::Rgb888, primitives::Rectangle};

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

    /// Draws the band on a display, each pixel as a square of `scale` by `scale`. No buffer is needed: the display gets one stream of
    /// colours. A scale of 0 draws nothing.
    ///
    /// `top_left` is where the picture begins, not the band, so all bands of a picture take the same one.
    ///
    /// ```
    /// use embedded_graphics_core::{pixelcolor::Rgb888, prelude::*};
    /// use pixgen_core::pixels::Band;
    ///
    /// /// Puts a band of a 28x28 picture in the middle of a 240x240 display.
    /// fn show<D: DrawTarget<Color: From<Rgb888>>>(band: &Band, display: &mut D) -> Result<(), D::Error> {
    ///     band.draw(display, Point::new(8, 8), 8)
    /// }
    /// ```
    #[cfg(feature = "embedded-graphics")]
    pub fn draw<D>(&self, target: &mut D, top_left: Point, scale: u32) -> Result<(), D::Error>
    where
        D: DrawTarget,
        D::Color: From<Rgb888>,
    {
        let times = scale as usize;
        let row_len = self.width * self.channels;
        let rows = self.bytes.len() / row_len.max(1);
        let length = |pixels: usize| (pixels as u32).saturating_mul(scale);
        let corner = Point::new(top_left.x, top_left.y.saturating_add_unsigned(length(self.y)));
        let area = Rectangle::new(corner, Size::new(length(self.width), length(rows)));
        let colours = self.rows().flat_map(move |row| core::iter::repeat_n(row, times)).flat_map(move |row| {
            let pixels = Band { bytes: row, ..*self }.rgb888();
            pixels.flat_map(move |[r, g, b]| core::iter::repeat_n(D::Color::from(Rgb888::new(r, g, b)), times))
        });
        target.fill_contiguous(&area, colours)
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

    /// A target of 8x8 pixels that keeps what is drawn.
    #[cfg(feature = "embedded-graphics")]
    struct Canvas([[Rgb888; 8]; 8]);

    #[cfg(feature = "embedded-graphics")]
    impl OriginDimensions for Canvas {
        fn size(&self) -> Size {
            Size::new(8, 8)
        }
    }

    #[cfg(feature = "embedded-graphics")]
    impl DrawTarget for Canvas {
        type Color = Rgb888;
        type Error = core::convert::Infallible;

        fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
            for Pixel(point, colour) in pixels {
                if let (Ok(x @ 0..8), Ok(y @ 0..8)) = (usize::try_from(point.x), usize::try_from(point.y)) {
                    self.0[y][x] = colour;
                }
            }
            Ok(())
        }
    }

    #[test]
    #[cfg(feature = "embedded-graphics")]
    fn draws_squares_where_the_picture_lies() -> Result<(), core::convert::Infallible> {
        let (black, red, green, blue) = (Rgb888::BLACK, Rgb888::RED, Rgb888::GREEN, Rgb888::BLUE);
        let bytes = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 0, 0];
        for (top_left, scale) in [
            (Point::new(1, 0), 2),
            (Point::new(0, 5), 1),
            (Point::new(-1, -3), 3),
            (Point::zero(), 0),
        ] {
            let mut canvas = Canvas([[black; 8]; 8]);
            Band::new(1, 2, 3, &bytes).draw(&mut canvas, top_left, scale)?;
            // Pixel (x, y) of the canvas is part of pixel (column, row) of the picture; the band holds rows 1 and 2.
            for (y, row) in (0..).zip(canvas.0) {
                for (x, found) in (0..).zip(row) {
                    let cell = |at: i32, origin: i32| (at - origin).checked_div_euclid(scale as i32);
                    let want = match (cell(x, top_left.x), cell(y, top_left.y)) {
                        (Some(0), Some(1)) | (Some(1), Some(2)) => red,
                        (Some(1), Some(1)) => green,
                        (Some(0), Some(2)) => blue,
                        _ => black,
                    };
                    assert_eq!(found, want, "({x}, {y}) at {top_left}, scale {scale}");
                }
            }
        }
        Ok(())
    }
}
