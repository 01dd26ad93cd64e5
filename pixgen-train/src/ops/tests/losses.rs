//! The losses against closed forms.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::ops::nt_xent;

#[test]
fn nt_xent_closed_forms() {
    let device = Default::default();
    let tensor = |rows: [[f32; 2]; 3]| Tensor::<Flex, 2>::from_floats(rows, &device);
    // Equal vectors: every score is the same, the loss is ln K whatever tau and length.
    let same = nt_xent(tensor([[3.0, 0.0]; 3]), tensor([[0.5, 0.0]; 3]), 0, 0.1);
    assert!((same.into_scalar() - 3f32.ln()).abs() < 1e-6);
    // Query i points at key i; the others are orthogonal or opposite.
    let q = tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]);
    let got = nt_xent(q.clone(), q, 0, 0.5).into_scalar();
    let e = |x: f32| x.exp();
    let side = (e(2.0) + 1.0 + e(-2.0)).ln() - 2.0;
    let middle = (e(2.0) + 2.0).ln() - 2.0;
    assert!((got - (2.0 * side + middle) / 3.0).abs() < 1e-5);
}
