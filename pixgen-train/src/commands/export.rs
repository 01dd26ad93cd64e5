//! `export`: a model for other programs and for hubs.

use crate::cli::{ExportArgs, ExportFormat};
use crate::error::Error;
use crate::prepared::model_bytes;
use crate::report::numbers;
use crate::run::averages::average;
use crate::weights::card::{Extra, ModelCard};
use crate::weights::export::export;
use pixgen_edge::atomic::{make_folder, write_atomic};
use pixgen_edge::file_error::FileError;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::output;
use pixgen_edge::terminal::note;
use std::path::Path;

/// Names of the files in a folder with a card.
const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "README.md";

pub(super) fn run(args: &ExportArgs) -> Result<(), Error> {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || ['-', '.', '_', '+'].contains(&c);
    if args.license.is_empty() || !args.license.chars().all(well_formed) {
        return Err(Error::Argument {
            what: format!("`{}` is not a licence identifier", args.license),
            hint: Some("for example mit, apache-2.0, cc-by-nc-4.0, other".to_owned()),
        });
    }
    if args.card {
        output::refuse_stdout("--out", &args.out, "writes a folder")?;
    } else {
        output::check_extension("--out", &args.out, "a safetensors file", &["safetensors"])?;
    }
    if args.half && args.to != ExportFormat::Safetensors {
        return Err(Error::Argument {
            what: "--half with --to pytorch-safetensors: the authors' files are f32".to_owned(),
            hint: Some("leave one of the two out".to_owned()),
        });
    }
    let measured = args.eval.as_deref().map(numbers::read).transpose()?;
    let file = average(&args.model.model, args.model.ema.as_deref())?;
    // Before a folder is made: what f16 cannot hold leaves nothing behind.
    let bytes = match args.to {
        ExportFormat::Safetensors if args.half => Some(half_bytes(&file)?),
        ExportFormat::Safetensors => Some(model_bytes(&file)?),
        ExportFormat::PytorchSafetensors => None,
    };
    if !args.card {
        return write(&file, bytes.as_deref(), &args.out);
    }
    make_folder(&args.out).map_err(FileError::write(&args.out))?;
    let title = args
        .out
        .canonicalize()
        .ok()
        .and_then(|out| Some(out.file_name()?.to_string_lossy().into_owned()));
    let extra = Extra {
        name: args.name.as_deref().or(title.as_deref()).unwrap_or("model"),
        license: &args.license,
        evaluation: measured.as_ref().and_then(|rows| rows.first()).map(|row| &row.cells[..]),
        authors_names: args.to == ExportFormat::PytorchSafetensors,
        half: args.half,
    };
    let card = ModelCard { header: &file.header, extra }.to_string();
    write(&file, bytes.as_deref(), &args.out.join(WEIGHTS))?;
    let path = args.out.join(CARD);
    write_atomic(&path, |out| out.write_all(card.as_bytes()))?;
    note(&format!("model card: {}", path.display()));
    Ok(())
}

/// Writes the bytes of a model file, or without them the authors' tensors.
fn write(file: &ModelFile, bytes: Option<&[u8]>, out: &Path) -> Result<(), Error> {
    match bytes {
        Some(bytes) => output::write(out, |to| to.write_all(bytes))?,
        None => export(file, out)?,
    }
    Ok(output::announce(out)?)
}

fn half_bytes(file: &ModelFile) -> Result<Vec<u8>, Error> {
    file.to_half_bytes()
        .map_err(|error| Error::Argument { what: format!("--half: {error}"), hint: Some("leave --half out".to_owned()) })
}
