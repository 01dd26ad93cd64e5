//! `report`: runs and measurements as one HTML page.

use crate::cli::ReportArgs;
use crate::config::RunConfig;
use crate::device::{DeviceChoice, DeviceProblem, OnDevice, Requirements};
use crate::error::Error;
use crate::prepared;
use crate::quality::nearest_pairs::{NearestPairs, nearest_pairs};
use crate::report::page::{RunSection, page};
use crate::report::source::{RunSource, find};
use crate::report::{ReportError, numbers};
use crate::run::averages::average;
use crate::training::Engine;
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::output;
use pixgen_edge::terminal::note;
use pixgen_edge::units::counted;

pub(super) fn run(args: &ReportArgs, quiet: bool) -> Result<(), Error> {
    output::check_extension("--out", &args.out, "an HTML page", &["html", "htm"])?;
    let device = args.device.choice()?;
    let mut measured = Vec::new();
    for path in &args.eval {
        measured.extend(numbers::read(path)?);
    }
    let folders: Result<Vec<_>, ReportError> = args.runs.iter().map(|path| find(path)).collect();
    let mut parts = Vec::new();
    for folder in folders?.into_iter().flatten() {
        let mut source = RunSource::read(&folder)?;
        if args.ema.is_some() {
            source.model = Some(average(&folder, args.ema.as_deref())?);
        }
        for remark in &source.remarks {
            note(&format!("warning: {}: {remark}", source.name));
        }
        let pairs = draw(&source, args.pictures as usize, device, quiet)?;
        if let Err(reason) = &pairs {
            note(&format!("warning: {}: {reason}", source.name));
        }
        parts.push(RunSection { source, pairs });
    }
    let title = args.title.clone().unwrap_or_else(|| {
        let names: Vec<&str> = parts.iter().map(|part| part.source.name.as_str()).collect();
        format!("Pixgen: {}", names.join(", "))
    });
    let text = page(&title, &parts, &measured);
    output::write(&args.out, |out| out.write_all(text.as_bytes()))?;
    Ok(output::announce(&args.out)?)
}

/// Generated pictures of a run with their nearest training pictures.
struct Draw<'a> {
    config: &'a RunConfig,
    model: &'a ModelFile,
    count: usize,
}

impl OnDevice for Draw<'_> {
    type Output = Result<Option<NearestPairs>, Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        let Self { config, model, count } = self;
        let (training, held_out, _) = prepared::load(&config.data, &config.model)?;
        if training.fingerprint() != model.header.data {
            return Err(Error::Argument { what: format!("{} has other pictures now", config.data.path), hint: None });
        }
        Ok(nearest_pairs::<B>(model, &training, &held_out, count, device)?)
    }
}

/// Pictures of the run's model with their nearest; the reason in words if they cannot be compared. A device that cannot draw is an error, as
/// for every verb.
fn draw(
    source: &RunSource,
    count: usize,
    device: DeviceChoice,
    quiet: bool,
) -> Result<Result<Option<NearestPairs>, String>, DeviceProblem> {
    let (Some(config), Some(model), 1..) = (&source.config, &source.model, count) else {
        return Ok(Ok(None));
    };
    if model.header.content == Content::Encoder {
        return Ok(Ok(None));
    }
    if !quiet {
        let pictures = counted(count, "picture", "pictures");
        note(&format!("{}: drawing {pictures} and looking for the nearest training pictures", source.name));
    }
    let drawn = device.run(Requirements::inference(model.params.len()), Draw { config, model, count })?;
    Ok(drawn.map_err(|error| format!("no generated pictures: {error}")))
}
