//! Bias, GELU and column sums on a GPU against float64 references.

use crate::common::{Report, TYPES, download, random, upload};
use burn_backend::DType;
use pixgen_cubecl::columns::column_sum;
use pixgen_cubecl::epilogue::{add_bias, bias_gelu, gelu_backward};

fn erf(x: f64) -> f64 {
    // Maclaurin series; |x| stays below 5.
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn bias_and_gelu() {
    let mut report = Report::default();
    for dtype in TYPES {
        for (rows, width) in [(1, 64), (7, 63), (258, 256), (2, 4096), (600, 4), (5000, 1)] {
            let case = format!("{rows} x {width}");
            let z: Vec<f64> = random(rows * width, 1, dtype).iter().map(|v| v * 4.0).collect();
            let b = random(width, 2, DType::F32);
            let dy = random(rows * width, 3, dtype);
            let sums: Vec<f64> = z.iter().enumerate().map(|(i, z)| z + b[i % width]).collect();
            let cdf = |z: f64| 0.5 * (1.0 + erf(z / 2f64.sqrt()));
            let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let y: Vec<f64> = sums.iter().map(|&z| z * cdf(z)).collect();
            let slope: Vec<f64> = sums.iter().map(|&z| cdf(z) + z * density(z)).collect();
            let up = |values: &[f64]| upload(values, &[rows, width], dtype);
            let bias = || upload(&b, &[width], DType::F32);
            report.check("bias", dtype, &add_bias(up(&z), bias()).expect("operands fit"), &sums, &case);
            report.check("bias and GELU", dtype, &bias_gelu(up(&z), bias()).expect("operands fit"), &y, &case);
            let shared = up(&z);
            let got_y = bias_gelu(shared.clone(), bias()).expect("operands fit");
            report.check("bias and GELU", dtype, &got_y, &y, &case);
            assert_eq!(download(&shared), z, "a product that is shared is not written to");
            let dz: Vec<f64> = dy.iter().zip(&slope).map(|(d, s)| d * s).collect();
            let (mut db, mut total) = (vec![0.0; width], vec![0.0; width]);
            for i in 0..rows * width {
                db[i % width] += dz[i];
                total[i % width] += dy[i];
            }
            let (got_dz, got_db) = gelu_backward(up(&dy), shared, bias()).expect("operands fit");
            report.check("GELU dz", dtype, &got_dz, &dz, &case);
            report.check("GELU db", dtype, &got_db, &db, &case);
            report.check("column sum", dtype, &column_sum(up(&dy)).expect("operands fit"), &total, &case);
        }
    }
    report.end();
}
