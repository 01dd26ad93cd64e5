//! What a folder, a zip archive or tar shards hold, before anything is decoded: names, classes, and where the bytes of each image lie.
//!
//! Any thread reads any image by its number: files of a folder are opened, archives are read at a position. Nothing is written to a path
//! that a name in an archive says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::DeflateDecoder;
use rawzip::{FileReader, ReaderAt};

use crate::data::DataError;
use crate::data::error::{BadFile, BadReason};

/// Extensions that say "image". Content other than PNG or JPEG is then reported as a bad file, not passed over.
const IMAGE_EXTENSIONS: [&str; 11] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "avif", "heic", "jxl"];
/// Labels are 16-bit.
pub(crate) const MAX_CLASSES: usize = 1 << 16;
/// Most bytes of one image file in an archive, packed and unpacked: a larger one is no image to train on but a lie of its header.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// Length of the fixed part of a local header in a zip archive, and what it begins with.
const LOCAL_HEADER: (usize, &[u8]) = (30, b"PK\x03\x04");

/// The images of a folder, a zip archive or tar shards, in the order of their classes or names.
#[derive(Debug)]
pub struct Listing {
    /// The folder, the archive, or the folder of the shards.
    pub(crate) root: PathBuf,
    /// Archives that entries lie in; none for a folder.
    pub(crate) archives: Vec<FileReader>,
    pub(crate) entries: Vec<Entry>,
    /// Names of the classes.
    pub(crate) class_names: Vec<String>,
    /// Where a message says that a class is: its folder, or the archive.
    pub(crate) class_places: Vec<PathBuf>,
}

/// An image that is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path under the root.
    pub name: PathBuf,
    /// Class.
    pub label: u16,
    /// Where its bytes are.
    pub place: EntryLocation,
}

/// Where the bytes of an entry are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryLocation {
    /// In a file of their own with this many bytes.
    File { size: u64 },
    /// In a tar archive, from a position on.
    Tar { archive: u32, at: u64, size: u64 },
    /// In the zip archive, after the local header at a position.
    Zip {
        header: u64,
        packed: u64,
        size: u64,
        crc: u32,
        method: Compression,
    },
}

/// How an entry of a zip archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Stored,
    Deflated,
    /// By the number in the header.
    Other(u16),
    Encrypted,
}

impl Listing {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names of the classes, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of each image.
    pub fn labels(&self) -> Vec<u16> {
        self.entries.iter().map(|entry| entry.label).collect()
    }

