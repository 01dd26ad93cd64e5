//! `tflite`: a file for TensorFlow Lite and for Ethos-U accelerators.

use super::export::options;
use crate::cli::TfliteArgs;
use crate::error::Error;
use crate::model_file::{Content, ModelFile};
use crate::output;
use crate::terminal::note;
use crate::tflite::network::LiteOptions;
use crate::tflite::{LiteError, LiteForm, Npu, float_file, integer_file};
use crate::units::{counted, format_bytes};

pub(super) fn run(args: &TfliteArgs) -> Result<(), Error> {
    output::check_extension("--out", &args.out, "a TensorFlow Lite file", &["tflite"])?;
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let (data, options) = options(&args.quantisation, &file)?;
    if options.steps != 1 {
        return Err(LiteError::Steps { steps: options.steps }.into());
    }
    let lite = LiteOptions { gelu: args.gelu, wide_attention: args.npu == Some(Npu::U85) };
    let lite = match args.form {
        LiteForm::Float if args.npu.is_some() => return Err(LiteError::FloatNpu.into()),
        LiteForm::Float => float_file(&file, &options.classes, lite)?,
        LiteForm::Integer => integer_file(&file, data.as_ref(), &options, lite)?,
    };
    output::write(&args.out, |out| out.write_all(&lite.bytes))?;
    let operators = counted(lite.operators, "operator", "operators");
    note(&format!("{}: {}, {operators}", output::shown(&args.out), format_bytes(lite.bytes.len() as u64)));
    Ok(())
}
