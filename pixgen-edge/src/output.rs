//! Where the commands of both programs write what a user asked for: a file, or standard output for `-`.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::atomic::{self, Unfinished, behind_links, is_kept, make_folder, no_name, no_reader_is_fine, write_atomic};
use crate::data::format::has_image_name;
use crate::file_error::{FileError, STDOUT};
use crate::terminal::{OutputError, note, print_line};

/// Extensions that promise a format, beside those of pictures. Other names tell nothing, and any output may have them.
const FORMATS: &[&str] = &[
    "apng",
    "c",
    "ckpt",
    "csv",
    "gz",
    "h",
    "htm",
    "html",
    "json",
    "jsonl",
    "md",
    "npy",
    "npz",
    "onnx",
    "pb",
    "pdf",
    "pt",
    "pth",
    "pxg",
    "rs",
    "safetensors",
    "svg",
    "tar",
    "tflite",
    "toml",
    "txt",
    "zip",
];

/// Whether a path means standard output. A file with that name is `./-`.
pub fn is_stdout(path: &Path) -> bool {
    [STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .into_iter()
        .any(|name| path == Path::new(name))
}

/// Whether the reader of standard output went away before the end.
static READER_LEFT: AtomicBool = AtomicBool::new(false);

/// Writes what `write` produces to `path` as [`write_atomic`] does, or to standard output for `-`.
///
/// A terminal gets text only. A reader of standard output that goes away is no error. A file that the command reads stays.
///
/// # Errors
/// [`FileError::Write`], also for an error that `write` returns; [`FileError::Terminal`]; [`FileError::Input`].
pub fn write(path: &Path, mut write: impl FnMut(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    if !is_stdout(path) {
        if is_kept(path) {
            return Err(FileError::Input { path: path.to_owned() });
        }
        return write_atomic(path, write);
    }
    let stdout = io::stdout().lock();
    let written = if stdout.is_terminal() {
        let mut text = Vec::new();
        let written = write(&mut text);
        if text.contains(&0) || str::from_utf8(&text).is_err() {
            return Err(FileError::Terminal);
        }
        written.and_then(|()| { stdout }.write_all(&text))
    } else {
        let mut buffered = BufWriter::new(stdout);
        write(&mut buffered).and_then(|()| buffered.flush())
    };
    if matches!(&written, Err(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        READER_LEFT.store(true, Ordering::Relaxed);
    }
    no_reader_is_fine(written).map_err(FileError::write(Path::new(STDOUT)))
}

/// Whether [`write()`] could begin to write to `path`: for commands that compute for long before they write.
///
/// # Errors
/// [`FileError::Write`]; [`FileError::Input`].
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    if is_stdout(path) {
        return Ok(());
    }
    if is_kept(path) {
        return Err(FileError::Input { path: path.to_owned() });
    }
    atomic::check_writable(path)
}

/// Writes a new folder of files: all of them or, after an error, none, nor a folder above it that was not there. Scripts, whose first line
/// names their program, may be run.
///
/// # Errors
/// [`FileError::Write`], also where something is there already.
pub fn write_folder(path: &Path, files: &[(&str, &[u8])]) -> Result<(), FileError> {
    let target = behind_links(path);
    let there = || io::Error::new(io::ErrorKind::AlreadyExists, "something is there already");
    let parent = target.parent().unwrap_or(Path::new(""));
    let new: Vec<&Path> = parent
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    let make = || {
        if target.exists() {
            return Err(there());
        }
        if target.file_name().is_none() {
            return Err(no_name());
        }
        make_folder(parent).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
        let (unfinished, ()) = Unfinished::beside(&target, |path| fs::create_dir(path))?;
        for (name, bytes) in files {
            let mut file = File::create_new(unfinished.path().join(name))?;
            file.write_all(bytes)?;
            #[cfg(unix)]
            if bytes.starts_with(b"#!") {
                // Whoever may read it may run it.
                let mode = file.metadata()?.permissions().mode();
                file.set_permissions(fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
            }
            file.sync_all()?;
        }
        // Another process may have been faster.
        unfinished.finish(&target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => there(),
            _ => error,
        })
    };
    make()
        .inspect_err(|_| {
            for above in &new {
                let _ = fs::remove_dir(above); // one that others have begun to use stays
            }
        })
        .map_err(FileError::write(path))
}

/// Takes back what [`write_folder`] wrote, as far as the system lets it: for an error after it. What else lies in the folder stays.
pub fn remove_folder(path: &Path, files: &[(&str, &[u8])]) {
    let target = behind_links(path);
    for (name, _) in files {
        let _ = fs::remove_file(target.join(name)); // the error before this one is told
    }
    let _ = fs::remove_dir(target);
}

/// Says on standard output what was written, unless that is where it went.
///
/// # Errors
/// Those of [`print_line`].
pub fn announce(path: &Path) -> Result<(), OutputError> {
    if is_stdout(path) {
        return Ok(());
    }
    print_line(&path.display().to_string())
}

/// Whether what [`write()`] wrote was taken to its end, so that there is something to say of it.
pub fn was_read(path: &Path) -> bool {
    !(is_stdout(path) && READER_LEFT.load(Ordering::Relaxed))
}

/// Says for people what [`write()`] wrote, unless nobody read it to the end.
pub fn note_written(path: &Path, what: &str) {
    if was_read(path) {
        note(&format!("{}: {what}", shown(path)));
    }
}

/// How messages call an output.
pub fn shown(path: &Path) -> String {
    if is_stdout(path) {
        return "standard output".to_owned();
    }
    path.display().to_string()
}

/// Refuses `-` for a command that one stream cannot serve, because it `does` something else, for example "writes a folder".
///
/// # Errors
/// [`FileError::NoStream`].
pub fn refuse_stdout(flag: &'static str, path: &Path, does: &'static str) -> Result<(), FileError> {
    if is_stdout(path) {
        return Err(FileError::NoStream { flag, does });
    }
    Ok(())
}

/// Refuses a name that promises another format than the one that a command `writes`. `extensions` are those of the format.
///
/// # Errors
/// [`FileError::Extension`].
pub fn check_extension(flag: &'static str, path: &Path, writes: &'static str, extensions: &[&str]) -> Result<(), FileError> {
    let Some(extension) = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()) else {
        return Ok(());
    };
    let promises = FORMATS.contains(&extension.as_str()) || has_image_name(path);
    if extensions.contains(&extension.as_str()) || !promises {
        return Ok(());
    }
    let name = path.with_extension(extensions.first().unwrap_or(&""));
    let hint = format!("name it {}", name.display());
    Err(FileError::Extension { flag, path: path.to_owned(), writes, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_not_promise_another_format() {
        let check = |path: &str| check_extension("--out", Path::new(path), "PNG", &["png"]);
        for fine in ["x.png", "x.PNG", "x", "-", "/dev/null", "x.tmp", "v1.5", ".jpg", "x.jpg/y"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for wrong in ["x.jpg", "a.b.JPEG", "x.webp", "x.safetensors", "x.npz"] {
            let error = check(wrong).expect_err(wrong);
            assert!(matches!(error, FileError::Extension { writes: "PNG", .. }));
            assert!(error.hint().expect("hint").contains(".png"), "{error}");
        }
    }

    #[test]
    fn inputs_stay() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let [model, link, other] = ["model", "link", "other"].map(|name| folder.path().join(name));
        std::fs::write(&model, "weights").expect("written");
        crate::atomic::keep(&model);
        #[cfg(unix)]
        std::os::unix::fs::symlink(&model, &link).expect("link");
        for path in [&model, &link].into_iter().filter(|path| path.exists()) {
            let error = super::write(path, |out| out.write_all(b"picture")).expect_err("refused");
            assert!(matches!(error, FileError::Input { .. }) && error.hint().is_some());
        }
        let error = check_writable(&model).expect_err("refused");
        assert!(matches!(error, FileError::Input { .. }), "{error}");
        super::write(&other, |out| out.write_all(b"picture")).expect("written");
        assert_eq!(std::fs::read(&model).expect("there"), b"weights");
    }

    /// What a command learns before it computes is what it would learn after it, and the disk stays as it is.
    #[test]
    fn a_check_writes_nothing() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("old"), "old").expect("written");
        std::fs::create_dir(at("folder")).expect("folder");
        for fine in [at("old"), at("new"), "-".into(), "/dev/null".into()] {
            check_writable(&fine).expect("can be written");
        }
        for wrong in [at("folder"), at("none/file"), at("old/file"), at("new/"), folder.path().join("..")] {
            let error = check_writable(&wrong).expect_err("cannot be written");
            let later = super::write(&wrong, |out| out.write_all(b"picture")).expect_err("cannot be written");
            assert_eq!(error.to_string(), later.to_string());
        }
        assert_eq!(std::fs::read(at("old")).expect("there"), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 2);
    }

    #[test]
    fn a_folder_is_new_and_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let out = folder.path().join("above/package");
        let script: &[u8] = b"#!/bin/sh\n";
        write_folder(&out, &[("a", b"1"), ("b", b""), ("script", script)]).expect("written");
        #[cfg(unix)]
        for (name, runs) in [("a", false), ("script", true)] {
            let mode = fs::metadata(out.join(name)).expect("there").permissions().mode();
            assert_eq!(mode & 0o111 != 0, runs, "{name}: {mode:o}");
        }
        assert_eq!(std::fs::read(out.join("a")).expect("there"), b"1");
        let error = write_folder(&out, &[("a", b"2")]).expect_err("it is there");
        assert!(error.hint().expect("hint").contains("another name"), "{error}");
        assert_eq!(std::fs::read(out.join("a")).expect("there"), b"1");
        // A name that cannot be written leaves nothing.
        let other = folder.path().join("other");
        write_folder(&other, &[("a", b"1"), ("no/folder", b"2")]).expect_err("fails");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
        // Nor does it leave folders above it, in any of the ways to fail.
        std::fs::write(folder.path().join("file"), "").expect("written");
        for (below, kind, hint) in [
            ("new/..", io::ErrorKind::InvalidInput, "name"),
            ("new/deep/..", io::ErrorKind::InvalidInput, "name"),
            (&*format!("new/deep/{}", "n".repeat(300)), io::ErrorKind::InvalidFilename, "255 bytes"),
            ("file/x", io::ErrorKind::NotADirectory, "should be a folder"),
            ("file/x/y", io::ErrorKind::NotADirectory, "should be a folder"),
        ] {
            let error = write_folder(&folder.path().join(below), &[("a", b"1")]).expect_err(below);
            assert!(matches!(&error, FileError::Write { source, .. } if source.kind() == kind), "{below}: {error}");
            assert!(error.hint().is_some_and(|text| text.contains(hint)), "{below}: {error}");
            assert!(!folder.path().join("new").exists(), "{below}");
        }
        // What a caller takes back leaves what is not its own.
        std::fs::write(out.join("mine"), "3").expect("written");
        remove_folder(&out, &[("a", b""), ("b", b""), ("script", b"")]);
        assert_eq!(std::fs::read_dir(&out).expect("folder").count(), 1);
        std::fs::remove_file(out.join("mine")).expect("removed");
        remove_folder(&out, &[]);
        assert!(!out.exists());
    }

    #[test]
    fn only_one_path_is_standard_output() {
        assert!(is_stdout(Path::new("-")) && !is_stdout(Path::new("./-")) && !is_stdout(Path::new("--")));
        let refused = refuse_stdout("--out", Path::new("-"), "writes a folder").expect_err("refused");
        assert_eq!(refused.to_string(), "--out -: standard output takes one stream, and this command writes a folder");
        assert!(refuse_stdout("--out", Path::new("x"), "writes a folder").is_ok());
    }
}
