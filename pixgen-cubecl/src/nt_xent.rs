//! NT-Xent, the contrastive loss of stage 1 (docs/reference/method.md section 3.1), forward and backward.
//!
//! Queries and keys are normalised where they are used: `s_ij = q_i k_j / (|q_i| |k_j| tau)` is a product of tiles whose result is scaled
//! by reciprocal lengths, computed once. The forward makes 64 x 64 scores a cube and keeps of them the maximum and the sum of exponentials
//! of each row, 8 bytes a row and tile; a second launch merges the tiles in index order, so the map of scores is never in memory and no
//! result depends on which cube ends first.
//!
//! The backward recomputes the scores and does write one map, `V = (softmax - positives) dy / (Q tau)`, 4 bytes a score (64 MiB at
//! 4096 x 4096): both gradients are products with it, `V k` and `V^T q`, and rows of up to a thousand numbers are too wide for a cube
//! to hold sums for all of them while it recomputes. What is left of a product along the row itself then goes, as lengths do not count.
//! All sums are in `f32`, since scores over a small tau need more than bf16 holds.

use burn_backend::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::error::{KernelError, Result};
use crate::launch::{array, cube_count, elementwise, empty, matrix, operand, vector_size};
use crate::sum::{cube_sum, tree_units};
use crate::tiles::{OUT, SIDE, TILE, UNITS, load_across, load_along, multiply, operand_tile, run_tiles};

/// Below every score, and finite so that differences with it are numbers.
const LOWEST: f32 = -1e30;

/// Shortest square of a length that is divided by.
const SHORTEST: f32 = 1e-24;

