//! Operations on whole images: the weighted sum of two, and the consistency loss (docs/reference/method.md sections 4 and 5).
//!
//! A weighted sum is one pass. The loss takes two, as its slope needs the sum over the image: the first reads f, x and the target, writes
//! the difference and sums its squares; the second scales the difference in place. Together they move 24 bytes an element. An image is cut
//! into strips, a cube each, so that few images keep the device busy too; strips are added in index order.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::error::{KernelError, Result};
use crate::launch::{array, busy_units, cube_count, elementwise, empty, operand, vector_size};
use crate::sum::{cube_sum, tree_units};

type ImageBuffer<N> = Array<Vector<f32, N>>;

#[cube(launch_unchecked)]
fn weighted_sum_kernel<N: Size>(
    x: &ImageBuffer<N>,
    y: &ComptimeOption<ImageBuffer<N>>,
    a: &Array<f32>,
    b: &ComptimeOption<Array<f32>>,
    out: &mut ImageBuffer<N>,
    image: u32,
) {
    if ABSOLUTE_POS >= x.len() {
        terminate!();
    }
    let number = ABSOLUTE_POS / image as usize;
    let mut sum = Vector::new(a[number]) * x[ABSOLUTE_POS];
    #[comptime]
    match y {
        ComptimeOption::Some(y) =>
        {
            #[comptime]
            match b {
                ComptimeOption::Some(b) => {
                    sum += Vector::new(b[number]) * y[ABSOLUTE_POS];
                }
                ComptimeOption::None => {}
            }
        }
        ComptimeOption::None => {}
    }
    out[ABSOLUTE_POS] = sum;
}

