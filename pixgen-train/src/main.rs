//! `pixgen-train`: see `pixgen-train --help`.

use clap::Parser as _;
use pixgen_edge::atomic::keep_inputs;
use pixgen_edge::{interrupt, terminal};
use pixgen_train::cli::Cli;
use pixgen_train::distributed::{LAUNCHED, Placement};
use pixgen_train::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    interrupt::install();
    keep_inputs();
    let placement = Placement::of_environment().ok().flatten();
    let rank = placement.as_ref().map_or(0, |placement| placement.rank);
    placement.iter().for_each(|placement| interrupt::is_rank(placement.rank));
    if let Some(tag) = std::env::var_os(LAUNCHED).map(|_| format!("[{rank}] ")) {
        terminal::tag_lines(tag);
    }
    let arguments: Cli = match if rank == 0 { terminal::arguments() } else { arguments_of(rank) } {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match pixgen_train::commands::run(arguments) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) if placement.is_none() => terminal::fail(&error, error.hint()),
        // Rank 0, whose command line is the same, says more; but not of who cannot meet it.
        Err(error) => {
            terminal::fail(&format!("rank {rank}: {error}"), error.hint().filter(|_| rank == 0 || matches!(error, Error::Link(_))))
        }
    }
}

/// The command line of another rank than the first: of what is wrong with it rank 0 says more.
fn arguments_of(rank: usize) -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let text = error.to_string();
        if let Some(line) = text.lines().next().filter(|_| error.use_stderr()) {
            terminal::note(&format!("rank {rank}: {line}"));
        }
        ExitCode::from(error.exit_code() as u8)
    })
}
