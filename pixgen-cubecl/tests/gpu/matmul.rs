//! Matrix products on a GPU against float64: all layouts, sizes around the tiles' and far below them.

use crate::common::{Report, TYPES, Tensor, random, upload};
use burn_backend::DType;
use burn_std::Metadata;
use pixgen_cubecl::matmul::batched;
use pixgen_cubecl::{KernelError, matmul};

/// A `[rows, columns]` tensor of row-major `values`.
fn plain(values: &[f64], [rows, columns]: [usize; 2], dtype: DType) -> Tensor {
    upload(values, &[rows, columns], dtype)
}

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

type Make = fn(&[f64], [usize; 2], DType) -> Tensor;

/// Every layout of an operand.
const LAYOUTS: ([Make; 3], [Make; 3]) = ([plain, transposed, with_gaps], [plain, transposed, scattered]);

/// Compares the product with these layouts of the operands.
fn check(report: &mut Report, size: [usize; 3], dtype: DType, results: &[DType], (left, right): (&[Make], &[Make])) {
    let [m, k, n] = size;
    let (lhs, rhs) = (random(m * k, 1, dtype), random(k * n, 2, dtype));
    let want = reference(&lhs, &rhs, size);
    for (l, make_left) in left.iter().enumerate() {
        for (r, make_right) in right.iter().enumerate() {
            for &out in results {
                let got = matmul(make_left(&lhs, [m, k], dtype), make_right(&rhs, [k, n], dtype), out).expect("shapes fit");
                report.check(&format!("matmul of {dtype:?}"), out, &got, &want, &format!("{size:?} layouts {l} {r}"));
            }
        }
    }
}

#[test]
fn products_of_every_layout() {
    let mut report = Report::default();
    let (every_left, every_right) = LAYOUTS;
    let all: (&[Make], &[Make]) = (&every_left, &every_right);
    // One number; less than a tile; just below, at and above the size of a tile; the tokens of an image.
    for size in [[1, 1, 1], [5, 7, 3], [127, 15, 126], [128, 16, 128], [129, 17, 132], [258, 48, 72]] {
        check(&mut report, size, DType::F32, &[DType::F32], all);
    }
    // More strips of cubes than one, whose number divides by the width of the strips or does not.
    for size in [[400, 12, 136], [520, 8, 132]] {
        check(&mut report, size, DType::F32, &[DType::F32], all);
    }
    for size in [[3, 5, 7], [64, 258, 24]] {
        check(&mut report, size, DType::F32, &[DType::BF16], all);
        check(&mut report, size, DType::BF16, &TYPES, all);
    }
    // Lines of 16 bytes, which the tensor memory accelerator takes: one tile, several with a rest, and sums that are cut.
    for size in [[64, 64, 64], [520, 72, 264], [72, 8192, 136], [256, 4128, 128]] {
        check(&mut report, size, DType::BF16, &TYPES, (&every_left[..2], &every_right[..2]));
    }
    report.end();
}

/// Pairs of matrices, the right ones as they lie and turned, as distances between features want them.
#[test]
fn products_of_pairs() {
    let mut report = Report::default();
    for [g, m, k, n] in [[1, 1, 1, 1], [3, 5, 7, 4], [16, 32, 48, 64], [2, 130, 33, 129]] {
        let (lhs, rhs) = (random(g * m * k, 1, DType::F32), random(g * k * n, 2, DType::F32));
        let pairs = lhs.chunks(m * k).zip(rhs.chunks(k * n));
        let want: Vec<f64> = pairs.flat_map(|(lhs, rhs)| reference(lhs, rhs, [m, k, n])).collect();
        let turned: Vec<f64> = rhs.chunks(k * n).flat_map(|rhs| (0..k * n).map(|at| rhs[at % k * n + at / k])).collect();
        let mut swapped = upload(&turned, &[g, n, k], DType::F32);
        swapped.meta.swap(1, 2);
        for rhs in [upload(&rhs, &[g, k, n], DType::F32), swapped] {
            let got = batched(upload(&lhs, &[g, m, k], DType::F32), rhs).expect("shapes fit");
            report.check("products of pairs", DType::F32, &got, &want, &format!("{g} pairs, {m} x {k} x {n}"));
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
