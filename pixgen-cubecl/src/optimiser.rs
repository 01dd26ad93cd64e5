//! The trainer's parameters, gradients and moments on the device: one flat `f32` buffer for each list, and passes over whole buffers.
//!
//! A buffer holds the tensors of a list one after another, each starting at a multiple of [`CHUNK`] elements; what lies between is zero
//! and stays zero under every function here. So a tensor can be bound as it lies, loads of 16 bytes never straddle two tensors, and the
//! weight decay, which depends on a tensor's role, is one number for each chunk.
//!
//! All passes are bound by memory, so what counts is bytes. [`adamw`] reads parameters, moments and gradient and writes all but the
//! gradient, 28 bytes a parameter, and each average costs 8 more; a pass for each tensor operation would move four times as much. Buffers
//! are changed in place: a launch sees what launches before it wrote.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::error::{KernelError, Result};
use crate::launch::{array, busy_units, contiguous, elementwise, empty, vector_size};
use crate::store::Store;
use crate::sum::{cube_sum, tree_units};
use crate::with_store;

/// Elements at whose multiples the tensors of a buffer start.
pub const CHUNK: usize = 256;

/// Averages that [`adamw`] takes along in its pass.
const FUSED_AVERAGES: usize = 4;

/// The scalars of an AdamW update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Learning rate over 1 - beta1^k.
    pub step_size: f32,
    /// 1 - beta2^k.
    pub bias_correction2: f32,
    /// Learning rate; a parameter shrinks by this times its decay.
    pub learning_rate: f32,
    /// Multiplies the gradient first (clipping).
    pub gradient_scale: f32,
}

/// Master weights, which stay in `f32`, and the same rounded to bf16, if a network reads them so: whoever changes the weights writes both.
#[derive(Debug)]
pub struct Master<'a, R: CubeRuntime> {
    /// In `f32`.
    pub values: &'a CubeTensor<R>,
    /// As long, in bf16; see [`rounded`].
    pub rounded: Option<&'a CubeTensor<R>>,
}

/// What the [`CHUNK`] elements of each chunk have in common.
#[derive(Debug)]
pub struct ChunkRules<'a, R: CubeRuntime> {
    /// Their weight decay.
    pub decay: &'a CubeTensor<R>,
    /// 1 where the gradient holds steps that another rule has computed, to be taken times the learning rate and without moments; else 0.
    /// `None` where AdamW updates everything.
    pub given: Option<&'a CubeTensor<R>>,
}

/// The vectors of all buffers but those of chunks.
type FlatBuffer<N> = Array<Vector<f32, N>>;

#[cube]
fn lerped<N: Size>(value: Vector<f32, N>, target: Vector<f32, N>, weight: f32) -> Vector<f32, N> {
    value + Vector::new(weight) * (target - value)
}

#[cube]
fn follow<N: Size>(average: &mut ComptimeOption<FlatBuffer<N>>, target: Vector<f32, N>, weight: f32) {
    #[comptime]
    match average {
        ComptimeOption::Some(average) => average[ABSOLUTE_POS] = lerped::<N>(average[ABSOLUTE_POS], target, weight),
        ComptimeOption::None => {}
    }
}

#[cube]
fn round<N: Size>(rounded: &mut ComptimeOption<Array<Vector<u16, N>>>, value: Vector<f32, N>) {
    #[comptime]
    match rounded {
        ComptimeOption::Some(rounded) => rounded[ABSOLUTE_POS] = u16::narrow::<N>(value),
        ComptimeOption::None => {}
    }
}

