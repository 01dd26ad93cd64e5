//! Image folders: one folder per class, one flat folder as a single class, or files with labels beside them.
//!
//! Folders and files are taken in sorted order, so the same folder gives the same data set on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::data::classes::classify;
use crate::data::contents::Contents;
use crate::data::format::has_image_name;
use crate::data::listing::Listing;
use crate::data::names::is_ignored;
use crate::data::store::{EntryLocation, Store};

/// Folders may be nested this deep.
const MAX_DEPTH: usize = 17;

/// Finds the images under `root`; with `relabel`, gaps in their labels are closed.
///
/// # Errors
/// If `root` is a file or cannot be read, has no image, has an empty class folder, or has images beside class folders; labels that do not
/// fit the images.
pub fn list(root: &Path, relabel: bool) -> Result<Listing, DataError> {
    if !fs::metadata(root).map_err(DataError::read(root))?.is_dir() {
        return Err(DataError::NotAFolder { path: root.to_path_buf() });
    }
    let mut contents = Contents::new(Store { root: root.to_path_buf(), archives: Vec::new() }, true);
    collect(root, Path::new(""), 0, &mut contents)?;
    classify(contents, relabel)
}

/// Whether a folder holds folders or images.
pub(crate) fn has_images(folder: &Path) -> Result<bool, DataError> {
    for (name, path) in entries(folder)? {
        if !is_ignored(name.as_os_str()) && (has_image_name(&name) || path.is_dir()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names and paths of what a folder holds, sorted.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let entry = entry.map_err(DataError::read(folder))?;
        found.push((entry.file_name().into(), entry.path()));
    }
    found.sort();
    Ok(found)
}

/// Adds what a folder holds: first its files, then its sub-folders. `below` is its path under the root.
fn collect(folder: &Path, below: &Path, depth: usize, contents: &mut Contents) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::TooDeep { path: folder.to_path_buf(), limit: MAX_DEPTH });
    }
    let mut folders = Vec::new();
    for (name, path) in entries(folder)? {
        let below = below.join(&name);
        if is_ignored(name.as_os_str()) {
            contents.ignore(below);
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => folders.push((path, below)),
            Ok(metadata) if metadata.is_file() => contents.add(below, EntryLocation::File { size: metadata.len() }),
            // A link that leads nowhere is a bad file, which reading it will say.
            Err(_) if has_image_name(&name) => contents.add(below, EntryLocation::File { size: 0 }),
            // Reading from a pipe or a device might never end.
            _ => contents.pass_over(&below),
        }
    }
    for (path, below) in folders {
        collect(&path, &below, depth + 1, contents)?;
        contents.add_folder(below);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb, RgbImage, Rgba};
    use tempfile::TempDir;

    use super::*;
    use crate::data::error::BadReason;
    use crate::data::load::decode_all;
    use crate::data::{ImageShape, LoadedData};

    const WHITE: [u8; 3] = [255; 3];
    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    fn load(root: &Path, shape: ImageShape, background: [u8; 3], skip_bad: bool) -> Result<LoadedData, DataError> {
        decode_all(&list(root, false)?, shape, background, skip_bad)
    }

    struct Tree(TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn file(&self, name: &str, bytes: &[u8]) -> &Self {
            let path = self.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            self
        }

        fn grey(&self, name: &str, value: u8) -> &Self {
            self.file(name, &[]);
            image::GrayImage::from_pixel(2, 2, Luma([value])).save(self.path().join(name)).unwrap();
            self
        }
    }

    #[test]
    fn classes_and_files_are_sorted() {
        let tree = Tree::new();
        tree.grey("b/2.png", 4)
            .grey("b/1.PNG", 3)
            .grey("a/deep/er/x.png", 2)
            .grey("a/z.png", 1)
            .file("a/notes.txt", b"ignored")
            .file("a/.hidden.png", b"ignored")
            .file("README.md", b"ignored");
        fs::create_dir(tree.path().join(".git")).unwrap();
        let loaded = load(tree.path(), SHAPE, WHITE, false).unwrap();
        let data = loaded.dataset;
        assert_eq!(data.class_names, ["a", "b"]);
        assert_eq!(data.labels, [0, 0, 1, 1]);
        let firsts: Vec<u8> = (0..4).map(|i| data.image(i).unwrap()[0]).collect();
        assert_eq!(firsts, [1, 2, 3, 4]);
        assert!(loaded.skipped.is_empty());
    }

    #[test]
    fn a_flat_folder_is_one_class() {
        let tree = Tree::new();
        tree.grey("cats/1.png", 7).grey("cats/2.png", 8);
        let data = load(&tree.path().join("cats"), SHAPE, WHITE, false).unwrap().dataset;
        assert_eq!((data.class_names.as_slice(), data.len()), (&["cats".to_string()][..], 2));
    }

    #[test]
    fn colour_modes_mix_and_sizes_fit() {
        let tree = Tree::new();
        tree.grey("a/1.png", 50).file("a/2.png", &[]).file("a/3.png", &[]);
        RgbImage::from_pixel(9, 5, Rgb([255, 0, 0])).save(tree.path().join("a/2.png")).unwrap();
        image::RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 0]))
            .save(tree.path().join("a/3.png"))
            .unwrap();
        let colour = ImageShape { channels: 3, ..SHAPE };
        let data = load(tree.path(), colour, [0, 0, 255], false).unwrap().dataset;
        let firsts: Vec<Vec<u8>> = (0..3).map(|i| data.image(i).unwrap()[..3].to_vec()).collect();
        assert_eq!(firsts, [[50, 50, 50], [255, 0, 0], [0, 0, 255]]);
    }

    fn tree_with_bad_files() -> Tree {
        let tree = Tree::new();
        tree.grey("a/1.png", 1).grey("a/4.png", 4).grey("b/1.png", 5);
        let png = fs::read(tree.path().join("a/1.png")).unwrap();
        tree.file("a/2.png", &png[..png.len() / 2]).file("a/3.jpg", b"text").file("b/0.png", b"");
        tree
    }

    #[test]
    fn bad_files_stop_the_load_and_the_first_is_named() {
        let tree = tree_with_bad_files();
        let error = load(tree.path(), SHAPE, WHITE, false).unwrap_err();
        let DataError::BadFiles { first, count, total } = &error else {
            panic!("{error}");
        };
        assert!(first.path.ends_with("a/2.png"), "{error}");
        assert_eq!((&first.reason, *count, *total), (&BadReason::Truncated, 3, 6));
    }

    #[test]
    fn bad_files_are_skipped_on_request() {
        let tree = tree_with_bad_files();
        let loaded = load(tree.path(), SHAPE, WHITE, true).unwrap();
        let firsts: Vec<u8> = (0..3).map(|i| loaded.dataset.image(i).unwrap()[0]).collect();
        assert_eq!(firsts, [1, 4, 5]);
        assert_eq!(loaded.dataset.labels, [0, 0, 1]);
        let reasons: Vec<_> = loaded.skipped.iter().map(|bad| bad.reason.clone()).collect();
        assert_eq!(reasons, [BadReason::Truncated, BadReason::NotAnImage, BadReason::Empty]);
    }

    #[test]
    fn hostile_trees_are_errors() {
        let tree = Tree::new();
        let load = |path: &Path| load(path, SHAPE, WHITE, true).map(|_| ()).unwrap_err();
        assert!(matches!(load(tree.path()), DataError::NoImage { .. }));
        assert!(matches!(load(&tree.path().join("none")), DataError::Read { .. }));

        tree.file("file.png", b"x");
        assert!(matches!(load(&tree.path().join("file.png")), DataError::NotAFolder { .. }));
        // The only image is bad, so its class is empty even when bad files are skipped.
        assert!(matches!(load(tree.path()), DataError::EmptyClass { .. }));

        fs::create_dir(tree.path().join("empty")).unwrap();
        assert!(matches!(load(tree.path()), DataError::LooseImage { .. }));
        fs::remove_file(tree.path().join("file.png")).unwrap();
        assert!(matches!(load(tree.path()), DataError::NoImage { .. }));
        tree.grey("full/1.png", 1);
        let error = load(tree.path());
        assert!(matches!(&error, DataError::EmptyClass { path } if path.ends_with("empty")), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_back_ends() {
        let tree = Tree::new();
        tree.grey("a/1.png", 1);
        std::os::unix::fs::symlink(tree.path(), tree.path().join("a/loop")).unwrap();
        let error = list(tree.path(), false).unwrap_err();
        assert!(matches!(error, DataError::TooDeep { .. }), "{error}");
    }
}
