//! `eval`: how good a model's pictures are, beside real ones.

use super::drawn;
use super::long_work::LongWork;
use super::picture_sets::PictureSet;
use crate::cache;
use crate::cli::{EvalArgs, FeatureArgs};
use crate::device::{DeviceChoice, OnDevice, Requirements};
use crate::distributed::Collective;
use crate::error::Error;
use crate::prepared;
use crate::quality::npz::{self, Npz};
use crate::quality::sweep::{EvaluatedSet, SamplingOptions, Sweep, proportional};
use crate::quality::{Extractor, FeatureNetwork, FeatureRecipe, QualityError, RealPictures, ReferenceOptions, ReferenceSet};
use crate::run::averages::averages;
use crate::training::Engine;
use pixgen_edge::data::{DataError, Dataset, ImageShape};
use pixgen_edge::eval::{EvalReport, Subject};
use pixgen_edge::model_file::{ModelFile, ModelHeader};
use pixgen_edge::output;
use pixgen_edge::picture::{Grid, Picture};
use pixgen_edge::terminal::{note, print_json, print_text};
use pixgen_edge::units::counted;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Real pictures below which distances depend mostly on their number.
const COMPARABLE: usize = 1000;

/// All `ranks` draw and extract features, each on its `device`, and compute the same numbers, which rank 0 prints.
pub(super) fn run(args: &EvalArgs, quiet: bool, ranks: &Collective, device: DeviceChoice) -> Result<(), Error> {
    let quiet = quiet || !ranks.is_first();
    if let Some(grid) = &args.grid {
        output::check_extension("--grid", grid, "PNG", &["png"])?;
        output::refuse_stdout("--grid", grid, "prints its measurements there")?;
    }
    let report = match (&args.folder, &args.model) {
        (Some(folder), _) => pictures(args, folder, quiet, ranks)?,
        (_, Some(model)) => generator(args, model, quiet, ranks, device)?,
        _ => {
            return Err(Error::Argument {
                what: "nothing to measure".to_owned(),
                hint: Some("give a model file, a run folder, or --folder A --against B".to_owned()),
            });
        }
    };
    if !ranks.is_first() {
        return Ok(());
    }
    let real = report.rows.iter().filter_map(|row| row.real.as_ref()).map(|real| real.n).min();
    if let Some(real) = real.filter(|&real| real < COMPARABLE) {
        note(&format!("warning: only {real} real pictures; the distances cannot be compared with those of other counts"));
    }
    if args.json {
        return Ok(print_json(&report)?);
    }
    Ok(print_text(&report.to_string())?)
}

/// Every average of a model drawn in every way, against one reference.
fn generator(args: &EvalArgs, path: &Path, quiet: bool, ranks: &Collective, device: DeviceChoice) -> Result<EvalReport, Error> {
    // Of what all ranks see, one tells.
    let note = |line: &str| {
        if ranks.is_first() {
            note(line);
        }
    };
    let models = averages(path, &args.ema)?;
    let models: Vec<ModelFile> = models.into_iter().map(|file| drawn::drawing(file, path)).collect::<Result<_, _>>()?;
    let sampling: Vec<SamplingOptions> = args
        .guidance
        .iter()
        .map(|&weight| drawn::choose(&args.drawn, weight, &models[0]).map(|(drawing, weak)| SamplingOptions { drawing, weak }))
        .collect::<Result<_, _>>()?;
    let header = &models[0].header;
    let (training, held_out) = match prepared::pictures_of(path, args.features.data.as_deref(), header) {
        // A run folder that went to another machine: the pictures that its classifier knows are in the program.
        Err(error) if args.features.data.is_none() && usual_network(header) == FeatureNetwork::Fashion => {
            note(&format!("warning: {error}; measuring with the bundled pictures"));
            prepared::pictures_of(path, Some("bundled"), header)?
        }
        pictures => pictures?,
    };
    if training.class_names.len() != header.model.classes {
        return Err(Error::Argument {
            what: {
                let classes = counted(training.class_names.len(), "class", "classes");
                format!("{} has {classes}, the model {}", training.source, header.model.classes)
            },
            hint: Some("give the data that it was trained on with --data".to_owned()),
        });
    }
    if header.data != training.fingerprint() {
        note(&format!("warning: the model was trained on other data than {}", training.source));
    }
    let [training, held_out] = [training, held_out].map(|part| in_order_of(&header.class_names, part));
    if let Some((ours, theirs)) = header.class_names.iter().zip(&training.class_names).find(|(ours, theirs)| ours != theirs) {
        let source = &training.source;
        note(&format!(
            "warning: the model's class `{ours}` is `{theirs}` in {source}; classes are compared by their numbers"
        ));
    }
    let extractor = extractor(&args.features, usual_network(header), quiet)?.shared(ranks.clone());
    let source = path.display().to_string();
    let sweep = Sweep {
        source: &source,
        models: &models,
        sampling: &sampling,
        seed: args.seed,
        training: &training,
        held_out: &held_out,
        reference: reference_options(&args.features, args.count as usize),
        published: published(&args.features)?,
        ranks: ranks.clone(),
    };
    let sizes = models
        .iter()
        .chain(sampling.iter().filter_map(|options| options.weak.as_ref()))
        .map(|file| file.params.len());
    let sets = device.run(Requirements::inference(sizes.sum()), Measure { sweep, extractor, quiet })??;
    if let (Some(out), Some(set)) = (args.grid.as_ref().filter(|_| ranks.is_first()), sets.first()) {
        save_pairs(set, &training, out)?;
        note(&format!("{}, each with the nearest training picture on its right: {}", set.row.subject, out.display()));
    }
    Ok(EvalReport::new(sets.into_iter().map(|set| set.row).collect()))
}

