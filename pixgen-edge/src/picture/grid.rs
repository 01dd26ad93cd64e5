//! Many samples in one picture.

use std::path::Path;

use super::error::PictureError;
use super::png;
use super::raster::Picture;

/// Pixels between two samples.
pub const GAP: usize = 2;

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

impl Grid {
    /// Lays `pictures` out row by row, [`GAP`] apart, with background in the places left over.
    ///
    /// # Errors
    /// [`PictureError::EmptyGrid`], [`PictureError::Unequal`] and [`PictureError::Size`].
    pub fn compose(&self, pictures: &[Picture]) -> Result<Picture, PictureError> {
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

        let columns = self.columns.min(pictures.len());
        let rows = pictures.len().div_ceil(columns);
        let side = |count: usize, pixels: usize| {
            // Saturates only far beyond what a picture may be, which is then an error.
            count
                .saturating_mul(pixels.saturating_mul(self.scale).saturating_add(GAP))
                .saturating_sub(GAP)
        };
        let mut page = Picture::background(side(columns, first.width()), side(rows, first.height()), first.channels())?;
        for (index, picture) in pictures.iter().enumerate() {
            let left = index % columns * (first.width() * self.scale + GAP);
            let top = index / columns * (first.height() * self.scale + GAP);
            page.paste(picture, left, top, self.scale);
        }
        Ok(page)
    }

    /// Writes the grid of `pictures` as PNG, atomically.
    ///
    /// # Errors
    /// Those of [`Grid::compose`] and [`png::write`].
    pub fn save(&self, path: &Path, pictures: &[Picture]) -> Result<(), PictureError> {
        png::write(path, &self.compose(pictures)?, None)
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
    fn unfit_pictures_are_errors() {
        let grid = Grid { columns: 2, scale: 1 };
        assert!(matches!(grid.compose(&[]), Err(PictureError::EmptyGrid)));
        let none = Grid { columns: 0, ..grid };
        assert!(matches!(none.compose(&[dot(1)]), Err(PictureError::EmptyGrid)));
        let wide = Picture::new(2, 1, 1, vec![0; 2]).unwrap();
        let error = grid.compose(&[dot(1), wide]).unwrap_err();
        assert_eq!(error.to_string(), "picture 1 of the grid is 2 x 1 x 1 but the first is 1 x 1 x 1");
        let huge = Grid { scale: usize::MAX, ..grid };
        assert!(matches!(huge.compose(&[dot(1)]), Err(PictureError::Size { .. })));
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
