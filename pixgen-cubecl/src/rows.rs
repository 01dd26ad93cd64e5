//! Layer norm of rows, with or without AdaLN modulation, forward and backward: the kernels of [`crate::norm`] and [`crate::modulate`]
//! (docs/reference/method.md sections 2.1 and 2.3).
//!
//! A group of whole planes holds a row in registers, so memory is read once: the forward moves `2 D` elements a row. Mean and centred
//! variance are summed from the registers, in the order of the definition, by plane reductions; groups of several planes add theirs
//! through shared memory in index order.
//!
//! The backward recomputes the statistics. With `n` the normalised row, `f = gamma (1 + scale)` and `g = dy f`,
//! `dx = (g - mean(g) - n mean(g n)) / sigma`. Each group walks down a strip of the rows of one image with its columns' `f` and the
//! running sums `A = sum dy` and `C = sum dy n` in registers, which it writes once per strip: `3 D` elements a row and `8 D` bytes a
//! strip. All gradients but dx are functions of A and C per image: `dshift = A`, `dscale = gamma C + beta A`,
//! `dgamma = sum (1 + scale) C`, `dbeta = sum (1 + scale) A`.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use pixgen_core::config::NORM_EPSILON;
use pixgen_core::ops::Branch;

use crate::error::Result;
use crate::launch::{array, busy_units, cube_count, cube_units, empty, vector_size};
use crate::store::Store;
use crate::with_store;

/// How a row lies on units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RowLayout {
    /// Numbers in a row.
    width: usize,
    /// Vectors in a row.
    vectors: usize,
    /// Units of a row: whole planes.
    group: u32,
    /// Rows at a time in a cube.
    groups: u32,
    /// Units of a plane, 0 where the device decides when it compiles.
    plane: u32,
}

impl RowLayout {
    /// A row of `width` numbers in vectors of `size`, about `held` numbers in a unit where the device allows it; rows share a cube of
    /// `cube` units.
    fn new<R: CubeRuntime>(client: &ComputeClient<R>, width: usize, size: usize, held: usize, cube: u32) -> Self {
        let (vectors, held) = (width / size, held / size);
        let hardware = &client.properties().hardware;
        let plane = hardware.plane_size_max;
        let limit = (hardware.max_units_per_cube / plane).max(1);
        // Not three planes: ptxas allots the backward pass 56 registers there, and spills two of them.
        let planes = |held: usize| match vectors.div_ceil(plane as usize * held) as u32 {
            3 => 4,
            planes => planes,
        };
        // The fullest rows; of equals the fewest planes.
        let idle = |&held: &usize| (planes(held) * plane) as usize * held - vectors;
        let held = (1..=held.max(1)).rev().min_by_key(idle).unwrap_or(1);
        let group = planes(held).clamp(1, limit) * plane;
        let known = hardware.plane_size_min == plane;
        Self { width, vectors, group, groups: (cube / group).max(1), plane: if known { plane } else { 0 } }
    }

    /// 1 / width: from a sum over the row to its mean.
    fn share(&self) -> f32 {
        1.0 / self.width as f32
    }

    /// Vectors that a unit holds.
    fn held(&self) -> usize {
        self.vectors.div_ceil(self.group as usize)
    }

    /// Whether the last of them is missing in some units.
    fn ragged(&self) -> bool {
        !self.vectors.is_multiple_of(self.group as usize)
    }

    /// Whether a row is one plane.
    fn alone(&self) -> bool {
        self.group == self.plane
    }

    /// Units of a cube.
    fn units(&self) -> u32 {
        self.group * self.groups
    }
}

/// Where shift and scale lie in a row of `m`: chunks of the row's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunks {
    /// Index of the chunk of shifts.
    pub shift: usize,
    /// Index of the chunk of scales.
    pub scale: usize,
}

/// Chunks of a modulation vector (docs/reference/method.md section 2.3).
pub const CHUNKS: usize = Branch::Mlp.gate() + 1;

/// Sum over the units of a group, in every one of them.
#[cube]
fn group_sum(value: f32, scratch: &mut SharedMemory<f32>, #[comptime] layout: RowLayout) -> f32 {
    let sum = plane_sum(value);
    if comptime!(layout.alone()) {
        sum
    } else {
        let plane_dim = if comptime!(layout.plane > 0) {
            layout.plane.runtime()
        } else {
            PLANE_DIM
        };
        // What is still being read of the last sum.
        sync_cube();
        if UNIT_POS_PLANE == 0 {
            scratch[(UNIT_POS / plane_dim) as usize] = sum;
        }
        sync_cube();
        let planes = layout.group / plane_dim;
        let first = UNIT_POS / layout.group * planes;
        let mut total = 0.0f32;
        for plane in 0..planes {
            total += scratch[(first + plane) as usize];
        }
        total
    }
}

