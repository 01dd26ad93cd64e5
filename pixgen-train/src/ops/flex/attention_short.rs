//! Attention over few tokens: one (image, head) at a time in registers and a scratch that stays in the first cache.
//!
//! Scores are kept transposed, keys down and queries across, so that the softmax over keys runs lane by lane without
//! horizontal sums. Products are small tiles over packed operands whose rows are padded to [`LANES`].

use super::heads::{HeadLayout, K, Q, V};
use super::lanes::{LANES, exp, ln, vectorised};

/// The most tokens that this form is made for (those of 32 x 32 pixels in patches of 4, and some more); longer sequences pay off as matrix products.
pub const MOST_TOKENS: usize = 96;

/// Rows of a tile.
const ROWS: usize = 6;

/// A matrix `[rows, columns]` in rows of `stride` elements, padded so that whole lanes can be read.
#[derive(Debug)]
struct Panel {
    data: Vec<f32>,
    stride: usize,
}

impl Panel {
    fn new(rows: usize, columns: usize) -> Self {
        let stride = columns.next_multiple_of(LANES);
        Self { data: vec![0.0; rows * stride], stride }
    }

    fn rows(&self) -> Rows<'_> {
        Rows { data: &self.data, stride: self.stride }
    }
}

/// Rows that start `stride` elements apart.
#[derive(Debug, Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

/// Where a product goes: rows of `columns` elements that start `stride` apart.
#[derive(Debug)]
struct Output<'a> {
    data: &'a mut [f32],
    stride: usize,
    columns: usize,
}

impl Output<'_> {
    #[inline(always)]
    fn store(&mut self, row: usize, column: usize, values: &[f32; LANES]) {
        let length = LANES.min(self.columns.saturating_sub(column));
        let place = &mut self.data[row * self.stride + column..];
        match place.first_chunk_mut::<LANES>() {
            Some(place) if length == LANES => *place = *values,
            _ => place[..length].copy_from_slice(&values[..length]),
        }
    }
}

/// `R` rows and `V` lanes of columns of `a b`; a is read transposed if `TRANSPOSED`.
#[inline(always)]
fn tile<const R: usize, const V: usize, const TRANSPOSED: bool>(
    a: Rows<'_>,
    row: usize,
    depth: usize,
    b: Rows<'_>,
    column: usize,
) -> [[[f32; LANES]; V]; R] {
    let (start, step_k, step_r) = if TRANSPOSED {
        (row, a.stride, 1)
    } else {
        (row * a.stride, 1, a.stride)
    };
    assert!(start + depth.saturating_sub(1) * step_k + (R - 1) * step_r < a.data.len(), "a tile reaches beyond its matrix");
    let mut sums = [[[0.0f32; LANES]; V]; R];
    for k in 0..depth {
        let right = &b.data[k * b.stride + column..][..V * LANES];
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < depth and r < R, so the index is at most the one asserted above. (A check here would keep the compiler
            // from spreading the element over a register while it loads it, which doubles the time.)
            let left = unsafe { *a.data.get_unchecked(start + k * step_k + r * step_r) };
            for (v, sums) in sums.iter_mut().enumerate() {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    *sum = left.mul_add(right[v * LANES + lane], *sum);
                }
            }
        }
    }
    sums
}

/// Rows `row..row + R` of `output = a b`, with a as in [`product`].
#[inline(always)]
fn strip<const R: usize, const TRANSPOSED: bool>(a: Rows<'_>, depth: usize, b: Rows<'_>, row: usize, output: &mut Output<'_>) {
    let mut column = 0;
    while column + LANES < output.columns {
        let sums = tile::<R, 2, TRANSPOSED>(a, row, depth, b, column);
        for (r, [left, right]) in sums.iter().enumerate() {
            output.store(row + r, column, left);
            output.store(row + r, column + LANES, right);
        }
        column += 2 * LANES;
    }
    if column < output.columns {
        let sums = tile::<R, 1, TRANSPOSED>(a, row, depth, b, column);
        for (r, [sums]) in sums.iter().enumerate() {
            output.store(row + r, column, sums);
        }
    }
}

/// `output = a b` with a `[rows, depth]` (or its transpose, if `TRANSPOSED`) and b `[depth, columns]`, both padded.
#[inline(always)]
fn product<const TRANSPOSED: bool>(a: Rows<'_>, rows: usize, depth: usize, b: Rows<'_>, mut output: Output<'_>) {
    let mut row = 0;
    while row + ROWS <= rows {
        strip::<ROWS, TRANSPOSED>(a, depth, b, row, &mut output);
        row += ROWS;
    }
    while row < rows {
        strip::<1, TRANSPOSED>(a, depth, b, row, &mut output);
        row += 1;
    }
}

