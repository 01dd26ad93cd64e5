//! Many samples in one picture.

use std::path::Path;

use super::error::PictureError;
use super::png;
use super::raster::Picture;
use super::text;

/// Pixels between two samples.
pub const GAP: usize = 2;
/// Pixels of a row of names, with a gap on either side.
const NAME_HEIGHT: usize = text::LETTER + 2 * GAP;
/// Brightness of names.
const INK: u8 = 255;
const NAMELESS: &[&str] = &[];

/// How samples are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Samples per row.
    pub columns: usize,
    /// Width and height of one pixel of a sample.
    pub scale: usize,
}

/// Ten to a row, pixel by pixel.
impl Default for Grid {
    fn default() -> Self {
        Self { columns: 10, scale: 1 }
    }
}

/// The most bytes of a grid.
const MOST_BYTES: usize = 1 << 30;

/// Height of a sample up to which its pixels are enlarged.
const VISIBLE: usize = 112;

impl Grid {
    /// Samples of `height` pixels, enlarged up to four times so that small ones can be looked at.
    pub fn enlarged(columns: usize, height: usize) -> Self {
        Self { columns, scale: (VISIBLE / height).clamp(1, 4) }
    }

    /// Width and height of a grid of `count` samples like one of these, without names.
    fn size(&self, count: usize, width: usize, height: usize) -> (usize, usize) {
        let columns = self.columns.clamp(1, count.max(1));
        let side = |count: usize, pixels: usize| {
            // Saturates only far beyond what a grid may be, which is then an error.
            count
                .saturating_mul(pixels.saturating_mul(self.scale).saturating_add(GAP))
                .saturating_sub(GAP)
        };
        (side(columns, width), side(count.div_ceil(columns), height))
    }

    /// Whether a grid can hold `count` samples of these sizes, before they are drawn.
    ///
    /// # Errors
    /// [`PictureError::LargeGrid`].
    pub fn check(&self, count: usize, width: usize, height: usize, channels: usize) -> Result<(), PictureError> {
        let (width, height) = self.size(count, width, height);
        if width.saturating_mul(height).saturating_mul(channels) > MOST_BYTES {
            return Err(PictureError::LargeGrid { pictures: count, width, height });
        }
        Ok(())
    }

    /// Lays `pictures` out row by row, [`GAP`] apart, with background in the places left over.
    ///
    /// # Errors
    /// [`PictureError::EmptyGrid`], [`PictureError::Unequal`], [`PictureError::LargeGrid`] and [`PictureError::Memory`].
    pub fn compose(&self, pictures: &[Picture]) -> Result<Picture, PictureError> {
        self.compose_named(pictures, NAMELESS)
    }

    /// The same with a name above each picture, cut to its width; `names` are theirs in order, or empty. Names that are the same in every
    /// row stand above the first row alone.
    ///
    /// # Errors
    /// Those of [`Grid::compose`].
    pub fn compose_named(&self, pictures: &[Picture], names: &[impl AsRef<str>]) -> Result<Picture, PictureError> {
        let Some(first) = pictures.first() else {
            return Err(PictureError::EmptyGrid);
        };
        if self.columns == 0 || self.scale == 0 {
            return Err(PictureError::EmptyGrid);
        }
        let unlike = pictures.iter().position(|picture| {
            (picture.width(), picture.height(), picture.channels()) != (first.width(), first.height(), first.channels())
        });
        if let Some(index) = unlike {
            return Err(PictureError::Unequal { index, found: pictures[index].size(), expected: first.size() });
        }

        self.check(pictures.len(), first.width(), first.height(), first.channels())?;
        let columns = self.columns.min(pictures.len());
        let rows = pictures.len().div_ceil(columns);
        let once = names
            .iter()
            .zip(names.iter().skip(columns))
            .all(|(above, below)| above.as_ref() == below.as_ref());
        let named_rows = match names {
            [] => 0,
            _ if once => 1,
            _ => rows,
        };
        let (width, height) = self.size(pictures.len(), first.width(), first.height());
        let height = height.saturating_add(named_rows.saturating_mul(NAME_HEIGHT));
        let mut page = Picture::background(width, height, first.channels())?;
        for (index, picture) in pictures.iter().enumerate() {
            let (row, width) = (index / columns, first.width() * self.scale);
            let left = index % columns * (width + GAP);
            let top = row * (first.height() * self.scale + GAP) + named_rows.min(row + 1) * NAME_HEIGHT;
            page.paste(picture, left, top, self.scale);
            if let Some(name) = names.get(index).filter(|_| row < named_rows) {
                // Half a letter keeps neighbours apart.
                let letters = width.saturating_sub(text::LETTER / 2) / text::LETTER;
                page.write(&text::shorten(name.as_ref(), letters), left, top - NAME_HEIGHT + GAP, 1, INK);
            }
        }
        Ok(page)
    }

