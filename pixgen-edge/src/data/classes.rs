//! The classes of a data set: the one place that decides their number, order and names, and the label of every picture, whatever the
//! container. docs/reference/data.md has the same rules in words.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::data::class_names::{same_letters, settle};
use crate::data::contents::{Contents, Found, Sorted};
use crate::data::keys::{by_key, refuse_other_labels, unlabelled};
use crate::data::labels::{LabelFile, Sidecar};
use crate::data::listing::{Entry, Listing};
use crate::data::names::{Inside, inside, name_of, shown, shown_apart};

/// Labels are 16-bit.
pub(crate) const MAX_CLASSES: usize = 1 << 16;
/// Names of the classes, and the label of each picture.
pub(crate) type Classes = (Vec<String>, Vec<u16>);

/// Gives every picture its class: by the label file, by the labels beside the pictures, or by folders, in this order. With `relabel`,
/// labels may have gaps, which are closed.
pub(crate) fn classify(contents: Contents, relabel: bool) -> Result<Listing, DataError> {
    let mut sorted = contents.sort()?;
    let root = sorted.store.root.clone();
    let labels = sorted.labels.take();
    let (classes, numbered) = match labels {
        Some((folder, path, LabelFile { labels: Some(Some(numbers)), classes })) => {
            sorted.pass_over_sidecars();
            sorted.order();
            sorted.refuse_twins()?;
            let numbers = by_label_file(&root, &folder, &path, &sorted.images, numbers)?;
            (number(&root, &numbers, classes, relabel)?, true)
        }
        Some((_, _, LabelFile { labels: Some(None), classes })) => {
            sorted.pass_over_sidecars();
            sorted.order();
            (one_class(&sorted, classes), true)
        }
        Some((_, path, LabelFile { labels: None, classes })) => by_pictures(&mut sorted, Some((path, classes)), relabel)?,
        None => by_pictures(&mut sorted, None, relabel)?,
    };
    sorted.refuse_twins()?;
    let (class_names, labels) = classes;
    let class_names = settle(&root, class_names)?;
    let class_places = match numbered {
        true => vec![root; class_names.len()],
        false => class_folders(&sorted, &labels).into_iter().map(|folder| root.join(folder)).collect(),
    };
    let entry = |(found, label): (Found, u16)| Entry { name: found.name, label, place: found.place };
    let entries = sorted.images.into_iter().zip(labels).map(entry).collect();
    Ok(Listing { store: sorted.store, entries, class_names, class_places, passed: sorted.passed })
}

/// Classes without a list of labels; `names` are those of a label file.
fn by_pictures(sorted: &mut Sorted, names: Option<(PathBuf, Option<Vec<String>>)>, relabel: bool) -> Result<(Classes, bool), DataError> {
    let root = sorted.store.root.clone();
    let sidecars = sorted.read_sidecars();
    let some = sidecars.iter().any(|(_, said)| matches!(said, Sidecar::Label(_)));
    if some {
        sorted.order();
        sorted.refuse_twins()?;
        let numbers = by_key(sorted, sidecars)?;
        return Ok((number(&root, &numbers, names.and_then(|(_, names)| names), relabel)?, true));
    }
    // A list of one name is that of the only class.
    let only = matches!(&names, Some((_, Some(names))) if names.len() == 1);
    let classes = if only {
        sorted.order();
        one_class(sorted, names.as_ref().and_then(|(_, names)| names.clone()))
    } else {
        if !sorted.in_order {
            sorted.order_in_shards();
        }
        by_folder(sorted)?
    };
    refuse_other_labels(sorted, &sidecars, classes.0.len())?;
    sidecars.iter().for_each(|(file, _)| sorted.passed.count(&file.name));
    if let (false, Some((path, _))) = (only, &names) {
        sorted.passed.count(path);
    }
    Ok((classes, only))
}

