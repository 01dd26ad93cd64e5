//! What a data set holds, before anyone trains on it: counts, classes, sizes, colours, bad files, a sheet of samples.

use std::collections::BTreeMap;
use std::fmt;

use image::{Rgb, RgbImage};
use rayon::prelude::*;
use serde::Serialize;

use pixgen_edge::data::decode::decode;
use pixgen_edge::data::error::BadFile;
use pixgen_edge::data::idx::DataPart;
use pixgen_edge::data::listing::Listing;
use pixgen_edge::data::load::{Stored, open};
use pixgen_edge::data::{DataError, DataSource, Dataset, ImageShape, StorageKind};

/// Classes and sizes that [`DataReport`] prints; all of them are in its JSON.
const SHOWN: usize = 12;
/// Pixels between the tiles of a contact sheet.
const GAP: usize = 2;
/// Tiles of a contact sheet are enlarged by a whole factor until their height reaches this.
const TILE: usize = 56;

/// A description of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataReport {
    /// Path, or `bundled`.
    pub source: String,
    /// How it is stored.
    pub kind: StorageKind,
    /// Usable images.
    pub images: usize,
    /// Usable images of each class, in label order.
    pub classes: Vec<ClassCount>,
    /// Native sizes, the most frequent first.
    pub sizes: Vec<SizeCount>,
    /// Colour modes of the files and their number.
    pub colour_modes: BTreeMap<String, usize>,
    /// Mean of each channel on the 0..1 scale at native size, every image with the same weight. One channel if all images are grey.
    pub mean: Vec<f64>,
    /// Standard deviation, likewise.
    pub std: Vec<f64>,
    /// Files that cannot be used, in sorted order.
    pub bad: Vec<BadFile>,
}

/// Images of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Its usable images.
    pub images: usize,
}

/// Images of a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Images of that size.
    pub images: usize,
}

/// What the report needs of one image.
struct Facts {
    label: u16,
    shape: ImageShape,
    mode: &'static str,
    /// Mean and mean square per channel; a grey image repeats its own.
    moments: [(f64, f64); 3],
}

/// Looks at every image of `source`; transparent parts show `background`.
///
/// # Errors
/// Those of loading, except that bad files are listed and only a data set without any usable image is an error.
pub fn check(source: &DataSource, part: DataPart, background: [u8; 3]) -> Result<DataReport, DataError> {
    let (kind, stored) = open(source, part)?;
    let (class_names, facts) = match stored {
        Stored::Files(listing) => facts_of_files(listing, background),
        Stored::Pixels(dataset) => facts_of(dataset),
    };
    let report = DataReport::new(source.to_string(), kind, class_names, facts);
    match report.bad.first() {
        Some(first) if report.images == 0 => {
            Err(DataError::BadFiles { first: first.clone(), count: report.bad.len(), total: report.bad.len() })
        }
        _ => Ok(report),
    }
}

/// Sample images, one row per class: the first `per_class` of each class, at most `max` in all. A single class is laid out as a square.
/// Images that cannot be read are passed over.
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
    let (width, height) = (columns * tile_width + GAP, rows * tile_height + GAP);
    let mut sheet = RgbImage::from_pixel(width as u32, height as u32, Rgb([128; 3]));
    for (pixels, (row, column)) in tiles {
        for y in 0..shape.height * zoom {
            for x in 0..shape.width * zoom {
                let at = ((y / zoom) * shape.width + x / zoom) * shape.channels;
                let colour = std::array::from_fn(|c| pixels[at + c.min(shape.channels - 1)]);
                let (left, top) = (column * tile_width + GAP + x, row * tile_height + GAP + y);
                sheet.put_pixel(left as u32, top as u32, Rgb(colour));
            }
        }
    }
    sheet
}

fn facts_of_files(listing: Listing, background: [u8; 3]) -> (Vec<String>, Vec<Result<Facts, BadFile>>) {
    let labels = listing.labels();
    let look = |bytes: &mut Vec<u8>, index: usize| {
        listing.read(index, bytes)?;
        let image = decode(bytes, background).map_err(|reason| BadFile { path: listing.path(index), reason })?;
        Ok(Facts::new(labels[index], image.shape, image.mode, &image.pixels))
    };
    let facts = (0..listing.len()).into_par_iter().map_init(Vec::new, look).collect();
    (listing.class_names().to_vec(), facts)
}

