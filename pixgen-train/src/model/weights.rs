//! Parameters as burn tensors: taken from a flat buffer for a pass, gradients added to one.

use crate::precision::Precision;
use crate::training::{Engine, Flat};
use burn_tensor::backend::{AutodiffBackend, Backend};
use burn_tensor::{Tensor, TensorData, TensorPrimitive};
use pixgen_core::params::{ParamKind, Role, Site};
use pixgen_edge::param_set::{ParamEntry, ParamSet};
use rayon::prelude::*;

/// A tensor of the list.
#[derive(Clone, Debug)]
enum Value<B: Backend> {
    Vector(Tensor<B, 1>),
    Matrix(Tensor<B, 2>),
}

impl<B: Backend> Value<B> {
    fn new(entry: &ParamEntry, values: Vec<f32>, device: &B::Device) -> Self {
        let data = TensorData::new(values, entry.dims.clone());
        match entry.dims.len() {
            1 => Self::Vector(Tensor::from_data(data, device)),
            _ => Self::Matrix(Tensor::from_data(data, device)),
        }
    }
}

/// The tensors of a [`ParamSet`] on a device.
#[derive(Clone, Debug)]
pub struct BurnWeights<'a, B: Backend> {
    set: &'a ParamSet,
    /// `None` for those that a [part](Self::part) leaves out.
    values: Vec<Option<Value<B>>>,
    precision: Precision,
}

impl<'a, B: Backend> BurnWeights<'a, B> {
    /// Copies `flat`, which is laid out as `set` says, to the device. On an autodiff backend the tensors are leaves of the graph.
    pub fn upload(set: &'a ParamSet, flat: &[f32], device: &B::Device) -> Self {
        Self::frozen(set, flat, device).leaves()
    }

