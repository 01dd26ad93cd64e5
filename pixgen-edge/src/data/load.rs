//! Loading what a [`DataSpec`] describes: recognising how a source is stored, and decoding its images.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use rayon::prelude::*;

use crate::atomic::keep_if_wanted;
use crate::data::avatars::avatars;
use crate::data::bundled::bundled;
use crate::data::dataset::Dataset;
use crate::data::error::{BadFile, DataError};
use crate::data::idx::DataPart;
use crate::data::listing::Listing;
use crate::data::pictures::{ImageStore, read_picture};
use crate::data::shape::ImageShape;
use crate::data::spec::{BundledSet, DataSource, DataSpec, StorageKind};
use crate::data::{folder, idx, tar, zip};
use crate::file_kind::FileKind;

/// A data set, and the files left out of it.
#[derive(Debug)]
pub struct LoadedData {
    /// The images.
    pub dataset: Dataset,
    /// Bad files, in order; empty unless skipping was asked for.
    pub skipped: Vec<BadFile>,
}

/// Loads what `spec` describes.
///
/// # Errors
/// See [`DataError`]. Only IDX data have a test part.
pub fn load(spec: &DataSpec) -> Result<LoadedData, DataError> {
    spec.shape.check()?;
    let (_, stored) = open(&spec.source, spec.part, spec.relabel)?;
    let dataset = match stored {
        Stored::Files(listing) if spec.memory.keeps(listing.len(), spec.shape) => {
            return decode_all(&listing, spec.shape, spec.background, spec.skip_bad);
        }
        Stored::Files(listing) => stream(listing, spec.shape, spec.background, spec.skip_bad)?,
        Stored::Pixels(dataset) => dataset.fitted(spec.shape)?,
    };
    Ok(LoadedData { dataset, skipped: Vec::new() })
}

/// The image files of a source, before anything is decoded.
///
/// # Errors
/// A source without image files: a bundled set, and IDX files.
pub fn list(source: &DataSource) -> Result<Listing, DataError> {
    match open(source, DataPart::Train, false)?.1 {
        Stored::Files(listing) => Ok(listing),
        Stored::Pixels(_) => Err(DataError::NoFiles { name: source.to_string() }),
    }
}

/// A source before its images are decoded.
pub enum Stored {
    /// Image files, alone or in archives.
    Files(Listing),
    /// Pixels at their own size.
    Pixels(Dataset),
}

/// Opens a source; nothing is decoded. With `relabel`, gaps in the labels are closed.
///
/// # Errors
/// A source that cannot be read or that is none, and a test part where there is none.
pub fn open(source: &DataSource, part: DataPart, relabel: bool) -> Result<(StorageKind, Stored), DataError> {
    let kind = kind_of(source, part)?;
    if let DataSource::Path(path) = source {
        keep_if_wanted(path);
    }
    let stored = match (kind, source) {
        (_, DataSource::Bundled(BundledSet::FashionMnist)) => Stored::Pixels(bundled()?),
        (_, DataSource::Bundled(BundledSet::Avatars(part))) => Stored::Pixels(avatars(*part)?),
        (StorageKind::Folder, DataSource::Path(path)) => Stored::Files(folder::list(path, relabel)?),
        (StorageKind::Zip, DataSource::Path(path)) => Stored::Files(zip::list(path, relabel)?),
        (StorageKind::Tar, DataSource::Path(path)) => Stored::Files(tar::list(path, relabel)?),
        (StorageKind::Idx | StorageKind::Bundled, DataSource::Path(path)) => Stored::Pixels(idx::load(path, part, relabel)?),
    };
    Ok((kind, stored))
}

/// Whether a source is published in two parts and has the second one.
pub fn has_test_part(source: &DataSource) -> bool {
    match source {
        DataSource::Bundled(_) => false,
        DataSource::Path(path) => path.is_dir() && idx::has_part(path, DataPart::Test) && kind_of(source, DataPart::Test).is_ok(),
    }
}

/// Recognises the kind of a source, and refuses a test part where there is none.
fn kind_of(source: &DataSource, part: DataPart) -> Result<StorageKind, DataError> {
    let kind = match source {
        DataSource::Bundled(_) => StorageKind::Bundled,
        DataSource::Path(path) => kind_of_path(path)?,
    };
    if part == DataPart::Test && kind != StorageKind::Idx {
        return Err(DataError::NoTestPart { name: source.to_string() });
    }
    Ok(kind)
}

