//! Sums down the columns of a matrix: gradients of biases, positions and gates, and the second stage of every reduction over rows.
//!
//! A cube takes a block of columns and a strip of rows; its units form a table of column lanes, next to each other in memory, and row
//! lanes that take every n-th row. Row lanes are added through shared memory in index order, strips by further launches (a
//! second one, and a third where rows are very narrow), so a sum does not depend on which cube ends first. Neither uses atomics.
//!
//! One pass can also write what it sums (gradient through a GELU) or, while summing `x other`, `x gate` (a gated branch).

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::error::Result;
use crate::gelu::slope;
use crate::launch::{array, busy_units, contiguous, cube_count, cube_units, empty, matrix, stored, vector_size};
use crate::rows::CHUNKS;
use crate::store::Store;
use crate::with_store;

/// How a cube lies on columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ColumnTable {
    /// Vectors in a row.
    vectors: usize,
    /// Column lanes.
    columns: u32,
    /// Row lanes.
    rows: u32,
    /// Chunk of the gate in `m`.
    gate: usize,
    /// `x` is multiplied by the slope of the GELU at `other + b`, instead of by `other`.
    gelu: bool,
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn sum_columns<E: Store, N: Size>(
    x: &Array<Vector<E, N>>,
    other: &ComptimeOption<Array<Vector<E, N>>>,
    b: &ComptimeOption<Array<Vector<f32, N>>>,
    m: &ComptimeOption<Array<Vector<E, N>>>,
    written: &mut ComptimeOption<Array<Vector<E, N>>>,
    sums: &mut Array<Vector<f32, N>>,
    rows: u32,
    strips: u32,
    height: u32,
    cubes: u32,
    #[comptime] table: ColumnTable,
) {
    let mut scratch = SharedMemory::<Vector<f32, N>>::new((table.columns * table.rows) as usize);
    if CUBE_POS >= cubes as usize {
        terminate!();
    }
    let blocks = comptime!(table.vectors.div_ceil(table.columns as usize) as u32);
    let cube = CUBE_POS as u32;
    let strip = cube / blocks % strips;
    let group = cube / blocks / strips;
    let column = (cube % blocks * table.columns + UNIT_POS % table.columns) as usize;
    let lane = UNIT_POS / table.columns;
    let end = clamp_max(strip * height + height, rows);
    let mut sum = Vector::<f32, N>::new(0.0);
    if column < table.vectors {
        let mut gate = Vector::<f32, N>::new(0.0);
        #[comptime]
        match m {
            ComptimeOption::Some(m) => {
                gate = E::widen::<N>(m[(group as usize * CHUNKS + table.gate) * table.vectors + column]);
            }
            ComptimeOption::None => {}
        }
        let mut bias = Vector::<f32, N>::new(0.0);
        #[comptime]
        match b {
            ComptimeOption::Some(b) => {
                bias = b[column];
            }
            ComptimeOption::None => {}
        }
        let mut row = strip * height + lane;
        while row < end {
            let at = (group * rows + row) as usize * table.vectors + column;
            let value = E::widen::<N>(x[at]);
            let mut term = value;
            #[comptime]
            match other {
                ComptimeOption::Some(other) => {
                    let other = E::widen::<N>(other[at]);
                    term = value * if comptime!(table.gelu) { slope::<N>(other + bias) } else { other };
                }
                ComptimeOption::None => {}
            }
            sum += term;
            #[comptime]
            match written {
                ComptimeOption::Some(written) => {
                    let out = if comptime!(table.gate < CHUNKS) { value * gate } else { term };
                    written[at] = E::narrow::<N>(out);
                }
                ComptimeOption::None => {}
            }
            row += table.rows;
        }
    }
    if comptime!(table.rows > 1) {
        scratch[UNIT_POS as usize] = sum;
        sync_cube();
        if lane == 0 {
            #[unroll]
            for other_lane in 1..table.rows {
                sum += scratch[(UNIT_POS + other_lane * table.columns) as usize];
            }
        }
    }
    if lane == 0 && column < table.vectors {
        sums[(group * strips + strip) as usize * table.vectors + column] = sum;
    }
}

/// Units on a multiprocessor.
const UNITS: usize = 1024;

/// Row lanes of a cube where columns alone cannot keep the device busy.
const ROW_LANES: usize = 32;

