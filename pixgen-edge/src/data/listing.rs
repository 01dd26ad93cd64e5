//! The images of a folder, a zip archive or tar shards before anything is decoded: names, classes, and where the bytes of each lie.
//!
//! Any thread reads any image by its number: files of a folder are opened, archives are read at a position. Nothing is written to a path
//! that a name in an archive says.

use std::path::PathBuf;

use crate::data::DataError;
use crate::data::error::BadFile;
use crate::data::passed::PassedOver;
use crate::data::store::{EntryLocation, Store};

/// The images of a folder, a zip archive or tar shards, in the order of their classes or names.
#[derive(Debug)]
pub struct Listing {
    pub(crate) store: Store,
    pub(crate) entries: Vec<Entry>,
    /// Names of the classes.
    pub(crate) class_names: Vec<String>,
    /// Where a message says that a class is: its folder, or the archive.
    pub(crate) class_places: Vec<PathBuf>,
    pub(crate) passed: PassedOver,
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

    /// What lies beside the images and was not used.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed
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
        self.store.root.join(&self.entries[index].name)
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
        let done = self.store.read(&entry.name, entry.place, bytes);
        done.map_err(|reason| BadFile { path: self.path(index), reason })
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
