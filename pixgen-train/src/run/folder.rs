//! The run folder: where it is, whose it is, and what lies where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{RunError, Warning};
use super::lock::{LOCK_NAME, RunLock};
use pixgen_edge::atomic::{is_temporary, make_folder, remove_leftovers, write_atomic};

/// First line of the `config.toml` of a run, by which a folder is known as ours.
const MARK: &str = "# pixgen run folder 1";

/// The resolved settings in a run folder.
pub const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const MODEL: &str = "model.safetensors";
const BEST: &str = "best.safetensors";
const SAMPLES: &str = "samples";
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// A run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    lock: Option<RunLock>,
    warnings: Vec<Warning>,
}

impl RunFolder {
    /// Creates or opens the folder at `path` for training and keeps other processes out until dropped.
    ///
    /// Removes half-written files of a killed process; [`RunFolder::warnings`] tells which.
    ///
    /// # Errors
    /// [`RunError::NotAFolder`], [`RunError::Foreign`] for a folder that is neither empty nor a run's, [`RunError::InUse`],
    /// [`RunError::Create`], [`RunError::Unwritable`].
    pub fn open(path: &Path) -> Result<Self, RunError> {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(RunError::NotAFolder { path: path.to_owned() });
            }
            Ok(_) => check_ours(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(RunError::read(path)(error)),
        }
        let (lock, stale) = RunLock::acquire(path)?;
        let mut folder = Self { path: path.to_owned(), lock: Some(lock), warnings: stale.into_iter().collect() };
        create(&folder.samples())?;
        create(&folder.checkpoints())?;
        for place in [path, &folder.samples(), &folder.checkpoints()] {
            let removed = remove_leftovers(place)?.into_iter();
            folder.warnings.extend(removed.map(|path| Warning::LeftoverRemoved { path }));
        }
        Ok(folder)
    }

    /// Opens an existing run for reading, also while another process trains into it.
    ///
    /// # Errors
    /// [`RunError::NoFolder`], [`RunError::NotAFolder`], [`RunError::Foreign`], [`RunError::File`].
    pub fn view(path: &Path) -> Result<Self, RunError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => check_ours(path)?,
            Ok(_) => {
                return Err(RunError::NotAFolder { path: path.to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunError::NoFolder { path: path.to_owned() });
            }
            Err(error) => return Err(RunError::read(path)(error)),
        }
        Ok(Self { path: path.to_owned(), lock: None, warnings: Vec::new() })
    }

    /// What was odd about the folder when it was opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved settings, `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The log, `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The exported model, `model.safetensors`.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The model of the best measurement, `best.safetensors`; a run that measures its quality keeps it.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// The folder of pictures, `samples/`.
    pub fn samples(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// The folder of states to resume from, `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Saves the resolved settings, which also marks the folder as a run's; to be called before anything else is written.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn write_config(&self, toml: &str) -> Result<(), RunError> {
        self.require_lock()?;
        Ok(write_atomic(&self.config(), |out| write!(out, "{MARK}\n\n{toml}"))?)
    }

    /// Whether this process may write: it holds the lock.
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    pub(super) fn require_lock(&self) -> Result<(), RunError> {
        if self.is_locked() {
            return Ok(());
        }
        Err(RunError::ReadOnly { path: self.path.clone() })
    }
}

/// Whether the bytes of a `config.toml` are those of a run.
pub(super) fn is_marked(config: &[u8]) -> bool {
    // Editors of Windows write a byte order mark.
    config.strip_prefix("\u{feff}".as_bytes()).unwrap_or(config).starts_with(MARK.as_bytes())
}

fn create(path: &Path) -> Result<(), RunError> {
    make_folder(path).map_err(|source| RunError::Create { path: path.to_owned(), source })
}

