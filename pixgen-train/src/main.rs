//! `pixgen-train`: see `pixgen-train --help`.

use clap::Parser;
use pixgen_train::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match pixgen_train::commands::run(Cli::parse()) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("\nhint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
