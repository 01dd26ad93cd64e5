//! `pixgen-train`: see `pixgen-train --help`.

use clap::Parser;
use pixgen_train::cli::Cli;
use pixgen_train::run::note;
use std::process::ExitCode;

fn main() -> ExitCode {
    match pixgen_train::commands::run(Cli::parse()) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            note(&format!("error: {error}"));
            if let Some(hint) = error.hint() {
                note(&format!("\nhint: {hint}"));
            }
            ExitCode::FAILURE
        }
    }
}
