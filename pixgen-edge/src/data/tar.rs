//! Images in tar archives: the shards of WebDataset, where `KEY.jpg` has its label in `KEY.cls` or `KEY.json`, a folder for each class,
//! or any other layout of a folder.
//!
//! Headers are walked once, shards in parallel; images are then read from any thread at their positions ([`Listing::read`]). Archives that
//! are packed with gzip have no positions and are unpacked into memory.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use rayon::prelude::*;
use tar::EntryType;

use crate::data::DataError;
use crate::data::classes::classify;
use crate::data::contents::{Contents, must_be_plain};
use crate::data::labels::LABEL_FILE;
use crate::data::listing::Listing;
use crate::data::names::{Inside, inside, is_ignored, name_of};
use crate::data::store::{Archive, EntryLocation, Store};

/// Most shards that a pattern may stand for.
const MAX_SHARDS: usize = 1 << 16;
/// Most bytes of unpacked archives in memory, 4 GiB.
const MAX_UNPACKED: u64 = 1 << 32;
const AGAIN: &str = "download or copy the file again";

/// An entry of an archive.
enum Item {
    File(PathBuf, EntryLocation),
    Folder(PathBuf),
    /// A link or a device.
    Other(PathBuf),
    Ignored(PathBuf),
}

/// Whether a name is that of a tar archive that can be read.
pub(crate) fn is_tar_name(path: &Path) -> bool {
    let name = name_of(path).to_lowercase();
    [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end))
}

/// The shards that `path` stands for: itself, the tar archives in it, or a pattern such as `train-{000..146}.tar`. Empty if it is none of
/// them.
///
/// # Errors
/// A folder that cannot be read, and a pattern with a shard that is not there.
pub fn shards(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if let Some(shards) = expand(path)? {
        return match shards.iter().find(|shard| !shard.is_file()) {
            Some(missing) => Err(DataError::archive(
                missing,
                &format!("there is no such file; the pattern `{}` stands for it", name_of(path)),
                "write the first and the last number of the shards that are there, for example {000..146}",
            )),
            None => Ok(shards),
        };
    }
    if !path.is_dir() {
        return Ok(if is_tar_name(path) { vec![path.to_path_buf()] } else { Vec::new() });
    }
    Ok(beside(path)?.0)
}

/// The shards in a folder, sorted, and the other files.
fn beside(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let path = entry.map_err(DataError::read(folder))?.path();
        if path.file_name().is_some_and(|name| !is_ignored(name)) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.into_iter().partition(|path| is_tar_name(path)))
}

/// `a-{008..012}.tar` as five paths; None if there is no such pattern in the last part, or if a file has this very name.
fn expand(path: &Path) -> Result<Option<Vec<PathBuf>>, DataError> {
    let name = name_of(path);
    let pattern = name.split_once('{').and_then(|(before, rest)| {
        let (range, after) = rest.split_once('}')?;
        let (first, last) = range.split_once("..")?;
        Some((before, first, last.parse::<usize>().ok()?, after))
    });
    let Some((before, first, last, after)) = pattern.filter(|_| !path.exists()) else {
        return Ok(None);
    };
    let Ok(start) = first.parse::<usize>() else { return Ok(None) };
    if start > last || last - start >= MAX_SHARDS {
        let what = format!("the pattern stands for no shards, or for more than {MAX_SHARDS}");
        return Err(DataError::archive(path, &what, "write the first and the last number, for example {000..146}"));
    }
    let digits = first.len();
    let shard = |number| path.with_file_name(format!("{before}{number:0digits$}{after}"));
    Ok(Some((start..=last).map(shard).collect()))
}

