//! `export`: the file of a chip from a trained model.

use super::classes;
use crate::cli::{ExportArgs, QuantisationArgs};
use crate::data::{self, DataPart, DataSource, DataSpec, Dataset, ImageShape, PixelStore, WHITE};
use crate::error::Error;
use crate::file_kind::quoted;
use crate::model_file::{Content, ModelFile};
use crate::output;
use crate::pxg_file::write;
use crate::quantise::report::{LOW_SNR_DB, QuantisationReport, SiteReport, compare};
use crate::quantise::{self, QuantiseOptions, model_name};
use crate::terminal::note;
use crate::units::{counted, format_bytes};
use pixgen_core::integer::workspace_len;
use std::path::Path;

/// Pictures that int8 is compared on: few show whether a layer is lost.
pub(super) const COMPARED: usize = 4;

/// Calibration data and options from the arguments.
pub(super) fn options(args: &QuantisationArgs, file: &ModelFile) -> Result<(Option<Dataset>, QuantiseOptions), Error> {
    let model = &file.header.model;
    let names = classes::of_file(&file.header.class_names, model.classes);
    let data = match args.calibrate.as_str() {
        "noise" => None,
        source => {
            let shape = ImageShape { width: model.size, height: model.size, channels: model.channels };
            let source = DataSource::from(source);
            // A few pictures of the set are read.
            let spec = DataSpec {
                source,
                shape,
                background: WHITE,
                skip_bad: false,
                memory: PixelStore::Never,
                part: DataPart::Train,
                relabel: false,
            };
            Some(data::load(&spec)?.dataset)
        }
    };
    let options = QuantiseOptions {
        steps: usize::from(args.steps),
        classes: classes::parse_distinct("--classes", &args.classes, &names)?,
        pictures: args.pictures as usize,
        method: args.method,
        site_methods: args.site_method.clone(),
        bias_correction: !args.no_bias_correction,
        equalise: args.equalise.0,
        name: model_name(file),
        ..QuantiseOptions::default()
    };
    Ok((data, options))
}

/// The first option of quantising that is not as it is by default.
pub(super) fn quantising_flag(args: &QuantisationArgs) -> Option<&'static str> {
    let default = QuantiseOptions::default();
    let flags = [
        ("--calibrate", args.calibrate != "noise"),
        ("--pictures", args.pictures as usize != default.pictures),
        ("--method", args.method != default.method),
        ("--site-method", !args.site_method.is_empty()),
        ("--equalise", args.equalise.0 != default.equalise),
        ("--no-bias-correction", args.no_bias_correction),
    ];
    flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
}

/// Says that quantising begins: with a wide model it takes half a minute and more.
pub(super) fn note_quantising(options: &QuantiseOptions) {
    note(&format!("quantising with {}", counted(options.pictures, "calibration picture", "calibration pictures")));
}

pub(super) fn run(args: &ExportArgs) -> Result<(), Error> {
    let (writes, extensions) = args.format.file_kind();
    output::check_extension("--out", &args.out, writes, extensions)?;
    let file = ModelFile::load_content(&args.model, Content::Generator)?;
    let (data, options) = options(&args.quantisation, &file)?;
    let options = QuantiseOptions { tests: args.tests, ..options };
    output::check_writable(&args.out)?;
    note_quantising(&options);
    let exported = quantise::export(&file, data.as_ref(), &options)?;
    let compared = compare(&file, &exported, &options.classes, COMPARED)?;
    write(&args.out, &exported.bytes, args.format, &options.name, args.name.as_ref())?;
    let workspace = workspace_len(&file.header.model, options.steps);
    let what = format!(
        "{}, {}, {}, {}; drawing takes {} of RAM",
        format_bytes(exported.bytes.len() as u64),
        counted(options.classes.len(), "class", "classes"),
        counted(options.steps, "step", "steps"),
        counted(exported.tests.len(), "self-test", "self-tests"),
        format_bytes(workspace as u64),
    );
    output::note_written(&args.out, &what);
    note_spoilt(&compared, &args.model);
    Ok(())
}

/// Warns of a layer that integers spoil.
pub(super) fn note_spoilt(compared: &QuantisationReport, model: &Path) {
    if let Some(SiteReport { site, snr_db, .. }) = compared.spoilt() {
        note(&format!(
            "warning: int8 spoils {site}: a signal-to-noise ratio of {snr_db:.1} dB, where {LOW_SNR_DB} and more are usual; see what it costs: \
             `pixgen-edge report {}`",
            quoted(model)
        ));
    }
}
