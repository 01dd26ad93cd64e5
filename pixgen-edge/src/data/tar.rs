//! Images in tar archives: the shards of WebDataset, where `KEY.jpg` has its label in `KEY.cls` or `KEY.json`, or a folder for each class.
//!
//! Headers are walked once, shards in parallel; images are then read from any thread at their positions ([`Listing::read`]).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rawzip::FileReader;
use rayon::prelude::*;
use serde::Deserialize;
use tar::{Archive, EntryType};

use crate::data::DataError;
use crate::data::classes::{By, Found, classify};
use crate::data::listing::{EntryLocation, Listing, has_image_name, inside, name_of};
use crate::data::zip::{LABEL_FILE, parse_labels};

/// Most bytes of a label in a shard.
const MAX_LABEL_BYTES: u64 = 1 << 20;
/// Most shards that a pattern may stand for.
const MAX_SHARDS: usize = 1 << 16;

/// What a shard holds.
#[derive(Default)]
struct Shard {
    images: Vec<Found>,
    /// Labels by key.
    labels: HashMap<PathBuf, u32>,
}

/// The `label` of a `KEY.json`; everything else in it is left alone.
#[derive(Deserialize)]
struct Metadata {
    label: Option<u32>,
}

/// The shards that `path` stands for: itself, the `.tar` files in it, or a pattern such as `train-{000..146}.tar`. Empty if it is none
/// of them.
///
/// # Errors
/// A folder that cannot be read, and a pattern with a shard that is not there.
pub fn shards(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if let Some(shards) = expand(path)? {
        return match shards.iter().find(|shard| !shard.is_file()) {
            Some(missing) => Err(DataError::read(missing)(std::io::ErrorKind::NotFound.into())),
            None => Ok(shards),
        };
    }
    let is_tar = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"));
    if !path.is_dir() {
        return Ok(if is_tar(path) { vec![path.to_path_buf()] } else { Vec::new() });
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(DataError::read(path))? {
        let shard = entry.map_err(DataError::read(path))?.path();
        if is_tar(&shard) && !name_of(&shard).starts_with('.') && shard.is_file() {
            found.push(shard);
        }
    }
    found.sort();
    Ok(found)
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

/// Lists the images of `shards`, which are not empty and lie in one folder. Names of the classes may be in a `dataset.json` beside them:
/// `{"classes": [..]}`.
///
/// # Errors
/// A file that is no whole tar archive, names that lead out of it or come twice, labels that are no numbers, images without a label
/// where others have one, and classes without an image.
pub fn list(shards: &[PathBuf]) -> Result<Listing, DataError> {
    let single = shards.len() == 1;
    let folder = shards.first().and_then(|shard| shard.parent()).unwrap_or(Path::new(""));
    let root = if single { shards[0].as_path() } else { folder };
    let walk = |(number, path): (usize, &PathBuf)| {
        let file = File::open(path).map_err(DataError::read(path))?;
        let shard = walk(path, &file, number as u32)?;
        Ok((file, shard))
    };
    // In order, so that of several errors the first shard's is told.
    let walked: Vec<Result<(File, Shard), DataError>> = shards.par_iter().enumerate().map(walk).collect();
    let (mut files, mut images, mut labelled) = (Vec::new(), Vec::new(), false);
    for (path, walked) in shards.iter().zip(walked) {
        let (file, mut shard) = walked?;
        labelled |= !shard.labels.is_empty();
        for mut image in shard.images {
            image.label = shard.labels.remove(&key(&image.name).0);
            if !single {
                image.name = Path::new(&name_of(path)).join(image.name);
            }
            images.push(image);
        }
        files.push(FileReader::from(file));
    }
    if !labelled {
        return classify(root, files, images, By::Folder);
    }
    // `KEY.seg.png` is a mask or the like of `KEY.jpg`.
    images.retain(|image| key(&image.name).1.split('.').count() == 1);
    classify(root, files, images, By::Number { names: class_names(folder)?, whence: "(.cls or .json)" })
}

fn class_names(folder: &Path) -> Result<Option<Vec<String>>, DataError> {
    let path = folder.join(LABEL_FILE);
    match fs::read(&path) {
        Ok(bytes) => Ok(parse_labels(&path, &bytes)?.classes),
        Err(_) => Ok(None),
    }
}

/// Walks the headers of a shard.
fn walk(path: &Path, file: &File, number: u32) -> Result<Shard, DataError> {
    const AGAIN: &str = "download or copy the file again";
    let length = file.metadata().map_err(DataError::read(path))?.len();
    let damaged = |error: std::io::Error| DataError::archive(path, &format!("the tar archive cannot be read: {error}"), AGAIN);
    let mut shard = Shard::default();
    let mut end = 0;
    for entry in Archive::new(file).entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let at = || path.join(name.trim_start_matches('/'));
        let (start, size) = (entry.raw_file_position(), entry.size());
        end = start.saturating_add(size);
        if end > length {
            let what = format!("the archive is cut short: {size} bytes from {start} on, the file has {length}");
            return Err(DataError::archive(&at(), &what, AGAIN));
        }
        let Some(inner) = inside(&name).map_err(|what| DataError::archive(&at(), &what, "make the archive again"))? else {
            continue;
        };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        let (key, extension) = key(&inner);
        let is_image = has_image_name(&inner);
        if is_image && !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Err(DataError::archive(&at(), "the entry is not a plain file", "pack the files themselves, not links to them"));
        }
        if is_image {
            shard
                .images
                .push(Found { name: inner, label: None, place: EntryLocation::Tar { archive: number, at: start, size } });
        } else if extension == "cls" || extension == "json" {
            let mut text = Vec::new();
            entry.by_ref().take(MAX_LABEL_BYTES).read_to_end(&mut text).map_err(damaged)?;
            let label = parse(&extension, &text).map_err(|what| {
                DataError::archive(&at(), &what, "write the number of the class into KEY.cls, or {\"label\": NUMBER} into KEY.json")
            })?;
            let Some(label) = label else { continue };
            match shard.labels.insert(key, label) {
                Some(other) if other != label => {
                    let what = format!("the key has the labels {other} and {label}");
                    return Err(DataError::archive(&at(), &what, "give one label for each key"));
                }
                _ => (),
            }
        }
    }
    // An archive ends with two blocks of zeros, but some writers leave them out; then it ends with the last entry.
    if end == 0 && shard.images.is_empty() && length > 0 && !is_zero(file).map_err(damaged)? {
        return Err(DataError::archive(path, "this is not a tar archive", AGAIN));
    }
    Ok(shard)
}