/// Lists the images of the shards that `path` stands for; with `relabel`, gaps in their labels are closed. A `dataset.json` beside them
/// counts as if it lay in them.
///
/// # Errors
/// A file that is no whole tar archive, names that lead out of it or come twice, labels that are no numbers, images without a label
/// where others have one, labels without an image, and classes without one.
pub fn list(path: &Path, relabel: bool) -> Result<Listing, DataError> {
    let mut shards = shards(path)?;
    if shards.is_empty() {
        // An archive by its content, whatever its name.
        shards.push(path.to_path_buf());
    }
    let single = shards.len() == 1;
    let folder = shards.first().and_then(|shard| shard.parent()).unwrap_or(Path::new(""));
    let root = if single { shards[0].as_path() } else { folder };
    let open = |(number, path): (usize, &PathBuf)| {
        let archive = open(path, number)?;
        let items = walk(path, &archive, number as u32)?;
        Ok((archive, items))
    };
    // In order, so that of several errors the first shard's is told.
    let walked: Vec<Result<(Archive, Vec<Item>), DataError>> = shards.par_iter().enumerate().map(open).collect();
    let mut contents = Contents::new(Store { root: root.to_path_buf(), archives: Vec::new() }, false);
    for (shard, walked) in shards.iter().zip(walked) {
        let (archive, items) = walked?;
        contents.store.archives.push(archive);
        add(
            items,
            if single {
                Path::new("")
            } else {
                Path::new(shard.file_name().unwrap_or_default())
            },
            &mut contents,
        );
    }
    let unpacked: u64 = contents.store.archives.iter().map(Archive::bytes_in_memory).sum();
    if unpacked > MAX_UNPACKED {
        return Err(too_large(path));
    }
    add_beside(path, folder, &mut contents)?;
    classify(contents, relabel)
}

/// Lists the images of an archive that is in memory, plain or packed; `path` is for messages.
///
/// # Errors
/// Those of [`list`].
pub fn list_bytes(path: &Path, bytes: Vec<u8>) -> Result<Listing, DataError> {
    let archive = Archive::Memory(if is_gzip(&bytes) { unpack(path, bytes.as_slice())? } else { bytes });
    let items = walk(path, &archive, 0)?;
    let mut contents = Contents::new(Store { root: path.to_path_buf(), archives: vec![archive] }, false);
    add(items, Path::new(""), &mut contents);
    classify(contents, false)
}

/// Adds the entries of an archive below a folder.
fn add(items: Vec<Item>, below: &Path, contents: &mut Contents) {
    for item in items {
        match item {
            Item::File(name, place) => contents.add(below.join(name), place),
            Item::Folder(name) => contents.add_folder(below.join(name)),
            Item::Other(name) => contents.pass_over(&below.join(name)),
            Item::Ignored(name) => contents.ignore(below.join(name)),
        }
    }
}

/// Adds what lies beside the shards: their label file, and in a folder that was asked for everything else.
fn add_beside(path: &Path, folder: &Path, contents: &mut Contents) -> Result<(), DataError> {
    let labels = folder.join(LABEL_FILE);
    if let Ok(bytes) = fs::read(&labels) {
        contents.add_beside(labels.clone(), bytes);
    }
    if path.is_dir() {
        let others = beside(path)?.1;
        others
            .iter()
            .filter(|other| **other != labels)
            .for_each(|other| contents.pass_over(Path::new(other.file_name().unwrap_or_default())));
    }
    Ok(())
}

fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1F, 0x8B])
}

/// The `number`-th archive of a set: an open file, or what it unpacks to.
fn open(path: &Path, number: usize) -> Result<Archive, DataError> {
    let mut file = File::open(path).map_err(DataError::read(path))?;
    let mut start = Vec::new();
    file.by_ref().take(2).read_to_end(&mut start).map_err(DataError::read(path))?;
    file.rewind().map_err(DataError::read(path))?;
    match is_gzip(&start) {
        true => Ok(Archive::Memory(unpack(path, BufReader::new(file))?)),
        false => Ok(Archive::keep(path, file, number)),
    }
}

fn unpack(path: &Path, packed: impl std::io::BufRead) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(packed).take(MAX_UNPACKED + 1).read_to_end(&mut bytes);
    read.map_err(|error| DataError::archive(path, &format!("the archive cannot be unpacked: {error}"), AGAIN))?;
    if bytes.len() as u64 > MAX_UNPACKED {
        return Err(too_large(path));
    }
    Ok(bytes)
}

fn too_large(path: &Path) -> DataError {
    DataError::archive(
        path,
        "what unpacks to more than 4 GiB cannot be kept in memory",
        "unpack it to a plain .tar once, with gunzip",
    )
}

