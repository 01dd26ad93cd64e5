//! Writing files whole or not at all, and through whatever is no plain file.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf, is_separator};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::file_error::{FileError, is_full};

/// What the names of files in the making end in; they begin with a dot.
const TEMPORARY_SUFFIX: &str = ".tmp";

const BUFFER_BYTES: usize = 1 << 20;

/// Symbolic links that are followed one after another, as Linux does.
const MOST_LINKS: usize = 40;

/// Replaces the file at `path` by what `write` produces, so that a crash at any moment leaves the old file or the new one.
///
/// Writes to a temporary file in the same folder, flushes it to the disk and renames it. On an error the temporary file is removed
/// and the old file is untouched. The new file has the permissions of the old one, and its owner where the system allows that. A symbolic link
/// stays, and what it points to is replaced. Other names of a file with several hard links keep the old content.
///
/// What exists and is no plain file, such as a device or a FIFO, is written to as it stands. A reader of a FIFO that goes away is no error.
///
/// When the disk is full, `write` is called once more, into nothing, to learn how much room it needs; it must produce the same bytes
/// each time.
///
/// # Errors
/// [`FileError::Write`], also for an error that `write` returns.
pub fn write_atomic(path: &Path, mut write: impl FnMut(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let written = place(path).and_then(|place| match place {
        Place::Plain(target, old) => replace(&target, old.as_ref(), &mut write),
        Place::Other => write_through(path, &mut write),
    });
    written.map_err(|source| FileError::Write {
        path: path.to_owned(),
        needed: is_full(&source).then(|| count_bytes(&mut write)).flatten(),
        source,
    })
}

/// Whether [`write_atomic`] could begin to write to `path`: for commands that compute for long before they write. Nothing stays.
///
/// # Errors
/// [`FileError::Write`].
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    let begun = place(path).and_then(|place| match place {
        Place::Plain(target, old) => begin(&target, old.as_ref()).map(drop),
        Place::Other => Ok(()),
    });
    begun.map_err(FileError::write(path))
}

/// Where an output goes.
enum Place {
    /// A plain file behind all links, and what is there now.
    Plain(PathBuf, Option<Metadata>),
    /// A device, a FIFO or a socket.
    Other,
}

fn place(path: &Path) -> io::Result<Place> {
    if path.as_os_str().to_string_lossy().ends_with(is_separator) {
        return Err(ErrorKind::IsADirectory.into());
    }
    let old = match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() => return Ok(Place::Other),
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let target = behind_links(path);
    if is_open_file(&target) {
        return Ok(Place::Other);
    }
    if target.file_name().is_none() {
        return Err(no_name());
    }
    Ok(Place::Plain(target, old))
}

/// An output that ends in `..`.
pub(crate) fn no_name() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "the path ends without a name")
}

/// What a path names behind all symbolic links, whether it is there or not. The links of open files end there: what they show need not be a
/// path.
pub fn behind_links(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        if is_open_file(&target) {
            break;
        }
        match fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => break,
        }
    }
    target
}

/// Whether a path is `/proc/PID/fd/N`, to which `/dev/fd/N` leads.
fn is_open_file(path: &Path) -> bool {
    let Ok(parent) = path.parent().unwrap_or(Path::new("")).canonicalize() else {
        return false;
    };
    parent.starts_with("/proc") && parent.ends_with("fd")
}

/// Makes a folder, and those above it, unless it is there. A symbolic link stays, and the folder that it points to is made.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(()); // where the process stands
    }
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Ok(()),
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let target = behind_links(path);
    if let Some(above) = target.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(&target) {
        // Made by another process meanwhile.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && target.is_dir() => Ok(()),
        made => made,
    }
}

/// A new file beside `target`, where both may be written.
fn begin(target: &Path, old: Option<&Metadata>) -> io::Result<(Unfinished, File)> {
    if old.is_some() {
        // A rename needs only the folder's permission; a file that is write-protected shall stay.
        OpenOptions::new().write(true).open(target)?;
    }
    Unfinished::beside(target, |path| create(path, old))
}

fn replace(target: &Path, old: Option<&Metadata>, write: &mut impl FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let (unfinished, file) = begin(target, old)?;
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut buffered)?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    unfinished.finish(target)
}

/// A new file with the permissions and the owner of an old one.
#[cfg(unix)]
fn create(path: &Path, old: Option<&Metadata>) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let Some(old) = old else { return options.open(path) };
    let file = options.mode(old.mode() & 0o600).open(path)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Only some users may give files away; a file that one may write is then one's own.
        let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    }
    // Disks without permissions refuse them.
    let _ = file.set_permissions(old.permissions());
    Ok(file)
}

#[cfg(not(unix))]
fn create(path: &Path, _: Option<&Metadata>) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn write_through(path: &Path, write: &mut impl FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // Behind what an open file holds already; devices and pipes have no end.
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, OpenOptions::new().append(true).open(path)?);
    no_reader_is_fine(write(&mut buffered).and_then(|()| buffered.flush()))
}

