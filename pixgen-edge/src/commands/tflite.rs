//! `tflite`: a file for TensorFlow Lite and for Ethos-U accelerators.

use super::classes;
use super::export::{note_quantising, options, quantising_flag};
use crate::cli::TfliteArgs;
use crate::error::Error;
use crate::model_file::{Content, ModelFile};
use crate::output;
use crate::quantise::QuantiseOptions;
use crate::quantise::draw::requests;
use crate::terminal::note;
use crate::tflite::compare::{LiteDifference, SPOILT};
use crate::tflite::vectors::vectors;
use crate::tflite::{LiteError, LiteForm, LiteOptions, Npu, float_file, integer_file};
use crate::units::{counted, format_bytes};
use std::iter;

pub(super) fn run(args: &TfliteArgs) -> Result<(), Error> {
    output::check_extension("--out", &args.out, "a TensorFlow Lite file", &["tflite"])?;
    if let Some(vectors) = &args.vectors {
        output::check_extension("--vectors", vectors, "a safetensors file", &["safetensors"])?;
        output::refuse_stdout("--vectors", vectors, "writes a model too")?;
    }
    if args.form == LiteForm::Float {
        let flag = quantising_flag(&args.quantisation).or_else(|| args.npu.is_some().then_some("--npu"));
        if let Some(flag) = flag {
            return Err(Error::FloatOption { flag, hint: "leave one of the two out" });
        }
    }
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let (data, options) = options(&args.quantisation, &file)?;
    if options.steps != 1 {
        return Err(LiteError::Steps { steps: options.steps }.into());
    }
    // Nothing is computed, and no model written, beside a file that cannot be.
    for out in iter::once(&args.out).chain(&args.vectors) {
        output::check_writable(out)?;
    }
    let lite = LiteOptions {
        gelu: args.gelu,
        wide_attention: args.npu == Some(Npu::U85),
        license: args.license.as_deref(),
    };
    let lite = match args.form {
        LiteForm::Float => float_file(&file, &options.classes, lite)?,
        LiteForm::Integer => {
            note_quantising(&options);
            integer_file(&file, data.as_ref(), &options, lite)?
        }
    };
    output::write(&args.out, |out| out.write_all(&lite.bytes))?;
    let operators = counted(lite.operators, "operator", "operators");
    let difference = lite.difference.map_or_else(String::new, |of| {
        let LiteDifference { pictures, rms, .. } = of;
        format!("; {pictures} pictures differ by {rms:.1} grey levels (root mean square) from the float network's")
    });
    output::note_written(&args.out, &format!("{}, {operators}{difference}", format_bytes(lite.bytes.len() as u64)));
    if let Some(difference) = lite.difference.filter(|difference| difference.worst_rms >= SPOILT) {
        note(&warning(&difference, &options, &file));
    }
    if let Some(path) = &args.vectors {
        let wanted: Vec<usize> = (0..args.count as usize).map(|i| i % options.classes.len()).collect();
        let bytes = vectors(&file, &options.classes, args.form, &requests(args.seed, 0, &wanted))?;
        output::write(path, |out| out.write_all(&bytes))?;
        note(&format!("{}: inputs and outputs of {}", path.display(), counted(args.count as usize, "picture", "pictures")));
    }
    Ok(())
}

/// That integers spoil a class, and what helps.
fn warning(difference: &LiteDifference, options: &QuantiseOptions, file: &ModelFile) -> String {
    let names = classes::of_file(&file.header.class_names, file.header.model.classes);
    let class = options.classes.get(difference.worst_class).copied().unwrap_or_default();
    let enough = QuantiseOptions::default().pictures.max(4 * options.classes.len());
    let hint = if options.pictures < enough {
        format!("calibrate with more pictures: --pictures {enough}")
    } else {
        "see whether --npu u85 is better, or use --form float".to_owned()
    };
    format!(
        "warning: pictures of `{}` differ by {:.1} grey levels, where 3 to 12 are usual; {hint}",
        names.get(class).map_or("", |name| name.as_ref()),
        difference.worst_rms,
    )
}