/// `ours`, or `given` in a chunk whose mark is 1; marks are 0 elsewhere.
#[cube]
fn or_given<N: Size>(marks: &ComptimeOption<Array<f32>>, chunk: usize, ours: Vector<f32, N>, given: Vector<f32, N>) -> Vector<f32, N> {
    let mut chosen = ours;
    #[comptime]
    match marks {
        ComptimeOption::Some(marks) => {
            let mark = marks[chunk];
            chosen = Vector::new(mark) * given + Vector::new(1.0 - mark) * ours;
        }
        ComptimeOption::None => {}
    }
    chosen
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn adamw_kernel<N: Size>(
    p: &mut FlatBuffer<N>,
    rounded: &mut ComptimeOption<Array<Vector<u16, N>>>,
    m: &mut FlatBuffer<N>,
    v: &mut FlatBuffer<N>,
    g: &FlatBuffer<N>,
    decay: &Array<f32>,
    given: &ComptimeOption<Array<f32>>,
    average0: &mut ComptimeOption<FlatBuffer<N>>,
    average1: &mut ComptimeOption<FlatBuffer<N>>,
    average2: &mut ComptimeOption<FlatBuffer<N>>,
    average3: &mut ComptimeOption<FlatBuffer<N>>,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    step_size: f32,
    bias_correction2: f32,
    learning_rate: f32,
    gradient_scale: f32,
    weight0: f32,
    weight1: f32,
    weight2: f32,
    weight3: f32,
) {
    if ABSOLUTE_POS >= p.len() {
        terminate!();
    }
    let gradient = g[ABSOLUTE_POS] * Vector::new(gradient_scale);
    let first = Vector::new(beta1) * m[ABSOLUTE_POS] + Vector::new(1.0 - beta1) * gradient;
    let square = Vector::new(beta2) * v[ABSOLUTE_POS] + Vector::new(1.0 - beta2) * gradient * gradient;
    let chunk = ABSOLUTE_POS / (CHUNK / N::value());
    let keep = 1.0 - learning_rate * decay[chunk];
    let root = Vector::sqrt(square / Vector::new(bias_correction2)) + Vector::new(epsilon);
    let step = Vector::new(step_size) * first / root;
    let step = or_given::<N>(given, chunk, step, Vector::new(learning_rate) * g[ABSOLUTE_POS]);
    let param = Vector::new(keep) * p[ABSOLUTE_POS] - step;
    m[ABSOLUTE_POS] = or_given::<N>(given, chunk, first, m[ABSOLUTE_POS]);
    v[ABSOLUTE_POS] = or_given::<N>(given, chunk, square, v[ABSOLUTE_POS]);
    p[ABSOLUTE_POS] = param;
    round::<N>(rounded, param);
    follow::<N>(average0, param, weight0);
    follow::<N>(average1, param, weight1);
    follow::<N>(average2, param, weight2);
    follow::<N>(average3, param, weight3);
}

#[cube(launch_unchecked)]
fn lerp_kernel<N: Size>(
    values: &mut FlatBuffer<N>,
    rounded: &mut ComptimeOption<Array<Vector<u16, N>>>,
    target: &FlatBuffer<N>,
    weight: f32,
) {
    if ABSOLUTE_POS < values.len() {
        let value = lerped::<N>(values[ABSOLUTE_POS], target[ABSOLUTE_POS], weight);
        values[ABSOLUTE_POS] = value;
        round::<N>(rounded, value);
    }
}

#[cube(launch_unchecked)]
fn add_kernel<E: Store, N: Size>(into: &mut FlatBuffer<N>, other: &Array<Vector<E, N>>) {
    if ABSOLUTE_POS < into.len() {
        into[ABSOLUTE_POS] = into[ABSOLUTE_POS] + E::widen::<N>(other[ABSOLUTE_POS]);
    }
}

#[cube(launch_unchecked)]
fn zero_kernel<N: Size>(values: &mut FlatBuffer<N>) {
    if ABSOLUTE_POS < values.len() {
        values[ABSOLUTE_POS] = Vector::new(0.0);
    }
}

#[cube(launch_unchecked)]
fn round_kernel<N: Size>(values: &FlatBuffer<N>, rounded: &mut Array<Vector<u16, N>>) {
    if ABSOLUTE_POS < values.len() {
        rounded[ABSOLUTE_POS] = u16::narrow::<N>(values[ABSOLUTE_POS]);
    }
}

/// A sum for each cube: a unit adds every n-th vector, the cube its units in a fixed tree.
#[cube(launch_unchecked)]
fn square_sum_kernel<N: Size>(values: &FlatBuffer<N>, sums: &mut Array<f32>, #[comptime] units: u32) {
    let mut scratch = SharedMemory::<f32>::new(units as usize);
    let stride = CUBE_COUNT * units as usize;
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut at = CUBE_POS * units as usize + UNIT_POS as usize;
    while at < values.len() {
        let value = values[at];
        sum += value * value;
        at += stride;
    }
    let total = cube_sum(f32::cast_from(sum.vector_sum()), &mut scratch, units);
    if UNIT_POS == 0 {
        sums[CUBE_POS] = total;
    }
}

/// Elements of a buffer of `f32`.
fn length<R: CubeRuntime>(op: &'static str, name: &str, buffer: &CubeTensor<R>) -> Result<usize> {
    length_of(op, name, buffer, buffer.dtype == DType::F32, " of f32")
}

/// Elements of a buffer whose type `fits`; `wanted` says which does.
fn length_of<R: CubeRuntime>(op: &'static str, name: &str, buffer: &CubeTensor<R>, fits: bool, wanted: &str) -> Result<usize> {
    let shape = buffer.meta.shape();
    match *shape.as_slice() {
        [len] if fits && buffer.is_contiguous() && len <= i32::MAX as usize => Ok(len),
        [len] if fits && buffer.is_contiguous() => {
            Err(KernelError::unavailable(op, format!("{name} of {len} elements; kernels count to 2^31")))
        }
        _ => {
            let message = format!("{name} is {:?} of {:?}, not one contiguous axis{wanted}", shape.as_slice(), buffer.dtype);
            Err(KernelError::setup(op, message))
        }
    }
}

impl<R: CubeRuntime> Master<'_, R> {
    /// Checks that both are equally long; returns that length.
    fn length(&self, op: &'static str, name: &str) -> Result<usize> {
        let len = length(op, name, self.values)?;
        if self
            .rounded
            .is_none_or(|it| it.dtype == DType::BF16 && it.meta.shape().as_slice() == [len])
        {
            Ok(len)
        } else {
            Err(KernelError::setup(op, format!("{name}: {len} numbers, and not as many in bf16")))
        }
    }
}