    /// Writes the grid of `pictures` as PNG, atomically.
    ///
    /// # Errors
    /// Those of [`Grid::compose`] and [`png::write`].
    pub fn save(&self, path: &Path, pictures: &[Picture]) -> Result<(), PictureError> {
        self.save_named(path, pictures, NAMELESS)
    }

    /// The same with names as in [`Grid::compose_named`].
    ///
    /// # Errors
    /// Those of [`Grid::save`].
    pub fn save_named(&self, path: &Path, pictures: &[Picture], names: &[impl AsRef<str>]) -> Result<(), PictureError> {
        png::write(path, &self.compose_named(pictures, names)?, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::raster::BACKGROUND;
    use super::*;

    fn dot(value: u8) -> Picture {
        Picture::new(1, 1, 1, vec![value]).unwrap()
    }

    #[test]
    fn lays_out_rows_with_gaps() {
        let grid = Grid { columns: 2, scale: 1 };
        let page = grid.compose(&[dot(1), dot(2), dot(3)]).unwrap();
        let b = BACKGROUND;
        assert_eq!((page.width(), page.height()), (4, 4));
        assert_eq!(page.bytes(), [1, b, b, 2, b, b, b, b, b, b, b, b, 3, b, b, b]);
    }

    #[test]
    fn scales_and_narrows_to_what_there_is() {
        let grid = Grid { columns: 8, scale: 3 };
        let colour = Picture::new(2, 1, 3, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let page = grid.compose(&[colour]).unwrap();
        assert_eq!((page.width(), page.height(), page.channels()), (6, 3, 3));
        assert_eq!(page.rgb(2, 2), [1, 2, 3]);
        assert_eq!(page.rgb(3, 0), [4, 5, 6]);
    }

    #[test]
    fn names_stand_once_or_above_every_row() {
        let grid = Grid { columns: 2, scale: 16 };
        let pictures = [dot(1), dot(2), dot(3), dot(4)];
        let plain = grid.compose(&pictures).unwrap();
        let named = |names: &[&str]| grid.compose_named(&pictures, names).unwrap();
        let once = named(&["ab", "c", "ab", "c"]);
        assert_eq!((once.width(), once.height()), (plain.width(), plain.height() + NAME_HEIGHT));
        assert_eq!(once.bytes()[once.width() * NAME_HEIGHT..], *plain.bytes(), "the pictures lie below");
        assert!(once.bytes()[..once.width() * NAME_HEIGHT].contains(&INK));
        let every = named(&["ab", "c", "c", "ab"]);
        assert_eq!(every.height(), plain.height() + 2 * NAME_HEIGHT);
        // Names are cut to the width of their picture; a picture narrower than a letter has none.
        assert_eq!(named(&["abcdef", "c", "abcdef", "c"]), named(&["..", "c", "..", "c"]));
        let narrow = Grid { columns: 4, scale: 2 }.compose_named(&pictures, &["a"; 4]).unwrap();
        assert!(!narrow.bytes().contains(&INK));
    }

    #[test]
    fn unfit_pictures_are_errors() {
        let grid = Grid { columns: 2, scale: 1 };
        assert!(matches!(grid.compose(&[]), Err(PictureError::EmptyGrid)));
        let none = Grid { columns: 0, ..grid };
        assert!(matches!(none.compose(&[dot(1)]), Err(PictureError::EmptyGrid)));
        let wide = Picture::new(2, 1, 1, vec![0; 2]).unwrap();
        let error = grid.compose(&[dot(1), wide]).unwrap_err();
        assert_eq!(error.to_string(), "picture 1 of the grid is 2 x 1 x 1 but the first is 1 x 1 x 1");
        let huge = Grid { scale: usize::MAX, ..grid };
        assert!(matches!(huge.compose(&[dot(1)]), Err(PictureError::LargeGrid { .. })));
        // Before anything is drawn.
        let large = Grid::enlarged(1000, 64).check(1_000_000, 64, 64, 3).unwrap_err();
        assert!(large.hint().unwrap().contains("fewer") && large.to_string().contains("1000000 pictures"), "{large}");
        assert!(Grid::enlarged(10, 28).check(10_000, 28, 28, 1).is_ok());
    }

    #[test]
    fn saves_png() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        let grid = Grid { columns: 2, scale: 2 };
        let pictures = [dot(1), dot(200)];
        grid.save(&path, &pictures).unwrap();
        let (back, _) = png::read(&path).unwrap();
        assert_eq!(back, grid.compose(&pictures).unwrap());
    }
}
