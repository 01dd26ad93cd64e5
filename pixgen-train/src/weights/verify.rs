//! A model file against what another program computes with the same weights.
//!
//! The vectors are a safetensors file: `input` `[B, C, H, W]` is what the network reads (c_in x), `t` `[B]` the shifted noise levels,
//! `classes` `[B]` rows of the class embedding; `output` `[B, C, H, W]` is F. For an encoder, `feature` `[B, d]` is LN(CLS) and
//! `projected` `[B, out]` its projection with running statistics.

use super::source::{SafetensorsProblem, SourceError, TensorSource};
use crate::device::{DeviceChoice, DeviceProblem, OnDevice, Requirements};
use crate::model::batch::upload;
use crate::model::weights::to_vec;
use crate::model::{BurnWeights, Condition, NormMode, Projector, features, forward};
use crate::ops::FusedOps;
use crate::training::Engine;
use burn_tensor::Tensor;
use pixgen_core::config::ModelConfig;
use pixgen_core::patch::{patchify, unpatchify};
use pixgen_edge::model_file::{Content, ModelHeader};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::projector::RunningStatistics;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Largest difference of two programs in f32, relative to the largest value.
pub const TOLERANCE: f64 = 1e-4;

/// Why a model was not compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The vectors or the model file.
    #[error(transparent)]
    TensorSource(#[from] SourceError),
    /// A tensor of the vectors.
    #[error("{}: {name}: {kind}", path.display())]
    Vectors {
        /// File.
        path: PathBuf,
        /// Tensor.
        name: &'static str,
        /// What is wrong.
        kind: VectorProblem,
    },
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceProblem),
    /// The results are not the same.
    #[error("the model gives another `{name}` than {}: {:.1e} of its scale apart, {TOLERANCE:.0e} allowed", path.display(), difference)]
    Differs {
        /// File of the vectors.
        path: PathBuf,
        /// Tensor.
        name: &'static str,
        /// Largest difference, relative to the largest value.
        difference: f64,
    },
}

/// What is wrong with a tensor of the vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorProblem {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// Pictures of another size.
    #[error("shape {found:?}, [B, {channels}, {size}, {size}] expected")]
    Shape {
        /// Dimensions in the file.
        found: Vec<usize>,
        /// The model's colour channels.
        channels: usize,
        /// The model's pixels on a side.
        size: usize,
    },
    /// Another number of results.
    #[error("{found} values, {expected} expected")]
    Length {
        /// Values in the file.
        found: usize,
        /// Values that the model gives.
        expected: usize,
    },
    /// Another number of levels.
    #[error("as many levels as inputs expected")]
    LevelCount,
    /// Levels that are no noise.
    #[error("levels above 0 expected")]
    Level,
    /// Classes of another model, or too few.
    #[error("a row of 0 to {classes} for each input expected")]
    Class {
        /// Classes of the model; the last row is for no class.
        classes: usize,
    },
}

impl VerifyError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TensorSource(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::Vectors { .. } => Some("docs/reference/weights.md says what the file holds".into()),
            Self::Differs { .. } => Some("the vectors must come from the same weights, with `input` already scaled by c_in".into()),
        }
    }
}

/// How near two results are.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Agreement {
    /// Tensor of the vectors.
    pub name: &'static str,
    /// Largest absolute value of the vectors.
    pub scale: f64,
    /// Largest difference, relative to `scale`.
    pub difference: f64,
}

/// Runs the model file at `model` on the inputs of `vectors`, on `device`. The weights are in memory once.
///
/// # Errors
/// [`VerifyError`]: files that cannot be read or do not fit together, a device that is not there, results that differ.
pub fn verify(model: &Path, header: &ModelHeader, vectors: &Path, device: DeviceChoice) -> Result<Vec<Agreement>, VerifyError> {
    let set = header.params();
    let work = Comparison { model, header, set: &set, vectors: Vectors::open(vectors, &header.model)? };
    device.run(Requirements::inference(set.len()), work)?
}

