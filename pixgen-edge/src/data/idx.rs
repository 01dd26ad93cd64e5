//! IDX files, the format of MNIST, Fashion-MNIST, EMNIST and KMNIST: plain or packed with gzip.
//!
//! Images: magic 0x803, count, rows, columns (32-bit big-endian), then bytes. Labels: magic 0x801, count, then bytes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::data::class_names::settle;
use crate::data::labels::{LABEL_FILE, has_labels, label_file};
use crate::data::names::is_ignored;
use crate::data::passed::PassedOver;
use crate::data::shape::MAX_SIDE;
use crate::data::{DataError, Dataset, ImageShape, classes};

/// Class names of Fashion-MNIST, in label order.
pub const FASHION_MNIST_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// CRC-32 of the labels of Fashion-MNIST, one byte each: 60,000 for training, 10,000 to test, and the 10,000 in this program.
const FASHION_MNIST_LABELS: [u32; 3] = [0x2ED6_E46A, 0x242B_C73F, 0xA8FA_5302];

const IMAGE_MAGIC: u32 = 0x803;
const LABEL_MAGIC: u32 = 0x801;
/// Most bytes of pixels that a header may declare (16 GiB).
const MAX_BYTES: u64 = 1 << 34;
/// Most bytes that are reserved on the word of a header; beyond it memory grows with what the file really holds.
const MAX_RESERVE: u64 = 1 << 26;
const IMAGE_SUFFIXES: [&str; 2] = ["images-idx3-ubyte", "images.idx3-ubyte"];

/// A part of a data set that is published in two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataPart {
    /// Files with the word `train` or `training` in their names.
    #[default]
    Train,
    /// Files with the word `t10k`, `test` or `testing`, and without one of the others.
    Test,
}

impl DataPart {
    /// `train` or `test`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    fn matches(self, file_name: &str) -> bool {
        match self {
            Self::Train => has_word(file_name, &["train", "training"]),
            Self::Test => has_word(file_name, &["t10k", "test", "testing"]) && !Self::Train.matches(file_name),
        }
    }
}

/// Whether one of `words` stands in a name between other characters than letters; `test10k` has the word `test`, `latest` has not.
fn has_word(name: &str, words: &[&str]) -> bool {
    let is_word = |word: &str, at: usize| {
        let (before, after) = (&name[..at], &name[at + word.len()..]);
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphabetic)
    };
    words.iter().any(|word| name.match_indices(word).any(|(at, _)| is_word(word, at)))
}

/// The images of one file.
pub struct IdxImages {
    /// Rows, columns, and one channel.
    pub shape: ImageShape,
    /// One image after another.
    pub pixels: Vec<u8>,
    path: PathBuf,
    count: u32,
}

/// The labels of one file.
pub struct IdxLabels {
    /// One label per image.
    pub labels: Vec<u8>,
    path: PathBuf,
    count: u32,
}

/// Whether a folder holds an IDX image file of any part.
pub fn is_idx_folder(folder: &Path) -> Result<bool, DataError> {
    Ok(!image_files(folder)?.is_empty())
}

/// Whether a file's name says IDX.
pub fn is_idx_file(path: &Path) -> bool {
    let name = file_name(path);
    name.contains("idx") || name.ends_with("ubyte") || name.ends_with(".gz")
}

/// Whether a folder holds an image file of a part.
pub(crate) fn has_part(folder: &Path, part: DataPart) -> bool {
    image_files(folder).is_ok_and(|files| files.iter().any(|path| part.matches(&file_name(path))))
}

/// What lies in a folder beside the IDX files of both parts; nothing beside a single file. `named`: whether `dataset.json` has the names.
fn passed_over(path: &Path, named: bool) -> Result<PassedOver, DataError> {
    let mut passed = PassedOver::default();
    if !path.is_dir() {
        return Ok(passed);
    }
    let images = [DataPart::Train, DataPart::Test].into_iter().filter_map(|part| choose(path, part).ok());
    let used: Vec<PathBuf> = images.flat_map(|images| [label_file_of(&images).ok(), Some(images)]).flatten().collect();
    for entry in fs::read_dir(path).map_err(DataError::read(path))? {
        let path = entry.map_err(DataError::read(path))?.path();
        if path.file_name().is_some_and(is_ignored) {
            passed.hidden += 1;
        } else if path.is_dir() {
            passed.folders += 1;
        } else if path.file_name().is_some_and(|name| name == LABEL_FILE) {
            let labels = fs::read(&path).is_ok_and(|bytes| has_labels(&bytes));
            if labels || !named {
                passed.count(&path);
            }
            passed.unused_labels += usize::from(labels);
        } else if !used.contains(&path) {
            passed.count(&path);
        }
    }
    Ok(passed)
}

