//! `import`: weights of the authors' PyTorch code as a model file.

use super::settings::find_preset;
use crate::cli::{ImportArgs, ObjectiveName};
use crate::error::Error;
use crate::settings::units::parse_images;
use crate::weights::import::{Imported, Known, Set, import};
use crate::weights::verify::{Agreement, verify};
use pixgen_edge::atomic::FileError;
use pixgen_edge::model_file::Content;
use pixgen_edge::output;
use pixgen_edge::terminal::{note, print_json};
use serde::Serialize;
use std::fs;

/// What was imported, for `--json`.
#[derive(Debug, Serialize)]
struct ImportReport<'a> {
    /// Version of these keys.
    schema: u32,
    preset: &'a str,
    content: Content,
    tensors: usize,
    values: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verified: Vec<Agreement>,
}

pub(super) fn run(args: &ImportArgs) -> Result<(), Error> {
    output::check_extension("--out", &args.out, "a safetensors file", &["safetensors"])?;
    if args.verify.is_some() || args.json {
        output::refuse_stdout("--out", &args.out, if args.json { "prints JSON there" } else { "reads the file again" })?;
    }
    let device = args.device.choice()?;
    let class_names = match &args.class_names {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(FileError::read(path))?;
            Some(text.lines().map(|line| line.trim().to_owned()).collect())
        }
        None => None,
    };
    let known = Known {
        preset: args.preset.as_deref().map(find_preset).transpose()?,
        objective: args.objective.map(|objective| match objective {
            ObjectiveName::Consistency => Content::Generator,
            ObjectiveName::Diffusion => Content::Denoiser,
        }),
        set: match &args.key {
            Some(key) => Set::Key(key.clone()),
            None if args.ema => Set::Ema,
            None => Set::Only,
        },
        images: args.images.as_deref().map(parse_images).transpose()?.unwrap_or(0),
        class_names,
    };
    let Imported { header, preset, tensors, values } = import(&args.checkpoint, &known, &args.out)?;
    let verified = match &args.verify {
        Some(vectors) => verify(&args.out, &header, vectors, device)?,
        None => Vec::new(),
    };
    if args.json {
        return Ok(print_json(&ImportReport { schema: 1, preset, content: header.content, tensors, values, verified })?);
    }
    note(&format!(
        "{preset}: {tensors} tensors with {:.3} M values; none is missing, none left over",
        values as f64 / 1e6
    ));
    for Agreement { name, scale, difference } in &verified {
        note(&format!(
            "{name}: at most {difference:.1e} of its scale ({scale:.3}) from {}",
            args.verify.as_deref().unwrap_or(&args.out).display()
        ));
    }
    Ok(output::announce(&args.out)?)
}
