//! Between Flex tensors and slices of `f32`.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

use crate::ops::implementation::{Implementation, implementation};

/// Whether the fused kernels apply: they are switched on and every tensor is `f32`.
pub fn fused<const N: usize>(tensors: [&FlexTensor; N]) -> bool {
    implementation() == Implementation::Fused && tensors.iter().all(|tensor| tensor.dtype() == DType::F32)
}

/// A contiguous `f32` tensor that can be read as a slice.
#[derive(Debug)]
pub struct Dense(FlexTensor);

impl Dense {
    /// Copies only if the elements do not lie in order already.
    ///
    /// # Panics
    /// On reading, if the tensor is not `f32`; [`fused`] has checked that.
    pub fn new(tensor: FlexTensor) -> Self {
        if tensor.layout().contiguous_offsets().is_some() {
            Self(tensor)
        } else {
            Self(tensor.to_contiguous())
        }
    }

    /// Lengths of the axes.
    pub fn dims(&self) -> &[usize] {
        self.0.layout().shape().as_slice()
    }

    /// Length of the last axis.
    pub fn width(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The elements in row-major order.
    pub fn data(&self) -> &[f32] {
        match self.0.layout().contiguous_offsets() {
            Some((start, end)) => &self.0.storage::<f32>()[start..end],
            None => &[],
        }
    }
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
