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

/// Value by value, where `b` may be a row or a column of `a`'s rows of `width`, or `a` one of `b`'s.
pub fn pairs(a: &[f32], b: &[f32], width: usize, f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let len = a.len().max(b.len());
    let at = |of: &[f32], i: usize| match of.len() {
        whole if whole == len => of[i],
        row if row == width => of[i % width],
        _ => of[i / width % of.len()],
    };
    (0..len).map(|i| f(at(a, i), at(b, i))).collect()
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
