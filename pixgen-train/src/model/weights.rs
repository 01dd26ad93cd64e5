//! Parameters as burn tensors: uploaded from a flat buffer for a pass, gradients read back into one.

use super::ParamSet;
use crate::ops::Ops as Fused;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use pixgen_core::params::{Kind, Site};
use rayon::prelude::*;

/// A tensor of the list.
#[derive(Clone, Debug)]
enum Value<B: Backend> {
    Vector(Tensor<B, 1>),
    Matrix(Tensor<B, 2>),
}

/// The tensors of a [`ParamSet`] on a device.
#[derive(Clone, Debug)]
pub struct Weights<'a, B: Backend> {
    set: &'a ParamSet,
    values: Vec<Value<B>>,
}

impl<'a, B: Backend> Weights<'a, B> {
    /// Copies `flat`, which is laid out as `set` says, to the device. On an autodiff backend the tensors are leaves of the graph.
    pub fn upload(set: &'a ParamSet, flat: &[f32], device: &B::Device) -> Self {
        Self::frozen(set, flat, device).leaves()
    }

    /// The same tensors as leaves of a new graph; nothing is copied.
    pub fn tracked<T: AutodiffBackend<InnerBackend = B>>(&self) -> Weights<'a, T> {
        self.constant::<T>().leaves()
    }

    /// The same tensors as constants of a graph; nothing is copied.
    pub fn constant<T: AutodiffBackend<InnerBackend = B>>(&self) -> Weights<'a, T> {
        let values = self.values.iter().map(|value| match value {
            Value::Vector(tensor) => Value::Vector(Tensor::from_inner(tensor.clone())),
            Value::Matrix(tensor) => Value::Matrix(Tensor::from_inner(tensor.clone())),
        });
        Weights { set: self.set, values: values.collect() }
    }

    fn leaves(self) -> Self {
        let values = self.values.into_iter().map(|value| match value {
            Value::Vector(tensor) => Value::Vector(tensor.require_grad()),
            Value::Matrix(tensor) => Value::Matrix(tensor.require_grad()),
        });
        Self { set: self.set, values: values.collect() }
    }

    /// As [`upload`](Self::upload), but no gradient is kept for the tensors; it still flows through the operations that use them.
    pub fn frozen(set: &'a ParamSet, flat: &[f32], device: &B::Device) -> Self {
        let values = set
            .entries()
            .par_iter()
            .map(|entry| {
                let data = TensorData::new(flat[entry.range.clone()].to_vec(), entry.dims.clone());
                match entry.dims.len() {
                    1 => Value::Vector(Tensor::from_data(data, device)),
                    _ => Value::Matrix(Tensor::from_data(data, device)),
                }
            })
            .collect();
        Self { set, values }
    }

    /// A vector of the generator.
    ///
    /// # Panics
    /// If the list has no such vector: the network asks only for those of its own configuration.
    pub fn vector(&self, site: Site, kind: Kind) -> Tensor<B, 1> {
        match self.set.position(site, kind).map(|at| &self.values[at]) {
            Some(Value::Vector(tensor)) => tensor.clone(),
            _ => panic!("no vector {} {kind:?} in the parameter list", site.name()),
        }
    }

    /// A matrix of the generator.
    ///
    /// # Panics
    /// As [`vector`](Self::vector).
    pub fn matrix(&self, site: Site, kind: Kind) -> Tensor<B, 2> {
        match self.set.position(site, kind).map(|at| &self.values[at]) {
            Some(Value::Matrix(tensor)) => tensor.clone(),
            _ => panic!("no matrix {} {kind:?} in the parameter list", site.name()),
        }
    }

    /// A bias, where the layer has one.
    pub fn bias(&self, site: Site) -> Option<Tensor<B, 1>> {
        self.set.position(site, Kind::Bias).map(|_| self.vector(site, Kind::Bias))
    }

    /// A vector by name.
    ///
    /// # Panics
    /// As [`vector`](Self::vector).
    pub fn named_vector(&self, name: &str) -> Tensor<B, 1> {
        match self.set.position_of(name).map(|at| &self.values[at]) {
            Some(Value::Vector(tensor)) => tensor.clone(),
            _ => panic!("no vector {name} in the parameter list"),
        }
    }

    /// A matrix by name.
    ///
    /// # Panics
    /// As [`vector`](Self::vector).
    pub fn named_matrix(&self, name: &str) -> Tensor<B, 2> {
        match self.set.position_of(name).map(|at| &self.values[at]) {
            Some(Value::Matrix(tensor)) => tensor.clone(),
            _ => panic!("no matrix {name} in the parameter list"),
        }
    }
}

impl<B: AutodiffBackend<InnerBackend: Fused>> Weights<'_, B> {
    /// Adds the gradients of all tensors to `out`, laid out as the list. A tensor that the loss does not depend on adds nothing.
    pub fn add_gradients(&self, gradients: &mut B::Gradients, out: &mut [f32]) {
        for (entry, value) in self.set.entries().iter().zip(&self.values) {
            let gradient = match value {
                Value::Vector(tensor) => tensor.grad_remove(gradients).map(Tensor::into_primitive),
                Value::Matrix(tensor) => tensor.grad_remove(gradients).map(Tensor::into_primitive),
            };
            if let Some(gradient) = gradient {
                B::InnerBackend::add_to(gradient.tensor(), &mut out[entry.range.clone()]);
            }
        }
    }
}

/// A tensor's values.
pub(crate) fn to_vec(data: TensorData) -> Vec<f32> {
    match data.into_vec::<f32>() {
        Ok(values) => values,
        Err(_) => unreachable!("the trainer computes in f32 only"),
    }
}
