//! `import`: weights of the authors' PyTorch code as a model file.

use super::settings::find_preset;
use crate::cli::{ImportArgs, ObjectiveName};
use crate::error::Error;
use crate::settings::units::parse_images;
use crate::weights::import::{ImportSettings, Imported, Known, Set, import};
use crate::weights::verify::{Agreement, verify};
use pixgen_edge::data::labels::text;
use pixgen_edge::file_error::FileError;
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
    /// Settings that decide over the pictures, and whether they come from the file.
    settings: Vec<String>,
    told: bool,
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
            let bytes = fs::read(path).map_err(FileError::read(path))?;
            // Editors leave empty lines at the end.
            Some(text(&bytes).trim_end().lines().map(|name| name.trim().to_owned()).collect())
        }
        None => None,
    };
    let known = Known {
        preset: args.preset.as_deref().map(find_preset).transpose()?,
        objective: args.objective.map(|objective| match objective {
            ObjectiveName::Consistency | ObjectiveName::Drift => Content::Generator,
            ObjectiveName::Diffusion => Content::Denoiser,
        }),
        set: match &args.key {
            Some(key) => Set::Key(key.clone()),
            None if args.ema => Set::Ema,
            None => Set::Only,
        },
        images: args.images.as_deref().map(parse_images).transpose()?,
        class_names,
        settings: args.set.iter().map(|text| assignment(text)).collect::<Result<_, _>>()?,
    };
    let Imported { header, preset, tensors, values, told } = import(&args.checkpoint, &known, &args.out)?;
    let verified = match &args.verify {
        Some(vectors) => verify(&args.out, &header, vectors, device)?,
        None => Vec::new(),
    };
    let settings = ImportSettings::assignments(&header);
    if args.json {
        return Ok(print_json(&ImportReport {
            schema: 1,
            preset,
            content: header.content,
            tensors,
            values,
            settings,
            told,
            verified,
        })?);
    }
    note(&format!(
        "{preset}: {tensors} tensors with {:.3} M values; none is missing, none left over",
        values as f64 / 1e6
    ));
    let settings = settings.join(" ");
    note(&if told {
        format!("settings of the file: {settings}")
    } else {
        format!("settings, which the file does not tell: {settings}; another: --set KEY=VALUE")
    });
    if !told && args.class_names.is_none() && header.content != Content::Encoder {
        note("the classes are called by their numbers; --class-names FILE names them");
    }
    for Agreement { name, scale, difference } in &verified {
        note(&format!(
            "{name}: at most {difference:.1e} of its scale ({scale:.3}) from {}",
            args.verify.as_deref().unwrap_or(&args.out).display()
        ));
    }
    Ok(output::announce(&args.out)?)
}

/// `KEY=VALUE`.
fn assignment(text: &str) -> Result<(String, String), Error> {
    let (key, value) = text.split_once('=').ok_or_else(|| Error::Argument {
        what: format!("--set {text}: no `=` in it"),
        hint: Some("write --set noise.shift=4".to_owned()),
    })?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
