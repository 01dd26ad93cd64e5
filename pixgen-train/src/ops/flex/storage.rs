//! Between Flex tensors and slices of `f32`.

use burn_flex::{FlexTensor, Layout};
use burn_tensor::{Bytes, DType, Shape};

use super::buffers::{release, take};
use crate::ops::implementation::{Implementation, implementation};

/// Whether the fused kernels apply: they are switched on and every tensor is `f32`.
pub fn fused<const N: usize>(tensors: [&FlexTensor; N]) -> bool {
    implementation() == Implementation::Fused && tensors.iter().all(|tensor| tensor.dtype() == DType::F32)
}

/// A contiguous `f32` tensor that can be read as a slice. When nobody else holds its memory, that goes back to the free buffers.
#[derive(Debug)]
pub struct Dense(Option<FlexTensor>);

impl Dense {
    /// Copies only if the elements do not lie in order already. A tensor that is not `f32` reads as empty; [`fused`] checks that.
    pub fn new(tensor: FlexTensor) -> Self {
        if tensor.layout().contiguous_offsets().is_some() {
            Self(Some(tensor))
        } else {
            Self(Some(tensor.to_contiguous()))
        }
    }

    /// Lengths of the axes.
    pub fn dims(&self) -> &[usize] {
        self.0.as_ref().map_or(&[], |tensor| tensor.layout().shape().as_slice())
    }

    /// Length of the last axis.
    pub fn width(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The elements in row-major order.
    pub fn data(&self) -> &[f32] {
        self.0.as_ref().and_then(FlexTensor::as_slice).unwrap_or(&[])
    }

    /// The elements as a buffer to write to: the tensor's own if nobody else holds it, otherwise a copy.
    pub fn into_buffer(mut self) -> Vec<f32> {
        let tensor = self.0.take();
        match tensor.map(own_buffer) {
            Some(Ok(buffer)) => buffer,
            Some(Err(tensor)) => {
                let data = tensor.as_slice::<f32>().unwrap_or(&[]);
                let mut buffer = take(data.len());
                buffer.copy_from_slice(data);
                buffer
            }
            None => Vec::new(),
        }
    }
}

impl Drop for Dense {
    fn drop(&mut self) {
        if let Some(Ok(buffer)) = self.0.take().map(own_buffer) {
            release(buffer);
        }
    }
}

/// The memory of a tensor that nobody else holds and that fills it.
fn own_buffer(tensor: FlexTensor) -> Result<Vec<f32>, FlexTensor> {
    let layout = tensor.layout();
    let whole = layout.is_contiguous() && layout.start_offset() == 0 && tensor.bytes().len() == 4 * layout.num_elements();
    if !tensor.is_unique() || !whole || tensor.dtype() != DType::F32 {
        return Err(tensor);
    }
    let data = tensor.into_data();
    let shape = data.shape.clone();
    data.bytes
        .try_into_vec()
        .map_err(|bytes| FlexTensor::new(bytes, Layout::contiguous(shape), DType::F32))
}

/// A tensor of these elements.
pub fn tensor(data: Vec<f32>, dims: &[usize]) -> FlexTensor {
    let layout = Layout::contiguous(Shape::from(dims.to_vec()));
    FlexTensor::new(Bytes::from_elems(data), layout, DType::F32)
}

/// `dims` with the last axis replaced.
pub fn with_width(dims: &[usize], width: usize) -> Vec<usize> {
    let mut dims = dims.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = width;
    }
    dims
}