/// A reader that has seen enough goes away.
pub(crate) fn no_reader_is_fine(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Files that the command reads.
static INPUTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Whether files whose kind is asked for count as inputs.
static KEEPS_INPUTS: AtomicBool = AtomicBool::new(false);

/// From now on no output replaces a file that was read; for programs that run one command. One that goes on may want to write where it
/// has read.
pub fn keep_inputs() {
    KEEPS_INPUTS.store(true, Ordering::Relaxed);
}

/// As [`keep`], in programs that [`keep_inputs`].
pub(crate) fn keep_if_wanted(path: &Path) {
    if KEEPS_INPUTS.load(Ordering::Relaxed) {
        keep(path);
    }
}

/// Notes a file that the command reads, so that no output replaces it ([`crate::output::write`]).
pub fn keep(path: &Path) {
    if let Ok(file) = path.canonicalize() {
        INPUTS.lock().unwrap_or_else(PoisonError::into_inner).insert(file);
    }
}

/// Whether a path leads to a file of [`keep`].
pub(crate) fn is_kept(path: &Path) -> bool {
    let file = path.canonicalize().ok();
    file.is_some_and(|file| INPUTS.lock().unwrap_or_else(PoisonError::into_inner).contains(&file))
}

/// What this process has begun to write.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file or folder in the making, under a temporary name. It is removed when this is dropped, and by [`exit_removing_unfinished`].
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// Lets `make` create a file or folder in the folder of `target`, under a name that is not taken.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn beside<T>(target: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Short, for names as long as the disk allows.
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".pixgen-{number}.{}{TEMPORARY_SUFFIX}", process::id()));
            match make(&path) {
                Ok(made) => {
                    unfinished.insert(path.clone());
                    return Ok((Self { path }, made));
                }
                // Of a killed process with the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The temporary name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the name `target`, in the same folder, and makes that survive a loss of power.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(self, target: &Path) -> io::Result<()> {
        self.rename(target)?;
        sync_folder(target)
    }

    /// Gives it the name `target`, in the same folder, and leaves it to the system when that reaches the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn rename(self, target: &Path) -> io::Result<()> {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        fs::rename(&self.path, target)?;
        unfinished.remove(&self.path);
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        if unfinished.remove(&self.path) {
            remove(&self.path);
        }
    }
}

/// Ends the process and leaves nothing half-written behind. For the handler of Ctrl-C.
pub fn exit_removing_unfinished(code: i32) -> ! {
    // Held to the end: nothing new is begun meanwhile.
    let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    unfinished.iter().for_each(|path| remove(path));
    process::exit(code)
}

