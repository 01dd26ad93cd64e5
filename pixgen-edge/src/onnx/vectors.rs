//! Inputs of a graph with the outputs that it must give for them, as tensors of a safetensors file named like the graph's.

use super::error::OnnxError;
use crate::model_file::ModelFile;
use crate::quantise::draw::{self, draw_float, draw_integer, draw_values, rows_of};
use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;
use pixgen_core::pxg::Model;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

/// Pictures with their noise, `[N, C, H, W]`.
#[derive(Clone, Debug)]
pub struct Vectors {
    config: ModelConfig,
    class: Vec<i64>,
    noise: Vec<f32>,
    /// Values of the normalised data; none of an integer network.
    picture: Vec<f32>,
    pixels: Vec<u8>,
}

impl Vectors {
    /// Of the float network. `classes` are the rows of the class embedding that the graph was made for; a request's class is a number of
    /// this list.
    ///
    /// # Errors
    /// A class that the model does not have.
    pub fn float(file: &ModelFile, classes: &[usize], requests: &[DrawRequest]) -> Result<Self, OnnxError> {
        let rows = rows_of(classes, requests)?;
        let config = &file.header.model;
        let mut vectors = Self::new(config, requests, &draw_float(file, &rows, 1)?);
        vectors.picture = planes(config, &draw_values(file, &rows, 1)?);
        Ok(vectors)
    }

    /// Of the integer network.
    ///
    /// # Errors
    /// A class that the model does not have.
    pub fn integer(model: &Model<'_>, requests: &[DrawRequest]) -> Result<Self, OnnxError> {
        Ok(Self::new(model.config(), requests, &draw_integer(model, requests)?))
    }

    fn new(config: &ModelConfig, requests: &[DrawRequest], pixels: &[u8]) -> Self {
        let noise: Vec<f32> = requests.iter().flat_map(|request| draw::noise(request, config.image_len())).collect();
        Self {
            config: *config,
            class: requests.iter().map(|request| request.class as i64).collect(),
            noise: planes(config, &noise),
            picture: Vec::new(),
            pixels: planes(config, pixels),
        }
    }

    /// The file.
    ///
    /// # Errors
    /// None that the sizes here can give.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SafeTensorError> {
        let dims = vec![self.class.len(), self.config.channels, self.config.size, self.config.size];
        let mut views = vec![
            ("class", TensorView::new(Dtype::I64, vec![self.class.len()], bytemuck::cast_slice(&self.class))?),
            ("noise", TensorView::new(Dtype::F32, dims.clone(), bytemuck::cast_slice(&self.noise))?),
            ("pixels", TensorView::new(Dtype::U8, dims.clone(), &self.pixels)?),
        ];
        if !self.picture.is_empty() {
            views.push(("picture", TensorView::new(Dtype::F32, dims, bytemuck::cast_slice(&self.picture))?));
        }
        safetensors::serialize(views, None)
    }
}

/// Pictures H W C as C H W.
fn planes<T: Copy>(config: &ModelConfig, pictures: &[T]) -> Vec<T> {
    let of_picture = |picture: &'_ [T]| -> Vec<T> {
        let colour = |c| picture.iter().skip(c).step_by(config.channels.max(1)).copied();
        (0..config.channels).flat_map(colour).collect()
    };
    pictures.chunks_exact(config.image_len().max(1)).flat_map(of_picture).collect()
}
