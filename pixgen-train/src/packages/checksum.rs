//! SHA-256 of packages, and of the folders that are made from them.

use super::catalogue::Package;
use super::error::PackageError;
use pixgen_edge::file_error::FileError;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// SHA-256 of everything that a reader gives, in hexadecimal digits.
pub fn of_reader(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(digits(hash)),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// SHA-256 of bytes, in hexadecimal digits.
pub fn of_bytes(bytes: &[u8]) -> String {
    digits(Sha256::new_with_prefix(bytes))
}

/// Fails unless the file is the package.
///
/// # Errors
/// [`PackageError::NoFile`], [`PackageError::File`], [`PackageError::Checksum`].
pub fn check(file: &Path, package: &Package) -> Result<(), PackageError> {
    let found = match File::open(file).and_then(|mut file| of_reader(&mut file)) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PackageError::NoFile { path: file.to_owned() }),
        Err(error) => return Err(FileError::read(file)(error).into()),
    };
    if found == package.sha256 {
        return Ok(());
    }
    Err(PackageError::Checksum {
        origin: file.display().to_string(),
        title: package.title,
        expected: package.sha256.to_owned(),
        found,
    })
}

/// Number of files below a folder, and a SHA-256 over their names and bytes in sorted order. Names that begin with a dot do not count.
pub fn of_folder(folder: &Path) -> Result<(usize, String), FileError> {
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for (name, path) in &files {
        let bytes = fs::read(path).map_err(FileError::read(path))?;
        for part in [name.as_bytes(), &bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok((files.len(), digits(hash)))
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
        let entry = entry.map_err(FileError::read(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        // Not following links: what `data get` makes has none.
        if entry.file_type().map_err(FileError::read(&path))?.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            files.push((format!("{prefix}{name}"), path));
        }
    }
    Ok(())
}

fn digits(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 180-4, examples.
        let of = |text: &str| of_reader(&mut text.as_bytes()).unwrap();
        assert_eq!(of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(of(&"a".repeat(1_000_000)), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn a_folder_is_its_names_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("a/1", b"one");
        write("b", b"two");
        let before = of_folder(folder.path()).unwrap();
        assert_eq!(before.0, 2);
        write(".hidden", b"x");
        assert_eq!(of_folder(folder.path()).unwrap(), before);
        write("b", b"twp");
        assert_ne!(of_folder(folder.path()).unwrap(), before);
        write("b", b"two");
        assert_eq!(of_folder(folder.path()).unwrap(), before);
        fs::rename(folder.path().join("b"), folder.path().join("c")).unwrap();
        assert_ne!(of_folder(folder.path()).unwrap(), before);
    }
}
