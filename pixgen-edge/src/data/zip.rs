//! Images in a zip archive: the layout of StyleGAN and EDM, whose `dataset.json` holds the labels, a folder for each class, or labels
//! beside the pictures.
//!
//! The archive's directory is read once; images are then read from any thread at their positions ([`Listing::read`]). Entries may be
//! stored or deflated, and the archive larger than 4 GiB.

use std::fs::File;
use std::path::Path;

use rawzip::{CompressionMethod, ErrorKind, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipFileHeaderRecord, ZipLocator};

use crate::data::DataError;
use crate::data::classes::classify;
use crate::data::contents::{Contents, must_be_plain};
use crate::data::listing::Listing;
use crate::data::names::{Inside, inside, of_zip};
use crate::data::store::{Archive, Compression, EntryLocation, Store};

/// The extra field with the name of an entry in UTF-8.
const UNICODE_PATH: u16 = 0x7075;
const AGAIN: &str = "download or copy the file again";

/// Lists the images of the archive at `path`; with `relabel`, gaps in their labels are closed.
///
/// # Errors
/// A file that is no whole zip archive, names that lead out of it or come twice, images without a label where others have one, labels
/// of no image, and classes without an image.
pub fn list(path: &Path, relabel: bool) -> Result<Listing, DataError> {
    let file = File::open(path).map_err(DataError::read(path))?;
    let length = file.metadata().map_err(DataError::read(path))?.len();
    list_archive(path, Archive::Open(file.into()), length, relabel)
}

/// Lists the images of an archive that is in memory; `path` is for messages.
///
/// # Errors
/// Those of [`list`].
pub fn list_bytes(path: &Path, bytes: Vec<u8>) -> Result<Listing, DataError> {
    let length = bytes.len() as u64;
    list_archive(path, Archive::Memory(bytes), length, false)
}

fn list_archive(path: &Path, archive: Archive, length: u64, relabel: bool) -> Result<Listing, DataError> {
    let mut contents = Contents::new(Store { root: path.to_path_buf(), archives: vec![archive] }, false);
    directory(path, length, &mut contents)?;
    classify(contents, relabel)
}

/// Adds every entry of the archive.
fn directory(path: &Path, length: u64, contents: &mut Contents) -> Result<(), DataError> {
    let damaged = |error: rawzip::Error| match error.into_kind() {
        ErrorKind::IO(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => DataError::read(path)(source),
        kind => DataError::archive(path, &format!("the zip archive cannot be read: {kind}"), AGAIN),
    };
    // So long a buffer holds any record.
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let mut found = Vec::new();
    let archive = ZipLocator::new().locate_in_reader(&contents.store.archives[0], &mut buffer, length);
    let archive = archive.map_err(|(_, error)| damaged(error))?;
    let mut entries = archive.entries(&mut buffer);
    let (mut count, mut first) = (0, archive.directory_offset());
    while let Some(entry) = entries.next_entry().map_err(damaged)? {
        count += 1;
        first = first.min(entry.local_header_offset());
        let name = name(&entry);
        let at = |what: &str, hint| DataError::archive(&path.join(shown_name(&name)), what, hint);
        let place = place(&entry);
        match inside(&name).map_err(|what| at(what, "make the archive again"))? {
            Inside::Path(inner) if entry.mode().is_symlink() => {
                if must_be_plain(&inner) {
                    return Err(at("the entry is a link", "pack the files themselves"));
                }
                found.push((Inside::Path(inner), None, false));
            }
            inner => found.push((inner, Some(place), entry.is_dir())),
        }
    }
    if count != archive.entries_hint() {
        let what = format!("the directory of the zip archive has {count} entries instead of {}", archive.entries_hint());
        return Err(DataError::archive(path, &what, AGAIN));
    }
    refuse_joined(path, first, contents)?;
    for (inner, place, is_dir) in found {
        match (inner, place) {
            (Inside::Path(inner), _) if is_dir => contents.add_folder(inner),
            (Inside::Path(inner), Some(place)) => contents.add(inner, place),
            (Inside::Path(inner), None) => contents.pass_over(&inner),
            (Inside::Ignored(outermost), _) => contents.ignore(outermost),
            (Inside::Root, _) => (),
        }
    }
    Ok(())
}

/// A directory says nothing of what lies before the first of its entries. A program that unpacks itself may; another archive, whose
/// pictures would be lost without a word, is an error.
fn refuse_joined(path: &Path, first: u64, contents: &Contents) -> Result<(), DataError> {
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let before = ZipLocator::new().locate_in_reader(&contents.store.archives[0], &mut buffer, first);
    match before {
        Ok(other) if other.end_offset() == first => Err(DataError::archive(
            path,
            &format!("another archive lies before byte {first}: archives that were joined"),
            "unpack each archive and pack all pictures into one",
        )),
        _ => Ok(()),
    }
}

/// The name of an entry, as UTF-8 where that is known.
fn name(entry: &ZipFileHeaderRecord<'_>) -> Vec<u8> {
    let field = entry.extra_fields().find(|(id, _)| id.as_u16() == UNICODE_PATH);
    of_zip(entry.file_path().as_bytes(), entry.flags().is_utf8(), field.map(|(_, field)| field)).into_owned()
}

fn shown_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_start_matches(['/', '\\']).to_owned()
}

