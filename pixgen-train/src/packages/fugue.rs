//! Fugue icons: cut out of one sheet, in folders by the first word of their names.

use super::archive;
use super::error::PackageError;
use super::place::Staging;
use image::{ImageFormat, RgbaImage, imageops};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

const SHEET: &str = "/static/fugue-icons.png";
const PLACES: &str = "/static/fugue-icons.json";
const README: &str = "/PKG-INFO";
const SIDE: u32 = 16;
/// Groups that become classes; the smallest of them has 26 icons, most of the others have a few.
const GROUPS: usize = 20;
/// The folder of the rest.
const REST: &str = "other";

/// Cuts the icons of the largest groups out of the sheet; with `all` also the others, into one folder `other`.
///
/// # Errors
/// [`PackageError::Archive`], [`PackageError::File`].
pub fn unpack(package: &Path, all: bool, staging: &mut Staging) -> Result<(), PackageError> {
    let broken = archive::broken::<String>;
    let (mut sheet, mut places) = (Vec::new(), Vec::new());
    let wanted = |name: &str| name.ends_with(SHEET) || name.ends_with(PLACES) || name.ends_with(README);
    archive::tar_gz(package, wanted, |name, bytes| {
        match name {
            name if name.ends_with(SHEET) => sheet = bytes,
            name if name.ends_with(PLACES) => places = bytes,
            _ => staging.licence(&bytes),
        }
        Ok(())
    })?;
    let sheet = image::load_from_memory_with_format(&sheet, ImageFormat::Png);
    let sheet = sheet.map_err(|error| broken(package)(format!("{SHEET}: {error}")))?.into_rgba8();
    let places: BTreeMap<String, [u32; 2]> =
        serde_json::from_slice(&places).map_err(|error| broken(package)(format!("{PLACES}: {error}")))?;
    let names: Vec<&str> = places.keys().map(String::as_str).collect();
    let groups = largest_groups(&names);

    let mut count = 0;
    for (name, place) in &places {
        let class = match group(name) {
            group if groups.contains(&group) => group,
            _ if all => REST,
            _ => continue,
        };
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let icon = cut(&sheet, *place).filter(|_| plain(name));
        let icon = icon.ok_or_else(|| broken(package)(format!("{PLACES}: {name:?} at {place:?}")))?;
        let mut png = Cursor::new(Vec::new());
        icon.write_to(&mut png, ImageFormat::Png)
            .map_err(|error| broken(package)(error.to_string()))?;
        staging.write(&format!("{class}/{name}.png"), png.get_ref())?;
        count += 1;
    }
    staging.summarise(format!("{count} icons of 16x16, {} classes", groups.len() + usize::from(all)));
    Ok(())
}

/// The first word of a name.
fn group(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// The largest groups; of equally large ones those that come first in the alphabet.
fn largest_groups<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *sizes.entry(group(name)).or_default() += 1;
    }
    let mut groups: Vec<(&str, usize)> = sizes.into_iter().collect();
    groups.sort_by_key(|&(_, size)| std::cmp::Reverse(size));
    groups.into_iter().take(GROUPS).map(|(name, _)| name).collect()
}

/// The icon whose left upper corner is at `[x, y]`, if the sheet goes so far.
fn cut(sheet: &RgbaImage, [x, y]: [u32; 2]) -> Option<RgbaImage> {
    let inside = |at: u32, side: u32| at.checked_add(SIDE).is_some_and(|end| end <= side);
    (inside(x, sheet.width()) && inside(y, sheet.height())).then(|| imageops::crop_imm(sheet, x, y, SIDE, SIDE).to_image())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::archive::making;
    use crate::packages::catalogue::Name;
    use crate::packages::place::Workshop;
    use image::Rgba;
    use std::fs;

    /// A sheet of 32x16: red, then blue and half transparent.
    fn sheet() -> Vec<u8> {
        let sheet = RgbaImage::from_fn(32, 16, |x, _| if x < 16 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 128]) });
        let mut png = Cursor::new(Vec::new());
        sheet.write_to(&mut png, ImageFormat::Png).unwrap();
        png.into_inner()
    }

    fn unpacked(places: &str, all: bool) -> Result<(Vec<String>, Staging), PackageError> {
        let folder = tempfile::tempdir().unwrap();
        let prefix = "fugue-icons-3.5.6/fugue_icons";
        let (sheet_name, places_name) = (format!("{prefix}{SHEET}"), format!("{prefix}{PLACES}"));
        let files = [(sheet_name.as_str(), &sheet()[..]), (places_name.as_str(), places.as_bytes())];
        let workshop = Workshop::open(&folder.path().join("out")).unwrap();
        let mut staging = workshop.stage(Name::Fugue.package()).unwrap();
        unpack(&making::tgz(folder.path(), &files), all, &mut staging)?;
        let mut names = Vec::new();
        for class in fs::read_dir(staging.root()).unwrap() {
            let class = class.unwrap();
            for file in fs::read_dir(class.path()).unwrap() {
                let icon = image::open(file.as_ref().unwrap().path()).unwrap().into_rgba8();
                assert_eq!(icon.dimensions(), (16, 16));
                let colour = if icon.get_pixel(15, 15)[0] == 255 { "red" } else { "blue" };
                names.push(format!("{}/{} {colour}", class.file_name().display(), file.unwrap().file_name().display()));
            }
        }
        names.sort();
        Ok((names, staging))
    }

    #[test]
    fn icons_are_cut_and_sorted_by_their_first_word() {
        let places = r#"{"disk": [0, 0], "arrow-left": [16, 0], "arrow-right": [0, 0]}"#;
        let (names, _) = unpacked(places, false).unwrap();
        assert_eq!(names, ["arrow/arrow-left.png blue", "arrow/arrow-right.png red", "disk/disk.png red"]);

        // Twenty groups of two push a group of one out.
        let mut places: Vec<String> = (0..40).map(|i| format!(r#""g{:02}-{i}": [0, 0]"#, i / 2)).collect();
        places.push(r#""a-1": [16, 0]"#.to_owned());
        let places = format!("{{{}}}", places.join(","));
        let (names, _) = unpacked(&places, false).unwrap();
        assert_eq!((names.len(), names.iter().any(|name| name.contains("a-1"))), (40, false));
        let (names, _) = unpacked(&places, true).unwrap();
        assert_eq!((names.len(), names.iter().any(|name| name == "other/a-1.png blue")), (41, true));
    }

    #[test]
    fn odd_places_are_errors() {
        for places in [
            "",
            r#"{"disk": [0]}"#,
            r#"{"disk": [17, 0]}"#,
            r#"{"disk": [0, 1]}"#,
            r#"{"disk": [4294967295, 0]}"#,
            r#"{"../disk": [0, 0]}"#,
        ] {
            let error = unpacked(places, false).unwrap_err();
            assert!(error.to_string().contains("fugue-icons.json"), "{error}");
        }
    }
}
