//! `pixgen-edge`: see `pixgen-edge --help`.

use clap::Parser;
use pixgen_edge::atomic::keep_inputs;
use pixgen_edge::cli::Cli;
use pixgen_edge::{commands, interrupt, terminal};
use std::process::ExitCode;

fn main() -> ExitCode {
    interrupt::install();
    keep_inputs();
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => terminal::fail(&error, error.hint()),
    }
}