/// A sweep, on whichever device.
struct Measure<'a> {
    sweep: Sweep<'a>,
    extractor: Extractor,
    quiet: bool,
}

impl OnDevice for Measure<'_> {
    type Output = Result<Vec<EvaluatedSet>, QualityError>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        if self.sweep.ranks.is_first() {
            note(&format!("features of real pictures by {}", self.extractor.recipe()));
        }
        let mut drawing = LongWork::new("drawing", self.quiet);
        self.sweep
            .run::<B>(self.extractor, device, &mut |done, total| drawing.update(done, total))
    }
}

/// Pictures with their classes in the order of `names`, where those are the same names in another order.
fn in_order_of(names: &[String], mut pictures: Dataset) -> Dataset {
    let places: Vec<u16> = pictures
        .class_names
        .iter()
        .filter_map(|name| u16::try_from(names.iter().position(|other| other == name)?).ok())
        .collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    let counts = [places.len(), names.len()];
    if counts == [pictures.class_names.len(); 2] && (0..).zip(&sorted).all(|(index, &place)| index == place) {
        pictures.labels.iter_mut().for_each(|label| *label = places[usize::from(*label)]);
        pictures.class_names = names.to_vec();
    }
    pictures
}

/// The network that a model's pictures are measured by unless another is asked for.
fn usual_network(header: &ModelHeader) -> FeatureNetwork {
    let shape = ImageShape { height: header.model.size, width: header.model.size, channels: header.model.channels };
    FeatureNetwork::usual(shape, &header.class_names)
}

fn reference_options(args: &FeatureArgs, count: usize) -> ReferenceOptions {
    let usual = ReferenceOptions::new(count);
    ReferenceOptions {
        neighbours: args.k.map_or(usual.neighbours, |k| k as usize),
        reference: args.reference_count.map_or(usual.reference, |count| count as usize),
        ..usual
    }
}

/// The network with its weights.
fn extractor(args: &FeatureArgs, usual: FeatureNetwork, quiet: bool) -> Result<Extractor, Error> {
    let recipe = FeatureRecipe::new(args.network.unwrap_or(usual), args.layer.as_deref(), args.input, args.resize)?;
    let weights = match (&args.weights, recipe.network) {
        (Some(path), _) => path.clone(),
        (None, FeatureNetwork::Inception) => {
            return Err(Error::Argument {
                what: "--network inception needs --weights FILE".to_owned(),
                hint: Some(
                    "its weights are in no package: save pt_inception-2015-12-05 of pytorch-fid as safetensors, names unchanged".to_owned(),
                ),
            });
        }
        (None, _) => cache::efficientnet_lite0(),
    };
    let progress = Mutex::new(LongWork::new("features", quiet));
    let watch = move |done, total| progress.lock().unwrap_or_else(PoisonError::into_inner).update(done, total);
    Ok(Extractor::load(recipe, &weights)?.watched(Box::new(watch)))
}

