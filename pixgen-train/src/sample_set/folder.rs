//! Pictures as files: `000000.png` and so on, what they have in common in `sample.json`, and their classes in `dataset.json`.

use super::error::SampleSetError;
use crate::sampling::Drawing;
use pixgen_edge::atomic::{Unfinished, is_temporary, make_folder, write_atomic};
use pixgen_edge::data::labels::LABEL_FILE;
use pixgen_edge::file_error::FileError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What the pictures of a folder have in common.
pub const MANIFEST: &str = "sample.json";
/// The end of a whole PNG file: the chunk IEND without data.
const PNG_END: &[u8; 12] = b"\0\0\0\0IEND\xaeB`\x82";

/// Everything but its number that a picture depends on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Version of these keys.
    pub schema: u32,
    /// Fingerprint of the weights and their header.
    pub model: String,
    /// Which average they are.
    pub ema: String,
    /// Images that they had seen.
    pub images_seen: u64,
    /// Fingerprint of the weaker model of autoguidance.
    pub weak: Option<String>,
    /// Steps and guidance.
    pub drawing: Drawing,
    /// Seed of the noise.
    pub seed: u64,
    /// Picture number N is of class `classes[N mod classes.len()]`.
    pub classes: Vec<usize>,
    /// Names of these classes.
    pub class_names: Vec<String>,
}

impl Manifest {
    /// The class of a picture.
    pub fn class(&self, number: u64) -> usize {
        self.classes[(number % self.classes.len() as u64) as usize]
    }

    /// What `dataset.json` says of the first `count` pictures, which are called `name(number)`: classes counted from 0, and none if
    /// there is only one.
    pub(super) fn labels(&self, count: u64, name: impl Fn(u64) -> String) -> Value {
        let classes = self.classes.len() as u64;
        let labels = (classes > 1).then(|| (0..count).map(|number| json!([name(number), number % classes])).collect::<Vec<_>>());
        // Classes that no picture shows would be an error to whoever reads this.
        let shown = classes.min(count) as usize;
        json!({ "labels": labels, "classes": self.class_names[..shown] })
    }
}

/// A folder of drawn pictures.
#[derive(Debug)]
pub struct SampleFolder {
    path: PathBuf,
    manifest: Manifest,
}

/// `000123.png`.
pub fn file_name(number: u64) -> String {
    format!("{number:06}.png")
}

impl SampleFolder {
    /// Makes the folder, or opens one whose pictures were drawn in the same way.
    ///
    /// # Errors
    /// [`SampleSetError::Foreign`], [`SampleSetError::Other`], [`SampleSetError::Manifest`], and those of the file system.
    pub fn open(path: &Path, manifest: Manifest) -> Result<Self, SampleSetError> {
        make_folder(path).map_err(FileError::write(path))?;
        let file = path.join(MANIFEST);
        let is = serde_json::to_value(&manifest).map_err(|error| FileError::write(&file)(error.into()))?;
        match fs::read(&file) {
            Ok(bytes) => check(path, &file, &bytes, &is)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let entries = fs::read_dir(path).map_err(FileError::read(path))?;
                let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
                let names: Vec<String> = names.collect::<Result<_, _>>().map_err(FileError::read(path))?;
                if let Some(found) = names.into_iter().filter(|name| !is_temporary(name)).min() {
                    return Err(SampleSetError::Foreign { path: path.to_owned(), found });
                }
                write_atomic(&file, |out| writeln!(out, "{is:#}"))?;
            }
            Err(source) => return Err(FileError::read(&file)(source).into()),
        }
        Ok(Self { path: path.to_owned(), manifest })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its pictures have in common.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The file of a picture.
    pub fn file(&self, number: u64) -> PathBuf {
        self.path.join(file_name(number))
    }

    /// Which of the pictures 0 to `count` are not there, in order. A file that does not end as a PNG does was not written to its end.
    ///
    /// # Errors
    /// [`SampleSetError::TooMany`] if there are pictures beyond them, and those of the file system.
    pub fn missing(&self, count: u64) -> Result<Vec<u64>, SampleSetError> {
        let (mut there, mut beyond) = (vec![false; count as usize], None);
        for entry in fs::read_dir(&self.path).map_err(FileError::read(&self.path))? {
            let name = entry.map_err(FileError::read(&self.path))?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".png"))
                .and_then(|digits| digits.parse().ok());
            let Some(number) = number.filter(|&number| name.to_str() == Some(&file_name(number))) else {
                continue;
            };
            match there.get_mut(number as usize) {
                Some(there) => *there = is_whole(&self.file(number))?,
                None => beyond = beyond.max(Some(number)),
            }
        }
        if let Some(number) = beyond {
            return Err(SampleSetError::TooMany { path: self.path.clone(), number, count });
        }
        Ok((0..).zip(there).filter(|&(_, there)| !there).map(|(number, _)| number).collect())
    }

    /// Writes a picture. It is not flushed to the disk one by one: [`SampleFolder::missing`] finds what a loss of power spoils.
    pub(super) fn write(&self, number: u64, png: &[u8]) -> Result<(), FileError> {
        let path = self.file(number);
        let written = Unfinished::beside(&path, |temporary| File::create_new(temporary)).and_then(|(unfinished, mut file)| {
            file.write_all(png)?;
            unfinished.rename(&path)
        });
        written.map_err(FileError::write(&path))
    }

    /// Writes the classes of the first `count` pictures, which makes the folder a data set.
    pub(super) fn write_labels(&self, count: u64) -> Result<(), FileError> {
        let labels = self.manifest.labels(count, file_name);
        write_atomic(&self.path.join(LABEL_FILE), |out| writeln!(out, "{labels}"))
    }

    /// Removes what belongs to the first `count` pictures, and the folder if nothing else is in it.
    pub fn remove(self, count: u64) -> Result<(), FileError> {
        let files = (0..count).map(|number| self.file(number));
        for path in files.chain([self.path.join(LABEL_FILE), self.path.join(MANIFEST)]) {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(FileError::Remove { path, source }),
                _ => {}
            }
        }
        // Files of someone else stay, and the folder with them.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }
}

