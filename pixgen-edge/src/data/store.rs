//! Where the bytes of files lie: in a folder, or in archives that any thread reads at a position.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::DeflateDecoder;
use rawzip::{FileReader, ReaderAt};

use crate::data::error::BadReason;

/// Most bytes of one image file in an archive, packed and unpacked: a larger one is no image to train on but a lie of its header.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// Length of the fixed part of a local header in a zip archive, and what it begins with.
const LOCAL_HEADER: (usize, &[u8]) = (30, b"PK\x03\x04");
/// Files that the rest of the program may have open beside the archives.
const OTHER_FILES: u64 = 128;
/// Archives that are kept open on a system that does not say how many files it allows.
const USUAL_FILES: u64 = 256;

/// Where the bytes of a file are.
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

/// The bytes of an archive.
#[derive(Debug)]
pub(crate) enum Archive {
    /// An open file.
    Open(FileReader),
    /// A file that is opened for every read: there are more of them than may be open.
    Closed(PathBuf),
    /// Bytes that were unpacked.
    Memory(Vec<u8>),
}

impl Archive {
    /// The file at `path`, the `number`-th of a set; kept open while that is allowed.
    pub fn keep(path: &Path, file: File, number: usize) -> Self {
        match (number as u64) < allowed_files().saturating_sub(OTHER_FILES) {
            true => Self::Open(file.into()),
            false => Self::Closed(path.to_path_buf()),
        }
    }

    /// Bytes that were unpacked.
    pub fn bytes_in_memory(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Open(_) | Self::Closed(_) => 0,
        }
    }
}

/// Asks for as many open files as this process may have at most, once, and says how many that are.
fn allowed_files() -> u64 {
    static ALLOWED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    // macOS says that there is no limit where there is one; nobody has more archives than this.
    *ALLOWED.get_or_init(|| rlimit::increase_nofile_limit(1 << 16).unwrap_or(USUAL_FILES))
}

impl ReaderAt for Archive {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Open(file) => file.read_at(buffer, offset),
            Self::Closed(path) => FileReader::from(File::open(path)?).read_at(buffer, offset),
            Self::Memory(bytes) => bytes.read_at(buffer, offset),
        }
    }
}

/// A folder, or archives with the place that messages name.
#[derive(Debug)]
pub(crate) struct Store {
    /// The folder, the archive, or the folder of the shards.
    pub root: PathBuf,
    /// None for a folder.
    pub archives: Vec<Archive>,
}

impl Store {
    /// Reads a whole file into `bytes`, whose content is replaced.
    pub fn read(&self, name: &Path, place: EntryLocation, bytes: &mut Vec<u8>) -> Result<(), BadReason> {
        match place {
            EntryLocation::File { .. } => {
                bytes.clear();
                let read = File::open(self.root.join(name)).and_then(|mut file| file.read_to_end(bytes));
                read.map(drop).map_err(refused)
            }
            EntryLocation::Tar { archive, at, size } => self.read_at(archive, at, size, bytes),
            EntryLocation::Zip { header, packed, size, crc, method } => {
                self.unzip(header, packed, size, method, bytes)?;
                if crc32fast::hash(bytes) == crc {
                    return Ok(());
                }
                Err(BadReason::Checksum)
            }
        }
    }

    /// Up to `most` first bytes of a file; fewer of one that ends early or is damaged. Nothing is checked.
    pub fn start(&self, name: &Path, place: EntryLocation, most: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What was read before an error is all that can be known.
        let _ = match place {
            EntryLocation::File { .. } => {
                let read = File::open(self.root.join(name)).and_then(|file| file.take(most).read_to_end(&mut bytes));
                read.map(drop).map_err(refused)
            }
            EntryLocation::Tar { archive, at, size } => self.read_at(archive, at, size.min(most), &mut bytes),
            EntryLocation::Zip { header, packed, size, method, .. } => self.unzip_start(header, packed, size.min(most), method, &mut bytes),
        };
        bytes
    }

    /// `size` bytes of an archive.
    fn read_at(&self, archive: u32, at: u64, size: u64, bytes: &mut Vec<u8>) -> Result<(), BadReason> {
        if size > MAX_FILE_BYTES {
            return Err(BadReason::Read(format!("the archive says {size} bytes, more than any image")));
        }
        bytes.resize(size as usize, 0);
        // A file that is opened for every read is opened once for this one.
        let read = match &self.archives[archive as usize] {
            Archive::Closed(path) => File::open(path).and_then(|file| FileReader::from(file).read_exact_at(bytes, at)),
            archive => archive.read_exact_at(bytes, at),
        };
        read.map_err(refused)
    }

    /// Where the data of an entry begin, whose local header lies at `header`.
    fn zip_data(&self, header: u64) -> Result<u64, BadReason> {
        let (fixed, magic) = LOCAL_HEADER;
        let mut bytes = Vec::new();
        self.read_at(0, header, fixed as u64, &mut bytes)?;
        if !bytes.starts_with(magic) {
            return Err(BadReason::Read("no entry begins where the archive's directory says".into()));
        }
        let length = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        Ok(header.saturating_add(fixed as u64 + length(26) + length(28)))
    }

    fn unzip(&self, header: u64, packed: u64, size: u64, method: Compression, bytes: &mut Vec<u8>) -> Result<(), BadReason> {
        let refuse = |text: String| Err(BadReason::Read(text));
        let start = self.zip_data(header)?;
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

    /// Up to `most` first bytes of an entry of the zip archive.
    fn unzip_start(&self, header: u64, packed: u64, most: u64, method: Compression, bytes: &mut Vec<u8>) -> Result<(), BadReason> {
        // Deflate needs at most a few bytes more than it holds, and a table of codes.
        let start = self.zip_data(header)?;
        match method {
            Compression::Stored => self.read_at(0, start, packed.min(most), bytes),
            Compression::Deflated => {
                let mut held = Vec::new();
                self.read_at(0, start, packed.min(most + 1024), &mut held)?;
                bytes.clear();
                DeflateDecoder::new(held.as_slice())
                    .take(most)
                    .read_to_end(bytes)
                    .map(drop)
                    .map_err(refused)
            }
            Compression::Other(_) | Compression::Encrypted => Ok(()),
        }
    }
}

pub(crate) fn refused(error: io::Error) -> BadReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BadReason::Truncated,
        _ => BadReason::Read(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Archives beyond the limit are read as the open ones are.
    #[test]
    fn archives_need_not_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, b"0123456789").unwrap();
        let open = || File::open(&path).unwrap();
        let archives = vec![
            Archive::keep(&path, open(), 0),
            Archive::keep(&path, open(), usize::MAX),
            Archive::Memory(b"0123456789".to_vec()),
        ];
        assert!(matches!(&archives[..], [Archive::Open(_), Archive::Closed(_), Archive::Memory(_)]));
        let store = Store { root: folder.path().into(), archives };
        for archive in 0..3 {
            let mut bytes = Vec::new();
            store
                .read(Path::new("x"), EntryLocation::Tar { archive, at: 3, size: 4 }, &mut bytes)
                .unwrap();
            assert_eq!(bytes, b"3456");
            let beyond = store.read(Path::new("x"), EntryLocation::Tar { archive, at: 8, size: 4 }, &mut bytes);
            assert_eq!(beyond, Err(BadReason::Truncated));
        }
    }
}
