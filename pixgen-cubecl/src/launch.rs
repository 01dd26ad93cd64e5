//! Checked and contiguous operands, widths of loads, and cube counts within the device's limits: what every launch needs.

use burn_backend::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, kernel::into_contiguous};
use cubecl::prelude::*;

use crate::error::{KernelError, Result};

/// Units of a cube where nothing else decides: enough planes to hide memory latency, few enough registers for several cubes a
/// multiprocessor.
pub const CUBE_UNITS: u32 = 256;

/// The tensor, copied if it is not contiguous.
///
/// # Errors
/// It has more than 2^31 elements; kernels count in 32 bits.
pub fn contiguous<R: CubeRuntime>(op: &'static str, tensor: CubeTensor<R>) -> Result<CubeTensor<R>> {
    let elements = tensor.meta.num_elements();
    if elements > i32::MAX as usize {
        return Err(KernelError::unavailable(op, format!("a tensor of {elements} elements; kernels count to 2^31")));
    }
    Ok(into_contiguous(tensor))
}

/// The tensor as [`contiguous`] returns it, if it has the given shape and type.
///
/// # Errors
/// It has another shape or type; the message calls it `name`.
pub fn operand<R: CubeRuntime>(
    op: &'static str,
    name: &str,
    tensor: CubeTensor<R>,
    shape: &[usize],
    dtype: DType,
) -> Result<CubeTensor<R>> {
    if tensor.meta.shape().as_slice() != shape {
        return Err(KernelError::setup(op, format!("{name} is {:?}, not {shape:?}", tensor.meta.shape().as_slice())));
    }
    if tensor.dtype != dtype {
        return Err(KernelError::setup(op, format!("{name} holds {:?}, not {dtype:?}", tensor.dtype)));
    }
    contiguous(op, tensor)
}

/// Rows and width of a tensor as a matrix of its last axis.
///
/// # Errors
/// No axes, or no elements.
pub fn matrix<R: CubeRuntime>(op: &'static str, name: &str, tensor: &CubeTensor<R>) -> Result<(usize, usize)> {
    let shape = tensor.meta.shape();
    match shape.as_slice() {
        [.., width] if shape.num_elements() > 0 => Ok((shape.num_elements() / width, *width)),
        other => Err(KernelError::setup(op, format!("{name} is {other:?}, nothing to compute"))),
    }
}

/// Dimensions of a tensor of three axes, none of them empty.
///
/// # Errors
/// Another number of axes, or no elements.
pub fn dims3<R: CubeRuntime>(op: &'static str, name: &str, tensor: &CubeTensor<R>) -> Result<[usize; 3]> {
    match *tensor.meta.shape().as_slice() {
        [a, b, c] if a * b * c > 0 => Ok([a, b, c]),
        ref other => Err(KernelError::setup(op, format!("{name} is {other:?}, not three axes with elements"))),
    }
}

/// A new tensor on the device of `like`, its contents undefined.
pub fn empty<R: CubeRuntime>(like: &CubeTensor<R>, shape: &[usize], dtype: DType) -> CubeTensor<R> {
    let elements: usize = shape.iter().product();
    let handle = like.client.empty(elements * dtype.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape.to_vec().into(), handle, dtype)
}

/// A contiguous tensor as a kernel's array.
pub fn array<R: CubeRuntime>(tensor: &CubeTensor<R>) -> ArrayArg<R> {
    // SAFETY: the length is that of the tensor.
    unsafe { ArrayArg::from_raw_parts(tensor.handle.clone(), tensor.meta.num_elements()) }
}

/// A contiguous tensor as a kernel's output that is the kernel's array number `input`.
pub fn alias<R: CubeRuntime>(tensor: &CubeTensor<R>, input: usize) -> ArrayArg<R> {
    ArrayArg::Alias { input_pos: input, length: [tensor.meta.num_elements()] }
}

/// Numbers of `dtype` in a load: as many as the device loads at once and divide `width`, the distance of row starts. Starts of
/// tensors are always aligned: devices place buffers, and burn narrows them, at multiples of their alignment of 16 bytes or more.
pub fn vector_size<R: CubeRuntime>(client: &ComputeClient<R>, dtype: DType, width: usize) -> usize {
    client
        .io_optimized_vector_sizes(dtype.size())
        .find(|size| width.is_multiple_of(*size))
        .unwrap_or(1)
}

/// Units of a cube: [`CUBE_UNITS`] or what the device allows.
pub fn cube_units<R: CubeRuntime>(client: &ComputeClient<R>) -> u32 {
    CUBE_UNITS.min(client.properties().hardware.max_units_per_cube)
}

/// At least `cubes` cubes, on a second axis where one cannot count them. Kernels compare `CUBE_POS` or `ABSOLUTE_POS` with their work.
///
/// # Errors
/// More than two axes count.
pub fn cube_count<R: CubeRuntime>(op: &'static str, client: &ComputeClient<R>, cubes: usize) -> Result<CubeCount> {
    let (x, y, _) = client.properties().hardware.max_cube_count;
    let columns = cubes.clamp(1, x as usize);
    let rows = cubes.div_ceil(columns).max(1);
    // Balanced, so that nearly all cubes have work.
    let columns = cubes.div_ceil(rows).max(1);
    if rows > y as usize {
        return Err(KernelError::unavailable(op, format!("{cubes} cubes; the grid has {x} x {y}")));
    }
    Ok(CubeCount::Static(columns as u32, rows as u32, 1))
}

/// Cubes of [`cube_units`] units for one unit each of `units` pieces of work.
///
/// # Errors
/// As [`cube_count`].
pub fn elementwise<R: CubeRuntime>(op: &'static str, client: &ComputeClient<R>, units: usize) -> Result<(CubeCount, CubeDim)> {
    let dim = cube_units(client);
    Ok((cube_count(op, client, units.div_ceil(dim as usize))?, CubeDim::new_1d(dim)))
}

/// Units that keep the device busy: `each` on every multiprocessor, or on eight where the device does not report how many it has.
pub fn busy_units<R: CubeRuntime>(client: &ComputeClient<R>, each: usize) -> usize {
    client.properties().hardware.num_streaming_multiprocessors.unwrap_or(8) as usize * each
}

/// The element type and its size of a tensor of activations.
///
/// # Errors
/// Not `f32` or bf16.
pub fn stored<R: CubeRuntime>(op: &'static str, name: &str, tensor: &CubeTensor<R>) -> Result<DType> {
    let dtype = tensor.dtype();
    if crate::store::STORED.contains(&dtype) {
        Ok(dtype)
    } else {
        Err(KernelError::setup(op, format!("{name} holds {dtype:?}, not f32 or bf16")))
    }
}
