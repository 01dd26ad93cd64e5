//! `report`: what int8 costs, site by site and in pictures.

use super::export::options;
use crate::aligned::AlignedBytes;
use crate::cli::ReportArgs;
use crate::data::bundled_split;
use crate::error::Error;
use crate::eval::{Classifier, Quality, measure};
use crate::model_file::{Content, ModelFile};
use crate::picture::{Grid, Picture};
use crate::quantise::draw::{draw_float, draw_integer, requests};
use crate::quantise::report::{QuantisationReport, compare};
use crate::quantise::{QuantiseError, export};
use crate::terminal::{note, print_bytes, print_json};
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
    float: Option<Quality>,
    int8: Option<Quality>,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    schema: u32,
    pictures: &'a PictureComparison,
    compared: &'a QuantisationReport,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Error> {
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
    let [float_quality, int8_quality] = [quality(&file, &float, &classes)?, quality(&file, &int8, &classes)?];
    let pictures = PictureComparison {
        count: classes.len(),
        seed: args.seed,
        steps: args.quantisation.steps,
        rms_levels: (differences.clone().map(|d| d * d).sum::<f64>() / float.len() as f64).sqrt(),
        equal: differences.filter(|&d| d == 0.0).count() as f64 / float.len() as f64,
        float: float_quality,
        int8: int8_quality,
    };
    if let Some(path) = &args.pairs {
        let config = &file.header.model;
        let columns = options.classes.len().min(20);
        let row = |bytes: &[u8], row: usize| bytes[row * columns * config.image_len()..][..columns * config.image_len()].to_vec();
        let rows = (classes.len() / columns).min(4);
        let both: Vec<u8> = (0..rows).flat_map(|r| [row(&float, r), row(&int8, r)].concat()).collect();
        let scale = (112 / config.size).clamp(1, 4);
        Grid { columns, scale }.save(path, &Picture::squares(&both, config.size, config.channels)?)?;
        note(&format!("float rows, each with its int8 row below: {}", path.display()));
    }
    if args.json {
        return Ok(print_json(&ReportJson { schema: 1, pictures: &pictures, compared: &sites })?);
    }
    Ok(print_bytes(format!("{sites}\n{}", text(&pictures)).as_bytes())?)
}

/// Distances of Fashion-MNIST models; nothing for others.
fn quality(file: &ModelFile, pictures: &[u8], classes: &[usize]) -> Result<Option<Quality>, Error> {
    let model = &file.header.model;
    if Classifier::check_shape(model.channels, model.size, model.size).is_err() || model.classes != 10 {
        return Ok(None);
    }
    let (training, held_out) = bundled_split()?;
    let labels = |values: &mut dyn Iterator<Item = usize>| values.map(|v| v as u8).collect::<Vec<u8>>();
    let asked = labels(&mut classes.iter().copied());
    let real = labels(&mut held_out.labels.iter().map(|&l| usize::from(l)));
    Ok(Some(measure(&Classifier::fashion()?, pictures, &asked, &training.pixels()?, (&held_out.pixels()?, &real))?))
}

fn text(pictures: &PictureComparison) -> String {
    let mut text = format!(
        "{} pictures, seed {}, {} step(s): int8 differs by {:.2} grey levels (root mean square), {:.1}% of bytes are equal\n",
        pictures.count,
        pictures.seed,
        pictures.steps,
        pictures.rms_levels,
        100.0 * pictures.equal
    );
    if let (Some(float), Some(int8)) = (&pictures.float, &pictures.int8) {
        // Into memory: cannot fail.
        let _ = writeln!(text, "{:<32} {:>8} {:>8}", "", "float", "int8");
        let _ = writeln!(text, "{:<32} {:>7.1}% {:>7.1}%", "classifier agrees", 100.0 * float.accuracy, 100.0 * int8.accuracy);
        let _ = writeln!(text, "{:<32} {:>8.2} {:>8.2}  ratio {:.3}", "FD-fmnist", float.fd, int8.fd, int8.fd / float.fd);
    }
    text
}