/// Loads the data set at `path`: an image file, or a folder that holds exactly one image file of `part`. With `relabel`, gaps in the
/// labels are closed.
///
/// Classes are named by a `dataset.json` beside the files. Without one, the labels of Fashion-MNIST, known by their check sums, have its
/// names; other classes are named by their numbers.
///
/// # Errors
/// Files that are damaged or do not belong together; labels with gaps.
pub fn load(path: &Path, part: DataPart, relabel: bool) -> Result<Dataset, DataError> {
    let image_file = if path.is_dir() { choose(path, part)? } else { path.to_path_buf() };
    let images = read_images(open(&image_file)?, &image_file)?;
    let label_file = label_file_of(&image_file)?;
    let labels = read_labels(open(&label_file)?, &label_file)?;

    let listed = class_names(&image_file)?;
    let named = listed.is_some();
    let names = match listed {
        Some(names) => Some(names),
        None if FASHION_MNIST_LABELS.contains(&crc32fast::hash(&labels.labels)) => Some(FASHION_MNIST_CLASSES.map(String::from).to_vec()),
        None => None,
    };
    check_counts(&images, &labels)?;
    let numbers: Vec<u32> = labels.labels.iter().copied().map(u32::from).collect();
    let (class_names, labels) = classes::number(&image_file, &numbers, names, relabel)?;
    let class_names = settle(&image_file, class_names)?;
    let dataset = Dataset::new(images.shape, images.pixels, labels, class_names, image_file.display().to_string())?;
    Ok(dataset.beside(passed_over(path, named)?))
}

/// The names in a `dataset.json` beside the files.
fn class_names(image_file: &Path) -> Result<Option<Vec<String>>, DataError> {
    let path = image_file.with_file_name(LABEL_FILE);
    let Ok(bytes) = fs::read(&path) else { return Ok(None) };
    let labels = label_file(&bytes).map_err(|what| DataError::archive(&path, &what, "write {\"classes\": [..]}"))?;
    Ok(labels.and_then(|labels| labels.classes))
}

/// Reads an image file; `path` is only for messages.
pub fn read_images(reader: impl BufRead, path: &Path) -> Result<IdxImages, DataError> {
    let mut reader = Unpacked::new(reader, path)?;
    let [count, height, width] = reader.header(IMAGE_MAGIC, "image")?;
    let size = u64::from(height) * u64::from(width);
    let side = |n: u32| (1..=MAX_SIDE as u32).contains(&n);
    let total = size.checked_mul(u64::from(count));
    let Some(total) = total.filter(|&n| side(height) && side(width) && n > 0 && n <= MAX_BYTES) else {
        return Err(DataError::IdxSize { path: path.to_path_buf(), count, height, width });
    };
    Ok(IdxImages {
        shape: ImageShape { height: height as usize, width: width as usize, channels: 1 },
        pixels: reader.body(16, total)?,
        path: path.to_path_buf(),
        count,
    })
}

/// Reads a label file; `path` is only for messages.
pub fn read_labels(reader: impl BufRead, path: &Path) -> Result<IdxLabels, DataError> {
    let mut reader = Unpacked::new(reader, path)?;
    let [count] = reader.header(LABEL_MAGIC, "label")?;
    Ok(IdxLabels { labels: reader.body(8, u64::from(count))?, path: path.to_path_buf(), count })
}

/// Puts images and labels of the same number together.
pub fn join(images: IdxImages, labels: IdxLabels, class_names: Vec<String>, source: String) -> Result<Dataset, DataError> {
    check_counts(&images, &labels)?;
    let labels = labels.labels.into_iter().map(u16::from).collect();
    Dataset::new(images.shape, images.pixels, labels, class_names, source)
}

