//! Sets of pictures that no model draws here: `--folder` and `--against` of `eval`.

use crate::config::{DataConfig, TrainingRecipe};
use crate::error::Error;
use crate::quality::npz;
use pixgen_core::config::ModelConfig;
use pixgen_core::presets::PRESETS;
use pixgen_edge::data::{self, Dataset, ImageShape};
use std::path::{Path, PathBuf};

/// A set in colour, not yet read where its size is free.
pub(super) enum PictureSet {
    /// Pictures of an `.npz`, which have their size.
    Npz(PathBuf, ImageShape, Vec<u8>),
    /// A folder or archive of pictures of any sizes.
    Files(PathBuf),
}

impl PictureSet {
    /// The pictures of an `.npz`; everything else is read later.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz")) {
            return Ok(Self::Files(path.to_owned()));
        }
        let Some((shape, pixels)) = npz::read(path)?.pictures else {
            return Err(Error::Argument {
                what: format!("{} holds statistics and no pictures", path.display()),
                hint: Some("give it with --reference".to_owned()),
            });
        };
        let pixels = match shape.channels {
            1 => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            _ => pixels,
        };
        Ok(Self::Npz(path.to_owned(), ImageShape { channels: 3, ..shape }, pixels))
    }

    /// The shape at which the sets can be compared: that of an `.npz`, or a square of `size` pixels.
    pub fn common_shape(sets: &[&Self], size: Option<usize>) -> Result<ImageShape, Error> {
        let asked = size.map(|side| (format!("--size is {side}"), ImageShape { height: side, width: side, channels: 3 }));
        let stored = sets.iter().filter_map(|set| match set {
            Self::Npz(path, shape, _) => Some((format!("{} holds pictures of {shape}", path.display()), *shape)),
            Self::Files(_) => None,
        });
        let known: Vec<(String, ImageShape)> = stored.chain(asked).collect();
        let Some((first, shape)) = known.first() else {
            let hint = "add --size PIXELS: all pictures are cropped and resized to it".to_owned();
            return Err(Error::Argument { what: "pictures of any size cannot be compared".to_owned(), hint: Some(hint) });
        };
        if let Some((other, _)) = known.iter().find(|(_, other)| other != shape) {
            let hint = "pictures of an .npz keep their size: leave --size out, or give folders of pictures".to_owned();
            return Err(Error::Argument { what: format!("{first}, {other}"), hint: Some(hint) });
        }
        if shape.height != shape.width && sets.iter().any(|set| matches!(set, Self::Files(_))) {
            let hint = "files are cropped to a square: give both sets as .npz".to_owned();
            return Err(Error::Argument { what: first.clone(), hint: Some(hint) });
        }
        Ok(*shape)
    }

    /// Its pictures at a [`common_shape`](Self::common_shape).
    pub fn read(self, shape: ImageShape) -> Result<Dataset, Error> {
        match self {
            Self::Npz(path, shape, pixels) => {
                let labels = vec![0; pixels.len() / shape.len()];
                Ok(Dataset::new(shape, pixels, labels, vec![String::new()], path.display().to_string())?)
            }
            Self::Files(path) => {
                let model = ModelConfig { size: shape.height, channels: 3, ..PRESETS[0].model };
                let settings = DataConfig { path: path.display().to_string(), ..TrainingRecipe::SMALL.data() };
                Ok(data::load(&settings.spec(&model)?)?.dataset)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_compared_at_one_shape() {
        let npz = |height, width| {
            let shape = ImageShape { height, width, channels: 3 };
            PictureSet::Npz("x.npz".into(), shape, vec![0; 2 * shape.len()])
        };
        let files = || PictureSet::Files("a".into());
        let shape = |sets: &[&PictureSet], size| PictureSet::common_shape(sets, size).map(|shape| (shape.height, shape.width));
        assert_eq!(shape(&[&files(), &files()], Some(32)).unwrap(), (32, 32));
        assert_eq!(shape(&[&npz(32, 32), &files()], None).unwrap(), (32, 32));
        assert_eq!(shape(&[&npz(32, 32), &npz(32, 32)], Some(32)).unwrap(), (32, 32));
        assert_eq!(shape(&[&npz(20, 30)], None).unwrap(), (20, 30));
        for (error, says) in [
            (shape(&[&files()], None), "any size"),
            (shape(&[&npz(32, 32), &files()], Some(64)), "32x32x3, --size is 64"),
            (shape(&[&npz(32, 32), &npz(16, 16)], None), "16x16x3"),
            (shape(&[&npz(20, 30), &files()], None), "20x30x3"),
        ] {
            let error = error.unwrap_err();
            assert!(error.to_string().contains(says) && error.hint().is_some(), "{error}");
        }
        assert_eq!(npz(4, 6).read(ImageShape { height: 4, width: 6, channels: 3 }).unwrap().len(), 2);
    }
}
