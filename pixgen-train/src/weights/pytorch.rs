//! PyTorch files (`.pt`, `.pth`, `.ckpt`) as named tensors, read one at a time: of a file of any size only one tensor is in memory.
//!
//! Strides and offsets are honoured: the values are those of `tensor.contiguous().float()` in PyTorch.

use super::container::{self, Extent};
use super::error::{ContainerProblem, PytorchError, TensorProblem};
use super::pickle::{Id, Value, View};
use super::scalar::Scalar;
use pixgen_edge::tensor_file::{self, Shaped, WriteError};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Containers inside containers.
const MAX_DEPTH: usize = 24;
/// Values visited while looking for tensors.
const MAX_VISITS: usize = 8 << 20;
/// Numbers of a tensor that repeats those of a smaller storage (stride 0).
const MAX_REPEATED: usize = 1 << 24;

/// One tensor of a file.
#[derive(Clone, Debug)]
pub struct PytorchTensor {
    /// Keys of the dicts around its own, joined by dots; empty at the top. `ema`, or `optimizer.state.0`.
    pub group: String,
    /// Name in its own dict, for example `blocks.0.norm1.weight`.
    pub key: String,
    /// Dimensions; none for a single number.
    pub shape: Vec<usize>,
    /// Type of the numbers in the file.
    pub scalar: Scalar,
    view: View,
}

impl PytorchTensor {
    /// Group and key.
    pub fn name(&self) -> String {
        match self.group.as_str() {
            "" => self.key.clone(),
            group => format!("{group}.{}", self.key),
        }
    }

