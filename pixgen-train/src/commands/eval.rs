//! `eval`: how good a model's pictures are, beside real ones.

use super::drawn;
use crate::cache;
use crate::cli::{Eval, FeatureArgs};
use crate::config::DataConfig;
use crate::device::{Cpu as Backend, CpuDevice as Device};
use crate::error::Error;
use crate::ops::Ops;
use crate::prepared;
use crate::quality::sweep::{self, Evaluated, Way, proportional};
use crate::quality::yardstick::Options;
use crate::quality::{Extractor, Measurement, Network, Real, Recipe, Subject, Table, Yardstick, npz};
use crate::run::averages::averages;
use crate::run::note;
use crate::sampling::{Drawing, Generator, Request};
use pixgen_core::config::ModelConfig;
use pixgen_core::presets::PRESETS;
use pixgen_edge::data::{self, DataError, Dataset, FASHION_MNIST_CLASSES, ImageShape, bundled_split};
use pixgen_edge::eval::{Classifier, Quality, measure};
use pixgen_edge::model_file::{Header, ModelFile};
use pixgen_edge::picture::{Grid, Picture};
use serde::Serialize;
use std::path::Path;

/// A measurement of a Fashion-MNIST model with everything that it depends on.
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

/// Draws pictures of a Fashion-MNIST model and measures them against its own training and held-out pictures.
pub fn evaluate<B: Ops>(
    file: &ModelFile,
    training: &Dataset,
    held_out: &Dataset,
    drawn: &Drawn<'_>,
    device: &B::Device,
) -> Result<Measured, Error> {
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
    let pictures = Generator::from(file).draw::<B>(&file.params, weak, device, &wanted);
    let labels = |values: &mut dyn Iterator<Item = usize>| values.map(|v| v as u8).collect::<Vec<u8>>();
    let asked = labels(&mut classes.iter().copied());
    let real = labels(&mut held_out.labels.iter().map(|&l| usize::from(l)));
    let classifier = Classifier::fashion()?;
    let quality = measure(&classifier, &pictures, &asked, &training.pixels()?, (&held_out.pixels()?, &real))?;
    let steps = drawing.evaluations(&file.header.noise);
    Ok(Measured { ema: file.header.ema.clone(), images_seen: file.header.images, seed, steps, quality })
}

/// All rows of a command, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    /// Version of these keys.
    schema: u32,
    rows: &'a [Measurement],
}

pub(super) fn run(args: &Eval) -> Result<(), Error> {
    if let (Some(folder), Some(against)) = (&args.folder, &args.against) {
        return folders(args, folder, against);
    }
    let Some(path) = &args.model else {
        return Err(Error::Argument {
            what: "nothing to measure".to_owned(),
            hint: Some("give a model file, a run folder, or --folder A --against B".to_owned()),
        });
    };
    let file = drawn::load(path)?;
    let ways: Vec<Way> = args
        .guidance
        .iter()
        .map(|&weight| drawn::choose(&args.drawn, weight, &file).map(|(drawing, weak)| Way { drawing, weak }))
        .collect::<Result<_, _>>()?;
    let models = averages(file, path, &args.ema)?;
    if let ([file], [way]) = (&models[..], &ways[..])
        && is_fashion(&file.header)
        && usual(args)
    {
        return fashion(args, file, way);
    }
    let sets = sweep(args, path, &models, &ways)?;
    let rows: Vec<Measurement> = sets.into_iter().map(|set| set.measurement).collect();
    print(args, &rows)
}

/// Whether the committed classifier knows a model's pictures.
fn is_fashion(header: &Header) -> bool {
    let model = &header.model;
    let names = header.class_names.iter().map(String::as_str);
    Classifier::check_shape(model.channels, model.size, model.size).is_ok() && names.eq(FASHION_MNIST_CLASSES)
}

/// Whether nothing is asked for that the short report does not have.
fn usual(args: &Eval) -> bool {
    let FeatureArgs { network, layer, input, resize, weights, data, reference, reference_count, k } = &args.features;
    let options = [
        network.is_some(),
        layer.is_some(),
        input.is_some(),
        resize.is_some(),
        weights.is_some(),
        data.is_some(),
        reference.is_some(),
        reference_count.is_some(),
        k.is_some(),
        args.grid.is_some(),
    ];
    options == [false; 10]
}

/// The report of the quick start.
fn fashion(args: &Eval, file: &ModelFile, way: &Way) -> Result<(), Error> {
    let (training, held_out) = bundled_split()?;
    if file.header.data != training.fingerprint() {
        note("warning: the model was trained on other data; floors and nearest pictures are of the bundled data");
    }
    let Way { drawing, weak } = way;
    let drawn = Drawn { count: args.count as usize, seed: args.seed, drawing: *drawing, weak: weak.as_ref() };
    let measured = evaluate::<Backend>(file, &training, &held_out, &drawn, &Device::default())?;
    if args.json {
        return Ok(super::print_json(&measured)?);
    }
    let Measured { ema, images_seen, seed, steps, quality } = measured;
    let text = format!("{images_seen} images seen, average {ema}, seed {seed}, {steps} step(s)\n{quality}");
    Ok(super::print_bytes(text.as_bytes())?)
}

