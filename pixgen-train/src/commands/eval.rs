//! `eval`: how good a model's pictures are, beside real ones.

use super::{Backend, Device, drawn};
use crate::cli::Eval;
use crate::data::{Dataset, bundled_split};
use crate::error::Error;
use crate::eval::{Classifier, Quality, measure};
use crate::model_file::ModelFile;
use crate::run::note;
use crate::sampling::{Drawing, Generator, Request};
use serde::Serialize;

/// A measurement with everything that it depends on.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Which average the weights are.
    pub ema: String,
    /// Images seen in training.
    pub images_seen: u64,
    /// Seed of the noise.
    pub seed: u64,
    /// Network evaluations for each picture.
    pub steps: u32,
    /// The numbers.
    #[serde(flatten)]
    pub quality: Quality,
}

/// What is drawn for a measurement.
#[derive(Debug)]
pub struct Drawn<'a> {
    /// Pictures, the same number of each class.
    pub count: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// How.
    pub drawing: Drawing,
    /// The weaker model of autoguidance.
    pub weak: Option<&'a ModelFile>,
}

/// Draws pictures and measures them against the model's own training and held-out pictures.
pub fn evaluate(file: &ModelFile, training: &Dataset, held_out: &Dataset, drawn: &Drawn<'_>) -> Result<Measured, Error> {
    let Drawn { count, seed, drawing, weak } = *drawn;
    let model = &file.header.model;
    Classifier::check_shape(model.channels, model.size, model.size)?;
    if model.classes != 10 {
        return Err(Error::Argument {
            what: format!("the classifier knows ten classes, the model has {}", model.classes),
            hint: Some("only models of Fashion-MNIST can be measured with it".to_owned()),
        });
    }
    let classes: Vec<usize> = (0..count).map(|i| i % model.classes).collect();
    let wanted = Request { seed, first: 0, classes: &classes, drawing };
    let pictures = Generator::from(file).draw::<Backend>(&file.params, weak, &Device::default(), &wanted);
    let labels = |values: &mut dyn Iterator<Item = usize>| values.map(|v| v as u8).collect::<Vec<u8>>();
    let asked = labels(&mut classes.iter().copied());
    let real = labels(&mut held_out.labels.iter().map(|&l| usize::from(l)));
    let classifier = Classifier::fashion()?;
    let quality = measure(&classifier, &pictures, &asked, &training.pixels()?, (&held_out.pixels()?, &real))?;
    let steps = drawing.evaluations(&file.header.noise);
    Ok(Measured { ema: file.header.ema.clone(), images_seen: file.header.images, seed, steps, quality })
}

pub(super) fn run(args: &Eval) -> Result<(), Error> {
    let file = drawn::load(&args.model)?;
    let (drawing, weak) = drawn::choose(&args.drawn, &file)?;
    let (training, held_out) = bundled_split()?;
    if file.header.data != training.fingerprint() {
        note("warning: the model was trained on other data; floors and nearest pictures are of the bundled data");
    }
    let drawn = Drawn { count: args.count as usize, seed: args.seed, drawing, weak: weak.as_ref() };
    let measured = evaluate(&file, &training, &held_out, &drawn)?;
    if args.json {
        return Ok(super::print_json(&measured)?);
    }
    let Measured { ema, images_seen, seed, steps, quality } = measured;
    let text = format!("{images_seen} images seen, average {ema}, seed {seed}, {steps} step(s)\n{quality}");
    Ok(super::print_bytes(text.as_bytes())?)
}