/// The error that led here is the one to tell; what stays is cleaned by the next run.
fn remove(path: &Path) {
    if fs::remove_file(path).is_err() {
        let _ = fs::remove_dir_all(path);
    }
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
        let path = entry.path();
        if is_temporary(&entry.file_name().to_string_lossy()) && path.is_file() {
            fs::remove_file(&path).map_err(|source| FileError::Remove { path: path.clone(), source })?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Whether a file name is one that [`Unfinished`] gives to files in the making, `.pixgen-<number>.<pid>.tmp`, or that version 0.1 gave to
/// those of a run, `.<name>.<pid>.tmp`.
pub fn is_temporary(name: &str) -> bool {
    let of_a_run = |name: &str| {
        ["toml", "jsonl", "safetensors", "png"]
            .into_iter()
            .any(|end| name.ends_with(&format!(".{end}")))
    };
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX))
        .and_then(|rest| rest.rsplit_once('.'))
        .filter(|(_, pid)| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
        .is_some_and(|(name, _)| name.starts_with("pixgen-") || of_a_run(name))
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

    #[cfg(unix)]
    #[test]
    fn folders_are_made_behind_links() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("far/away", at("link")).unwrap();
        symlink("link", at("to-link")).unwrap();
        make_folder(&at("to-link/inside")).unwrap();
        assert!(at("far/away/inside").is_dir());
        for link in ["link", "to-link"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            make_folder(&at(link)).unwrap();
        }
        fs::write(at("file"), "").unwrap();
        assert_eq!(make_folder(&at("file")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        make_folder(&at("file/below")).unwrap_err();
        symlink("circle/below", at("circle")).unwrap();
        make_folder(&at("circle")).unwrap_err();
        make_folder(&at("circle/inside")).unwrap_err();
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
        for path in [
            Path::new("/"),
            Path::new(""),
            Path::new(".."),
            &folder.path().join("none/a.bin"),
            &folder.path().join("new/"),
            folder.path(),
        ] {
            let error = write_atomic(path, |out| out.write_all(b"x")).unwrap_err();
            assert!(matches!(error, FileError::Write { .. }), "{error}");
        }
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    fn reads(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    fn writes(path: &Path, text: &str) -> Result<(), FileError> {
        write_atomic(path, |out| out.write_all(text.as_bytes()))
    }

    #[test]
    fn names_may_be_as_long_as_the_disk_allows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(255));
        writes(&path, "one").unwrap();
        writes(&path, "two").unwrap();
        assert_eq!(reads(&path), "two");
        let error = writes(&folder.path().join("n".repeat(256)), "x").unwrap_err();
        assert!(error.hint().unwrap().contains("255 bytes"), "{error}");
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        writes(&path, "one").unwrap();
        for mode in [0o600, 0o640, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            writes(&path, "two").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }

    /// A link to a file, to one that is not there yet, to a link, and to another folder.
    #[cfg(unix)]
    #[test]
    fn links_stay_and_their_targets_are_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("other")).unwrap();
        fs::write(at("a"), "old").unwrap();
        for (link, to, target) in [
            ("near", "a", "a"),
            ("dangling", "b", "b"),
            ("twice", "near", "a"),
            ("far", "other/c", "other/c"),
        ] {
            symlink(to, at(link)).unwrap();
            writes(&at(link), link).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            assert!(fs::symlink_metadata(at(target)).unwrap().is_file(), "{link}");
            assert_eq!(reads(&at(target)), link);
        }
        symlink("other/from-there", at("relative")).unwrap();
        symlink("../a", at("other/from-there")).unwrap();
        writes(&at("relative"), "up and down").unwrap();
        assert_eq!(reads(&at("a")), "up and down");

        symlink("circle", at("circle")).unwrap();
        let error = writes(&at("circle"), "x").unwrap_err();
        assert!(error.hint().unwrap().contains("circle"), "{error}");
        symlink("none/d", at("nowhere")).unwrap();
        assert!(writes(&at("nowhere"), "x").unwrap_err().hint().unwrap().contains("folder"));
        let left: Vec<String> = names(folder.path()).into_iter().filter(|name| is_temporary(name)).collect();
        assert_eq!(left, [""; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn other_names_of_a_file_keep_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "old").unwrap();
        fs::hard_link(&a, &b).unwrap();
        writes(&a, "new").unwrap();
        assert_eq!((reads(&a), reads(&b)), ("new".to_owned(), "old".to_owned()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_and_fifos_are_written_through() {
        use std::os::unix::fs::FileTypeExt as _;
        use std::os::unix::net::UnixListener;
        use std::process::Command;
        use std::thread;

        writes(Path::new("/dev/null"), "x").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let error = writes(Path::new("/dev/full"), "x").unwrap_err();
        assert!(matches!(error, FileError::Write { needed: Some(1), .. }), "{error}");

        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let reader = thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        let long = "x".repeat(3 << 20);
        writes(&fifo, &long).unwrap();
        assert_eq!(reader.join().unwrap().len(), long.len());
        // One that has seen enough.
        let reader = thread::spawn({
            let fifo = fifo.clone();
            move || io::copy(&mut io::Read::take(File::open(fifo).unwrap(), 10), &mut io::sink()).unwrap()
        });
        writes(&fifo, &long).unwrap();
        assert_eq!(reader.join().unwrap(), 10);
        assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());

        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = writes(&socket, "x").unwrap_err();
        assert!(error.hint().unwrap().contains("socket"), "{error}");
        assert_eq!(names(folder.path()), ["fifo", "socket"]);
    }

    #[test]
    fn what_is_dropped_unfinished_goes() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("set");
        let (dropped, ()) = Unfinished::beside(&target, |path| fs::create_dir(path)).unwrap();
        fs::write(dropped.path().join("1"), "x").unwrap();
        drop(dropped);
        assert_eq!(names(folder.path()), [""; 0]);
        let (finished, ()) = Unfinished::beside(&target, |path| fs::create_dir(path)).unwrap();
        fs::write(finished.path().join("1"), "x").unwrap();
        finished.finish(&target).unwrap();
        assert_eq!(reads(&target.join("1")), "x");
        assert_eq!(names(folder.path()), ["set"]);
    }

    #[test]
    fn removes_only_its_own_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            ".model.safetensors.123.tmp",
            ".pixgen-7.123.tmp",
            ".notes.123.tmp",
            ".hidden",
            "a.tmp",
            ".x.tmp",
            ".a.b.tmp",
            "a.bin",
        ] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        fs::create_dir(folder.path().join(".pixgen-8.123.tmp")).unwrap();
        let mut removed = remove_leftovers(folder.path()).unwrap();
        removed.sort();
        assert_eq!(removed, [".model.safetensors.123.tmp", ".pixgen-7.123.tmp"].map(|name| folder.path().join(name)));
        assert_eq!(
            names(folder.path()),
            [
                ".a.b.tmp",
                ".hidden",
                ".notes.123.tmp",
                ".pixgen-8.123.tmp",
                ".x.tmp",
                "a.bin",
                "a.tmp"
            ]
        );
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
