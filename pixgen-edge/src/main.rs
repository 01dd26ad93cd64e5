//! `pixgen-edge`: see `pixgen-edge --help`.

use pixgen_edge::atomic::keep_inputs;
use pixgen_edge::cli::Cli;
use pixgen_edge::{commands, interrupt, terminal};
use std::process::ExitCode;

fn main() -> ExitCode {
    interrupt::install();
    keep_inputs();
    let arguments: Cli = match terminal::arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => terminal::fail(&error, error.hint()),
    }
}
