//! `pretrain` and `finetune`.

use super::ranks;
use super::settings::{StageFlag, StageSettings, resolve};
use crate::cli::{LogForm, TrainArgs};
use crate::config::{RunConfig, StageKind};
use crate::device::{Cpu, OnDevice};
use crate::distributed::replicas::check_data;
use crate::distributed::{Collective, Placement};
use crate::error::Error;
use crate::needs::dry_run::{self, DryRun, Processes};
use crate::needs::memory::requirements;
use crate::prepared::{self, Prepared};
use crate::run::recorded::Recorded;
use crate::session::{self, End, SessionOptions};
use crate::settings::Origin;
use crate::settings::layers::{dotted_keys, get};
use crate::settings::units::parse_images;
use crate::training::Engine;
use pixgen_edge::file_kind::quoted;
use pixgen_edge::interrupt::Interrupt;
use pixgen_edge::output;
use pixgen_edge::terminal::{note, print_json, print_text};
use pixgen_edge::units::{counted, format_bytes};
use std::path::Path;
use std::time::Instant;

pub(super) fn run(
    stage: StageKind,
    args: &TrainArgs,
    own: &[StageFlag<'_>],
    quiet: bool,
    placement: Option<Placement>,
) -> Result<End, Error> {
    if args.dry_run {
        // A plan is made by one process.
        let others = placement.as_ref().is_some_and(|placement| placement.rank > 0);
        let processes = placement.map_or(1, |placement| placement.size);
        return if others {
            Ok(End::Finished)
        } else {
            plan(stage, args, own, processes)
        };
    }
    let ranks = ranks::join(placement, args.rank_limit)?;
    let end = train(stage, args, own, quiet, &ranks);
    ranks::leave(&ranks, end)
}

/// Settings and data: at rank 0 from the command line and the run folder, elsewhere from rank 0.
fn prepare(stage: StageKind, args: &TrainArgs, own: &[StageFlag<'_>], ranks: &Collective) -> Result<Prepared, Error> {
    let out = args.out.as_deref();
    let (mut prepared, auto) = if ranks.is_first() {
        let settings = resolve(stage, &args.settings, own, out)?;
        ranks::give(ranks, &settings.config, &processes(args, ranks.size()))?;
        let no_data = args.dry_run && settings.config.data.path.is_empty();
        let prepared = if no_data {
            prepared::prepare_without_data(settings.config.clone())?
        } else {
            prepared::prepare_in(settings.config.clone(), out)?
        };
        check_overruled(&settings, &prepared.config)?;
        warn_of_other_data(&settings, &prepared);
        // A resumed run keeps its micro-batch: another would change the order of sums, and with it the last bits of the result.
        let resumes = out.map(Recorded::read).transpose()?.flatten().is_some();
        (prepared, settings.auto_micro_batch && !resumes)
    } else {
        (prepared::prepare_following(ranks::take(ranks)?)?, false)
    };
    check_data(ranks, &prepared.training.fingerprint())?;
    if ranks.any(auto) {
        let config = &mut prepared.config;
        match ranks::fit_micro_batch(ranks, config, processes(args, ranks.size()).divided()) {
            Ok(free) if ranks.is_first() => {
                let (micro_batch, batch) = (config.train.micro_batch, config.train.batch);
                note(&format!("micro-batch {micro_batch} of {batch}: {} are free", format_bytes(free)));
            }
            Ok(_) => {}
            Err(Error::Device(problem)) if args.dry_run => {
                note(&format!("warning: {problem}; `auto` needs its memory, so the plan is for the whole batch at once"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(prepared)
}

/// What `--shard-state` does alone.
const UNDIVIDED: &str =
    "--shard-state: a single process has nobody to divide moments and averages with; `launch --processes N -- ...` starts several";

/// So many processes, as the command line wants them.
const fn processes(args: &TrainArgs, count: usize) -> Processes {
    Processes { count, divide: args.shard_state }
}

/// `--dry-run` of so many processes.
fn plan(stage: StageKind, args: &TrainArgs, own: &[StageFlag<'_>], count: usize) -> Result<End, Error> {
    let prepared = prepare(stage, args, own, &Collective::default())?;
    let config = &prepared.config;
    let processes = processes(args, count);
    ranks::check_shares(config, &processes)?;
    let (device, requirements) = (config.device()?, requirements(&processes.part(config), processes.divided())?);
    if prepared.skipped_files > 0 {
        note(&format!("warning: left out {}", counted(prepared.skipped_files, "bad file", "bad files")));
    }
    if args.shard_state && count == 1 {
        note(&format!("warning: {UNDIVIDED}"));
    }
    // A plan for a device that is not here is a plan all the same.
    let plan = match device.run(requirements, Planning { prepared: &prepared, processes }) {
        Ok(plan) => plan?,
        Err(problem) => {
            note(&format!("warning: {problem}; the plan is made without it"));
            dry_run::plan::<Cpu>(&prepared, None, processes)?
        }
    };
    if args.json {
        print_json(&plan)?;
    } else {
        print_text(&plan.to_string())?;
    }
    Ok(End::Finished)
}

fn train(stage: StageKind, args: &TrainArgs, own: &[StageFlag<'_>], quiet: bool, ranks: &Collective) -> Result<End, Error> {
    let stop_at = args.stop_at.as_deref().map(parse_images).transpose()?;
    let out = args.out.as_deref().ok_or_else(|| Error::Argument {
        what: "no run folder given".to_owned(),
        hint: Some("add --out FOLDER, or --dry-run to see what would be done".to_owned()),
    })?;
    output::refuse_stdout("--out", out, "writes a folder")?;
    let prepared = prepare(stage, args, own, ranks)?;
    if args.shard_state && ranks.is_alone() {
        note(&format!("warning: {UNDIVIDED}"));
    }
    let here = ranks::settings_here(ranks, &prepared.config);
    let (device, requirements) = (here.device()?, requirements(&here, processes(args, ranks.size()).divided())?);
    ranks::check_engine(ranks, device)?;
    let title = if stage == StageKind::Pretrain { "pretrain" } else { "finetune" };
    let options = SessionOptions {
        stop_at,
        quiet,
        title: title.to_owned(),
        tensorboard: args.log == Some(LogForm::Tensorboard),
        interrupt: Interrupt::listen(),
        ranks: ranks.clone(),
        shard_state: args.shard_state,
    };
    let started = Instant::now();
    let end = device.run(requirements, Training { prepared: &prepared, out, options: &options })??;
    let seconds = started.elapsed().as_secs_f64();
    match end {
        _ if !ranks.is_first() => {}
        End::Finished => {
            note(&format!("done in {seconds:.0} s; model: {}", out.join("model.safetensors").display()));
            note(&format!("next: pixgen-train {}", next(stage, out, &prepared.config.data.path)));
        }
        End::Stopped => note("stopped and saved; the same command without --stop-at resumes"),
        End::Interrupted => {}
    }
    Ok(end)
}

/// What to do with a finished run.
fn next(stage: StageKind, out: &Path, data: &str) -> String {
    let out = quoted(out);
    match stage {
        StageKind::Pretrain => format!("finetune --encoder {out} --data {} --out gen", quoted(Path::new(data))),
        StageKind::Diffusion | StageKind::Consistency | StageKind::Drift => format!("sample {out} --out grid.png"),
    }
}

/// A value that the user gave must not be replaced in silence.
fn check_overruled(settings: &StageSettings, now: &RunConfig) -> Result<(), Error> {
    let [given, is] = [settings.config.to_table()?, now.to_table()?];
    for key in dotted_keys(&is) {
        let (Some(given), Some(is)) = (get(&given, &key), get(&is, &key)) else {
            continue;
        };
        let origin = settings.resolved.origins.get(&key).filter(|origin| origin.is_given() && given != is);
        if let Some(origin) = origin.cloned() {
            return Err(Error::Overruled { key, origin, given: given.to_string(), is: is.to_string() });
        }
    }
    Ok(())
}

/// The pictures that are taken where none are named need not be those of the model that a run starts from.
fn warn_of_other_data(settings: &StageSettings, prepared: &Prepared) {
    let named = settings.resolved.origins.get("data.path").is_some_and(Origin::is_given);
    let seen = prepared.start.data.as_ref();
    if !named && seen.is_some_and(|seen| *seen != prepared.training.fingerprint()) {
        let data = &prepared.config.data.path;
        note(&format!(
            "warning: this run trains on `{data}`, which the model that it starts from has not seen; --data names other pictures"
        ));
    }
}

/// A dry run.
struct Planning<'a> {
    prepared: &'a Prepared,
    processes: Processes,
}

impl OnDevice for Planning<'_> {
    type Output = Result<DryRun, Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        dry_run::plan::<B>(self.prepared, Some(device), self.processes)
    }
}

/// A run.
struct Training<'a> {
    prepared: &'a Prepared,
    out: &'a Path,
    options: &'a SessionOptions,
}

impl OnDevice for Training<'_> {
    type Output = Result<End, Error>;

    fn run<B: Engine>(self, device: &B::Device) -> Self::Output {
        session::train::<B>(self.prepared, self.out, self.options, device)
    }
}
