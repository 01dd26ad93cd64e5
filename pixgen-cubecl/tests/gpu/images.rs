//! Blends and the consistency loss on a GPU against float64 references.

use crate::common::{Report, Tensor, download, random, upload};
use burn_backend::DType;
use pixgen_cubecl::images::{consistency_loss, weighted_sum, weighted_sum_backward};

const SHAPES: [[usize; 3]; 7] = [
    [1, 4, 12],
    [3, 16, 48],
    [2, 5, 7],
    [5, 1, 1],
    [2, 256, 192],
    [1, 700, 31],
    [64, 16, 12],
];

fn up(values: &[f64], shape: &[usize]) -> Tensor {
    upload(values, shape, DType::F32)
}

#[test]
fn blends() {
    let mut report = Report::default();
    for shape in SHAPES {
        let (count, all) = (shape[0], shape.iter().product::<usize>());
        let (x, y) = (random(all, 1, DType::F32), random(all, 2, DType::F32));
        let (a, b) = (random(count, 3, DType::F32), random(count, 4, DType::F32));
        let image = |i: usize| i / (all / count);
        let case = format!("{shape:?}");
        let want: Vec<f64> = (0..all).map(|i| a[image(i)] * x[i] + b[image(i)] * y[i]).collect();
        let got = weighted_sum(up(&x, &shape), up(&y, &shape), up(&a, &[count]), up(&b, &[count])).expect("operands fit");
        assert_eq!(got.meta.shape().as_slice(), shape);
        report.check("weighted sum", DType::F32, &got, &want, &case);
        let backward = |wanted| weighted_sum_backward(up(&a, &[count]), up(&b, &[count]), up(&y, &shape), wanted).expect("operands fit");
        let [dx, dy] = backward([true, true]).map(|g| g.expect("wanted"));
        let scaled = |factors: &[f64]| (0..all).map(|i| factors[image(i)] * y[i]).collect::<Vec<_>>();
        report.check("weighted sum dx", DType::F32, &dx, &scaled(&a), &case);
        report.check("weighted sum dy", DType::F32, &dy, &scaled(&b), &case);
        assert_eq!(backward([false, true]).map(|g| g.is_some()), [false, true]);
    }
    report.end();
}

#[test]
fn consistency_losses() {
    let mut report = Report::default();
    for (shape, huber) in SHAPES.into_iter().zip([0.03, 0.5, 0.01, 0.1, 0.06, 0.03, 2.0]) {
        let (count, all) = (shape[0], shape.iter().product::<usize>());
        let [f, x, target] = [1, 2, 3].map(|seed| random(all, seed, DType::F32));
        let [skip, out, weight] = [4, 5, 6].map(|seed| random(count, seed, DType::F32));
        let len = all / count;
        let (mut losses, mut slope) = (vec![0.0; count], vec![0.0; all]);
        for i in 0..count {
            let range = i * len..(i + 1) * len;
            let d: Vec<f64> = range.clone().map(|j| skip[i] * x[j] + out[i] * f[j] - target[j]).collect();
            let u: f64 = d.iter().map(|d| d * d).sum();
            let scale = weight[i] / (u + huber * huber).sqrt();
            losses[i] = scale * u;
            slope[range].iter_mut().zip(&d).for_each(|(s, d)| *s = 2.0 * scale * out[i] * d);
        }
        let run = || {
            let factors = [&skip, &out, &weight].map(|factor| up(factor, &[count]));
            let [skip, out, weight] = factors;
            consistency_loss(up(&f, &shape), up(&x, &shape), up(&target, &shape), skip, out, weight, huber).expect("operands fit")
        };
        let (got_losses, got_slope) = run();
        let case = format!("{shape:?}");
        report.check("consistency loss", DType::F32, &got_losses, &losses, &case);
        report.check("consistency slope", DType::F32, &got_slope, &slope, &case);
        let (again_losses, again_slope) = run();
        assert_eq!(download(&got_losses), download(&again_losses), "the same twice");
        assert_eq!(download(&got_slope), download(&again_slope), "the same twice");
    }
    report.end();
}

#[test]
fn wrong_operands_are_sentences() {
    let of = |shape: &[usize]| up(&random(shape.iter().product(), 1, DType::F32), shape);
    let error = weighted_sum(of(&[2, 3]), of(&[3, 2]), of(&[2]), of(&[2])).expect_err("another shape");
    assert_eq!(error.to_string(), "weighted sum: y is [3, 2], not [2, 3]");
    let error = consistency_loss(of(&[2, 3]), of(&[2, 3]), of(&[2, 3]), of(&[2]), of(&[1]), of(&[2]), 0.1).expect_err("one factor");
    assert_eq!(error.to_string(), "consistency loss: out is [1], not [2]");
}