/// Reciprocal length of each row, a cube for each.
#[cube(launch_unchecked)]
fn lengths_kernel<N: Size>(x: &Array<Vector<f32, N>>, reciprocal: &mut Array<f32>, width: u32, #[comptime] units: u32) {
    let mut scratch = SharedMemory::<f32>::new(units as usize);
    if CUBE_POS >= reciprocal.len() {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut at = UNIT_POS;
    while at < width {
        let value = x[CUBE_POS * width as usize + at as usize];
        sum += value * value;
        at += units;
    }
    let square = cube_sum(f32::cast_from(sum.vector_sum()), &mut scratch, units);
    if UNIT_POS == 0 {
        reciprocal[CUBE_POS] = 1.0 / max(square, SHORTEST).sqrt();
    }
}

/// A tile of products of queries and keys: [`OUT`] x [`OUT`] for each unit.
#[cube]
fn products<N: Size>(
    queries: &Array<Vector<f32, N>>,
    keys: &Array<Vector<f32, N>>,
    first_query: u32,
    query_count: u32,
    first_key: u32,
    key_count: u32,
    width: u32,
    #[comptime] size: usize,
) -> Array<f32> {
    let mut a = operand_tile();
    let mut b = operand_tile();
    let mut sums = Array::<f32>::new(comptime!(OUT * OUT));
    #[unroll]
    for i in 0..comptime!(OUT * OUT) {
        sums[i] = 0.0f32;
    }
    let mut depth = 0u32;
    while depth < width {
        load_along::<N>(queries, &mut a, first_query, query_count, depth, width, size);
        load_along::<N>(keys, &mut b, first_key, key_count, depth, width, size);
        sync_cube();
        multiply(&a, &b, &mut sums);
        sync_cube();
        depth += comptime!(crate::tiles::DEPTH as u32);
    }
    sums
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn scores_kernel<N: Size>(
    queries: &Array<Vector<f32, N>>,
    keys: &Array<Vector<f32, N>>,
    of_queries: &Array<f32>,
    of_keys: &Array<f32>,
    positives: &mut Array<f32>,
    peaks: &mut Array<f32>,
    totals: &mut Array<f32>,
    width: u32,
    first: u32,
    scale: f32,
    #[comptime] size: usize,
) {
    let pitch = comptime!(SIDE + 1);
    let mut scratch = SharedMemory::<f32>::new(comptime!(TILE * (SIDE + 1)));
    let query_count = of_queries.len() as u32;
    let key_count = of_keys.len() as u32;
    let tiles = key_count.div_ceil(TILE as u32);
    if CUBE_POS >= (query_count.div_ceil(TILE as u32) * tiles) as usize {
        terminate!();
    }
    let tile = CUBE_POS as u32 % tiles;
    let first_query = CUBE_POS as u32 / tiles * TILE as u32;
    let first_key = tile * TILE as u32;
    let mut scores = products::<N>(queries, keys, first_query, query_count, first_key, key_count, width, size);

    let row = UNIT_POS / SIDE as u32;
    let column = UNIT_POS % SIDE as u32;
    #[unroll]
    for i in 0..OUT {
        let query = first_query + row + comptime!((i * SIDE) as u32);
        let factor = of_queries[clamp_max(query, query_count - 1) as usize] * scale;
        let mut peak = LOWEST.runtime();
        #[unroll]
        for j in 0..OUT {
            let key = first_key + column + comptime!((j * SIDE) as u32);
            let of_key = of_keys[clamp_max(key, key_count - 1) as usize];
            let score = select(key < key_count, scores[comptime!(i * OUT + j)] * factor * of_key, LOWEST.runtime());
            scores[comptime!(i * OUT + j)] = score;
            peak = max(peak, score);
            if query < query_count && key == first + query {
                positives[query as usize] = score;
            }
        }
        scratch[(row as usize + comptime!(i * SIDE)) * pitch + column as usize] = peak;
    }
    sync_cube();
    let mut row_peaks = Array::<f32>::new(OUT);
    #[unroll]
    for i in 0..OUT {
        let mut peak = LOWEST.runtime();
        for other in 0..SIDE {
            peak = max(peak, scratch[(row as usize + comptime!(i * SIDE)) * pitch + other]);
        }
        row_peaks[i] = peak;
    }
    sync_cube();
    #[unroll]
    for i in 0..OUT {
        let mut total = 0.0f32;
        #[unroll]
        for j in 0..OUT {
            total += (scores[comptime!(i * OUT + j)] - row_peaks[i]).exp();
        }
        scratch[(row as usize + comptime!(i * SIDE)) * pitch + column as usize] = total;
    }
    sync_cube();
    #[unroll]
    for i in 0..OUT {
        let query = first_query + row + comptime!((i * SIDE) as u32);
        if column == 0 && query < query_count {
            let mut total = 0.0f32;
            for other in 0..SIDE {
                total += scratch[(row as usize + comptime!(i * SIDE)) * pitch + other];
            }
            let place = (tile * query_count + query) as usize;
            peaks[place] = row_peaks[i];
            totals[place] = total;
        }
    }
}

/// The log-sum-exp of each query over its tiles, and its loss.
#[cube(launch_unchecked)]
fn merge_kernel(
    peaks: &Array<f32>,
    totals: &Array<f32>,
    positives: &Array<f32>,
    lse: &mut Array<f32>,
    losses: &mut Array<f32>,
    tiles: u32,
) {
    let count = lse.len();
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let mut peak = LOWEST.runtime();
    for tile in 0..tiles {
        peak = max(peak, peaks[tile as usize * count + ABSOLUTE_POS]);
    }
    let mut total = 0.0f32;
    for tile in 0..tiles {
        let at = tile as usize * count + ABSOLUTE_POS;
        total += totals[at] * (peaks[at] - peak).exp();
    }
    let whole = peak + total.ln();
    lse[ABSOLUTE_POS] = whole;
    losses[ABSOLUTE_POS] = whole - positives[ABSOLUTE_POS];
}

#[cube(launch_unchecked)]
fn mean_kernel(losses: &Array<f32>, mean: &mut Array<f32>, #[comptime] units: u32) {
    let mut scratch = SharedMemory::<f32>::new(units as usize);
    let mut sum = 0.0f32;
    let mut at = UNIT_POS as usize;
    while at < losses.len() {
        sum += losses[at];
        at += units as usize;
    }
    let total = cube_sum(sum, &mut scratch, units);
    if UNIT_POS == 0 {
        mean[0] = total / losses.len() as f32;
    }
}

/// The gradient of the mean loss with respect to every score, over tau: `pitch` numbers a query, zero beyond the keys.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn slopes_kernel<N: Size>(
    queries: &Array<Vector<f32, N>>,
    keys: &Array<Vector<f32, N>>,
    of_queries: &Array<f32>,
    of_keys: &Array<f32>,
    lse: &Array<f32>,
    dy: &Array<f32>,
    slopes: &mut Array<f32>,
    width: u32,
    first: u32,
    scale: f32,
    share: f32,
    pitch: u32,
    #[comptime] size: usize,
) {
    let query_count = of_queries.len() as u32;
    let key_count = of_keys.len() as u32;
    let tiles = key_count.div_ceil(TILE as u32);
    if CUBE_POS >= (query_count.div_ceil(TILE as u32) * tiles) as usize {
        terminate!();
    }
    let first_query = CUBE_POS as u32 / tiles * TILE as u32;
    let first_key = CUBE_POS as u32 % tiles * TILE as u32;
    let scores = products::<N>(queries, keys, first_query, query_count, first_key, key_count, width, size);
    let factor = dy[0] * share;
    #[unroll]
    for i in 0..OUT {
        let query = first_query + UNIT_POS / SIDE as u32 + comptime!((i * SIDE) as u32);
        if query < query_count {
            let of_query = of_queries[query as usize] * scale;
            let whole = lse[query as usize];
            #[unroll]
            for j in 0..OUT {
                let key = first_key + UNIT_POS % SIDE as u32 + comptime!((j * SIDE) as u32);
                if key < pitch {
                    let of_key = of_keys[clamp_max(key, key_count - 1) as usize];
                    let weight = (scores[comptime!(i * OUT + j)] * of_query * of_key - whole).exp();
                    let positive = select(key == first + query, 1.0f32, 0.0f32);
                    let slope = select(key < key_count, (weight - positive) * factor, 0.0f32);
                    slopes[(query * pitch + key) as usize] = slope;
                }
            }
        }
    }
}

/// `V x` (`transposed` false) or `V^T x` for the unit rows of x, `[depth, width]`: `rows` of `width`.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn gradient_kernel<N: Size, M: Size>(
    slopes: &Array<Vector<f32, N>>,
    x: &Array<Vector<f32, M>>,
    of_x: &Array<f32>,
    out: &mut Array<f32>,
    rows: u32,
    width: u32,
    pitch: u32,
    #[comptime] transposed: bool,
) {
    let depth_count = of_x.len() as u32;
    let tiles = width.div_ceil(TILE as u32);
    if CUBE_POS >= (rows.div_ceil(TILE as u32) * tiles) as usize {
        terminate!();
    }
    let first_row = CUBE_POS as u32 / tiles * TILE as u32;
    let first_column = CUBE_POS as u32 % tiles * TILE as u32;
    let mut a = operand_tile();
    let mut b = operand_tile();
    let mut sums = Array::<f32>::new(comptime!(OUT * OUT));
    #[unroll]
    for i in 0..comptime!(OUT * OUT) {
        sums[i] = 0.0f32;
    }
    let mut depth = 0u32;
    while depth < depth_count {
        if comptime!(transposed) {
            load_across::<N>(slopes, of_x, &mut a, first_row, pitch, depth, depth_count, false);
        } else {
            load_along::<N>(slopes, &mut a, first_row, rows, depth, pitch, 4usize);
        }
        load_across::<M>(x, of_x, &mut b, first_column, width, depth, depth_count, true);
        sync_cube();
        multiply(&a, &b, &mut sums);
        sync_cube();
        depth += comptime!(crate::tiles::DEPTH as u32);
    }
    #[unroll]
    for i in 0..OUT {
        let row = first_row + UNIT_POS / SIDE as u32 + comptime!((i * SIDE) as u32);
        #[unroll]
        for j in 0..OUT {
            let column = first_column + UNIT_POS % SIDE as u32 + comptime!((j * SIDE) as u32);
            if row < rows && column < width {
                out[(row * width + column) as usize] = sums[comptime!(i * OUT + j)];
            }
        }
    }
}

