//! From unfinished work to a finished folder, in one step; and knowing such a folder again.

use super::catalogue::{Name, Package};
use super::checksum;
use super::error::{Change, PackageError};
use pixgen_edge::atomic::write_atomic;
use pixgen_edge::file_error::FileError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The file by which a folder is known again. Loaders pass over names that begin with a dot.
const RECORD: &str = ".pixgen-data.json";

/// The lock file of a folder of unfinished work.
const LOCK: &str = "lock";

/// Folders in a folder of unfinished work: what a client brings, and what will be the finished one.
const CLIENT: &str = "client";
const FILES: &str = "files";

/// Licence and credit, beside the pictures.
pub const LICENCE: &str = "LICENSE.txt";

/// What a folder was made from and what it held then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    /// As text, since a folder may hold a set that this version no longer has.
    name: String,
    package: String,
    package_sha256: String,
    options: Vec<String>,
    files: usize,
    files_sha256: String,
}

impl Record {
    /// What is wanted; the files are counted when they are there.
    pub fn new(name: Name, package: &Package, options: Vec<String>) -> Self {
        let (package, package_sha256) = (package.title.to_owned(), package.sha256.to_owned());
        Self {
            schema: 1,
            name: name.to_string(),
            package,
            package_sha256,
            options,
            files: 0,
            files_sha256: String::new(),
        }
    }

    fn same_origin(&self, other: &Self) -> bool {
        (self.schema, &self.name, &self.package_sha256, &self.options) == (other.schema, &other.name, &other.package_sha256, &other.options)
    }

    fn write(&self, path: &Path) -> Result<(), FileError> {
        write_atomic(path, |file| serde_json::to_writer_pretty(file, self).map_err(std::io::Error::from))
    }

    fn description(&self) -> String {
        let options: String = self.options.iter().map(|option| format!(" --{option}")).collect();
        format!("{}{options} from {}", self.name, self.package)
    }
}

/// What is at the place of a folder.
#[derive(Debug)]
pub enum Found {
    /// Nothing, or an empty folder.
    Nothing,
    /// What is wanted, unchanged.
    Same,
    /// Something else that `data get` made and may replace; the error says what.
    Other(PackageError),
}

/// Looks at the place of a folder, and reads all files in it if `data get` made it.
///
/// # Errors
/// [`PackageError::Foreign`] for anything that `data get` did not make, [`PackageError::File`].
pub fn look(out: &Path, wanted: &Record) -> Result<Found, PackageError> {
    let foreign = || PackageError::Foreign { path: out.to_owned() };
    match fs::metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(FileError::read(out)(error).into()),
        Ok(metadata) if !metadata.is_dir() => return Err(foreign()),
        Ok(_) => {}
    }
    let path = out.join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(out).map_err(FileError::read(out))?;
            return if entries.next().is_none() {
                Ok(Found::Nothing)
            } else {
                Err(foreign())
            };
        }
        Err(error) => return Err(FileError::read(&path)(error).into()),
    };
    let record: Record = serde_json::from_slice(&text).map_err(|_| foreign())?;
    if !record.same_origin(wanted) {
        let (was, is) = (record.description(), wanted.description());
        return Ok(Found::Other(PackageError::Other { path: out.to_owned(), was, is }));
    }
    let (files, files_sha256) = checksum::of_folder(out)?;
    if files != record.files {
        let kind = Change::Files { found: files, expected: record.files };
        return Ok(Found::Other(PackageError::Changed { path: out.to_owned(), kind }));
    }
    if files_sha256 != record.files_sha256 {
        return Ok(Found::Other(PackageError::Changed { path: out.to_owned(), kind: Change::Contents }));
    }
    Ok(Found::Same)
}

