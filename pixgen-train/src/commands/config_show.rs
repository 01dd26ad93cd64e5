//! `config show`: every setting, its value and its origin.

use super::settings::{StageSettings, resolve};
use crate::cli::SettingsArgs;
use crate::config::StageKind;
use crate::error::Error;
use crate::settings::layers::{Resolved, get};
use pixgen_edge::terminal::{note, print_bytes, print_json};
use serde::Serialize;
use std::collections::BTreeMap;

/// What `config show --json` prints.
#[derive(Debug, Serialize)]
struct ShownSettings<'a> {
    /// Version of these keys.
    schema: u32,
    /// By dotted name.
    settings: BTreeMap<&'a str, ShownSetting<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownSetting<'a> {
    value: &'a toml::Value,
    /// As without --json: `default`, `preset small-28-grey`, `flag --lr`, ..
    origin: String,
}

fn shown(resolved: &Resolved) -> ShownSettings<'_> {
    let settings = resolved.origins.iter().filter_map(|(key, origin)| {
        let value = get(&resolved.table, key)?;
        Some((key.as_str(), ShownSetting { value, origin: origin.to_string() }))
    });
    ShownSettings { schema: 1, settings: settings.collect() }
}

pub(super) fn run(stage: StageKind, args: &SettingsArgs, json: bool) -> Result<(), Error> {
    let StageSettings { config, resolved, .. } = resolve(stage, args, &[], None)?;
    if json {
        print_json(&shown(&resolved))?;
    } else {
        print_bytes(resolved.explain().as_bytes())?;
    }
    // The settings are shown all the same: they may be half of what a command is to have.
    if let Err(problem) = config.validate() {
        note(&format!("warning: training would refuse these settings: {problem}"));
    }
    Ok(())
}
