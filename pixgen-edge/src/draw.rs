//! Pictures from a model file, whatever its form.

use crate::error::Error;
use crate::model_file::{Content, ModelFile};
use crate::picture::Picture;
use crate::pxg_file::{PxgFile, is_pxg};
use crate::quantise::draw::{draw_float, draw_integer};
use pixgen_core::integer::DrawRequest;
use std::path::Path;

/// Loads the model at `path` and draws a picture for each request, on all cores.
///
/// A `.pxg` file is drawn byte for byte as a chip draws it. The `model.safetensors` of a one-step generator, or a run folder that holds
/// one, is drawn in f32, in one step. Same seed and number, same noise in both.
///
/// ```no_run
/// use pixgen_edge::draw::draw;
/// use pixgen_edge::picture::Grid;
/// use pixgen_edge::quantise::draw::requests;
/// use std::path::Path;
///
/// // Pictures 0 to 3 of seed 7: one of class 9, three of class 1.
/// let pictures = draw(Path::new("model.pxg"), &requests(7, 0, &[9, 1, 1, 1]))?;
/// Grid::default().save(Path::new("four.png"), &pictures)?;
/// # Ok::<(), pixgen_edge::error::Error>(())
/// ```
///
/// # Errors
/// A file that cannot be read or holds no generator, and classes that it does not have.
pub fn draw(path: &Path, requests: &[DrawRequest]) -> Result<Vec<Picture>, Error> {
    let (config, bytes) = if is_pxg(path) {
        let file = PxgFile::load(path)?;
        let model = file.model()?;
        (*model.config(), draw_integer(&model, requests)?)
    } else {
        let file = ModelFile::load_content(path, Content::Generator)?;
        (file.header.model, draw_float(&file, requests, 1)?)
    };
    Ok(Picture::squares(&bytes, config.size, config.channels)?)
}