/// The same for a file, whose record lies beside it.
///
/// # Errors
/// [`PackageError::Foreign`] for anything that `data get` did not make, [`PackageError::File`].
pub fn look_file(out: &Path, wanted: &Record) -> Result<Found, PackageError> {
    let foreign = || PackageError::Foreign { path: out.to_owned() };
    let mut file = match File::open(out) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(FileError::read(out)(error).into()),
    };
    let text = fs::read(beside(out, RECORD)).map_err(|_| foreign())?;
    let record: Record = serde_json::from_slice(&text).map_err(|_| foreign())?;
    if !record.same_origin(wanted) {
        let (was, is) = (record.description(), wanted.description());
        return Ok(Found::Other(PackageError::Other { path: out.to_owned(), was, is }));
    }
    if checksum::of_reader(&mut file).map_err(FileError::read(out))? != record.files_sha256 {
        return Ok(Found::Other(PackageError::Changed { path: out.to_owned(), kind: Change::Bytes }));
    }
    Ok(Found::Same)
}

/// The path of a file that belongs to `out`: `.weights.safetensors.pixgen-data.json`, `weights.safetensors.LICENSE.txt`.
fn beside(out: &Path, suffix: &str) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    match suffix.strip_prefix('.') {
        Some(rest) => out.with_file_name(format!(".{name}.{rest}")),
        None => out.with_file_name(format!("{name}.{suffix}")),
    }
}

/// The folder of unfinished work beside the one to make; this process alone works in it. When something goes wrong it stays, unless
/// nothing worth keeping is in it.
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    /// Held, not used.
    _lock: File,
}

impl WorkFolder {
    /// Opens `.NAME.unfinished` beside `out`.
    ///
    /// # Errors
    /// [`PackageError::NoName`], [`PackageError::InUse`], [`PackageError::File`].
    pub fn open(out: &Path) -> Result<Self, PackageError> {
        let Some(name) = out.file_name() else {
            return Err(PackageError::NoName { path: out.to_owned() });
        };
        let path = out.with_file_name(format!(".{}.unfinished", name.to_string_lossy()));
        fs::create_dir_all(&path).map_err(FileError::write(&path))?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(FileError::write(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(PackageError::InUse { path }),
            // A file system without locks; two processes at the same place are left to the user there.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Self { path, _lock: lock }),
            Err(TryLockError::Error(error)) => Err(FileError::write(&lock_path)(error).into()),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An empty folder for a registry's client.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub fn client_folder(&self) -> Result<PathBuf, PackageError> {
        self.empty(CLIENT)
    }

    fn empty(&self, name: &str) -> Result<PathBuf, PackageError> {
        let folder = self.path.join(name);
        remove_folder(&folder)?;
        fs::create_dir(&folder).map_err(FileError::write(&folder))?;
        Ok(folder)
    }

    /// An empty folder for the files of a package.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub fn stage(&self, package: &'static Package) -> Result<Staging, PackageError> {
        let root = self.empty(FILES)?;
        Ok(Staging { root, package, own_licence: String::new(), summary: String::new() })
    }

    /// Puts the staged folder in its place and removes the work folder; returns the summary.
    ///
    /// # Errors
    /// [`PackageError::File`]; then what was at `out` is there still.
    pub fn finish(self, staging: Staging, mut record: Record, out: &Path) -> Result<String, PackageError> {
        staging.write(LICENCE, staging.licence_text().as_bytes())?;
        (record.files, record.files_sha256) = checksum::of_folder(&staging.root)?;
        record.write(&staging.root.join(RECORD))?;
        let old = self.path.join("old");
        remove_folder(&old)?;
        let replaces = out.exists();
        if replaces {
            fs::rename(out, &old).map_err(FileError::write(out))?;
        }
        if let Err(error) = fs::rename(&staging.root, out) {
            if replaces {
                // The first error is the one to tell; the old folder is in the work folder if this fails too.
                let _ = fs::rename(&old, out);
            }
            return Err(FileError::write(out)(error).into());
        }
        self.clear()?;
        Ok(staging.summary)
    }

    /// The same for a package that becomes the file `name`.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub fn finish_file(self, staging: Staging, name: &str, mut record: Record, out: &Path) -> Result<String, PackageError> {
        let made = staging.root.join(name);
        let sum = File::open(&made).and_then(|mut file| checksum::of_reader(&mut file));
        (record.files, record.files_sha256) = (1, sum.map_err(FileError::read(&made))?);
        let licence = staging.licence_text();
        write_atomic(&beside(out, LICENCE), |file| file.write_all(licence.as_bytes()))?;
        record.write(&beside(out, RECORD))?;
        fs::rename(&made, out).map_err(FileError::write(out))?;
        self.clear()?;
        Ok(staging.summary)
    }

