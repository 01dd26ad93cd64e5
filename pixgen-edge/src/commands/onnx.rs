//! `onnx`: a graph for other runtimes and tool chains.

use super::export::{COMPARED, note_quantising, note_spoilt, options, quantising_flag};
use crate::aligned::AlignedBytes;
use crate::cli::OnnxArgs;
use crate::error::Error;
use crate::file_error::FileError;
use crate::model_file::{Content, ModelFile};
use crate::onnx::calibration::{FolderFile, calibration_files};
use crate::onnx::proto::ModelProto;
use crate::onnx::vectors::Vectors;
use crate::onnx::{Form, OnnxError, OnnxTarget, WeightBits, float_graph, integer_graph, qdq_graph, target_graph};
use crate::output;
use crate::pxg_file::{PxgFile, is_pxg};
use crate::quantise::draw::requests;
use crate::quantise::report::compare;
use crate::quantise::{QuantiseOptions, export};
use crate::terminal::note;
use crate::units::{counted, format_bytes};
use clap::ValueEnum;
use pixgen_core::integer::DrawRequest;
use pixgen_core::pxg::Model;
use prost::Message;
use std::{io, iter};

pub(super) fn run(args: &OnnxArgs) -> Result<(), Error> {
    output::check_extension("--out", &args.out, "an ONNX graph", &["onnx"])?;
    if let Some(vectors) = &args.vectors {
        output::check_extension("--vectors", vectors, "a safetensors file", &["safetensors"])?;
        output::refuse_stdout("--vectors", vectors, "writes a graph too")?;
    }
    let batch = args.batch.map(|batch| batch as usize);
    if args.weight_bits.is_some() && args.form != Some(Form::Qdq) {
        return Err(OnnxError::WeightBits.into());
    }
    if let Some(target) = args.target {
        let (model, files) = of_target(args, target)?;
        return write_target(args, &model, &files);
    }
    // Nothing is computed, and no graph written, beside a file that cannot be.
    for out in iter::once(&args.out).chain(&args.vectors) {
        output::check_writable(out)?;
    }
    let (model, vectors) = if is_pxg(&args.model) {
        of_pxg(args, batch)?
    } else {
        of_weights(args, batch)?
    };
    write_graph(args, &model)?;
    if let Some(trouble) = trouble(args) {
        note(trouble);
    }
    if let (Some(path), Some(vectors)) = (&args.vectors, vectors) {
        let bytes = vectors.to_bytes().map_err(|error| FileError::write(path)(io::Error::other(error)))?;
        output::write(path, |out| out.write_all(&bytes))?;
        let pictures = counted(args.count as usize, "picture", "pictures");
        note(&format!("{}: inputs and outputs of {pictures}", path.display()));
    }
    Ok(())
}

fn write_graph(args: &OnnxArgs, model: &ModelProto) -> Result<(), Error> {
    let bytes = model.encode_to_vec();
    output::write(&args.out, |out| out.write_all(&bytes))?;
    let nodes = model.graph.as_ref().map_or(0, |graph| graph.node.len());
    output::note_written(&args.out, &format!("{}, {nodes} nodes", format_bytes(bytes.len() as u64)));
    Ok(())
}

/// Where a form is known to draw other pictures.
fn trouble(args: &OnnxArgs) -> Option<&'static str> {
    match args.form {
        Some(Form::Integer) => Some(INTEGER_TROUBLE),
        None if is_pxg(&args.model) => Some(INTEGER_TROUBLE),
        Some(Form::Qdq) if args.weight_bits != Some(WeightBits::Seven) => Some(
            "x86-64 CPUs without VNNI (no avx_vnni or avx512_vnni in /proc/cpuinfo) draw other pictures from it: write it with --weight-bits 7 for them",
        ),
        _ => None,
    }
}

const INTEGER_TROUBLE: &str =
    "exact in onnxruntime and TVM; OpenVINO cuts its int64 and draws other pictures, and IREE crashes (docs/reference/onnx.md)";

