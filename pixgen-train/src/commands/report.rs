//! `report`: runs and measurements as one HTML page.

use crate::cli::Report;
use crate::error::Error;
use crate::report::nearest::{Pairs, pairs};
use crate::report::page::{Part, page};
use crate::report::source::{Source, find};
use crate::report::{ReportError, numbers};
use crate::run::atomic::write_atomic;
use crate::run::note;

pub(super) fn run(args: &Report, quiet: bool) -> Result<(), Error> {
    let mut measured = Vec::new();
    for path in &args.eval {
        measured.extend(numbers::read(path)?);
    }
    let folders: Result<Vec<_>, ReportError> = args.runs.iter().map(|path| find(path)).collect();
    let mut parts = Vec::new();
    for folder in folders?.into_iter().flatten() {
        let source = Source::read(&folder)?;
        for remark in &source.remarks {
            note(&format!("warning: {}: {remark}", source.name));
        }
        let pairs = draw(&source, args.pictures as usize, quiet);
        if let Err(reason) = &pairs {
            note(&format!("warning: {}: {reason}", source.name));
        }
        parts.push(Part { source, pairs });
    }
    let title = args.title.clone().unwrap_or_else(|| {
        let names: Vec<&str> = parts.iter().map(|part| part.source.name.as_str()).collect();
        format!("Pixgen: {}", names.join(", "))
    });
    let text = page(&title, &parts, &measured);
    write_atomic(&args.out, |out| out.write_all(text.as_bytes()))?;
    Ok(super::print_line(&args.out.display().to_string())?)
}

/// Pictures of the run's model with their nearest; in words why there are none although it draws.
fn draw(source: &Source, count: usize, quiet: bool) -> Result<Option<Pairs>, String> {
    let (Some(config), Some(model), 1..) = (&source.config, &source.model, count) else {
        return Ok(None);
    };
    if !quiet {
        note(&format!("{}: drawing {count} pictures and looking for the nearest training pictures", source.name));
    }
    pairs(config, model, count).map_err(|error| format!("no generated pictures: {error}"))
}
