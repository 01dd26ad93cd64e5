//! What can go wrong around a run, and what is only worth a warning.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pixgen_edge::file_error::FileError;
use pixgen_edge::file_error::write_hint;
use pixgen_edge::units::counted;

/// Something that stops a run: what, where, and (through [`RunError::hint`]) what to try next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The path of the run folder is a file.
    #[error("`{}` is a file, not a run folder", .path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The run folder does not exist, and is needed.
    #[error("there is no run folder `{}`", .path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// The folder holds files that are not of a run.
    #[error("`{}` holds `{found}` but no configuration of a run", .path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One thing in it that is not ours.
        found: String,
    },
    /// The folder cannot be made.
    #[error("cannot create the folder `{}`: {source}", .path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder exists but takes no files.
    #[error("cannot write into the run folder `{}`: {source}", .path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process trains into the folder.
    #[error("the run folder `{}` is in use by {}", .path.display(), process(.pid))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds the lock, where it can be read.
        pid: Option<u32>,
    },
    /// The folder was opened for reading only.
    #[error("the run folder `{}` was opened for reading only", .path.display())]
    ReadOnly {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read, written or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A checkpoint file that is not whole.
    #[error("the checkpoint `{}` is damaged: {damage}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        damage: Damage,
    },
    /// There are checkpoints, but no whole one.
    #[error("no checkpoint in `{}` is whole: {}", .folder.display(), listed(.files))]
    AllDamaged {
        /// The folder of checkpoints.
        folder: PathBuf,
        /// File names, newest first.
        files: Vec<(String, Damage)>,
    },
    /// A tensor whose shape and data disagree.
    #[error("tensor `{name}` has shape {shape:?} but {values} values")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many values it has.
        values: usize,
    },
    /// A name that occurs twice or has a meaning in the file format.
    #[error("the checkpoint cannot hold a second `{name}`")]
    NameTaken {
        /// The tensor or metadata name.
        name: String,
    },
    /// A record that is not a flat JSON object.
    #[error("a record for `{}` is not a JSON object: {source}", .path.display())]
    Record {
        /// The log.
        path: PathBuf,
        /// What the serialiser says.
        source: serde_json::Error,
    },
}

/// In what way a checkpoint file is not what was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file ends too early or too late.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// By its header.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// The header cannot be understood.
    #[error("its header is broken ({0})")]
    Header(String),
    /// The bytes are not those that were written.
    #[error("its checksum is {found} instead of {expected}")]
    Checksum {
        /// As stored.
        expected: String,
        /// Of the bytes in the file.
        found: String,
    },
    /// A tensor of another element type.
    #[error("tensor `{name}` has elements of type {found} instead of F32")]
    ElementType {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// The file was renamed by hand.
    #[error("it was saved at {}, not at those in its name", counted(*saved as usize, "image", "images"))]
    Name {
        /// Images seen, by its metadata.
        saved: u64,
    },
    /// It was found damaged by an earlier run, which set it aside.
    #[error("it was set aside as damaged before")]
    SetAside,
}

/// Something that a person should know and that does not stop the run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Warning {
    /// A newer checkpoint was passed over.
    DamagedCheckpoint {
        /// Its file name.
        file: String,
        /// In what way it is damaged.
        damage: Damage,
        /// Its new name, if it was moved out of the way.
        set_aside: Option<String>,
    },
    /// A file that a killed process had begun was removed.
    LeftoverRemoved {
        /// The file.
        path: PathBuf,
    },
    /// The process that used the folder last did not end properly.
    StaleLock {
        /// That process.
        pid: u32,
    },
    /// The file system has no locks, so nothing guards against a second process.
    NoLocking {
        /// The folder.
        path: PathBuf,
    },
    /// Lines of the log that cannot be read were dropped.
    MetricsDropped {
        /// The log.
        path: PathBuf,
        /// The first of them, from 1.
        line: usize,
        /// How many.
        count: usize,
    },
}

impl RunError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAFolder { .. } | Self::Foreign { .. } => {
                Some("give a folder that a run has made; a new run takes a new or empty folder".to_owned())
            }
            Self::NoFolder { .. } => Some("check the path of the run".to_owned()),
            Self::Create { source, .. } | Self::Unwritable { source, .. } => write_hint(source),
            Self::InUse { pid: Some(pid), .. } => {
                Some(format!("wait for process {pid}, stop it with `kill -INT {pid}`, or choose another folder"))
            }
            Self::InUse { pid: None, .. } => Some("wait for the other process, or choose another folder".to_owned()),
            Self::File(error) => error.hint(),
            Self::Damaged { .. } => Some("use an older checkpoint".to_owned()),
            Self::AllDamaged { .. } => Some("copy a whole checkpoint back, or move the folder away to start afresh".to_owned()),
            Self::ReadOnly { .. } | Self::TensorShape { .. } | Self::NameTaken { .. } | Self::Record { .. } => None,
        }
    }

    /// A [`FileError::Read`], for `map_err`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let read = FileError::read(path);
        |source| read(source).into()
    }

    /// A [`FileError::Write`] of a file whose size is not known, for `map_err`.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let write = FileError::write(path);
        |source| write(source).into()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedCheckpoint { file, damage, set_aside } => {
                write!(f, "passed over the checkpoint `{file}`: {damage}")?;
                match set_aside {
                    Some(name) => write!(f, "; it is now called `{name}`"),
                    None => Ok(()),
                }
            }
            Self::LeftoverRemoved { path } => {
                write!(f, "removed the half-written file `{}`", path.display())
            }
            Self::StaleLock { pid } => {
                write!(f, "process {pid} used this run folder and did not end properly")
            }
            Self::NoLocking { path } => {
                write!(f, "the file system of `{}` has no locks; let no second process train into it", path.display())
            }
            Self::MetricsDropped { path, line, count } => {
                let lines = counted(*count, "unreadable line", "unreadable lines");
                write!(f, "dropped {lines} of `{}`, from line {line} on", path.display())
            }
        }
    }
}

fn process(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn listed(files: &[(String, Damage)]) -> String {
    let files: Vec<String> = files.iter().map(|(file, damage)| format!("`{file}`: {damage}")).collect();
    files.join("; ")
}