    /// Numbers in it.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An open PyTorch file.
#[derive(Debug)]
pub struct PytorchFile {
    path: PathBuf,
    file: File,
    tensors: Vec<PytorchTensor>,
    extents: Vec<Extent>,
}

impl PytorchFile {
    /// Opens a file of either format and reads everything but the numbers.
    ///
    /// # Errors
    /// Every kind of [`PytorchError`] but [`File`](PytorchError::File). All sizes are checked against the file's.
    pub fn open(path: &Path) -> Result<Self, PytorchError> {
        let file = File::open(path).map_err(PytorchError::read(path))?;
        let found = container::open(&file, path)?;
        let mut walk = Walk { values: &found.pickle.values, tensors: Vec::new(), names: HashMap::new(), visits: 0 };
        walk.visit(found.pickle.root, &mut Vec::new())
            .map_err(|problem| PytorchError::damaged(path, problem))?;
        let checkpoint = Self { path: path.to_owned(), file, tensors: walk.tensors, extents: found.extents };
        for tensor in &checkpoint.tensors {
            checkpoint.span(tensor)?;
        }
        Ok(checkpoint)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tensors in the order of the file.
    pub fn tensors(&self) -> &[PytorchTensor] {
        &self.tensors
    }

    /// The numbers of one of [`tensors`](Self::tensors), row by row.
    pub fn read(&self, tensor: &PytorchTensor) -> Result<Vec<f32>, PytorchError> {
        let numbers = self.span(tensor)?;
        let extent = self.extents[tensor.view.storage];
        let size = tensor.scalar.size();
        let mut bytes = vec![0; numbers * size];
        let mut file = &self.file;
        let start = extent.offset + (tensor.view.offset * size) as u64;
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(PytorchError::read(&self.path))?;
        if let Some(crc) = extent.crc
            && bytes.len() as u64 == extent.len
            && crc32fast::hash(&bytes) != crc
        {
            return Err(self.fail(tensor, TensorProblem::Checksum));
        }
        let mut values = Vec::with_capacity(numbers);
        tensor.scalar.decode(&bytes, &mut values);
        drop(bytes);
        Ok(if is_contiguous(&tensor.shape, &tensor.view.stride) {
            values
        } else {
            gather(&values, &tensor.shape, &tensor.view.stride)
        })
    }

    /// Numbers from a tensor's first to its last, which lie in its storage.
    fn span(&self, tensor: &PytorchTensor) -> Result<usize, PytorchError> {
        let beyond = || self.fail(tensor, TensorProblem::Outside { shape: tensor.shape.clone(), stride: tensor.view.stride.clone() });
        let len = tensor
            .shape
            .iter()
            .try_fold(1usize, |len, &size| len.checked_mul(size))
            .ok_or_else(beyond)?;
        if len == 0 {
            return Ok(0);
        }
        let steps = tensor.shape.iter().zip(&tensor.view.stride);
        let last = steps
            .into_iter()
            .try_fold(0usize, |last, (&size, &stride)| last.checked_add((size - 1).checked_mul(stride)?));
        let span = last.and_then(|last| last.checked_add(1)).ok_or_else(beyond)?;
        let stored = self.extents[tensor.view.storage].len / tensor.scalar.size() as u64;
        let end = tensor.view.offset.checked_add(span).ok_or_else(beyond)?;
        if end as u64 > stored {
            return Err(beyond());
        }
        if len > span.max(MAX_REPEATED) {
            return Err(self.fail(tensor, TensorProblem::Repeats { numbers: span, times: len / span }));
        }
        Ok(span)
    }

    fn fail(&self, tensor: &PytorchTensor, kind: TensorProblem) -> PytorchError {
        PytorchError::Tensor { path: self.path.clone(), tensor: tensor.name(), kind }
    }
}

/// Writes all tensors of a PyTorch file as a safetensors file of f32, under the names they have there; returns how many they are.
///
/// A dict in the dict gives its key as the first part of the names: `ema.norm.weight`.
pub fn convert(pytorch: &Path, safetensors: &Path) -> Result<usize, PytorchError> {
    let checkpoint = PytorchFile::open(pytorch)?;
    let tensors = checkpoint.tensors();
    let list: Vec<Shaped> = tensors.iter().map(|t| Shaped { name: t.name(), shape: t.shape.clone() }).collect();
    tensor_file::write(safetensors, HashMap::new(), &list, |at| checkpoint.read(&tensors[at])).map_err(|error| match error {
        WriteError::Values(error) => error,
        WriteError::File(error) => error.into(),
    })?;
    Ok(tensors.len())
}

/// Looks for tensors in dicts and lists.
struct Walk<'a> {
    values: &'a [Value],
    tensors: Vec<PytorchTensor>,
    names: HashMap<String, usize>,
    visits: usize,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id, keys: &mut Vec<String>) -> Result<(), ContainerProblem> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(ContainerProblem::TooManyValues);
        }
        if keys.len() > MAX_DEPTH {
            return Err(ContainerProblem::TooDeep);
        }
        match &self.values[id] {
            Value::Tensor(view) => self.found(view, keys),
            Value::List(items) => {
                for (at, &item) in items.iter().enumerate() {
                    self.inside(item, || at.to_string(), keys)?;
                }
            }
            Value::Dict(pairs) => {
                for (at, &(key, item)) in pairs.iter().enumerate() {
                    let name = || match &self.values[key] {
                        Value::Str(name) => name.clone(),
                        Value::Int(number) => number.to_string(),
                        _ => at.to_string(),
                    };
                    let name = name();
                    self.inside(item, || name, keys)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn inside(&mut self, id: Id, key: impl FnOnce() -> String, keys: &mut Vec<String>) -> Result<(), ContainerProblem> {
        if matches!(self.values[id], Value::Tensor(_) | Value::List(_) | Value::Dict(_)) {
            keys.push(key());
            self.visit(id, keys)?;
            keys.pop();
        }
        Ok(())
    }

    /// A later tensor of the same name replaces an earlier one, as in Python's dicts.
    fn found(&mut self, view: &View, keys: &[String]) {
        let (key, group) = match keys {
            [group @ .., key] => (key.clone(), group.join(".")),
            [] => ("tensor".to_owned(), String::new()),
        };
        let tensor = PytorchTensor { group, key, shape: view.shape.clone(), scalar: view.scalar, view: view.clone() };
        match self.names.insert(tensor.name(), self.tensors.len()) {
            Some(before) => {
                self.names.insert(tensor.name(), before);
                self.tensors[before] = tensor;
            }
            None => self.tensors.push(tensor),
        }
    }
}

/// Whether a tensor's numbers lie row by row. The stride of a dimension of one means nothing.
fn is_contiguous(shape: &[usize], stride: &[usize]) -> bool {
    let mut want = 1;
    shape.iter().zip(stride).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == want;
        want *= size;
        fits
    })
}

/// Numbers of a strided view, row by row.
fn gather(values: &[f32], shape: &[usize], stride: &[usize]) -> Vec<f32> {
    let len = shape.iter().product();
    let mut out = Vec::with_capacity(len);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..len {
        out.push(values[at]);
        for dim in (0..shape.len()).rev() {
            index[dim] += 1;
            at += stride[dim];
            if index[dim] < shape[dim] {
                break;
            }
            at -= stride[dim] * shape[dim];
            index[dim] = 0;
        }
    }
    out
}