/// The file of `--reference`, with its name.
fn published(args: &FeatureArgs) -> Result<Option<(&str, Npz)>, Error> {
    let Some(path) = &args.reference else {
        return Ok(None);
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("reference");
    Ok(Some((name, npz::read(path)?)))
}

/// Writes up to four rows of pictures, each beside the nearest training picture.
fn save_pairs(set: &EvaluatedSet, training: &Dataset, out: &Path) -> Result<(), Error> {
    let Some(nearest) = &set.nearest else {
        return Ok(());
    };
    let ImageShape { width, height, channels } = training.shape;
    let columns = training.class_names.len().clamp(4, 8);
    let bytes = set.pictures.chunks_exact(training.shape.len()).zip(&nearest.indices);
    let name = |class: usize| training.class_names.get(class).map_or("", String::as_str);
    let (mut pictures, mut names) = (Vec::new(), Vec::new());
    for ((picture, &index), class) in bytes.take(4 * columns).zip(proportional(&training.class_counts(), set.row.generated.n)) {
        names.extend([name(class), name(usize::from(training.labels[index]))]);
        pictures.push(Picture::new(width, height, channels, picture.to_vec())?);
        let nearest = training.image(index).map_err(DataError::from)?;
        pictures.push(Picture::new(width, height, channels, nearest.into_owned())?);
    }
    Ok(Grid::enlarged(2 * columns, height).save_named(out, &pictures, &names)?)
}

/// One set of pictures against another, or against a reference file; no model.
fn pictures(args: &EvalArgs, folder: &Path, quiet: bool, ranks: &Collective) -> Result<EvalReport, Error> {
    let published = published(&args.features)?;
    let against = args.against.as_deref().map(PictureSet::open).transpose()?;
    if against.is_none() && published.is_none() {
        return Err(Error::Argument {
            what: "--folder has nothing to be compared with".to_owned(),
            hint: Some("add --against with real pictures, or --reference with an .npz".to_owned()),
        });
    }
    let folder_set = PictureSet::open(folder)?;
    let sets: Vec<&PictureSet> = [Some(&folder_set), against.as_ref()].into_iter().flatten().collect();
    let shape = PictureSet::common_shape(&sets, args.size.map(|side| side as usize))?;
    let pictures = folder_set.read(shape)?;
    let real = against.map(|set| set.read(shape)).transpose()?;
    let extractor = extractor(&args.features, FeatureNetwork::EfficientNetLite0, quiet)?.shared(ranks.clone());
    let known = real.as_ref().map(Dataset::pixels).transpose()?;
    let everything = RealPictures {
        name: real.as_ref().map_or("", |real| &real.source),
        shape,
        training: known.as_deref().unwrap_or_default(),
        labels: real.as_ref().map_or(&[], |real| &real.labels),
        held_out: &[],
        held_out_labels: &[],
        class_names: &[],
    };
    let options = ReferenceOptions {
        reference: args.features.reference_count.map_or(usize::MAX, |count| count as usize),
        top_up: false,
        ..reference_options(&args.features, pictures.len())
    };
    let reference = ReferenceSet::new(extractor, everything, options, published)?;
    let measured = reference.measure(&pictures.pixels()?, None)?;
    Ok(EvalReport::new(vec![reference.row(Subject::pictures(&folder.display().to_string()), &measured, None)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_known_by_name() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shape = ImageShape { height: 1, width: 1, channels: 1 };
        let data = |text| Dataset::new(shape, vec![7; 4], vec![0, 1, 2, 0], names(text), "data".to_owned()).unwrap();
        let sorted = in_order_of(&names("cat dog emu"), data("emu cat dog"));
        assert_eq!((sorted.labels, sorted.class_names), (vec![2, 0, 1, 2], names("cat dog emu")));
        // Other names, too few of them, or one twice: nothing moves.
        for (ours, theirs) in [
            ("cat dog owl", "emu cat dog"),
            ("cat dog", "emu cat dog"),
            ("cat dog emu", "cat cat dog"),
        ] {
            let same = in_order_of(&names(ours), data(theirs));
            assert_eq!((same.labels, same.class_names), (vec![0, 1, 2, 0], names(theirs)));
        }
    }
}