/// Through the division by the length, in place: `(g - u (g u)) / |x|` with u the unit row of x.
#[cube(launch_unchecked)]
fn through_kernel<N: Size>(
    x: &Array<Vector<f32, N>>,
    reciprocal: &Array<f32>,
    g: &mut Array<Vector<f32, N>>,
    width: u32,
    #[comptime] units: u32,
) {
    let mut scratch = SharedMemory::<f32>::new(units as usize);
    if CUBE_POS >= reciprocal.len() {
        terminate!();
    }
    let start = CUBE_POS * width as usize;
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut at = UNIT_POS;
    while at < width {
        sum += g[start + at as usize] * x[start + at as usize];
        at += units;
    }
    let scale = reciprocal[CUBE_POS];
    let along = cube_sum(f32::cast_from(sum.vector_sum()), &mut scratch, units) * scale * scale;
    at = UNIT_POS;
    while at < width {
        let place = start + at as usize;
        g[place] = (g[place] - x[place] * Vector::new(along)) * Vector::new(scale);
        at += units;
    }
}

/// Operands that were checked.
struct NtXentProblem<R: CubeRuntime> {
    op: &'static str,
    queries: CubeTensor<R>,
    keys: CubeTensor<R>,
    of_queries: CubeTensor<R>,
    of_keys: CubeTensor<R>,
    count: usize,
    others: usize,
    width: usize,
    /// Numbers in a load of rows.
    size: usize,
}

