//! Bit-identical results for every number of threads and every instruction set.

use burn_flex::Flex;

use super::cases::*;
use super::under;
use crate::ops::flex::lanes::{Level, limit_level};
use crate::ops::implementation::Implementation;
use pixgen_core::ops::Branch;

/// Sizes with several blocks, a ragged last one, and both ways to compute a weight gradient.
fn cases() -> Vec<Case<Flex>> {
    vec![
        linear_case(&[21, 18], 64, 192, true),
        linear_case(&[3, 66], 250, 300, true),
        linear_gelu_case(&[21, 18], 50, 75),
        layer_norm_case(&[333], 65),
        norm_modulate_case(9, 18, 64, Branch::Attention),
        norm_modulate_case(2, 258, 33, Branch::Mlp),
        gated_residual_case(9, 18, 64, Branch::Mlp),
        attention_case(9, 18, 64, 4),
        tokens_case(67, 2, 16, 64),
        attention_case(2, 66, 60, 3),
        skip_fuse_case(9, 18, 64, 48),
    ]
}

/// Everything a case computes, as bits.
fn bits(case: &Case<Flex>) -> Vec<u64> {
    let outcome = case.outcome(Storage::F32, &vec![true; case.inputs.len()]);
    let gradients = outcome.gradients.into_iter().flatten().flatten();
    outcome.output.into_iter().chain(gradients).map(f64::to_bits).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    under(Implementation::Fused, || {
        for case in cases() {
            let runs = [1, 2, 2, 3, 5].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("a small pool starts").install(|| bits(&case))
            });
            for run in &runs[1..] {
                assert!(*run == runs[0], "{} differs between pools", case.name);
            }
        }
    });
}

#[test]
fn results_do_not_depend_on_the_instruction_set() {
    under(Implementation::Fused, || {
        for case in cases() {
            let runs = [Level::Baseline, Level::Avx2, Level::Avx512].map(|ceiling| {
                let level = limit_level(ceiling);
                (level, bits(&case))
            });
            for (level, run) in &runs[1..] {
                assert!(*run == runs[0].1, "{} differs at {level:?}", case.name);
            }
        }
    });
}
