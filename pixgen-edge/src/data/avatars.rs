//! The colour set inside the binary: 25,000 drawn avatars of 32x32, in five styles that their designers gave to everybody (CC0 1.0).
//!
//! `examples/bundle_avatars.rs` makes the file; data/avatars-25k/README.md says how, and whose styles these are.

use std::io::{self, Read};

use lzma_rust2::XzReader;

use crate::data::{DataError, DataPart, Dataset, ImageShape};

/// The styles, which are the classes, in label order.
pub const AVATAR_STYLES: [&str; 5] = ["lorelei", "notionists", "open-peeps", "pixel-art", "thumbs"];
/// Pictures of each style in the training part and, drawn from other seeds, in the test part.
pub const AVATARS_PER_STYLE: [usize; 2] = [4000, 1000];
/// Size of every picture.
pub const AVATAR_SHAPE: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };

/// Style by style the pixels of its training pictures, then of its test pictures, packed with xz.
static PIXELS: &[u8] = include_bytes!("../../data/avatars-25k/pixels.xz");

/// The avatars of a part; no picture occurs twice, in whichever part.
///
/// # Errors
/// Only if the file was damaged when the program was built.
pub fn avatars(part: DataPart) -> Result<Dataset, DataError> {
    let [training, test] = AVATARS_PER_STYLE;
    let (count, name) = match part {
        DataPart::Train => (training, "bundled avatars"),
        DataPart::Test => (test, "bundled avatars, test part"),
    };
    let mut pixels = Vec::with_capacity(AVATAR_STYLES.len() * count * AVATAR_SHAPE.len());
    read(part, &mut pixels).map_err(DataError::read(name.as_ref()))?;
    let labels = (0..AVATAR_STYLES.len() as u16)
        .flat_map(|style| std::iter::repeat_n(style, count))
        .collect();
    Dataset::new(AVATAR_SHAPE, pixels, labels, AVATAR_STYLES.map(String::from).to_vec(), name.to_owned())
}

fn read(part: DataPart, pixels: &mut Vec<u8>) -> io::Result<()> {
    let [training, test] = AVATARS_PER_STYLE.map(|count| (count * AVATAR_SHAPE.len()) as u64);
    let mut reader = XzReader::new(PIXELS, false);
    for _ in AVATAR_STYLES {
        for (of, length) in [(DataPart::Train, training), (DataPart::Test, test)] {
            let mut bytes = reader.by_ref().take(length);
            if of == part {
                bytes.read_to_end(pixels)?;
            } else {
                io::copy(&mut bytes, &mut io::sink())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn both_parts_hold_different_pictures_of_every_style() {
        let [training, test] = [DataPart::Train, DataPart::Test].map(|part| avatars(part).unwrap());
        assert_eq!(training.class_counts(), [4000; 5]);
        assert_eq!(test.class_counts(), [1000; 5]);
        // Shape, labels and every pixel.
        assert_eq!([training.fingerprint(), test.fingerprint()], ["0a54bedd524a8c63", "2a6065c49a62ee2d"]);
        let both: Vec<_> = [&training, &test].iter().map(|part| part.pixels().unwrap()).collect();
        let pictures = both.iter().flat_map(|pixels| pixels.chunks_exact(AVATAR_SHAPE.len()));
        assert_eq!(pictures.collect::<HashSet<_>>().len(), 25_000);
    }

    #[test]
    fn fits_in_a_crate_and_names_its_designers() {
        assert!(PIXELS.len() <= 2_500_000, "{}", PIXELS.len());
        let readme = include_str!("../../data/avatars-25k/README.md");
        for style in AVATAR_STYLES {
            let row = readme.lines().find(|line| line.starts_with(&format!("| {style} |"))).expect(style);
            assert!(row.contains("CC0 1.0") && row.matches("http").count() >= 2, "{row}");
        }
    }
}