/// Walks the headers of an archive.
fn walk(path: &Path, archive: &Archive, number: u32) -> Result<Vec<Item>, DataError> {
    match archive {
        Archive::Memory(bytes) => walk_headers(path, Cursor::new(bytes.as_slice()), bytes.len() as u64, number),
        _ => {
            let file = File::open(path).map_err(DataError::read(path))?;
            let length = file.metadata().map_err(DataError::read(path))?.len();
            walk_headers(path, file, length, number)
        }
    }
}

fn walk_headers(path: &Path, mut bytes: impl Read + Seek, length: u64, number: u32) -> Result<Vec<Item>, DataError> {
    let damaged = |error: std::io::Error| DataError::archive(path, &format!("the tar archive cannot be read: {error}"), AGAIN);
    let mut items = Vec::new();
    let mut end = 0;
    for entry in tar::Archive::new(&mut bytes).entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let sparse = sparse_name(&mut entry).map_err(damaged)?;
        let is_sparse = sparse.is_some();
        let name = sparse.map_or_else(|| entry.path_bytes(), Cow::Owned);
        let at = || path.join(String::from_utf8_lossy(&name).trim_start_matches('/'));
        let (start, size) = (entry.raw_file_position(), entry.size());
        end = start.saturating_add(size);
        // The size of a sparse file counts its holes, which the archive leaves out.
        if end > length && !is_sparse {
            let what = format!("the archive is cut short: {size} bytes from {start} on, the file has {length}");
            return Err(DataError::archive(&at(), &what, AGAIN));
        }
        let inner = match inside(&name).map_err(|what| DataError::archive(&at(), what, "make the archive again"))? {
            Inside::Path(inner) => inner,
            Inside::Ignored(outermost) => {
                items.push(Item::Ignored(outermost));
                continue;
            }
            Inside::Root => continue,
        };
        let used = must_be_plain(&inner);
        let item = match entry.header().entry_type() {
            _ if is_sparse && used => {
                return Err(DataError::archive(&at(), "the file is packed as a sparse one", "pack again without --sparse (-S)"));
            }
            _ if is_sparse => Item::Other(inner),
            EntryType::Directory => Item::Folder(inner),
            EntryType::Regular | EntryType::Continuous => Item::File(inner, EntryLocation::Tar { archive: number, at: start, size }),
            _ if used => {
                return Err(DataError::archive(&at(), "the entry is not a plain file", "pack the files themselves, not links to them"));
            }
            _ => Item::Other(inner),
        };
        items.push(item);
    }
    refuse_more(path, &mut bytes)?;
    // An archive ends with two blocks of zeros, but some writers leave them out; then it ends with the last entry.
    if end == 0 && items.is_empty() && length > 0 && !is_zero(&mut bytes).map_err(damaged)? {
        return Err(DataError::archive(path, "this is not a tar archive", AGAIN));
    }
    Ok(items)
}

/// The name of a file that is packed without its holes, as GNU tar does it; None for any other entry.
fn sparse_name<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Option<Vec<u8>>> {
    let mut sparse = entry.header().entry_type().is_gnu_sparse();
    let mut name = None;
    for field in entry.pax_extensions()?.into_iter().flatten().flatten() {
        sparse |= field.key_bytes().starts_with(b"GNU.sparse.");
        if field.key_bytes() == b"GNU.sparse.name" {
            name = Some(field.value_bytes().to_vec());
        }
    }
    Ok(sparse.then(|| name.unwrap_or_else(|| entry.path_bytes().into_owned())))
}

/// Only zeros may follow the block of zeros that ends an archive: whatever else did would be lost without a word.
fn refuse_more(path: &Path, bytes: &mut (impl Read + Seek)) -> Result<(), DataError> {
    const HINT: &str = "download or copy the file again; if archives were joined, give them apart in one folder, or unpack with tar -xif";
    let mut at = bytes.stream_position().map_err(DataError::read(path))?;
    let end = at;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        bytes.by_ref().take(1 << 16).read_to_end(&mut piece).map_err(DataError::read(path))?;
        if let Some(offset) = piece.iter().position(|&byte| byte != 0) {
            let what = format!(
                "the archive ends at byte {end}, but goes on at {}: archives that were joined, or a damaged copy",
                at + offset as u64
            );
            return Err(DataError::archive(path, &what, HINT));
        }
        if piece.is_empty() {
            return Ok(());
        }
        at += piece.len() as u64;
    }
}

