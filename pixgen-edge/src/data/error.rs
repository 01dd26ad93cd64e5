//! What can be wrong with a data set, and what to try next.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::file_error::read_hint;
use crate::file_kind::{FileKind, Needed, quoted};
use crate::terminal::printable;
use serde::Serialize;

use crate::data::passed::PassedOver;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to read a file or folder.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// What was being read.
        path: PathBuf,
        /// The answer of the operating system, or of the gzip decoder.
        source: std::io::Error,
    },
    /// A file that is none of those that hold images.
    #[error("{} is neither a folder of images, nor a zip or tar archive, nor an IDX image file", shown(path))]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// Data that are pixels, where files are needed.
    #[error("{} holds pixels, not files of pictures: there is nothing to decode", printable(name))]
    NoFiles {
        /// The source.
        name: String,
    },
    /// A class has no name, or that of another one.
    #[error("{}: {}", shown(path), match twin {
        Some(twin) => format!("the classes {twin} and {class} are both called `{}`", printable(name)),
        None => format!("class {class} has no name"),
    })]
    ClassName {
        /// The data set.
        path: PathBuf,
        /// The class.
        class: usize,
        /// Its name.
        name: String,
        /// An earlier class of this name; None if the name is empty.
        twin: Option<usize>,
    },
    /// Nothing in a folder or archive is an image.
    #[error("no image in {}; passed over: {passed}", shown(path))]
    NoImage {
        /// The folder or archive that was searched.
        path: PathBuf,
        /// What is there instead.
        passed: PassedOver,
    },
    /// A class folder holds no image, or none that can be decoded.
    #[error("class folder {} holds no usable image", shown(path))]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// Images lie beside class folders, so they have no class.
    #[error("{} lies beside class folders and has no class", shown(path))]
    LooseImage {
        /// The first such image.
        path: PathBuf,
    },
    /// Folders are nested deeper than any data set needs; probably a link that leads back.
    #[error("folders are nested more than {limit} deep at {}", shown(path))]
    TooDeep {
        /// Where the search stopped.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// There are more classes than a label can name.
    #[error("{} holds {found} classes, more than {limit}", shown(path))]
    TooManyClasses {
        /// The folder.
        path: PathBuf,
        /// Classes found.
        found: usize,
        /// The most that labels can name.
        limit: usize,
    },
    /// Some image files cannot be used, and skipping was not asked for.
    #[error("{count} of {total} image files cannot be used, the first is {first}")]
    BadFiles {
        /// The first bad file in sorted order.
        first: BadFile,
        /// Bad files in all.
        count: usize,
        /// Image files in all.
        total: usize,
    },
    /// An IDX file does not begin with the magic number of its kind.
    #[error(
        "{} does not begin with the IDX {kind} magic number: expected {expected:#010x}, found {found:#010x}",
        shown(path)
    )]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// "image" or "label".
        kind: &'static str,
        /// 0x803 or 0x801.
        expected: u32,
        /// The first four bytes, big-endian.
        found: u32,
    },
    /// An IDX header names a size that no data set has.
    #[error("the IDX header of {} declares {count} images of {height} x {width} pixels", shown(path))]
    IdxSize {
        /// The file.
        path: PathBuf,
        /// Declared number of images.
        count: u32,
        /// Declared rows.
        height: u32,
        /// Declared columns.
        width: u32,
    },
    /// An IDX file ends early or goes on after its last entry.
    #[error("{} is {}: expected {expected} bytes, found {}", shown(path), if found < expected { "cut short" } else { "too long" }, Found { found: *found, expected: *expected })]
    IdxLength {
        /// The file.
        path: PathBuf,
        /// Bytes after unpacking that the header asks for, header included.
        expected: u64,
        /// Bytes after unpacking; reading stops one byte after `expected`.
        found: u64,
    },
    /// Images and labels differ in number.
    #[error("{} holds {images} images but {} holds {labels} labels", shown(image_file), shown(label_file))]
    IdxCounts {
        /// The image file.
        image_file: PathBuf,
        /// The label file.
        label_file: PathBuf,
        /// Images declared.
        images: u32,
        /// Labels declared.
        labels: u32,
    },
    /// An IDX image file has no label file beside it.
    #[error("no label file for {}: expected {} beside it", shown(image_file), shown(wanted))]
    IdxNoLabels {
        /// The image file.
        image_file: PathBuf,
        /// The name that was looked for, plain or with `.gz`.
        wanted: PathBuf,
    },
    /// A folder of IDX files has none, or several, for the wanted part.
    #[error("{} holds {} {part} image files in IDX format, expected 1{}", shown(path), found.len(), List(found))]
    IdxChoice {
        /// The folder.
        path: PathBuf,
        /// The wanted part, "train" or "test".
        part: &'static str,
        /// The candidates' names.
        found: Vec<String>,
    },
    /// Class numbers have a gap.
    #[error("{}: labels go up to {highest}, but no image has label {class}", shown(path))]
    LabelGap {
        /// The data set.
        path: PathBuf,
        /// The first class without an image.
        class: u32,
        /// The highest label.
        highest: u32,
    },
    /// A label belongs to no image.
    #[error("{} is the label of no picture", shown(path))]
    UnusedLabel {
        /// The label.
        path: PathBuf,
    },
    /// Several images belong to one label.
    #[error("{} and {} have the same key, which ends at the first dot of the name", shown(path), shown(other))]
    SeveralPictures {
        /// An image.
        path: PathBuf,
        /// Another one.
        other: PathBuf,
    },
    /// An archive cannot be used as it is.
    #[error("{}: {}", shown(path), printable(what))]
    Archive {
        /// The archive, or the entry in it.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to try.
        hint: &'static str,
    },
    /// A picture that is read while training cannot be used.
    #[error("{0}")]
    Picture(BadFile),
    /// A training size without pixels, beyond the limit, or with a number of channels other than 1 and 3.
    #[error("images of {height} x {width} pixels with {channels} channels are not supported")]
    Shape {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Channels.
        channels: usize,
    },
    /// Pixels, labels and class names of a data set do not fit together.
    #[error("data set {}: {what}", printable(name))]
    Inconsistent {
        /// Where the data come from.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// A split would leave a class without a training image.
    #[error("cannot hold out {wanted} of {images} images: at most {most} leave every class a training image")]
    HeldOut {
        /// Images asked for.
        wanted: usize,
        /// Images there are.
        images: usize,
        /// The most that can be held out.
        most: usize,
    },
    /// A test part was asked for, but the data come as one.
    #[error("{} has no separate test part", printable(name))]
    NoTestPart {
        /// The source.
        name: String,
    },
    /// A colour that is not written as `#rrggbb`.
    #[error("'{text}' is not a colour of the form #rrggbb")]
    Colour {
        /// What was written.
        text: String,
    },
    /// A number of an augmentation profile or a normalisation is outside its range.
    #[error("{field} is {found}, expected {expected}")]
    Setting {
        /// The field, as written in the configuration.
        field: &'static str,
        /// Its value.
        found: String,
        /// The allowed range.
        expected: &'static str,
    },
}