/// Checks that buffers are as long as the first; returns that length.
fn lengths<R: CubeRuntime>(op: &'static str, buffers: &[(&str, &CubeTensor<R>)]) -> Result<usize> {
    let mut first = None;
    for (name, buffer) in buffers {
        let len = length(op, name, buffer)?;
        let want = *first.get_or_insert(len);
        if len != want {
            return Err(KernelError::setup(op, format!("{} and {name} differ: {want} and {len} elements", buffers[0].0)));
        }
    }
    Ok(first.unwrap_or(0))
}

/// Elements from `offset` on of a buffer in `f32` or bf16, as a tensor of `shape` that shares its memory.
///
/// # Errors
/// A part outside the buffer, or an offset at which the device cannot bind it; multiples of [`CHUNK`] always can be.
pub fn view<R: CubeRuntime>(buffer: &CubeTensor<R>, offset: usize, shape: &[usize]) -> Result<CubeTensor<R>> {
    part("part of a buffer", buffer, offset, shape)
}

fn part<R: CubeRuntime>(op: &'static str, buffer: &CubeTensor<R>, offset: usize, shape: &[usize]) -> Result<CubeTensor<R>> {
    let len = length_of(op, "the buffer", buffer, true, "")?;
    let count: usize = shape.iter().product();
    if offset.checked_add(count).is_none_or(|end| end > len) {
        return Err(KernelError::setup(op, format!("{count} elements from {offset} on, of a buffer of {len}")));
    }
    let size = buffer.dtype.size();
    let start = (offset * size) as u64;
    let alignment = buffer.client.properties().memory.alignment;
    if !start.is_multiple_of(alignment) {
        return Err(KernelError::setup(op, format!("element {offset} is not at a multiple of {alignment} bytes")));
    }
    let end = ((len - offset - count) * size) as u64;
    // A handle may be longer than its tensor.
    let handle = buffer.handle.clone().offset_start(start).offset_end(end);
    Ok(CubeTensor::new_contiguous(
        buffer.client.clone(),
        buffer.device.clone(),
        shape.to_vec().into(),
        handle,
        buffer.dtype,
    ))
}