fn check_counts(images: &IdxImages, labels: &IdxLabels) -> Result<(), DataError> {
    match images.count == labels.count {
        true => Ok(()),
        false => Err(DataError::IdxCounts {
            image_file: images.path.clone(),
            label_file: labels.path.clone(),
            images: images.count,
            labels: labels.count,
        }),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    File::open(path).map(BufReader::new).map_err(DataError::read(path))
}

/// IDX image files of a folder, sorted; of a plain file and its packed twin only the plain one.
fn image_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let path = entry.map_err(DataError::read(folder))?.path();
        let name = file_name(&path);
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if IMAGE_SUFFIXES.iter().any(|suffix| plain.ends_with(suffix)) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    let plain: Vec<String> = found.iter().map(|path| file_name(path)).collect();
    found.retain(|path| {
        file_name(path)
            .strip_suffix(".gz")
            .is_none_or(|twin| !plain.iter().any(|name| name == twin))
    });
    Ok(found)
}

fn choose(folder: &Path, part: DataPart) -> Result<PathBuf, DataError> {
    let mut found = image_files(folder)?;
    found.retain(|path| part.matches(&file_name(path)));
    match <[PathBuf; 1]>::try_from(found) {
        Ok([file]) => Ok(file),
        Err(found) => Err(DataError::IdxChoice {
            path: folder.to_path_buf(),
            part: part.name(),
            found: found.iter().map(|path| file_name(path)).collect(),
        }),
    }
}

/// The label file beside an image file: `images` becomes `labels` and `idx3` becomes `idx1`; packed or plain.
fn label_file_of(image_file: &Path) -> Result<PathBuf, DataError> {
    let name = image_file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = wanted.strip_suffix(".gz").unwrap_or(&wanted).to_string();
    let packed = format!("{plain}.gz");
    [&wanted, &plain, &packed]
        .into_iter()
        .filter(|candidate| **candidate != name)
        .map(|candidate| image_file.with_file_name(candidate))
        .find(|path| path.is_file())
        .ok_or_else(|| DataError::IdxNoLabels { image_file: image_file.to_path_buf(), wanted: image_file.with_file_name(&plain) })
}

/// A stream of unpacked bytes.
struct Unpacked<'a, R: BufRead> {
    reader: Stream<R>,
    path: &'a Path,
}

enum Stream<R: BufRead> {
    Plain(R),
    Gzip(MultiGzDecoder<R>),
}

impl<R: BufRead> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
        }
    }
}

impl<'a, R: BufRead> Unpacked<'a, R> {
    /// Recognises gzip by its first two bytes, whatever the name says.
    fn new(mut reader: R, path: &'a Path) -> Result<Self, DataError> {
        let start = reader.fill_buf().map_err(DataError::read(path))?;
        let reader = if start.starts_with(&[0x1F, 0x8B]) {
            Stream::Gzip(MultiGzDecoder::new(reader))
        } else {
            Stream::Plain(reader)
        };
        Ok(Self { reader, path })
    }

    /// The magic number is checked first, then N sizes are returned.
    fn header<const N: usize>(&mut self, magic: u32, kind: &'static str) -> Result<[u32; N], DataError> {
        let expected = 4 + 4 * N as u64;
        let (bytes, _) = self.up_to(expected)?;
        let word = |i: usize| {
            let at = bytes.get(4 * i..4 * i + 4)?;
            Some(u32::from_be_bytes([at[0], at[1], at[2], at[3]]))
        };
        let short = || self.wrong_length(expected, bytes.len() as u64);
        let found = word(0).ok_or_else(short)?;
        if found != magic {
            return Err(DataError::IdxMagic { path: self.path.to_path_buf(), kind, expected: magic, found });
        }
        let mut sizes = [0; N];
        for (i, size) in sizes.iter_mut().enumerate() {
            *size = word(i + 1).ok_or_else(short)?;
        }
        Ok(sizes)
    }

    /// The rest of the file, which must be `size` bytes after a header of `header` bytes.
    fn body(&mut self, header: u64, size: u64) -> Result<Vec<u8>, DataError> {
        // One byte more than wanted shows whether something follows, and makes gzip check its sum.
        let (bytes, cut) = self.up_to(size + 1)?;
        match cut {
            _ if bytes.len() as u64 != size => Err(self.wrong_length(header + size, header + bytes.len() as u64)),
            // All data are there, but not the sum behind them.
            Some(error) => Err(DataError::read(self.path)(error)),
            None => Ok(bytes),
        }
    }

