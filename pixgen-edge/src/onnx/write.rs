//! From a model to the graph: the form, and what the model file says of itself.

use super::error::OnnxError;
use super::float::{FloatGraph, Int8};
use super::integer::IntegerGraph;
use super::proto::ModelProto;
use super::target::{ClassRows, OnnxTarget, TargetGraph};
use crate::aligned::AlignedBytes;
use crate::model_file::ModelFile;
use crate::quantise::{Exported, class_lines, model_name};
use clap::ValueEnum;
use pixgen_core::network;
use pixgen_core::pxg::Model;
use serde::Serialize;
use serde_json::Value as Json;

/// Forms of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Real numbers, f32
    Float,
    /// int8 products between QuantizeLinear and DequantizeLinear, the rest in f32: for runtimes on CPUs. About as far from the float pictures as a .pxg file's, and other
    /// bytes; tool chains of accelerators take --target
    Qdq,
    /// The arithmetic of a chip in whole numbers: the same bytes as from a .pxg file
    Integer,
}

/// Bits of the weights of form `qdq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WeightBits {
    /// For CPUs without VNNI, where runtimes add products of 8 bits in 16
    #[value(name = "7")]
    Seven,
    /// For all others
    #[default]
    #[value(name = "8")]
    Eight,
}

/// The float network for these rows of the class embedding, and for `batch` pictures at once or any number.
///
/// # Errors
/// Too large, or weights of another model.
pub fn float_graph(file: &ModelFile, classes: &[usize], batch: Option<usize>) -> Result<ModelProto, OnnxError> {
    let about = "One-step image generator, float";
    real(file, classes, batch, None)?.finish(about, of_file(Form::Float, file, classes)?)
}

/// The float network with int8 products, as `exported` from `file` for these `classes` in one step.
///
/// # Errors
/// As of [`float_graph`]; more than one step.
pub fn qdq_graph(
    file: &ModelFile,
    exported: &Exported,
    classes: &[usize],
    batch: Option<usize>,
    bits: WeightBits,
) -> Result<ModelProto, OnnxError> {
    let bytes = AlignedBytes::copy(&exported.bytes);
    let model = Model::read(bytes.bytes())?;
    if model.steps() != 1 {
        return Err(OnnxError::Steps { steps: model.steps() });
    }
    let halved = bits == WeightBits::Seven;
    let int8 = Int8 { model: &model, linears: &exported.linears, site_scales: &exported.site_scales, halved };
    let about = "One-step image generator, int8 products, QDQ";
    let mut metadata = of_file(Form::Qdq, file, classes)?;
    metadata.push(("pixgen.weight_bits".to_owned(), if halved { "7" } else { "8" }.to_owned()));
    real(file, classes, batch, Some(int8))?.finish(about, metadata)
}

/// The float network as the tool chain of an accelerator takes it, and the inputs that are rows of the class.
///
/// # Errors
/// Too large, or weights of another model.
pub fn target_graph(file: &ModelFile, classes: &[usize], target: OnnxTarget) -> Result<(ModelProto, Vec<ClassRows>), OnnxError> {
    let (mut graph, noise, class) = TargetGraph::new(file, classes, target)?;
    network::forward(&mut graph, &file.header.model, &noise, &class)?;
    let (graph, rows) = graph.into_graph();
    let mut metadata = of_file(Form::Float, file, classes)?;
    metadata.push(("pixgen.target".to_owned(), target.name()));
    let about = format!("One-step image generator, float, for the tool chain {}", target.name());
    Ok((graph.finish(&about, metadata)?, rows))
}

fn real(file: &ModelFile, classes: &[usize], batch: Option<usize>, int8: Option<Int8<'_>>) -> Result<super::graph::Graph, OnnxError> {
    let (mut float, noise, class) = FloatGraph::new(file, classes, batch, int8)?;
    network::forward(&mut float, &file.header.model, &noise, &class)?;
    Ok(float.into_graph())
}

/// The integer network.
///
/// # Errors
/// Too large, more than one step, or scales that no exporter writes.
pub fn integer_graph(model: &Model<'_>, batch: Option<usize>) -> Result<ModelProto, OnnxError> {
    let (mut integer, noise, class) = IntegerGraph::new(model, batch)?;
    network::forward(&mut integer, model.config(), &noise, &class)?;
    let mut metadata = vec![form(Form::Integer)];
    metadata.extend(
        entries(model.header())?
            .into_iter()
            .filter(|(key, _)| key != "pixgen.tests" && key != "pixgen.steps"),
    );
    integer.into_graph().finish("One-step image generator, integers", metadata)
}

fn form(form: Form) -> (String, String) {
    let name = match form {
        Form::Float => "float",
        Form::Qdq => "qdq",
        Form::Integer => "integer",
    };
    ("pixgen.form".to_owned(), name.to_owned())
}

/// Each field of a header as an entry: texts as they are, the rest as JSON; nothing for a field without a value.
fn entries(header: &impl Serialize) -> Result<Vec<(String, String)>, OnnxError> {
    let entry = |(key, value): (String, Json)| {
        let text = match value {
            Json::Null => return None,
            Json::String(text) => text,
            other => other.to_string(),
        };
        Some((format!("pixgen.{key}"), text))
    };
    let fields: serde_json::Map<String, Json> = serde_json::from_value(serde_json::to_value(header)?)?;
    Ok(fields.into_iter().filter_map(entry).collect())
}

fn of_file(of: Form, file: &ModelFile, classes: &[usize]) -> Result<Vec<(String, String)>, OnnxError> {
    let mut metadata = vec![form(of), ("pixgen.name".to_owned(), model_name(file))];
    metadata.extend(entries(&file.header)?.into_iter().filter(|(key, _)| key != "pixgen.class_names"));
    metadata.push(("pixgen.class_names".to_owned(), class_lines(file, classes)?));
    metadata.push(("pixgen.source".to_owned(), crc32fast::hash(bytemuck::cast_slice(&file.params)).to_string()));
    Ok(metadata)
}
