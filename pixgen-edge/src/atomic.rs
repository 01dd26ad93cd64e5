//! Writing files whole or not at all, and what a user reads when the disk or its permissions say no.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use crate::units::format_bytes;

/// What the names of files in the making end in; they begin with a dot.
const TEMPORARY_SUFFIX: &str = ".tmp";

const BUFFER_BYTES: usize = 1 << 20;

/// A file that cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be written. What was there before is untouched.
    #[error("cannot write `{}`{}: {source}", .path.display(), size(.needed))]
    Write {
        /// The file.
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
}

impl FileError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Write { needed, source, .. } if is_full(source) => format!(
                "free {} on that disk and run the same command again",
                needed.map_or_else(|| "some space".to_owned(), format_bytes)
            ),
            Self::Write { .. } | Self::Remove { .. } => "check the permissions of the file and its folder".to_owned(),
            Self::Read { path, .. } => format!("check the permissions and the disk; `{}` was left as it is", path.display()),
        })
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
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn size(needed: &Option<u64>) -> String {
    needed.map_or_else(String::new, |bytes| format!(" ({})", format_bytes(bytes)))
}

/// Replaces the file at `path` by what `write` produces, so that a crash at any moment leaves the old file or the new one.
///
/// Writes to a temporary file in the same folder, flushes it to the disk and renames it. On an error the temporary file is removed
/// and the old file is untouched. When the disk is full, `write` is called once more, into nothing, to learn how much room it needs;
/// it must produce the same bytes each time.
///
/// # Errors
/// [`FileError::Write`], also for an error that `write` returns.
pub fn write_atomic(path: &Path, mut write: impl FnMut(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let Some(name) = path.file_name() else {
        let no_name = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        return Err(FileError::write(path)(no_name));
    };
    let temporary = path.with_file_name(format!(".{}.{}{TEMPORARY_SUFFIX}", name.to_string_lossy(), process::id()));
    let written = write_synced(&temporary, &mut write)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path));
    written.map_err(|source| {
        // The first error is the one to tell; after it, a file that stays is cleaned by the next run.
        let _ = fs::remove_file(&temporary);
        FileError::Write {
            path: path.to_owned(),
            needed: is_full(&source).then(|| count_bytes(&mut write)).flatten(),
            source,
        }
    })
}

/// Removes what killed processes had begun to write into `folder`, and returns the paths of what it was.
///
/// Only to be called while no other process writes there.
///
/// # Errors
/// [`FileError::Read`] and [`FileError::Remove`].
pub fn remove_leftovers(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
        let entry = entry.map_err(FileError::read(folder))?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| FileError::Remove { path: path.clone(), source })?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Whether a file name is one that [`write_atomic`] gives to files in the making: `.<name>.<pid>.tmp`.
pub fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX))
        .and_then(|rest| rest.rsplit_once('.'))
        .is_some_and(|(_, pid)| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

fn write_synced(path: &Path, write: &mut impl FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    write(&mut buffered)?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Makes the rename itself survive a loss of power.
#[cfg(unix)]
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Only Unix lets a program open a folder to sync it.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Counts what passes and keeps nothing.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn count_bytes(write: &mut impl FnMut(&mut dyn Write) -> io::Result<()>) -> Option<u64> {
    let mut counter = Counter(0);
    write(&mut counter).ok().map(|()| counter.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic(&path, |out| out.write_all(b"one")).unwrap();
        write_atomic(&path, |out| out.write_all(b"two, longer")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two, longer");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_says_how_much_is_needed() {
        const ENOSPC: i32 = 28;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, b"old").unwrap();
        let mut calls = 0;
        let error = write_atomic(&path, |out| {
            calls += 1;
            out.write_all(&[7; 300 * 1024])?;
            if calls == 1 {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            Ok(())
        })
        .unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
        let message = error.to_string();
        assert!(message.contains("a.bin") && message.contains("300 KiB"), "{message}");
        assert!(error.hint().unwrap().contains("300 KiB"));
    }

    #[test]
    fn another_error_leaves_the_old_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, b"old").unwrap();
        let error = write_atomic(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("cable pulled"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("cable pulled"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn odd_paths_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        for path in [Path::new("/"), Path::new(""), &folder.path().join("none/a.bin"), folder.path()] {
            let error = write_atomic(path, |out| out.write_all(b"x")).unwrap_err();
            assert!(matches!(error, FileError::Write { .. }), "{error}");
        }
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn removes_only_its_own_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a.bin.123.tmp", ".hidden", "a.tmp", ".x.tmp", ".a.b.tmp", "a.bin"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        let removed = remove_leftovers(folder.path()).unwrap();
        assert_eq!(removed, [folder.path().join(".a.bin.123.tmp")]);
        assert_eq!(names(folder.path()), [".a.b.tmp", ".hidden", ".x.tmp", "a.bin", "a.tmp"]);
    }

    /// A file system of 1 MiB, where the machine allows one.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_really_full_disk_leaves_the_old_file() {
        use std::process::Command;

        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(folder.path())
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED a_really_full_disk_leaves_the_old_file: cannot mount a tmpfs here");
            return;
        }
        let path = folder.path().join("a.bin");
        let first = write_atomic(&path, |out| out.write_all(&[1; 300 * 1024]));
        let second = write_atomic(&path, |out| out.write_all(&[2; 900 * 1024]));
        let names = names(folder.path());
        let kept = fs::read(&path);
        let unmounted = Command::new("umount").arg(folder.path()).status();

        first.unwrap();
        let message = second.unwrap_err().to_string();
        assert!(message.contains("a.bin` (900 KiB)") && message.contains("space"), "{message}");
        assert_eq!(names, ["a.bin"]);
        assert_eq!(kept.unwrap(), vec![1; 300 * 1024]);
        assert!(unmounted.unwrap().success());
    }
}
