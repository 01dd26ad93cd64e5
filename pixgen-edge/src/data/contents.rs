//! What a folder or an archive holds before anything has a class: what the readers of all containers fill in, and `classes` decides on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::DataError;
use crate::data::error::BadReason;
use crate::data::format::{START, has_image_name, is_unnamed_image};
use crate::data::labels::{LABEL_FILE, LabelFile, MAX_SIDECAR_BYTES, Sidecar, label_file, sidecar};
use crate::data::passed::PassedOver;
use crate::data::store::{EntryLocation, Store};

/// A file of the container.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Path below the root.
    pub name: PathBuf,
    /// Where its bytes are.
    pub place: EntryLocation,
}

/// The files of a container by what their names say.
#[derive(Debug)]
pub(crate) struct Contents {
    pub store: Store,
    /// Whether the order in which files were added is that of the data set; otherwise it is that of their names.
    pub in_order: bool,
    /// Files that may be images.
    files: Vec<Found>,
    /// `KEY.cls` and `KEY.json`.
    sidecars: Vec<Found>,
    /// Every `dataset.json`.
    label_files: Vec<Found>,
    /// A `dataset.json` that lies beside the archives: its path and content.
    beside: Option<(PathBuf, Vec<u8>)>,
    /// Folders that are known by themselves, whatever they hold.
    folders: BTreeSet<PathBuf>,
    /// Folders that hold files that are no images.
    others: BTreeSet<PathBuf>,
    ignored: BTreeSet<PathBuf>,
    passed: PassedOver,
}

/// The same, read.
pub(crate) struct Sorted {
    pub store: Store,
    pub in_order: bool,
    pub images: Vec<Found>,
    pub sidecars: Vec<Found>,
    /// The label file that counts.
    pub labels: Option<LabelsOfSet>,
    pub folders: BTreeSet<PathBuf>,
    pub others: BTreeSet<PathBuf>,
    pub passed: PassedOver,
}

/// The extension of a file that may hold the label of a picture.
pub(crate) fn sidecar_extension(name: &Path) -> Option<&'static str> {
    let extension = name.extension()?;
    ["cls", "json"].into_iter().find(|known| extension.eq_ignore_ascii_case(known))
}

impl Contents {
    pub fn new(store: Store, in_order: bool) -> Self {
        let (folders, others, ignored) = Default::default();
        let (files, sidecars, label_files) = Default::default();
        Self {
            store,
            in_order,
            files,
            sidecars,
            label_files,
            beside: None,
            folders,
            others,
            ignored,
            passed: PassedOver::default(),
        }
    }

    /// Adds a file.
    pub fn add(&mut self, name: PathBuf, place: EntryLocation) {
        let kind = if name.file_name().is_some_and(|last| last == LABEL_FILE) {
            &mut self.label_files
        } else if sidecar_extension(&name).is_some() {
            &mut self.sidecars
        } else {
            &mut self.files
        };
        kind.push(Found { name, place });
    }

    /// Adds a `dataset.json` that lies beside the archives.
    pub fn add_beside(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.beside = Some((path, bytes));
    }

    /// Adds a folder.
    pub fn add_folder(&mut self, name: PathBuf) {
        self.folders.insert(name);
    }

    /// Counts what is hidden, or belongs to a system; a folder with all that is in it.
    pub fn ignore(&mut self, name: PathBuf) {
        self.ignored.insert(name);
    }

    /// Counts what can be no image: links, devices.
    pub fn pass_over(&mut self, name: &Path) {
        self.passed.count(name);
        self.others.extend(name.parent().map(Path::to_path_buf));
    }