/// Dimensions of a tensor, and its values.
type ShapedValues = (Vec<usize>, Vec<f32>);

/// Inputs and results of another program.
struct Vectors<'a> {
    path: &'a Path,
    source: TensorSource,
    /// Pictures.
    batch: usize,
    /// C H W, one after another.
    input: Vec<f32>,
    /// Shifted noise levels, one for each picture.
    t: Vec<f64>,
}

impl<'a> Vectors<'a> {
    fn open(path: &'a Path, config: &ModelConfig) -> Result<Self, VerifyError> {
        let mut vectors = Self { path, source: TensorSource::open(path)?, batch: 0, input: Vec::new(), t: Vec::new() };
        let (shape, input) = vectors.needed("input")?;
        vectors.batch = shape.first().copied().unwrap_or(0);
        if vectors.batch == 0 || shape[1..] != [config.channels, config.size, config.size] {
            return Err(vectors.wrong("input", VectorProblem::Shape { found: shape, channels: config.channels, size: config.size }));
        }
        let (_, t) = vectors.needed("t")?;
        if t.len() != vectors.batch {
            return Err(vectors.wrong("t", VectorProblem::LevelCount));
        }
        if t.iter().any(|t| !(*t > 0.0 && t.is_finite())) {
            return Err(vectors.wrong("t", VectorProblem::Level));
        }
        Ok(Self { input, t: t.into_iter().map(f64::from).collect(), ..vectors })
    }

    /// A tensor that the file may have.
    fn tensor(&self, name: &'static str) -> Result<Option<ShapedValues>, VerifyError> {
        let tensors = self.source.tensors();
        let at = tensors.iter().position(|tensor| tensor.name == name);
        at.map(|at| Ok((tensors[at].shape.clone(), self.source.read(at)?))).transpose()
    }

    fn needed(&self, name: &'static str) -> Result<ShapedValues, VerifyError> {
        self.tensor(name)?.ok_or_else(|| self.wrong(name, VectorProblem::Missing))
    }

    fn wrong(&self, name: &'static str, kind: VectorProblem) -> VerifyError {
        VerifyError::Vectors { path: self.path.to_owned(), name, kind }
    }

    /// Rows of the class embedding, the last of them for no class.
    fn classes(&self, config: &ModelConfig) -> Result<Vec<usize>, VerifyError> {
        let (_, classes) = self.needed("classes")?;
        let rows = 0.0..=config.classes as f32;
        if classes.len() != self.batch || classes.iter().any(|class| !rows.contains(class) || class.fract() != 0.0) {
            return Err(self.wrong("classes", VectorProblem::Class { classes: config.classes }));
        }
        Ok(classes.into_iter().map(|class| class as usize).collect())
    }

    /// How near `got` is to the tensor, if the file has it.
    fn compare(&self, name: &'static str, got: &[f32], found: &mut Vec<Agreement>) -> Result<(), VerifyError> {
        let Some((_, want)) = self.tensor(name)? else { return Ok(()) };
        if got.len() != want.len() {
            return Err(self.wrong(name, VectorProblem::Length { found: want.len(), expected: got.len() }));
        }
        let scale = want.iter().fold(0.0f64, |most, &v| most.max(f64::from(v).abs()));
        let apart = got.iter().zip(&want).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
        // NaN counts as apart.
        let worst = apart.fold(0.0f64, |most, d| if d <= most { most } else { d });
        found.push(Agreement { name, scale, difference: worst / scale.max(f64::MIN_POSITIVE) });
        Ok(())
    }
}

/// A model file and what another program computes with its weights.
struct Comparison<'a> {
    model: &'a Path,
    header: &'a ModelHeader,
    set: &'a ParamSet,
    vectors: Vectors<'a>,
}

