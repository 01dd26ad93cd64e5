//! Matrices between f32 and bf16, by the bits ([`Store`]), which every device can do.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use burn_std::Metadata;
use cubecl::prelude::*;
use cubek::std::MatrixLayout;

use super::problem::OP;
use crate::error::{KernelError, Result};
use crate::launch::{array, elementwise, empty};
use crate::store::Store;
use crate::with_store;

/// One number a unit. `width` numbers of each line of the input, whose lines begin `pitch` apart, become a line of the output.
#[cube(launch_unchecked)]
fn convert_lines<I: Store, O: Store>(input: &Array<Vector<I, Const<1>>>, output: &mut Array<Vector<O, Const<1>>>, width: u32, pitch: u32) {
    if ABSOLUTE_POS < output.len() {
        let (width, pitch) = (width as usize, pitch as usize);
        let from = ABSOLUTE_POS / width * pitch + ABSOLUTE_POS % width;
        output[ABSOLUTE_POS] = O::narrow::<Const<1>>(I::widen::<Const<1>>(input[from]));
    }
}

/// The matrix in another type, with the same axis contiguous and no gaps; itself if it has the type.
///
/// # Errors
/// More elements than kernels count.
pub fn convert<R: CubeRuntime>(matrix: CubeTensor<R>, layout: MatrixLayout, dtype: DType) -> Result<CubeTensor<R>> {
    if matrix.dtype == dtype {
        return Ok(matrix);
    }
    let (shape, strides) = (matrix.meta.shape().clone(), matrix.meta.strides().clone());
    let (lines, width, pitch) = match layout {
        MatrixLayout::RowMajor => (shape[0], shape[1], strides[0]),
        MatrixLayout::ColMajor => (shape[1], shape[0], strides[1]),
    };
    let reach = (lines - 1) * pitch + width;
    if reach > i32::MAX as usize {
        return Err(KernelError::unavailable(OP, format!("a matrix of {reach} elements; kernels count to 2^31")));
    }
    let client = matrix.client.clone();
    let mut out = empty(&matrix, &[lines, width], dtype);
    let (cubes, dim) = elementwise(OP, &client, lines * width)?;
    // SAFETY: the last line of the input ends at element `reach`, which is within its buffer.
    let input = unsafe { ArrayArg::from_raw_parts(matrix.handle.clone(), reach) };
    with_store!(OP, matrix.dtype, I => with_store!(OP, dtype, O => {
        // SAFETY: a unit reads `line * pitch + column` with `line < lines` and `column < width`, and writes below `lines * width`.
        unsafe {
            convert_lines::launch_unchecked::<I, O, R>(&client, cubes, dim, input, array(&out), width as u32, pitch as u32);
        }
        Ok(())
    }))?;
    if let MatrixLayout::ColMajor = layout {
        *out.meta = Metadata::new(shape, [1, width]);
    }
    Ok(out)
}