/// How images lie on cubes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ImageStrips {
    /// Units of a cube.
    units: u32,
    /// Strips of an image.
    count: u32,
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn difference_kernel<N: Size>(
    f: &ImageBuffer<N>,
    x: &ImageBuffer<N>,
    target: &ImageBuffer<N>,
    skip: &Array<f32>,
    out: &Array<f32>,
    difference: &mut ImageBuffer<N>,
    sums: &mut Array<f32>,
    image: u32,
    height: u32,
    #[comptime] strips: ImageStrips,
) {
    let mut scratch = SharedMemory::<f32>::new(strips.units as usize);
    if CUBE_POS >= sums.len() {
        terminate!();
    }
    let number = CUBE_POS / strips.count as usize;
    let first = CUBE_POS as u32 % strips.count * height;
    let end = clamp_max(first + height, image);
    let base = number * image as usize;
    let skip = Vector::new(skip[number]);
    let out = Vector::new(out[number]);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut place = first + UNIT_POS;
    while place < end {
        let at = base + place as usize;
        let d = out * f[at] + (skip * x[at] - target[at]);
        sum += d * d;
        difference[at] = d;
        place += strips.units;
    }
    let total = cube_sum(f32::cast_from(sum.vector_sum()), &mut scratch, strips.units);
    if UNIT_POS == 0 {
        sums[CUBE_POS] = total;
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn slope_kernel<N: Size>(
    sums: &Array<f32>,
    out: &Array<f32>,
    weight: &Array<f32>,
    slope: &mut ImageBuffer<N>,
    losses: &mut Array<f32>,
    image: u32,
    height: u32,
    floor: f32,
    #[comptime] strips: ImageStrips,
) {
    if CUBE_POS >= sums.len() {
        terminate!();
    }
    let number = CUBE_POS / strips.count as usize;
    let strip = CUBE_POS as u32 % strips.count;
    let mut u = 0.0f32;
    for other in 0..strips.count {
        u += sums[number * strips.count as usize + other as usize];
    }
    let scale = weight[number] / (u + floor).sqrt();
    if strip == 0 && UNIT_POS == 0 {
        losses[number] = scale * u;
    }
    let factor = Vector::new(2.0 * scale * out[number]);
    let base = number * image as usize;
    let end = clamp_max(strip * height + height, image);
    let mut place = strip * height + UNIT_POS;
    while place < end {
        let at = base + place as usize;
        slope[at] = slope[at] * factor;
        place += strips.units;
    }
}

/// Number of images of a batch and elements of one.
fn batch<R: CubeRuntime>(op: &'static str, name: &str, images: &CubeTensor<R>) -> Result<(usize, usize)> {
    let shape = images.meta.shape();
    match shape.as_slice() {
        [count, ..] if shape.num_elements() > 0 => Ok((*count, shape.num_elements() / count)),
        other => Err(KernelError::setup(op, format!("{name} is {other:?}, nothing to compute"))),
    }
}

/// `a_i x_i + b_i y_i`, or `a_i x_i`.
fn launch_weighted_sum<R: CubeRuntime>(
    op: &'static str,
    x: CubeTensor<R>,
    a: CubeTensor<R>,
    other: Option<(CubeTensor<R>, CubeTensor<R>)>,
) -> Result<CubeTensor<R>> {
    let (count, len) = batch(op, "a batch", &x)?;
    let shape = x.meta.shape().to_vec();
    let x = operand(op, "a batch", x, &shape, DType::F32)?;
    let a = operand(op, "a factor", a, &[count], DType::F32)?;
    let (y, b) = match other {
        Some((y, b)) => (Some(operand(op, "y", y, &shape, DType::F32)?), Some(operand(op, "b", b, &[count], DType::F32)?)),
        None => (None, None),
    };
    let client = &x.client;
    let size = vector_size(client, DType::F32, len);
    let out = empty(&x, &shape, DType::F32);
    let (cubes, dim) = elementwise(op, client, count * len / size)?;
    // SAFETY: x, y and out hold `count` images of `len` numbers, a and b a number for each; units compare their position with the length.
    unsafe {
        weighted_sum_kernel::launch_unchecked::<R>(
            client,
            cubes,
            dim,
            size,
            array(&x),
            y.as_ref().map(array).into(),
            array(&a),
            b.as_ref().map(array).into(),
            array(&out),
            (len / size) as u32,
        );
    }
    Ok(out)
}

/// `a_i x_i + b_i y_i` for each image i: x and y `[B, ..]` of one shape, a and b `[B]`, all in `f32`; returns x's shape.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn weighted_sum<R: CubeRuntime>(x: CubeTensor<R>, y: CubeTensor<R>, a: CubeTensor<R>, b: CubeTensor<R>) -> Result<CubeTensor<R>> {
    launch_weighted_sum("weighted sum", x, a, Some((y, b)))
}

/// Gradients of x and y of [`weighted_sum`] for the output gradient `dy`.
///
/// # Errors
/// As [`weighted_sum`].
pub fn weighted_sum_backward<R: CubeRuntime>(
    a: CubeTensor<R>,
    b: CubeTensor<R>,
    dy: CubeTensor<R>,
    wanted: [bool; 2],
) -> Result<[Option<CubeTensor<R>>; 2]> {
    let scaled = |wanted: bool, factor| {
        wanted
            .then(|| launch_weighted_sum("weighted sum backward", dy.clone(), factor, None))
            .transpose()
    };
    Ok([scaled(wanted[0], a)?, scaled(wanted[1], b)?])
}

/// Units on a multiprocessor that work on the loss.
const UNITS: usize = 2048;

/// The consistency loss of each image `[B]`, and its gradient with respect to f: with `d = skip x + out f - target` and `u = |d|^2` of
/// the image, `weight u / sqrt(sg[u] + huber^2)`. f, x and target `[B, ..]` of one shape, the factors `[B]`, all in `f32`.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
#[allow(clippy::too_many_arguments)]
pub fn consistency_loss<R: CubeRuntime>(
    f: CubeTensor<R>,
    x: CubeTensor<R>,
    target: CubeTensor<R>,
    skip: CubeTensor<R>,
    out: CubeTensor<R>,
    weight: CubeTensor<R>,
    huber: f64,
) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    const OP: &str = "consistency loss";
    let (count, len) = batch(OP, "f", &f)?;
    let shape = f.meta.shape().to_vec();
    let f = operand(OP, "f", f, &shape, DType::F32)?;
    let x = operand(OP, "x", x, &shape, DType::F32)?;
    let target = operand(OP, "the target", target, &shape, DType::F32)?;
    let skip = operand(OP, "skip", skip, &[count], DType::F32)?;
    let out = operand(OP, "out", out, &[count], DType::F32)?;
    let weight = operand(OP, "the weight", weight, &[count], DType::F32)?;

    let client = &f.client;
    let size = vector_size(client, DType::F32, len);
    let image = len / size;
    let units = tree_units(client);
    let busy = busy_units(client, UNITS).div_ceil(count * units as usize);
    let height = image.div_ceil(busy.clamp(1, image.div_ceil(units as usize)));
    let strips = ImageStrips { units, count: image.div_ceil(height) as u32 };
    let slope = empty(&f, &shape, DType::F32);
    let losses = empty(&f, &[count], DType::F32);
    let sums = empty(&f, &[count * strips.count as usize], DType::F32);
    let cubes = cube_count(OP, client, count * strips.count as usize)?;
    // SAFETY: f, x, target and slope hold `count` images of `image` vectors, the factors and losses a number for each, sums a number for
    // each strip of each; cubes compare their position with the sums, units theirs with the end of the image.
    unsafe {
        difference_kernel::launch_unchecked::<R>(
            client,
            cubes.clone(),
            CubeDim::new_1d(units),
            size,
            array(&f),
            array(&x),
            array(&target),
            array(&skip),
            array(&out),
            array(&slope),
            array(&sums),
            image as u32,
            height as u32,
            strips,
        );
        slope_kernel::launch_unchecked::<R>(
            client,
            cubes,
            CubeDim::new_1d(units),
            size,
            array(&sums),
            array(&out),
            array(&weight),
            array(&slope),
            array(&losses),
            image as u32,
            height as u32,
            (huber * huber) as f32,
            strips,
        );
    }
    Ok((losses, slope))
}