    /// Path of an image, for people: that of an archive goes on with the name inside it.
    ///
    /// # Panics
    /// If `index` is not below `len()`.
    pub fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.entries[index].name)
    }

    /// A word for each image that changes with its name under the root, its size, and what a zip archive says of its content.
    pub(crate) fn marks(&self) -> Vec<u32> {
        self.entries.iter().map(Entry::mark).collect()
    }

    /// Reads the file of image `index` into `bytes`, whose content is replaced.
    ///
    /// # Errors
    /// A file that cannot be read, or an entry that is not what its archive says.
    ///
    /// # Panics
    /// If `index` is not below `len()`.
    pub fn read(&self, index: usize, bytes: &mut Vec<u8>) -> Result<(), BadFile> {
        let entry = &self.entries[index];
        let done = match entry.place {
            EntryLocation::File { .. } => {
                bytes.clear();
                File::open(self.root.join(&entry.name))
                    .and_then(|mut file| file.read_to_end(bytes))
                    .map(|_| ())
                    .map_err(refused)
            }
            EntryLocation::Tar { archive, at, size } => self.read_at(archive, at, size, bytes),
            EntryLocation::Zip { header, packed, size, crc, method } => self.unzip(header, packed, size, method, bytes).and_then(|()| {
                if crc32fast::hash(bytes) == crc {
                    return Ok(());
                }
                Err(BadReason::Checksum)
            }),
        };
        done.map_err(|reason| BadFile { path: self.path(index), reason })
    }

    /// `size` bytes of an archive.
    fn read_at(&self, archive: u32, at: u64, size: u64, bytes: &mut Vec<u8>) -> Result<(), BadReason> {
        if size > MAX_FILE_BYTES {
            return Err(BadReason::Read(format!("the archive says {size} bytes, more than any image")));
        }
        bytes.resize(size as usize, 0);
        self.archives[archive as usize].read_exact_at(bytes, at).map_err(refused)
    }

    fn unzip(&self, header: u64, packed: u64, size: u64, method: Compression, bytes: &mut Vec<u8>) -> Result<(), BadReason> {
        let refuse = |text: String| Err(BadReason::Read(text));
        let (fixed, magic) = LOCAL_HEADER;
        self.read_at(0, header, fixed as u64, bytes)?;
        if !bytes.starts_with(magic) {
            return refuse("no entry begins where the archive's directory says".into());
        }
        let length = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let start = header.saturating_add(fixed as u64 + length(26) + length(28));
        match method {
            Compression::Stored if packed != size => refuse(format!("the archive says {size} bytes, stored as {packed}")),
            Compression::Stored => self.read_at(0, start, size, bytes),
            Compression::Deflated => {
                if size > MAX_FILE_BYTES {
                    return refuse(format!("the archive says {size} bytes, more than any image"));
                }
                let mut held = Vec::new();
                self.read_at(0, start, packed, &mut held)?;
                bytes.clear();
                // One byte more than was said shows a lie without unpacking all of it.
                let mut unpacked = DeflateDecoder::new(held.as_slice()).take(size + 1);
                unpacked
                    .read_to_end(bytes)
                    .map_err(|error| BadReason::Read(format!("the packed data are damaged ({error})")))?;
                if bytes.len() as u64 == size {
                    return Ok(());
                }
                let more = bytes.len() as u64 > size;
                refuse(format!(
                    "the archive says {size} bytes, it unpacks to {}",
                    if more { "more".into() } else { bytes.len().to_string() }
                ))
            }
            Compression::Other(number) => refuse(format!("packing method {number} is not known here; pack with deflate or store")),
            Compression::Encrypted => refuse("the entry is encrypted".into()),
        }
    }

    /// Fails for the first class to which no image of `counts` (images by class) is left.
    pub(crate) fn refuse_empty_class(&self, counts: &[usize]) -> Result<(), DataError> {
        match counts.iter().position(|&count| count == 0) {
            Some(class) => Err(DataError::EmptyClass { path: self.class_places[class].clone() }),
            None => Ok(()),
        }
    }
}

impl Entry {
    fn mark(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for part in self.name.components() {
            hasher.update(part.as_os_str().to_string_lossy().as_bytes());
            hasher.update(b"/");
        }
        let (size, crc) = match self.place {
            EntryLocation::File { size } | EntryLocation::Tar { size, .. } => (size, 0),
            EntryLocation::Zip { size, crc, .. } => (size, crc),
        };
        hasher.update(&size.to_le_bytes());
        hasher.update(&crc.to_le_bytes());
        hasher.finalize()
    }
}

fn refused(error: io::Error) -> BadReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BadReason::Truncated,
        _ => BadReason::Read(error.to_string()),
    }
}

/// Whether a name says "image".
pub(crate) fn has_image_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The last part of a path. `.` and `..` have none, so those are resolved.
pub(crate) fn name_of(path: &Path) -> String {
    let named = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    named(path)
        .or_else(|| named(&fs::canonicalize(path).ok()?))
        .unwrap_or_else(|| "images".into())
}

/// A name in an archive as a path below its root: `\` is taken for `/`, and `.` left out. None if a part of it begins with a dot, as in
/// folders.
///
/// # Errors
/// Names that lead out of the archive.
pub(crate) fn inside(name: &str) -> Result<Option<PathBuf>, String> {
    let name = name.replace('\\', "/");
    if name.contains('\0') {
        return Err("a name must not hold a zero byte".into());
    }
    let (mut path, mut hidden) = (PathBuf::new(), false);
    for part in Path::new(&name).components() {
        match part {
            Component::Normal(part) => {
                hidden |= part.to_string_lossy().starts_with('.');
                path.push(part);
            }
            Component::CurDir => (),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("a name must not lead out of the archive".into());
            }
        }
    }
    Ok(Some(path).filter(|path| !hidden && !path.as_os_str().is_empty()))
}