    /// The same tensors as leaves of a new graph; nothing is copied.
    pub fn tracked<T: AutodiffBackend<InnerBackend = B>>(&self) -> BurnWeights<'a, T> {
        self.constant::<T>().leaves()
    }

    /// The same tensors as constants of a graph; nothing is copied.
    pub fn constant<T: AutodiffBackend<InnerBackend = B>>(&self) -> BurnWeights<'a, T> {
        self.part(|_| true)
    }

    /// The tensors of some layers alone, as constants of a graph. Asking it for another tensor panics.
    pub(super) fn part<T: AutodiffBackend<InnerBackend = B>>(&self, wanted: impl Fn(&ParamEntry) -> bool) -> BurnWeights<'a, T> {
        let constant = |value: &Value<B>| match value {
            Value::Vector(tensor) => Value::Vector(Tensor::from_inner(tensor.clone())),
            Value::Matrix(tensor) => Value::Matrix(Tensor::from_inner(tensor.clone())),
        };
        let values = self.set.entries().iter().zip(&self.values);
        let values = values.map(|(entry, value)| value.as_ref().filter(|_| wanted(entry)).map(constant));
        BurnWeights { set: self.set, values: values.collect(), precision: self.precision }
    }

    /// The same tensors, whose gradients are wanted from now on.
    pub(super) fn leaves(self) -> Self {
        let leaf = |value| match value {
            Value::Vector(tensor) => Value::Vector(tensor.require_grad()),
            Value::Matrix(tensor) => Value::Matrix(tensor.require_grad()),
        };
        let values = self.values.into_iter().map(|value| value.map(leaf));
        Self { set: self.set, values: values.collect(), precision: self.precision }
    }

    /// As [`upload`](Self::upload), but no gradient is kept for the tensors; it still flows through the operations that use them.
    pub fn frozen(set: &'a ParamSet, flat: &[f32], device: &B::Device) -> Self {
        let values = set
            .entries()
            .par_iter()
            .map(|entry| Some(Value::new(entry, flat[entry.range.clone()].to_vec(), device)))
            .collect();
        Self { set, values, precision: Precision::F32 }
    }

    /// As [`frozen`](Self::frozen), with the values of each tensor from `read`: they are in memory once.
    ///
    /// # Errors
    /// The first of `read`.
    pub fn frozen_from<E>(set: &'a ParamSet, read: impl Fn(&ParamEntry) -> Result<Vec<f32>, E>, device: &B::Device) -> Result<Self, E> {
        let value = |entry| Ok(Some(Value::new(entry, read(entry)?, device)));
        let values = set.entries().iter().map(value).collect::<Result<_, E>>()?;
        Ok(Self { set, values, precision: Precision::F32 })
    }

    /// The tensors of a list on its device, as constants: in bf16, if `precision` says so, all but biases, norms and the position table.
    pub fn of(set: &'a ParamSet, flat: &B::Flat, precision: Precision, device: &B::Device) -> Self
    where
        B: Engine,
    {
        let value = |at: usize| {
            let entry = &set.entries()[at];
            let precision = match entry.role {
                Role::Bias | Role::Norm | Role::Position => Precision::F32,
                _ => precision,
            };
            let tensor = TensorPrimitive::Float(flat.tensor(set, at, precision, device));
            Some(match entry.dims.len() {
                1 => Value::Vector(Tensor::from_primitive(tensor)),
                _ => Value::Matrix(Tensor::from_primitive(tensor)),
            })
        };
        let all = 0..set.entries().len();
        // A GPU has a stream of its own for each thread, and all that follows would have to wait for each of them.
        let values = if B::MICRO_BATCH_TOKENS.is_none() {
            all.map(value).collect()
        } else {
            all.into_par_iter().map(value).collect()
        };
        Self { set, values, precision }
    }

    /// Precision of the matrices, and so of the activations.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A vector of the generator.
    ///
    /// # Panics
    /// If the list has no such vector: the network asks only for those of its own configuration.
    pub fn vector(&self, site: Site, kind: ParamKind) -> Tensor<B, 1> {
        match self.set.position(site, kind).and_then(|at| self.values[at].as_ref()) {
            Some(Value::Vector(tensor)) => tensor.clone(),
            _ => panic!("no vector {} {kind:?} in the parameter list", site.name()),
        }
    }

    /// A matrix of the generator.
    ///
    /// # Panics
    /// As [`vector`](Self::vector).
    pub fn matrix(&self, site: Site, kind: ParamKind) -> Tensor<B, 2> {
        match self.set.position(site, kind).and_then(|at| self.values[at].as_ref()) {
            Some(Value::Matrix(tensor)) => tensor.clone(),
            _ => panic!("no matrix {} {kind:?} in the parameter list", site.name()),
        }
    }

    /// A bias, where the layer has one.
    pub fn bias(&self, site: Site) -> Option<Tensor<B, 1>> {
        self.set.position(site, ParamKind::Bias).map(|_| self.vector(site, ParamKind::Bias))
    }

    /// A vector by name.
    ///
    /// # Panics
    /// As [`vector`](Self::vector).
    pub fn named_vector(&self, name: &str) -> Tensor<B, 1> {
        match self.set.position_of(name).and_then(|at| self.values[at].as_ref()) {
            Some(Value::Vector(tensor)) => tensor.clone(),
            _ => panic!("no vector {name} in the parameter list"),
        }
    }

    /// A matrix by name.
    ///
    /// # Panics
    /// As [`vector`](Self::vector).
    pub fn named_matrix(&self, name: &str) -> Tensor<B, 2> {
        match self.set.position_of(name).and_then(|at| self.values[at].as_ref()) {
            Some(Value::Matrix(tensor)) => tensor.clone(),
            _ => panic!("no matrix {name} in the parameter list"),
        }
    }
}

impl<B: AutodiffBackend> BurnWeights<'_, B> {
    /// Adds the gradients of all tensors to `out`. A tensor that the loss does not depend on adds nothing.
    pub fn add_gradients<E>(&self, gradients: &mut B::Gradients, out: &mut E::Flat)
    where
        B: AutodiffBackend<InnerBackend = E>,
        E: Engine,
    {
        for (at, value) in self.values.iter().enumerate() {
            let gradient = match value {
                Some(Value::Vector(tensor)) => tensor.grad_remove(gradients).map(Tensor::into_primitive),
                Some(Value::Matrix(tensor)) => tensor.grad_remove(gradients).map(Tensor::into_primitive),
                None => None,
            };
            if let Some(gradient) = gradient {
                out.add(self.set, at, gradient.tensor());
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
