//! `pretrain` and `finetune`.

use super::{Backend, Device};
use crate::cli::Train;
use crate::config::Stage;
use crate::dry_run;
use crate::error::Error;
use crate::roofline::memory::Setup;
use crate::run::{interrupt, note};
use crate::session::{self, End, Options};
use crate::settings::units::parse_images;
use std::time::Instant;

pub(super) fn run(stage: Stage, args: &Train, encoder: Option<&str>, quiet: bool) -> Result<End, Error> {
    let (config, _) = super::resolve(stage, &args.settings, encoder)?;
    let stop_at = args.stop_at.as_deref().map(parse_images).transpose()?;
    let no_data = args.dry_run && config.data.path.is_empty();
    let prepared = if no_data {
        session::prepare_without_data(config)?
    } else {
        session::prepare(config)?
    };
    let device = Device::default();
    if args.dry_run {
        if prepared.skipped_files > 0 {
            note(&format!("warning: left out {} bad files", prepared.skipped_files));
        }
        let plan = dry_run::plan::<Backend>(&prepared, Setup::cpu::<Backend>(), &device);
        if args.json {
            super::print_json(&plan)?;
        } else {
            super::print_bytes(plan.to_string().as_bytes())?;
        }
        return Ok(End::Finished);
    }
    let out = args.out.as_deref().ok_or_else(|| Error::Argument {
        what: "no run folder given".to_owned(),
        hint: Some("add --out FOLDER, or --dry-run to see what would be done".to_owned()),
    })?;
    let title = if stage == Stage::Pretrain { "pretrain" } else { "finetune" };
    let options = Options { stop_at, quiet, title: title.to_owned(), interrupt: interrupt::install()? };
    let started = Instant::now();
    let end = session::train::<Backend>(&prepared, out, &options, &device)?;
    let seconds = started.elapsed().as_secs_f64();
    match end {
        End::Finished => note(&format!("done in {seconds:.0} s; model: {}", out.join("model.safetensors").display())),
        End::Stopped => note("stopped and saved; the same command without --stop-at goes on"),
        End::Interrupted => note("interrupted and saved; the same command goes on"),
    }
    Ok(end)
}
