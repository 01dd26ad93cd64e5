//! NT-Xent on a GPU against a float64 reference.

use crate::common::{Report, Tensor, download, random, upload};
use burn_backend::DType;
use pixgen_cubecl::nt_xent::{nt_xent, nt_xent_backward};

fn up(values: &[f64], shape: &[usize]) -> Tensor {
    upload(values, shape, DType::F32)
}

/// Unit rows and their lengths.
fn unit_rows(x: &[f64], width: usize) -> (Vec<f64>, Vec<f64>) {
    let lengths: Vec<f64> = x
        .chunks(width)
        .map(|row| row.iter().map(|v| v * v).sum::<f64>().max(1e-24).sqrt())
        .collect();
    (x.iter().enumerate().map(|(i, v)| v / lengths[i / width]).collect(), lengths)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

struct Reference {
    loss: f64,
    lse: Vec<f64>,
    dq: Vec<f64>,
    dk: Vec<f64>,
}

fn reference(queries: &[f64], keys: &[f64], width: usize, first: usize, tau: f64, dy: f64) -> Reference {
    let ((q, q_lengths), (k, k_lengths)) = (unit_rows(queries, width), unit_rows(keys, width));
    let count = q_lengths.len();
    let (mut loss, mut lse) = (0.0, vec![]);
    let (mut dq, mut dk) = (vec![0.0; q.len()], vec![0.0; k.len()]);
    for (i, q) in q.chunks(width).enumerate() {
        let scores: Vec<f64> = k.chunks(width).map(|k| dot(q, k) / tau).collect();
        let peak = scores.iter().copied().fold(f64::MIN, f64::max);
        let whole = peak + scores.iter().map(|s| (s - peak).exp()).sum::<f64>().ln();
        lse.push(whole);
        loss += (whole - scores[first + i]) / count as f64;
        for (j, k) in k.chunks(width).enumerate() {
            let positive = if j == first + i { 1.0 } else { 0.0 };
            let slope = ((scores[j] - whole).exp() - positive) * dy / (count as f64 * tau);
            for at in 0..width {
                dq[i * width + at] += slope * k[at];
                dk[j * width + at] += slope * q[at];
            }
        }
    }
    let through = |g: &mut [f64], unit: &[f64], lengths: &[f64]| {
        for ((g, u), length) in g.chunks_mut(width).zip(unit.chunks(width)).zip(lengths) {
            let along = dot(g, u);
            g.iter_mut().zip(u).for_each(|(g, u)| *g = (*g - u * along) / length);
        }
    };
    through(&mut dq, &q, &q_lengths);
    through(&mut dk, &k, &k_lengths);
    Reference { loss, lse, dq, dk }
}

#[test]
fn losses_and_gradients() {
    let mut report = Report::default();
    for (count, others, width, first, tau) in [
        (1, 2, 2, 1, 0.5),
        (64, 128, 64, 64, 0.1),
        (5, 9, 7, 2, 0.2),
        // At a smaller tau, of 1 - softmax of a near positive only digits are left that an f32 of 1/tau does not hold.
        (65, 65, 36, 0, 0.1),
        (130, 195, 130, 65, 0.1),
        (3, 200, 1024, 100, 0.1),
        (100, 101, 32, 1, 1.0),
    ] {
        let (mut queries, mut keys) = (random(count * width, 1, DType::F32), random(others * width, 2, DType::F32));
        // Rows of other lengths, and positives that are near.
        for i in 0..count {
            let scale = f64::from((0.1 + i as f64 % 5.0) as f32);
            for at in 0..width {
                let near = (queries[i * width + at] + 0.3 * keys[(first + i) * width + at]) as f32;
                keys[(first + i) * width + at] = f64::from(near);
                queries[i * width + at] = f64::from((queries[i * width + at] * scale) as f32);
            }
        }
        let dy = 0.75;
        let want = reference(&queries, &keys, width, first, tau, dy);
        let case = format!("{count} x {others} of {width}");
        let (q, k) = (|| up(&queries, &[count, width]), || up(&keys, &[others, width]));
        let run = || nt_xent(q(), k(), first, tau).expect("operands fit");
        let (loss, lse) = run();
        report.check("nt-xent lse", DType::F32, &lse, &want.lse, &case);
        // A loss near zero is a difference of numbers near 1/tau.
        let got = download(&loss);
        assert!(
            got.len() == 1 && (got[0] - want.loss).abs() < 1e-6 * (1.0 / tau) + 1e-5 * want.loss,
            "{case}: {got:?} {}",
            want.loss
        );
        let backward = |wanted| nt_xent_backward(q(), k(), lse.clone(), first, tau, up(&[dy], &[1]), wanted).expect("operands fit");
        let [dq, dk] = backward([true, true]).map(|g| g.expect("wanted"));
        report.check("nt-xent dq", DType::F32, &dq, &want.dq, &case);
        report.check("nt-xent dk", DType::F32, &dk, &want.dk, &case);
        let [none, again] = backward([false, true]);
        assert!(none.is_none());
        assert_eq!(download(&again.expect("wanted")), download(&dk), "the same twice");
        let (loss_again, lse_again) = run();
        assert_eq!((download(&loss_again), download(&lse_again)), (got, download(&lse)), "the same twice");
    }
    report.end();
}

#[test]
fn wrong_operands_are_sentences() {
    let of = |rows: usize, width: usize| up(&random(rows * width, 1, DType::F32), &[rows, width]);
    let text = |q, k, first, tau| nt_xent(q, k, first, tau).expect_err("does not fit").to_string();
    assert_eq!(text(of(2, 3), of(2, 4), 0, 0.1), "nt-xent: keys is [2, 4], not [2, 3]");
    assert_eq!(text(of(2, 3), of(3, 3), 2, 0.1), "nt-xent: 2 positives from 2 on, of 3 keys");
    assert_eq!(text(of(2, 3), of(2, 3), 0, 0.0), "nt-xent: tau is 0, not a positive number");
}