/// What a pass over `[groups, rows, width]` computes beside the sums.
#[allow(clippy::large_enum_variant)] // lives for one call
pub(crate) enum ColumnPass<R: CubeRuntime> {
    /// Nothing: the sum of x.
    Sum,
    /// Gelu(z, b): writes `x GELU'(z + b)`, b a row in `f32`, and sums that.
    Gelu(CubeTensor<R>, CubeTensor<R>),
    /// Gated(other, m, chunk): writes `x gate` with the group's gate in a chunk of m, and sums `x other`.
    Gated(CubeTensor<R>, CubeTensor<R>, usize),
    /// Sums `x other`.
    Along(CubeTensor<R>),
}

/// Column sums `[groups, width]` in `f32` of x, `groups * rows` rows of `width`, and what the pass writes. Operands are contiguous and of
/// one type.
pub(crate) fn launch<R: CubeRuntime>(
    op: &'static str,
    x: CubeTensor<R>,
    pass: ColumnPass<R>,
    [groups, rows, width]: [usize; 3],
) -> Result<(CubeTensor<R>, Option<CubeTensor<R>>)> {
    let client = x.client.clone();
    let size = vector_size(&client, x.dtype, width);
    let vectors = width / size;
    let units = cube_units(&client) as usize;
    let busy = busy_units(&client, UNITS);
    let lanes = if groups * vectors >= busy {
        1
    } else {
        rows.next_power_of_two().min(ROW_LANES).min(units)
    };
    let strips = (busy / (groups * vectors * lanes)).clamp(1, rows.div_ceil(4 * lanes));
    let height = rows.div_ceil(strips);
    let strips = rows.div_ceil(height);
    let (other, b, m, gate, writes) = match pass {
        ColumnPass::Sum => (None, None, None, CHUNKS, false),
        ColumnPass::Gelu(z, b) => (Some(z), Some(b), None, CHUNKS, true),
        ColumnPass::Gated(other, m, gate) => (Some(other), None, Some(m), gate, true),
        ColumnPass::Along(other) => (Some(other), None, None, CHUNKS, false),
    };
    let columns = (units / lanes).min(vectors.next_power_of_two());
    let table = ColumnTable { vectors, columns: columns as u32, rows: lanes as u32, gate, gelu: b.is_some() };
    let cubes = groups * strips * vectors.div_ceil(columns);
    let written = writes.then(|| empty(&x, x.meta.shape().as_slice(), x.dtype));
    let sums = empty(&x, &[groups, strips, width], DType::F32);
    let count = cube_count(op, &client, cubes)?;
    with_store!(op, x.dtype, E => {
        // SAFETY: x, other and written hold `groups * rows` rows of `width`, b a row, m six chunks for each group, sums a row for each strip of
        // each group; the kernel compares strips, rows and vectors with their counts.
        unsafe {
            sum_columns::launch_unchecked::<E, R>(
                &client,
                count,
                CubeDim::new_1d(table.columns * table.rows),
                size,
                array(&x),
                other.as_ref().map(array).into(),
                b.as_ref().map(array).into(),
                m.as_ref().map(array).into(),
                written.as_ref().map(array).into(),
                array(&sums),
                rows as u32,
                strips as u32,
                height as u32,
                cubes as u32,
                table,
            );
        }
        Ok(())
    })?;
    let sums = if strips > 1 {
        launch(op, sums, ColumnPass::Sum, [groups, strips, width])?.0
    } else {
        sums
    };
    Ok((
        CubeTensor::new_contiguous(client, sums.device.clone(), [groups, width].into(), sums.handle, DType::F32),
        written,
    ))
}

/// Sum over all axes but the last: x `[.., D]` in `f32` or bf16; returns `[D]` in `f32`. The gradient of a bias.
///
/// # Errors
/// An empty tensor, or elements of another type.
pub fn column_sum<R: CubeRuntime>(x: CubeTensor<R>) -> Result<CubeTensor<R>> {
    const OP: &str = "column sum";
    stored(OP, "x", &x)?;
    let (rows, width) = matrix(OP, "x", &x)?;
    let (sums, _) = launch(OP, contiguous(OP, x)?, ColumnPass::Sum, [1, rows, width])?;
    Ok(vector(sums))
}

/// `[1, D]` as `[D]`.
pub(crate) fn vector<R: CubeRuntime>(sums: CubeTensor<R>) -> CubeTensor<R> {
    let width = sums.meta.num_elements();
    CubeTensor::new_contiguous(sums.client, sums.device, [width].into(), sums.handle, sums.dtype)
}

/// The two rows of `[2, D]`.
pub(crate) fn halves<R: CubeRuntime>(both: CubeTensor<R>) -> [CubeTensor<R>; 2] {
    let width = both.meta.shape()[1];
    [0, 1].map(|row| burn_cubecl::kernel::slice(both.clone(), &[row..row + 1, 0..width]))
}
