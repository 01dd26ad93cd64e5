//! From a model to the file, with what it says of itself.

use super::compare;
use super::compare::{DrawnInputs, LiteDifference};
use super::error::LiteError;
use super::graph::LiteGraph;
use super::network::LiteNetwork;
use super::options::LiteOptions;
use super::ranges::LiteRanges;
use super::values::Values;
use crate::data::Dataset;
use crate::model_file::ModelFile;
use crate::quantise::calibration::CalibrationInputs;
use crate::quantise::export::levels;
use crate::quantise::{QuantiseError, QuantiseOptions, class_lines, model_name};
use pixgen_core::network;

/// A flatbuffer's offsets have 31 bits; the tables beside the constants take far less than this share of them.
const MOST: u64 = (1 << 31) - (1 << 26);

/// A finished file.
#[derive(Clone, Debug)]
pub struct LiteFile {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Number of its operators.
    pub operators: usize,
    /// How far its pictures lie from the float network's; none of the float form.
    pub difference: Option<LiteDifference>,
}

/// The float network for these rows of the class embedding.
///
/// # Errors
/// Too large, or weights of another model.
pub fn float_file(file: &ModelFile, classes: &[usize], lite: LiteOptions<'_>) -> Result<LiteFile, LiteError> {
    let (graph, _) = graph(file, classes, lite, None, DrawnInputs::default())?;
    finish(graph, file, classes, &FLOAT_USE, lite.license)
}

/// The network in integers, quantised by `options` on noise or on pictures of `data`.
///
/// # Errors
/// Options out of range, more than one step, an architecture without a form for chips, rows whose variances differ too much, or too large.
pub fn integer_file(
    file: &ModelFile,
    data: Option<&Dataset>,
    options: &QuantiseOptions,
    lite: LiteOptions<'_>,
) -> Result<LiteFile, LiteError> {
    if options.steps != 1 {
        return Err(LiteError::Steps { steps: options.steps });
    }
    options.validate(&file.header.model).map_err(QuantiseError::from)?;
    let levels = levels(file, 1);
    let inputs = CalibrationInputs { levels: &levels, pictures: options.pictures, data };
    let ranges = LiteRanges::new(file, &inputs, options)?;
    let requests = compare::requests(options.classes.len());
    let inputs = DrawnInputs::new(&file.header.model, options.classes.len(), &requests)?;
    let (graph, drawn) = graph(file, &options.classes, lite, Some(&ranges), inputs)?;
    let difference = LiteDifference::new(file, &options.classes, &requests, &drawn)?;
    let finished = finish(graph, file, &options.classes, &INTEGER_USE, lite.license)?;
    Ok(LiteFile { difference: Some(difference), ..finished })
}

fn graph(
    file: &ModelFile,
    classes: &[usize],
    options: LiteOptions<'_>,
    ranges: Option<&LiteRanges<'_>>,
    inputs: DrawnInputs,
) -> Result<(LiteGraph, Values), LiteError> {
    let (mut lite, noise, class) = LiteNetwork::new(file, classes, options, ranges, inputs)?;
    network::forward(&mut lite, &file.header.model, &noise, &class)?;
    Ok(lite.into_graph())
}

/// How a form is used: its name, and what goes in and comes out.
type Use = [(&'static str, &'static str); 4];

const FLOAT_USE: Use = [
    ("pixgen.form", "float"),
    ("pixgen.input.noise", "independent Gaussians, mean 0, variance 1"),
    ("pixgen.input.class", "1 at the class, 0 elsewhere"),
    ("pixgen.output", "levels of bytes, row by row: round, then clamp to 0 to 255"),
];
const INTEGER_USE: Use = [
    ("pixgen.form", "integer"),
    (
        "pixgen.input.noise",
        "independent Gaussians, mean 0, variance 1, divided by the tensor's scale, rounded, and clamped to -128 to 127",
    ),
    ("pixgen.input.class", "32767 at the class, 0 elsewhere"),
    ("pixgen.output", "bytes less 128, row by row: add 128"),
];

fn finish(graph: LiteGraph, file: &ModelFile, classes: &[usize], of_use: &Use, license: Option<&str>) -> Result<LiteFile, LiteError> {
    let bytes = graph.constant_len();
    if bytes > MOST {
        return Err(LiteError::TooLarge { bytes });
    }
    let mut metadata: Vec<(&str, String)> = of_use.iter().map(|&(name, text)| (name, text.to_owned())).collect();
    metadata.extend([
        ("pixgen.noise", "Philox4x32-10 and an inverse table: docs/reference/numerics.md section 1".to_owned()),
        ("pixgen.name", model_name(file)),
        ("pixgen.class_names", class_lines(file, classes)?),
        ("pixgen.header", serde_json::to_string(&file.header)?),
    ]);
    metadata.extend(license.map(|name| ("pixgen.license", name.to_owned())));
    let operators = graph.operators();
    Ok(LiteFile {
        bytes: graph.finish("One-step image generator, made by Pixgen", &metadata),
        operators,
        difference: None,
    })
}
