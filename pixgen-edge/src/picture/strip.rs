//! `strip.png`: the same latents over time, one row of samples per checkpoint.

use std::path::Path;

use super::error::PictureError;
use super::grid::GAP;
use super::png;
use super::raster::Picture;

/// Adds `row`, the samples after `images` images, at the bottom of the strip at `path`; makes the strip if there is none.
///
/// To be called before the checkpoint of the same number is saved. The images of each row are noted in the file. Rows of the same or a larger number come from a run that was interrupted and
/// resumed before them; they are replaced, so the strip ends up the same as without the interruption.
///
/// # Errors
/// [`PictureError::NotAStrip`] and [`PictureError::Decode`] for another picture in its place, [`PictureError::OtherRow`] for a row
/// of another size, and those of [`png::write`].
pub fn append(path: &Path, images: u64, row: &Picture) -> Result<(), PictureError> {
    let (mut keys, old) = if path.exists() {
        let (picture, keys) = read(path, row)?;
        (keys, Some(picture))
    } else {
        (Vec::new(), None)
    };
    keys.retain(|&key| key < images);
    let top = keys.len() * (row.height() + GAP);
    let mut strip = Picture::background(row.width(), top + row.height(), row.channels())?;
    if let Some(old) = old {
        strip.paste(&old.crop(top), 0, 0, 1);
    }
    strip.paste(row, 0, top, 1);
    keys.push(images);
    png::write(path, &strip, Some(&note(&keys)))
}

fn note(keys: &[u64]) -> String {
    let keys: Vec<String> = keys.iter().map(u64::to_string).collect();
    format!("strip {}", keys.join(","))
}

/// Reads a strip of rows like `row`, and the images of its rows.
fn read(path: &Path, row: &Picture) -> Result<(Picture, Vec<u64>), PictureError> {
    let not_a_strip = |reason| PictureError::NotAStrip { path: path.to_owned(), reason };
    let (strip, note) = png::read(path)?;
    let keys: Vec<u64> = note
        .as_deref()
        .and_then(|note| note.strip_prefix("strip "))
        .and_then(|keys| keys.split(',').map(|key| key.parse().ok()).collect())
        .ok_or_else(|| not_a_strip("it does not say what its rows are"))?;
    if !keys.is_sorted_by(|a, b| a < b) {
        return Err(not_a_strip("its rows are not in order"));
    }
    // keys is never empty: splitting gives at least one.
    let rows = keys.len();
    let pitch = (strip.height() + GAP) / rows;
    if !(strip.height() + GAP).is_multiple_of(rows) || pitch <= GAP {
        return Err(not_a_strip("its height is not that of its rows"));
    }
    let height = pitch - GAP;
    if (strip.width(), height, strip.channels()) != (row.width(), row.height(), row.channels()) {
        return Err(PictureError::OtherRow {
            path: path.to_owned(),
            found: row.size(),
            expected: format!("{} x {height} x {}", strip.width(), strip.channels()),
        });
    }
    Ok((strip, keys))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::raster::BACKGROUND;
    use super::*;

    fn row(value: u8) -> Picture {
        Picture::new(4, 3, 1, vec![value; 12]).unwrap()
    }

    fn strip(images: &[u64]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("strip.png");
        for &images in images {
            append(&path, images, &row(images as u8)).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn grows_by_a_row() {
        let (_folder, path) = strip(&[0, 10, 20]);
        let (picture, keys) = read(&path, &row(0)).unwrap();
        assert_eq!(keys, [0, 10, 20]);
        assert_eq!((picture.width(), picture.height()), (4, 3 * 3 + 2 * GAP));
        let column: Vec<u8> = (0..picture.height()).map(|y| picture.pixel(1, y)[0]).collect();
        let b = BACKGROUND;
        assert_eq!(column, [0, 0, 0, b, b, 10, 10, 10, b, b, 20, 20, 20]);
    }

    #[test]
    fn a_resumed_strip_equals_an_uninterrupted_one() {
        let (_folder, straight) = strip(&[0, 10, 20, 30]);
        let (_folder, resumed) = strip(&[0, 10, 20, 30, 10, 20, 20, 30]);
        assert_eq!(fs::read(straight).unwrap(), fs::read(resumed).unwrap());
        let (_folder, restarted) = strip(&[0, 10, 0]);
        assert_eq!(read(&restarted, &row(0)).unwrap().1, [0]);
    }

    #[test]
    fn other_pictures_are_errors_and_stay() {
        let (_folder, path) = strip(&[0]);
        let wide = Picture::new(5, 3, 1, vec![0; 15]).unwrap();
        let error = append(&path, 10, &wide).unwrap_err();
        assert!(error.to_string().contains("5 x 3 x 1") && error.to_string().contains("4 x 3 x 1"), "{error}");
        assert!(error.hint().unwrap().contains("strip.png"));
        for note in [
            None,
            Some("hello"),
            Some("strip "),
            Some("strip x"),
            Some("strip 2,1"),
            Some("strip 1,2"),
            Some("strip 1,2,3,4,5"),
        ] {
            png::write(&path, &row(7), note).unwrap();
            let before = fs::read(&path).unwrap();
            let error = append(&path, 10, &row(1)).unwrap_err();
            assert!(matches!(error, PictureError::NotAStrip { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), before);
        }
        fs::write(&path, b"no picture").unwrap();
        assert!(matches!(append(&path, 10, &row(1)), Err(PictureError::Decode { .. })));
    }
}
