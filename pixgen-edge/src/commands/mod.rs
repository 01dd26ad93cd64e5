//! One file for each verb of the program.

mod classes;
mod export;
mod info;
mod onnx;
mod plan;
mod report;
mod sample;
mod selftest;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::terminal::print_bytes;
use crate::units::counted;
use clap::CommandFactory;

/// Runs a command line.
///
/// # Errors
/// What the user reads when the command cannot go on.
pub fn run(cli: Cli) -> Result<(), Error> {
    if let Some(threads) = cli.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build_global();
        pool.map_err(|e| Error::Argument {
            what: format!("cannot start {}: {e}", counted(threads, "thread", "threads")),
            hint: Some("give a smaller number with --threads".into()),
        })?;
    }
    match cli.command {
        Command::Export(args) => export::run(&args),
        Command::Onnx(args) => onnx::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Selftest { model } => selftest::run(&model),
        Command::Info { model, json } => info::run(&model, json),
        Command::Plan(args) => plan::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pixgen-edge", &mut script);
            Ok(print_bytes(&script)?)
        }
    }
}
