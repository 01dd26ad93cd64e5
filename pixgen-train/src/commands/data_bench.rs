//! `data bench`: the speed of reading pictures.

use super::settings::find_preset;
use crate::bench::data::measure;
use crate::cli::DataBenchArgs;
use crate::error::Error;
use pixgen_edge::data::DataSource;
use pixgen_edge::terminal::{print_json, print_text};

pub(super) fn run(args: &DataBenchArgs) -> Result<(), Error> {
    let preset = find_preset(&args.preset)?;
    let report = measure(&DataSource::from(args.path.as_str()), preset, args.pictures as usize, args.rounds as usize)?;
    if args.json {
        return Ok(print_json(&report)?);
    }
    Ok(print_text(&report.to_string())?)
}
