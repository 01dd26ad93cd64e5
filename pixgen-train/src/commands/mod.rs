//! One file for each verb of the program.

mod bench;
mod config_show;
mod data_bench;
mod data_check;
mod data_get;
mod data_prepare;
mod drawn;
mod eval;
mod export;
mod import;
mod inspect;
mod launch;
mod long_work;
mod picture_sets;
mod probe;
mod quickstart;
mod quickstart_plan;
mod quickstart_quality;
mod ranks;
mod report;
mod roofline;
mod sample;
mod settings;
mod train;

use crate::cli::{Cli, Command, ConfigCommand, DataCommand, ObjectiveName, StageName};
use crate::config::StageKind;
use crate::distributed::{Collective, Placement};
use crate::error::Error;
use crate::run::recorded::begun;
use crate::session::End;
use clap::{CommandFactory, ValueEnum};
use pixgen_edge::interrupt::EXIT_INTERRUPTED;
use pixgen_edge::terminal::print_bytes;
use pixgen_edge::threads;

/// Runs a command line; returns the exit code.
pub fn run(cli: Cli) -> Result<i32, Error> {
    let computes = !matches!(
        cli.command,
        Command::Inspect(_) | Command::Config(_) | Command::Completions { .. } | Command::Export(_) | Command::Launch(_)
    );
    let placement = match cli.command {
        Command::Pretrain(_) | Command::Finetune(_) | Command::Sample(_) | Command::Eval(_) => Placement::of_environment()?,
        _ => None,
    };
    if computes {
        threads::start(cli.threads, placement.as_ref().map(Placement::threads))?;
    } else {
        threads::check(cli.threads)?;
    }
    if cli.quiet {
        crate::run::progress::hush();
    }
    let code = |end| if end == End::Interrupted { EXIT_INTERRUPTED } else { 0 };
    match cli.command {
        Command::Quickstart(args) => quickstart::run(&args, cli.quiet).map(code),
        Command::Pretrain(args) => {
            let method = args.method.and_then(|method| method.to_possible_value());
            let own: Vec<_> = method.iter().map(|method| ("--method", "pretrain.method", method.get_name())).collect();
            train::run(StageKind::Pretrain, &args.train, &own, cli.quiet, placement).map(code)
        }
        Command::Finetune(args) => {
            let of_run = || Some(begun(args.train.out.as_deref()?)?.stage.kind()).filter(|&stage| stage != StageKind::Pretrain);
            let stage = match args.objective {
                Some(ObjectiveName::Consistency) => StageKind::Consistency,
                Some(ObjectiveName::Diffusion) => StageKind::Diffusion,
                Some(ObjectiveName::Drift) => StageKind::Drift,
                None => of_run().unwrap_or(StageKind::Consistency),
            };
            let flags = [("--encoder", "encoder", &args.encoder), ("--from", "from", &args.from)];
            let own: Vec<_> = flags
                .iter()
                .filter_map(|(flag, key, path)| Some((*flag, *key, path.as_deref()?)))
                .collect();
            train::run(stage, &args.train, &own, cli.quiet, placement).map(code)
        }
        Command::Launch(mut args) => {
            // Flags before `launch`'s own command are for that command too.
            args.command.extend(cli.quiet.then(|| "--quiet".into()));
            args.command
                .extend(cli.threads.iter().flat_map(|threads| ["--threads".into(), threads.to_string().into()]));
            launch::run(&args)
        }
        Command::Sample(args) => {
            let run = |ranks: &Collective, device| sample::run(&args, cli.quiet, ranks, device);
            ranks::together(placement, &args.device, run).map(|()| 0)
        }
        Command::Eval(args) => {
            let run = |ranks: &Collective, device| eval::run(&args, cli.quiet, ranks, device);
            ranks::together(placement, &args.device, run).map(|()| 0)
        }
        Command::Probe(args) => probe::run(&args).map(|()| 0),
        Command::Report(args) => report::run(&args, cli.quiet).map(|()| 0),
        Command::Inspect(args) => inspect::run(&args).map(|()| 0),
        Command::Data(DataCommand::Get(args)) => data_get::run(&args, cli.quiet),
        Command::Data(DataCommand::Check(args)) => data_check::run(&args).map(|()| 0),
        Command::Data(DataCommand::Prepare(args)) => data_prepare::run(&args, cli.quiet).map(|()| 0),
        Command::Data(DataCommand::Bench(args)) => data_bench::run(&args).map(|()| 0),
        Command::Config(ConfigCommand::Show(args)) => {
            let stage = match args.stage {
                StageName::Pretrain => StageKind::Pretrain,
                StageName::Finetune => StageKind::Consistency,
                StageName::Diffusion => StageKind::Diffusion,
                StageName::Drift => StageKind::Drift,
            };
            config_show::run(stage, &args.settings, args.json).map(|()| 0)
        }
        Command::Bench(args) => match &args.roofline.roofline {
            Some(device) => roofline::run(device, &args).map(|()| 0),
            None => bench::run(&args).map(|()| 0),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pixgen-train", &mut script);
            print_bytes(&script)?;
            Ok(0)
        }
        Command::Import(args) => import::run(&args).map(|()| 0),
        Command::Export(args) => export::run(&args).map(|()| 0),
    }
}