/// A file is known by its first bytes, and where they say nothing by its name.
fn kind_of_path(path: &Path) -> Result<StorageKind, DataError> {
    let shards = tar::shards(path)?;
    if path.is_dir() {
        let among_images = !shards.is_empty() && folder::has_images(path)?;
        return match (shards.is_empty() || among_images, idx::is_idx_folder(path)?) {
            (false, _) => Ok(StorageKind::Tar),
            (true, true) => Ok(StorageKind::Idx),
            (true, false) => Ok(StorageKind::Folder),
        };
    }
    if shards.len() > 1 || shards.first().is_some_and(|shard| shard != path) {
        return Ok(StorageKind::Tar);
    }
    let mut file = File::open(path).map_err(DataError::read(path))?;
    let start = unpacked_start(&mut file).map_err(DataError::read(path))?;
    let name = path.to_string_lossy().to_lowercase();
    match FileKind::of_bytes(&start) {
        FileKind::Zip | FileKind::Npz | FileKind::Pytorch => Ok(StorageKind::Zip),
        FileKind::Idx => Ok(StorageKind::Idx),
        FileKind::Tar => Ok(StorageKind::Tar),
        FileKind::Packed => Err(DataError::archive(
            path,
            "a file packed with xz, zstd or bzip2 cannot be read at a position",
            "unpack it once: unxz, unzstd or bunzip2",
        )),
        _ if !shards.is_empty() => Ok(StorageKind::Tar),
        _ if idx::is_idx_file(path) => Ok(StorageKind::Idx),
        _ if name.ends_with(".zip") => Ok(StorageKind::Zip),
        _ => Err(DataError::NotAFolder { path: path.to_path_buf() }),
    }
}

/// The first block of a file; of one that is packed with gzip, that of what it holds.
fn unpacked_start(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(4096).read_to_end(&mut start)?;
    if !start.starts_with(&[0x1F, 0x8B]) {
        return Ok(start);
    }
    let mut unpacked = Vec::new();
    // What comes before the end of the piece is all that is asked for.
    let _ = GzDecoder::new(start.as_slice()).take(512).read_to_end(&mut unpacked);
    Ok(unpacked)
}

/// The pictures of a listing, decoded when they are asked for; with `skip_bad` the next good one of its class takes the place of a bad
/// file, so that the same picture is seen in its place every time.
pub(crate) fn stream(listing: Listing, shape: ImageShape, background: [u8; 3], skip_bad: bool) -> Result<Dataset, DataError> {
    let (labels, marks) = (listing.labels(), listing.marks());
    let (class_names, source) = (listing.class_names.clone(), listing.store.root.display().to_string());
    let passed = listing.passed.clone();
    let pictures = ImageStore::stream(listing, shape, background, skip_bad);
    Ok(Dataset::from_parts(shape, pictures, labels, class_names, source, Some(marks))?.beside(passed))
}