/// Scratch memory of one thread.
#[derive(Debug)]
pub struct AttentionScratch {
    /// Softmax weights, `[keys, queries]`.
    weights: Panel,
    /// Their gradient.
    gradient: Panel,
    /// One part of one head, `[tokens, head]`.
    packed: Panel,
    /// One part of one head, `[head, tokens]`.
    across: Panel,
}

impl AttentionScratch {
    /// Scratch memory for sequences of these sizes.
    pub fn new(sizes: HeadLayout) -> Self {
        let HeadLayout { tokens, width, heads } = sizes;
        let head = width / heads;
        Self {
            weights: Panel::new(tokens, tokens),
            gradient: Panel::new(tokens, tokens),
            packed: Panel::new(tokens, head),
            across: Panel::new(head, tokens),
        }
    }
}

/// Copies columns `start..start + head` of `rows` into padded rows.
#[inline(always)]
fn pack(rows: &[f32], stride: usize, start: usize, head: usize, into: &mut Panel) {
    for (row, place) in rows.chunks_exact(stride).zip(into.data.chunks_exact_mut(into.stride)) {
        let (chunks, rest) = row[start..start + head].as_chunks::<LANES>();
        let (places, _) = place.as_chunks_mut::<LANES>();
        for (place, chunk) in places.iter_mut().zip(chunks) {
            *place = *chunk;
        }
        if let Some(place) = places.get_mut(chunks.len()) {
            place[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// Copies columns `start..start + head` of `rows`, times `factor`, into the columns of a padded matrix, in blocks of 4 x 4.
#[inline(always)]
fn pack_across(rows: &[f32], stride: usize, start: usize, head: usize, factor: f32, into: &mut Panel) {
    let padded = into.stride;
    let groups = rows.chunks_exact(4 * stride);
    let (rest, whole) = (groups.remainder(), rows.len() / (4 * stride) * 4);
    for (group, group_rows) in groups.enumerate() {
        for i in (0..head / 4 * 4).step_by(4) {
            let mut rows = [[0.0; 4]; 4];
            for (token, row) in rows.iter_mut().enumerate() {
                row.copy_from_slice(&group_rows[token * stride + start + i..][..4]);
            }
            let [a, b, c, d] = rows;
            for (j, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
                let column = [factor * a, factor * b, factor * c, factor * d];
                into.data[(i + j) * padded + 4 * group..][..4].copy_from_slice(&column);
            }
        }
        for i in head / 4 * 4..head {
            for r in 0..4 {
                into.data[i * padded + 4 * group + r] = factor * group_rows[r * stride + start + i];
            }
        }
    }
    for (token, row) in rest.chunks_exact(stride).enumerate() {
        for (place, x) in into.data.chunks_exact_mut(padded).zip(&row[start..start + head]) {
            place[whole + token] = factor * x;
        }
    }
}

/// `scale k q^T` of a head into `scratch.weights`.
#[inline(always)]
fn scores(qkv: &[f32], sizes: HeadLayout, head: usize, scratch: &mut AttentionScratch) {
    let (tokens, stride) = (sizes.tokens, 3 * sizes.width);
    pack_across(qkv, stride, sizes.start(Q, head), sizes.head(), sizes.scale(), &mut scratch.across);
    let keys = Rows { data: &qkv[sizes.start(K, head)..], stride };
    let padded = scratch.weights.stride;
    let output = Output { data: &mut scratch.weights.data, stride: padded, columns: padded };
    product::<false>(keys, tokens, sizes.head(), scratch.across.rows(), output);
}

vectorised! {
    /// `softmax(scale q k^T) v` of every head of one image, and the log-sum-exp.
    pub fn forward(qkv: &[f32], sizes: HeadLayout, scratch: &mut AttentionScratch, y: &mut [f32], lse: &mut [f32]) {
        let HeadLayout { tokens, width, heads } = sizes;
        for head in 0..heads {
            scores(qkv, sizes, head, scratch);
            let stride = scratch.weights.stride;
            let lse = &mut lse[head * tokens..][..tokens];
            for column in (0..stride).step_by(LANES) {
                let mut top = [f32::NEG_INFINITY; LANES];
                for row in scratch.weights.data.chunks_exact(stride) {
                    let row = &row[column..column + LANES];
                    for lane in 0..LANES {
                        top[lane] = if row[lane] > top[lane] { row[lane] } else { top[lane] };
                    }
                }
                let mut total = [0.0; LANES];
                for row in scratch.weights.data.chunks_exact_mut(stride) {
                    let row = &mut row[column..column + LANES];
                    for lane in 0..LANES {
                        row[lane] = exp(row[lane] - top[lane]);
                    }
                    // A loop of its own: a short body keeps the sums in a register.
                    for lane in 0..LANES {
                        total[lane] += row[lane];
                    }
                }
                let mut factor = [0.0; LANES];
                for lane in 0..LANES {
                    factor[lane] = 1.0 / total[lane];
                }
                for row in scratch.weights.data.chunks_exact_mut(stride) {
                    let row = &mut row[column..column + LANES];
                    for lane in 0..LANES {
                        row[lane] *= factor[lane];
                    }
                }
                for lane in 0..LANES {
                    top[lane] += ln(total[lane]);
                }
                let present = LANES.min(tokens.saturating_sub(column));
                lse[column..][..present].copy_from_slice(&top[..present]);
            }
            pack(qkv, 3 * width, sizes.start(V, head), sizes.head(), &mut scratch.packed);
            let output = Output { data: &mut y[head * sizes.head()..], stride: width, columns: sizes.head() };
            product::<true>(scratch.weights.rows(), tokens, tokens, scratch.packed.rows(), output);
        }
    }
}

vectorised! {
    /// Gradient of one image's projection for the gradient `dy` of [`forward`]'s output.
    pub fn backward(qkv: &[f32], lse: &[f32], dy: &[f32], sizes: HeadLayout, scratch: &mut AttentionScratch, dqkv: &mut [f32]) {
        let HeadLayout { tokens, width, heads } = sizes;
        let (head_width, stride) = (sizes.head(), 3 * width);
        for head in 0..heads {
            let [q_at, k_at, v_at] = [0, 1, 2].map(|part| sizes.start(part, head));
            let lse = &lse[head * tokens..][..tokens];
            scores(qkv, sizes, head, scratch);
            let padded = scratch.weights.stride;
            // Gradient of the weights, then of the scores.
            pack_across(dy, width, head * head_width, head_width, 1.0, &mut scratch.across);
            let values = Rows { data: &qkv[v_at..], stride };
            let output = Output { data: &mut scratch.gradient.data, stride: padded, columns: padded };
            product::<false>(values, tokens, head_width, scratch.across.rows(), output);
            for column in (0..padded).step_by(LANES) {
                let mut shift = [0.0; LANES];
                let present = LANES.min(tokens.saturating_sub(column));
                shift[..present].copy_from_slice(&lse[column..][..present]);
                let mut along = [0.0f32; LANES];
                let rows = scratch.weights.data.chunks_exact_mut(padded);
                for (p, dp) in rows.zip(scratch.gradient.data.chunks_exact(padded)) {
                    let (p, dp) = (&mut p[column..column + LANES], &dp[column..column + LANES]);
                    for lane in 0..LANES {
                        p[lane] = exp(p[lane] - shift[lane]);
                    }
                    for lane in 0..LANES {
                        along[lane] = p[lane].mul_add(dp[lane], along[lane]);
                    }
                }
                let rows = scratch.weights.data.chunks_exact(padded);
                let scale = sizes.scale();
                for (p, dp) in rows.zip(scratch.gradient.data.chunks_exact_mut(padded)) {
                    let (p, dp) = (&p[column..column + LANES], &mut dp[column..column + LANES]);
                    for lane in 0..LANES {
                        dp[lane] = scale * p[lane] * (dp[lane] - along[lane]);
                    }
                }
            }
            pack(dy, width, head * head_width, head_width, &mut scratch.packed);
            let output = Output { data: &mut dqkv[v_at..], stride, columns: head_width };
            product::<false>(scratch.weights.rows(), tokens, tokens, scratch.packed.rows(), output);
            pack(qkv, stride, k_at, head_width, &mut scratch.packed);
            let output = Output { data: &mut dqkv[q_at..], stride, columns: head_width };
            product::<true>(scratch.gradient.rows(), tokens, tokens, scratch.packed.rows(), output);
            pack(qkv, stride, q_at, head_width, &mut scratch.packed);
            let output = Output { data: &mut dqkv[k_at..], stride, columns: head_width };
            product::<false>(scratch.gradient.rows(), tokens, tokens, scratch.packed.rows(), output);
        }
    }
}