/// Centres and scales a row in registers; returns the factor of the scaling.
#[cube]
fn normalise_row<N: Size>(
    row: &mut Array<Vector<f32, N>>,
    lane: usize,
    epsilon: f32,
    scratch: &mut SharedMemory<f32>,
    #[comptime] layout: RowLayout,
) -> f32 {
    let held = comptime!(layout.held());
    let share = comptime!(layout.share());
    let mut sum = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..held {
        sum += row[i];
    }
    let mean = group_sum(f32::cast_from(sum.vector_sum()), scratch, layout) * share;
    let mut squares = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..held {
        let inside = comptime!(i + 1 < held || !layout.ragged());
        if inside || layout.vectors > lane + i * layout.group as usize {
            row[i] = row[i] - Vector::new(mean);
        }
        squares += row[i] * row[i];
    }
    let variance = group_sum(f32::cast_from(squares.vector_sum()), scratch, layout) * share;
    let scale = (variance + epsilon).inverse_sqrt();
    #[unroll]
    for i in 0..held {
        row[i] = row[i] * Vector::new(scale);
    }
    scale
}

/// Loads a row into registers, zeros beyond its end.
#[cube]
fn load<E: Store, N: Size>(
    from: &Array<Vector<E, N>>,
    to: &mut Array<Vector<f32, N>>,
    start: usize,
    lane: usize,
    valid: bool,
    #[comptime] layout: RowLayout,
) {
    let held = comptime!(layout.held());
    #[unroll]
    for i in 0..held {
        let at = lane + i * layout.group as usize;
        let inside = comptime!(i + 1 < held || !layout.ragged());
        if valid && (inside || at < layout.vectors) {
            to[i] = E::widen::<N>(from[start + at]);
        } else {
            to[i] = Vector::new(0.0);
        }
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn forward<E: Store, N: Size>(
    x: &Array<Vector<E, N>>,
    gamma: &Array<Vector<f32, N>>,
    beta: &Array<Vector<f32, N>>,
    m: &ComptimeOption<Array<Vector<E, N>>>,
    y: &mut Array<Vector<E, N>>,
    rows: u32,
    image: u32,
    epsilon: f32,
    #[comptime] layout: RowLayout,
    #[comptime] chunks: Chunks,
) {
    let mut scratch = SharedMemory::<f32>::new(layout.units() as usize);
    let lane = (UNIT_POS % layout.group) as usize;
    let row = CUBE_POS * layout.groups as usize + (UNIT_POS / layout.group) as usize;
    let valid = row < rows as usize;
    let start = row * layout.vectors;
    let held = comptime!(layout.held());
    let mut values = Array::<Vector<f32, N>>::new(held);
    load::<E, N>(x, &mut values, start, lane, valid, layout);
    normalise_row::<N>(&mut values, lane, epsilon, &mut scratch, layout);
    let chunk = row / image as usize * comptime!(CHUNKS * layout.vectors);
    #[unroll]
    for i in 0..held {
        let at = lane + i * layout.group as usize;
        let inside = comptime!(i + 1 < held || !layout.ragged());
        if valid && (inside || at < layout.vectors) {
            let mut value = values[i] * gamma[at] + beta[at];
            #[comptime]
            match m {
                ComptimeOption::Some(m) => {
                    let scale = E::widen::<N>(m[chunk + chunks.scale * layout.vectors + at]);
                    let shift = E::widen::<N>(m[chunk + chunks.shift * layout.vectors + at]);
                    value = value * (Vector::new(1.0) + scale) + shift;
                }
                ComptimeOption::None => {}
            }
            y[start + at] = E::narrow::<N>(value);
        }
    }
}

/// Strips of rows: a strip lies in one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowStrips {
    /// Images.
    pub images: usize,
    /// Rows of an image.
    pub rows: usize,
    /// Rows of a strip; the last of an image has fewer.
    pub height: usize,
    /// Strips of an image.
    pub count: usize,
}

impl RowStrips {
    /// About `target` strips over all images.
    pub fn new(images: usize, rows: usize, target: usize) -> Self {
        let count = (target / images).clamp(1, rows);
        let height = rows.div_ceil(count);
        Self { images, rows, height, count: rows.div_ceil(height) }
    }
}

// One function of a hundred lines: what it would pass to parts of itself are the five arrays of registers that hold a row and its sums.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn backward<E: Store, N: Size>(
    x: &Array<Vector<E, N>>,
    gamma: &Array<Vector<f32, N>>,
    m: &ComptimeOption<Array<Vector<E, N>>>,
    dy: &Array<Vector<E, N>>,
    dx: &mut ComptimeOption<Array<Vector<E, N>>>,
    columns: &mut ComptimeOption<Array<Vector<f32, N>>>,
    images: u32,
    image_rows: u32,
    strips: u32,
    height: u32,
    epsilon: f32,
    #[comptime] layout: RowLayout,
    #[comptime] chunks: Chunks,
) {
    let mut scratch = SharedMemory::<f32>::new(layout.units() as usize);
    let mut scratch_along = SharedMemory::<f32>::new(layout.units() as usize);
    let lane = UNIT_POS as usize;
    let strip = CUBE_POS as u32;
    if strip >= images * strips {
        terminate!();
    }
    let image = strip / strips;
    let first = image * image_rows + strip % strips * height;
    let end = clamp_max(first + height, (image + 1) * image_rows);
    let held = comptime!(layout.held());
    let share = comptime!(layout.share());
    let mut factor = Array::<Vector<f32, N>>::new(held);
    let mut sum = Array::<Vector<f32, N>>::new(held);
    let mut along = Array::<Vector<f32, N>>::new(held);
    let mut n = Array::<Vector<f32, N>>::new(held);
    let mut g = Array::<Vector<f32, N>>::new(held);
    let chunk = image as usize * comptime!(CHUNKS * layout.vectors);
    #[unroll]
    for i in 0..held {
        sum[i] = Vector::new(0.0);
        along[i] = Vector::new(0.0);
        factor[i] = Vector::new(0.0);
        let at = lane + i * layout.group as usize;
        let inside = comptime!(i + 1 < held || !layout.ragged());
        if inside || at < layout.vectors {
            factor[i] = gamma[at];
            #[comptime]
            match m {
                ComptimeOption::Some(m) => {
                    factor[i] = factor[i] * (Vector::new(1.0) + E::widen::<N>(m[chunk + chunks.scale * layout.vectors + at]));
                }
                ComptimeOption::None => {}
            }
        }
    }
    for row in first..end {
        let start = row as usize * layout.vectors;
        load::<E, N>(x, &mut n, start, lane, true, layout);
        load::<E, N>(dy, &mut g, start, lane, true, layout);
        let scale = normalise_row::<N>(&mut n, lane, epsilon, &mut scratch, layout);
        let mut of_g = Vector::<f32, N>::new(0.0);
        let mut of_gn = Vector::<f32, N>::new(0.0);
        #[unroll]
        for i in 0..held {
            sum[i] += g[i];
            along[i] += g[i] * n[i];
            g[i] = g[i] * factor[i];
            of_g += g[i];
            of_gn += g[i] * n[i];
        }
        #[comptime]
        match dx {
            ComptimeOption::Some(dx) => {
                let mean = group_sum(f32::cast_from(of_g.vector_sum()), &mut scratch, layout) * share;
                let mean_along = group_sum(f32::cast_from(of_gn.vector_sum()), &mut scratch_along, layout) * share;
                #[unroll]
                for i in 0..held {
                    let at = lane + i * layout.group as usize;
                    let inside = comptime!(i + 1 < held || !layout.ragged());
                    if inside || at < layout.vectors {
                        let value = (g[i] - Vector::new(mean) - n[i] * Vector::new(mean_along)) * Vector::new(scale);
                        dx[start + at] = E::narrow::<N>(value);
                    }
                }
            }
            ComptimeOption::None => {}
        }
    }
    #[comptime]
    match columns {
        ComptimeOption::Some(columns) => {
            let place = strip as usize * layout.vectors;
            let half = (images * strips) as usize * layout.vectors;
            #[unroll]
            for i in 0..held {
                let at = lane + i * layout.group as usize;
                let inside = comptime!(i + 1 < held || !layout.ragged());
                if inside || at < layout.vectors {
                    columns[place + at] = sum[i];
                    columns[half + place + at] = along[i];
                }
            }
        }
        ComptimeOption::None => {}
    }
}