/// The folder says the same of its pictures as `is`.
fn check(path: &Path, file: &Path, bytes: &[u8], is: &Value) -> Result<(), SampleSetError> {
    let manifest = |reason: String| SampleSetError::Manifest { path: file.to_owned(), reason };
    let was: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| manifest(error.to_string()))?;
    for (key, is) in is.as_object().into_iter().flatten() {
        let was = was.get(key).unwrap_or(&Value::Null);
        if was != is {
            return Err(SampleSetError::Other { path: path.to_owned(), key: key.clone(), was: was.to_string(), is: is.to_string() });
        }
    }
    Ok(())
}

fn is_whole(path: &Path) -> Result<bool, FileError> {
    let mut end = [0; PNG_END.len()];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-(PNG_END.len() as i64)))?;
        file.read_exact(&mut end)
    });
    match read {
        Ok(()) => Ok(&end == PNG_END),
        // Shorter than that: no position before the start.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof) => Ok(false),
        Err(source) => Err(FileError::read(path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(seed: u64) -> Manifest {
        Manifest {
            schema: 1,
            model: "0a0a0a0a".to_owned(),
            ema: "raw".to_owned(),
            images_seen: 5,
            weak: None,
            drawing: Drawing::Consistency { steps: 1 },
            seed,
            classes: vec![0, 1, 2],
            class_names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn what_is_missing_is_found() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("set");
        let folder = SampleFolder::open(&path, manifest(1)).unwrap();
        for number in [0, 1, 3] {
            folder.write(number, &[b"png".as_slice(), PNG_END].concat()).unwrap();
        }
        // Cut off, empty, and names that are not ours.
        for (name, bytes) in [
            ("000004.png", b"\x89PNG cut".as_slice()),
            ("000005.png", b""),
            ("6.png", b"x"),
            ("notes.txt", b"x"),
        ] {
            fs::write(path.join(name), bytes).unwrap();
        }
        let again = SampleFolder::open(&path, manifest(1)).unwrap();
        assert_eq!(again.missing(7).unwrap(), [2, 4, 5, 6]);
        let error = again.missing(3).unwrap_err();
        assert!(matches!(error, SampleSetError::TooMany { number: 5, count: 3, .. }), "{error}");
        again.remove(6).unwrap();
        assert!(path.join("notes.txt").exists() && !path.join(MANIFEST).exists() && !path.join("000000.png").exists());
    }

    #[test]
    fn other_settings_and_other_folders_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        SampleFolder::open(parent.path(), manifest(1)).unwrap();
        let error = SampleFolder::open(parent.path(), manifest(2)).unwrap_err();
        assert!(
            matches!(&error, SampleSetError::Other { key, was, is, .. } if (key.as_str(), was.as_str(), is.as_str()) == ("seed", "1", "2")),
            "{error}"
        );
        fs::write(parent.path().join(MANIFEST), "{").unwrap();
        assert!(matches!(SampleFolder::open(parent.path(), manifest(1)), Err(SampleSetError::Manifest { .. })));

        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("photo.png"), "theirs").unwrap();
        let error = SampleFolder::open(parent.path(), manifest(1)).unwrap_err();
        assert!(matches!(&error, SampleSetError::Foreign { found, .. } if found == "photo.png"), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn labels_count_the_classes_that_are_shown() {
        let labels = manifest(1).labels(4, |number| number.to_string());
        assert_eq!(labels, json!({ "labels": [["0", 0], ["1", 1], ["2", 2], ["3", 0]], "classes": ["a", "b", "c"] }));
        assert_eq!(manifest(1).labels(2, file_name)["classes"], json!(["a", "b"]));
        let one = Manifest { classes: vec![2], class_names: vec!["c".to_owned()], ..manifest(1) };
        assert_eq!(one.labels(9, file_name), json!({ "labels": null, "classes": ["c"] }));
        assert_eq!([one.class(7), manifest(1).class(7)], [2, 1]);
    }
}
