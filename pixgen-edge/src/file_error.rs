//! Files that the system refuses, and the one table from its reasons to what a user can try.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::units::format_bytes;

/// The path that means standard output.
pub(crate) const STDOUT: &str = "-";

/// A file that cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be written. What was there before is untouched.
    #[error("cannot write {}{}: {source}", shown(.path), size(.needed))]
    Write {
        /// The file, or `-` for standard output.
        path: PathBuf,
        /// Size of the whole file in bytes, known when the disk is full.
        needed: Option<u64>,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove `{}`: {source}", .path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder cannot be read.
    #[error("cannot read `{}`: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An output that is an input of the same command.
    #[error("`{}` is what this command reads, and writing there would destroy it", .path.display())]
    Input {
        /// The file.
        path: PathBuf,
    },
    /// Standard output is a terminal, and the output is no text.
    #[error("the output is binary, and standard output is a terminal")]
    Terminal,
    /// `-` for a flag whose command writes several files, or reads its output again.
    #[error("{flag} -: standard output takes one stream, and this command {does}")]
    NoStream {
        /// The flag.
        flag: &'static str,
        /// What the command does that a stream cannot serve, for example "writes a folder".
        does: &'static str,
    },
    /// The name of an output promises another format than the one that is written.
    #[error("{flag} {}: this command writes {writes}", .path.display())]
    Extension {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The format, for example "PNG".
        writes: &'static str,
        /// What to do about it.
        hint: String,
    },
}

impl FileError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { path, source, .. } if path == Path::new(STDOUT) => stdout_hint(source),
            Self::Write { path, needed, source } if is_full(source) => Some(free_up(path, *needed)),
            Self::Write { source, .. } | Self::Remove { source, .. } => write_hint(source),
            Self::Read { source, .. } => read_hint(source),
            Self::Input { .. } => Some("give another name for the output".to_owned()),
            Self::Terminal => Some("send it to a file or a program, as in `-o - > FILE` or `-o - | PROGRAM`".to_owned()),
            Self::NoStream { flag, .. } => Some(format!("give a path with {flag}")),
            Self::Extension { hint, .. } => Some(hint.clone()),
        }
    }

    /// A [`FileError::Read`], for `map_err`.
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    /// A [`FileError::Write`] of a file whose size is not known, for `map_err`.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, needed: None, source }
    }
}

/// Whether an error means that the disk, or one's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What to try when standard output cannot be written. Nobody knows which disk it goes to.
pub(crate) fn stdout_hint(error: &io::Error) -> Option<String> {
    if is_full(error) {
        return Some("what standard output is written to is full: free some space there, or send it elsewhere".to_owned());
    }
    write_hint(error)
}

/// What to try when a file or folder cannot be read; `None` for an error that is not the system's.
pub fn read_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::NotFound => "check the spelling of the path",
        ErrorKind::PermissionDenied => "this user may not read it: look at its owner and permissions with `ls -l`",
        ErrorKind::IsADirectory => "that is a folder: give a file in it",
        _ => return hint(error),
    };
    Some(hint.to_owned())
}

/// What to try when a file or folder cannot be written, made or removed; `None` for an error that is not the system's.
pub fn write_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::NotFound => "its folder is not there: make it first, or check the spelling",
        ErrorKind::PermissionDenied => {
            "this user may not write there: choose another folder, or look at the permissions of the file and its folder with `ls -l`"
        }
        ErrorKind::IsADirectory => "that is a folder: give the name of a file",
        ErrorKind::AlreadyExists => "give another name, or move away what is there",
        ErrorKind::StorageFull => "free some space on that disk and run the same command again",
        ErrorKind::QuotaExceeded => "your share of that disk is full: free some space and run the same command again",
        ErrorKind::ReadOnlyFilesystem => "that disk is mounted for reading only: choose a path on another",
        ErrorKind::ExecutableFileBusy => "that is a program that is running: choose another name",
        ErrorKind::ResourceBusy => "it is in use, or a place where a disk or file is mounted: choose another path",
        ErrorKind::FileTooLarge => "that disk, or `ulimit -f`, takes no file of this size: choose another disk, or raise the limit",
        // Not the system's, which has a number.
        ErrorKind::InvalidInput if error.raw_os_error().is_none() => "end it with the name of what is to be written",
        ErrorKind::CrossesDevices => "its folder spans two disks: choose another folder",
        _ => return hint(error),
    };
    Some(hint.to_owned())
}