fn facts_of(dataset: Dataset) -> (Vec<String>, Vec<Result<Facts, BadFile>>) {
    let facts = (0..dataset.len())
        .into_par_iter()
        .map(|index| Ok(Facts::new(dataset.labels[index], dataset.shape, "grey", &dataset.image(index)?)))
        .collect();
    (dataset.class_names, facts)
}

impl Facts {
    fn new(label: u16, shape: ImageShape, mode: &'static str, pixels: &[u8]) -> Self {
        let count = (shape.height * shape.width) as f64;
        let moments = std::array::from_fn(|channel| {
            let channel = channel.min(shape.channels - 1);
            let (mut sum, mut squares) = (0u64, 0u64);
            for &value in pixels.iter().skip(channel).step_by(shape.channels) {
                sum += u64::from(value);
                squares += u64::from(value).pow(2);
            }
            (sum as f64 / (255.0 * count), squares as f64 / (255.0 * 255.0 * count))
        });
        Self { label, shape, mode, moments }
    }
}

impl DataReport {
    fn new(source: String, kind: StorageKind, class_names: Vec<String>, facts: Vec<Result<Facts, BadFile>>) -> Self {
        let mut classes: Vec<ClassCount> = class_names.into_iter().map(|name| ClassCount { name, images: 0 }).collect();
        let mut sizes = BTreeMap::new();
        let mut colour_modes = BTreeMap::new();
        let mut channels = 1;
        let mut sums = [(0.0, 0.0); 3];
        let mut images = 0usize;
        let mut bad = Vec::new();
        for fact in facts {
            let fact = match fact {
                Ok(fact) => fact,
                Err(file) => {
                    bad.push(file);
                    continue;
                }
            };
            images += 1;
            classes[usize::from(fact.label)].images += 1;
            *sizes.entry((fact.shape.height, fact.shape.width)).or_insert(0usize) += 1;
            *colour_modes.entry(fact.mode.to_string()).or_insert(0usize) += 1;
            channels = channels.max(fact.shape.channels);
            for (sum, moment) in sums.iter_mut().zip(fact.moments) {
                sum.0 += moment.0;
                sum.1 += moment.1;
            }
        }
        let mut sizes: Vec<SizeCount> = sizes
            .into_iter()
            .map(|((height, width), images)| SizeCount { height, width, images })
            .collect();
        sizes.sort_by_key(|size| std::cmp::Reverse(size.images));
        let n = images.max(1) as f64;
        let mean: Vec<f64> = sums[..channels].iter().map(|sum| sum.0 / n).collect();
        let std = sums
            .iter()
            .zip(&mean)
            .map(|(sum, mean)| (sum.1 / n - mean * mean).max(0.0).sqrt())
            .collect();
        Self { source, kind, images, classes, sizes, colour_modes, mean, std, bad }
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            StorageKind::Bundled => "inside the program",
            StorageKind::Idx => "IDX files",
            StorageKind::Folder => "image folder",
            StorageKind::Zip => "zip archive",
            StorageKind::Tar => "tar shards",
        };
        writeln!(f, "source   {} ({kind})", self.source)?;
        writeln!(f, "images   {} usable, {} bad", self.images, self.bad.len())?;
        let classes = self.classes.iter().map(|class| format!("{} {}", class.name, class.images));
        writeln!(f, "classes  {}: {}", self.classes.len(), listed(classes))?;
        let sizes = self.sizes.iter().map(|size| format!("{}x{} {}", size.height, size.width, size.images));
        writeln!(f, "sizes    {}: {} (height x width)", self.sizes.len(), listed(sizes))?;
        let modes = self.colour_modes.iter().map(|(mode, images)| format!("{mode} {images}"));
        writeln!(f, "colours  {}", listed(modes))?;
        let numbers = |values: &[f64]| listed(values.iter().map(|v| format!("{v:.4}")));
        writeln!(f, "mean     {}", numbers(&self.mean))?;
        write!(f, "std      {}", numbers(&self.std))?;
        if let Some(first) = self.bad.first() {
            write!(f, "\nbad      {first}")?;
            if self.bad.len() > 1 {
                write!(f, "\n         and {} more", self.bad.len() - 1)?;
            }
        }
        Ok(())
    }
}

