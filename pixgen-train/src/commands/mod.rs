//! One file for each verb of the program.

mod config_show;
mod data_check;
pub mod eval;
mod inspect;
mod sample;
mod settings;
mod train;

use crate::cli::{Cli, Command, Config, Data, StageName};
use crate::config::Stage;
use crate::error::Error;
use crate::run::interrupt::EXIT_INTERRUPTED;
use crate::session::End;
use clap::CommandFactory;
use std::io::Write;

pub use settings::{flag_layers, resolve};

/// The device that the commands compute on.
pub type Device = burn_flex::FlexDevice;
/// Its backend.
pub type Backend = burn_flex::Flex;

/// Runs a command line; returns the exit code.
pub fn run(cli: Cli) -> Result<i32, Error> {
    if let Some(threads) = cli.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build_global();
        pool.map_err(|e| Error::Argument { what: format!("cannot use {threads} threads: {e}"), hint: None })?;
    }
    let code = |end| if end == End::Interrupted { EXIT_INTERRUPTED } else { 0 };
    match cli.command {
        Command::Quickstart(args) => crate::quickstart::run(&args, cli.quiet).map(code),
        Command::Pretrain(args) => train::run(Stage::Pretrain, &args, None, cli.quiet).map(code),
        Command::Finetune(args) => train::run(Stage::Consistency, &args.train, args.encoder.as_deref(), cli.quiet).map(code),
        Command::Sample(args) => sample::run(&args).map(|()| 0),
        Command::Eval(args) => eval::run(&args).map(|()| 0),
        Command::Inspect(args) => inspect::run(&args).map(|()| 0),
        Command::Data(Data::Check(args)) => data_check::run(&args).map(|()| 0),
        Command::Config(Config::Show(args)) => {
            let stage = match args.stage {
                StageName::Pretrain => Stage::Pretrain,
                StageName::Finetune => Stage::Consistency,
            };
            config_show::run(stage, &args.settings).map(|()| 0)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pixgen-train", &mut script);
            print_bytes(&script).map(|()| 0)
        }
    }
}

/// Writes to stdout; a reader that went away is no error.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// A line on stdout.
pub fn print_line(text: &str) -> Result<(), Error> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// A value as JSON on stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    // Reports are plain data, so serialising them cannot fail.
    print_line(&serde_json::to_string_pretty(value).unwrap_or_default())
}
