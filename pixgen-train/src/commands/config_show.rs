//! `config show`: every setting, its value and its origin.

use super::settings::resolve;
use crate::cli::SettingsArgs;
use crate::config::Stage;
use crate::error::Error;
use pixgen_edge::terminal::print_bytes;

pub(super) fn run(stage: Stage, args: &SettingsArgs) -> Result<(), Error> {
    let (config, resolved) = resolve(stage, args, None)?;
    print_bytes(resolved.explain().as_bytes())?;
    config.validate()?;
    Ok(())
}
