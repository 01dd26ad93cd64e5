//! `probe`: what the encoder's feature knows of the classes, at several noise levels.

use crate::cli::{ModelArgs, ProbeArgs};
use crate::device::{OnDevice, Requirements};
use crate::error::Error;
use crate::model::batch::upload;
use crate::model::weights::to_vec;
use crate::model::{BurnWeights, Condition, features};
use crate::prepared;
use crate::quality::probe::{Labelled, linear, nearest_neighbours};
use crate::run::averages::average;
use crate::training::Engine;
use pixgen_core::patch::patchify;
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::data::{DataError, Dataset};
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::terminal::{note, print_json, print_text};
use pixgen_edge::units::counted;
use serde::Serialize;
use std::fmt;

/// Pictures that go through the encoder at once.
const BATCH: usize = 250;

/// What `probe` prints: what was found, with what it depends on.
#[derive(Debug, Serialize)]
struct ProbeReport {
    /// Version of these keys.
    schema: u32,
    /// Images seen in training.
    images_seen: u64,
    /// Which average the weights are.
    ema: String,
    /// Seed of the noise.
    seed: u64,
    /// Pictures whose classes are known, and pictures asked about.
    known: usize,
    asked: usize,
    /// Neighbours that vote.
    neighbours: usize,
    /// Features of a picture.
    features: usize,
    /// The largest share of one class among the pictures asked about: what guessing reaches.
    guessing: f64,
    levels: Vec<ProbeLevel>,
}

/// Both probes at one level; the untrained encoder's beside them.
#[derive(Debug, Serialize)]
struct ProbeLevel {
    /// Unshifted.
    sigma: f64,
    knn: f64,
    linear: f64,
    untrained_knn: f64,
    untrained_linear: f64,
}

pub(super) fn run(args: &ProbeArgs) -> Result<(), Error> {
    let device = args.device.choice()?;
    let ModelArgs { model, ema } = &args.model;
    let file = average(model, ema.as_deref())?;
    let (training, held_out) = prepared::pictures_of(model, args.data.as_deref(), &file.header)?;
    if held_out.is_empty() || training.len() < 2 {
        return Err(Error::Argument {
            what: "no pictures are kept out of training to ask about".to_owned(),
            hint: Some("train with --set data.hold_out=0.1, or give --data".to_owned()),
        });
    }
    if file.header.data != training.fingerprint() {
        note("warning: the model was trained on other data");
    }
    let known = training.len().min(args.count as usize);
    let levels = device.run(
        Requirements::inference(2 * file.params.len()),
        Levels { args, file: &file, training: &training, held_out: &held_out, known },
    )??;
    let report = ProbeReport {
        schema: 1,
        images_seen: file.header.images,
        ema: file.header.ema.clone(),
        seed: args.seed,
        known,
        asked: held_out.len(),
        neighbours: args.neighbours as usize,
        features: file.header.model.encoder.width,
        guessing: held_out.class_counts().into_iter().max().unwrap_or(0) as f64 / held_out.len() as f64,
        levels,
    };
    if args.json {
        return Ok(print_json(&report)?);
    }
    Ok(print_text(&report.to_string())?)
}

/// Both probes at every level, on whichever device.
struct Levels<'a> {
    args: &'a ProbeArgs,
    file: &'a ModelFile,
    training: &'a Dataset,
    held_out: &'a Dataset,
    /// Training pictures whose classes are known.
    known: usize,
}

impl OnDevice for Levels<'_> {
    type Output = Result<Vec<ProbeLevel>, DataError>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        let Self { args, file, training, held_out, known } = self;
        let untrained = file.set.initialise(file.header.seed);
        let classes = training.class_names.len();
        let probe = |params: &[f32], sigma: f64| -> Result<[f64; 2], DataError> {
            let see = |pictures: &Dataset, count: usize, first: usize| {
                let noise = Noise { sigma, seed: args.seed, first: first as u64 };
                encode::<B>(file, params, pictures, count, &noise, device)
            };
            let (known, asked) = (see(training, known, 0)?, see(held_out, held_out.len(), known)?);
            Ok([
                nearest_neighbours(&known, &asked, classes, args.neighbours as usize),
                linear(&known, &asked, classes),
            ])
        };
        let level = |&sigma: &f64| {
            let [knn, linear] = probe(&file.params, sigma)?;
            let [untrained_knn, untrained_linear] = probe(&untrained, sigma)?;
            Ok(ProbeLevel { sigma, knn, linear, untrained_knn, untrained_linear })
        };
        args.sigma.iter().map(level).collect()
    }
}