impl DataError {
    /// Wraps a read error of `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Read { path, source }
    }

    /// Says what is wrong with an archive, or with the entry at `path` in it, and what to try.
    pub(crate) fn archive(path: &Path, what: &str, hint: &'static str) -> Self {
        Self::Archive { path: path.to_path_buf(), what: what.to_owned(), hint }
    }

    /// The hint of a command that can go on without bad files.
    pub fn hint_with_skip_bad(&self) -> Option<String> {
        match self {
            Self::BadFiles { .. } => Some("repair or remove these files, or go on without them: --skip-bad".into()),
            Self::Picture(_) => Some("repair or remove the file, or go on without it: --skip-bad".into()),
            _ => self.hint(),
        }
    }

    /// The next thing to try, for the `hint:` line of the command line.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Read { path, source }
                if source.kind() == std::io::ErrorKind::NotFound && path.to_string_lossy().starts_with("bundled:") =>
            {
                "the sets inside the program are bundled, bundled:avatars and bundled:avatars-test".into()
            }
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "check the spelling; relative paths start at the current folder".into()
            }
            Self::Read { source, .. } => return read_hint(source).or_else(|| Some("copy the file again".into())),
            Self::IdxSize { .. } => "the header is damaged or not one of IDX images; download or copy the file again".into(),
            Self::NotAFolder { path } => {
                if let Some(hint) = FileKind::of(path).ok().and_then(|kind| kind.hint(path, Needed::Data)) {
                    return Some(hint);
                }
                "give a folder of images, with a folder for each class in it, a .zip, .tar shards, or an IDX file".into()
            }
            Self::NoImage { .. } => {
                "images are PNG, JPEG, WebP, GIF, BMP, TIFF or PNM files, one folder per class or all in one folder".into()
            }
            Self::NoFiles { .. } => "give a folder, a zip archive or tar archives of pictures".into(),
            Self::ClassName { .. } => "give every class a name of its own, in `classes` of dataset.json or as its folder".into(),
            Self::LabelGap { path, .. } => format!(
                "number the classes from 0 without gaps, or write them so: pixgen-train data prepare {} --relabel --size PIXELS --out NEW.zip",
                quoted(path)
            ),
            Self::UnusedLabel { .. } => {
                "a label belongs to the picture whose name is the same up to the first dot; add the picture or remove the label".into()
            }
            Self::SeveralPictures { .. } => {
                "name the picture KEY.jpg and what belongs to it KEY.mask.png; replace dots inside the key by another character".into()
            }
            Self::EmptyClass { .. } => "remove the folder or add images to it".into(),
            Self::LooseImage { .. } => "move it into a class folder".into(),
            Self::TooDeep { .. } => "look for a symbolic link that leads back".into(),
            Self::TooManyClasses { .. } => "put the images into fewer folders".into(),
            Self::BadFiles { .. } => "repair or remove these files".into(),
            Self::IdxMagic { found, .. } if found >> 16 == 0x1F8B => "the file is packed twice; unpack it once".into(),
            Self::IdxMagic { kind, .. } => format!("give an IDX {kind} file, plain or .gz"),
            Self::IdxLength { .. } => "download or copy the file again".into(),
            Self::IdxCounts { .. } => "take both files from the same part of the data set".into(),
            Self::IdxNoLabels { .. } => "keep both files in one folder, with names that differ in images-idx3 / labels-idx1".into(),
            Self::IdxChoice { found, .. } if found.is_empty() => {
                "name files train-images-idx3-ubyte.gz or t10k-images-idx3-ubyte.gz".into()
            }
            Self::IdxChoice { .. } => "give the path of one image file".into(),
            Self::Archive { hint, .. } => (*hint).into(),
            Self::Picture(_) => "repair or remove the file".into(),
            Self::Shape { .. } => "use 1 or 3 channels and sides from 1 to 4096 pixels".into(),
            Self::Inconsistent { .. } => "take images and labels of the same data set, and at least one image".into(),
            Self::HeldOut { most, .. } => format!("hold out {most} at most: the setting data.hold_out is the share, and 0 holds out none"),
            Self::NoTestPart { .. } => "hold images out of the training part instead".into(),
            Self::Colour { .. } => "white is #ffffff, black is #000000".into(),
            Self::Setting { field, .. } => format!("change {field} in the configuration"),
        };
        Some(text)
    }
}

