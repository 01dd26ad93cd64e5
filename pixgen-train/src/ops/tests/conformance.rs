//! Every operation, forward and every gradient, against float64 definitions and their numerical derivatives.

use burn_flex::Flex;

use super::cases::*;
use super::under;
use crate::ops::contract::FusedOps;
use crate::ops::implementation::Implementation;
use pixgen_core::ops::Branch;

/// Largest difference relative to the largest element.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f64, |a, b| a.max(b.abs())).max(1e-3);
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::NAN } else { d.max(worst) }) / scale
}

/// Small shapes with every edge: one image, one token, one column, widths around a register, head widths not a power of 2.
fn cases<B: FusedOps>() -> Vec<Case<B>> {
    let mut cases = vec![
        linear_case(&[1], 1, 1, true),
        linear_case(&[2, 3], 5, 7, false),
        linear_case(&[2, 3], 16, 33, true),
        linear_case(&[67], 4, 3, true),
        linear_case(&[2, 1, 3], 9, 1, true),
        linear_gelu_case(&[1, 1], 3, 2),
        linear_gelu_case(&[3, 5], 17, 19),
        linear_gelu_case(&[2, 2], 8, 32),
        layer_norm_case(&[1], 3),
        layer_norm_case(&[3, 4], 16),
        layer_norm_case(&[130], 5),
        layer_norm_case(&[2, 2], 37),
        attention_case(1, 1, 1, 1),
        attention_case(2, 1, 6, 2),
        attention_case(1, 5, 9, 3),
        attention_case(2, 9, 16, 1),
        attention_case(1, 18, 32, 2),
        attention_case(1, 17, 40, 2),
        attention_case(1, 65, 4, 2),
        attention_case(2, 66, 16, 1),
        attention_case(1, 97, 4, 2),
        tokens_case(1, 1, 1, 1),
        tokens_case(3, 2, 5, 7),
        skip_fuse_case(1, 1, 3, 1),
        skip_fuse_case(2, 3, 5, 7),
        skip_fuse_case(1, 5, 16, 8),
        dropout_case(1, 1, 3),
        dropout_case(3, 5, 7),
        weighted_sum_case(1, 1, 1),
        weighted_sum_case(3, 4, 5),
        nt_xent_case(1, 1, 1, 0),
        nt_xent_case(3, 3, 7, 0),
        nt_xent_case(4, 9, 16, 3),
    ];
    for branch in [Branch::Attention, Branch::Mlp] {
        for (images, tokens, width) in [(1, 1, 3), (3, 4, 7), (2, 3, 16), (1, 70, 3), (70, 1, 3)] {
            cases.push(norm_modulate_case(images, tokens, width, branch));
            cases.push(gated_residual_case(images, tokens, width, branch));
        }
    }
    cases
}

fn check<B: FusedOps>(case: &Case<B>, choice: Implementation, storage: Storage, limit: f64) -> f64 {
    let tracked = vec![true; case.inputs.len()];
    let outcome = under(choice, || case.outcome(storage, &tracked));
    let mut worst = error(&outcome.output, &(case.definition)(&case.inputs));
    assert!(worst < limit, "{} {choice:?} {storage:?}: forward off by {worst:e}", case.name);
    for (i, expected) in case.reference_gradients().iter().enumerate() {
        let found = outcome.gradients[i].as_ref().expect("all inputs are tracked");
        let off = error(found, expected);
        assert!(off < limit, "{} {choice:?} {storage:?}: gradient {i} off by {off:e}", case.name);
        worst = worst.max(off);
    }
    worst
}

/// All cases through the fused kernels of a backend; `tests/run.sh` collects what is printed.
fn check_fused<B: FusedOps>(backend: &str) {
    for case in cases::<B>() {
        let dense = check(&case, Implementation::Fused, Storage::F32, 1e-4);
        let strided = check(&case, Implementation::Fused, Storage::F32Transposed, 1e-4);
        let operation = case.name.split(' ').next().unwrap_or_default();
        println!("max relative error | {backend} | {operation} | F32 | {:.1e}", dense.max(strided));
    }
}