/// Whether a file begins with a block of zeros: an empty archive.
fn is_zero(mut file: &File) -> std::io::Result<bool> {
    use std::io::Seek;
    file.rewind()?;
    let mut block = Vec::new();
    file.take(512).read_to_end(&mut block)?;
    Ok(block.len() == 512 && block.iter().all(|&byte| byte == 0))
}

/// The key of a name, with its folder, and what follows the first dot of its last part.
fn key(name: &Path) -> (PathBuf, String) {
    let last = name_of(name);
    let (stem, extension) = last.split_once('.').unwrap_or((&last, ""));
    (name.with_file_name(stem), extension.to_lowercase())
}

/// The label in a `.cls` or `.json`; a JSON without one is about something else.
fn parse(extension: &str, text: &[u8]) -> Result<Option<u32>, String> {
    if extension == "json" {
        let metadata: Metadata = serde_json::from_slice(text).map_err(|error| format!("no label can be read: {error}"))?;
        return Ok(metadata.label);
    }
    let text = String::from_utf8_lossy(text);
    let label = text
        .trim()
        .parse()
        .map_err(|_| format!("`{}` is not a class number", text.trim().chars().take(20).collect::<String>()))?;
    Ok(Some(label))
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
        list(&shards(path)?)
    }

    fn refused(entries: &[(&str, &[u8])]) -> String {
        let folder = folder(&[("x.tar", archive(entries))]);
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
        assert!(found("t-{008..011}.tar").unwrap_err().to_string().contains("t-011.tar"));
        assert!(found("t-{0..99999999}.tar").is_err());
        assert_eq!(found("t-{a..b}.tar").unwrap(), ["t-{a..b}.tar"]);
        assert!(found("t-{8..}.png").unwrap().is_empty());
    }

    #[test]
    fn hostile_archives_are_errors_that_name_the_entry() {
        let png = grey(1);
        let good: (&str, &[u8]) = ("a/1.png", &png);
        for (entries, parts) in [
            (vec![], ["x.tar", "no PNG or JPEG"]),
            (vec![good, good], ["x.tar/a/1.png", "two entries"]),
            (vec![good, ("../x.png", b"x")], ["x.tar/../x.png", "out of the archive"]),
            (vec![good, ("/etc/x.png", b"x")], ["etc/x.png", "out of the archive"]),
            (vec![good, ("a/1.cls", b"cat")], ["a/1.cls", "`cat` is not a class number"]),
            (vec![good, ("a/1.cls", b"-1")], ["a/1.cls", "`-1` is not a class number"]),
            (vec![good, ("a/1.json", b"{")], ["a/1.json", "no label can be read"]),
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
        assert!(listed(&folder.path().join("text.tar")).is_err());
    }
}