/// One AdamW update of `params` with moments `m` and `v`, then `average += weight (params - average)` for each average and the weight
/// beside it, all in place and in one pass over up to four averages (docs/reference/method.md section 3.4). `rules` hold a number for each
/// [`CHUNK`] elements; the other buffers are equally long. Parameters in bf16 are written in the same pass.
///
/// # Errors
/// Buffers that do not fit together.
pub fn adamw<R: CubeRuntime>(
    params: &Master<'_, R>,
    m: &CubeTensor<R>,
    v: &CubeTensor<R>,
    gradient: &CubeTensor<R>,
    averages: &[(&CubeTensor<R>, f32)],
    settings: AdamW,
    rules: &ChunkRules<'_, R>,
) -> Result<()> {
    const OP: &str = "adamw";
    params.length(OP, "the parameters")?;
    let (rounded, params) = (params.rounded, params.values);
    let len = lengths(OP, &[("the parameters", params), ("m", m), ("v", v), ("the gradient", gradient)])?;
    for (average, _) in averages {
        lengths(OP, &[("the parameters", params), ("an average", average)])?;
    }
    let chunks = length(OP, "the decay", rules.decay)?;
    if let Some(given) = rules.given {
        lengths(OP, &[("the decay", rules.decay), ("the marks", given)])?;
    }
    if !len.is_multiple_of(CHUNK) || chunks != len / CHUNK {
        return Err(KernelError::setup(OP, format!("{len} parameters and the decay of {chunks} chunks of {CHUNK}")));
    }
    if len == 0 {
        return Ok(());
    }
    let client = &params.client;
    let size = vector_size(client, DType::F32, CHUNK);
    let (count, dim) = elementwise(OP, client, len / size)?;
    let (fused, others) = averages.split_at(averages.len().min(FUSED_AVERAGES));
    let average = |i: usize| fused.get(i).map(|(average, _)| array(average)).into();
    let weight = |i: usize| fused.get(i).map_or(0.0, |&(_, weight)| weight);
    // SAFETY: all buffers hold `len` numbers and those of the rules one for each chunk of them; units compare their position with the length.
    unsafe {
        adamw_kernel::launch_unchecked::<R>(
            client,
            count,
            dim,
            size,
            array(params),
            rounded.map(array).into(),
            array(m),
            array(v),
            array(gradient),
            array(rules.decay),
            rules.given.map(array).into(),
            average(0),
            average(1),
            average(2),
            average(3),
            settings.beta1,
            settings.beta2,
            settings.epsilon,
            settings.step_size,
            settings.bias_correction2,
            settings.learning_rate,
            settings.gradient_scale,
            weight(0),
            weight(1),
            weight(2),
            weight(3),
        );
    }
    others
        .iter()
        .try_for_each(|(average, weight)| lerp(&Master { values: average, rounded: None }, params, *weight))
}

/// `average += weight (params - average)`, in place, in `f32` and the average in bf16 with it.
///
/// # Errors
/// Buffers of different lengths.
pub fn lerp<R: CubeRuntime>(average: &Master<'_, R>, params: &CubeTensor<R>, weight: f32) -> Result<()> {
    const OP: &str = "moving average";
    average.length(OP, "the average")?;
    let (rounded, average) = (average.rounded, average.values);
    let len = lengths(OP, &[("the average", average), ("the parameters", params)])?;
    if len == 0 {
        return Ok(());
    }
    let client = &average.client;
    let size = vector_size(client, DType::F32, len);
    let (count, dim) = elementwise(OP, client, len / size)?;
    // SAFETY: both hold `len` numbers; units compare their position with the length.
    unsafe {
        lerp_kernel::launch_unchecked::<R>(client, count, dim, size, array(average), rounded.map(array).into(), array(params), weight)
    };
    Ok(())
}

/// `into += other` for buffers of one length.
///
/// # Errors
/// Buffers of different lengths.
pub fn add_all<R: CubeRuntime>(into: &CubeTensor<R>, other: &CubeTensor<R>) -> Result<()> {
    const OP: &str = "sum of buffers";
    lengths(OP, &[("the sum", into), ("the other buffer", other)])?;
    add_into(into, 0, other.clone())
}

