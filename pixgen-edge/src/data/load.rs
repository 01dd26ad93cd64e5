//! Loading what a [`DataSpec`] describes: recognising how a source is stored, and decoding its images.

use std::path::Path;

use rayon::prelude::*;

use crate::data::bundled::bundled;
use crate::data::dataset::Dataset;
use crate::data::error::{BadFile, DataError};
use crate::data::idx::DataPart;
use crate::data::listing::Listing;
use crate::data::pictures::{ImageStore, read_picture};
use crate::data::shape::ImageShape;
use crate::data::spec::{DataSource, DataSpec, StorageKind};
use crate::data::{folder, idx, tar, zip};

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
    let (_, stored) = open(&spec.source, spec.part)?;
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
/// A source without image files: the bundled set, and IDX files.
pub fn list(source: &DataSource) -> Result<Listing, DataError> {
    match open(source, DataPart::Train)?.1 {
        Stored::Files(listing) => Ok(listing),
        Stored::Pixels(_) => Err(DataError::NotAFolder { path: source.to_string().into() }),
    }
}

/// A source before its images are decoded.
pub enum Stored {
    /// Image files, alone or in archives.
    Files(Listing),
    /// Pixels at their own size.
    Pixels(Dataset),
}

/// Opens a source; nothing is decoded.
///
/// # Errors
/// A source that cannot be read or that is none, and a test part where there is none.
pub fn open(source: &DataSource, part: DataPart) -> Result<(StorageKind, Stored), DataError> {
    let kind = kind_of(source, part)?;
    let stored = match (kind, source) {
        (_, DataSource::Bundled) => Stored::Pixels(bundled()?),
        (StorageKind::Folder, DataSource::Path(path)) => Stored::Files(folder::list(path)?),
        (StorageKind::Zip, DataSource::Path(path)) => Stored::Files(zip::list(path)?),
        (StorageKind::Tar, DataSource::Path(path)) => Stored::Files(tar::list(&tar::shards(path)?)?),
        (StorageKind::Idx | StorageKind::Bundled, DataSource::Path(path)) => Stored::Pixels(idx::load(path, part)?),
    };
    Ok((kind, stored))
}

/// Recognises the kind of a source, and refuses a test part where there is none.
fn kind_of(source: &DataSource, part: DataPart) -> Result<StorageKind, DataError> {
    let kind = match source {
        DataSource::Bundled => StorageKind::Bundled,
        DataSource::Path(path) => kind_of_path(path)?,
    };
    if part == DataPart::Test && kind != StorageKind::Idx {
        return Err(DataError::NoTestPart { name: source.to_string() });
    }
    Ok(kind)
}

fn kind_of_path(path: &Path) -> Result<StorageKind, DataError> {
    let shards = tar::shards(path)?;
    let among_images = path.is_dir() && folder::has_images(path)?;
    if !shards.is_empty() && !among_images {
        return Ok(StorageKind::Tar);
    }
    if std::fs::metadata(path).map_err(DataError::read(path))?.is_dir() {
        let idx = idx::is_idx_folder(path)?;
        return Ok(if idx { StorageKind::Idx } else { StorageKind::Folder });
    }
    let name = path.to_string_lossy().to_lowercase();
    if [".tgz", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return Err(DataError::archive(
            path,
            "a packed tar archive cannot be read at a position",
            "unpack it to a plain .tar once",
        ));
    }
    if idx::is_idx_file(path) {
        return Ok(StorageKind::Idx);
    }
    match name.ends_with(".zip") {
        true => Ok(StorageKind::Zip),
        false => Err(DataError::NotAFolder { path: path.to_path_buf() }),
    }
}

/// The pictures of a listing, decoded when they are asked for; with `skip_bad` the next good one of its class takes the place of a bad
/// file, so that the same picture is seen in its place every time.
pub(crate) fn stream(listing: Listing, shape: ImageShape, background: [u8; 3], skip_bad: bool) -> Result<Dataset, DataError> {
    let (labels, marks) = (listing.labels(), listing.marks());
    let (class_names, source) = (listing.class_names.clone(), listing.root.display().to_string());
    let pictures = ImageStore::stream(listing, shape, background, skip_bad);
    Dataset::from_parts(shape, pictures, labels, class_names, source, Some(marks))
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
    let (class_names, source) = (listing.class_names.clone(), listing.root.display().to_string());
    Ok(LoadedData {
        dataset: Dataset::from_parts(shape, ImageStore::Memory(pixels), labels, class_names, source, Some(marks))?,
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
    fn paths_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("idx")).unwrap();
        fs::write(at("idx/train-images-idx3-ubyte"), b"no").unwrap();
        fs::write(at("picture.png"), b"no").unwrap();
        fs::write(at("a.ZIP"), b"no").unwrap();
        fs::write(at("a.tar.gz"), b"no").unwrap();
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
        let error = kind(at("a.tar.gz"), DataPart::Train).unwrap_err();
        assert!(error.to_string().contains("packed tar"), "{error}");
        assert!(matches!(kind(at(""), DataPart::Test), Err(DataError::NoTestPart { .. })));
        assert!(matches!(kind(at("picture.png"), DataPart::Train), Err(DataError::NotAFolder { .. })));
        let error = kind(at("missing"), DataPart::Train).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("spelling")), "{error}");
        let mut test = spec("bundled", 28, 1);
        test.part = DataPart::Test;
        assert!(matches!(load(&test), Err(DataError::NoTestPart { .. })));
    }
}