#[test]
fn fused_operations_match_the_reference() {
    check_fused::<Flex>("cpu");
}

/// The kernels of pixgen-cubecl.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
#[test]
fn fused_operations_on_a_gpu_match_the_reference() {
    check_fused::<super::TestGpu>(super::GPU);
}

#[test]
fn plain_operations_match_the_reference() {
    for case in cases::<Flex>() {
        let worst = check(&case, Implementation::Plain, Storage::F32, 1e-4);
        println!("{:50} max relative error {worst:.1e}", case.name);
    }
}

#[test]
fn default_bodies_match_the_reference_in_float64() {
    for case in cases::<Flex>() {
        let worst = check(&case, Implementation::Fused, Storage::F64, 1e-6);
        println!("{:50} max relative error {worst:.1e}", case.name);
    }
}

/// Compares two outcomes of a case.
fn compare(case: &str, found: &Outcome, expected: &Outcome) {
    let mut worst = error(&found.output, &expected.output);
    for (found, expected) in found.gradients.iter().flatten().zip(expected.gradients.iter().flatten()) {
        worst = worst.max(error(found, expected));
    }
    println!("{case:50} max relative difference {worst:.1e}");
    assert!(worst < 1e-4, "{case}: {worst:e}");
}

fn outcome<B: FusedOps>(case: &Case<B>, choice: Implementation) -> Outcome {
    under(choice, || case.outcome(Storage::F32, &vec![true; case.inputs.len()]))
}

/// The sizes of real networks, where gradients by differences would take too long: fused against plain.
#[test]
fn fused_agrees_with_plain_at_network_sizes() {
    let cases: [Case<Flex>; 19] = [
        linear_case(&[33, 18], 64, 192, false),
        linear_case(&[5, 66], 256, 1024, true),
        linear_gelu_case(&[33, 18], 64, 256),
        layer_norm_case(&[33, 18], 64),
        norm_modulate_case(33, 18, 64, Branch::Mlp),
        norm_modulate_case(2, 258, 768, Branch::Attention),
        gated_residual_case(33, 18, 64, Branch::Mlp),
        attention_case(33, 18, 64, 4),
        attention_case(2, 64, 144, 2),
        attention_case(3, 66, 256, 4),
        tokens_case(33, 2, 16, 64),
        attention_case(1, 258, 144, 2),
        attention_case(1, 258, 240, 2),
        attention_case(1, 258, 256, 2),
        skip_fuse_case(9, 18, 64, 64),
        skip_fuse_case(2, 66, 240, 192),
        dropout_case(2, 66, 256),
        weighted_sum_case(33, 64, 48),
        nt_xent_case(128, 256, 64, 128),
    ];
    for case in cases {
        compare(&case.name, &outcome(&case, Implementation::Fused), &outcome(&case, Implementation::Plain));
    }
}

/// The GPU's kernels against the CPU's, a few cases: a software device is slow.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
#[test]
fn a_gpu_agrees_with_the_cpu_at_network_sizes() {
    fn cases<B: FusedOps>() -> [Case<B>; 7] {
        [
            linear_case(&[2, 66], 256, 300, true),
            linear_gelu_case(&[2, 66], 192, 768),
            norm_modulate_case(2, 66, 1024, Branch::Attention),
            gated_residual_case(2, 66, 768, Branch::Mlp),
            attention_case(1, 66, 240, 2),
            skip_fuse_case(1, 66, 240, 192),
            nt_xent_case(64, 128, 256, 64),
        ]
    }
    for (gpu, cpu) in cases::<super::TestGpu>().iter().zip(&cases::<Flex>()) {
        compare(&cpu.name, &outcome(gpu, Implementation::Fused), &outcome(cpu, Implementation::Fused));
    }
}
