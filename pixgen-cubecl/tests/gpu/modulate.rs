//! Layer norm with modulation and the gated residual on a GPU against float64 references.

use crate::common::{Report, TYPES, random, upload};
use burn_backend::DType;
use pixgen_cubecl::modulate::{gated_residual, gated_residual_backward, norm_modulate, norm_modulate_backward};
use pixgen_cubecl::rows::Chunks;

const EPSILON: f64 = 1e-5;

/// Images, tokens and width.
const CASES: [[usize; 3]; 7] = [
    [1, 1, 64],
    [3, 7, 63],
    [2, 258, 64],
    [5, 3, 384],
    [2, 5, 1152],
    [1, 2, 2688],
    [64, 2, 8],
];

#[test]
fn norm_with_modulation() {
    let mut report = Report::default();
    for (dtype, [images, tokens, width]) in TYPES.into_iter().flat_map(|t| CASES.map(|c| (t, c))) {
        let case = format!("{images} x {tokens} x {width}");
        let count = images * tokens * width;
        let (x, dy, m) = (random(count, 1, dtype), random(count, 2, dtype), random(images * 6 * width, 3, dtype));
        let (gamma, beta) = (random(width, 4, DType::F32), random(width, 5, DType::F32));
        for chunks in [Chunks { shift: 0, scale: 1 }, Chunks { shift: 3, scale: 4 }] {
            let (mut y, mut dx, mut dm) = (vec![0.0; count], vec![0.0; count], vec![0.0; m.len()]);
            let (mut dgamma, mut dbeta) = (vec![0.0; width], vec![0.0; width]);
            for row in 0..images * tokens {
                let start = row * width;
                let (shift, scale) = [chunks.shift, chunks.scale].map(|c| (row / tokens * 6 + c) * width).into();
                let values = &x[start..start + width];
                let mean = values.iter().sum::<f64>() / width as f64;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
                let factor = 1.0 / (variance + EPSILON).sqrt();
                let n: Vec<f64> = values.iter().map(|v| (v - mean) * factor).collect();
                let g: Vec<f64> = (0..width).map(|i| dy[start + i] * (1.0 + m[scale + i]) * gamma[i]).collect();
                let mean = g.iter().sum::<f64>() / width as f64;
                let along = g.iter().zip(&n).map(|(g, n)| g * n).sum::<f64>() / width as f64;
                for i in 0..width {
                    let normed = n[i] * gamma[i] + beta[i];
                    y[start + i] = normed * (1.0 + m[scale + i]) + m[shift + i];
                    dx[start + i] = (g[i] - mean - n[i] * along) * factor;
                    dgamma[i] += dy[start + i] * (1.0 + m[scale + i]) * n[i];
                    dbeta[i] += dy[start + i] * (1.0 + m[scale + i]);
                    dm[shift + i] += dy[start + i];
                    dm[scale + i] += dy[start + i] * normed;
                }
            }
            let up = |values: &[f64]| upload(values, &[images, tokens, width], dtype);
            let vector = |values: &[f64]| upload(values, &[width], DType::F32);
            let modulation = || upload(&m, &[images, 6 * width], dtype);
            let got = norm_modulate(up(&x), vector(&gamma), vector(&beta), modulation(), chunks).expect("operands fit");
            report.check("norm modulate", dtype, &got, &y, &case);
            let back = |wanted| {
                norm_modulate_backward(up(&x), vector(&gamma), vector(&beta), modulation(), chunks, up(&dy), wanted).expect("operands fit")
            };
            let [got_dx, got_dgamma, got_dbeta, got_dm] = back([true; 4]).map(|g| g.expect("wanted"));
            report.check("norm modulate dx", dtype, &got_dx, &dx, &case);
            report.check("norm modulate dgamma", dtype, &got_dgamma, &dgamma, &case);
            report.check("norm modulate dbeta", dtype, &got_dbeta, &dbeta, &case);
            report.check("norm modulate dm", dtype, &got_dm, &dm, &case);
            let [none, no, some, not] = back([false, false, true, false]);
            assert!(none.is_none() && no.is_none() && not.is_none());
            report.check("norm modulate dbeta", dtype, &some.expect("wanted"), &dbeta, &case);
        }
    }
    report.end();
}

#[test]
fn residual_with_gate() {
    let mut report = Report::default();
    for (dtype, [images, tokens, width]) in TYPES.into_iter().flat_map(|t| CASES.map(|c| (t, c))) {
        let case = format!("{images} x {tokens} x {width}");
        let count = images * tokens * width;
        let (x, y, dy) = (random(count, 1, dtype), random(count, 2, dtype), random(count, 3, dtype));
        let m = random(images * 6 * width, 4, dtype);
        for chunk in [2, 5] {
            let (mut out, mut through, mut dm) = (vec![0.0; count], vec![0.0; count], vec![0.0; m.len()]);
            for at in 0..count {
                let gate = (at / width / tokens * 6 + chunk) * width + at % width;
                out[at] = x[at] + m[gate] * y[at];
                through[at] = dy[at] * m[gate];
                dm[gate] += dy[at] * y[at];
            }
            let up = |values: &[f64]| upload(values, &[images, tokens, width], dtype);
            let modulation = || upload(&m, &[images, 6 * width], dtype);
            let got = gated_residual(up(&x), up(&y), modulation(), chunk).expect("operands fit");
            report.check("gated residual", dtype, &got, &out, &case);
            let back = |wanted| gated_residual_backward(up(&y), modulation(), chunk, up(&dy), wanted).expect("operands fit");
            let [got_dx, got_dy, got_dm] = back([true; 3]).map(|g| g.expect("wanted"));
            report.check("gated residual dx", dtype, &got_dx, &dy, &case);
            report.check("gated residual dy", dtype, &got_dy, &through, &case);
            report.check("gated residual dm", dtype, &got_dm, &dm, &case);
            let [none, no, only] = back([false, false, true]);
            assert!(none.is_none() && no.is_none());
            report.check("gated residual dm", dtype, &only.expect("wanted"), &dm, &case);
        }
    }
    report.end();
}
