//! Layer norm on a GPU against a float64 reference.

use crate::common::{Report, TYPES, random, upload};
use burn_backend::DType;
use pixgen_cubecl::norm::{layer_norm, layer_norm_backward};

const EPSILON: f64 = 1e-5;

/// Normalised row and the factor that scaled it.
fn normalise(row: &[f64]) -> (Vec<f64>, f64) {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
    let scale = 1.0 / (variance + EPSILON).sqrt();
    (row.iter().map(|v| (v - mean) * scale).collect(), scale)
}

#[test]
fn layer_norm_of_rows() {
    let mut report = Report::default();
    for dtype in TYPES {
        for (rows, width) in [
            (1, 64),
            (7, 63),
            (258, 256),
            (33, 384),
            (5, 1152),
            (3, 2688),
            (300, 8),
            (2, 1),
            (9, 130),
        ] {
            let case = format!("{rows} x {width}");
            let mut x = random(rows * width, 1, dtype);
            x[0] = 4.0;
            let (gamma, beta) = (random(width, 2, DType::F32), random(width, 3, DType::F32));
            let dy = random(rows * width, 4, dtype);
            let mut y = vec![0.0; rows * width];
            let mut dx = vec![0.0; rows * width];
            let (mut dgamma, mut dbeta) = (vec![0.0; width], vec![0.0; width]);
            for row in 0..rows {
                let range = row * width..(row + 1) * width;
                let (n, scale) = normalise(&x[range.clone()]);
                let dy = &dy[range.clone()];
                let g: Vec<f64> = dy.iter().zip(&gamma).map(|(d, w)| d * w).collect();
                let mean = g.iter().sum::<f64>() / width as f64;
                let along = g.iter().zip(&n).map(|(g, n)| g * n).sum::<f64>() / width as f64;
                for i in 0..width {
                    y[range.start + i] = n[i] * gamma[i] + beta[i];
                    dx[range.start + i] = (g[i] - mean - n[i] * along) * scale;
                    dgamma[i] += dy[i] * n[i];
                    dbeta[i] += dy[i];
                }
            }
            let up = |values: &[f64]| upload(values, &[rows, width], dtype);
            let vector = |values: &[f64]| upload(values, &[width], DType::F32);
            let got = layer_norm(up(&x), vector(&gamma), vector(&beta)).expect("operands fit");
            report.check("layer norm", dtype, &got, &y, &case);
            let got = layer_norm_backward(up(&x), vector(&gamma), up(&dy), [true; 3]).expect("operands fit");
            let [got_dx, got_dgamma, got_dbeta] = got.map(|g| g.expect("wanted"));
            // One column: the gradient is zero but for rounding.
            if width > 1 {
                report.check("layer norm dx", dtype, &got_dx, &dx, &case);
                report.check("layer norm dgamma", dtype, &got_dgamma, &dgamma, &case);
            }
            report.check("layer norm dbeta", dtype, &got_dbeta, &dbeta, &case);
            let [none, only, no] = layer_norm_backward(up(&x), vector(&gamma), up(&dy), [false, true, false]).expect("operands fit");
            assert!(none.is_none() && no.is_none());
            assert_eq!(crate::common::download(&only.expect("wanted")), crate::common::download(&got_dgamma));
        }
    }
    report.end();
}

#[test]
fn wrong_operands_are_sentences() {
    let x = || upload(&random(6, 1, DType::F32), &[2, 3], DType::F32);
    let short = || upload(&random(2, 1, DType::F32), &[2], DType::F32);
    let error = layer_norm(x(), short(), short()).expect_err("gamma is too short");
    assert_eq!(error.to_string(), "layer norm: gamma is [2], not [3]");
    assert!(!error.is_unavailable());
}
