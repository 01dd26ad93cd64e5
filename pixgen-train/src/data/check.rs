//! What a data set holds, before anyone trains on it: counts, classes, sizes, colours, bad files, copies, what was not used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use pixgen_edge::data::decode::decode;
use pixgen_edge::data::error::BadFile;
use pixgen_edge::data::idx::DataPart;
use pixgen_edge::data::listing::Listing;
use pixgen_edge::data::load::{Stored, has_test_part, open};
use pixgen_edge::data::{DataError, DataSource, Dataset, ImageShape, PassedOver, StorageKind};
use pixgen_edge::terminal::printable;
use pixgen_edge::units::counted;

/// Classes and sizes that [`DataReport`] prints; all of them are in its JSON.
const SHOWN: usize = 12;

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
    /// What lies beside the images and was not used.
    pub passed_over: PassedOver,
    /// Pictures whose pixels are the same.
    pub copies: CopyCount,
    /// Hash of the decoded pictures of each class, the same for every container; docs/reference/data.md says what enters.
    pub content_hash: String,
}

/// Pictures with exactly the pixels of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyCount {
    /// Pictures that repeat an earlier one.
    pub copies: usize,
    /// Pictures that are in another class too.
    pub across_classes: usize,
    /// Pictures of the test part that are among those to train on; none where there is no test part.
    pub across_parts: Option<usize>,
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
    hash: PictureHash,
}

/// The first half of a SHA-256.
type PictureHash = [u8; 16];

/// Looks at every image of `source`; transparent parts show `background`.
///
/// # Errors
/// Those of loading, except that bad files are listed and only a data set without any usable image is an error.
pub fn check(source: &DataSource, part: DataPart, background: [u8; 3]) -> Result<DataReport, DataError> {
    let (kind, stored) = open(source, part, false)?;
    let (class_names, facts, passed_over) = match stored {
        Stored::Files(listing) => facts_of_files(listing, background),
        Stored::Pixels(dataset) => facts_of(dataset),
    };
    let pictures: Vec<(u16, PictureHash)> = facts.iter().flatten().map(|fact| (fact.label, fact.hash)).collect();
    let mut copies = count_copies(&pictures);
    if part == DataPart::Train && has_test_part(source) {
        // A damaged test part is told by what measures with it.
        copies.across_parts = test_hashes(source).ok().map(|test| {
            let known: HashSet<PictureHash> = pictures.iter().map(|&(_, hash)| hash).collect();
            test.iter().filter(|hash| known.contains(*hash)).count()
        });
    }
    let content_hash = content_hash(class_names.len(), pictures);
    let report = DataReport {
        passed_over,
        copies,
        content_hash,
        ..DataReport::new(source.to_string(), kind, class_names, facts)
    };
    match report.bad.first() {
        Some(first) if report.images == 0 => {
            Err(DataError::BadFiles { first: first.clone(), count: report.bad.len(), total: report.bad.len() })
        }
        _ => Ok(report),
    }
}

/// The pictures of the test part.
fn test_hashes(source: &DataSource) -> Result<Vec<PictureHash>, DataError> {
    let (_, stored) = open(source, DataPart::Test, true)?;
    let Stored::Pixels(dataset) = stored else { return Ok(Vec::new()) };
    let hash = |index: usize| Ok(picture_hash(dataset.shape, &dataset.image(index)?));
    (0..dataset.len()).into_par_iter().map(hash).collect()
}

/// Size and pixels of a picture. One whose channels are all the same is grey, however its file stores it.
fn picture_hash(shape: ImageShape, pixels: &[u8]) -> PictureHash {
    let mut hasher = Sha256::new();
    hasher.update((shape.height as u64).to_le_bytes());
    hasher.update((shape.width as u64).to_le_bytes());
    let grey = shape.channels == 1 || pixels.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]);
    match (grey, shape.channels) {
        (true, 3) => hasher.update(pixels.iter().step_by(3).copied().collect::<Vec<u8>>()),
        _ => hasher.update(pixels),
    }
    let mut half = PictureHash::default();
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
}

