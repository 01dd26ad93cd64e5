//! Inputs of a file with the pictures of the float network for them, as tensors of a safetensors file that are named and shaped like the
//! graph's, with one dimension for the pictures before them.

use super::error::LiteError;
use super::options::LiteForm;
use crate::model_file::ModelFile;
use crate::quantise::draw::{self, draw_float, rows_of};
use pixgen_core::accelerator::inputs;
use pixgen_core::integer::DrawRequest;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The file for some pictures of the graph's `classes`; a request's class is a number of this list. Its values have the types of the
/// form; those of `pixels` are bytes.
///
/// # Errors
/// A class that the model does not have.
pub fn vectors(file: &ModelFile, classes: &[usize], form: LiteForm, requests: &[DrawRequest]) -> Result<Vec<u8>, LiteError> {
    let model = &file.header.model;
    let (mut noise, mut class) = (Vec::new(), Vec::new());
    for request in requests {
        let (mut narrow, mut one_hot) = (vec![0i8; model.image_len()], vec![0i16; classes.len()]);
        inputs(request, &mut narrow, &mut one_hot)?;
        if form == LiteForm::Integer {
            noise.extend_from_slice(bytemuck::cast_slice(&narrow));
            class.extend_from_slice(bytemuck::cast_slice(&one_hot));
            continue;
        }
        let real: Vec<f32> = draw::noise(request, model.image_len()).collect();
        let one_hot: Vec<f32> = one_hot.iter().map(|&c| f32::from(u8::from(c != 0))).collect();
        noise.extend_from_slice(bytemuck::cast_slice(&real));
        class.extend_from_slice(bytemuck::cast_slice(&one_hot));
    }
    let pixels = draw_float(file, &rows_of(classes, requests)?, 1)?;
    let (narrow, wide) = match form {
        LiteForm::Integer => (Dtype::I8, Dtype::I16),
        LiteForm::Float => (Dtype::F32, Dtype::F32),
    };
    let picture = vec![requests.len(), 1, model.size, model.size, model.channels];
    let tensors = [
        ("noise", TensorView::new(narrow, picture.clone(), &noise)?),
        ("class", TensorView::new(wide, vec![requests.len(), 1, 1, classes.len()], &class)?),
        ("pixels", TensorView::new(Dtype::U8, picture, &pixels)?),
    ];
    Ok(safetensors::serialize(tensors, None)?)
}
