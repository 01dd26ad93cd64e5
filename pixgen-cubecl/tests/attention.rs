//! Attention on a Vulkan device against a float64 reference: output, log-sum-exp, and the gradients of queries, keys and values.
#![cfg(feature = "vulkan")]

mod common;

use burn_backend::DType;
use common::{Report, TYPES, Tensor, download, random, upload};
use pixgen_cubecl::attention::{backward, forward, forward_train};

/// Sizes of one case.
#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    tokens: usize,
    heads: usize,
    head: usize,
}

/// Output `[B, T, D]`, log-sum-exp `[B, heads, T]` and gradient `[B, T, 3 D]`.
struct Reference {
    out: Vec<f64>,
    lse: Vec<f64>,
    dqkv: Vec<f64>,
}

/// Attention and its gradient, written from the definition.
fn reference(case: Case, qkv: &[f64], dy: &[f64]) -> Reference {
    let Case { batch, tokens, heads, head } = case;
    let d = heads * head;
    let scale = 1.0 / (head as f64).sqrt();
    let mut result = Reference {
        out: vec![0.0; batch * tokens * d],
        lse: vec![0.0; batch * heads * tokens],
        dqkv: vec![0.0; batch * tokens * 3 * d],
    };
    for (image, h) in (0..batch).flat_map(|image| (0..heads).map(move |h| (image, h))) {
        let at = |token: usize, part: usize| (image * tokens + token) * 3 * d + part * d + h * head;
        let row = |token: usize| (image * tokens + token) * d + h * head;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        for i in 0..tokens {
            let q = &qkv[at(i, 0)..][..head];
            let scores: Vec<f64> = (0..tokens).map(|j| scale * dot(q, &qkv[at(j, 1)..][..head])).collect();
            let peak = scores.iter().fold(f64::MIN, |m, &s| m.max(s));
            let lse = peak + scores.iter().map(|s| (s - peak).exp()).sum::<f64>().ln();
            result.lse[(image * heads + h) * tokens + i] = lse;
            let p: Vec<f64> = scores.iter().map(|s| (s - lse).exp()).collect();
            let g = &dy[row(i)..][..head];
            let dp: Vec<f64> = (0..tokens).map(|j| dot(g, &qkv[at(j, 2)..][..head])).collect();
            let delta = dot(&p, &dp);
            for j in 0..tokens {
                let ds = p[j] * (dp[j] - delta) * scale;
                for c in 0..head {
                    result.out[row(i) + c] += p[j] * qkv[at(j, 2) + c];
                    result.dqkv[at(i, 0) + c] += ds * qkv[at(j, 1) + c];
                    result.dqkv[at(j, 1) + c] += ds * qkv[at(i, 0) + c];
                    result.dqkv[at(j, 2) + c] += p[j] * g[c];
                }
            }
        }
    }
    result
}

/// Part 0, 1 or 2 of the last axis of `[.., 3 D]`.
fn part(values: &[f64], d: usize, index: usize) -> Vec<f64> {
    values.chunks(3 * d).flat_map(|row| row[index * d..(index + 1) * d].to_vec()).collect()
}

/// Runs forward and backward on the device and compares everything.
fn check(report: &mut Report, case: Case, qkv: &[f64], dy: &[f64], dtype: DType) {
    let Case { batch, tokens, heads, head } = case;
    let d = heads * head;
    let want = reference(case, qkv, dy);
    let text = format!("{case:?}");
    let t0 = std::time::Instant::now();
    let input = upload(qkv, &[batch, tokens, 3 * d], dtype);
    let (out, lse) = forward_train(input.clone(), heads).expect("the device can");
    report.check("attention", dtype, &out, &want.out, &text);
    report.check("attention lse", dtype, &lse, &want.lse, &text);
    eprintln!("{dtype:?} {text} fwd {:?}", t0.elapsed());
    let gradient = upload(dy, &[batch, tokens, d], dtype);
    let dqkv = backward(input, out, lse, heads, gradient).expect("the device can");
    let got = download(&dqkv);
    eprintln!("{dtype:?} {text} bwd {:?}", t0.elapsed());

    for (index, name) in ["attention dq", "attention dk", "attention dv"].into_iter().enumerate() {
        let one = |values: &[f64]| part(values, d, index);
        let got: Tensor = upload(&one(&got), &[batch, tokens, d], dtype);
        let want = one(&want.dqkv);
        // The gradients of one token alone are zero where they are not those of its value.
        if tokens == 1 && index < 2 {
            let worst = download(&got).into_iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(worst < common::limit(dtype), "{name} {dtype:?} {text}: {worst:e} instead of zeros");
        } else {
            report.check(name, dtype, &got, &want, &text);
        }
    }
}

#[test]
fn timing() {
    let mut report = Report::default();
    for head in [16, 64] {
        for tokens in [66, 66, 258, 258] {
            let case = Case { batch: 1, tokens, heads: 1, head };
            check(
                &mut report,
                case,
                &random(tokens * 3 * head, 7, DType::F32),
                &random(tokens * head, 8, DType::F32),
                DType::F32,
            );
        }
    }
}
