//! `pixgen-train`: see `pixgen-train --help`.

use clap::Parser;
use pixgen_edge::atomic::keep_inputs;
use pixgen_edge::{interrupt, terminal};
use pixgen_train::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    interrupt::install();
    keep_inputs();
    match pixgen_train::commands::run(Cli::parse()) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => terminal::fail(&error, error.hint()),
    }
}
