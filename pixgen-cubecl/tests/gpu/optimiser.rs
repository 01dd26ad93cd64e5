//! Buffers of parameters on a GPU against float64 references.

use crate::common::{Tensor, download, random, upload};
use burn_backend::DType;
use half::bf16;
use pixgen_cubecl::optimiser::{AdamW, CHUNK, ChunkRules, Master, adamw, add_all, add_into, lerp, norm, rounded, view, zero};

fn buffer(values: &[f64]) -> Tensor {
    upload(values, &[values.len()], DType::F32)
}

/// max |got - want| / max |want|.
fn error(got: &Tensor, want: &[f64]) -> f64 {
    let got = download(got);
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs() / scale);
    worst.fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
}

/// Without a copy in bf16.
fn master(values: &Tensor) -> Master<'_, crate::common::TestRuntime> {
    Master { values, rounded: None }
}

/// Whether a copy in bf16 is what the buffer rounds to.
fn assert_rounded(copy: &Tensor, buffer: &Tensor) {
    let (copy, buffer) = (download(copy), download(buffer));
    let wrong = (0..buffer.len()).find(|at| copy[*at] != bf16::from_f32(buffer[*at] as f32).to_f64());
    assert_eq!(wrong.map(|at| (at, copy[at], buffer[at])), None);
}

#[test]
fn adamw_and_averages() {
    for (len, count) in [
        (CHUNK, 0),
        (3 * CHUNK, 1),
        (129 * CHUNK, 2),
        (64 * CHUNK, 3),
        (2 * CHUNK, 4),
        (5 * CHUNK, 6),
    ] {
        let mut p = random(len, 1, DType::F32);
        let mut m = random(len, 2, DType::F32);
        let mut v: Vec<f64> = random(len, 3, DType::F32).iter().map(|v| f64::from(v.abs() as f32)).collect();
        let mut g = random(len, 4, DType::F32);
        let decay: Vec<f64> = (0..len / CHUNK).map(|i| if i % 2 == 0 { 0.0 } else { 0.3f32.into() }).collect();
        let mut averages: Vec<Vec<f64>> = (0..count).map(|i| random(len, 5 + i, DType::F32)).collect();
        // The last tensor ends before its chunk.
        let padding = len - 50..len;
        for values in [&mut p, &mut m, &mut v, &mut g].into_iter().chain(&mut averages) {
            values[padding.clone()].fill(0.0);
        }
        let shares: Vec<f32> = (0..count).map(|i| 0.5 / (1.0 + i as f32)).collect();
        let s = AdamW {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            step_size: 0.02,
            bias_correction2: 0.4,
            learning_rate: 0.01,
            gradient_scale: 0.7,
        };

        let [dp, dm, dv, dg] = [&p, &m, &v, &g].map(|b| buffer(b));
        let device: Vec<Tensor> = averages.iter().map(|a| buffer(a)).collect();
        let pairs: Vec<(&Tensor, f32)> = device.iter().zip(shares.iter().copied()).collect();
        // With and without a copy in bf16.
        let copy = (count % 2 == 0).then(|| rounded(&dp).expect("a buffer"));
        // With and without chunks whose steps are given.
        let given: Vec<f64> = (0..len / CHUNK).map(|i| if count % 3 == 0 && i % 3 == 2 { 1.0 } else { 0.0 }).collect();
        let marks = buffer(&given);
        let rules = ChunkRules { decay: &buffer(&decay), given: (count % 3 == 0).then_some(&marks) };
        adamw(&Master { values: &dp, rounded: copy.as_ref() }, &dm, &dv, &dg, &pairs, s, &rules).expect("buffers fit");
        if let Some(copy) = copy {
            assert_rounded(&copy, &dp);
        }

        let [b1, b2, epsilon] = [s.beta1, s.beta2, s.epsilon].map(f64::from);
        let [step, second, rate, scale] = [s.step_size, s.bias_correction2, s.learning_rate, s.gradient_scale].map(f64::from);
        for i in 0..len {
            let keep = 1.0 - rate * decay[i / CHUNK];
            if given[i / CHUNK] == 1.0 {
                p[i] = keep * p[i] - rate * g[i];
            } else {
                let g = g[i] * scale;
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                p[i] = keep * p[i] - step * m[i] / ((v[i] / second).sqrt() + epsilon);
            }
            for (average, &share) in averages.iter_mut().zip(&shares) {
                average[i] += f64::from(share) * (p[i] - average[i]);
            }
        }
        let mut errors = vec![error(&dp, &p), error(&dm, &m), error(&dv, &v)];
        errors.extend(device.iter().zip(&averages).map(|(got, want)| error(got, want)));
        let worst = errors.iter().copied().fold(0.0, f64::max);
        println!("adamw {len} with {count} averages: {worst:.1e}");
        assert!(errors.iter().all(|&e| e < 1e-6), "{errors:?}");
        assert_eq!(download(&dg), g, "the gradient is only read");
        for buffer in [&dp, &dm, &dv].into_iter().chain(&device) {
            assert_eq!(download(buffer)[padding.clone()], [0.0; 50]);
        }
    }
}