impl OnDevice for Comparison<'_> {
    type Output = Result<Vec<Agreement>, VerifyError>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        let Self { model, header, set, vectors } = self;
        let file = TensorSource::safetensors(model)?;
        let values = |name: &str, dims: &[usize]| {
            let tensors = file.tensors();
            let at = tensors.iter().position(|tensor| tensor.name == name && tensor.shape == dims);
            let missing = || SourceError::Safetensors {
                path: model.to_owned(),
                kind: SafetensorsProblem::Missing { tensor: name.to_owned(), shape: dims.to_vec() },
            };
            file.read(at.ok_or_else(missing)?)
        };
        let weights = BurnWeights::<B>::frozen_from(set, |entry| values(&entry.name, &entry.dims), device)?;
        let config = &header.model;
        let mut found = Vec::new();
        let needed = if header.content == Content::Encoder {
            let z = features(config, &weights, &image::<B>(&vectors, config, device), &condition(&vectors, None, config, device));
            vectors.compare("feature", &to_vec(z.clone().into_data()), &mut found)?;
            if let Some(projector) = &header.projector {
                let mut statistics = RunningStatistics::new(projector);
                for (name, place) in statistics.named_mut() {
                    *place = values(&name, &[projector.hidden])?;
                }
                let projected = Projector::new(&weights).forward(z, NormMode::Running(&statistics)).0;
                vectors.compare("projected", &to_vec(projected.into_data()), &mut found)?;
            }
            "feature"
        } else {
            let classes = vectors.classes(config)?;
            let condition = condition(&vectors, Some(&classes), config, device);
            let f = forward(config, &weights, &image::<B>(&vectors, config, device), &condition, None);
            vectors.compare("output", &pictures(config, &to_vec(f.into_data())), &mut found)?;
            "output"
        };
        let apart = |agreement: &&Agreement| agreement.difference > TOLERANCE || agreement.difference.is_nan();
        match found.iter().find(apart) {
            Some(&Agreement { name, difference, .. }) => Err(VerifyError::Differs { path: vectors.path.to_owned(), name, difference }),
            None if found.is_empty() => Err(vectors.wrong(needed, VectorProblem::Missing)),
            None => Ok(found),
        }
    }
}

/// The inputs as patches, `[B, patches, patch_len]`.
fn image<B: FusedOps>(vectors: &Vectors<'_>, config: &ModelConfig, device: &B::Device) -> Tensor<B, 3> {
    let mut patches = vec![0.0; vectors.input.len()];
    for (picture, out) in vectors
        .input
        .chunks_exact(config.image_len())
        .zip(patches.chunks_exact_mut(config.image_len()))
    {
        patchify(config, &channels_last(picture, config.channels), out);
    }
    upload(patches, [vectors.batch, config.patches(), config.patch_len()], device)
}

fn condition<B: FusedOps>(vectors: &Vectors<'_>, classes: Option<&[usize]>, config: &ModelConfig, device: &B::Device) -> Condition<B> {
    Condition::new(&vectors.t, classes, config.encoder.width, device)
}

/// Patches as pictures C H W.
fn pictures(config: &ModelConfig, patches: &[f32]) -> Vec<f32> {
    let mut rows = vec![0.0; config.image_len()];
    let mut pictures = Vec::with_capacity(patches.len());
    for patches in patches.chunks_exact(config.image_len()) {
        unpatchify(config, patches, &mut rows);
        pictures.extend(channels_first(&rows, config.channels));
    }
    pictures
}

/// C H W as H W C.
fn channels_last(picture: &[f32], channels: usize) -> Vec<f32> {
    let pixels = picture.len() / channels;
    (0..picture.len()).map(|i| picture[i % channels * pixels + i / channels]).collect()
}

/// H W C as C H W.
fn channels_first(picture: &[f32], channels: usize) -> Vec<f32> {
    let pixels = picture.len() / channels;
    (0..picture.len()).map(|i| picture[i % pixels * channels + i / pixels]).collect()
}
