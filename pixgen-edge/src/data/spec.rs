//! What to load.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::bundled::BUNDLED_NAME;
use crate::data::error::DataError;
use crate::data::idx::DataPart;
use crate::data::shape::ImageShape;

/// Background of transparent images unless another is asked for.
pub const WHITE: [u8; 3] = [255; 3];

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DataSource {
    /// A data set inside the binary.
    Bundled(BundledSet),
    /// A folder of images, a zip archive, tar shards, or an IDX file or folder.
    Path(PathBuf),
}

/// The data sets inside the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundledSet {
    /// 10,000 pictures of Fashion-MNIST, 28x28 in grey.
    FashionMnist,
    /// Avatars, 32x32 in colour.
    Avatars(DataPart),
}

impl BundledSet {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FashionMnist, Self::Avatars(DataPart::Train), Self::Avatars(DataPart::Test)];

    /// As settings and command lines have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FashionMnist => "bundled",
            Self::Avatars(DataPart::Train) => "bundled:avatars",
            Self::Avatars(DataPart::Test) => "bundled:avatars-test",
        }
    }
}

impl From<&str> for DataSource {
    /// The name of a bundled set; anything else is a path.
    fn from(text: &str) -> Self {
        match BundledSet::ALL.into_iter().find(|set| set.name() == text) {
            Some(set) => Self::Bundled(set),
            None if text == BUNDLED_NAME => Self::Bundled(BundledSet::FashionMnist),
            None => Self::Path(text.into()),
        }
    }
}

impl From<String> for DataSource {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<DataSource> for String {
    fn from(source: DataSource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled(set) => f.write_str(set.name()),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// What to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSpec {
    /// Where the images come from.
    pub source: DataSource,
    /// The training shape; every image is brought to it.
    pub shape: ImageShape,
    /// Colour behind transparent images.
    pub background: [u8; 3],
    /// Go on without unusable files instead of stopping: those that are decoded at once are left out; of the others, which are only
    /// found when their turn comes, the next good file of the class takes the place.
    pub skip_bad: bool,
    /// Whether the pixels are to be in memory.
    pub memory: PixelStore,
    /// Which part of a data set that is published in two.
    pub part: DataPart,
    /// Close gaps in the numbers of the classes instead of refusing them; each keeps its number as its name.
    pub relabel: bool,
}

/// Whether the pictures of a folder or archive are all decoded at once and kept, or each when its turn comes. Others are always kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelStore {
    /// Kept if their pixels take up to 4 GiB.
    #[default]
    Auto,
    /// Kept.
    Always,
    /// Decoded again whenever their turn comes.
    Never,
}

impl PixelStore {
    /// 4 GiB.
    pub const AUTO: u64 = 1 << 32;

    pub(crate) fn keeps(self, images: usize, shape: ImageShape) -> bool {
        match self {
            Self::Auto => (images as u64).saturating_mul(shape.len() as u64) <= Self::AUTO,
            Self::Always => true,
            Self::Never => false,
        }
    }
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
pub enum StorageKind {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_parse() {
        assert_eq!(parse_colour("#ff8001").unwrap(), [255, 128, 1]);
        for text in ["", "#fff", "#ff80017", "#gg0000", "white", "#+12345", "#é1234"] {
            assert!(parse_colour(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_survive_a_configuration_file() {
        for text in ["bundled", "bundled:avatars", "bundled:avatars-test", "bundled:other", "some/folder"] {
            let source = DataSource::from(text);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<DataSource>(&json).unwrap(), source);
            assert_eq!(source.to_string(), text);
        }
    }
}
