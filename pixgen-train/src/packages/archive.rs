//! Opening packages: `.tgz` and `.crate`, `.deb`, and `.whl`. Nothing is written here, so names inside an archive can do no harm.

use super::error::{ArchiveProblem, PackageError};
use flate2::read::{DeflateDecoder, GzDecoder};
use lzma_rust2::XzReader;
use rawzip::{CompressionMethod, ZipArchive};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Most bytes of one member; the largest that is wanted has 26 MB.
const MAX_MEMBER: u64 = 1 << 28;

/// Reads the members of a gzipped tar archive whose names `wanted` picks; hands each name and its bytes to `take`.
///
/// # Errors
/// [`PackageError::Archive`], and what `take` returns.
pub fn tar_gz(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    take: impl FnMut(&str, Vec<u8>) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let file = File::open(path).map_err(broken(path))?;
    tar(path, GzDecoder::new(BufReader::new(file)), wanted, take)
}

/// The same for the data of a Debian package; names are as installed, without a leading `./`.
///
/// # Errors
/// Those of [`tar_gz`].
pub fn deb(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    take: impl FnMut(&str, Vec<u8>) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let mut file = BufReader::new(File::open(path).map_err(broken(path))?);
    let length = ar_member(&mut file, "data.tar.xz").map_err(broken(path))?;
    tar(path, XzReader::new(file.take(length), false), wanted, take)
}

/// The same for a Python wheel, a zip archive.
///
/// # Errors
/// Those of [`tar_gz`].
pub fn wheel(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let bytes = std::fs::read(path).map_err(broken(path))?;
    let archive = ZipArchive::from_slice(&bytes).map_err(broken(path))?;
    for record in archive.entries() {
        let record = record.map_err(broken(path))?;
        let name = String::from_utf8_lossy(record.file_path().as_bytes()).into_owned();
        if record.is_dir() || !wanted(&name) {
            continue;
        }
        let entry = archive.get_entry(record.wayfinder()).map_err(broken(path))?;
        let unpacked: Box<dyn Read> = match record.compression_method() {
            CompressionMethod::STORE => Box::new(entry.data()),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(entry.data())),
            other => return Err(PackageError::archive(path, ArchiveProblem::Compression { name, method: format!("{other:?}") })),
        };
        let mut bytes = Vec::new();
        // Length and CRC-32 are compared at the end.
        let mut reader = entry.verifying_reader(unpacked).take(MAX_MEMBER);
        reader.read_to_end(&mut bytes).map_err(broken(path))?;
        take(&name, bytes)?;
    }
    Ok(())
}

/// Moves `reader` to the bytes of a member of an `ar` archive and returns their length.
///
/// The archive begins with a line `!<arch>`; a member with 60 bytes of text: name (16, ended by spaces or a slash), time (12), owner
/// (6), group (6), mode (8), length (10), and a grave accent with a line feed. Members begin at even offsets.
fn ar_member(reader: &mut impl Read, name: &str) -> io::Result<u64> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut magic = [0; 8];
    reader.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(wrong("it is not an ar archive"));
    }
    loop {
        let mut header = [0; 60];
        reader.read_exact(&mut header).map_err(|_| wrong(&format!("it has no member {name}")))?;
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim_end).unwrap_or_default();
        let length = text(48..58).parse::<u64>().map_err(|_| wrong("the header of a member is broken"))?;
        if header[58..] != *b"`\n" {
            return Err(wrong("the header of a member is broken"));
        }
        if text(0..16).trim_end_matches('/') == name {
            return Ok(length);
        }
        let padded = length.saturating_add(length % 2);
        if io::copy(&mut reader.by_ref().take(padded), &mut io::sink())? < padded {
            return Err(wrong("it ends early"));
        }
    }
}

fn tar(
    path: &Path,
    reader: impl Read,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(broken(path))? {
        let mut entry = entry.map_err(broken(path))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./");
        if !entry.header().entry_type().is_file() || !wanted(name) {
            continue;
        }
        let mut bytes = Vec::new();
        entry.by_ref().take(MAX_MEMBER).read_to_end(&mut bytes).map_err(broken(path))?;
        if bytes.len() as u64 != entry.size() {
            return Err(PackageError::archive(path, ArchiveProblem::CutShort { name: name.to_owned() }));
        }
        take(name, bytes)?;
    }
    Ok(())
}

/// A [`PackageError::Archive`], for `map_err`.
fn broken<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> PackageError {
    move |error| PackageError::archive(path, ArchiveProblem::Unreadable(error.to_string()))
}