    /// At most `limit` bytes. Of a gzip stream that ends early, what it holds and the error.
    fn up_to(&mut self, limit: u64) -> Result<(Vec<u8>, Option<io::Error>), DataError> {
        let mut bytes = Vec::with_capacity(limit.min(MAX_RESERVE) as usize);
        match self.reader.by_ref().take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok((bytes, None)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok((bytes, Some(error))),
            Err(error) => Err(DataError::read(self.path)(error)),
        }
    }

    fn wrong_length(&self, expected: u64, found: u64) -> DataError {
        DataError::IdxLength { path: self.path.to_path_buf(), expected, found }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn image_bytes(magic: u32, count: u32, height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [magic, count, height, width].iter().flat_map(|n| n.to_be_bytes()).collect();
        bytes.extend_from_slice(pixels);
        bytes
    }

    fn label_bytes(magic: u32, count: u32, labels: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [magic, count].iter().flat_map(|n| n.to_be_bytes()).collect();
        bytes.extend_from_slice(labels);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn images_error(bytes: &[u8]) -> String {
        read_images(bytes, Path::new("f")).map(|_| ()).unwrap_err().to_string()
    }

    const PIXELS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    #[test]
    fn plain_and_packed_give_the_same() {
        let plain = image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS);
        for bytes in [plain.clone(), gzip(&plain)] {
            let images = read_images(&bytes[..], Path::new("f")).unwrap();
            assert_eq!((images.count, images.shape.height, images.shape.width), (2, 2, 3));
            assert_eq!(images.pixels, PIXELS);
        }
    }

    #[test]
    fn wrong_magic_is_named() {
        assert_eq!(
            images_error(&image_bytes(LABEL_MAGIC, 2, 2, 3, &PIXELS)),
            "f does not begin with the IDX image magic number: expected 0x00000803, found 0x00000801"
        );
        let labels = label_bytes(IMAGE_MAGIC, 1, &[0]);
        let error = read_labels(&labels[..], Path::new("f")).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "f does not begin with the IDX label magic number: expected 0x00000801, found 0x00000803");
        let twice = gzip(&gzip(&image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS)));
        let error = read_images(&twice[..], Path::new("f")).map(|_| ()).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("twice")), "{error}");
    }

    #[test]
    fn wrong_lengths_are_counted() {
        let good = image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS);
        for cut in [0, 3, 4, 15, 16, 27] {
            let expected = if cut < 16 { 16 } else { 28 };
            let text = format!("f is cut short: expected {expected} bytes, found {cut}");
            assert_eq!(images_error(&good[..cut]), text);
            assert_eq!(images_error(&gzip(&good[..cut])), text);
        }
        let mut long = good.clone();
        long.extend([0; 7]);
        assert_eq!(images_error(&long), "f is too long: expected 28 bytes, found more");
        assert_eq!(images_error(&gzip(&long)), "f is too long: expected 28 bytes, found more");
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let packed = gzip(&image_bytes(IMAGE_MAGIC, 200, 10, 10, &noise));
        assert!(read_images(&packed[..], Path::new("f")).is_ok());
        let half = images_error(&packed[..packed.len() / 2]);
        assert!(half.starts_with("f is cut short: expected 20016 bytes, found "), "{half}");
        // The last eight bytes are the sum and the length: cutting or changing them must not pass.
        assert!(read_images(&packed[..packed.len() - 3], Path::new("f")).is_err());
        let mut changed = packed.clone();
        let sum = changed.len() - 6;
        changed[sum] ^= 1;
        assert!(read_images(&changed[..], Path::new("f")).is_err());
    }

    #[test]
    fn huge_declared_sizes_do_not_allocate() {
        for (count, height, width) in [
            (u32::MAX, u32::MAX, u32::MAX),
            (1, 1 << 13, 1),
            (u32::MAX, 28, 28),
            (1, 0, 28),
            (0, 28, 28),
        ] {
            assert_eq!(
                images_error(&image_bytes(IMAGE_MAGIC, count, height, width, &PIXELS)),
                format!("the IDX header of f declares {count} images of {height} x {width} pixels")
            );
        }
        // Just below the limit: only what is there is kept.
        let large = image_bytes(IMAGE_MAGIC, 1 << 22, 64, 64, &PIXELS);
        assert_eq!(images_error(&large), format!("f is cut short: expected {} bytes, found 28", (1u64 << 34) + 16));
        let labels = label_bytes(LABEL_MAGIC, u32::MAX, &[1, 2]);
        assert!(read_labels(&labels[..], Path::new("f")).is_err());
    }

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        fs::write(folder.join(name), bytes).unwrap();
    }

    #[test]
    fn a_folder_gives_the_wanted_part() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert!(!is_idx_folder(at).unwrap());
        let error = load(at, DataPart::Train, false).unwrap_err().to_string();
        assert!(error.ends_with("holds 0 train image files in IDX format, expected 1"), "{error}");

        write(at, "train-images-idx3-ubyte.gz", &gzip(&image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS)));
        write(at, "train-labels-idx1-ubyte", &label_bytes(LABEL_MAGIC, 2, &[1, 0]));
        write(at, "t10k-images-idx3-ubyte", &image_bytes(IMAGE_MAGIC, 1, 2, 3, &PIXELS[..6]));
        assert!(is_idx_folder(at).unwrap());
        let train = load(at, DataPart::Train, false).unwrap();
        assert_eq!((train.labels.as_slice(), train.class_names.len()), (&[1, 0][..], 2));
        assert_eq!(*train.image(1).unwrap(), PIXELS[6..]);

        let error = load(at, DataPart::Test, false).unwrap_err();
        assert!(matches!(error, DataError::IdxNoLabels { .. }), "{error}");
        write(at, "t10k-labels-idx1-ubyte.gz", &gzip(&label_bytes(LABEL_MAGIC, 2, &[1, 1])));
        let error = load(at, DataPart::Test, false).unwrap_err().to_string();
        assert!(error.contains("holds 1 images but") && error.ends_with("holds 2 labels"), "{error}");

        // A plain twin is preferred, a second data set is ambiguous.
        write(at, "train-images-idx3-ubyte", &image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS));
        assert!(load(at, DataPart::Train, false).is_ok());
        write(at, "other-train-images-idx3-ubyte", &image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS));
        let error = load(at, DataPart::Train, false).unwrap_err().to_string();
        assert!(error.contains("holds 2 train image files"), "{error}");
        // The path of one file chooses.
        assert!(load(&at.join("train-images-idx3-ubyte.gz"), DataPart::Train, false).is_ok());
    }

    /// Images of one pixel with these labels.
    fn pair(folder: &Path, labels: &[u8]) {
        let count = labels.len() as u32;
        write(folder, "train-images.idx3-ubyte", &image_bytes(IMAGE_MAGIC, count, 1, 1, &vec![7; labels.len()]));
        write(folder, "train-labels.idx1-ubyte", &label_bytes(LABEL_MAGIC, count, labels));
    }

    #[test]
    fn names_come_from_the_labels_not_from_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let digits = folder.path().join("old-fashioned/fashion-mnist");
        fs::create_dir_all(&digits).unwrap();
        pair(&digits, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(load(&digits, DataPart::Train, false).unwrap().class_names[0], "0");
        // The labels of the set in this program, elsewhere.
        let bundled = crate::data::bundled().unwrap();
        let labels: Vec<u8> = bundled.labels.iter().map(|&label| label as u8).collect();
        pair(folder.path(), &labels);
        assert_eq!(load(folder.path(), DataPart::Train, false).unwrap().class_names, FASHION_MNIST_CLASSES);
        // A list beside the files comes first.
        let names: Vec<String> = (0..10).map(|class| format!("n{class}")).collect();
        write(folder.path(), LABEL_FILE, format!("\u{feff}{{\"classes\": {names:?}}}").as_bytes());
        assert_eq!(load(folder.path(), DataPart::Train, false).unwrap().class_names, names);
        write(folder.path(), LABEL_FILE, br#"{"classes": ["one"]}"#);
        let error = load(folder.path(), DataPart::Train, false).unwrap_err().to_string();
        assert!(error.contains("names 1 classes, the labels are 0 to 9"), "{error}");
    }

    #[test]
    fn parts_are_words_of_names() {
        let both = |name: &str| [DataPart::Train, DataPart::Test].map(|part| part.matches(&format!("{name}-images-idx3-ubyte")));
        for train in [
            "train",
            "latest-train",
            "contest_train",
            "emnist-letters-train",
            "training",
            "train2",
            "test-train",
            "fastest.train",
        ] {
            assert_eq!(both(train), [true, false], "{train}");
        }
        for test in [
            "t10k",
            "test",
            "emnist-letters-test",
            "qmnist-test10k",
            "my_testing",
            "constrained-test",
        ] {
            assert_eq!(both(test), [false, true], "{test}");
        }
        for neither in ["latest", "contest", "attested", "fastest", "constrained", "not10k", "other"] {
            assert_eq!(both(neither), [false, false], "{neither}");
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "latest-train-images-idx3-ubyte", &image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS));
        write(folder.path(), "latest-train-labels-idx1-ubyte", &label_bytes(LABEL_MAGIC, 2, &[1, 0]));
        assert!(has_part(folder.path(), DataPart::Train) && !has_part(folder.path(), DataPart::Test));
        assert!(load(folder.path(), DataPart::Train, false).is_ok() && load(folder.path(), DataPart::Test, false).is_err());
    }

    #[test]
    fn what_lies_beside_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        pair(folder.path(), &[0, 1]);
        let passed = || load(folder.path(), DataPart::Train, false).unwrap().passed_over().to_string();
        write(folder.path(), "t10k-images-idx3-ubyte", &image_bytes(IMAGE_MAGIC, 1, 2, 3, &PIXELS[..6]));
        write(folder.path(), "t10k-labels-idx1-ubyte", &label_bytes(LABEL_MAGIC, 1, &[0]));
        write(folder.path(), LABEL_FILE, br#"{"classes": ["x", "y"]}"#);
        assert_eq!(passed(), "nothing");
        // Twins, another part, pictures.
        write(folder.path(), "train-images.idx3-ubyte.gz", b"");
        write(folder.path(), "train-labels.idx1-ubyte.gz", b"");
        write(folder.path(), "validation-images-idx3-ubyte", b"");
        write(folder.path(), "1.png", b"");
        fs::create_dir_all(folder.path().join("sub/deep")).unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        assert_eq!(passed(), "4 files (2 .gz, 1 without extension, 1 .png), 1 folder, 1 hidden or of the system");
        for said in [r#"{"labels": [["1.png", 0]]}"#, r#"{"labels": null, "classes": ["x", "y"]}"#] {
            write(folder.path(), LABEL_FILE, said.as_bytes());
            assert!(passed().ends_with("; the labels in 1 of them (dataset.json) were not used"), "{}", passed());
        }
        write(folder.path(), LABEL_FILE, b"{}");
        assert!(passed().starts_with("5 files (2 .gz, 1 without extension, 1 .json, 1 .png)"), "{}", passed());
        write(folder.path(), LABEL_FILE, br#"{"classes": ["x", "x"]}"#);
        let error = load(folder.path(), DataPart::Train, false).unwrap_err().to_string();
        assert!(error.ends_with("the classes 0 and 1 are both called `x`"), "{error}");
    }

    #[test]
    fn labels_have_no_gaps() {
        let folder = tempfile::tempdir().unwrap();
        for (labels, class) in [([1, 2, 3], 0), ([0, 2, 3], 1), ([0, 0, 255], 1)] {
            pair(folder.path(), &labels);
            let error = load(folder.path(), DataPart::Train, false).unwrap_err();
            assert!(matches!(error, DataError::LabelGap { class: found, .. } if found == class), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("--relabel")), "{error}");
            let data = load(folder.path(), DataPart::Train, true).unwrap();
            assert_eq!(data.class_names.first(), Some(&labels[0].to_string()));
            assert_eq!((data.class_counts().contains(&0), usize::from(data.labels[2]) + 1), (false, data.class_names.len()));
        }
    }

    #[test]
    fn an_image_file_is_never_its_own_label_file() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "data.gz", &gzip(&image_bytes(IMAGE_MAGIC, 2, 2, 3, &PIXELS)));
        let error = load(&folder.path().join("data.gz"), DataPart::Train, false).unwrap_err();
        assert!(matches!(error, DataError::IdxNoLabels { .. }), "{error}");
    }
}
