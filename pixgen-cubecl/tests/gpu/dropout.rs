//! Dropout on a GPU: the same bits as the host's generator.

use crate::common::{TYPES, download, random, upload};
use burn_backend::DType;
use half::bf16;
use pixgen_core::rng::Rng;
use pixgen_cubecl::dropout::dropout;

#[test]
fn the_mask_is_the_hosts() {
    for dtype in TYPES {
        for (shape, first) in [
            (vec![1, 8], 0u64),
            (vec![3, 16, 64], 7),
            (vec![2, 5, 7], 0),
            (vec![2, 3, 6], 3),
            (vec![1, 1], 9),
            (vec![4, 258, 12], (1 << 32) - 3),
            (vec![2, 20], u64::from(u32::MAX) << 8),
        ] {
            let seed = 0x1234_5678_9abc_def0;
            let streams: Vec<u64> = (0..shape[0] as u64).map(|i| (i + 1) * 0x0001_0000_0001_0003).collect();
            let rate = 0.3f64;
            let (threshold, factor) = ((rate * 4_294_967_296.0) as u32, (1.0 / (1.0 - rate)) as f32);
            let values = random(shape.iter().product(), 1, dtype);
            let got = dropout(upload(&values, &shape, dtype), seed, &streams, first, threshold, factor).expect("a stream each");
            let len = values.len() / shape[0];
            let want = values.iter().enumerate().map(|(i, &value)| {
                let (picture, at) = (i / len, i % len);
                let word = Rng::new(seed, streams[picture]).words(first + at as u64 / 4)[at % 4];
                let kept = if word >= threshold { value as f32 * factor } else { 0.0 };
                f64::from(if dtype == DType::BF16 {
                    bf16::from_f32(kept).to_f32()
                } else {
                    kept
                })
            });
            let want: Vec<f64> = want.collect();
            assert_eq!(download(&got), want, "{dtype:?} {shape:?}");
            let dropped = want.iter().filter(|v| **v == 0.0).count();
            println!("dropout {dtype:?} {shape:?}: {dropped} of {} dropped, all bits equal", want.len());
        }
    }
}

#[test]
fn wrong_operands_are_sentences() {
    let x = upload(&random(6, 1, DType::F32), &[2, 3], DType::F32);
    let error = dropout(x, 1, &[1, 2, 3], 0, 5, 1.0).expect_err("three streams");
    assert_eq!(error.to_string(), "dropout: x is [2, 3], for 3 pictures");
}