    /// Forgets what a client and an unpacker have left.
    pub fn clean(&self) {
        for name in [CLIENT, FILES] {
            // What stays does no harm: the next call empties it.
            let _ = remove_folder(&self.path.join(name));
        }
    }

    fn clear(self) -> Result<(), FileError> {
        let path = self.path.clone();
        drop(self);
        remove_folder(&path)
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let worthless = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name() == LOCK || entry.metadata().is_ok_and(|file| file.is_file() && file.len() == 0))
        };
        if fs::read_dir(&self.path).is_ok_and(|mut entries| entries.all(worthless)) {
            // A folder that stays does no harm.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The files of a package on their way.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    package: &'static Package,
    own_licence: String,
    summary: String,
}

impl Staging {
    /// Writes a file; `name` has `/` between folders, which are made.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PackageError> {
        let path = self.root.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        }
        Ok(fs::write(&path, bytes).map_err(FileError::write(&path))?)
    }

    /// Adds the text that the package itself has about its licence to [`LICENCE`].
    pub fn licence(&mut self, text: &[u8]) {
        self.own_licence = String::from_utf8_lossy(text).into_owned();
    }

    /// Says what was taken out, in a few words.
    pub fn summarise(&mut self, summary: String) {
        self.summary = summary;
    }

    /// Where the files lie for now.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn licence_text(&self) -> String {
        let Package { title, licence, credit, .. } = self.package;
        let mut text = format!("From the package {title}.\n\nLicence: {licence}\nCredit: {credit}\n");
        if !self.own_licence.is_empty() {
            text += &format!("\nWhat the package says:\n\n{}\n", self.own_licence.trim());
        }
        text
    }
}