/// The label that the label file has for each image; names in it are relative to its folder.
fn by_label_file(root: &Path, folder: &Path, path: &Path, images: &[Found], numbers: Vec<(String, u32)>) -> Result<Vec<u32>, DataError> {
    const AGAIN: &str = "make the data set and its labels again";
    let refuse = |name: &str, what: &str| Err(DataError::archive(path, &format!("`{name}` {what}"), AGAIN));
    let mut by_name: HashMap<String, (u32, String)> = HashMap::with_capacity(numbers.len());
    for (name, label) in numbers {
        let Ok(Inside::Path(below)) = inside(name.as_bytes()) else {
            return refuse(&name, "is not the name of an image");
        };
        if by_name.insert(shown(folder.join(below).as_os_str()), (label, name.clone())).is_some() {
            return refuse(&name, "is labelled twice");
        }
    }
    let mut label_of = |image: &Found| {
        // The names of old archives are no UTF-8, JSON is.
        let name = shown(image.name.as_os_str());
        match by_name.remove(&name) {
            Some((label, _)) => Ok(label),
            None if by_name.keys().any(|other| same_letters(other, &name)) => Err(DataError::archive(
                &root.join(&image.name),
                "the label in dataset.json is that of a name in another Unicode form (accents apart from letters, or in one)",
                "write the names in dataset.json as the files are called; unicodedata.normalize of Python turns one form into the other",
            )),
            None => Err(unlabelled(root, image, "in dataset.json")),
        }
    };
    let labels: Vec<u32> = images.iter().map(&mut label_of).collect::<Result<_, _>>()?;
    match by_name.into_values().map(|(_, name)| name).min() {
        Some(name) => refuse(&name, "has a label but is not there"),
        None => Ok(labels),
    }
}

/// Classes from numbers, which count from 0 without gaps; with `relabel`, gaps are closed and the numbers stay as names. `root` is for
/// messages.
pub(crate) fn number(root: &Path, labels: &[u32], names: Option<Vec<String>>, relabel: bool) -> Result<Classes, DataError> {
    let used: BTreeSet<u32> = labels.iter().copied().collect();
    let highest = used.last().copied().unwrap_or(0);
    let gap = used
        .iter()
        .zip(0..)
        .find(|&(&label, expected)| label != expected)
        .map(|(_, expected)| expected);
    if let Some(class) = gap
        && !relabel
    {
        return Err(DataError::LabelGap { path: root.to_path_buf(), class, highest });
    }
    if used.len() > MAX_CLASSES {
        return Err(DataError::TooManyClasses { path: root.to_path_buf(), found: used.len(), limit: MAX_CLASSES });
    }
    let named = names.as_ref().map_or(0, Vec::len);
    if names.is_some() && named != highest as usize + 1 && !(relabel && named > highest as usize) {
        let what = format!("dataset.json names {named} classes, the labels are 0 to {highest}");
        return Err(DataError::archive(root, &what, "give a name for each class in `classes`, or leave it out"));
    }
    let name = |&label: &u32| names.as_ref().map_or_else(|| label.to_string(), |names| names[label as usize].clone());
    let places: HashMap<u32, u16> = used.iter().copied().zip(0..=u16::MAX).collect();
    Ok((used.iter().map(name).collect(), labels.iter().map(|label| places[label]).collect()))
}

/// All pictures in one class.
fn one_class(sorted: &Sorted, names: Option<Vec<String>>) -> Classes {
    let name = names.and_then(|names| names.into_iter().next()).unwrap_or_else(|| own_name(sorted));
    (vec![name], vec![0; sorted.images.len()])
}

/// The name of the folder, or of the archive without its extension.
fn own_name(sorted: &Sorted) -> String {
    let root = &sorted.store.root;
    if sorted.store.archives.is_empty() {
        return name_of(root);
    }
    let stem = |path: &Path| path.file_stem().map(PathBuf::from);
    let inner = stem(root).filter(|stem| stem.extension().is_some_and(|extension| extension == "tar"));
    let name = inner.as_deref().and_then(stem).or_else(|| stem(root));
    name.map_or_else(|| name_of(root), |name| shown(name.as_os_str()))
}