/// Numbers of a row in a unit's registers, forward; with 24 ptxas spills two registers for sm_80 at width 768.
const HELD_FORWARD: usize = 16;

/// Numbers of a row in a unit's registers, backward, where each has five companions.
const HELD_BACKWARD: usize = 8;

/// Units of a cube, forward: several narrow rows share a cube.
const FORWARD_UNITS: u32 = 128;

/// Units on a multiprocessor, backward: each strip costs a row of partial sums.
const BACKWARD_UNITS: usize = 512;

/// `LN(x)` or `LN(x) (1 + scale) + shift`: x is `images * image` rows of `width`, contiguous, as are all operands.
pub(crate) fn launch_forward<R: CubeRuntime>(
    op: &'static str,
    x: CubeTensor<R>,
    gamma: CubeTensor<R>,
    beta: CubeTensor<R>,
    m: Option<(CubeTensor<R>, Chunks)>,
    [images, image, width]: [usize; 3],
) -> Result<CubeTensor<R>> {
    let client = x.client.clone();
    let size = vector_size(&client, x.dtype, width);
    let layout = RowLayout::new(&client, width, size, HELD_FORWARD, FORWARD_UNITS.min(cube_units(&client)));
    let y = empty(&x, x.meta.shape().as_slice(), x.dtype);
    let rows = images * image;
    let cubes = cube_count(op, &client, rows.div_ceil(layout.groups as usize))?;
    let chunks = m.as_ref().map_or(Chunks { shift: 0, scale: 0 }, |(_, chunks)| *chunks);
    with_store!(op, x.dtype, E => {
        // SAFETY: x and y hold `rows * width` numbers, gamma and beta `width`, m a row of six chunks for each image; the kernel compares
        // rows and vectors with their counts.
        unsafe {
            forward::launch_unchecked::<E, R>(
                &client,
                cubes,
                CubeDim::new_1d(layout.units()),
                size,
                array(&x),
                array(&gamma),
                array(&beta),
                m.map(|(m, _)| array(&m)).into(),
                array(&y),
                rows as u32,
                image as u32,
                NORM_EPSILON,
                layout,
                chunks,
            );
        }
        Ok(())
    })?;
    Ok(y)
}

