//! Runs the kernels of attention that a program launched under the stub driver, and compares what they compute with float64.
//! `tests/cuda/interpret.sh` prepares what this needs:
//!
//! ```text
//! ptx_attention FOLDER CASE...
//! ```
//!
//! FOLDER holds `calls.tsv` and modules; each CASE, `TOKENSxHEAD`, is three launches of it in this order.

mod mistakes;
mod reference;
mod replay;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use mistakes::{Mistake, mistakes};
use reference::Case;
use replay::{Call, Problem, Wrong, calls};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((folder, cases)) => run(Path::new(folder), cases),
        None => Err("which folder?".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, cases: &[String]) -> Result<(), String> {
    let calls = calls(folder)?;
    if calls.len() != 3 * cases.len() {
        return Err(format!("{} launches are not three for each of {} cases", calls.len(), cases.len()));
    }
    println!("| tokens, head | kernels | out | lse | dq | dk | dv | warp instructions | seconds |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for (text, calls) in cases.iter().zip(calls.chunks(3)) {
        one(case(text)?, calls)?;
    }
    match cases.first() {
        Some(text) => bites(case(text)?, &calls[..3]),
        None => Ok(()),
    }
}

/// Puts every mistake into the kernels of a case by itself, and says how many were found of each kind, and what the first led to. A barrier may
/// be there for nothing, so one of each kind must be found in each kernel that has it.
fn bites(case: Case, calls: &[Call]) -> Result<(), String> {
    let mut problem = Problem::new(case);
    for call in calls {
        let mut counts: BTreeMap<Mistake, (usize, Vec<Wrong>)> = BTreeMap::new();
        for (mistake, line, module) in mistakes(&call.module) {
            let (all, found) = counts.entry(mistake).or_default();
            *all += 1;
            match problem.clone().run(&Call { module, ..call.clone() }, 2) {
                Err(Wrong::Unreadable(message)) => return Err(format!("{mistake:?}: {message}")),
                Err(wrong) => found.push(wrong),
                Ok(_) => println!("{}: {mistake:?} in line {line} changes nothing", call.kernel),
            }
        }
        for (mistake, (all, found)) in counts {
            let first = found.first().ok_or_else(|| format!("{}: {mistake:?} is not found", call.kernel))?;
            println!("{}: {mistake:?}: {} of {all} found; {first}", call.kernel, found.len());
        }
        problem.run(call, 2).map_err(|wrong| wrong.to_string())?;
    }
    Ok(())
}

/// `TOKENSxHEAD`; `cuda_kernels attention` gives 258 tokens one head and others two.
fn case(text: &str) -> Result<Case, String> {
    let numbers = text
        .split_once('x')
        .and_then(|(tokens, head)| Some((tokens.parse().ok()?, head.parse().ok()?)));
    let (tokens, head) = numbers.ok_or_else(|| format!("{text} is not TOKENSxHEAD"))?;
    Ok(Case { tokens, heads: if tokens == 258 { 1 } else { 2 }, head })
}

fn one(case: Case, calls: &[Call]) -> Result<(), String> {
    let mut problem = Problem::new(case);
    let start = Instant::now();
    let (mut errors, mut instructions) = (Vec::new(), 0);
    for call in calls {
        let outcome = problem.run(call, 1).map_err(|wrong| format!("{case:?}: {}: {wrong}", call.kernel))?;
        errors.extend(outcome.errors.iter().map(|(_, error)| format!("{error:.1e}")));
        instructions += outcome.instructions;
    }
    let [errors, seconds] = [errors.join(" | "), format!("{:.2}", start.elapsed().as_secs_f64())];
    println!("| {}, {} | {} | {errors} | {instructions} | {seconds} |", case.tokens, case.head, calls[0].kernel);
    Ok(())
}
