//! What a folder or an archive holds before anything has a class: what the readers of all containers fill in, and `classes` decides on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::DataError;
use crate::data::error::BadReason;
use crate::data::format::{START, has_image_name, is_unnamed_image};
use crate::data::labels::{LABEL_FILE, LabelFile, MAX_SIDECAR_BYTES, Sidecar, has_labels, label_file, sidecar};
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

/// Whether a name is that of a picture, a label or a list of labels, so that what is no plain file must not be passed over.
pub(crate) fn must_be_plain(name: &Path) -> bool {
    has_image_name(name) || sidecar_extension(name) == Some("cls") || name.file_name().is_some_and(|last| last == LABEL_FILE)
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
        let labels = self.read_label_file(&images)?;
        let Self { store, in_order, sidecars, folders, others, passed, .. } = self;
        Ok(Sorted { store, in_order, images, sidecars, labels, folders, others, passed })
    }

    /// Counts a file that is no image; false.
    fn passed_by(&mut self, file: &Found) -> bool {
        self.pass_over(&file.name);
        false
    }

    /// The label file that counts: the outermost of those that say something and below whose folder all pictures lie. One beside the
    /// archives is the outermost of several shards, and stands in for one inside a single archive. All others are passed over.
    fn read_label_file(&mut self, images: &[Found]) -> Result<Option<LabelsOfSet>, DataError> {
        let depth = |name: &Path| name.components().count();
        let mut files = std::mem::take(&mut self.label_files);
        files.sort_by(|a, b| depth(&a.name).cmp(&depth(&b.name)).then_with(|| a.name.cmp(&b.name)));
        let shards = self.store.archives.len() > 1;
        let mut found = if shards { self.read_beside()? } else { None };
        // As many parts as the name of the one that counts; a second of so many is one too many.
        let mut taken = 0;
        for (index, file) in files.iter().enumerate() {
            let path = self.store.root.join(&file.name);
            let folder = file.name.parent().unwrap_or(Path::new(""));
            let may_count = found.is_none() || depth(&file.name) == taken;
            if !may_count || !covers(folder, images, shards) {
                let bytes = self.read_text(file, &path).unwrap_or_default();
                self.pass_label_file(&path, &bytes);
                continue;
            }
            let twin = index > 0 && files[index - 1].name == file.name;
            let bytes = self.read_text(file, &path)?;
            match parse(&path, &bytes)? {
                Some(_) if found.is_some() => return Err(two_label_files(&path)),
                _ if twin => return Err(two_label_files(&path)),
                Some(LabelFile { labels: Some(_), .. }) if shards => return Err(of_one_shard(&path)),
                Some(labels) => {
                    taken = depth(&file.name);
                    found = Some((folder.to_path_buf(), path, labels));
                }
                None => self.pass_label_file(&path, &bytes),
            }
        }
        if found.is_none() {
            return self.read_beside();
        }
        if let Some((path, bytes)) = self.beside.take() {
            self.pass_label_file(&path, &bytes);
        }
        Ok(found)
    }

    /// The label file beside the archives, if it says something.
    fn read_beside(&mut self) -> Result<Option<LabelsOfSet>, DataError> {
        let Some((path, bytes)) = self.beside.take() else { return Ok(None) };
        let labels = parse(&path, &bytes)?;
        if labels.is_none() {
            self.pass_label_file(&path, &bytes);
        }
        Ok(labels.map(|labels| (PathBuf::new(), path, labels)))
    }

    /// Counts a label file that does not count, whatever it holds.
    fn pass_label_file(&mut self, path: &Path, bytes: &[u8]) {
        self.passed.count(path);
        self.passed.unused_labels += usize::from(has_labels(bytes));
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

/// Whether all pictures lie below a folder; of several shards, below the same folder in each.
fn covers(folder: &Path, images: &[Found], shards: bool) -> bool {
    let inner = |path: &'_ Path| -> PathBuf { path.components().skip(usize::from(shards)).collect() };
    let folder = inner(folder);
    images.iter().all(|image| match shards {
        true => inner(&image.name).starts_with(&folder),
        false => image.name.starts_with(&folder),
    })
}

fn of_one_shard(path: &Path) -> DataError {
    let hint = "write one dataset.json beside the shards, with names that begin with that of the shard: [\"0.tar/img.png\", 3]";
    DataError::archive(path, "the label file lies in one of several shards, and others have pictures too", hint)
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