/// Noise of a set of pictures.
struct Noise {
    /// Unshifted level.
    sigma: f64,
    seed: u64,
    /// Number of the first picture.
    first: u64,
}

/// LN(CLS) of x0 + t eps for `count` of the pictures, evenly spread, without class.
fn encode<B: Engine>(
    file: &ModelFile,
    params: &[f32],
    pictures: &Dataset,
    count: usize,
    noise: &Noise,
    device: &B::Device,
) -> Result<Labelled, DataError> {
    let header = &file.header;
    let (config, len) = (&header.model, header.model.image_len());
    let channels = config.channels;
    let weights = BurnWeights::<B>::frozen(&file.set, params, device);
    let t = header.noise.shift * noise.sigma;
    let (c_in, level) = (header.noise.c_in(t) as f32, t as f32);
    let no_class = (header.content != Content::Encoder).then_some(config.classes);
    let mut values = Vec::with_capacity(count * config.encoder.width);
    let numbers: Vec<usize> = (0..count).map(|i| i * pictures.len() / count).collect();
    for batch in numbers.chunks(BATCH) {
        let mut patches = vec![0.0; batch.len() * len];
        let (mut picture, mut eps) = (vec![0.0; len], vec![0.0; len]);
        for (&number, patches) in batch.iter().zip(patches.chunks_exact_mut(len)) {
            let bytes = pictures.image(number)?;
            picture
                .iter_mut()
                .zip(&*bytes)
                .for_each(|(value, &byte)| *value = f32::from(byte) / 255.0);
            header.normalisation.normalise_unit(channels, &mut picture);
            Rng::new(noise.seed, stream(Purpose::Test, noise.first + number as u64)).fill_gaussian(0, &mut eps);
            picture
                .iter_mut()
                .zip(&eps)
                .for_each(|(value, eps)| *value = c_in * (*value + level * eps));
            patchify(config, &picture, patches);
        }
        let image = upload(patches, [batch.len(), config.patches(), config.patch_len()], device);
        let classes = no_class.map(|row| vec![row; batch.len()]);
        let condition = Condition::new(&vec![t; batch.len()], classes.as_deref(), config.encoder.width, device);
        values.extend(to_vec(features(config, &weights, &image, &condition).into_data()));
    }
    let labels = numbers.iter().map(|&number| pictures.labels[number]).collect();
    Ok(Labelled { values, dim: config.encoder.width, labels })
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images_seen, ema, seed, known, asked, neighbours, features, guessing, .. } = self;
        let images = counted(*images_seen as usize, "image", "images");
        writeln!(f, "{images} seen, average {ema}, seed {seed}: {features} features of the encoder")?;
        writeln!(
            f,
            "{known} pictures with known classes, {asked} held-out ones asked about, guessing {:.1} %\n",
            100.0 * guessing
        )?;
        let voted = format!("{neighbours}-NN");
        let untrained = format!("untrained {voted}");
        writeln!(f, "{:>8}  {voted:>10}  {:>10}  {untrained:>18}  {:>16}", "sigma", "linear", "untrained linear")?;
        for level in &self.levels {
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            let [knn, linear] = [level.knn, level.linear].map(percent);
            let [knn0, linear0] = [level.untrained_knn, level.untrained_linear].map(percent);
            writeln!(f, "{:>8}  {knn:>10}  {linear:>10}  {knn0:>18}  {linear0:>16}", level.sigma)?;
        }
        Ok(())
    }
}
