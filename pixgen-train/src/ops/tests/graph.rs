//! Inside the autodiff graph: untracked inputs, tensors used several times, other element types.

use burn_flex::Flex;
use burn_tensor::{Distribution, Tensor};

use super::cases::*;
use super::under;
use crate::ops::implementation::Implementation;
use crate::ops::network::*;
use pixgen_core::ops::Branch;

#[test]
fn only_tracked_inputs_get_gradients() {
    let cases: [Case<Flex>; 9] = [
        linear_case(&[2, 3], 5, 7, true),
        linear_case(&[2, 3], 5, 7, false),
        linear_gelu_case(&[2, 3], 5, 7),
        layer_norm_case(&[2, 3], 5),
        norm_modulate_case(2, 3, 5, Branch::Mlp),
        gated_residual_case(2, 3, 5, Branch::Attention),
        attention_case(2, 3, 8, 2),
        tokens_case(2, 2, 3, 5),
        skip_fuse_case(2, 3, 5, 4),
    ];
    for storage in [Storage::F32, Storage::F64] {
        for case in &cases {
            let n = case.inputs.len();
            let all = under(Implementation::Fused, || case.outcome(storage, &vec![true; n]));
            for mask in 0..1usize << n {
                let tracked: Vec<bool> = (0..n).map(|i| mask >> i & 1 == 1).collect();
                let some = under(Implementation::Fused, || case.outcome(storage, &tracked));
                for (some, all) in some.output.iter().zip(&all.output) {
                    // The default bodies of inference and training may round differently.
                    assert!((some - all).abs() < 1e-12, "{}: output for {tracked:?}", case.name);
                }
                for i in 0..n {
                    let expected = if tracked[i] { all.gradients[i].as_ref() } else { None };
                    assert_eq!(some.gradients[i].as_ref(), expected, "{}: gradient {i} for {tracked:?}", case.name);
                }
            }
        }
    }
}

/// A decoder block in which the input, the modulation and the norm parameters are each used several times.
fn block(p: &[Tensor<Tracked<Flex>, 2>]) -> Tensor<Tracked<Flex>, 1> {
    let row = |i: usize| p[i].clone().flatten::<1>(0, 1);
    let x = p[0].clone().reshape([3, 5, 12]);
    let m = p[1].clone();
    let (gamma, beta) = (row(2), row(3));
    let x = skip_fuse(x.clone(), x, p[4].clone(), row(3), gamma.clone(), beta.clone());
    let h = norm_modulate(x.clone(), gamma.clone(), beta.clone(), m.clone(), Branch::Attention);
    let h = linear(attention(linear(h, p[5].clone(), None), 2), p[6].clone(), Some(row(3)));
    let x = gated_residual(x, h, m.clone(), Branch::Attention);
    let h = norm_modulate(x.clone(), gamma.clone(), beta.clone(), m.clone(), Branch::Mlp);
    let h = linear(linear_gelu(h, p[7].clone(), row(8)), p[9].clone(), Some(row(2)));
    let x = gated_residual(x.clone(), h, m, Branch::Mlp) + x;
    layer_norm(x, gamma, beta).powi_scalar(3).mean()
}

#[test]
fn gradients_of_tensors_used_several_times_add_up() {
    let device = Default::default();
    let dims = [
        [15, 12],
        [3, 72],
        [1, 12],
        [1, 12],
        [12, 24],
        [36, 12],
        [12, 12],
        [48, 12],
        [1, 48],
        [12, 48],
    ];
    let parameters = dims.map(|dims| Tensor::<Tracked<Flex>, 2>::random(dims, Distribution::Normal(0.0, 0.5), &device).require_grad());
    let [fused, plain] = [Implementation::Fused, Implementation::Plain].map(|choice| {
        under(choice, || {
            let gradients = block(&parameters).backward();
            parameters.clone().map(|p| p.grad(&gradients).expect("every parameter is used"))
        })
    });
    for (i, (fused, plain)) in fused.into_iter().zip(plain).enumerate() {
        let scale = plain.clone().abs().max().into_scalar();
        let off = (fused - plain).abs().max().into_scalar() / scale;
        println!("parameter {i}: relative difference {off:.1e}");
        assert!(scale > 0.0 && off < 1e-4, "parameter {i}: {off:e}");
    }
}

#[test]
#[should_panic(expected = "linear: the weight has shape [4, 5], expected [4, 3]")]
fn shapes_that_disagree_are_refused() {
    let device = Default::default();
    let x = Tensor::<Tracked<Flex>, 2>::zeros([2, 3], &device);
    let w = Tensor::<Tracked<Flex>, 2>::zeros([4, 5], &device);
    let _ = linear(x, w, None);
}