/// A run's folder has a `config.toml` with our mark, or nothing in it that a run would not make before that.
fn check_ours(path: &Path) -> Result<(), RunError> {
    let config = path.join(CONFIG);
    match fs::read(&config) {
        Ok(bytes) if is_marked(&bytes) => return Ok(()),
        Ok(_) => {
            return Err(RunError::Foreign { path: path.to_owned(), found: CONFIG.to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(RunError::read(&config)(error)),
    }
    for entry in fs::read_dir(path).map_err(RunError::read(path))? {
        let entry = entry.map_err(RunError::read(path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours =
            name == LOCK_NAME || is_temporary(&name) || ([SAMPLES, CHECKPOINTS].contains(&name.as_str()) && is_empty_folder(&entry.path()));
        if !ours {
            return Err(RunError::Foreign { path: path.to_owned(), found: name });
        }
    }
    Ok(())
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_marks_and_reopens() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/first");
        let run = RunFolder::open(&path).unwrap();
        assert!(run.warnings().is_empty());
        assert!(run.samples().is_dir() && run.checkpoints().is_dir());
        run.write_config("seed = 1\n").unwrap();
        fs::write(run.path().join("notes.txt"), "mine").unwrap();
        assert!(matches!(RunFolder::open(&path), Err(RunError::InUse { .. })));
        drop(run);
        let run = RunFolder::open(&path).unwrap();
        assert!(run.warnings().is_empty());
        let config = fs::read_to_string(run.config()).unwrap();
        assert_eq!(config.parse::<toml::Table>().unwrap()["seed"].as_integer(), Some(1));
    }

    #[test]
    fn a_run_killed_before_its_config_is_opened_again() {
        let parent = tempfile::tempdir().unwrap();
        drop(RunFolder::open(parent.path()).unwrap());
        fs::write(parent.path().join(LOCK_NAME), "4242\n").unwrap();
        fs::write(parent.path().join(".config.toml.4242.tmp"), "# pix").unwrap();
        let run = RunFolder::open(parent.path()).unwrap();
        let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("process 4242"), "{warnings:?}");
        assert!(warnings[1].contains(".config.toml.4242.tmp"), "{warnings:?}");
        assert!(!parent.path().join(".config.toml.4242.tmp").exists());
    }

    #[test]
    fn a_file_in_its_place_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        fs::write(&path, "a file").unwrap();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(matches!(error, RunError::NotAFolder { .. }), "{error}");
        assert!(error.hint().is_some());
        let below = RunFolder::open(&path.join("deeper")).unwrap_err();
        assert!(below.to_string().contains("deeper"), "{below}");
    }

    #[test]
    fn a_foreign_folder_is_an_error_and_stays_untouched() {
        for foreign in ["photo.jpg", "config.toml", "model.safetensors"] {
            let parent = tempfile::tempdir().unwrap();
            fs::write(parent.path().join(foreign), "theirs = 1").unwrap();
            let error = RunFolder::open(parent.path()).unwrap_err();
            assert!(matches!(&error, RunError::Foreign { found, .. } if found == foreign), "{error}");
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        }
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("samples")).unwrap();
        fs::write(parent.path().join("samples/theirs.png"), "x").unwrap();
        assert!(matches!(RunFolder::open(parent.path()), Err(RunError::Foreign { .. })));
    }

    #[test]
    fn a_view_reads_while_another_trains_and_cannot_write() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        assert!(matches!(RunFolder::view(&path), Err(RunError::NoFolder { .. })));
        let run = RunFolder::open(&path).unwrap();
        run.write_config("").unwrap();
        let view = RunFolder::view(&path).unwrap();
        assert!(matches!(view.write_config(""), Err(RunError::ReadOnly { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_place_that_takes_no_folder_is_an_error() {
        let error = RunFolder::open(Path::new("/proc/pixgen-run")).unwrap_err();
        assert!(matches!(error, RunError::Create { .. }), "{error}");
        assert!(error.hint().unwrap().contains("folder"));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_without_permission_is_an_error() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o555)).unwrap();
        if fs::write(parent.path().join(LOCK_NAME), "").is_ok() {
            eprintln!("SKIPPED a_folder_without_permission_is_an_error: this user may write anywhere");
            return;
        }
        let error = RunFolder::open(parent.path()).unwrap_err();
        assert!(matches!(error, RunError::Unwritable { .. }), "{error}");
    }
}
