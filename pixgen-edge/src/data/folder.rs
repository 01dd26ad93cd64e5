//! Image folders: one folder per class, or one flat folder as a single class.
//!
//! Classes and files are taken in sorted order, so the same folder gives the same data set on every machine. Names that begin with a
//! dot are ignored, and so are files whose name is not that of an image.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::decode::decode_file;
use crate::data::error::BadFile;
use crate::data::{DataError, Dataset, ImageShape, Loaded, resize};

/// Extensions that say "image". Content other than PNG or JPEG is then reported as a bad file, not passed over.
const IMAGE_EXTENSIONS: [&str; 11] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "avif", "heic", "jxl"];
/// Folders may be nested this deep inside a class.
const MAX_DEPTH: usize = 16;
/// Labels are 16-bit.
const MAX_CLASSES: usize = 1 << 16;

/// The image files of a folder before anything is decoded.
#[derive(Debug)]
pub struct ImageFiles {
    /// Class names: the folders' names.
    pub class_names: Vec<String>,
    /// Path and class of each file, in order.
    pub files: Vec<(PathBuf, u16)>,
    /// Folder of each class.
    class_folders: Vec<PathBuf>,
}

impl ImageFiles {
    /// Fails for the first class to which no image of `counts` (images by class) is left.
    pub(crate) fn refuse_empty_class(&self, counts: &[usize]) -> Result<(), DataError> {
        match counts.iter().position(|&count| count == 0) {
            Some(class) => Err(DataError::EmptyClass { path: self.class_folders[class].clone() }),
            None => Ok(()),
        }
    }
}

/// Finds the images under `root`: folders in it are classes; without folders, `root` is the only class.
///
/// # Errors
/// If `root` is a file or cannot be read, has no image, has an empty class folder, or has images beside class folders.
pub fn list(root: &Path) -> Result<ImageFiles, DataError> {
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

    let mut files = Vec::new();
    let mut empty = None;
    for (class, folder) in class_folders.iter().enumerate() {
        let before = files.len();
        collect(folder, class as u16, 0, &mut files)?;
        if files.len() == before && empty.is_none() {
            empty = Some(folder.clone());
        }
    }
    if files.is_empty() {
        return Err(DataError::NoImage { path: root.to_path_buf() });
    }
    if let Some(path) = empty {
        return Err(DataError::EmptyClass { path });
    }
    Ok(ImageFiles {
        class_names: class_folders.iter().map(|folder| name_of(folder)).collect(),
        files,
        class_folders,
    })
}

/// Loads the images under `root` at `shape`; transparent parts show `background`.
///
/// # Errors
/// Those of [`list`]. Bad files are an error that names the first one, or, with `skip_bad`, are left out and returned.
pub fn load(root: &Path, shape: ImageShape, background: [u8; 3], skip_bad: bool) -> Result<Loaded, DataError> {
    shape.check()?;
    let found = list(root)?;
    let size = shape.len();
    let mut pixels = vec![0; found.files.len() * size];
    let bad: Vec<Option<BadFile>> = pixels
        .par_chunks_exact_mut(size)
        .zip(&found.files)
        .map(|(out, (path, _))| match decode_file(path, background) {
            Ok(image) => {
                out.copy_from_slice(&resize::fit(&image.pixels, image.shape, shape));
                None
            }
            Err(reason) => Some(BadFile { path: path.clone(), reason }),
        })
        .collect();

    let total = found.files.len();
    let count = bad.iter().flatten().count();
    if !skip_bad && let Some(first) = bad.iter().flatten().next() {
        return Err(DataError::BadFiles { first: first.clone(), count, total });
    }

    // Close the gaps of the bad files.
    let mut labels = Vec::with_capacity(total - count);
    for (index, (_, label)) in found.files.iter().enumerate() {
        if bad[index].is_none() {
            pixels.copy_within(index * size..(index + 1) * size, labels.len() * size);
            labels.push(*label);
        }
    }
    pixels.truncate(labels.len() * size);
    let mut counts = vec![0; found.class_names.len()];
    for &label in &labels {
        counts[usize::from(label)] += 1;
    }
    found.refuse_empty_class(&counts)?;
    Ok(Loaded {
        dataset: Dataset::new(shape, pixels, labels, found.class_names, root.display().to_string())?,
        skipped: bad.into_iter().flatten().collect(),
    })
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

/// Adds the images of a class: first those of the folder, then those of its sub-folders.
fn collect(folder: &Path, class: u16, depth: usize, files: &mut Vec<(PathBuf, u16)>) -> Result<(), DataError> {
    if depth > MAX_DEPTH {
        return Err(DataError::TooDeep { path: folder.to_path_buf(), limit: MAX_DEPTH });
    }
    let (folders, images) = entries(folder)?;
    files.extend(images.into_iter().map(|path| (path, class)));
    for sub in folders {
        collect(&sub, class, depth + 1, files)?;
    }
    Ok(())
}

fn has_image_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The last part of a path. `.` and `..` have none, so those are resolved.
fn name_of(path: &Path) -> String {
    let named = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    named(path)
        .or_else(|| named(&fs::canonicalize(path).ok()?))
        .unwrap_or_else(|| "images".into())
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb, RgbImage, Rgba};
    use tempfile::TempDir;

    use super::*;
    use crate::data::error::BadReason;

    const WHITE: [u8; 3] = [255; 3];
    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

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
        let firsts: Vec<u8> = (0..4).map(|i| data.image(i)[0]).collect();
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
        let firsts: Vec<&[u8]> = (0..3).map(|i| &data.image(i)[..3]).collect();
        assert_eq!(firsts, [&[50, 50, 50][..], &[255, 0, 0], &[0, 0, 255]]);
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
        let firsts: Vec<u8> = (0..3).map(|i| loaded.dataset.image(i)[0]).collect();
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