/// Classes are the folders in which the pictures differ first, below what all their paths share. Pictures that lie in one folder, or
/// in one and in others inside it, are one class. A shard is no folder: paths begin inside it.
fn by_folder(sorted: &Sorted) -> Result<Classes, DataError> {
    let (root, images) = (&sorted.store.root, &sorted.images);
    let shared = shared_folder(sorted);
    let classes: Vec<Option<&OsStr>> = images.iter().map(|image| class_below(&shared, sorted.in_shard(&image.name))).collect();
    if let Some(loose) = classes.iter().position(Option::is_none) {
        let inner = classes.iter().any(Option::is_some);
        let at_root = shared.as_os_str().is_empty();
        if at_root && (inner || empty_folder(sorted, &shared).is_some()) {
            return Err(DataError::LooseImage { path: root.join(&images[loose].name) });
        }
        if at_root && sorted.shards() {
            // A shard for each class, or pictures without classes: nobody knows.
            return Err(DataError::archive(
                root,
                "the pictures of several shards have neither labels nor class folders",
                "for one class, write {\"labels\": null} into a dataset.json beside the shards; otherwise pack class folders or labels (KEY.cls)",
            ));
        }
        let beside = shared.parent().filter(|_| !at_root).and_then(|parent| empty_folder(sorted, parent));
        if let Some(empty) = beside {
            return Err(DataError::EmptyClass { path: root.join(empty) });
        }
        let name = if at_root { own_name(sorted) } else { name_of(&shared) };
        return Ok((vec![name], vec![0; images.len()]));
    }
    let (mut names, mut labels) = (Vec::new(), Vec::with_capacity(images.len()));
    for class in classes.into_iter().flatten() {
        if names.last() != Some(&class) {
            names.push(class);
        }
        labels.push((names.len() - 1).min(MAX_CLASSES) as u16);
    }
    if names.len() > MAX_CLASSES {
        return Err(DataError::TooManyClasses { path: root.clone(), found: names.len(), limit: MAX_CLASSES });
    }
    let known: HashSet<&OsStr> = names.iter().copied().collect();
    let mut without = sorted
        .folders
        .iter()
        .chain(&sorted.others)
        .filter_map(|folder| folder_below(&shared, sorted.in_shard(folder)));
    if let Some(empty) = without.find(|name| !known.contains(name)) {
        return Err(DataError::EmptyClass { path: root.join(&shared).join(empty) });
    }
    Ok((shown_apart(names.iter().copied()), labels))
}

/// The folder that all pictures lie in.
fn shared_folder(sorted: &Sorted) -> PathBuf {
    let mut names = sorted.images.iter().map(|image| sorted.in_shard(&image.name));
    let Some(mut shared) = names.next().and_then(Path::parent) else {
        return PathBuf::new();
    };
    for name in names {
        while !name.starts_with(shared) {
            shared = shared.parent().unwrap_or(Path::new(""));
        }
    }
    shared.to_path_buf()
}

/// The folder below `shared` that a file lies in; None for one in `shared` itself.
fn class_below<'a>(shared: &Path, file: &'a Path) -> Option<&'a OsStr> {
    folder_below(shared, file.parent()?)
}

/// The first part of a folder below `shared`.
fn folder_below<'a>(shared: &Path, folder: &'a Path) -> Option<&'a OsStr> {
    folder.strip_prefix(shared).ok()?.components().next().map(|part| part.as_os_str())
}

/// A folder directly in `parent` that holds nothing at all.
fn empty_folder<'a>(sorted: &'a Sorted, parent: &Path) -> Option<&'a PathBuf> {
    let names = || sorted.images.iter().map(|image| &image.name).chain(&sorted.others);
    let held = |folder: &Path| names().any(|name| sorted.in_shard(name).starts_with(folder));
    sorted.folders.iter().find(|folder| {
        let inner = sorted.in_shard(folder);
        inner.parent() == Some(parent) && !held(inner)
    })
}

/// The folder of each class; those of a class follow each other. In shards, the folder in the first shard that has it.
fn class_folders(sorted: &Sorted, labels: &[u16]) -> Vec<PathBuf> {
    let shared = shared_folder(sorted);
    let mut folders = Vec::new();
    for (image, &label) in sorted.images.iter().zip(labels) {
        if folders.len() == usize::from(label) {
            let inner = sorted.in_shard(&image.name);
            let depth = shared.components().count() + usize::from(class_below(&shared, inner).is_some());
            let above = image.name.components().count() - inner.components().count();
            folders.push(image.name.components().take(above + depth).collect());
        }
    }
    folders
}