/// What to try where reading and writing fail alike.
fn hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::NotADirectory => "a part of the path that should be a folder is a file",
        ErrorKind::InvalidFilename => "the name is too long or has letters that the disk does not know: most take 255 bytes",
        ErrorKind::StaleNetworkFileHandle => "the network disk lost it: mount the disk again",
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            "the network disk does not answer: check the connection"
        }
        ErrorKind::OutOfMemory => "memory is full: end other programs, or give the work less of it",
        ErrorKind::UnexpectedEof => "the file ends too early: the copy may be incomplete",
        ErrorKind::InvalidData => "the file is damaged, or of another kind",
        _ => return by_number(error.raw_os_error()?).map(str::to_owned),
    };
    Some(hint.to_owned())
}

/// Reasons for which std has no kind, by the number that Unix systems share.
#[cfg(unix)]
fn by_number(number: i32) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    const LOOP: i32 = 40;
    #[cfg(not(target_os = "linux"))]
    const LOOP: i32 = 62;
    Some(match number {
        5 => "the disk fails: look at the system's log, and save what is on it",
        6 | 19 => "nothing is at the other end of this device, or it is a socket: give a file",
        23 => "the system has too many files open: end other programs",
        24 => "this process may open no more files: raise the limit with `ulimit -n 4096`",
        LOOP => "its symbolic links lead in a circle: `ls -l` shows where they point",
        _ => "check the path, its permissions and the disk",
    })
}

/// Reasons for which std has no kind.
#[cfg(not(unix))]
fn by_number(_: i32) -> Option<&'static str> {
    Some("check the path, its permissions and the disk")
}

fn shown(path: &Path) -> String {
    if path == Path::new(STDOUT) {
        return "to standard output".to_owned();
    }
    format!("`{}`", path.display())
}

fn size(needed: &Option<u64>) -> String {
    needed.map_or_else(String::new, |bytes| format!(" ({})", format_bytes(bytes)))
}

/// How much room a file needs and how much there is.
fn free_up(path: &Path, needed: Option<u64>) -> String {
    // More than is needed: another limit than the disk's, or a device.
    let there = free_bytes(path).filter(|&bytes| needed.is_none_or(|needed| bytes < needed));
    let there = there.map_or_else(String::new, |bytes| format!("it has {} left; ", format_bytes(bytes)));
    let needed = needed.map_or_else(|| "some space".to_owned(), format_bytes);
    format!("{there}free {needed} on that disk and run the same command again")
}

/// Bytes that this user can still write on the disk of `path`.
#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Only Unix tells it through a safe interface.
#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn every_number_has_its_hint() {
        // ENOENT, EIO, ENXIO, EACCES, EBUSY, ENODEV, ENOTDIR, EISDIR, ENFILE, EMFILE, ETXTBSY, EFBIG, ENOSPC, EROFS, ENAMETOOLONG, ELOOP,
        // ESTALE, EDQUOT.
        for (number, writing, reading) in [
            (2, "folder is not there", "spelling"),
            (5, "disk fails", "disk fails"),
            (6, "other end", "other end"),
            (13, "may not write", "may not read"),
            (16, "mounted", "check the path"),
            (19, "other end", "other end"),
            (20, "should be a folder", "should be a folder"),
            (21, "is a folder", "is a folder"),
            (23, "too many files", "too many files"),
            (24, "ulimit -n", "ulimit -n"),
            (26, "running", "check the path"),
            (27, "of this size", "check the path"),
            (28, "free some space", "check the path"),
            (30, "reading only", "check the path"),
            (36, "255 bytes", "255 bytes"),
            (40, "circle", "circle"),
            (116, "network disk", "network disk"),
            (122, "your share", "check the path"),
        ] {
            let error = || io::Error::from_raw_os_error(number);
            let (written, read) = (write_hint(&error()).expect("hint"), read_hint(&error()).expect("hint"));
            assert!(written.contains(writing), "{number}: {written}");
            assert!(read.contains(reading), "{number}: {read}");
        }
        assert_eq!(write_hint(&io::Error::other("cable pulled")), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_space_that_is_left_is_told() {
        let full = io::Error::from(ErrorKind::StorageFull);
        let error = FileError::Write { path: "/tmp/x".into(), needed: Some(u64::MAX), source: full };
        let hint = error.hint().expect("hint");
        assert!(hint.starts_with("it has ") && hint.contains(" left; free "), "{hint}");
        // Nobody knows which disk standard output goes to; that of the working directory it need not be.
        let error = FileError::write(Path::new(STDOUT))(ErrorKind::StorageFull.into());
        assert!(
            error
                .hint()
                .is_some_and(|hint| !hint.contains(" left") && hint.contains("standard output"))
        );
    }
}
