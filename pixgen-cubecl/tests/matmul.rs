//! Matrix products on a Vulkan device against float64: all layouts, sizes around the tiles' and far below them.
#![cfg(feature = "vulkan")]

mod common;

use burn_backend::DType;
use burn_std::Metadata;
use common::{Report, TYPES, Tensor, random, upload};
use pixgen_cubecl::{KernelError, matmul};

/// A `[rows, columns]` tensor of row-major `values` that lies in memory transposed.
fn transposed(values: &[f64], [rows, columns]: [usize; 2], dtype: DType) -> Tensor {
    let turned: Vec<f64> = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect();
    let mut tensor = upload(&turned, &[columns, rows], dtype);
    *tensor.meta = Metadata::new([rows, columns], [1, rows]);
    tensor
}

/// A `[rows, columns]` tensor of row-major `values` with a gap after each line of memory.
fn with_gaps(values: &[f64], [rows, columns]: [usize; 2], dtype: DType) -> Tensor {
    let line = columns + 5;
    let wide: Vec<f64> = values.chunks(columns).flat_map(|row| row.iter().copied().chain([9e9; 5])).collect();
    let mut tensor = upload(&wide, &[rows, line], dtype);
    *tensor.meta = Metadata::new([rows, columns], [line, 1]);
    tensor
}

/// A `[rows, columns]` tensor of row-major `values`, neither axis of which is contiguous: each number is followed by another.
fn scattered(values: &[f64], [rows, columns]: [usize; 2], dtype: DType) -> Tensor {
    let wide: Vec<f64> = values.iter().flat_map(|value| [*value, 9e9]).collect();
    let mut tensor = upload(&wide, &[rows, 2 * columns], dtype);
    *tensor.meta = Metadata::new([rows, columns], [2 * columns, 2]);
    tensor
}

fn reference(lhs: &[f64], rhs: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for (row, lhs) in out.chunks_mut(n).zip(lhs.chunks(k)) {
        for (factor, rhs) in lhs.iter().zip(rhs.chunks(n)) {
            row.iter_mut().zip(rhs).for_each(|(sum, value)| *sum += factor * value);
        }
    }
    out
}

#[test]
fn products_of_every_layout() {
    let mut report = Report::default();
    for (case, size) in [
        [1, 1, 1],
        [1, 7, 3],
        [5, 64, 2],
        [128, 16, 128],
        [129, 17, 130],
        [127, 15, 126],
        [258, 48, 72],
        [64, 258, 24],
        [24, 100, 192],
        // More strips than one, and a number of cubes that is and is not a multiple of the strips' width.
        [520, 8, 260],
        [400, 12, 33],
    ]
    .into_iter()
    .enumerate()
    {
        let [m, k, n] = size;
        for dtype in TYPES {
            let lhs = random(m * k, 2 * case as u64, dtype);
            let rhs = random(k * n, 2 * case as u64 + 1, dtype);
            let want = reference(&lhs, &rhs, size);
            let left = [
                upload(&lhs, &[m, k], dtype),
                transposed(&lhs, [m, k], dtype),
                with_gaps(&lhs, [m, k], dtype),
            ];
            let right = [
                upload(&rhs, &[k, n], dtype),
                transposed(&rhs, [k, n], dtype),
                scattered(&rhs, [k, n], dtype),
            ];
            for (l, left) in left.iter().enumerate() {
                for (r, right) in right.iter().enumerate() {
                    for out in TYPES {
                        let got = matmul(left.clone(), right.clone(), out).unwrap();
                        report.check(&format!("matmul of {dtype:?}"), out, &got, &want, &format!("{size:?} layouts {l} {r}"));
                    }
                }
            }
        }
    }
    report.end();
}

#[test]
fn operands_that_do_not_fit_are_a_mistake_of_the_caller() {
    let make = |shape: &[usize], dtype| upload(&vec![0.0; shape.iter().product()], shape, dtype);
    let wrong = |lhs: Tensor, rhs: Tensor, out| match matmul(lhs, rhs, out) {
        Err(KernelError::Setup { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let f32 = DType::F32;
    assert_eq!(wrong(make(&[2, 3], f32), make(&[4, 5], f32), f32), "[2, 3] x [4, 5]");
    assert!(wrong(make(&[2, 3, 4], f32), make(&[4, 5], f32), f32).contains("not a matrix"));
    assert!(wrong(make(&[2, 3], f32), make(&[3, 5], DType::BF16), f32).contains("BF16"));
    assert!(wrong(make(&[2, 3], f32), make(&[3, 5], f32), DType::F64).contains("F64"));
}