#[test]
fn sums_and_averages_of_buffers() {
    for len in [1, 6, 1000, 70_000] {
        let (a, b) = (random(len, 1, DType::F32), random(len, 2, DType::F32));
        let into = buffer(&a);
        add_all(&into, &buffer(&b)).expect("buffers fit");
        let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert!(error(&into, &sum) < 1e-6);
        let copy = rounded(&into).expect("a buffer");
        assert_rounded(&copy, &into);
        lerp(&Master { values: &into, rounded: Some(&copy) }, &buffer(&a), 0.25).expect("buffers fit");
        assert_rounded(&copy, &into);
        let near: Vec<f64> = sum.iter().zip(&a).map(|(s, a)| s + 0.25 * (a - s)).collect();
        assert!(error(&into, &near) < 1e-6);
        zero(&into).expect("a buffer");
        assert_eq!(download(&into), vec![0.0; len]);
    }
}

#[test]
fn tensors_are_added_and_taken_out() {
    let values = random(9 * CHUNK, 1, DType::F32);
    for dtype in crate::common::TYPES {
        for (chunk, shape) in [
            (0, vec![3, 5]),
            (1, vec![2 * CHUNK]),
            (4, vec![1]),
            (7, vec![2, CHUNK]),
            (2, vec![4, 3, 10]),
        ] {
            let (offset, count) = (chunk * CHUNK, shape.iter().product::<usize>());
            let into = buffer(&values);
            let part = random(count, 2, dtype);
            add_into(&into, offset, upload(&part, &shape, dtype)).expect("a part of the buffer");
            let mut want = values.clone();
            want[offset..offset + count].iter_mut().zip(&part).for_each(|(a, b)| *a += b);
            assert!(error(&into, &want) < 1e-6, "{dtype:?} {shape:?} at {offset}");

            let copy = rounded(&into).expect("a buffer");
            let of = if dtype == DType::BF16 { &copy } else { &into };
            let got = view(of, offset, &shape).expect("a part of the buffer");
            assert_eq!((got.meta.shape().as_slice(), got.dtype), (&shape[..], dtype));
            assert_eq!(download(&got), download(of)[offset..offset + count]);
            if dtype == DType::F32 {
                // It is the buffer's memory.
                zero(&into).expect("a buffer");
                assert_eq!(download(&got), vec![0.0; count]);
            }
        }
    }
}

/// A transposed tensor is added in the order of its axes.
#[test]
fn strided_tensors() {
    let values = random(6, 1, DType::F32);
    let mut turned = upload(&values, &[2, 3], DType::F32);
    turned.meta.swap(0, 1);
    let into = buffer(&[0.0; CHUNK]);
    add_into(&into, 0, turned).expect("a part of the buffer");
    let want = [0, 3, 1, 4, 2, 5].map(|i| values[i]);
    assert_eq!(download(&into)[..6], want);
}

#[test]
fn norms() {
    for len in [1, 6, 256, 4097, 300_000] {
        let values = random(len, 3, DType::F32);
        let want = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let got = norm(&buffer(&values)).expect("a buffer");
        println!("norm of {len}: relative error {:.1e}", (got / want - 1.0).abs());
        assert!((got / want - 1.0).abs() < 1e-6, "{got} {want}");
        assert_eq!(norm(&buffer(&values)), Ok(got), "the same twice");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut values = values.clone();
            values[len * 2 / 3] = bad;
            assert!(!norm(&buffer(&values)).expect("a buffer").is_finite(), "{bad} at {} of {len}", len * 2 / 3);
        }
    }
    assert_eq!(norm(&buffer(&[3.0, 0.0, 0.0, 4.0])), Ok(5.0));
}

#[test]
fn wrong_buffers_are_sentences() {
    let of = |len: usize| buffer(&vec![0.0; len]);
    let text = |result: pixgen_cubecl::Result<()>| result.expect_err("does not fit").to_string();
    assert_eq!(
        text(lerp(&master(&of(4)), &of(5), 0.5)),
        "moving average: the average and the parameters differ: 4 and 5 elements"
    );
    assert_eq!(text(add_into(&of(4), 1, of(4))), "sum into a buffer: 4 elements from 1 on, of a buffer of 4");
    assert!(text(add_into(&of(400), 1, of(4))).contains("is not at a multiple of"));
    let matrix = upload(&[0.0; 4], &[2, 2], DType::F32);
    assert_eq!(text(zero(&matrix)), "zero: the buffer is [2, 2] of F32, not one contiguous axis of f32");
    let s = AdamW {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        step_size: 0.02,
        bias_correction2: 0.4,
        learning_rate: 0.01,
        gradient_scale: 0.7,
    };
    let short = rounded(&of(3)).expect("a buffer");
    let result = lerp(&Master { values: &of(4), rounded: Some(&short) }, &of(4), 0.5);
    assert_eq!(text(result), "moving average: the average: 4 numbers, and not as many in bf16");
    let run = |rules: &ChunkRules<'_, _>| adamw(&master(&of(CHUNK)), &of(CHUNK), &of(CHUNK), &of(CHUNK), &[], s, rules);
    let result = run(&ChunkRules { decay: &of(1), given: Some(&of(2)) });
    assert_eq!(text(result), "adamw: the decay and the marks differ: 1 and 2 elements");
    let result = run(&ChunkRules { decay: &of(2), given: None });
    assert_eq!(text(result), "adamw: 256 parameters and the decay of 2 chunks of 256");
}
