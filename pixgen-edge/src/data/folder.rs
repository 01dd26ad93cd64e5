//! Image folders: one folder per class, or one flat folder as a single class.
//!
//! Classes and files are taken in sorted order, so the same folder gives the same data set on every machine. Names that begin with a
//! dot are ignored, and so are files whose name is not that of an image.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::data::listing::{Entry, EntryLocation, Listing, MAX_CLASSES, has_image_name, name_of};

/// Folders may be nested this deep inside a class.
const MAX_DEPTH: usize = 16;

/// Finds the images under `root`: folders in it are classes; without folders, `root` is the only class.
///
/// # Errors
/// If `root` is a file or cannot be read, has no image, has an empty class folder, or has images beside class folders.
pub fn list(root: &Path) -> Result<Listing, DataError> {
    if !fs::metadata(root).map_err(DataError::read(root))?.is_dir() {
        return Err(DataError::NotAFolder { path: root.to_path_buf() });
    }
    let (folders, loose) = entries(root)?;
    let class_folders = if folders.is_empty() { vec![root.to_path_buf()] } else { folders };
    if class_folders.len() > MAX_CLASSES {
        return Err(DataError::TooManyClasses { path: root.to_path_buf(), found: class_folders.len(), limit: MAX_CLASSES });
    }
    let flat = class_folders[0] == root;
    if !flat && let Some(path) = loose.into_iter().next() {
        return Err(DataError::LooseImage { path });
    }

    let mut found = Vec::new();
    let mut empty = None;
    for (class, folder) in class_folders.iter().enumerate() {
        let before = found.len();
        collect(folder, class as u16, 0, &mut found)?;
        if found.len() == before && empty.is_none() {
            empty = Some(folder.clone());
        }
    }
    if found.is_empty() {
        return Err(DataError::NoImage { path: root.to_path_buf() });
    }
    if let Some(path) = empty {
        return Err(DataError::EmptyClass { path });
    }
    let entry = |(path, size, label): (PathBuf, u64, u16)| {
        // Every path begins with the root that it was found under.
        let name = path.strip_prefix(root).map_or_else(|_| path.clone(), Path::to_path_buf);
        Entry { name, label, place: EntryLocation::File { size } }
    };
    Ok(Listing {
        root: root.to_path_buf(),
        archives: Vec::new(),
        entries: found.into_iter().map(entry).collect(),
        class_names: class_folders.iter().map(|folder| name_of(folder)).collect(),
        class_places: class_folders,
    })
}

/// Whether a folder holds folders or images.
pub(crate) fn has_images(folder: &Path) -> Result<bool, DataError> {
    let (folders, images) = entries(folder)?;
    Ok(!(folders.is_empty() && images.is_empty()))
}

/// Sub-folders and image files of a folder, each sorted.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut folders, mut images) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let path = entry.map_err(DataError::read(folder))?.path();
        let hidden = name_of(&path).starts_with('.');
        if hidden {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if has_image_name(&path) {
            images.push(path);
        }
    }
    folders.sort();
    images.sort();
    Ok((folders, images))
}

/// Adds path, size and label of the images of a class: first those of the folder, then those of its sub-folders.
fn collect(folder: &Path, class: u16, depth: usize, found: &mut Vec<(PathBuf, u64, u16)>) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::TooDeep { path: folder.to_path_buf(), limit: MAX_DEPTH });
    }
    let (folders, images) = entries(folder)?;
    for path in images {
        // A link that leads nowhere is a bad file, which reading it will say.
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        found.push((path, size, class));
    }
    for sub in folders {
        collect(&sub, class, depth + 1, found)?;
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
        decode_all(&list(root)?, shape, background, skip_bad)
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
        let error = list(tree.path()).unwrap_err();
        assert!(matches!(error, DataError::TooDeep { .. }), "{error}");
    }
}
