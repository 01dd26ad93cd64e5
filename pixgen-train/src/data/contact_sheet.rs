//! A contact sheet: some pictures of every class of a data set, with the names of the classes.

use image::{Rgb, RgbImage};

use pixgen_edge::data::Dataset;
use pixgen_edge::picture::text::{LETTER, draw, shorten};

/// Pixels between the tiles.
const GAP: usize = 2;
/// Tiles are enlarged by a whole factor until their height reaches this.
const TILE: usize = 56;
/// Most letters of a name.
const NAME: usize = 16;

/// Sample images, one row per class behind its name: the first `per_class` of each class, at most `max` in all. A single class is laid
/// out as a square below its name. Images that cannot be read are passed over.
pub fn contact_sheet(dataset: &Dataset, per_class: usize, max: usize) -> RgbImage {
    let classes = dataset.class_names.len();
    let per_class = per_class.min(max);
    let columns = match classes {
        1 => (per_class.isqrt()..).find(|c| c * c >= per_class).unwrap_or(1),
        _ => per_class,
    };
    // Pixels, row and column of each tile.
    let mut shown = vec![0; classes];
    let mut tiles = Vec::new();
    for index in 0..dataset.len() {
        let class = usize::from(dataset.labels[index]);
        let within_max = (class + 1) * per_class <= max;
        if shown[class] < per_class
            && within_max
            && let Ok(pixels) = dataset.image(index)
        {
            let place = if classes == 1 {
                (shown[class] / columns, shown[class] % columns)
            } else {
                (class, shown[class])
            };
            tiles.push((pixels, place));
            shown[class] += 1;
        }
    }
    let rows = tiles.iter().map(|(_, (row, _))| row + 1).max().unwrap_or(0);

    let shape = dataset.shape;
    let zoom = TILE.div_ceil(shape.height);
    let (tile_height, tile_width) = (shape.height * zoom + GAP, shape.width * zoom + GAP);
    let (left, top) = margins(dataset, rows);
    let (width, height) = (left + columns * tile_width + GAP, top + rows * tile_height + GAP);
    let mut sheet = RgbImage::from_pixel(width as u32, height as u32, Rgb([128; 3]));
    for (class, name) in dataset.class_names.iter().enumerate().take(rows) {
        let down = if classes == 1 {
            GAP
        } else {
            class * tile_height + (tile_height - LETTER) / 2
        };
        write(&mut sheet, &shorten(name, NAME), GAP, down);
    }
    for (pixels, (row, column)) in tiles {
        for y in 0..shape.height * zoom {
            for x in 0..shape.width * zoom {
                let at = ((y / zoom) * shape.width + x / zoom) * shape.channels;
                let colour = std::array::from_fn(|c| pixels[at + c.min(shape.channels - 1)]);
                let (left, top) = (left + column * tile_width + GAP + x, top + row * tile_height + GAP + y);
                sheet.put_pixel(left as u32, top as u32, Rgb(colour));
            }
        }
    }
    sheet
}

/// The room for names, on the left or, for a single class, at the top.
fn margins(dataset: &Dataset, rows: usize) -> (usize, usize) {
    match dataset.class_names.len() {
        _ if rows == 0 => (0, 0),
        1 => (0, LETTER + GAP),
        _ => {
            let longest = dataset.class_names.iter().take(rows).map(|name| name.chars().count().min(NAME)).max();
            (longest.unwrap_or(0) * LETTER + GAP, 0)
        }
    }
}

fn write(sheet: &mut RgbImage, text: &str, left: usize, top: usize) {
    draw(text, 1, |x, y| {
        if let Some(pixel) = sheet.get_pixel_mut_checked((left + x) as u32, (top + y) as u32) {
            *pixel = Rgb([255; 3]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_edge::data::ImageShape;

    #[test]
    fn the_sheet_has_a_row_per_class() {
        let shape = ImageShape { height: 28, width: 28, channels: 1 };
        let labels = vec![0, 1, 1, 2, 0];
        let pixels = labels.iter().flat_map(|&l| vec![l as u8 * 10; shape.len()]).collect();
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let data = Dataset::new(shape, pixels, labels, names, "test".into()).unwrap();
        let sheet = contact_sheet(&data, 2, 100);
        assert_eq!(sheet.dimensions(), (10 + 2 * 58 + 2, 3 * 58 + 2));
        assert_eq!(sheet.get_pixel(12, 2).0, [0; 3]);
        assert_eq!(sheet.get_pixel(70, 60).0, [10; 3]);
        assert_eq!(sheet.get_pixel(12, 118).0, [20; 3]);
        let white =
            |across: std::ops::Range<u32>| sheet.enumerate_pixels().filter(|(x, _, p)| across.contains(x) && p.0 == [255; 3]).count();
        assert!(white(2..10) > 30 && white(10..200) == 0, "three letters on the left");
        // Class c has one image only.
        assert_eq!(sheet.get_pixel(70, 118).0, [128; 3]);
        // Whole rows up to `max` images.
        assert_eq!(contact_sheet(&data, 2, 5).dimensions(), (10 + 2 * 58 + 2, 2 * 58 + 2));
        assert_eq!(contact_sheet(&data, 0, 0).dimensions(), (2, 2));
    }

    #[test]
    fn one_class_makes_a_square() {
        let shape = ImageShape { height: 56, width: 56, channels: 3 };
        let data = Dataset::new(shape, vec![1; 5 * shape.len()], vec![0; 5], vec!["a".into()], "test".into()).unwrap();
        assert_eq!(contact_sheet(&data, 5, 9).dimensions(), (3 * 58 + 2, 10 + 2 * 58 + 2));
    }
}