    /// Looks into the files whose names say nothing, and reads the label file.
    ///
    /// # Errors
    /// Two label files, or one that cannot be read; no image.
    pub fn sort(mut self) -> Result<Sorted, DataError> {
        let store = &self.store;
        let is_image =
            |file: &Found| has_image_name(&file.name) || is_unnamed_image(&file.name, &store.start(&file.name, file.place, START as u64));
        let kept: Vec<bool> = self.files.par_iter().map(is_image).collect();
        let (mut images, mut kept) = (std::mem::take(&mut self.files), kept.into_iter());
        images.retain(|file| kept.next() == Some(true) || self.passed_by(file));
        self.passed.hidden = self.ignored.len();
        if images.is_empty() {
            self.sidecars
                .iter()
                .chain(&self.label_files)
                .for_each(|file| self.passed.count(&file.name));
            return Err(DataError::NoImage { path: self.store.root, passed: self.passed });
        }
        let parents = self.sidecars.iter().chain(&self.label_files).filter_map(|file| file.name.parent());
        self.others.extend(parents.map(Path::to_path_buf));
        let labels = self.read_label_file()?;
        let Self { store, in_order, sidecars, folders, others, passed, .. } = self;
        Ok(Sorted { store, in_order, images, sidecars, labels, folders, others, passed })
    }

    /// Counts a file that is no image; false.
    fn passed_by(&mut self, file: &Found) -> bool {
        self.pass_over(&file.name);
        false
    }

    /// The outermost label file; one beside the archives stands in for one inside. Files of this name that are about something else are
    /// passed over.
    fn read_label_file(&mut self) -> Result<Option<LabelsOfSet>, DataError> {
        let depth = |found: &Found| found.name.components().count();
        let mut files = std::mem::take(&mut self.label_files);
        files.sort_by(|a, b| depth(a).cmp(&depth(b)).then_with(|| a.name.cmp(&b.name)));
        let beside = self.beside.take().filter(|_| files.is_empty());
        let outermost = files.first().map_or(0, depth);
        let mut found: Option<LabelsOfSet> = None;
        for (index, file) in files.iter().enumerate() {
            let path = self.store.root.join(&file.name);
            let twin = index > 0 && files[index - 1].name == file.name;
            let labels = match depth(file) == outermost {
                true => parse(&path, &self.read_text(file, &path)?)?,
                false => None,
            };
            match labels {
                Some(_) if found.is_some() => return Err(two_label_files(&path)),
                _ if twin => return Err(two_label_files(&path)),
                Some(labels) => found = Some((file.name.parent().map(Path::to_path_buf).unwrap_or_default(), path, labels)),
                None => self.passed.count(&file.name),
            }
        }
        if let Some((path, bytes)) = beside {
            match parse(&path, &bytes)? {
                Some(labels) => found = Some((PathBuf::new(), path, labels)),
                None => self.passed.count(&path),
            }
        }
        Ok(found)
    }

    fn read_text(&self, file: &Found, path: &Path) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        self.store.read(&file.name, file.place, &mut bytes).map_err(|reason: BadReason| {
            DataError::archive(path, &format!("the labels cannot be read: {reason}"), "make the file again")
        })?;
        Ok(bytes)
    }
}

/// The label file of a set: the folder that names in it begin at, its path for messages, what it says.
pub(crate) type LabelsOfSet = (PathBuf, PathBuf, LabelFile);

/// What a label file says of pictures or classes; None if nothing.
fn parse(path: &Path, bytes: &[u8]) -> Result<Option<LabelFile>, DataError> {
    let hint = "write {\"labels\": [[\"00000/img.png\", 3], ..]} with whole numbers, or {\"labels\": null} for data without classes";
    let labels = label_file(bytes).map_err(|what| DataError::archive(path, &what, hint))?;
    Ok(labels.filter(|labels| *labels != LabelFile::default()))
}

fn two_label_files(path: &Path) -> DataError {
    DataError::archive(path, "there are two label files", "keep one of them")
}

impl Sorted {
    /// What the files beside the pictures say.
    pub fn read_sidecars(&mut self) -> Vec<(Found, Sidecar)> {
        let store = &self.store;
        let read = |file: Found| {
            let extension = sidecar_extension(&file.name).unwrap_or_default();
            let said = sidecar(extension, &store.start(&file.name, file.place, MAX_SIDECAR_BYTES));
            (file, said)
        };
        std::mem::take(&mut self.sidecars).into_par_iter().map(read).collect()
    }
}