impl Sorted {
    /// The order of names.
    fn order(&mut self) {
        self.images.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Whether the archives of the set are several shards, whose names then begin the names of all entries.
    fn shards(&self) -> bool {
        self.store.archives.len() > 1
    }

    /// The path of an entry inside its shard; for any other container, its path.
    fn in_shard<'a>(&self, name: &'a Path) -> &'a Path {
        let mut parts = name.components();
        if self.shards() {
            parts.next();
        }
        parts.as_path()
    }

    /// The order of the names inside the shards, in which the pictures of a class follow each other.
    fn order_in_shards(&mut self) {
        let mut images = std::mem::take(&mut self.images);
        images.sort_by(|a, b| self.in_shard(&a.name).cmp(self.in_shard(&b.name)).then_with(|| a.name.cmp(&b.name)));
        self.images = images;
    }

    /// Two entries of an archive with one name: which is meant nobody knows.
    fn refuse_twins(&self) -> Result<(), DataError> {
        match self.images.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(DataError::archive(
                &self.store.root.join(&pair[0].name),
                "two entries have this name",
                "remove one and make the archive again",
            )),
            None => Ok(()),
        }
    }

    /// Labels beside the pictures do not count where a label file says all.
    fn pass_over_sidecars(&mut self) {
        for file in std::mem::take(&mut self.sidecars) {
            self.passed.count(&file.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::zip::tests::grey;
    use crate::data::{folder, tar};

    type File<'a> = (&'a [u8], Vec<u8>);

    fn text<'a>(name: &'a str, content: &str) -> File<'a> {
        (name.as_bytes(), content.as_bytes().to_vec())
    }

    fn picture(name: &str) -> File<'_> {
        (name.as_bytes(), grey(1))
    }

    fn tar_of(files: &[File<'_>]) -> Vec<u8> {
        let mut archive = ::tar::Builder::new(Vec::new());
        for (name, data) in files {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name);
            header.set_cksum();
            archive.append(&header, data.as_slice()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// Class names, labels by name, and what was passed over.
    type Decided = (Vec<String>, Vec<(String, u16)>, String);

    fn decided(listing: Listing) -> Decided {
        let mut labels: Vec<(String, u16)> = listing.entries.iter().map(|entry| (shown(entry.name.as_os_str()), entry.label)).collect();
        labels.sort();
        (listing.class_names, labels, listing.passed.to_string())
    }

    /// The same files as a folder and as an archive are the same data set, or the same error but for the place.
    fn both(files: &[File<'_>], relabel: bool) -> Result<Decided, String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("set");
        let archive = folder.path().join("set.tar");
        fs::write(&archive, tar_of(files)).unwrap();
        for (name, bytes) in files {
            let Ok(Inside::Path(name) | Inside::Ignored(name)) = inside(name) else {
                panic!("{name:?}")
            };
            // A hidden folder is as good as what is in it.
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let place = |error: DataError| {
            assert!(error.hint().is_some(), "{error}");
            let text = error.to_string();
            text.replace(&archive.display().to_string(), "set")
                .replace(&root.display().to_string(), "set")
        };
        let packed = tar::list(&archive, relabel).map(decided).map_err(place);
        let plain = folder::list(&root, relabel).map(decided).map_err(place);
        assert_eq!(plain, packed);
        plain
    }

    fn labels_of(files: &[File<'_>]) -> (Vec<String>, Vec<u16>, String) {
        let (names, labels, passed) = both(files, false).unwrap();
        (names, labels.into_iter().map(|(_, label)| label).collect(), passed)
    }

    #[test]
    fn keys_end_at_the_first_dot() {
        let (names, labels, passed) = labels_of(&[
            picture("22.05.png"),
            text("22.05.cls", "1"),
            picture("a.b/23.PNG"),
            text("a.b/23.CLS", "0"),
        ]);
        assert_eq!((names.len(), labels.as_slice(), passed.as_str()), (2, &[1, 0][..], "nothing"));
        // Of several pictures of a key, that of the plain name or of a usual field.
        let (_, labels, passed) = labels_of(&[
            picture("s0.image.png"),
            picture("s0.seg.png"),
            text("s0.cls", "0"),
            picture("s1.png"),
            picture("s1.depth.png"),
            text("s1.json", r#"{"label": 1}"#),
            picture("s2.photo.png"),
            text("s2.cls", "1\r\n"),
        ]);
        assert_eq!((labels.as_slice(), passed.as_str()), (&[0, 1, 1][..], "2 files (2 .png)"));
        for files in [
            vec![picture("s.a.png"), picture("s.b.png"), text("s.cls", "0")],
            vec![picture("22.05.png"), picture("22.06.png"), text("22.05.cls", "0")],
            vec![picture("s.png"), (b"s.jpg", grey(2)), text("s.cls", "0")],
        ] {
            let error = both(&files, false).unwrap_err();
            assert!(error.contains("have the same key"), "{error}");
        }
    }

    #[test]
    fn labels_that_fit_no_picture_are_errors() {
        let with = |file: File<'_>| both(&[picture("a.png"), text("a.cls", "0"), file], false).unwrap_err();
        assert_eq!(with(text("b.cls", "0")), "set/b.cls is the label of no picture");
        assert_eq!(with(text("c/a.json", r#"{"label": 0}"#)), "set/c/a.json is the label of no picture");
        assert_eq!(with(picture("b.png")), "set/b.png: the image has no label (.cls or .json)");
        assert_eq!(with(text("a.json", r#"{"label": 1}"#)), "set/a.json: the key has the labels 0 and 1");
        for (name, said) in [
            ("a.cls", "cat"),
            ("a.cls", ""),
            ("a.json", r#"{"label": "cat"}"#),
            ("a.json", r#"{"label": 1.5}"#),
        ] {
            let error = both(&[picture("a.png"), text(name, said)], false).unwrap_err();
            assert!(error.contains("is not a class number"), "{said}: {error}");
        }
    }

    #[test]
    fn files_about_something_else_do_no_harm() {
        let long = format!(r#"{{"caption": "{}"}}"#, "x".repeat(2 << 20));
        for other in [
            r#"{"similarity": NaN}"#,
            "[1, 2]",
            "",
            "{",
            "\u{feff}{}",
            long.as_str(),
            r#"{"label": "cat"}"#,
        ] {
            let (names, labels, passed) = labels_of(&[picture("a/1.png"), text("a/1.json", other), picture("b/1.png")]);
            assert_eq!((names.join(" "), labels.as_slice(), passed.as_str()), ("a b".into(), &[0, 1][..], "1 file (1 .json)"));
        }
        // A style file of LaTeX, a list that is called like a label file, and a label file of another kind.
        let (names, _, passed) = labels_of(&[
            picture("a/1.png"),
            picture("b/1.png"),
            text("a/thesis.cls", r"\LoadClass"),
            text("dataset.json", "[]"),
        ]);
        assert_eq!((names.len(), passed.as_str()), (2, "2 files (1 .cls, 1 .json)"));
        // Notes of this name in every folder are no label files.
        let notes = [
            picture("a/1.png"),
            picture("b/1.png"),
            text("a/dataset.json", "{}"),
            text("b/dataset.json", r#"{"x": NaN}"#),
        ];
        assert_eq!((labels_of(&notes).0.len(), labels_of(&notes).2.as_str()), (2, "2 files (2 .json)"));
        // A string is no number, but the number beside it is.
        let (names, ..) = labels_of(&[picture("a.png"), text("a.cls", "0"), text("a.json", r#"{"label": "cat"}"#)]);
        assert_eq!(names, ["0"]);
    }

    #[test]
    fn label_files_count_in_every_container() {
        let pictures = [picture("00000/a.png"), picture("00001/b.png"), picture("00002/c.png")];
        let with = |json: &str| [&pictures[..], &[text("dataset.json", json)]].concat();
        let all = r#"{"labels": [["00000/a.png", 1], ["00001\\b.png", 0], ["00002/c.png", 1]]"#;
        for json in [format!("{all}}}"), format!("\u{feff}{all},\r\n\"classes\": [\"x\", \"y\"]}}")] {
            let (names, labels, passed) = labels_of(&with(&json));
            assert_eq!((names.len(), labels.as_slice(), passed.as_str()), (2, &[1, 0, 1][..], "nothing"));
            assert_eq!(names[1], if json.contains("classes") { "y" } else { "1" });
        }
        assert_eq!(labels_of(&with(r#"{"labels": null, "classes": ["x"]}"#)).0, ["x"]);
        assert_eq!(labels_of(&with(r#"{"labels": null}"#)).0, ["set"]);
        assert_eq!(labels_of(&with(r#"{"classes": ["x"]}"#)).0, ["x"]);
        let error = both(&with(r#"{"labels": [["00000/a.png", 0], ["00001/b.png", 0]]}"#), false).unwrap_err();
        assert_eq!(error, "set/00002/c.png: the image has no label in dataset.json");
        let error = both(&with(r#"{"labels": [["x", "y"]]}"#), false).unwrap_err();
        assert!(error.starts_with("set/dataset.json: not a list of labels"), "{error}");
    }

    /// A label file decides for what lies below its folder, and so counts only where that is everything.
    #[test]
    fn a_label_file_of_a_part_does_not_decide_for_all() {
        let null = r#"{"labels": null}"#;
        let list = r#"{"labels": [["1.png", 0]], "classes": ["Trouser"]}"#;
        let with = |names: &[&'static str], said: &[(&'static str, &str)]| {
            let pictures = names.iter().map(|&name| picture(name));
            let files: Vec<File<'_>> = pictures.chain(said.iter().map(|&(name, said)| text(name, said))).collect();
            let (names, labels, passed) = both(&files, false)?;
            Ok::<_, String>((names.join(" "), labels.into_iter().map(|(_, label)| label).collect::<Vec<_>>(), passed))
        };
        let two = ["a/1.png", "b/1.png"];
        let told = |passed: &str| passed.ends_with("the labels in 1 of them (dataset.json) were not used");
        for said in [null, list, r#"{"labels": "no list"}"#] {
            let (names, labels, passed) = with(&two, &[("a/dataset.json", said)]).unwrap();
            assert!((names.as_str(), labels.as_slice()) == ("a b", &[0, 1]) && told(&passed), "{passed}");
        }
        let (names, _, passed) = with(&two, &[("a/dataset.json", list), ("b/dataset.json", list)]).unwrap();
        assert_eq!(
            (names.as_str(), passed.as_str()),
            ("a b", "2 files (2 .json); the labels in 2 of them (dataset.json) were not used")
        );
        let (names, _, passed) = with(&two, &[("a/dataset.json", r#"{"classes": ["x"]}"#)]).unwrap();
        assert_eq!((names.as_str(), passed.as_str()), ("a b", "1 file (1 .json)"));
        // One beside the class folders counts; what lies deeper does not add to it.
        let all = r#"{"labels": [["a/1.png", 1], ["b/1.png", 0]], "classes": ["x", "y"]}"#;
        let (names, labels, passed) = with(&two, &[("dataset.json", all), ("a/dataset.json", null)]).unwrap();
        assert!((names.as_str(), labels.as_slice()) == ("x y", &[1, 0]) && told(&passed), "{passed}");
        // So does one in a folder that all pictures share, also below one about something else.
        let shared = ["top/set/a/1.png", "top/set/b/1.png"];
        for notes in [&[][..], &[("dataset.json", "{}"), ("top/dataset.json", "[]")]] {
            let (names, labels, _) = with(&shared, &[&[("top/set/dataset.json", all)], notes].concat()).unwrap();
            assert_eq!((names.as_str(), labels.as_slice()), ("x y", &[1, 0][..]));
        }
        // A folder whose name only begins with that of another.
        assert_eq!(with(&["a/1.png", "ab/1.png"], &[("a/dataset.json", null)]).unwrap().0, "a ab");
    }

    #[test]
    fn names_of_classes_differ() {
        let named = |names: &str| {
            let json = format!(r#"{{"labels": [["a.png", 0], ["b.png", 1]], "classes": {names}}}"#);
            both(&[picture("a.png"), picture("b.png"), text("dataset.json", &json)], false)
        };
        assert_eq!(named(r#"["x", "x"]"#).unwrap_err(), "set: the classes 0 and 1 are both called `x`");
        assert_eq!(named(r#"["", ""]"#).unwrap_err(), "set: class 0 has no name");
        assert_eq!(named(r#"["x", "\u001b[1m"]"#).unwrap().0, ["x", "\\u{1b}[1m"]);
        let one = [picture("a.png"), text("dataset.json", r#"{"labels": null, "classes": [" "]}"#)];
        assert_eq!(both(&one, false).unwrap_err(), "set: class 0 has no name");
        // Folders that only the Unicode form tells apart, and a label in the other form.
        let names = both(&[picture("caf\u{e9}/1.png"), picture("cafe\u{301}/1.png")], false).unwrap().0;
        assert_eq!(names, ["cafe\\u{301}", "caf\u{e9}"]);
        let json = "{\"labels\": [[\"caf\u{e9}/1.png\", 0]]}";
        let error = both(&[picture("cafe\u{301}/1.png"), text("dataset.json", json)], false).unwrap_err();
        assert!(error.contains("another Unicode form"), "{error}");
    }

    #[test]
    fn gaps_are_errors_or_closed() {
        let files = [
            picture("a.png"),
            text("a.cls", "1"),
            picture("b.png"),
            text("b.cls", "26"),
            picture("c.png"),
            text("c.cls", "1"),
        ];
        let error = both(&files, false).unwrap_err();
        assert_eq!(error, "set: labels go up to 26, but no image has label 0");
        let (names, labels, _) = both(&files, true).unwrap();
        assert_eq!((names.join(" "), labels[1].1), ("1 26".into(), 1));
        let names: Vec<String> = (0..27).map(|class| format!("n{class}")).collect();
        let some = number(Path::new("x"), &[1, 26], Some(names), true).unwrap();
        assert_eq!(some, (vec!["n1".into(), "n26".into()], vec![0, 1]));
        let error = number(Path::new("x"), &[0, 1], Some(vec!["a".into()]), false).unwrap_err();
        assert!(error.to_string().contains("names 1 classes"), "{error}");
        let hint = number(Path::new("x y"), &[2], None, false).unwrap_err().hint().unwrap();
        assert!(hint.contains("data prepare 'x y' --relabel"), "{hint}");
    }

    #[test]
    fn what_is_not_used_is_counted() {
        let (names, _, passed) = labels_of(&[
            picture("a/1.png"),
            (b"a/2", grey(2)),
            (b"a/3.jpg_large", grey(3)),
            text("a/notes", "P6 is a format"),
            text("a/1.txt", "a caption"),
            text("b/logo.SVG", "<svg/>"),
            picture("b/1.jfif"),
            picture("__MACOSX/a/._1.png"),
            picture("a/@eaDir/1.png/SYNO.jpg"),
            picture("a/@eaDir/2.png/SYNO.jpg"),
            text("b/Thumbs.db", ""),
            picture("lost+found/1.png"),
            picture(".ipynb_checkpoints/1.png"),
            text("README.md", ""),
        ]);
        assert_eq!(names, ["a", "b"]);
        assert_eq!(passed, "4 files (1 without extension, 1 .md, 1 .svg, 1 .txt), 5 hidden or of the system");
        let error = both(&[text("a/x.svg", "<svg/>")], false).unwrap_err();
        assert_eq!(error, "no image in set; passed over: 1 file (1 .svg)");
    }

    #[test]
    fn folders_that_differ_first_are_classes() {
        assert_eq!(
            labels_of(&[picture("top/set/a/1.png"), picture("top/set/b/x/1.png"), text("top/text/x.md", "")]).0,
            ["a", "b"]
        );
        assert_eq!(labels_of(&[picture("cats/1.png"), picture("cats/old/2.png")]).0, ["cats"]);
        assert_eq!(labels_of(&[picture("images/1.png"), text("labels/1.txt", "")]).0, ["images"]);
        let error = both(&[picture("a/1.png"), picture("b/1.png"), text("c/1.svg", "")], false).unwrap_err();
        assert_eq!(error, "class folder set/c holds no usable image");
        let error = both(&[picture("a/1.png"), picture("b/1.png"), picture("1.png")], false).unwrap_err();
        assert_eq!(error, "set/1.png lies beside class folders and has no class");
    }

    /// What only bytes tell apart stays apart.
    #[cfg(unix)]
    #[test]
    fn names_are_bytes_until_they_are_shown() {
        let (names, labels, _) = labels_of(&[
            (b"caf\xE9/1.png", grey(1)),
            picture("café/1.png"),
            (b"caf\xE8/1.png", grey(2)),
            (b"caf\xE8/2\xFF.png", grey(3)),
        ]);
        assert_eq!(names, ["café", "cafè", "caf\\xE9"]);
        assert_eq!((labels.len(), labels.iter().filter(|&&label| label == 1).count()), (4, 2));
        // A label file is UTF-8, whatever the names are.
        let json = r#"{"labels": [["é.png", 0], ["b.png", 1]]}"#;
        let (_, labels, _) = labels_of(&[(b"\xE9.png", grey(1)), picture("b.png"), text("dataset.json", json)]);
        assert_eq!(labels, [1, 0]);
    }
}
