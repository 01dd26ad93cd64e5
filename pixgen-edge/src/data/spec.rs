//! What to load, and loading it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::bundled::{BUNDLED_NAME, bundled};
use crate::data::error::BadFile;
use crate::data::idx::Part;
use crate::data::listing::Listing;
use crate::data::pictures::{decode_all, stream};
use crate::data::{DataError, Dataset, ImageShape, folder, idx, tar, zip};

/// Background of transparent images unless another is asked for.
pub const WHITE: [u8; 3] = [255; 3];

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Source {
    /// The data set inside the binary.
    Bundled,
    /// A folder of images, a zip archive, tar shards, or an IDX file or folder.
    Path(PathBuf),
}

impl From<&str> for Source {
    /// `bundled` or the name of the bundled set; anything else is a path.
    fn from(text: &str) -> Self {
        match text {
            "bundled" | BUNDLED_NAME => Self::Bundled,
            path => Self::Path(path.into()),
        }
    }
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str("bundled"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// What to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSpec {
    /// Where the images come from.
    pub source: Source,
    /// The training shape; every image is brought to it.
    pub shape: ImageShape,
    /// Colour behind transparent images.
    pub background: [u8; 3],
    /// Go on without unusable files instead of stopping: those that are decoded at once are left out; of the others, which are only
    /// found when their turn comes, the next good file of the class takes the place.
    pub skip_bad: bool,
    /// Whether the pixels are to be in memory.
    pub memory: Memory,
    /// Which part of a data set that is published in two.
    pub part: Part,
}

/// Whether the pictures of a folder or archive are all decoded at once and kept, or each when its turn comes. Others are always kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Kept if their pixels take up to [`Memory::AUTO`] bytes.
    #[default]
    Auto,
    /// Kept.
    Always,
    /// Decoded again whenever their turn comes.
    Never,
}

impl Memory {
    /// 4 GiB.
    pub const AUTO: u64 = 1 << 32;

