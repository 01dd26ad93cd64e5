//! One process per run folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process;

use super::error::{RunError, Warning};

/// The name of the lock file.
pub(super) const LOCK_NAME: &str = ".lock";

/// Holds a run folder until it is dropped.
///
/// The operating system's lock on the file is what counts, and it ends with the process, however that ends; the process id inside is
/// for people. An id that is still there when the lock is free tells of a process that was killed.
#[derive(Debug)]
pub(super) struct RunLock {
    /// None where the file system knows no locks.
    file: Option<File>,
}

impl RunLock {
    /// Locks `folder`.
    ///
    /// # Errors
    /// [`RunError::InUse`], [`RunError::Unwritable`].
    pub(super) fn acquire(folder: &Path) -> Result<(Self, Option<Warning>), RunError> {
        let unwritable = |source| RunError::Unwritable { path: folder.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK_NAME))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::InUse { path: folder.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                let warning = Warning::NoLocking { path: folder.to_owned() };
                return Ok((Self { file: None }, Some(warning)));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let stale = read_pid(&mut file).map(|pid| Warning::StaleLock { pid });
        write_text(&file, &format!("{}\n", process::id())).map_err(unwritable)?;
        Ok((Self { file: Some(file) }, stale))
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // An id left behind only looks like a stale lock.
            let _ = write_text(file, "");
            // Closing the file is not enough while a process that is just being started holds it too.
            let _ = file.unlock();
        }
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_text(mut file: &File, text: &str) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_one_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let (first, stale) = RunLock::acquire(folder.path()).unwrap();
        assert!(stale.is_none());
        let error = RunLock::acquire(folder.path()).unwrap_err();
        assert!(matches!(error, RunError::InUse { pid: Some(pid), .. } if pid == process::id()), "{error}");
        assert!(error.hint().unwrap().contains("kill -INT"));
        drop(first);
        let (_second, stale) = RunLock::acquire(folder.path()).unwrap();
        assert!(stale.is_none());
    }

    #[test]
    fn the_lock_of_a_killed_process_is_taken_over_and_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOCK_NAME), "4242\n").unwrap();
        let (_lock, stale) = RunLock::acquire(folder.path()).unwrap();
        assert!(matches!(stale, Some(Warning::StaleLock { pid: 4242 })));
    }

    /// A process that is being started has a copy of every open file for a moment.
    #[test]
    fn a_dropped_lock_is_free_whoever_holds_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, _) = RunLock::acquire(folder.path()).unwrap();
        let _copy = lock.file.as_ref().unwrap().try_clone().unwrap();
        drop(lock);
        assert!(RunLock::acquire(folder.path()).is_ok());
    }

    #[test]
    fn a_lock_file_with_anything_in_it_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOCK_NAME), [0xff; 100]).unwrap();
        let (_lock, stale) = RunLock::acquire(folder.path()).unwrap();
        assert!(stale.is_none());
        let written = fs::read_to_string(folder.path().join(LOCK_NAME)).unwrap();
        assert_eq!(written, format!("{}\n", process::id()));
    }
}