impl<R: CubeRuntime> NtXentProblem<R> {
    fn new(op: &'static str, queries: CubeTensor<R>, keys: CubeTensor<R>, first: usize, tau: f64) -> Result<Self> {
        let (count, width) = matrix(op, "queries", &queries)?;
        let (others, _) = matrix(op, "keys", &keys)?;
        let queries = operand(op, "queries", queries, &[count, width], DType::F32)?;
        let keys = operand(op, "keys", keys, &[others, width], DType::F32)?;
        if first.checked_add(count).is_none_or(|end| end > others) {
            return Err(KernelError::setup(op, format!("{count} positives from {first} on, of {others} keys")));
        }
        if !(tau > 0.0 && tau.is_finite()) {
            return Err(KernelError::setup(op, format!("tau is {tau}, not a positive number")));
        }
        // Slopes, and indices that need no more than 32 bits.
        if count.checked_mul(others.next_multiple_of(4)).is_none_or(|all| all > i32::MAX as usize) {
            return Err(KernelError::unavailable(op, format!("{count} x {others} scores; kernels count to 2^31")));
        }
        run_tiles(op, &queries.client)?;
        let size = vector_size(&queries.client, DType::F32, width);
        let size = if size == 4 { 4 } else { 1 };
        let of_queries = lengths(op, &queries, size)?;
        let of_keys = lengths(op, &keys, size)?;
        Ok(Self { op, queries, keys, of_queries, of_keys, count, others, width, size })
    }

    /// Cubes for the tiles of a result of `rows` x `columns`.
    fn cubes(&self, rows: usize, columns: usize) -> Result<CubeCount> {
        cube_count(self.op, &self.queries.client, rows.div_ceil(TILE) * columns.div_ceil(TILE))
    }

    /// Gradient of queries or, transposed, of keys.
    fn gradient(&self, slopes: &CubeTensor<R>, pitch: usize, transposed: bool) -> Result<CubeTensor<R>> {
        let (x, of_x, other, of_other) = if transposed {
            (&self.keys, &self.of_keys, &self.queries, &self.of_queries)
        } else {
            (&self.queries, &self.of_queries, &self.keys, &self.of_keys)
        };
        let rows = if transposed { self.others } else { self.count };
        let client = &x.client;
        let g = empty(x, &[rows, self.width], DType::F32);
        let units = row_units(client);
        // SAFETY: slopes hold `count` rows of `pitch` numbers, g and x `rows` of `width`, `of_x` a number for each row; the kernels
        // compare rows, columns and depths with their counts.
        unsafe {
            gradient_kernel::launch_unchecked::<R>(
                client,
                self.cubes(rows, self.width)?,
                CubeDim::new_1d(UNITS),
                if transposed { 1 } else { 4 },
                1,
                array(slopes),
                array(other),
                array(of_other),
                array(&g),
                rows as u32,
                self.width as u32,
                pitch as u32,
                transposed,
            );
            through_kernel::launch_unchecked::<R>(
                client,
                cube_count(self.op, client, rows)?,
                CubeDim::new_1d(units),
                self.size,
                array(x),
                array(of_x),
                array(&g),
                (self.width / self.size) as u32,
                units,
            );
        }
        Ok(g)
    }
}

/// Units that share a row: rows have hundreds of numbers.
fn row_units<R: CubeRuntime>(client: &ComputeClient<R>) -> u32 {
    tree_units(client).min(64)
}

/// Reciprocal lengths of the rows of a matrix.
fn lengths<R: CubeRuntime>(op: &'static str, x: &CubeTensor<R>, size: usize) -> Result<CubeTensor<R>> {
    let (rows, width) = matrix(op, "rows", x)?;
    let reciprocal = empty(x, &[rows], DType::F32);
    let units = row_units(&x.client);
    // SAFETY: x holds `rows` rows of `width` numbers; cubes compare their position with the rows.
    unsafe {
        lengths_kernel::launch_unchecked::<R>(
            &x.client,
            cube_count(op, &x.client, rows)?,
            CubeDim::new_1d(units),
            size,
            array(x),
            array(&reciprocal),
            (width / size) as u32,
            units,
        );
    }
    Ok(reciprocal)
}

