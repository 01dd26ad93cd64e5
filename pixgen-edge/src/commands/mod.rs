//! One file for each verb of the program.

mod bench;
pub mod classes;
mod export;
mod info;
mod onnx;
mod plan;
mod report;
mod sample;
mod selftest;
mod tflite;
mod web;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::terminal::print_bytes;
use crate::threads;
use clap::CommandFactory;

/// Runs a command line.
///
/// # Errors
/// What the user reads when the command cannot go on.
pub fn run(cli: Cli) -> Result<(), Error> {
    let computes = !matches!(cli.command, Command::Info { .. } | Command::Plan(_) | Command::Web(_) | Command::Completions { .. });
    if computes {
        threads::start(cli.threads, None)?;
    } else {
        threads::check(cli.threads)?;
    }
    match cli.command {
        Command::Export(args) => export::run(&args),
        Command::Onnx(args) => onnx::run(&args),
        Command::Tflite(args) => tflite::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Selftest { model } => selftest::run(&model),
        Command::Info { model, json } => info::run(&model, json),
        Command::Plan(args) => plan::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Web(args) => web::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pixgen-edge", &mut script);
            Ok(print_bytes(&script)?)
        }
    }
}
