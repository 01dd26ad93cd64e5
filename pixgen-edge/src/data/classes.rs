//! The classes of what an archive holds: labels by number, or the folders inside it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rawzip::FileReader;
use serde::Deserialize;

use crate::data::DataError;
use crate::data::listing::{Entry, EntryLocation, Listing, MAX_CLASSES, name_of};

/// An image of an archive before it has a class.
#[derive(Debug)]
pub(crate) struct Found {
    /// Path below the root.
    pub name: PathBuf,
    /// Its class, where the archive gives numbers.
    pub label: Option<u32>,
    /// Where its bytes are.
    pub place: EntryLocation,
}

/// `dataset.json`, as the tools of StyleGAN and EDM write it; `classes` is our own and names the classes.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Labels {
    /// Name and class of every image; none for data without classes.
    #[serde(default)]
    pub labels: Option<Vec<(String, u32)>>,
    /// Names of the classes.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
}

/// How the images of an archive get their classes.
pub(crate) enum By {
    /// By their labels, all of which must be there. The words say where they would be.
    Number { names: Option<Vec<String>>, whence: &'static str },
    /// By the first folder in which their names differ.
    Folder,
    /// They are all of one class.
    None { name: Option<String> },
}

/// Gives every image its class and sorts them: by folder, then by name; with numbers by name.
pub(crate) fn classify(root: &Path, archives: Vec<FileReader>, mut found: Vec<Found>, by: By) -> Result<Listing, DataError> {
    if found.is_empty() {
        return Err(DataError::NoImage { path: root.to_path_buf() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = found.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(DataError::archive(
            &root.join(&pair[0].name),
            "two entries have this name",
            "remove one and make the archive again",
        ));
    }
    let (class_names, labels) = match by {
        By::Number { names, whence } => by_number(root, &found, names, whence)?,
        By::Folder => by_folder(root, &found)?,
        By::None { name } => (vec![name.unwrap_or_else(|| stem(root))], vec![0; found.len()]),
    };
    let entry = |(found, label): (Found, u16)| Entry { name: found.name, label, place: found.place };
    let class_places = class_names.iter().map(|name| root.join(name)).collect();
    let entries = found.into_iter().zip(labels).map(entry).collect();
    Ok(Listing { root: root.to_path_buf(), archives, entries, class_names, class_places })
}

type Classes = (Vec<String>, Vec<u16>);

fn by_number(root: &Path, found: &[Found], names: Option<Vec<String>>, whence: &'static str) -> Result<Classes, DataError> {
    let mut labels = Vec::with_capacity(found.len());
    for image in found {
        let path = || root.join(&image.name);
        let Some(label) = image.label else {
            return Err(DataError::archive(&path(), &format!("the image has no label {whence}"), "label every image, or none"));
        };
        let Some(label) = u16::try_from(label).ok() else {
            let what = format!("label {label} is beyond {}", MAX_CLASSES - 1);
            return Err(DataError::archive(&path(), &what, "number the classes from 0 without gaps"));
        };
        labels.push(label);
    }
    let count = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    let mut seen = vec![false; count];
    labels.iter().for_each(|&label| seen[usize::from(label)] = true);
    if let Some(class) = seen.iter().position(|&seen| !seen) {
        let what = format!("labels go up to {}, but no image has label {class}", count - 1);
        return Err(DataError::archive(root, &what, "number the classes from 0 without gaps"));
    }
    let names = match names {
        Some(names) if names.len() == count => names,
        Some(names) => {
            let what = format!("dataset.json names {} classes, the labels are 0 to {}", names.len(), count - 1);
            return Err(DataError::archive(root, &what, "give a name for each class in `classes`, or leave it out"));
        }
        None => (0..count).map(|class| class.to_string()).collect(),
    };
    Ok((names, labels))
}

/// `found` is sorted by name, so that classes come in order.
fn by_folder(root: &Path, found: &[Found]) -> Result<Classes, DataError> {
    let folder_of = |image: &'_ Found| image.name.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut shared = folder_of(&found[0]);
    for image in found {
        while !image.name.starts_with(&shared) {
            shared.pop();
        }
    }
    let class_of = |image: &Found| {
        let mut below = image.name.strip_prefix(&shared).unwrap_or(&image.name).components();
        let first = below.next()?.as_os_str().to_string_lossy().into_owned();
        below.next().map(|_| first)
    };
    if found.iter().all(|image| class_of(image).is_none()) {
        let name = if shared.as_os_str().is_empty() {
            stem(root)
        } else {
            name_of(&shared)
        };
        return Ok((vec![name], vec![0; found.len()]));
    }
    let (mut names, mut labels) = (Vec::<String>::new(), Vec::with_capacity(found.len()));
    for image in found {
        let class = class_of(image).ok_or_else(|| DataError::LooseImage { path: root.join(&image.name) })?;
        if names.last() != Some(&class) {
            names.push(class);
        }
        if names.len() > MAX_CLASSES {
            let classes: HashSet<_> = found.iter().filter_map(class_of).collect();
            return Err(DataError::TooManyClasses { path: root.to_path_buf(), found: classes.len(), limit: MAX_CLASSES });
        }
        labels.push((names.len() - 1) as u16);
    }
    Ok((names, labels))
}

/// The name of an archive without its extension.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| name_of(path), |stem| stem.to_string_lossy().into_owned())
}