/// The graph for a tool chain, and the files of the folder beside it.
fn of_target(args: &OnnxArgs, target: OnnxTarget) -> Result<(ModelProto, Vec<FolderFile>), Error> {
    if let Some(form) = args.form.filter(|form| *form != Form::Float) {
        let form = form.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        return Err(OnnxError::TargetForm { target: target.name(), form }.into());
    }
    if let Some(folder) = &args.calibration {
        output::refuse_stdout("--calibration", folder, "writes a folder")?;
    }
    let flags = [
        ("--vectors", args.vectors.is_some()),
        ("--batch", args.batch.is_some_and(|batch| batch != 1)),
    ];
    let flag = flags.into_iter().find_map(|(flag, given)| given.then_some(flag));
    if let Some(flag) = flag.or_else(|| quantising_flag(&args.quantisation)) {
        return Err(OnnxError::TargetOption { flag }.into());
    }
    if is_pxg(&args.model) {
        return Err(Error::IntegersOnly { path: args.model.clone() });
    }
    if target.takes_rows() && args.calibration.is_none() {
        return Err(OnnxError::NoRows { target: target.name() }.into());
    }
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let (_, options) = options(&args.quantisation, &file)?;
    if options.steps != 1 {
        return Err(OnnxError::Steps { steps: options.steps }.into());
    }
    let (graph, rows) = target_graph(&file, &options.classes, target)?;
    let folder = match args.calibration {
        Some(_) => calibration_files(&file, &options.classes, target, &rows)?,
        None => Vec::new(),
    };
    Ok((graph, folder))
}

/// The folder, then the graph: both or, after an error, neither.
fn write_target(args: &OnnxArgs, model: &ModelProto, files: &[FolderFile]) -> Result<(), Error> {
    let Some(folder) = &args.calibration else {
        return write_graph(args, model);
    };
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    // The folder must be a new one: first, so that a graph of before stays where it is not. And the graph may lie in it.
    output::write_folder(folder, &named)?;
    if let Err(error) = write_graph(args, model) {
        output::remove_folder(folder, &named);
        return Err(error);
    }
    let script = named.first().map_or("", |(name, _)| name);
    note(&format!("{}: inputs to calibrate with; run {script} in it, whose first lines say how", folder.display()));
    Ok(())
}

type GraphAndVectors = (ModelProto, Option<Vectors>);

/// The pictures of `--vectors`; classes take turns.
fn vector_requests(args: &OnnxArgs, classes: usize) -> Vec<DrawRequest> {
    let classes: Vec<usize> = (0..args.count as usize).map(|i| i % classes.max(1)).collect();
    requests(args.seed, 0, &classes)
}

fn of_pxg(args: &OnnxArgs, batch: Option<usize>) -> Result<GraphAndVectors, Error> {
    if args.form.is_some_and(|form| form != Form::Integer) || args.quantisation.classes != "all" {
        return Err(Error::IntegersOnly { path: args.model.clone() });
    }
    let steps = (args.quantisation.steps != 1).then_some("--steps");
    if let Some(flag) = quantising_flag(&args.quantisation).or(steps) {
        return Err(OnnxError::PxgOption { flag }.into());
    }
    let file = PxgFile::load(&args.model)?;
    let model = file.model()?;
    Ok((integer_graph(&model, batch)?, integer_vectors(args, &model)?))
}

fn integer_vectors(args: &OnnxArgs, model: &Model<'_>) -> Result<Option<Vectors>, Error> {
    let requests = vector_requests(args, model.config().classes);
    Ok(args.vectors.as_ref().map(|_| Vectors::integer(model, &requests)).transpose()?)
}

fn of_weights(args: &OnnxArgs, batch: Option<usize>) -> Result<GraphAndVectors, Error> {
    let form = args.form.unwrap_or(Form::Float);
    if let Some(flag) = quantising_flag(&args.quantisation).filter(|_| form == Form::Float) {
        return Err(Error::FloatOption { flag, hint: "leave it out, or add --form qdq" });
    }
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let (data, options) = options(&args.quantisation, &file)?;
    if options.steps != 1 {
        return Err(OnnxError::Steps { steps: options.steps }.into());
    }
    if form == Form::Float {
        let requests = vector_requests(args, options.classes.len());
        let vectors = args
            .vectors
            .as_ref()
            .map(|_| Vectors::float(&file, &options.classes, &requests))
            .transpose()?;
        return Ok((float_graph(&file, &options.classes, batch)?, vectors));
    }
    note_quantising(&options);
    let exported = export(&file, data.as_ref(), &QuantiseOptions { tests: 0, ..options.clone() })?;
    let bytes = AlignedBytes::copy(&exported.bytes);
    let model = Model::read(bytes.bytes()).map_err(OnnxError::from)?;
    let graph = if form == Form::Qdq {
        qdq_graph(&file, &exported, &options.classes, batch, args.weight_bits.unwrap_or_default())?
    } else {
        integer_graph(&model, batch)?
    };
    note_spoilt(&compare(&file, &exported, &options.classes, COMPARED)?, &args.model);
    Ok((graph, integer_vectors(args, &model)?))
}
