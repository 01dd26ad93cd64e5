//! Labels that lie beside pictures under the same key, as in WebDataset.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::data::contents::{Found, Sorted};
use crate::data::labels::Sidecar;
use crate::data::names::shown;
use crate::data::passed::PassedOver;

/// Of several pictures of a key, the one that is meant has this name between key and extension.
const MEANT: [&str; 3] = ["image", "img", "input"];

/// The key of a name: with its folder, up to the first dot of its last part, as WebDataset has it.
fn key(name: &Path) -> PathBuf {
    name.file_prefix()
        .map_or_else(|| name.to_path_buf(), |prefix| name.with_file_name(prefix))
}

/// The label that lies beside each image under its key. Of several images of a key one is kept.
pub(crate) fn by_key(sorted: &mut Sorted, sidecars: Vec<(Found, Sidecar)>) -> Result<Vec<u32>, DataError> {
    let root = sorted.store.root.clone();
    let mut labels: HashMap<PathBuf, (u32, PathBuf)> = HashMap::new();
    let mut others = Vec::new();
    for (file, said) in sidecars {
        match said {
            Sidecar::Label(label) => match labels.insert(key(&file.name), (label, file.name.clone())) {
                Some((other, _)) if other != label => {
                    let what = format!("the key has the labels {other} and {label}");
                    return Err(DataError::archive(&root.join(file.name), &what, "give one label for each key"));
                }
                _ => (),
            },
            said => others.push((file, said)),
        }
    }
    choose_pictures(sorted)?;
    let images: HashMap<PathBuf, &Found> = sorted.images.iter().map(|image| (key(&image.name), image)).collect();
    for (file, said) in others {
        let key = key(&file.name);
        if let Sidecar::Other(text) = said
            && images.contains_key(&key)
            && !labels.contains_key(&key)
        {
            return Err(not_a_label(&root, &file, &text));
        }
        sorted.passed.count(&file.name);
    }
    let mut label_of = |image: &Found| {
        labels
            .remove(&key(&image.name))
            .ok_or_else(|| unlabelled(&root, image, "(.cls or .json)"))
    };
    let numbers = sorted
        .images
        .iter()
        .map(|image| label_of(image).map(|(label, _)| label))
        .collect::<Result<Vec<u32>, _>>()?;
    match labels.into_values().map(|(_, name)| name).min() {
        Some(name) => Err(DataError::UnusedLabel { path: root.join(name) }),
        None => Ok(numbers),
    }
}

/// Keeps one picture of each key: `KEY.jpg` beside `KEY.seg.png`, or the only one, or `KEY.image.jpg`.
fn choose_pictures(sorted: &mut Sorted) -> Result<(), DataError> {
    let mut groups: HashMap<PathBuf, Vec<usize>> = HashMap::with_capacity(sorted.images.len());
    for (index, image) in sorted.images.iter().enumerate() {
        groups.entry(key(&image.name)).or_default().push(index);
    }
    let mut kept = vec![true; sorted.images.len()];
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_unstable();
    for group in groups {
        let field = |&index: &usize| {
            let name = &sorted.images[index].name;
            let rest = name.file_stem().map(|stem| shown(stem).to_lowercase()).unwrap_or_default();
            rest.split_once('.').map(|(_, field)| field.to_owned())
        };
        let only = |wanted: &dyn Fn(&usize) -> bool| {
            let mut found = group.iter().copied().filter(wanted);
            found.next().filter(|_| found.next().is_none())
        };
        let plain = |index: &usize| field(index).is_none();
        let meant = |index: &usize| field(index).is_some_and(|field| MEANT.contains(&field.as_str()));
        let choice = if group.iter().any(plain) { only(&plain) } else { only(&meant) };
        let path = |index: usize| sorted.store.root.join(&sorted.images[index].name);
        let choice = choice.ok_or_else(|| DataError::SeveralPictures { path: path(group[0]), other: path(group[1]) })?;
        group.iter().for_each(|&index| kept[index] = index == choice);
    }
    let passed = &mut sorted.passed;
    let mut kept = kept.into_iter();
    sorted.images.retain(|image| kept.next() == Some(true) || passed_by(passed, image));
    Ok(())
}

/// Counts a picture that was not chosen; false.
fn passed_by(passed: &mut PassedOver, image: &Found) -> bool {
    passed.count(&image.name);
    false
}

/// Where no label is a number: a `.cls` that is none, and a JSON's where no folder says the class, are errors beside a picture.
pub(crate) fn refuse_other_labels(sorted: &Sorted, sidecars: &[(Found, Sidecar)], classes: usize) -> Result<(), DataError> {
    let images: HashSet<PathBuf> = match sidecars.iter().any(|(_, said)| matches!(said, Sidecar::Other(_))) {
        true => sorted.images.iter().map(|image| key(&image.name)).collect(),
        false => return Ok(()),
    };
    for (file, said) in sidecars {
        let json = file.name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if let Sidecar::Other(text) = said
            && images.contains(&key(&file.name))
            && !(json && classes > 1)
        {
            return Err(not_a_label(&sorted.store.root, file, text));
        }
    }
    Ok(())
}

fn not_a_label(root: &Path, file: &Found, text: &str) -> DataError {
    let hint = "write the number of the class into KEY.cls, or {\"label\": NUMBER} into KEY.json";
    DataError::archive(&root.join(&file.name), &format!("`{text}` is not a class number"), hint)
}

/// An image without a label where others have one.
pub(crate) fn unlabelled(root: &Path, image: &Found, whence: &str) -> DataError {
    DataError::archive(&root.join(&image.name), &format!("the image has no label {whence}"), "label every image, or none")
}