/// The first items, separated by commas.
fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let total = items.len();
    let mut text = items.take(SHOWN).collect::<Vec<_>>().join(", ");
    if total > SHOWN {
        text.push_str(&format!(", and {} more", total - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, Luma};

    use super::*;
    use pixgen_edge::data::{BadReason, WHITE};

    #[test]
    fn the_bundled_set_is_described() {
        let report = check(&DataSource::Bundled, DataPart::Train, WHITE).unwrap();
        assert_eq!((report.images, report.classes.len()), (10_000, 10));
        // Published statistics of the full training set: mean 0.2860, std 0.3530.
        assert!((report.mean[0] - 0.286).abs() < 0.003, "{:?}", report.mean);
        assert!((report.std[0] - 0.353).abs() < 0.003, "{:?}", report.std);
        let text = report.to_string();
        assert!(text.contains("T-shirt/top 1000"), "{text}");
        assert!(text.contains("28x28 10000"), "{text}");
    }

    #[test]
    fn a_mixed_folder_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("a")).unwrap();
        fs::create_dir(at("b")).unwrap();
        GrayImage::from_pixel(4, 2, Luma([255])).save(at("a/1.png")).unwrap();
        RgbImage::from_pixel(4, 2, Rgb([255, 0, 0])).save(at("a/2.png")).unwrap();
        RgbImage::from_pixel(3, 3, Rgb([0, 255, 0])).save(at("b/1.png")).unwrap();
        fs::write(at("b/2.png"), b"text").unwrap();
        fs::write(at("b/3.png"), b"").unwrap();
        let report = check(&DataSource::Path(folder.path().into()), DataPart::Train, WHITE).unwrap();
        let counts: Vec<usize> = report.classes.iter().map(|class| class.images).collect();
        assert_eq!((report.images, counts), (3, vec![2, 1]));
        let sizes: Vec<_> = report.sizes.iter().map(|s| (s.height, s.width, s.images)).collect();
        assert_eq!(sizes, [(2, 4, 2), (3, 3, 1)]);
        assert_eq!(report.colour_modes["grey"], 1);
        assert_eq!(report.colour_modes["rgb"], 2);
        let expected = [2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0];
        for (found, expected) in report.mean.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{:?}", report.mean);
        }
        let text = report.to_string();
        assert!(text.contains("b/2.png: the content is neither PNG nor JPEG\n"), "{text}");
        assert!(text.ends_with("and 1 more"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["kind"], "folder");
        assert_eq!(json["bad"][0]["reason"]["kind"], "not-an-image");
        assert_eq!(report.bad[1].reason, BadReason::Empty);
    }

    #[test]
    fn a_folder_of_bad_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.png"), b"text").unwrap();
        let source = DataSource::Path(folder.path().into());
        let error = check(&source, DataPart::Train, WHITE).unwrap_err();
        assert!(matches!(error, DataError::BadFiles { count: 1, .. }), "{error}");
        let source = DataSource::Path(folder.path().join("x.png"));
        assert!(matches!(check(&source, DataPart::Train, WHITE), Err(DataError::NotAFolder { .. })));
    }

    #[test]
    fn long_lists_are_shortened() {
        assert_eq!(listed((0..3).map(|i| i.to_string())), "0, 1, 2");
        assert!(listed((0..20).map(|i| i.to_string())).ends_with("11, and 8 more"));
    }

    #[test]
    fn the_sheet_has_a_row_per_class() {
        let shape = ImageShape { height: 28, width: 28, channels: 1 };
        let labels = vec![0, 1, 1, 2, 0];
        let pixels = labels.iter().flat_map(|&l| vec![l as u8 * 10; shape.len()]).collect();
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let data = Dataset::new(shape, pixels, labels, names, "test".into()).unwrap();
        let sheet = contact_sheet(&data, 2, 100);
        assert_eq!(sheet.dimensions(), (2 * 58 + 2, 3 * 58 + 2));
        assert_eq!(sheet.get_pixel(2, 2).0, [0; 3]);
        assert_eq!(sheet.get_pixel(60, 60).0, [10; 3]);
        assert_eq!(sheet.get_pixel(2, 118).0, [20; 3]);
        // Class c has one image only.
        assert_eq!(sheet.get_pixel(60, 118).0, [128; 3]);
        // Whole rows up to `max` images.
        assert_eq!(contact_sheet(&data, 2, 5).dimensions(), (2 * 58 + 2, 2 * 58 + 2));
        assert_eq!(contact_sheet(&data, 0, 0).dimensions(), (2, 2));
    }

    #[test]
    fn one_class_makes_a_square() {
        let shape = ImageShape { height: 56, width: 56, channels: 3 };
        let data = Dataset::new(shape, vec![1; 5 * shape.len()], vec![0; 5], vec!["a".into()], "test".into()).unwrap();
        assert_eq!(contact_sheet(&data, 5, 9).dimensions(), (3 * 58 + 2, 2 * 58 + 2));
    }
}