/// Number of classes, then for each the number of its pictures and their hashes in the order of the hashes: containers keep pictures in
/// different orders.
fn content_hash(classes: usize, mut pictures: Vec<(u16, PictureHash)>) -> String {
    pictures.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update((classes as u64).to_le_bytes());
    for class in pictures.chunk_by(|a, b| a.0 == b.0) {
        hasher.update((class.len() as u64).to_le_bytes());
        class.iter().for_each(|(_, hash)| hasher.update(hash));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn count_copies(pictures: &[(u16, PictureHash)]) -> CopyCount {
    // Pictures, the first one's class, and whether another has one too.
    let mut groups: HashMap<PictureHash, (usize, u16, bool)> = HashMap::with_capacity(pictures.len());
    for &(label, hash) in pictures {
        let (count, first, across) = groups.entry(hash).or_insert((0, label, false));
        *count += 1;
        *across |= *first != label;
    }
    let across = groups.values().filter(|(_, _, across)| *across).map(|(count, _, _)| count).sum();
    CopyCount { copies: pictures.len() - groups.len(), across_classes: across, across_parts: None }
}

type AllFacts = (Vec<String>, Vec<Result<Facts, BadFile>>, PassedOver);

fn facts_of_files(listing: Listing, background: [u8; 3]) -> AllFacts {
    let labels = listing.labels();
    let look = |bytes: &mut Vec<u8>, index: usize| {
        listing.read(index, bytes)?;
        let image = decode(bytes, background).map_err(|reason| BadFile { path: listing.path(index), reason })?;
        Ok(Facts::new(labels[index], image.shape, image.mode, &image.pixels))
    };
    let facts = (0..listing.len()).into_par_iter().map_init(Vec::new, look).collect();
    (listing.class_names().to_vec(), facts, listing.passed_over().clone())
}

fn facts_of(dataset: Dataset) -> AllFacts {
    let mode = if dataset.shape.channels == 1 { "grey" } else { "rgb" };
    let facts = (0..dataset.len())
        .into_par_iter()
        .map(|index| Ok(Facts::new(dataset.labels[index], dataset.shape, mode, &dataset.image(index)?)))
        .collect();
    let passed = dataset.passed_over().clone();
    (dataset.class_names, facts, passed)
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
        Self { label, shape, mode, moments, hash: picture_hash(shape, pixels) }
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
        let (passed_over, copies, content_hash) = Default::default();
        Self {
            source,
            kind,
            images,
            classes,
            sizes,
            colour_modes,
            mean,
            std,
            bad,
            passed_over,
            copies,
            content_hash,
        }
    }
}

impl fmt::Display for CopyCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of another picture, pixel by pixel", counted(self.copies, "copy", "copies"))?;
        if self.across_classes > 0 {
            write!(f, "; {} in more than one class", counted(self.across_classes, "picture is", "pictures are"))?;
        }
        match self.across_parts {
            Some(number) if number > 0 => write!(f, "; {number} of the test part among those to train on"),
            _ => Ok(()),
        }
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
        writeln!(f, "source   {} ({kind})", printable(&self.source))?;
        writeln!(f, "images   {} usable, {} bad", self.images, self.bad.len())?;
        let classes = self.classes.iter().map(|class| format!("{} ({})", class.name, class.images));
        writeln!(f, "classes  {}: {}", self.classes.len(), listed(classes))?;
        let sizes = self.sizes.iter().map(|size| format!("{}x{} ({})", size.height, size.width, size.images));
        writeln!(f, "sizes    {}: {} (height x width)", self.sizes.len(), listed(sizes))?;
        let modes = self.colour_modes.iter().map(|(mode, images)| format!("{mode} {images}"));
        writeln!(f, "colours  {}", listed(modes))?;
        let numbers = |values: &[f64]| listed(values.iter().map(|v| format!("{v:.4}")));
        writeln!(f, "mean     {}", numbers(&self.mean))?;
        writeln!(f, "std      {}", numbers(&self.std))?;
        write!(f, "content  {}", self.content_hash)?;
        if self.copies != CopyCount::default() && (self.copies.copies > 0 || self.copies.across_parts > Some(0)) {
            write!(f, "\ncopies   {}", self.copies)?;
        }
        if !self.passed_over.is_empty() {
            write!(f, "\npassed over: {}", self.passed_over)?;
        }
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

    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;
    use pixgen_edge::data::{BadReason, BundledSet, WHITE};

    #[test]
    fn the_bundled_set_is_described() {
        let report = check(&DataSource::Bundled(BundledSet::FashionMnist), DataPart::Train, WHITE).unwrap();
        assert_eq!((report.images, report.classes.len()), (10_000, 10));
        // Published statistics of the full training set: mean 0.2860, std 0.3530.
        assert!((report.mean[0] - 0.286).abs() < 0.003, "{:?}", report.mean);
        assert!((report.std[0] - 0.353).abs() < 0.003, "{:?}", report.std);
        let text = report.to_string();
        assert!(text.contains("T-shirt/top (1000)"), "{text}");
        assert!(text.contains("28x28 (10000)"), "{text}");
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
        assert!(text.contains("b/2.png: the content is neither PNG nor JPEG, nor WebP, GIF, BMP, TIFF or PNM\n"), "{text}");
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
}
