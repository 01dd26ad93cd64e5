//! The losses against closed forms.

use burn_flex::Flex;
use burn_tensor::{Tensor, TensorData};

use super::cases::numbers;
use super::under;
use crate::ops::implementation::Implementation;
use crate::ops::{FusedOps, LossFactors, consistency_loss, nt_xent};

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

/// Per image: with d = skip x + out f - target and u = |d|^2, the loss is w u / sqrt(u + c^2), whose root takes no gradient.
fn consistency_loss_matches<B: FusedOps>() {
    let device = Default::default();
    let (images, patches, width, huber) = (3, 5, 7, 0.3);
    let len = patches * width;
    let [f, x, target] = [11, 12, 13].map(|seed| numbers(images * len, seed));
    let tensor = |values: &[f64]| {
        let data = TensorData::new(values.iter().map(|&v| v as f32).collect::<Vec<_>>(), [images, patches, width]);
        Tensor::<B, 3>::from_data(data, &device)
    };
    let factors = LossFactors { skip: numbers(images, 14), out: numbers(images, 15), weight: vec![0.5, 2.0, 0.0] };
    let (losses, slope) = consistency_loss(tensor(&f), tensor(&x), tensor(&target), &factors, huber);
    let losses: Vec<f64> = losses.into_data().iter::<f64>().collect();
    let slope: Vec<f64> = slope.into_data().iter::<f64>().collect();
    for image in 0..images {
        let (skip, out, weight) = (factors.skip[image], factors.out[image], factors.weight[image]);
        let d: Vec<f64> = (image * len..(image + 1) * len).map(|i| skip * x[i] + out * f[i] - target[i]).collect();
        let u: f64 = d.iter().map(|d| d * d).sum();
        let root = (u + huber * huber).sqrt();
        assert!((losses[image] - weight * u / root).abs() < 1e-5, "loss of image {image}: {}", losses[image]);
        for (found, d) in slope[image * len..].iter().zip(d) {
            let want = weight * 2.0 * d * out / root;
            assert!((found - want).abs() < 1e-5, "slope of image {image}: {found} instead of {want}");
        }
    }
}

#[test]
fn consistency_loss_and_its_slope() {
    consistency_loss_matches::<Flex>();
    under(Implementation::Plain, consistency_loss_matches::<Flex>);
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    consistency_loss_matches::<super::TestGpu>();
}
