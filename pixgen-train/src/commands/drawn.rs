//! From the flags of `sample` and `eval` to how pictures are drawn.

use crate::cli::{SamplerName, SamplingArgs};
use crate::error::Error;
use crate::run::averages::average;
use crate::sampling::Drawing;
use pixgen_core::diffusion::{Churn, Guidance, Sampler};
use pixgen_edge::model_file::{Content, ModelFile, ModelFileError};
use std::path::Path;

/// Levels of a diffusion model's grid, if not given: the paper's.
const LEVELS: u32 = 32;

/// `file`, which must draw: a model of stage 2a or 2b.
pub fn drawing(file: ModelFile, path: &Path) -> Result<ModelFile, Error> {
    match file.header.content {
        Content::Denoiser | Content::Generator => Ok(file),
        found => Err(ModelFileError::Content { path: path.to_owned(), found, wanted: Content::Generator }.into()),
    }
}

fn wrong(what: impl Into<String>, hint: &str) -> Error {
    Error::Argument { what: what.into(), hint: Some(hint.to_owned()) }
}

/// How `file` is asked to draw with a weight of guidance, and the weaker model if there is one.
pub fn choose(args: &SamplingArgs, weight: f64, file: &ModelFile) -> Result<(Drawing, Option<ModelFile>), Error> {
    if file.header.content != Content::Denoiser {
        let steps = args.steps.unwrap_or(1);
        if steps > 2 {
            return Err(wrong(
                format!("--steps {steps}: a one-step generator draws in 1 or 2 steps"),
                "leave it out, or train with --objective diffusion",
            ));
        }
        if weight != 1.0 || args.weak.is_some() || args.sampler != SamplerName::Heun {
            return Err(wrong(
                "--guidance, --weak and --sampler: this is a one-step generator",
                "they are for diffusion models: `finetune --objective diffusion`",
            ));
        }
        return Ok((Drawing::Consistency { steps }, None));
    }
    if !weight.is_finite() {
        return Err(wrong(format!("--guidance {weight}: must be a finite number"), "1 means no guidance; 2 to 3 is usual"));
    }
    let method = match args.sampler {
        SamplerName::Euler => Sampler::Euler,
        SamplerName::Heun => Sampler::Heun,
        SamplerName::Stochastic => Sampler::Stochastic(Churn::IMAGENET_64),
    };
    let guidance = (weight != 1.0).then(|| {
        let paper = Guidance::paper(weight);
        args.interval.map_or(paper, |(low, high)| Guidance { low, high, ..paper })
    });
    let weak = args.weak.as_deref().map(|path| weaker(path, file)).transpose()?;
    if weak.is_some() && guidance.is_none() {
        return Err(wrong("--weak has no effect without guidance", "add --guidance W with a weight above 1"));
    }
    Ok((Drawing::Diffusion { levels: args.steps.unwrap_or(LEVELS) as usize, method, guidance }, weak))
}

/// The weaker model, which must see the same pictures and classes.
fn weaker(path: &Path, file: &ModelFile) -> Result<ModelFile, Error> {
    let weak = average(path, None)?;
    if weak.header.content != Content::Denoiser {
        let found = weak.header.content;
        return Err(ModelFileError::Content { path: path.to_owned(), found, wanted: Content::Denoiser }.into());
    }
    let seen = |file: &ModelFile| {
        let header = &file.header;
        let model = &header.model;
        (model.size, model.channels, model.classes, header.noise, header.normalisation)
    };
    if seen(&weak) == seen(file) {
        return Ok(weak);
    }
    Err(wrong(
        format!("--weak {}: it was trained on other pictures, classes or noise", path.display()),
        "give a smaller or earlier model of the same data and preset family",
    ))
}