/// Archives for tests.
#[cfg(test)]
pub(super) mod making {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use rawzip::CompressionMethod;
    use std::fs;
    use std::io::Write;
    use std::path::{Path, PathBuf};

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A `.tgz` of these files.
    pub fn tgz(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&tar(files)).unwrap();
        let path = folder.join("package.tgz");
        fs::write(&path, encoder.finish().unwrap()).unwrap();
        path
    }

    /// An `ar` archive of these members.
    pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
            bytes.extend(*content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    /// `bytes` in an xz file that stores them as they are: one LZMA2 chunk without compression.
    pub fn xz(bytes: &[u8]) -> Vec<u8> {
        let crc = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
        let flags = [0, 1]; // checksum: CRC32
        let mut out = b"\xfd7zXZ\0".to_vec();
        out.extend(flags);
        out.extend(crc(&flags));
        // Block header: size (2 + 1) * 4, one filter, LZMA2 with one byte of properties: a dictionary of 4 KiB; three bytes of padding.
        let header = [2, 0, 0x21, 1, 0, 0, 0, 0];
        out.extend(header);
        out.extend(crc(&header));
        let start = out.len();
        for (i, chunk) in bytes.chunks(1 << 16).enumerate() {
            out.push(if i == 0 { 1 } else { 2 });
            out.extend(((chunk.len() - 1) as u16).to_be_bytes());
            out.extend(chunk);
        }
        out.push(0);
        let unpadded = header.len() + 4 + (out.len() - start) + 4;
        while !(out.len() - start).is_multiple_of(4) {
            out.push(0);
        }
        out.extend(crc(bytes));
        // Index: one record of unpadded size and uncompressed size.
        let mut index = vec![0, 1];
        for mut value in [unpadded, bytes.len()] {
            while value >= 0x80 {
                index.push(value as u8 | 0x80);
                value >>= 7;
            }
            index.push(value as u8);
        }
        while !index.len().is_multiple_of(4) {
            index.push(0);
        }
        let sum = crc(&index);
        index.extend(sum);
        let backward = (index.len() as u32 / 4 - 1).to_le_bytes();
        out.extend(&index);
        let footer = [&backward[..], &flags].concat();
        out.extend(crc(&footer));
        out.extend(footer);
        out.extend(b"YZ");
        out
    }

    /// A `.whl` of these files: the first deflated, the others stored.
    pub fn wheel(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
        for (number, (name, bytes)) in files.iter().enumerate() {
            let method = if number == 0 {
                CompressionMethod::DEFLATE
            } else {
                CompressionMethod::STORE
            };
            let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
            let output = if number == 0 {
                let mut data = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, Compression::fast()));
                data.write_all(bytes).unwrap();
                let (encoder, output) = data.finish().unwrap();
                encoder.finish().unwrap();
                output
            } else {
                let mut data = config.wrap(&mut entry);
                data.write_all(bytes).unwrap();
                data.finish().unwrap().1
            };
            entry.finish(output).unwrap();
        }
        let path = folder.join("package.whl");
        fs::write(&path, archive.finish().unwrap()).unwrap();
        path
    }

    /// A `.deb` of these files.
    pub fn deb(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let data = xz(&tar(files));
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz/", &data)]);
        let path = folder.join("package.deb");
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    type Found = Vec<(String, Vec<u8>)>;

    /// What `open` hands to the closure that it is given.
    fn all(open: impl FnOnce(&mut dyn FnMut(&str, Vec<u8>) -> Result<(), PackageError>) -> Result<(), PackageError>) -> Found {
        let mut found = Vec::new();
        open(&mut |name, bytes| {
            found.push((name.to_owned(), bytes));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn members_are_picked_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let long = vec![7; 200_000];
        let files: [(&str, &[u8]); 3] = [("b/two", &long), ("a/one", b"1"), ("a/three", b"")];
        let expected = vec![("a/one".to_owned(), b"1".to_vec()), ("a/three".to_owned(), Vec::new())];
        let wanted = |name: &str| name.starts_with("a/");
        let tgz = making::tgz(folder.path(), &files);
        let deb_file = making::deb(folder.path(), &files);
        assert_eq!(all(|take| tar_gz(&tgz, wanted, take)), expected);
        assert_eq!(all(|take| deb(&deb_file, wanted, take)), expected);
        let whl = making::wheel(folder.path(), &files);
        assert_eq!(all(|take| wheel(&whl, wanted, take)), expected);
        let two = |name: &str| name == "b/two";
        for found in [all(|take| deb(&deb_file, two, take)), all(|take| wheel(&whl, two, take))] {
            assert_eq!(found, [("b/two".to_owned(), long.clone())]);
        }
    }

    #[test]
    fn hostile_archives_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 1] = [("one", &[9; 5000])];
        let path = folder.path().join("x");
        let everything = |_: &str| true;
        let ignore = |_: &str, _| Ok(());
        let whole = fs::read(making::tgz(folder.path(), &files)).unwrap();
        for bytes in [&b""[..], b"hello", &whole[..whole.len() / 2]] {
            fs::write(&path, bytes).unwrap();
            let error = tar_gz(&path, everything, ignore).unwrap_err();
            assert!(matches!(error, PackageError::Archive { .. }), "{error}");
        }
        let whole = fs::read(making::deb(folder.path(), &files)).unwrap();
        let huge = making::ar(&[("data.tar.xz", b"")]);
        let huge = [&huge[..8 + 48], b"9999999999`\n"].concat();
        for bytes in [
            &b""[..],
            b"!<arch>\n",
            b"!<arch>\nshort",
            &[&b"!<arch>\n"[..], &[b'x'; 60]].concat(),
            &making::ar(&[("debian-binary", b"2.0\n")]),
            &making::ar(&[("data.tar.xz", b"no xz")]),
            &huge,
            &whole[..90],
            &whole[..whole.len() / 2],
        ] {
            fs::write(&path, bytes).unwrap();
            let error = deb(&path, everything, ignore).unwrap_err();
            assert!(matches!(error, PackageError::Archive { .. }), "{error}");
        }
        let whole = fs::read(making::wheel(folder.path(), &files)).unwrap();
        let mut damaged = whole.clone();
        damaged[40] ^= 0x55;
        for bytes in [&b""[..], b"PK", &whole[..whole.len() / 2], &damaged] {
            fs::write(&path, bytes).unwrap();
            let error = wheel(&path, everything, ignore).unwrap_err();
            assert!(matches!(error, PackageError::Archive { .. }), "{error}");
        }
        assert!(tar_gz(&folder.path().join("none"), everything, ignore).is_err());
    }
}