/// All pictures of a listing in memory.
///
/// # Errors
/// Bad files are an error that names the first one, or, with `skip_bad`, are left out and returned.
pub(crate) fn decode_all(listing: &Listing, shape: ImageShape, background: [u8; 3], skip_bad: bool) -> Result<LoadedData, DataError> {
    let size = shape.len();
    let mut pixels = vec![0; listing.len() * size];
    let bad: Vec<Option<BadFile>> = pixels
        .par_chunks_exact_mut(size)
        .enumerate()
        .map(|(index, out)| {
            let picture = read_picture(listing, index, shape, background);
            picture.map(|pixels| out.copy_from_slice(&pixels)).err()
        })
        .collect();

    let total = listing.len();
    let count = bad.iter().flatten().count();
    if !skip_bad && let Some(first) = bad.iter().flatten().next() {
        return Err(DataError::BadFiles { first: first.clone(), count, total });
    }

    // Close the gaps of the bad files.
    let all_marks = listing.marks();
    let (mut labels, mut marks) = (Vec::with_capacity(total - count), Vec::with_capacity(total - count));
    for (index, entry) in listing.entries.iter().enumerate() {
        if bad[index].is_none() {
            pixels.copy_within(index * size..(index + 1) * size, labels.len() * size);
            labels.push(entry.label);
            marks.push(all_marks[index]);
        }
    }
    pixels.truncate(labels.len() * size);
    let mut counts = vec![0; listing.class_names.len()];
    for &label in &labels {
        counts[usize::from(label)] += 1;
    }
    listing.refuse_empty_class(&counts)?;
    let (class_names, source) = (listing.class_names.clone(), listing.store.root.display().to_string());
    let dataset = Dataset::from_parts(shape, ImageStore::Memory(pixels), labels, class_names, source, Some(marks))?;
    Ok(LoadedData {
        dataset: dataset.beside(listing.passed.clone()),
        skipped: bad.into_iter().flatten().collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{BUNDLED_NAME, PixelStore, WHITE};
    use std::path::PathBuf;

    fn spec(source: impl Into<DataSource>, height: usize, channels: usize) -> DataSpec {
        DataSpec {
            source: source.into(),
            shape: ImageShape { height, width: height, channels },
            background: WHITE,
            skip_bad: false,
            memory: PixelStore::Auto,
            part: DataPart::Train,
            relabel: false,
        }
    }

    #[test]
    fn bundled_data_are_resized_and_coloured() {
        let native = load(&spec("bundled", 28, 1)).unwrap().dataset;
        let large = load(&spec(BUNDLED_NAME, 32, 3)).unwrap().dataset;
        assert_eq!(large.shape.to_string(), "32x32x3");
        assert_eq!((large.len(), &large.labels), (native.len(), &native.labels));
        assert!(large.pixels().unwrap().chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]));
        let mean = |d: &Dataset| d.pixels().unwrap().iter().map(|&p| f64::from(p)).sum::<f64>() / d.bytes_in_memory() as f64;
        assert!((mean(&native) - mean(&large)).abs() < 1.0);
        assert_ne!(native.fingerprint(), large.fingerprint());
    }

    #[test]
    fn pixels_are_no_files() {
        let error = list(&"bundled".into()).unwrap_err();
        assert_eq!(error.to_string(), "bundled holds pixels, not files of pictures: there is nothing to decode");
        assert!(error.hint().is_some());
    }

    #[test]
    fn paths_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("idx")).unwrap();
        fs::write(at("idx/train-images-idx3-ubyte"), b"no").unwrap();
        fs::write(at("picture.png"), b"no").unwrap();
        fs::write(at("a.ZIP"), b"no").unwrap();
        fs::write(at("a.tar.xz"), b"\xFD7zXZ\0").unwrap();
        fs::create_dir(at("shards")).unwrap();
        fs::write(at("shards/01.tar"), b"no").unwrap();
        fs::write(at("shards/02.tar"), b"no").unwrap();
        let kind = |path: PathBuf, part| kind_of(&DataSource::Path(path), part);
        assert_eq!(kind(at("idx"), DataPart::Test).unwrap(), StorageKind::Idx);
        assert_eq!(kind(at("idx/train-images-idx3-ubyte"), DataPart::Train).unwrap(), StorageKind::Idx);
        assert_eq!(kind(at(""), DataPart::Train).unwrap(), StorageKind::Folder);
        assert_eq!(kind(at("a.ZIP"), DataPart::Train).unwrap(), StorageKind::Zip);
        for shards in ["shards", "shards/01.tar", "shards/{01..02}.tar"] {
            assert_eq!(kind(at(shards), DataPart::Train).unwrap(), StorageKind::Tar, "{shards}");
        }
        let error = kind(at("shards/{01..03}.tar"), DataPart::Train).unwrap_err();
        assert!(error.to_string().contains("03.tar"), "{error}");
        assert!(kind(at("shards/{3..1}.tar"), DataPart::Train).is_err());
        let error = kind(at("a.tar.xz"), DataPart::Train).unwrap_err();
        assert!(error.to_string().contains("packed with xz"), "{error}");
        // The content tells, whatever the name says.
        for (name, start, expected) in [
            ("zip.bin", &b"PK\x03\x04"[..], StorageKind::Zip),
            ("idx.bin", b"\0\0\x08\x03", StorageKind::Idx),
            ("idx.zip", b"\0\0\x08\x01", StorageKind::Idx),
        ] {
            fs::write(at(name), start).unwrap();
            assert_eq!(kind(at(name), DataPart::Train).unwrap(), expected, "{name}");
        }
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        fs::write(at("tar.bin"), tar).unwrap();
        assert_eq!(kind(at("tar.bin"), DataPart::Train).unwrap(), StorageKind::Tar);
        assert!(matches!(kind(at(""), DataPart::Test), Err(DataError::NoTestPart { .. })));
        assert!(matches!(kind(at("picture.png"), DataPart::Train), Err(DataError::NotAFolder { .. })));
        let error = kind(at("missing"), DataPart::Train).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("spelling")), "{error}");
        let hint = load(&spec("bundled:avatar", 32, 3)).unwrap_err().hint().unwrap();
        assert!(BundledSet::ALL.iter().all(|set| hint.contains(set.name())), "{hint}");
        let mut test = spec("bundled", 28, 1);
        test.part = DataPart::Test;
        assert!(matches!(load(&test), Err(DataError::NoTestPart { .. })));
    }
}
