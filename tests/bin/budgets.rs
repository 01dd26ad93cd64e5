//! Prints what a picture costs on every kind of core, in QEMU. With `--write`, these numbers become the budget that CI holds.

use pixgen_tests::firmware::budget::{HEAD, excess, measure, path, to_text};
use std::process::ExitCode;

fn main() -> ExitCode {
    let write = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--write" => true,
        _ => {
            eprintln!("usage: budgets [--write]");
            return ExitCode::FAILURE;
        }
    };
    println!("{HEAD}");
    let costs = match measure(&mut |cost| println!("{cost}")) {
        Ok(costs) => costs,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if write {
        return match std::fs::write(path(), to_text(&costs)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}: {error}", path().display());
                ExitCode::FAILURE
            }
        };
    }
    let excess = excess(&std::fs::read_to_string(path()).unwrap_or_default(), &costs);
    excess.iter().for_each(|line| eprintln!("over budget: {line}"));
    if excess.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
