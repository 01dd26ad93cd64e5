//! The fused operations of a step on a device beside the CPU's, at the sizes of the step: output and every gradient.

use super::operations::{Operation, Tracked, all};
use crate::config::RunConfig;
use crate::device::{Cpu, CpuDevice};
use crate::model::weights::to_vec;
use crate::ops::FusedOps;
use crate::precision::Precision;
use burn_tensor::{Tensor, TensorData};
use half::bf16;
use pixgen_core::rng::Rng;

/// How far an operation is from the CPU's in f32 on the same inputs: norm of the difference over the norm.
#[derive(Clone, Debug)]
pub struct OperationDifference {
    /// What, and in which tower.
    pub name: String,
    /// Of the output.
    pub output: f64,
    /// The largest of the gradients'.
    pub gradient: f64,
}

/// Compares every operation of a step in the precision of the run.
pub fn compare<B: FusedOps>(config: &RunConfig, device: &B::Device) -> Vec<OperationDifference> {
    let (images, precision) = (config.train.batch, config.compute.precision);
    let pairs = all::<B>(config).into_iter().zip(all::<Cpu>(config));
    pairs
        .map(|((name, found), (_, wanted))| {
            let found = outcome(&found, images, precision, precision, device);
            let wanted = outcome(&wanted, images, precision, Precision::F32, &CpuDevice::default());
            let errors: Vec<f64> = found.iter().zip(&wanted).map(|(found, wanted)| error(found, wanted)).collect();
            let gradient = errors[1..]
                .iter()
                .copied()
                .fold(0.0, |worst, it| if is_worse(it, worst) { it } else { worst });
            OperationDifference { name, output: errors[0], gradient }
        })
        .collect()
}

/// Whether an error is worse than another: a NaN is, whatever its sign.
pub fn is_worse(error: f64, than: f64) -> bool {
    error > than || error.is_nan()
}

/// Norm of the difference over the norm, infinite if there are fewer or more numbers than wanted.
pub fn error(found: &[f32], wanted: &[f32]) -> f64 {
    if found.len() != wanted.len() {
        return f64::INFINITY;
    }
    let squared = |values: &mut dyn Iterator<Item = f64>| values.map(|it| it * it).sum::<f64>();
    let difference = squared(&mut found.iter().zip(wanted).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    // What is nothing but rounding has no relative error.
    let size = squared(&mut wanted.iter().map(|it| f64::from(*it))).max(1e-12 * wanted.len() as f64);
    (difference / size).sqrt()
}

/// Output and gradients of an operation, computed in `precision`, on numbers that `stored` can hold.
fn outcome<B: FusedOps>(
    operation: &Operation<B>,
    images: usize,
    stored: Precision,
    precision: Precision,
    device: &B::Device,
) -> Vec<Vec<f32>> {
    let numbers = |len: usize, stream: u64, is_stored: bool| -> Tensor<Tracked<B>, 1> {
        let rng = Rng::new(1, stream);
        let rounded = |value: f32| {
            if is_stored && stored == Precision::Bf16 {
                bf16::from_f32(value).to_f32()
            } else {
                value
            }
        };
        let values: Vec<f32> = (0..len as u64).map(|at| rounded(0.5 * rng.gaussian(at))).collect();
        let tensor: Tensor<Tracked<B>, 1> = Tensor::from_data(TensorData::new(values, [len]), device);
        if is_stored { tensor.cast(precision.dtype()) } else { tensor }
    };
    let sizes = operation.inputs.iter().map(|len| (images * len, true));
    let sizes = sizes.chain(operation.parameters.iter().map(|it| (it.len, it.matrix)));
    let leaves: Vec<_> = sizes
        .enumerate()
        .map(|(at, (len, is_stored))| numbers(len, at as u64 + 1, is_stored).require_grad())
        .collect();
    let output = (operation.run)(images, &leaves);
    let upstream = numbers(output.dims().iter().product(), 0, true).reshape(output.dims());
    let single = |tensor: Tensor<B, 1>| to_vec(tensor.cast(Precision::F32.dtype()).into_data());
    let values = single(output.clone().inner().flatten(0, 2));
    let mut gradients = (output * upstream).backward();
    let gradient = |leaf: &Tensor<Tracked<B>, 1>| leaf.grad_remove(&mut gradients).map(single).unwrap_or_default();
    std::iter::once(values).chain(leaves.iter().map(gradient)).collect()
}

#[cfg(test)]
mod tests {
    use super::error;

    #[test]
    fn what_is_missing_is_wrong() {
        assert_eq!(error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(error(&[0.0, 0.0], &[3.0, 4.0]), 1.0);
        assert_eq!(error(&[], &[3.0, 4.0]), f64::INFINITY);
        assert_eq!(error(&[3.0, 4.0, 0.0], &[3.0, 4.0]), f64::INFINITY);
        assert!(error(&[-f32::NAN, 4.0], &[3.0, 4.0]).is_nan());
    }
}
