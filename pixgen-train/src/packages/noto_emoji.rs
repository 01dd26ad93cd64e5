//! Noto emoji: a folder for each category, pictures of 64x64 as they are in the package.

use super::archive;
use super::error::{ArchiveProblem, PackageError};
use super::place::Staging;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

const LIST: &str = "package/emoji.json";
const LICENCE: &str = "package/LICENSE";
const PICTURES: &str = "package/img/google/64/";
/// Skin tones and hair as pictures of their own, which show nothing.
const LEFT_OUT: &str = "Component";

/// An emoji as the package lists it.
#[derive(Deserialize)]
struct Emoji {
    category: String,
    #[serde(flatten)]
    plain: Variant,
    #[serde(default)]
    skin_variations: HashMap<String, Variant>,
}

/// A picture of an emoji.
#[derive(Deserialize)]
struct Variant {
    /// File name: code points with hyphens between them, and `.png`.
    image: String,
    has_img_google: bool,
}

/// Takes the pictures out of the package, with `skin_tones` also those that differ from another in the colour of skin only.
///
/// # Errors
/// [`PackageError::Archive`], [`PackageError::File`].
pub fn unpack(package: &Path, skin_tones: bool, staging: &mut Staging) -> Result<(), PackageError> {
    let broken = |problem| PackageError::archive(package, problem);
    let (mut list, mut pictures) = (Vec::new(), HashMap::new());
    let wanted = |name: &str| name == LIST || name == LICENCE || name.starts_with(PICTURES);
    archive::tar_gz(package, wanted, |name, bytes| {
        match name.strip_prefix(PICTURES) {
            Some(name) => drop(pictures.insert(name.to_owned(), bytes)),
            None if name == LIST => list = bytes,
            None => staging.licence(&bytes),
        }
        Ok(())
    })?;
    let emoji: Vec<Emoji> =
        serde_json::from_slice(&list).map_err(|error| broken(ArchiveProblem::List { name: LIST, reason: error.to_string() }))?;

    let (mut count, mut classes) = (0, BTreeSet::new());
    for emoji in emoji.iter().filter(|emoji| emoji.category != LEFT_OUT) {
        let class = class_name(&emoji.category);
        let tones = emoji.skin_variations.values().filter(|_| skin_tones);
        for Variant { image, .. } in std::iter::once(&emoji.plain).chain(tones).filter(|variant| variant.has_img_google) {
            // Taking a picture out of the map also refuses a second emoji with the same one, and names with a path in them.
            let bytes = pictures
                .remove(image)
                .ok_or_else(|| broken(ArchiveProblem::NoPicture { name: image.clone() }))?;
            staging.write(&format!("{class}/{image}"), &bytes)?;
            count += 1;
        }
        classes.insert(class);
    }
    staging.summarise(format!("{count} pictures of 64x64, {} classes", classes.len()));
    Ok(())
}

/// A category as the name of a folder: `Food & Drink` becomes `food-drink`.
fn class_name(category: &str) -> String {
    let words = category.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::archive::making;
    use crate::packages::catalogue::Name;
    use crate::packages::place::WorkFolder;
    use std::fs;

    const EMOJI: &str = r#"[
        {"category": "Food & Drink", "image": "1f34e.png", "has_img_google": true},
        {"category": "People & Body", "image": "1f44d.png", "has_img_google": true,
            "skin_variations": {"1F3FB": {"image": "1f44d-1f3fb.png", "has_img_google": true}}},
        {"category": "Flags", "image": "none.png", "has_img_google": false},
        {"category": "Component", "image": "1f3fb.png", "has_img_google": true}
    ]"#;

    fn files(list: &str) -> Vec<(String, Vec<u8>)> {
        let pictures = ["1f34e.png", "1f44d.png", "1f44d-1f3fb.png", "1f3fb.png"];
        let mut files = vec![(format!("{PICTURES}{}", pictures[0]), pictures[0].into())];
        files.push((LIST.to_owned(), list.into()));
        files.extend(pictures[1..].iter().map(|name| (format!("{PICTURES}{name}"), name.as_bytes().to_vec())));
        files.push(("package/img/google/sheets/64.png".to_owned(), b"no".to_vec()));
        files
    }

    /// Unpacks such a package; the names of the files, and the summary.
    fn unpacked(list: &str, skin_tones: bool) -> Result<(Vec<String>, Staging), PackageError> {
        let folder = tempfile::tempdir().unwrap();
        let files = files(list);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let work = WorkFolder::open(&folder.path().join("out")).unwrap();
        let mut staging = work.stage(Name::NotoEmoji.package()).unwrap();
        unpack(&making::tgz(folder.path(), &files), skin_tones, &mut staging)?;
        let mut names = Vec::new();
        for class in fs::read_dir(staging.root()).unwrap() {
            let class = class.unwrap();
            for file in fs::read_dir(class.path()).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                assert_eq!(fs::read(class.path().join(&name)).unwrap(), name.as_bytes());
                names.push(format!("{}/{name}", class.file_name().to_str().unwrap()));
            }
        }
        names.sort();
        Ok((names, staging))
    }

    #[test]
    fn categories_become_folders() {
        let (names, _) = unpacked(EMOJI, false).unwrap();
        assert_eq!(names, ["food-drink/1f34e.png", "people-body/1f44d.png"]);
        let (names, _) = unpacked(EMOJI, true).unwrap();
        assert_eq!(names, ["food-drink/1f34e.png", "people-body/1f44d-1f3fb.png", "people-body/1f44d.png"]);
    }

    #[test]
    fn odd_lists_are_errors() {
        for (list, part) in [
            ("", "emoji.json"),
            ("[{}]", "emoji.json"),
            (r#"[{"category": "a", "image": "no.png", "has_img_google": true}]"#, "no picture no.png"),
            (r#"[{"category": "a", "image": "../../x", "has_img_google": true}]"#, "no picture ../../x"),
            (&EMOJI.replace("1f44d.png", "1f34e.png"), "no picture 1f34e.png"),
        ] {
            let error = unpacked(list, false).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn class_names_are_plain() {
        for (category, name) in [("Smileys & Emotion", "smileys-emotion"), ("Flags", "flags"), ("../etc", "etc")] {
            assert_eq!(class_name(category), name);
        }
    }
}
