//! Weight files of published networks: safetensors with the names of the original PyTorch packages.

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

use crate::quality::error::QualityError;
use pixgen_edge::eval::WeightFault;

/// Named tensors of a file.
pub(crate) struct Weights<'a> {
    path: PathBuf,
    source: TensorSource<'a>,
}

/// A tensor by its name and shape.
#[cfg(test)]
type Formula<'a> = dyn Fn(&str, &[usize]) -> Vec<f32> + 'a;

enum TensorSource<'a> {
    File(SafeTensors<'a>),
    #[cfg(test)]
    Formula(Box<Formula<'a>>),
}

impl<'a> Weights<'a> {
    /// The tensors in the bytes of a file; `path` is for messages.
    pub fn new(bytes: &'a [u8], path: &Path) -> Result<Self, QualityError> {
        match SafeTensors::deserialize(bytes) {
            Ok(file) => Ok(Self { path: path.to_owned(), source: TensorSource::File(file) }),
            Err(error) => Err(QualityError::WeightFile { path: path.to_owned(), reason: error.to_string() }),
        }
    }

    /// Tensors by name and shape, for tests without a file.
    #[cfg(test)]
    pub fn from_fn(formula: impl Fn(&str, &[usize]) -> Vec<f32> + 'a) -> Self {
        Self { path: "formula".into(), source: TensorSource::Formula(Box::new(formula)) }
    }

    /// The values of a tensor of f32, row-major.
    ///
    /// # Errors
    /// If it is missing, of another type or shape, or holds a value that is not finite. Other tensors in the file do not matter.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, QualityError> {
        let values: Vec<f32> = match &self.source {
            TensorSource::File(file) => {
                let tensor = file.tensor(name).map_err(|_| self.fault(name, WeightFault::Missing))?;
                if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                    let fault = WeightFault::Form {
                        expected_type: Dtype::F32,
                        expected: shape.to_vec(),
                        found_type: tensor.dtype(),
                        found: tensor.shape().to_vec(),
                    };
                    return Err(self.fault(name, fault));
                }
                let (values, _) = tensor.data().as_chunks();
                values.iter().copied().map(f32::from_le_bytes).collect()
            }
            #[cfg(test)]
            TensorSource::Formula(formula) => formula(name, shape),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(self.fault(name, WeightFault::NotFinite { index })),
            None => Ok(values),
        }
    }

    /// The error that names a tensor.
    pub fn fault(&self, tensor: &str, fault: WeightFault) -> QualityError {
        QualityError::Weight { path: self.path.clone(), tensor: tensor.to_owned(), fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn unfit_tensors_are_named() {
        let values: Vec<u8> = [1.0f32, 2.0, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let tensors = [
            ("good", view(Dtype::F32, &[2, 1], &values[..8])),
            ("nan", view(Dtype::F32, &[3], &values)),
            ("half", view(Dtype::F16, &[4], &values[..8])),
        ];
        let file = safetensors::serialize(tensors, None).unwrap();
        let weights = Weights::new(&file, Path::new("w.safetensors")).unwrap();
        assert_eq!(weights.tensor("good", &[2, 1]).unwrap(), [1.0, 2.0]);
        let fails = |name, shape: &[usize]| weights.tensor(name, shape).unwrap_err().to_string();
        assert_eq!(fails("none", &[1]), "w.safetensors: tensor `none`: missing");
        assert_eq!(fails("good", &[2]), "w.safetensors: tensor `good`: F32 [2] expected, found F32 [2, 1]");
        assert_eq!(fails("half", &[4]), "w.safetensors: tensor `half`: F32 [4] expected, found F16 [4]");
        assert_eq!(fails("nan", &[3]), "w.safetensors: tensor `nan`: value 2 is not finite");
        let error = Weights::new(&file[..20], Path::new("w.safetensors")).err().unwrap();
        assert!(matches!(error, QualityError::WeightFile { .. }) && error.hint().is_some(), "{error}");
    }
}