fn place(entry: &ZipFileHeaderRecord<'_>) -> EntryLocation {
    let method = match entry.compression_method() {
        _ if entry.flags().is_encrypted() => Compression::Encrypted,
        CompressionMethod::STORE => Compression::Stored,
        CompressionMethod::DEFLATE => Compression::Deflated,
        other => Compression::Other(other.as_u16()),
    };
    EntryLocation::Zip {
        header: entry.local_header_offset(),
        packed: entry.compressed_size_hint(),
        size: entry.uncompressed_size_hint(),
        crc: entry.crc32(),
        method,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use image::{GrayImage, ImageFormat, Luma};
    use tempfile::TempDir;

    use std::path::PathBuf;

    use super::*;
    use crate::data::BadReason;
    use crate::data::load::{decode_all, stream};
    use crate::data::{ImageShape, WHITE};

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    /// A PNG of one grey value.
    pub(crate) fn grey(value: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        GrayImage::from_pixel(2, 2, Luma([value])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    pub(crate) fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// An entry as its headers tell it, true or not.
    #[derive(Clone)]
    struct Told {
        name: String,
        held: Vec<u8>,
        method: u16,
        flags: u16,
        size: u32,
        crc: u32,
        header: Option<u32>,
    }

    fn stored(name: &str, data: &[u8]) -> Told {
        let (size, crc) = (data.len() as u32, crc32fast::hash(data));
        Told { name: name.into(), held: data.to_vec(), method: 0, flags: 0, size, crc, header: None }
    }

    fn deflated(name: &str, data: &[u8]) -> Told {
        Told { held: deflate(data), method: 8, ..stored(name, data) }
    }

    /// The format by hand, so that it can lie.
    fn archive(entries: &[Told]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for entry in entries {
            let header = entry.header.unwrap_or(out.len() as u32);
            let mut both = Vec::new();
            for word in [20, entry.flags, entry.method, 0, 0x21] {
                both.extend(word.to_le_bytes());
            }
            for word in [entry.crc, entry.held.len() as u32, entry.size] {
                both.extend(word.to_le_bytes());
            }
            both.extend((entry.name.len() as u16).to_le_bytes());
            both.extend([0, 0]);
            directory.extend(b"PK\x01\x02\x14\x00");
            directory.extend(&both);
            directory.extend([0; 10]);
            directory.extend(header.to_le_bytes());
            directory.extend(entry.name.as_bytes());
            out.extend(b"PK\x03\x04");
            out.extend(&both);
            out.extend(entry.name.as_bytes());
            out.extend(&entry.held);
        }
        let start = out.len() as u32;
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend([entries.len() as u16; 2].iter().flat_map(|n| n.to_le_bytes()));
        out.extend((directory.len() as u32).to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    fn written(entries: &[Told]) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.zip");
        fs::write(&path, archive(entries)).unwrap();
        (folder, path)
    }

    fn listed(entries: &[Told]) -> Result<Listing, DataError> {
        list(&written(entries).1, false)
    }

    fn refused(entries: &[Told]) -> String {
        let (folder, path) = written(entries);
        let error = list(&path, false).map(|_| ()).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn folders_are_classes_below_what_all_names_share() {
        let (_folder, path) = written(&[
            stored("all/b/2.png", &grey(4)),
            deflated("all/b/1.png", &grey(3)),
            stored("all/a/deep/x.png", &grey(1)),
            stored("all/readme.txt", b"no image"),
            stored("all/a/.hidden.png", b"no"),
            stored("__MACOSX/all/a/._x.png", b"no"),
            stored("all\\a\\z.png", &grey(2)),
        ]);
        let listing = list(&path, false).unwrap();
        assert_eq!(listing.class_names(), ["a", "b"]);
        let data = decode_all(&listing, SHAPE, WHITE, false).unwrap().dataset;
        let firsts: Vec<u8> = (0..4).map(|i| data.image(i).unwrap()[0]).collect();
        assert_eq!((firsts.as_slice(), data.labels.as_slice()), (&[1, 2, 3, 4][..], &[0, 0, 1, 1][..]));
        assert_eq!(listing.path(2), path.join("all/b/1.png"));

        let one = listed(&[stored("cats/1.png", &grey(1)), stored("cats/2.png", &grey(1))]).unwrap();
        assert_eq!(one.class_names(), ["cats"]);
        let flat = listed(&[stored("1.png", &grey(1))]).unwrap();
        assert_eq!(flat.class_names(), ["data"]);
        let loose = refused(&[stored("a/1.png", &grey(1)), stored("b/1.png", &grey(1)), stored("2.png", &grey(1))]);
        assert!(loose.contains("data.zip/2.png lies beside class folders"), "{loose}");
    }

    #[test]
    fn labels_come_from_dataset_json() {
        let labels = br#"{"labels": [["00000/b.png", 1], ["00000/a.png", 0], ["00001\\c.png", 1]], "classes": ["cat", "dog"]}"#;
        let images = [
            stored("00000/a.png", &grey(1)),
            stored("00000/b.png", &grey(2)),
            stored("00001/c.png", &grey(3)),
        ];
        let with = |json: &[u8]| [&images[..], &[deflated("dataset.json", json)]].concat();
        let listing = listed(&with(labels)).unwrap();
        assert_eq!((listing.labels().as_slice(), listing.class_names()), (&[0, 1, 1][..], &["cat".to_string(), "dog".into()][..]));
        let listing = listed(&with(br#"{"labels": null}"#)).unwrap();
        assert_eq!((listing.labels().as_slice(), listing.class_names().len()), (&[0, 0, 0][..], 1));
        // In a folder that was packed as a whole.
        let below: Vec<Told> = with(labels)
            .into_iter()
            .map(|told| Told { name: format!("top/{}", told.name), ..told })
            .collect();
        assert_eq!(listed(&below).unwrap().labels(), [0, 1, 1]);

        let one = r#"["00000/a.png", 0], ["00000/b.png", 1]"#;
        for (json, parts) in [
            (format!(r#"{{"labels": [{one}]}}"#), ["data.zip/00001/c.png", "no label in dataset.json"]),
            (format!(r#"{{"labels": [{one}, ["00001/c.png", 3]]}}"#), ["labels go up to 3", "no image has label 2"]),
            (format!(r#"{{"labels": [{one}, ["00001/c.png", 70000]]}}"#), ["labels go up to 70000", "no image has label 2"]),
            (format!(r#"{{"labels": [{one}, ["00001/c.png", -1]]}}"#), ["dataset.json", "line 1 column"]),
            (format!(r#"{{"labels": [{one}, ["00001/c.png", 1],]}}"#), ["dataset.json", "trailing comma at line 1"]),
            (format!(r#"{{"labels": [{one}, {one}]}}"#), ["dataset.json", "`00000/a.png` is labelled twice"]),
            (format!(r#"{{"labels": [{one}, ["00001/c.png", 1], ["x.png", 1]]}}"#), ["`x.png`", "a label but is not there"]),
            (format!(r#"{{"labels": [{one}, ["../c.png", 1]]}}"#), ["`../c.png`", "is not the name of an image"]),
            (format!(r#"{{"labels": [{one}, ["00001/c.png", 1]], "classes": ["a"]}}"#), ["names 1 classes", "0 to 1"]),
        ] {
            let error = refused(&with(json.as_bytes()));
            assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
        }
        let two = refused(
            &[
                with(labels),
                vec![stored("00000/dataset.json", b"{}"), stored("dataset.json", b"{}")],
            ]
            .concat(),
        );
        assert!(two.contains("two label files"), "{two}");
    }

    /// Names in code page 437, which many programs for Windows write without saying so.
    #[test]
    fn names_in_a_code_page_become_text() {
        let mut bytes = archive(&[
            stored("cl/1.png", &grey(1)),
            stored("ce/1.png", &grey(2)),
            stored("c\u{e9}/1.png", &grey(3)),
        ]);
        // The same length in bytes, in header and directory.
        for at in 0..bytes.len() - 2 {
            match &bytes[at..at + 3] {
                b"cl/" => bytes[at + 1] = 0x81,
                b"ce/" => bytes[at + 1] = 0x94,
                _ => (),
            }
        }
        let listing = list_bytes(Path::new("data.zip"), bytes).unwrap();
        assert_eq!(listing.class_names(), ["cé", "cö", "cü"]);
        let mut bytes = Vec::new();
        listing.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, grey(3));
    }

    #[test]
    fn hostile_archives_are_errors_that_name_the_entry() {
        let good = stored("a/1.png", &grey(1));
        for (entries, parts) in [
            (vec![], ["no image in", "data.zip"]),
            (vec![good.clone(), good.clone()], ["data.zip/a/1.png", "two entries"]),
            (vec![good.clone(), stored("a/../../x.png", b"x")], ["a/../../x.png", "out of the archive"]),
            (vec![good.clone(), stored("..\\x.png", b"x")], ["x.png", "out of the archive"]),
            (vec![good.clone(), stored("/etc/x.png", b"x")], ["x.png", "out of the archive"]),
        ] {
            let error = refused(&entries);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        // Cut anywhere, an archive is refused: its directory is at the end.
        let (folder, path) = written(&[good.clone(), stored("b/1.png", &grey(2))]);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = list(&path, false).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("data.zip") && error.hint().is_some(), "cut at {cut}: {error}");
        }
        // Without its first bytes, which is how an archive behind a program looks, every entry moves; damaged ones are found when read.
        for flip in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[flip] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            if let Ok(listing) = list(&path, false) {
                let mut bytes = Vec::new();
                (0..listing.len()).for_each(|index| drop(listing.read(index, &mut bytes)));
            }
        }
        drop(folder);
    }

    #[test]
    fn joined_archives_are_errors() {
        let png = grey(1);
        let [a, b] = ["a/1.png", "bee/12.png"].map(|name| archive(&[stored(name, &png)]));
        let list = |bytes: &[u8]| list_bytes(Path::new("x.zip"), bytes.to_vec());
        let mut noted = a.clone();
        let end = noted.len();
        noted[end - 2] = 4;
        noted.extend(b"note");
        assert_eq!(list(&noted).unwrap().len(), 1);
        for first in [&a, &noted, &archive(&[])] {
            let error = list(&[first.as_slice(), &b].concat()).unwrap_err();
            assert!(error.to_string().contains("another archive lies before byte") && error.hint().is_some(), "{error}");
        }
        // A program before the archive, and a stored archive in it, are neither.
        assert_eq!(list(&[b"MZ a program that unpacks itself".as_slice(), &b].concat()).unwrap().len(), 1);
        assert_eq!(list(&archive(&[stored("inner.zip", &a), stored("b/1.png", &png)])).unwrap().len(), 1);
    }

    #[test]
    fn entries_that_are_not_what_the_archive_says_are_bad_files() {
        let png = grey(1);
        let bomb = deflate(&vec![0; 50_000_000]);
        let entries = [
            Told { crc: 1, ..stored("a/0.png", &png) },
            Told { size: 1 << 30, ..deflated("a/1.png", &png) },
            Told { size: 10, held: bomb.clone(), ..deflated("a/2.png", &png) },
            Told { size: u32::MAX - 1, held: bomb, ..deflated("a/3.png", &png) },
            Told { size: 10_000, ..deflated("a/4.png", &png) },
            Told { method: 14, ..stored("a/5.png", &png) },
            Told { flags: 1, ..stored("a/6.png", &png) },
            Told { header: Some(3), ..stored("a/7.png", &png) },
            Told { header: Some(1 << 30), ..stored("a/8.png", &png) },
            Told { size: 7, ..stored("a/9.png", &png) },
            Told { held: vec![0xFF; 40], ..deflated("a/91.png", &png) },
        ];
        let (_folder, path) = written(&entries);
        let listing = list(&path, false).unwrap();
        let parts = [
            "check sum",
            "1073741824 bytes, more than any image",
            "10 bytes, it unpacks to more",
            "more than any image",
            "it unpacks to 75",
            "method 14",
            "encrypted",
            "no entry begins where",
            "cut short",
            "7 bytes, stored as",
            "damaged",
        ];
        let mut bytes = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            let bad = listing.read(index, &mut bytes).unwrap_err();
            let text = bad.to_string();
            let unpacked = png.len().to_string();
            let part = part.replace("75", &unpacked);
            assert!(bad.path == path.join(&entries[index].name) && text.contains(&part), "{part}: {text}");
            assert!(bytes.capacity() < 1_000_000, "{part}: {} bytes were reserved", bytes.capacity());
        }
        let error = decode_all(&listing, SHAPE, WHITE, false).unwrap_err();
        assert!(error.to_string().contains("11 of 11 image files cannot be used, the first is"), "{error}");
    }

    #[test]
    fn a_bad_file_gives_its_place_to_the_next_of_its_class() {
        let bad = |name: &str| Told { crc: 1, ..stored(name, &grey(9)) };
        let entries = [
            stored("a/0.png", &grey(10)),
            bad("a/1.png"),
            bad("a/2.png"),
            stored("b/0.png", &grey(20)),
            bad("b/1.png"),
        ];
        let (_folder, path) = written(&entries);
        let data = |skip| stream(list(&path, false).unwrap(), SHAPE, WHITE, skip).unwrap();
        let error = data(false).image(1).unwrap_err();
        assert_eq!((error.path, error.reason), (path.join("a/1.png"), BadReason::Checksum));
        let data = data(true);
        let seen: Vec<u8> = (0..5).map(|i| data.image(i).unwrap()[0]).collect();
        assert_eq!((seen.as_slice(), data.labels.as_slice()), (&[10, 10, 10, 20, 20][..], &[0, 0, 0, 1, 1][..]));
        let told: Vec<PathBuf> = data.newly_bad().into_iter().map(|bad| bad.path).collect();
        assert_eq!(told, ["a/1.png", "a/2.png", "b/1.png"].map(|name| path.join(name)));
        drop(data.image(1));
        assert!(data.newly_bad().is_empty(), "a bad file is told once");
        // Nothing of the class is left.
        let (_folder, path) = written(&[bad("a/0.png"), bad("a/1.png"), stored("b/0.png", &grey(1))]);
        let data = stream(list(&path, false).unwrap(), SHAPE, WHITE, true).unwrap();
        assert_eq!(data.image(1).unwrap_err().path, path.join("a/1.png"));
    }

    #[test]
    fn pixels_and_fingerprint_do_not_depend_on_memory() {
        let entries: Vec<Told> = (0..12)
            .map(|i| deflated(&format!("{}/{i:02}.png", ["a", "b"][i % 2]), &grey(i as u8)))
            .collect();
        let (_folder, path) = written(&entries);
        let kept = decode_all(&list(&path, false).unwrap(), SHAPE, WHITE, false).unwrap().dataset;
        let streamed = stream(list(&path, false).unwrap(), SHAPE, WHITE, true).unwrap();
        assert_eq!(kept.fingerprint(), streamed.fingerprint());
        assert_eq!((kept.bytes_in_memory(), streamed.bytes_in_memory()), (48, 0));
        assert_eq!(kept.pixels().unwrap(), streamed.pixels().unwrap());
        let parts = |data: &crate::data::Dataset| {
            let (a, b) = data.split(4, 3).unwrap();
            [a, b].map(|part| (part.fingerprint(), part.pixels().unwrap().into_owned(), part.labels))
        };
        assert_eq!(parts(&kept), parts(&streamed));
        // A content, a name, a label.
        let other = |change: &dyn Fn(&mut Told)| {
            let mut entries = entries.clone();
            change(&mut entries[3]);
            stream(listed(&entries).unwrap(), SHAPE, WHITE, true).unwrap().fingerprint()
        };
        let changed = [
            other(&|told| *told = deflated(&told.name, &grey(77))),
            other(&|told| told.name = "b/3.png".into()),
            other(&|told| told.name = "a/03.png".into()),
        ];
        let unique: std::collections::HashSet<_> = changed.iter().chain([&kept.fingerprint()]).cloned().collect();
        assert_eq!(unique.len(), 4);
    }
}