/// Adds a tensor of any shape, in `f32` or bf16, to the elements of `buffer` from `offset` on, in `f32`.
///
/// # Errors
/// A part outside the buffer, or an offset at which the device cannot bind it; multiples of [`CHUNK`] always can be.
pub fn add_into<R: CubeRuntime>(buffer: &CubeTensor<R>, offset: usize, tensor: CubeTensor<R>) -> Result<()> {
    const OP: &str = "sum into a buffer";
    let tensor = contiguous(OP, tensor)?;
    let count = tensor.meta.num_elements();
    length(OP, "the buffer", buffer)?;
    let into = part(OP, buffer, offset, &[count])?;
    if count == 0 {
        return Ok(());
    }
    let client = &buffer.client;
    let size = vector_size(client, tensor.dtype, count);
    let (cubes, dim) = elementwise(OP, client, count / size)?;
    with_store!(OP, tensor.dtype, E => {
        // SAFETY: both hold `count` numbers; units compare their position with the length.
        unsafe { add_kernel::launch_unchecked::<E, R>(client, cubes, dim, size, array(&into), array(&tensor)) };
        Ok(())
    })
}

/// Sets a buffer to zero.
///
/// # Errors
/// Not a buffer.
pub fn zero<R: CubeRuntime>(buffer: &CubeTensor<R>) -> Result<()> {
    const OP: &str = "zero";
    let len = length(OP, "the buffer", buffer)?;
    if len == 0 {
        return Ok(());
    }
    let client = &buffer.client;
    let size = vector_size(client, DType::F32, len);
    let (count, dim) = elementwise(OP, client, len / size)?;
    // SAFETY: units compare their position with the length.
    unsafe { zero_kernel::launch_unchecked::<R>(client, count, dim, size, array(buffer)) };
    Ok(())
}

/// The numbers of a buffer in bf16, rounded to nearest with ties to even.
///
/// # Errors
/// Not a buffer.
pub fn rounded<R: CubeRuntime>(buffer: &CubeTensor<R>) -> Result<CubeTensor<R>> {
    const OP: &str = "buffer in bf16";
    let len = length(OP, "the buffer", buffer)?;
    let rounded = empty(buffer, &[len], DType::BF16);
    if len > 0 {
        let client = &buffer.client;
        let size = vector_size(client, DType::F32, len);
        let (count, dim) = elementwise(OP, client, len / size)?;
        // SAFETY: both hold `len` numbers; units compare their position with the length.
        unsafe { round_kernel::launch_unchecked::<R>(client, count, dim, size, array(buffer), array(&rounded)) };
    }
    Ok(rounded)
}

/// Units on a multiprocessor that sum squares.
const SUM_UNITS: usize = 2048;

/// Root of the sum of squares. Waits for the device and reads a number for each of its cubes, which are added here in `f64`, so the
/// result does not depend on which ends first. Not finite if a value is not, or its square is not in `f32`.
///
/// # Errors
/// Not a buffer, or a device that does not answer.
pub fn norm<R: CubeRuntime>(buffer: &CubeTensor<R>) -> Result<f64> {
    const OP: &str = "norm of a buffer";
    let len = length(OP, "the buffer", buffer)?;
    if len == 0 {
        return Ok(0.0);
    }
    let client = &buffer.client;
    let size = vector_size(client, DType::F32, len);
    let units = tree_units(client);
    let cubes = (len / size)
        .div_ceil(units as usize)
        .min(busy_units(client, SUM_UNITS).div_ceil(units as usize)) as u32;
    let sums = empty(buffer, &[cubes as usize], DType::F32);
    // SAFETY: units read below the length, and `sums` holds a number for each cube.
    unsafe {
        square_sum_kernel::launch_unchecked::<R>(
            client,
            CubeCount::Static(cubes, 1, 1),
            CubeDim::new_1d(units),
            size,
            array(buffer),
            array(&sums),
            units,
        );
    }
    let bytes = client
        .read_one(sums.handle)
        .map_err(|error| KernelError::unavailable(OP, format!("reading from the device: {error}")))?;
    Ok(f32::from_bytes(&bytes)
        .iter()
        .take(cubes as usize)
        .map(|&sum| f64::from(sum))
        .sum::<f64>()
        .sqrt())
}
