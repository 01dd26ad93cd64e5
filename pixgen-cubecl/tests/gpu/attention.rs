//! Attention on a GPU against a float64 reference: output, log-sum-exp, and the gradients of queries, keys and values.

use crate::common::{Report, TYPES, Tensor, download, random, upload};
use burn_backend::DType;
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
    let input = upload(qkv, &[batch, tokens, 3 * d], dtype);
    let (out, lse) = forward_train(input.clone(), heads).expect("the device can");
    report.check("attention", dtype, &out, &want.out, &text);
    report.check("attention lse", dtype, &lse, &want.lse, &text);
    let gradient = upload(dy, &[batch, tokens, d], dtype);
    let dqkv = backward(input, out, lse, heads, gradient).expect("the device can");
    let got = download(&dqkv);
    for (index, name) in ["attention dq", "attention dk", "attention dv"].into_iter().enumerate() {
        let one = |values: &[f64]| part(values, d, index);
        let got: Tensor = upload(&one(&got), &[batch, tokens, d], dtype);
        let want = one(&want.dqkv);
        // The gradients of one token alone are zero where they are not those of its value.
        if tokens == 1 && index < 2 {
            let worst = download(&got).into_iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(worst < crate::common::limit(dtype), "{name} {dtype:?} {text}: {worst:e} instead of zeros");
        } else {
            report.check(name, dtype, &got, &want, &text);
        }
    }
}

#[test]
fn agrees_with_the_definition() {
    let mut report = Report::default();
    let mut seed = 1;
    for dtype in TYPES {
        // Every width once: what takes the time is compiling a kernel for it.
        for (head, tokens) in [(8, 17), (12, 66), (64, 66), (72, 17), (120, 66), (128, 17)] {
            let (batch, heads) = if tokens == 17 { (2, 3) } else { (1, 2) };
            let case = Case { batch, tokens, heads, head };
            seed += 2;
            let qkv: Vec<f64> = random(batch * tokens * 3 * heads * head, seed, dtype)
                .into_iter()
                .map(|v| 2.0 * v)
                .collect();
            check(&mut report, case, &qkv, &random(batch * tokens * heads * head, seed + 1, dtype), dtype);
        }
    }
    report.end();
}

#[test]
fn agrees_on_256_patches_and_two_tokens() {
    let mut report = Report::default();
    for (dtype, head) in [(DType::F32, 64), (DType::BF16, 72)] {
        let case = Case { batch: 1, tokens: 258, heads: 1, head };
        check(&mut report, case, &random(258 * 3 * head, 7, dtype), &random(258 * head, 8, dtype), dtype);
    }
    report.end();
}

#[test]
fn one_token_and_heads_of_any_width() {
    let mut report = Report::default();
    for (dtype, tokens, head) in [
        (DType::F32, 1, 12),
        (DType::BF16, 1, 64),
        (DType::F32, 19, 10),
        (DType::BF16, 19, 17),
    ] {
        let case = Case { batch: 2, tokens, heads: 2, head };
        check(&mut report, case, &random(2 * tokens * 6 * head, 9, dtype), &random(2 * tokens * 2 * head, 10, dtype), dtype);
    }
    report.end();
}

/// Scores that grow along the keys, by far more than `exp` can hold: the running reference must follow, and late keys outweigh all.
///
/// In `f32`: keys so far from zero multiply the rounding of a bf16 output, from which the backward takes its row sums, to more than the
/// gradient of the queries.
#[test]
fn scores_may_rise_along_the_keys() {
    let mut report = Report::default();
    let case = Case { batch: 1, tokens: 100, heads: 1, head: 16 };
    let mut qkv = random(100 * 48, 11, DType::F32);
    for (token, row) in qkv.chunks_mut(48).enumerate() {
        // Queries near (1, 1, ..), keys near (token, token, ..) / 4: scores from 0 to more than 100.
        row[..16]
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v = if i % 2 == 0 { 1.0 } else { 1.25 });
        row[16..32]
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v = (token as f64 + if i % 3 == 0 { 1.0 } else { 0.0 }) / 4.0);
    }
    check(&mut report, case, &qkv, &random(100 * 16, 12, DType::F32), DType::F32);
    report.end();
}

#[test]
fn strided_operands_are_read_where_they_lie() {
    // The token axis of a [T, B, 3 D] buffer, seen as [B, T, 3 D].
    let (batch, tokens, heads, head) = (3, 5, 2, 8);
    let width = 3 * heads * head;
    let values = random(batch * tokens * width, 13, DType::F32);
    let mut swapped = upload(&values, &[tokens, batch, width], DType::F32);
    swapped.meta.swap(0, 1);
    let mut straight = vec![0.0; values.len()];
    for (image, token) in (0..batch).flat_map(|image| (0..tokens).map(move |token| (image, token))) {
        straight[(image * tokens + token) * width..][..width].copy_from_slice(&values[(token * batch + image) * width..][..width]);
    }
    let want = forward(upload(&straight, &[batch, tokens, width], DType::F32), heads).expect("the device can");
    let got = forward(swapped.clone(), heads).expect("the device can");
    assert_eq!(download(&got), download(&want));
    // With the log-sum-exp it is another kernel.
    let (got, _) = forward_train(swapped, heads).expect("the device can");
    assert_eq!(download(&got), download(&want));
}

#[test]
fn mistakes_are_named() {
    let qkv = || upload(&vec![0.0; 2 * 3 * 24], &[2, 3, 24], DType::F32);
    let zeros = |shape: &[usize]| upload(&vec![0.0; shape.iter().product()], shape, DType::F32);
    let message = |result: pixgen_cubecl::Result<Tensor>| {
        let error = result.expect_err("refused");
        assert!(!error.is_unavailable(), "{error}");
        error.to_string()
    };
    assert!(message(forward(qkv(), 3)).contains("24 numbers per token"));
    assert!(message(forward(qkv(), 0)).contains("of 0 heads"));
    assert!(message(forward(zeros(&[6, 24]), 2)).contains("not three axes"));
    let wrong_lse = backward(qkv(), zeros(&[2, 3, 8]), zeros(&[2, 3, 2]), 2, zeros(&[2, 3, 8]));
    assert!(message(wrong_lse).contains("lse is [2, 3, 2]"));
    let wrong_type = backward(qkv(), zeros(&[2, 3, 8]), zeros(&[2, 2, 3]), 2, upload(&[0.0; 48], &[2, 3, 8], DType::BF16));
    assert!(message(wrong_type).contains("dy holds BF16"));
}
