//! A model file against what another program computes with the same weights.
//!
//! The vectors are a safetensors file: `input` `[B, C, H, W]` is what the network reads (c_in x), `t` `[B]` the shifted noise levels,
//! `classes` `[B]` rows of the class embedding; `output` `[B, C, H, W]` is F. For an encoder, `feature` `[B, d]` is LN(CLS) and
//! `projected` `[B, out]` its projection with running statistics.

use super::source::{Source, SourceError};
use crate::device::{Cpu as Backend, CpuDevice as Device};
use crate::model::batch::upload;
use crate::model::weights::to_vec;
use crate::model::{Condition, NormMode, Projector, RunningStatistics, Weights, features, forward};
use crate::model_file::{Content, Header};
use pixgen_core::patch::{patchify, unpatchify};
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
    Source(#[from] SourceError),
    /// A tensor of the vectors.
    #[error("{}: {name}: {what}", path.display())]
    Vectors {
        /// File.
        path: PathBuf,
        /// Tensor.
        name: &'static str,
        /// What is wrong.
        what: String,
    },
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

impl VerifyError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
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

/// Dimensions and values of a tensor.
type Read = (Vec<usize>, Vec<f32>);

/// Runs the model file at `model` on the inputs of `vectors`. The weights are in memory once.
pub fn verify(model: &Path, header: &Header, vectors: &Path) -> Result<Vec<Agreement>, VerifyError> {
    let source = Source::open(vectors)?;
    let fail = |name, what: &str| VerifyError::Vectors { path: vectors.to_owned(), name, what: what.to_owned() };
    let tensor = |name: &'static str| -> Result<Option<Read>, VerifyError> {
        let at = source.tensors().iter().position(|tensor| tensor.name == name);
        at.map(|at| Ok((source.tensors()[at].shape.clone(), source.read(at)?))).transpose()
    };
    let config = &header.model;
    let (shape, input) = tensor("input")?.ok_or_else(|| fail("input", "missing"))?;
    let batch = shape.first().copied().unwrap_or(0);
    if batch == 0 || shape[1..] != [config.channels, config.size, config.size] {
        return Err(fail("input", &format!("shape {shape:?}, [B, {0}, {1}, {1}] expected", config.channels, config.size)));
    }
    let (_, t) = tensor("t")?
        .filter(|(_, t)| t.len() == batch)
        .ok_or_else(|| fail("t", "as many levels as inputs expected"))?;
    let t: Vec<f64> = t.into_iter().map(f64::from).collect();
    if t.iter().any(|t| !(*t > 0.0 && t.is_finite())) {
        return Err(fail("t", "levels above 0 expected"));
    }

    let weights_file = Source::open(model)?;
    let set = header.params();
    let values = |name: &str, dims: &[usize]| {
        let at = weights_file
            .tensors()
            .iter()
            .position(|tensor| tensor.name == name && tensor.shape == dims);
        let missing = || SourceError::Safetensors { path: model.to_owned(), what: format!("tensor {name} {dims:?} is missing") };
        weights_file.read(at.ok_or_else(missing)?)
    };
    let device = Device::default();
    let weights = Weights::<Backend>::frozen_from(&set, |entry| values(&entry.name, &entry.dims), &device)?;
    let mut patches = vec![0.0; input.len()];
    for (picture, out) in input.chunks_exact(config.image_len()).zip(patches.chunks_exact_mut(config.image_len())) {
        patchify(config, &channels_last(picture, config.channels), out);
    }
    let image = upload(patches, [batch, config.patches(), config.patch_len()], &device);
    let condition = |classes: Option<&[usize]>| Condition::new(&t, classes, config.encoder.width, &device);

    let mut found = Vec::new();
    let mut compare = |name: &'static str, got: &[f32], want: &[f32]| {
        if got.len() != want.len() {
            return Err(fail(name, &format!("{} values, {} expected", want.len(), got.len())));
        }
        let scale = want.iter().fold(0.0f64, |most, &v| most.max(f64::from(v).abs()));
        let apart = got.iter().zip(want).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
        // NaN counts as apart.
        let worst = apart.fold(0.0f64, |most, d| if d <= most { most } else { d });
        let difference = worst / scale.max(f64::MIN_POSITIVE);
        found.push(Agreement { name, scale, difference });
        Ok(())
    };
    if header.content == Content::Encoder {
        let z = features(config, &weights, &image, &condition(None));
        if let Some((_, want)) = tensor("feature")? {
            compare("feature", &to_vec(z.clone().into_data()), &want)?;
        }
        if let (Some(projector), Some((_, want))) = (&header.projector, tensor("projected")?) {
            let mut statistics = RunningStatistics::new(projector);
            for (name, place) in statistics.named_mut() {
                *place = values(&name, &[projector.hidden])?;
            }
            let projected = Projector::new(&weights).forward(z, NormMode::Running(&statistics)).0;
            compare("projected", &to_vec(projected.into_data()), &want)?;
        }
    } else {
        let (_, classes) = tensor("classes")?.ok_or_else(|| fail("classes", "missing"))?;
        let rows = 0.0..=config.classes as f32;
        if classes.len() != batch || classes.iter().any(|class| !rows.contains(class) || class.fract() != 0.0) {
            return Err(fail("classes", &format!("a row of 0 to {} for each input expected", config.classes)));
        }
        let classes: Vec<usize> = classes.into_iter().map(|class| class as usize).collect();
        let (_, want) = tensor("output")?.ok_or_else(|| fail("output", "missing"))?;
        let f = to_vec(forward(config, &weights, &image, &condition(Some(&classes)), None).into_data());
        let mut rows = vec![0.0; config.image_len()];
        let mut got = Vec::with_capacity(f.len());
        for f in f.chunks_exact(config.image_len()) {
            unpatchify(config, f, &mut rows);
            got.extend(channels_first(&rows, config.channels));
        }
        compare("output", &got, &want)?;
    }
    match found
        .iter()
        .find(|agreement| agreement.difference > TOLERANCE || agreement.difference.is_nan())
    {
        Some(&Agreement { name, difference, .. }) => Err(VerifyError::Differs { path: vectors.to_owned(), name, difference }),
        None if found.is_empty() => Err(fail("feature", "missing")),
        None => Ok(found),
    }
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