/// Every model drawn in every way, against one yardstick.
fn sweep(args: &Eval, path: &Path, models: &[ModelFile], ways: &[Way]) -> Result<Vec<Evaluated>, Error> {
    let header = &models[0].header;
    let (training, held_out) = prepared::pictures_of(path, args.features.data.as_deref(), header)?;
    if training.class_names.len() != header.model.classes {
        return Err(Error::Argument {
            what: format!("{} has {} classes, the model {}", training.source, training.class_names.len(), header.model.classes),
            hint: Some("give the data that it was trained on with --data".to_owned()),
        });
    }
    if header.data != training.fingerprint() {
        note(&format!("warning: the model was trained on other data than {}", training.source));
    }
    let usual = if is_fashion(header) {
        Network::Fashion
    } else {
        Network::EfficientNetLite0
    };
    let extractor = extractor(&args.features, usual)?;
    let count = args.count as usize;
    let (known, fresh) = (training.pixels()?, held_out.pixels()?);
    let real = Real {
        name: &training.source,
        shape: training.shape,
        training: &known,
        labels: &training.labels,
        held_out: &fresh,
        held_out_labels: &held_out.labels,
        class_names: &training.class_names,
    };
    let options = options(&args.features, count);
    note(&format!("features of real pictures by {}", extractor.recipe()));
    let yardstick = Yardstick::new(extractor, real, options, reference(&args.features)?)?;
    let asked = proportional(&training.class_counts(), count);
    let source = path.display().to_string();
    let sets = sweep::evaluate::<Backend>(&yardstick, (&source, models), ways, &asked, args.seed, &Device::default())?;
    if let (Some(out), Some(set)) = (&args.grid, sets.first()) {
        pairs(set, &training, out)?;
        note(&format!(
            "{}, each with the nearest training picture on its right: {}",
            set.measurement.subject,
            out.display()
        ));
    }
    Ok(sets)
}

fn options(args: &FeatureArgs, count: usize) -> Options {
    let usual = Options::new(count);
    Options {
        neighbours: args.k.map_or(usual.neighbours, |k| k as usize),
        reference: args.reference_count.map_or(usual.reference, |count| count as usize),
        ..usual
    }
}

/// The network with its weights.
fn extractor(args: &FeatureArgs, usual: Network) -> Result<Extractor, Error> {
    let recipe = Recipe::new(args.network.unwrap_or(usual), args.layer.as_deref(), args.input, args.resize)?;
    match (&args.weights, recipe.network) {
        (Some(path), _) => Ok(Extractor::load(recipe, path)?),
        (None, Network::Inception) => Err(Error::Argument {
            what: "--network inception needs --weights FILE".to_owned(),
            hint: Some(
                "its weights are in no package: save pt_inception-2015-12-05 of pytorch-fid as safetensors, names unchanged".to_owned(),
            ),
        }),
        (None, _) => Ok(Extractor::load(recipe, &cache::efficientnet_lite0())?),
    }
}

/// The file of `--reference`, with its name.
fn reference(args: &FeatureArgs) -> Result<Option<(&str, npz::Npz)>, Error> {
    let Some(path) = &args.reference else {
        return Ok(None);
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("reference");
    Ok(Some((name, npz::read(path)?)))
}

fn print(args: &Eval, rows: &[Measurement]) -> Result<(), Error> {
    if args.json {
        return Ok(super::print_json(&Report { schema: 1, rows })?);
    }
    Ok(super::print_bytes(Table(rows).to_string().as_bytes())?)
}

/// Up to four rows of pictures, each beside the nearest training picture.
fn pairs(set: &Evaluated, training: &Dataset, out: &Path) -> Result<(), Error> {
    let Some(nearest) = &set.nearest else {
        return Ok(());
    };
    let ImageShape { width, height, channels } = training.shape;
    let columns = training.class_names.len().clamp(4, 8);
    let bytes = set.pictures.chunks_exact(training.shape.len()).zip(&nearest.indices);
    let mut pictures = Vec::new();
    for (picture, &index) in bytes.take(4 * columns) {
        pictures.push(Picture::new(width, height, channels, picture.to_vec())?);
        let nearest = training.image(index).map_err(DataError::from)?;
        pictures.push(Picture::new(width, height, channels, nearest.into_owned())?);
    }
    Ok(Grid { columns: 2 * columns, scale: (112 / height).clamp(1, 4) }.save(out, &pictures)?)
}

/// The pictures of one folder against those of another; no model.
fn folders(args: &Eval, folder: &Path, against: &Path) -> Result<(), Error> {
    let model = ModelConfig { size: args.size.unwrap_or_default() as usize, channels: 3, ..PRESETS[0].model };
    let load = |path: &Path| -> Result<Dataset, Error> {
        let settings = DataConfig { path: path.display().to_string(), ..DataConfig::defaults(true) };
        Ok(data::load(&settings.spec(&model)?)?.dataset)
    };
    let (pictures, real) = (load(folder)?, load(against)?);
    let extractor = extractor(&args.features, Network::EfficientNetLite0)?;
    let known = real.pixels()?;
    let everything = Real {
        name: &real.source,
        shape: real.shape,
        training: &known,
        labels: &real.labels,
        held_out: &[],
        held_out_labels: &[],
        class_names: &[],
    };
    let options = Options {
        reference: args.features.reference_count.map_or(usize::MAX, |count| count as usize),
        top_up: false,
        ..options(&args.features, pictures.len())
    };
    let yardstick = Yardstick::new(extractor, everything, options, reference(&args.features)?)?;
    let measured = yardstick.measure(&pictures.pixels()?, None)?;
    print(args, &[yardstick.report(Subject::pictures(&folder.display().to_string()), measured.numbers)])
}