/// Removes a folder with all that is in it, if there is one.
fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FileError::Remove { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(options: &[&str]) -> Record {
        Record::new(Name::NotoEmoji, Name::NotoEmoji.package(), options.iter().map(|&option| option.to_owned()).collect())
    }

    /// Made by a version that had more sets.
    #[test]
    fn a_folder_of_a_set_that_is_gone_is_still_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = serde_json::to_value(record(&[])).unwrap();
        old["name"] = "fugue".into();
        fs::write(folder.path().join(RECORD), old.to_string()).unwrap();
        let found = look(folder.path(), &record(&[])).unwrap();
        assert!(matches!(found, Found::Other(PackageError::Other { was, .. }) if was.starts_with("fugue")));
    }

    fn make(out: &Path, bytes: &[u8]) -> String {
        let work = WorkFolder::open(out).unwrap();
        let mut staging = work.stage(Name::NotoEmoji.package()).unwrap();
        staging.write("a/1.png", bytes).unwrap();
        staging.licence(b"be kind");
        staging.summarise("one picture".to_owned());
        work.finish(staging, record(&[]), out).unwrap()
    }

    #[test]
    fn a_finished_folder_is_known_again_and_changes_are_seen() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("deep/er/icons");
        assert!(matches!(look(&out, &record(&[])), Ok(Found::Nothing)));
        assert_eq!(make(&out, b"one"), "one picture");
        assert!(matches!(look(&out, &record(&[])), Ok(Found::Same)));
        assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "the work folder is gone");
        let licence = fs::read_to_string(out.join(LICENCE)).unwrap();
        for part in ["Apache-2.0", "Copyright Google LLC", "be kind"] {
            assert!(licence.contains(part), "{licence}");
        }

        let other = look(&out, &record(&["skin-tones"])).unwrap();
        let Found::Other(error) = other else { panic!("{other:?}") };
        assert!(
            error.to_string().ends_with(
                "holds noto-emoji from emoji-datasource-google 16.0.0, not noto-emoji --skin-tones from emoji-datasource-google 16.0.0"
            ),
            "{error}"
        );

        fs::write(out.join("a/1.png"), b"two").unwrap();
        assert!(matches!(look(&out, &record(&[])), Ok(Found::Other(PackageError::Changed { .. }))));
        fs::write(out.join("a/2.png"), b"two").unwrap();
        let other = look(&out, &record(&[])).unwrap();
        let Found::Other(error) = other else { panic!("{other:?}") };
        assert!(error.to_string().contains("3 files instead of 2"), "{error}");

        make(&out, b"new");
        assert_eq!(fs::read(out.join("a/1.png")).unwrap(), b"new");
        assert!(!out.join("a/2.png").exists(), "the old folder is replaced, not filled up");
    }

    #[test]
    fn a_finished_file_is_known_again_and_changes_are_seen() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("cache/w.safetensors");
        assert!(matches!(look_file(&out, &record(&[])), Ok(Found::Nothing)));
        let work = WorkFolder::open(&out).unwrap();
        let staging = work.stage(Name::NotoEmoji.package()).unwrap();
        staging.write("x", b"weights").unwrap();
        work.finish_file(staging, "x", record(&[]), &out).unwrap();
        assert!(matches!(look_file(&out, &record(&[])), Ok(Found::Same)));
        assert!(matches!(look_file(&out, &record(&["skin-tones"])), Ok(Found::Other(PackageError::Other { .. }))));
        let mut names: Vec<_> = fs::read_dir(out.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".w.safetensors.pixgen-data.json", "w.safetensors", "w.safetensors.LICENSE.txt"]);
        fs::write(&out, b"Weights").unwrap();
        assert!(matches!(look_file(&out, &record(&[])), Ok(Found::Other(PackageError::Changed { .. }))));
        fs::remove_file(beside(&out, RECORD)).unwrap();
        assert!(matches!(look_file(&out, &record(&[])), Err(PackageError::Foreign { .. })));
    }

    #[test]
    fn foreign_things_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("photos");
        fs::create_dir(&folder).unwrap();
        assert!(matches!(look(&folder, &record(&[])), Ok(Found::Nothing)), "an empty folder is fine");
        fs::write(folder.join("cat.jpg"), b"x").unwrap();
        assert!(matches!(look(&folder, &record(&[])), Err(PackageError::Foreign { .. })));
        assert!(matches!(look(&folder.join("cat.jpg"), &record(&[])), Err(PackageError::Foreign { .. })));
        fs::write(folder.join(RECORD), b"{}").unwrap();
        assert!(matches!(look(&folder, &record(&[])), Err(PackageError::Foreign { .. })));
        for path in ["/", "..", ""] {
            assert!(matches!(WorkFolder::open(Path::new(path)), Err(PackageError::NoName { .. })), "{path}");
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("icons");
        let work = WorkFolder::open(&out).unwrap();
        let error = WorkFolder::open(&out).unwrap_err();
        assert!(matches!(error, PackageError::InUse { .. }), "{error}");
        assert!(error.hint().is_some());
        std::fs::write(work.path().join("x.part"), b"").unwrap();
        let path = work.path().to_owned();
        drop(work);
        assert!(!path.exists(), "nothing worth keeping was in it");
        let work = WorkFolder::open(&out).unwrap();
        std::fs::write(path.join("x.part"), b"half").unwrap();
        drop(work);
        assert!(path.join("x.part").exists());
        WorkFolder::open(&out).unwrap();
    }
}
