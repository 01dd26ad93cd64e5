//! `config show`: every setting, its value and its origin.

use crate::cli::Settings;
use crate::config::Stage;
use crate::error::Error;

pub(super) fn run(stage: Stage, args: &Settings) -> Result<(), Error> {
    let (config, resolved) = super::resolve(stage, args, None)?;
    super::print_bytes(resolved.explain().as_bytes())?;
    config.validate()?;
    Ok(())
}
