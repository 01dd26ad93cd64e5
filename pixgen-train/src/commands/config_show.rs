//! `config show`: every setting, its value and its origin.

use super::settings::resolve;
use crate::cli::SettingsArgs;
use crate::config::StageKind;
use crate::error::Error;
use pixgen_edge::terminal::print_bytes;

pub(super) fn run(stage: StageKind, args: &SettingsArgs) -> Result<(), Error> {
    if args.auto_micro_batch() {
        return Err(Error::Argument {
            what: "--micro-batch auto: it is decided when a run starts, by the memory that is free then".to_owned(),
            hint: Some("`pretrain` and `finetune` show it with --dry-run".to_owned()),
        });
    }
    let (config, resolved) = resolve(stage, args, None)?;
    print_bytes(resolved.explain().as_bytes())?;
    config.validate()?;
    Ok(())
}