/// NT-Xent of queries `[Q, D]` against keys `[K, D]` in `f32`, not yet normalised; the positive of query i is key `first + i`. Returns the
/// mean loss `[1]` and the log-sum-exp of each query's scores `[Q]`.
///
/// # Errors
/// Operands that do not fit together, or more than the device can launch.
pub fn nt_xent<R: CubeRuntime>(
    queries: CubeTensor<R>,
    keys: CubeTensor<R>,
    first: usize,
    tau: f64,
) -> Result<(CubeTensor<R>, CubeTensor<R>)> {
    const OP: &str = "nt-xent";
    let problem = NtXentProblem::new(OP, queries, keys, first, tau)?;
    let NtXentProblem { queries, keys, of_queries, of_keys, count, others, width, size, .. } = &problem;
    let client = &queries.client;
    let tiles = others.div_ceil(TILE);
    let [peaks, totals] = [0, 1].map(|_| empty(queries, &[tiles, *count], DType::F32));
    let [positives, lse, losses] = [0, 1, 2].map(|_| empty(queries, &[*count], DType::F32));
    let mean = empty(queries, &[1], DType::F32);
    let (merge_cubes, merge_dim) = elementwise(OP, client, *count)?;
    let units = tree_units(client);
    // SAFETY: matrices hold `count` and `others` rows of `width` numbers, vectors a number for each row, peaks and totals one for each
    // query and tile; kernels compare rows and columns with their counts.
    unsafe {
        scores_kernel::launch_unchecked::<R>(
            client,
            problem.cubes(*count, *others)?,
            CubeDim::new_1d(UNITS),
            *size,
            array(queries),
            array(keys),
            array(of_queries),
            array(of_keys),
            array(&positives),
            array(&peaks),
            array(&totals),
            *width as u32,
            first as u32,
            (1.0 / tau) as f32,
            *size,
        );
        merge_kernel::launch_unchecked::<R>(
            client,
            merge_cubes,
            merge_dim,
            array(&peaks),
            array(&totals),
            array(&positives),
            array(&lse),
            array(&losses),
            tiles as u32,
        );
        mean_kernel::launch_unchecked::<R>(client, CubeCount::Static(1, 1, 1), CubeDim::new_1d(units), array(&losses), array(&mean), units);
    }
    Ok((mean, lse))
}

/// Gradients of queries and keys of [`nt_xent`]; `lse` from there, `dy` `[1]`.
///
/// # Errors
/// As [`nt_xent`].
pub fn nt_xent_backward<R: CubeRuntime>(
    queries: CubeTensor<R>,
    keys: CubeTensor<R>,
    lse: CubeTensor<R>,
    first: usize,
    tau: f64,
    dy: CubeTensor<R>,
    wanted: [bool; 2],
) -> Result<[Option<CubeTensor<R>>; 2]> {
    const OP: &str = "nt-xent backward";
    let problem = NtXentProblem::new(OP, queries, keys, first, tau)?;
    let NtXentProblem { queries, keys, of_queries, of_keys, count, others, width, size, .. } = &problem;
    let lse = operand(OP, "lse", lse, &[*count], DType::F32)?;
    let dy = operand(OP, "dy", dy, &[1], DType::F32)?;
    if wanted == [false; 2] {
        return Ok([None, None]);
    }
    // Whole vectors.
    let pitch = others.next_multiple_of(4);
    let slopes = empty(queries, &[*count, pitch], DType::F32);
    // SAFETY: matrices hold `count` and `others` rows of `width` numbers, vectors a number for each row, slopes `count` rows of `pitch`;
    // the kernel compares rows and columns with their counts.
    unsafe {
        slopes_kernel::launch_unchecked::<R>(
            &queries.client,
            problem.cubes(*count, *others)?,
            CubeDim::new_1d(UNITS),
            *size,
            array(queries),
            array(keys),
            array(of_queries),
            array(of_keys),
            array(&lse),
            array(&dy),
            array(&slopes),
            *width as u32,
            first as u32,
            (1.0 / tau) as f32,
            (1.0 / (*count as f64 * tau)) as f32,
            pitch as u32,
            *size,
        );
    }
    let gradient = |wanted: bool, transposed| wanted.then(|| problem.gradient(&slopes, pitch, transposed)).transpose();
    Ok([gradient(wanted[0], false)?, gradient(wanted[1], true)?])
}
