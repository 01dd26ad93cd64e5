//! A device beside the CPU: the fused operations of a step at its sizes, output and every gradient, and what a whole step leaves.
//!
//! Nothing here is generic for its callers, so that training is compiled for each device in this crate only.

use super::operations::{Operation, Tracked, all};
use crate::config::RunConfig;
use crate::device::{Cpu, CpuDevice, DeviceChoice, DeviceProblem, OnDevice, Requirements};
use crate::distributed::Collective;
use crate::error::Error;
use crate::model::weights::to_vec;
use crate::objective::Terms;
use crate::ops::FusedOps;
use crate::precision::Precision;
use crate::prepared::Prepared;
use crate::training::{Engine, Flat, Outcome, State, step};
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

/// Compares every operation of a step in the precision of the run, and gives each difference to `each` as soon as it is known.
///
/// # Errors
/// A device that is not there or cannot do it.
pub fn operations(config: &RunConfig, device: DeviceChoice, each: &mut dyn FnMut(OperationDifference)) -> Result<(), DeviceProblem> {
    device.run(requirements(config), Operations { config, each })
}

/// Opens the device of a run, and says on stderr which it is and what computes its products.
///
/// # Errors
/// A device that is not there or cannot do it.
pub fn open(config: &RunConfig, device: DeviceChoice) -> Result<(), DeviceProblem> {
    device.run(requirements(config), Nothing)
}

struct Nothing;

impl OnDevice for Nothing {
    type Output = ();

    fn run<B: Engine>(self, _: &B::Device) {}
}

/// What a step leaves.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The loss and its terms.
    pub terms: Terms,
    /// Its gradient, in the order of the parameters.
    pub gradient: Vec<f32>,
    /// Parameters after the update.
    pub params: Vec<f32>,
    /// The run's first average after the update.
    pub average: Vec<f32>,
}

/// Takes a step half-way through a run, with `params` for its parameters; the target of stage 1 is at the run's start values.
///
/// # Errors
/// A device that is not there or cannot do it, a picture that cannot be read, and a gradient that is not finite.
pub fn whole_step(prepared: &Prepared, params: &[f32], device: DeviceChoice) -> Result<StepResult, Error> {
    device.run(requirements(&prepared.config), WholeStep { prepared, params })?
}

fn requirements(config: &RunConfig) -> Requirements {
    Requirements { bf16: config.compute.precision == Precision::Bf16, ..Requirements::default() }
}

struct Operations<'a> {
    config: &'a RunConfig,
    each: &'a mut dyn FnMut(OperationDifference),
}

impl OnDevice for Operations<'_> {
    type Output = ();

    fn run<B: Engine>(self, device: &B::Device) {
        compare::<B>(self.config, device, self.each);
    }
}

struct WholeStep<'a> {
    prepared: &'a Prepared,
    params: &'a [f32],
}

impl OnDevice for WholeStep<'_> {
    type Output = Result<StepResult, Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        let (config, alone) = (&self.prepared.config, Collective::default());
        let mut objective = self.prepared.objective::<B>(device, &alone);
        let set = objective.params();
        let mut state = State::new::<B>(set, self.params, &config.ema.configs(), device);
        let mut gradient = B::Flat::zeros(set, device);
        let progress = self.prepared.progress(config.train.images / 2);
        match step(&mut *objective, &mut state, &progress, &config.optimiser, &config.schedule, &mut gradient, &alone)? {
            Outcome::Taken { loss, .. } => Ok(StepResult {
                terms: loss.terms,
                gradient: gradient.host().into_owned(),
                params: state.params.host().into_owned(),
                average: state.emas.first().map_or_else(Vec::new, |ema| ema.values.host().into_owned()),
            }),
            Outcome::Skipped { tensor } => Err(Error::Diverged { count: 1, tensor, images: progress.images }),
        }
    }
}

fn compare<B: FusedOps>(config: &RunConfig, device: &B::Device, each: &mut dyn FnMut(OperationDifference)) {
    let (images, precision) = (config.train.batch, config.compute.precision);
    for ((name, found), (_, wanted)) in all::<B>(config).into_iter().zip(all::<Cpu>(config)) {
        let found = outcome(&found, images, precision, precision, device);
        let wanted = outcome(&wanted, images, precision, Precision::F32, &CpuDevice::default());
        let errors: Vec<f64> = found.iter().zip(&wanted).map(|(found, wanted)| error(found, wanted)).collect();
        let gradient = errors[1..]
            .iter()
            .copied()
            .fold(0.0, |worst, it| if is_worse(it, worst) { it } else { worst });
        each(OperationDifference { name, output: errors[0], gradient });
    }
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
