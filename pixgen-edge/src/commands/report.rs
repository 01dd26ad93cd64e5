//! `report`: what int8 costs, site by site and in pictures.

use super::export::options;
use crate::aligned::AlignedBytes;
use crate::cli::ReportArgs;
use crate::data::{ImageShape, bundled_split};
use crate::error::Error;
use crate::eval::{Classifier, EvalReport, FashionReference, Subject};
use crate::model_file::{Content, ModelFile};
use crate::output;
use crate::picture::{Grid, Picture};
use crate::quantise::draw::{draw_float, draw_integer, requests};
use crate::quantise::report::{QuantisationReport, compare};
use crate::quantise::{QuantiseError, export};
use crate::terminal::{note, print_json, print_text};
use crate::units::counted;
use pixgen_core::pxg::Model;
use serde::Serialize;
use std::fmt::Write as _;

/// Pictures of the site comparison.
const COMPARED: usize = 64;

/// Both networks' pictures beside each other.
#[derive(Serialize)]
struct PictureComparison {
    count: usize,
    seed: u64,
    steps: u8,
    /// Root mean square difference in grey levels.
    rms_levels: f64,
    /// Share of bytes that are equal.
    equal: f64,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    /// Schema, and a row for each of both networks; none if nothing here can measure their pictures.
    #[serde(flatten)]
    quality: EvalReport,
    pictures: &'a PictureComparison,
    compared: &'a QuantisationReport,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Error> {
    if let Some(path) = &args.pairs {
        output::check_extension("--pairs", path, "PNG", &["png"])?;
        output::refuse_stdout("--pairs", path, "prints what it measures there")?;
    }
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let (data, options) = options(&args.quantisation, &file)?;
    let exported = export(&file, data.as_ref(), &options)?;
    let sites = compare(&file, &exported, &options.classes, COMPARED)?;

    let bytes = AlignedBytes::copy(&exported.bytes);
    let model = Model::read(bytes.bytes()).map_err(QuantiseError::from)?;
    let exported_classes: Vec<usize> = (0..args.count as usize).map(|i| i % options.classes.len()).collect();
    let classes: Vec<usize> = exported_classes.iter().map(|&c| options.classes[c]).collect();
    let float = draw_float(&file, &requests(args.seed, 0, &classes), options.steps)?;
    let int8 = draw_integer(&model, &requests(args.seed, 0, &exported_classes))?;
    let differences = float.iter().zip(&int8).map(|(&a, &b)| f64::from(a) - f64::from(b));
    let quality = quality(args, &file, [("f32", &float), ("int8", &int8)], &classes, args.quantisation.steps)?;
    let pictures = PictureComparison {
        count: classes.len(),
        seed: args.seed,
        steps: args.quantisation.steps,
        rms_levels: (differences.clone().map(|d| d * d).sum::<f64>() / float.len() as f64).sqrt(),
        equal: differences.filter(|&d| d == 0.0).count() as f64 / float.len() as f64,
    };
    if let Some(path) = &args.pairs {
        let config = &file.header.model;
        let columns = options.classes.len().min(20);
        let row = |bytes: &[u8], row: usize| bytes[row * columns * config.image_len()..][..columns * config.image_len()].to_vec();
        let rows = (classes.len() / columns).min(4);
        let both: Vec<u8> = (0..rows).flat_map(|r| [row(&float, r), row(&int8, r)].concat()).collect();
        let pictures = Picture::squares(&both, config.size, config.channels)?;
        let shown = options.classes.iter().take(columns).cycle().take(pictures.len());
        let names: Vec<&str> = shown
            .map(|&class| file.header.class_names.get(class).map_or("", String::as_str))
            .collect();
        Grid::enlarged(columns, config.size).save_named(path, &pictures, &names)?;
        note(&format!("{}: rows of float pictures, each with its int8 row below", path.display()));
    }
    if args.json {
        return Ok(print_json(&ReportJson { quality, pictures: &pictures, compared: &sites })?);
    }
    Ok(print_text(&format!("{sites}\n{}", text(&pictures, &quality)))?)
}

/// A row for the pictures of each arithmetic, for Fashion-MNIST models; no rows for others.
fn quality(
    args: &ReportArgs,
    file: &ModelFile,
    drawn: [(&'static str, &[u8]); 2],
    classes: &[usize],
    steps: u8,
) -> Result<EvalReport, Error> {
    let model = &file.header.model;
    let shape = ImageShape { height: model.size, width: model.size, channels: model.channels };
    if !Classifier::knows(shape, &file.header.class_names) {
        return Ok(EvalReport::new(Vec::new()));
    }
    let (training, held_out) = bundled_split()?;
    let reference = FashionReference::new(&training, &held_out, classes.len())?;
    let asked: Vec<u16> = classes.iter().map(|&class| class as u16).collect();
    let row = |(arithmetic, pictures): (&'static str, &[u8])| {
        let subject = Subject {
            source: args.model.display().to_string(),
            ema: Some(file.header.ema.clone()),
            images_seen: Some(file.header.images),
            arithmetic: Some(arithmetic),
            seed: Some(args.seed),
            evaluations: Some(steps.into()),
            guidance: None,
        };
        reference.measure(subject, pictures, &asked)
    };
    let rows = drawn.into_iter().map(row).collect::<Result<_, _>>()?;
    Ok(EvalReport::new(rows))
}

fn text(pictures: &PictureComparison, quality: &EvalReport) -> String {
    let mut text = format!(
        "{} pictures, seed {}, {}: int8 differs by {:.2} grey levels (root mean square), {:.1}% of bytes are equal\n",
        pictures.count,
        pictures.seed,
        counted(usize::from(pictures.steps), "step", "steps"),
        pictures.rms_levels,
        100.0 * pictures.equal
    );
    if let [float, int8] = &quality.rows[..] {
        // Into memory: cannot fail.
        let _ = write!(text, "\n{quality}\nFD of int8 over FD of f32: {:.3}\n", int8.generated.frechet / float.generated.frechet);
    }
    text
}