/// Whether a file begins with a block of zeros: an empty archive.
fn is_zero(bytes: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    bytes.rewind()?;
    let mut block = Vec::new();
    bytes.take(512).read_to_end(&mut block)?;
    Ok(block.len() == 512 && block.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};
    use tempfile::TempDir;

    use super::*;
    use crate::data::load::decode_all;
    use crate::data::zip::tests::grey;
    use crate::data::{ImageShape, WHITE};

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (name, data) in entries {
            let mut header = Header::new_ustar();
            header.set_size(data.len() as u64);
            // The bytes themselves: `append_data` would refuse what leads out of the archive.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, *data).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn listed(path: &Path) -> Result<Listing, DataError> {
        list(path, false)
    }

    fn refused(entries: &[(&str, &[u8])]) -> String {
        refused_bytes(archive(entries))
    }

    fn refused_bytes(bytes: Vec<u8>) -> String {
        let folder = folder(&[("x.tar", bytes)]);
        let error = listed(&folder.path().join("x.tar")).map(|_| ()).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    }

    #[test]
    fn labels_lie_beside_the_pictures() {
        let [one, two, three] = [1, 2, 3].map(grey);
        let first = archive(&[
            ("./0001.cls", b"1\n"),
            ("./0001.png", &one),
            ("./0001.seg.png", b"a mask"),
            ("./0000.png", &two),
            ("./0000.json", br#"{"label": 0, "caption": "x"}"#),
        ]);
        // The same keys in another shard are other pictures.
        let second = archive(&[("0000.png", &three), ("0000.cls", b"2"), ("0000.json", br#"{"caption": "x"}"#)]);
        let names = br#"{"classes": ["x", "y", "z"]}"#.to_vec();
        let folder = folder(&[("b.tar", second), ("a.tar", first), ("dataset.json", names), ("notes.txt", vec![1])]);
        let listing = listed(folder.path()).unwrap();
        assert_eq!(listing.class_names(), ["x", "y", "z"]);
        let data = decode_all(&listing, SHAPE, WHITE, false).unwrap().dataset;
        let firsts: Vec<u8> = (0..3).map(|i| data.image(i).unwrap()[0]).collect();
        assert_eq!((firsts.as_slice(), data.labels.as_slice()), (&[2, 1, 3][..], &[0, 1, 2][..]));
        assert_eq!(listing.path(2), folder.path().join("b.tar/0000.png"));
    }

    #[test]
    fn folders_in_a_tar_are_classes() {
        let [one, two] = [1, 2].map(grey);
        let entries: [(&str, &[u8]); 3] = [("set/b/1.v2.png", &one), ("set/a/1.png", &two), ("set/notes.json", b"{}")];
        let folder = folder(&[("x.tar", archive(&entries))]);
        let listing = listed(&folder.path().join("x.tar")).unwrap();
        assert_eq!((listing.class_names(), listing.labels().as_slice()), (&["a".to_string(), "b".into()][..], &[0, 1][..]));
    }

    /// A shard is no class, whatever it is called.
    #[test]
    fn shards_are_no_classes() {
        let png = grey(1);
        let shards = |first: &[&str], second: &[&str], beside: Option<&str>| {
            let pack = |names: &[&str]| archive(&names.iter().map(|&name| (name, png.as_slice())).collect::<Vec<_>>());
            let mut files = vec![("ant.tar", pack(first)), ("bee.tar", pack(second))];
            files.extend(beside.map(|text| ("dataset.json", text.as_bytes().to_vec())));
            let folder = folder(&files);
            listed(folder.path())
                .map(|listing| (listing.class_names().join(" "), listing.labels()))
                .map_err(|error| {
                    assert!(error.hint().is_some(), "{error}");
                    error.to_string().replace(&folder.path().display().to_string(), "set")
                })
        };
        let (names, labels) = shards(&["y/1.png", "x/2.png"], &["y/1.png", "x/deep/1.png"], None).unwrap();
        assert_eq!((names.as_str(), labels.as_slice()), ("x y", &[0, 0, 1, 1][..]));
        assert_eq!(shards(&["set/x/1.png"], &["set/y/1.png"], None).unwrap().0, "x y");
        assert_eq!(shards(&["cats/1.png"], &["cats/2.png"], None).unwrap().0, "cats");
        let error = shards(&["1.png"], &["2.png"], None).unwrap_err();
        assert_eq!(error, "set: the pictures of several shards have neither labels nor class folders");
        for one in [r#"{"labels": null, "classes": ["bug"]}"#, r#"{"classes": ["bug"]}"#] {
            assert_eq!(shards(&["1.png"], &["2.png"], Some(one)).unwrap(), ("bug".into(), vec![0, 0]));
        }
        let error = shards(&["x/1.png"], &["y/1.png", "2.png"], None).unwrap_err();
        assert!(error.starts_with("set/bee.tar/2.png lies beside class folders"), "{error}");
    }

    /// A label file in one of several shards says nothing of the others.
    #[test]
    fn label_files_in_shards() {
        let png = grey(1);
        let null: (&str, &[u8]) = ("dataset.json", br#"{"labels": null, "classes": ["bug"]}"#);
        let names: (&str, &[u8]) = ("dataset.json", br#"{"classes": ["bug"]}"#);
        let inner: (&str, &[u8]) = ("x/dataset.json", null.1);
        let (x, y) = (("x/1.png", png.as_slice()), ("y/1.png", png.as_slice()));
        let shards = |first: &[(&str, &[u8])], second: &[(&str, &[u8])], beside: Option<&[u8]>| {
            let mut files = vec![("0.tar", archive(first)), ("1.tar", archive(second))];
            files.extend(beside.map(|text| ("dataset.json", text.to_vec())));
            let folder = folder(&files);
            let listing = listed(folder.path()).map_err(|error| error.to_string())?;
            Ok::<_, String>((listing.class_names().join(" "), listing.passed.to_string()))
        };
        assert!(
            shards(&[x, null], &[y], None)
                .unwrap_err()
                .contains("0.tar/dataset.json: the label file lies in one of several shards")
        );
        assert_eq!(shards(&[x, names], &[y], None).unwrap().0, "bug");
        let told = "1 file (1 .json); the labels in 1 of them (dataset.json) were not used";
        assert_eq!(shards(&[x, inner], &[y], None).unwrap(), ("x y".into(), told.into()));
        // Beside the shards is further out than in one of them.
        assert_eq!(shards(&[x, null], &[y], Some(names.1)).unwrap(), ("bug".into(), told.into()));
        // What is about something else does not stand in the way of the one beside a single archive.
        let folder = folder(&[
            ("a.tar", archive(&[x, y, ("dataset.json", b"{}")])),
            ("dataset.json", null.1.to_vec()),
        ]);
        assert_eq!(listed(&folder.path().join("a.tar")).unwrap().class_names(), ["bug"]);
    }

    #[test]
    fn what_goes_on_behind_the_end_is_an_error() {
        let png = grey(1);
        let [a, b, c] = ["a/1.png", "b/1.png", "c/1.png"].map(|name| archive(&[(name, &png)]));
        let pack = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, bytes).unwrap();
            encoder.finish().unwrap()
        };
        let three = archive(&[("a/1.png", &png), ("b/1.png", &png), ("c/1.png", &png)]);
        let hole = |from: usize, length: usize| {
            let mut bytes = three.clone();
            bytes[from..from + length].fill(0);
            bytes
        };
        let late = [a.as_slice(), &vec![0; 200_000], &[1]].concat();
        for bytes in [
            [a.as_slice(), &b].concat(),
            [pack(&a), pack(&b)].concat(),
            [a.as_slice(), &b, &c].concat(),
            hole(1024, 512),
            hole(1000, 1024),
            hole(0, 512),
            late,
            [a.as_slice(), b"PK"].concat(),
        ] {
            let folder = folder(&[("x.tar", bytes)]);
            let error = listed(&folder.path().join("x.tar")).unwrap_err();
            assert!(error.to_string().contains("but goes on at") && error.hint().is_some(), "{error}");
        }
        // Zeros, however many, and none.
        for end in [0, 1024, 10_240, 200_001] {
            let bytes = [&three[..three.len() - 1024], &vec![0; end]].concat();
            let folder = folder(&[("x.tar", bytes)]);
            assert_eq!(listed(&folder.path().join("x.tar")).unwrap().len(), 3, "{end}");
        }
        // Joined without their ends they are one archive.
        let joined = [&a[..a.len() - 1024], &b].concat();
        assert_eq!(listed(&folder(&[("x.tar", joined)]).path().join("x.tar")).unwrap().len(), 2);
    }

    /// GNU tar -S: of the old format, and of PAX 0.0, 0.1 and 1.0.
    #[test]
    fn sparse_files_are_named() {
        let png = grey(1);
        let sparse = |name: &str, pax: &[(&str, &str)]| {
            let mut archive = Builder::new(Vec::new());
            let mut header = Header::new_gnu();
            match pax {
                [] => {
                    header.set_entry_type(EntryType::GNUSparse);
                    let gnu = header.as_gnu_mut().unwrap();
                    gnu.realsize.copy_from_slice(b"000004000000");
                    gnu.sparse[0].offset.copy_from_slice(b"000004000000");
                    gnu.sparse[0].numbytes.copy_from_slice(b"000000000000");
                }
                pax => archive
                    .append_pax_extensions(pax.iter().map(|(key, value)| (*key, value.as_bytes())))
                    .unwrap(),
            }
            header.set_path(name).unwrap();
            header.set_size(0);
            header.set_cksum();
            archive.append(&header, &[][..]).unwrap();
            let mut plain = Header::new_gnu();
            plain.set_size(png.len() as u64);
            archive.append_data(&mut plain, "a/2.png", png.as_slice()).unwrap();
            let folder = folder(&[("x.tar", archive.into_inner().unwrap())]);
            let path = folder.path().join("x.tar");
            listed(&path).map(|listing| (listing.len(), listing.passed.to_string())).map_err(|error| {
                assert!(error.hint().is_some_and(|hint| hint.contains("-S")), "{error}");
                error.to_string().replace(&folder.path().display().to_string(), "set")
            })
        };
        for (name, pax) in [
            ("a/1.png", &[][..]),
            ("a/1.png", &[("GNU.sparse.size", "1048576"), ("GNU.sparse.numblocks", "0")]),
            ("a/1.png", &[("GNU.sparse.map", "0,0"), ("GNU.sparse.name", "a/1.png")]),
            (
                "a/GNUSparseFile.7/1.png",
                &[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.name", "a/1.png"),
                    ("GNU.sparse.realsize", "1048576"),
                ],
            ),
        ] {
            assert_eq!(sparse(name, pax).unwrap_err(), "set/x.tar/a/1.png: the file is packed as a sparse one", "{pax:?}");
        }
        // One that is no picture does no harm.
        assert_eq!(sparse("a/disk.bin", &[]).unwrap(), (1, "1 file (1 .bin)".into()));
    }

    /// GNU and PAX names are longer than a header's field.
    #[test]
    fn long_names_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("{}/{}.png", "class".repeat(30), "name".repeat(30));
        let mut archive = Builder::new(fs::File::create(folder.path().join("x.tar")).unwrap());
        let (mut header, png) = (Header::new_gnu(), grey(5));
        header.set_size(png.len() as u64);
        archive.append_data(&mut header, &long, png.as_slice()).unwrap();
        archive.finish().unwrap();
        let listing = listed(&folder.path().join("x.tar")).unwrap();
        assert_eq!(listing.path(0), folder.path().join("x.tar").join(&long));
        let mut bytes = Vec::new();
        listing.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, png);
    }

    #[test]
    fn patterns_name_shards() {
        let folder = folder(&[
            ("t-008.tar", vec![]),
            ("t-009.tar", vec![]),
            ("t-010.tar", vec![]),
            ("{1..2}.tar", vec![]),
        ]);
        let found = |name: &str| shards(&folder.path().join(name)).map(|paths| paths.iter().map(|path| name_of(path)).collect::<Vec<_>>());
        assert_eq!(found("t-{008..010}.tar").unwrap(), ["t-008.tar", "t-009.tar", "t-010.tar"]);
        assert_eq!(found("{1..2}.tar").unwrap(), ["{1..2}.tar"], "a file of this name wins");
        assert!(
            found("t-{008..011}.tar")
                .unwrap_err()
                .to_string()
                .contains("t-011.tar: there is no such file; the pattern `t-{008..011}.tar`")
        );
        assert!(found("t-{0..99999999}.tar").is_err());
        assert_eq!(found("t-{a..b}.tar").unwrap(), ["t-{a..b}.tar"]);
        assert!(found("t-{8..}.png").unwrap().is_empty());
    }

    #[test]
    fn hostile_archives_are_errors_that_name_the_entry() {
        let png = grey(1);
        let good: (&str, &[u8]) = ("a/1.png", &png);
        for (entries, parts) in [
            (vec![], ["no image in", "x.tar"]),
            (vec![good, good], ["x.tar/a/1.png", "two entries"]),
            (vec![good, ("../x.png", b"x")], ["x.tar/../x.png", "out of the archive"]),
            (vec![good, ("/etc/x.png", b"x")], ["etc/x.png", "out of the archive"]),
            (vec![good, ("a/1.cls", b"cat")], ["a/1.cls", "`cat` is not a class number"]),
            (vec![good, ("a/1.cls", b"-1")], ["a/1.cls", "`-1` is not a class number"]),
            (vec![good, ("a/1.json", br#"{"label": "cat"}"#)], ["a/1.json", "`cat` is not a class number"]),
            (vec![good, ("a/1.cls", b"0"), ("a/2.cls", b"0")], ["a/2.cls", "the label of no picture"]),
            (vec![good, ("a/1.cls", b"0"), ("b/1.png", &png)], ["x.tar/b/1.png", "no label"]),
            (vec![good, ("a/1.cls", b"1")], ["labels go up to 1", "no image has label 0"]),
            (vec![good, ("a/1.cls", b"0"), ("a/1.json", br#"{"label": 1}"#)], ["a/1.json", "the labels 0 and 1"]),
        ] {
            let error = refused(&entries);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }

        let whole = archive(&[("a/1.png", &png), ("b/1.png", &png)]);
        for cut in (1..whole.len() - 1024).step_by(7) {
            let folder = folder(&[("x.tar", whole[..cut].to_vec())]);
            let path = folder.path().join("x.tar");
            match listed(&path) {
                // Some writers leave the end out: what is whole is there.
                Ok(listing) => {
                    let mut bytes = Vec::new();
                    (0..listing.len()).for_each(|index| listing.read(index, &mut bytes).unwrap());
                    let whole = [512 + png.len(), 1536 + png.len()].into_iter().filter(|&end| end <= cut).count();
                    assert_eq!(listing.len(), whole, "cut at {cut}");
                }
                Err(error) => assert!(error.to_string().contains("x.tar") && error.hint().is_some(), "cut at {cut}: {error}"),
            }
        }
        let mut link = Header::new_ustar();
        link.set_entry_type(EntryType::Symlink);
        link.set_path("a/2.png").unwrap();
        link.set_link_name("/etc/passwd").unwrap();
        link.set_size(0);
        link.set_cksum();
        let bytes = [&link.as_bytes()[..], &whole].concat();
        let folder = folder(&[("x.tar", bytes), ("text.tar", b"not an archive at all".to_vec())]);
        let error = listed(&folder.path().join("x.tar")).unwrap_err().to_string();
        assert!(error.contains("x.tar/a/2.png: the entry is not a plain file"), "{error}");
        for name in ["a/1.cls", "dataset.json"] {
            link.set_path(name).unwrap();
            link.set_cksum();
            let error = refused_bytes([&link.as_bytes()[..], &whole].concat());
            assert!(error.contains(&format!("x.tar/{name}: the entry is not a plain file")), "{error}");
        }
        assert!(listed(&folder.path().join("text.tar")).is_err());
        fs::write(folder.path().join("x.bin"), &whole).unwrap();
        assert_eq!(listed(&folder.path().join("x.bin")).unwrap().len(), 2);
    }
}
