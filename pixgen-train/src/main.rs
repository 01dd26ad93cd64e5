//! `pixgen-train`: see `pixgen-train --help`.

use pixgen_edge::atomic::keep_inputs;
use pixgen_edge::{interrupt, terminal};
use pixgen_train::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    interrupt::install();
    keep_inputs();
    let arguments: Cli = match terminal::arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match pixgen_train::commands::run(arguments) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => terminal::fail(&error, error.hint()),
    }
}