/// Gradient of the input, and the column sums A and C of each strip, `[2, images * strips.count, width]`.
pub(crate) struct Gradients<R: CubeRuntime> {
    pub dx: Option<CubeTensor<R>>,
    pub columns: Option<CubeTensor<R>>,
    pub strips: RowStrips,
}

/// The backward pass of [`launch_forward`].
#[allow(clippy::too_many_arguments)]
pub(crate) fn launch_backward<R: CubeRuntime>(
    op: &'static str,
    x: CubeTensor<R>,
    gamma: CubeTensor<R>,
    m: Option<(CubeTensor<R>, Chunks)>,
    dy: CubeTensor<R>,
    [images, image, width]: [usize; 3],
    want_dx: bool,
    want_columns: bool,
) -> Result<Gradients<R>> {
    let client = x.client.clone();
    let size = vector_size(&client, x.dtype, width);
    let layout = RowLayout::new(&client, width, size, HELD_BACKWARD, 0);
    let strips = RowStrips::new(images, image, busy_units(&client, BACKWARD_UNITS).div_ceil(layout.group as usize));
    let dx = want_dx.then(|| empty(&x, x.meta.shape().as_slice(), x.dtype));
    let columns = want_columns.then(|| empty(&x, &[2, images * strips.count, width], DType::F32));
    if want_dx || want_columns {
        let cubes = cube_count(op, &client, images * strips.count)?;
        let chunks = m.as_ref().map_or(Chunks { shift: 0, scale: 0 }, |(_, chunks)| *chunks);
        with_store!(op, x.dtype, E => {
            // SAFETY: as in `launch_forward`; strips end with their image, and `columns` holds two rows for each strip.
            unsafe {
                backward::launch_unchecked::<E, R>(
                    &client,
                    cubes,
                    CubeDim::new_1d(layout.units()),
                    size,
                    array(&x),
                    array(&gamma),
                    m.map(|(m, _)| array(&m)).into(),
                    array(&dy),
                    dx.as_ref().map(array).into(),
                    columns.as_ref().map(array).into(),
                    images as u32,
                    image as u32,
                    strips.count as u32,
                    strips.height as u32,
                    NORM_EPSILON,
                    layout,
                    chunks,
                );
            }
            Ok(())
        })?;
    }
    Ok(Gradients { dx, columns, strips })
}