/// A path for people.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// An image file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: BadReason,
}

impl From<BadFile> for DataError {
    fn from(file: BadFile) -> Self {
        Self::Picture(file)
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), printable(&self.reason.to_string()))
    }
}

/// Why an image file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "detail")]
#[non_exhaustive]
pub enum BadReason {
    /// The file has no bytes.
    Empty,
    /// The content is that of no image, whatever the name says.
    NotAnImage,
    /// An image of a format that is not read.
    OtherFormat(String),
    /// The image data end early.
    Truncated,
    /// The decoder refused the content.
    Decode(String),
    /// The content is not that of the check sum in its archive.
    Checksum,
    /// The operating system refused to read the file, or its archive does not hold what it says.
    Read(String),
}

impl fmt::Display for BadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::NotAnImage => f.write_str("the content is neither PNG nor JPEG, nor WebP, GIF, BMP, TIFF or PNM"),
            Self::OtherFormat(name) => write!(f, "{name} is not read, convert it to PNG"),
            Self::Truncated => f.write_str("the image is cut short"),
            Self::Decode(text) => write!(f, "cannot be decoded: {text}"),
            Self::Checksum => f.write_str("the content does not have the check sum that the archive says"),
            Self::Read(text) => write!(f, "cannot be read: {text}"),
        }
    }
}

/// Says "more" when reading stopped just after the expected length.
struct Found {
    found: u64,
    expected: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found > self.expected {
            f.write_str("more")
        } else {
            write!(f, "{}", self.found)
        }
    }
}

/// `: a, b`, or nothing for an empty list.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", printable(&self.0.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_and_where() {
        let cases = [
            (
                DataError::IdxLength { path: "a/b".into(), expected: 20, found: 7 },
                "a/b is cut short: expected 20 bytes, found 7",
            ),
            (
                DataError::IdxLength { path: "a/b".into(), expected: 20, found: 21 },
                "a/b is too long: expected 20 bytes, found more",
            ),
            (
                DataError::IdxChoice { path: "d".into(), part: "test", found: vec!["x".into(), "y".into()] },
                "d holds 2 test image files in IDX format, expected 1: x, y",
            ),
            (
                DataError::BadFiles { first: BadFile { path: "c/1.png".into(), reason: BadReason::Empty }, count: 2, total: 9 },
                "2 of 9 image files cannot be used, the first is c/1.png: the file is empty",
            ),
        ];
        let hostile = "\u{1b}]0;x\u{7}\n";
        let path = || PathBuf::from(format!("a/{hostile}"));
        for error in [
            DataError::EmptyClass { path: path() },
            DataError::SeveralPictures { path: "a".into(), other: path() },
            DataError::archive(&path(), hostile, "x"),
            DataError::NoTestPart { name: hostile.into() },
            DataError::IdxChoice { path: path(), part: "test", found: vec![hostile.into()] },
            DataError::Picture(BadFile { path: path(), reason: BadReason::Decode(hostile.into()) }),
        ] {
            let text = error.to_string();
            assert!(!text.contains(char::is_control) && text.contains("\\u{1b}]0;x"), "{text}");
        }
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn bad_files_point_to_the_flag() {
        let error = DataError::BadFiles { first: BadFile { path: "x".into(), reason: BadReason::Truncated }, count: 1, total: 1 };
        assert!(error.hint_with_skip_bad().is_some_and(|hint| hint.contains("--skip-bad")));
        // Not every command has it.
        assert!(error.hint().is_some_and(|hint| !hint.contains("--skip-bad")));
    }
}