    fn keeps(self, images: usize, shape: ImageShape) -> bool {
        match self {
            Self::Auto => (images as u64).saturating_mul(shape.len() as u64) <= Self::AUTO,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// A data set, and the files left out of it.
#[derive(Debug)]
pub struct Loaded {
    /// The images.
    pub dataset: Dataset,
    /// Bad files, in order; empty unless skipping was asked for.
    pub skipped: Vec<BadFile>,
}

/// Loads what `spec` describes.
///
/// # Errors
/// See [`DataError`]. Only IDX data have a test part.
pub fn load(spec: &DataSpec) -> Result<Loaded, DataError> {
    spec.shape.check()?;
    let (_, stored) = open(&spec.source, spec.part)?;
    let dataset = match stored {
        Stored::Files(listing) if spec.memory.keeps(listing.len(), spec.shape) => {
            return decode_all(&listing, spec.shape, spec.background, spec.skip_bad);
        }
        Stored::Files(listing) => stream(listing, spec.shape, spec.background, spec.skip_bad)?,
        Stored::Pixels(dataset) => dataset.fitted(spec.shape)?,
    };
    Ok(Loaded { dataset, skipped: Vec::new() })
}

/// The image files of a source, before anything is decoded.
///
/// # Errors
/// A source without image files: the bundled set, and IDX files.
pub fn list(source: &Source) -> Result<Listing, DataError> {
    match open(source, Part::Train)?.1 {
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
pub fn open(source: &Source, part: Part) -> Result<(Kind, Stored), DataError> {
    let kind = kind_of(source, part)?;
    let stored = match (kind, source) {
        (_, Source::Bundled) => Stored::Pixels(bundled()?),
        (Kind::Folder, Source::Path(path)) => Stored::Files(folder::list(path)?),
        (Kind::Zip, Source::Path(path)) => Stored::Files(zip::list(path)?),
        (Kind::Tar, Source::Path(path)) => Stored::Files(tar::list(&tar::shards(path)?)?),
        (Kind::Idx | Kind::Bundled, Source::Path(path)) => Stored::Pixels(idx::load(path, part)?),
    };
    Ok((kind, stored))
}

/// `#rrggbb` as bytes.
pub fn parse_colour(text: &str) -> Result<[u8; 3], DataError> {
    let refuse = || DataError::Colour { text: text.into() };
    let digits = text.strip_prefix('#').unwrap_or(text);
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    let value = u32::from_str_radix(digits, 16).map_err(|_| refuse())?;
    let [_, r, g, b] = value.to_be_bytes();
    Ok([r, g, b])
}

/// How a source is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Inside the binary.
    Bundled,
    /// IDX files.
    Idx,
    /// A folder of image files.
    Folder,
    /// A zip archive.
    Zip,
    /// Tar shards.
    Tar,
}

/// Recognises the kind of a source, and refuses a test part where there is none.
pub(crate) fn kind_of(source: &Source, part: Part) -> Result<Kind, DataError> {
    let kind = match source {
        Source::Bundled => Kind::Bundled,
        Source::Path(path) => kind_of_path(path)?,
    };
    if part == Part::Test && kind != Kind::Idx {
        return Err(DataError::NoTestPart { name: source.to_string() });
    }
    Ok(kind)
}

fn kind_of_path(path: &Path) -> Result<Kind, DataError> {
    let shards = tar::shards(path)?;
    let among_images = path.is_dir() && folder::has_images(path)?;
    if !shards.is_empty() && !among_images {
        return Ok(Kind::Tar);
    }
    if std::fs::metadata(path).map_err(DataError::read(path))?.is_dir() {
        let idx = idx::is_idx_folder(path)?;
        return Ok(if idx { Kind::Idx } else { Kind::Folder });
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
        return Ok(Kind::Idx);
    }
    match name.ends_with(".zip") {
        true => Ok(Kind::Zip),
        false => Err(DataError::NotAFolder { path: path.to_path_buf() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn spec(source: impl Into<Source>, height: usize, channels: usize) -> DataSpec {
        DataSpec {
            source: source.into(),
            shape: ImageShape { height, width: height, channels },
            background: WHITE,
            skip_bad: false,
            memory: Memory::Auto,
            part: Part::Train,
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
        let kind = |path: PathBuf, part| kind_of(&Source::Path(path), part);
        assert_eq!(kind(at("idx"), Part::Test).unwrap(), Kind::Idx);
        assert_eq!(kind(at("idx/train-images-idx3-ubyte"), Part::Train).unwrap(), Kind::Idx);
        assert_eq!(kind(at(""), Part::Train).unwrap(), Kind::Folder);
        assert_eq!(kind(at("a.ZIP"), Part::Train).unwrap(), Kind::Zip);
        for shards in ["shards", "shards/01.tar", "shards/{01..02}.tar"] {
            assert_eq!(kind(at(shards), Part::Train).unwrap(), Kind::Tar, "{shards}");
        }
        let error = kind(at("shards/{01..03}.tar"), Part::Train).unwrap_err();
        assert!(error.to_string().contains("03.tar"), "{error}");
        assert!(kind(at("shards/{3..1}.tar"), Part::Train).is_err());
        let error = kind(at("a.tar.gz"), Part::Train).unwrap_err();
        assert!(error.to_string().contains("packed tar"), "{error}");
        assert!(matches!(kind(at(""), Part::Test), Err(DataError::NoTestPart { .. })));
        assert!(matches!(kind(at("picture.png"), Part::Train), Err(DataError::NotAFolder { .. })));
        let error = kind(at("missing"), Part::Train).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("spelling")), "{error}");
        let mut test = spec("bundled", 28, 1);
        test.part = Part::Test;
        assert!(matches!(load(&test), Err(DataError::NoTestPart { .. })));
    }

    #[test]
    fn colours_parse() {
        assert_eq!(parse_colour("#ff8001").unwrap(), [255, 128, 1]);
        for text in ["", "#fff", "#ff80017", "#gg0000", "white", "#+12345", "#é1234"] {
            assert!(parse_colour(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_survive_a_configuration_file() {
        for text in ["bundled", "some/folder"] {
            let source = Source::from(text);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<Source>(&json).unwrap(), source);
            assert_eq!(source.to_string(), text);
        }
    }
}
