//! What a graph of integers draws, computed while it is made: each operator also works out its result for some pictures, rounded to the
//! steps of its tensor. Kernels round once or twice more on the way, so their pictures are close to these, not the same.

use super::scales::Number;
use crate::matmul::{Into, Matrix, MatrixMut, Threads, matmul};
use rayon::prelude::*;
use std::sync::Arc;

/// Steps of the table from which kernels of int16 read a root; between them they draw lines.
const ROOT_STEPS: f64 = 128.0;

/// The values of a tensor for each picture, or once for all of them; none where nothing is drawn.
#[derive(Clone, Debug, Default)]
pub struct Values(Arc<Vec<Vec<f32>>>);

impl Values {
    /// Of each picture, or of all.
    pub fn new(pictures: Vec<Vec<f32>>) -> Self {
        Self(Arc::new(pictures))
    }

    /// Of picture `number`.
    pub fn picture(&self, number: usize) -> &[f32] {
        self.0.get(number % self.0.len().max(1)).map_or(&[], Vec::as_slice)
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `compute` makes of the values of some tensors, picture by picture, in the steps of `out`.
    pub fn of<const N: usize>(inputs: [&Self; N], out: Number, compute: impl Fn([&[f32]; N]) -> Vec<f32> + Sync) -> Self {
        let pictures = inputs.iter().map(|input| input.0.len()).max().unwrap_or_default();
        if inputs.iter().any(|input| input.is_empty()) {
            return Self::default();
        }
        let one = |number: usize| {
            let mut values = compute(inputs.map(|input| input.picture(number)));
            values.iter_mut().for_each(|value| *value = out.nearest(*value));
            values
        };
        Self::new((0..pictures).into_par_iter().map(one).collect())
    }

    /// Tensors one after another along a dimension from which on they have these lengths.
    pub fn concat(parts: &[&Self], lens: &[usize]) -> Self {
        let pictures = parts.iter().map(|part| part.0.len()).max().unwrap_or_default();
        if parts.iter().any(|part| part.is_empty()) {
            return Self::default();
        }
        let one = |number: usize| -> Vec<f32> {
            let parts = || parts.iter().map(|part| part.picture(number)).zip(lens);
            let count = parts().next().map_or(0, |(values, len)| values.len() / len);
            (0..count)
                .flat_map(|i| parts().flat_map(move |(values, len)| &values[i * len..(i + 1) * len]))
                .copied()
                .collect()
        };
        Self::new((0..pictures).map(one).collect())
    }
}

/// x W^T + b by rows, with one row of `weights` for each of the biases.
pub fn linear(x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
    let (outputs, inputs) = (bias.len(), weights.len() / bias.len().max(1));
    let mut out = bias.repeat(x.len() / inputs.max(1));
    let rows = out.len() / outputs.max(1);
    let weights = Matrix::new(weights, outputs, inputs).transposed();
    matmul(
        MatrixMut::new(&mut out, rows, outputs),
        Into::Accumulate,
        1.0,
        Matrix::new(x, rows, inputs),
        weights,
        Threads::Caller,
    );
    out
}

/// a b of each matrix, or a b^T: `rows` x `inner` by `inner` x `columns`.
pub fn matrices(a: &[f32], b: &[f32], [rows, inner, columns]: [usize; 3], transposed: bool) -> Vec<f32> {
    let mut out = vec![0.0; a.len() / inner.max(1) * columns];
    let parts = a.chunks_exact(rows * inner).zip(b.chunks_exact(inner * columns));
    for (out, (a, b)) in out.chunks_exact_mut(rows * columns).zip(parts) {
        let b = if transposed {
            Matrix::new(b, columns, inner).transposed()
        } else {
            Matrix::new(b, inner, columns)
        };
        matmul(MatrixMut::new(out, rows, columns), Into::Overwrite, 1.0, Matrix::new(a, rows, inner), b, Threads::Caller);
    }
    out
}

/// Value by value. The operands end in dimensions of these `widths`, and either may be a row or a column of the other: a column is as wide
/// as one value. Its length tells nothing, because there may be as many rows as a row has values.
pub fn pairs([a, b]: [&[f32]; 2], widths: [usize; 2], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let (len, width) = (a.len().max(b.len()), widths[0].max(widths[1]).max(1));
    let at = |of: &[f32], own: usize, i: usize| if own < width { of[i / width % of.len()] } else { of[i % of.len()] };
    (0..len).map(|i| f(at(a, widths[0], i), at(b, widths[1], i))).collect()
}

/// softmax of rows.
pub fn softmax(x: &[f32], width: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = row.iter().map(|x| (x - most).exp()).collect();
        let sum: f32 = weights.iter().sum();
        weights.into_iter().map(move |weight| weight / sum)
    };
    x.chunks_exact(width.max(1)).flat_map(row).collect()
}

/// 1 / sqrt(x) as a table of int16 has it.
pub fn root(x: f32, step: f64, most: f64) -> f32 {
    let exact = |x: f64| if x > 0.0 { (1.0 / x.sqrt()).min(most) } else { most };
    let cell = ROOT_STEPS * step;
    let below = (f64::from(x) / cell).floor();
    let (low, high) = (exact(below * cell), exact((below + 1.0) * cell));
    (low + (high - low) * (f64::from(x) / cell - below)) as f32
}

/// Dimensions in another order.
pub fn transposed(x: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
    let mut places = vec![0];
    for &axis in order {
        places = places
            .iter()
            .flat_map(|place| (0..shape[axis]).map(move |i| (place, i)))
            .map(|(place, i)| place + i * strides[axis])
            .collect();
    }
    places.into_iter().map(|place| x[place]).collect()
}

/// `from..to` of a dimension that has `inner` values below each of its indices.
pub fn slice(x: &[f32], len: usize, inner: usize, from: usize, to: usize) -> Vec<f32> {
    x.chunks_exact((len * inner).max(1))
        .flat_map(|part| &part[from * inner..to * inner])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many rows as a row has values: only the widths tell a row from a column.
    #[test]
    fn a_square_has_rows_and_columns() {
        let (square, line) = ([10.0, 20.0, 30.0, 40.0], [1.0, 2.0]);
        let sum = |widths: [usize; 2]| pairs([&square, &line], widths, |a, b| a + b);
        assert_eq!(sum([2, 2]), [11.0, 22.0, 31.0, 42.0]);
        assert_eq!(sum([2, 1]), [11.0, 21.0, 32.0, 42.0]);
        assert_eq!(pairs([&line, &square], [1, 2], |a, b| a - b), [-9.0, -19.0, -28.0, -38.0]);
        // A value of each of two matrices, and one of all.
        let two = [square, square].concat();
        assert_eq!(pairs([&two, &[1.0, 2.0, 3.0, 4.0]], [2, 1], |_, b| b), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(pairs([&square, &[1.0]], [2, 1], |a, b| a + b), [11.0, 21.0, 31.0, 41.0]);
    }
}
