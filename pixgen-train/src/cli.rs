//! The command line: the verbs, and a file for the arguments of each group. Declarations only; [`crate::commands`] does the work.

mod bench;
mod data;
mod device;
mod draw;
mod files;
mod launch;
mod measure;
mod model;
mod train;

pub use bench::*;
pub use data::*;
pub use device::DeviceArgs;
pub use draw::*;
pub use files::*;
pub use launch::*;
pub use measure::*;
pub use model::ModelArgs;
pub use train::*;

use clap::{Parser, Subcommand};

/// Train pixel-space image generators and draw with them in one step
#[derive(Debug, Parser)]
#[command(name = "pixgen-train", version, max_term_width = 100)]
#[command(after_help = "Start with:  pixgen-train quickstart --out q")]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Number of threads; by default all cores, which processes of `launch` share out
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Print no progress on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train on bundled pictures and draw, in minutes on an ordinary CPU
    Quickstart(QuickstartArgs),
    /// Stage 1: pre-train the encoder without labels
    Pretrain(PretrainArgs),
    /// Stage 2: train a generator, from a pre-trained encoder or from scratch
    Finetune(FinetuneArgs),
    /// Train on several processes of this machine, one for each GPU or for a part of the cores
    Launch(LaunchArgs),
    /// Draw pictures with a trained model
    Sample(SampleArgs),
    /// Measure pictures of a trained model beside real ones
    Eval(EvalArgs),
    /// Measure what the encoder knows about the classes: nearest neighbours and a linear probe at several noise levels
    Probe(ProbeArgs),
    /// Lay out runs and measurements as one HTML page: curves, pictures, settings, numbers
    Report(ReportArgs),
    /// Describe a preset, a run or a model file
    Inspect(InspectArgs),
    /// Measure how fast this machine trains, or compute what a GPU could do at best
    Bench(BenchArgs),
    /// Get, check, prepare and time training data
    #[command(subcommand)]
    Data(DataCommand),
    /// Show settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a shell completion script
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Turn weights of the authors' PyTorch code into a model file
    Import(ImportArgs),
    /// Write a model for other programs, optionally with a model card
    Export(ExportArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Flags of cargo, pip, mpirun and srun that messages name, or that are given to them.
    const OF_OTHERS: [&str; 17] = [
        "bind-to",
        "example",
        "features",
        "gc-sections",
        "ignore-scripts",
        "loglevel",
        "mpi",
        "no-audit",
        "no-deps",
        "no-fund",
        "only-binary",
        "oversubscribe",
        "registry",
        "release",
        "silent",
        "sparse",
        "tag-output",
    ];

    fn collect(command: &clap::Command, flags: &mut BTreeSet<String>) {
        flags.extend(command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)));
        command.get_subcommands().for_each(|inner| collect(inner, flags));
    }

    fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }

    /// Errors and hints of both programs, and whatever else their sources say outside comments and tests.
    #[test]
    fn messages_name_only_flags_that_exist() {
        let mut flags = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
        flags.extend(OF_OTHERS.map(str::to_owned));
        collect(&super::Cli::command(), &mut flags);
        collect(&pixgen_edge::cli::Cli::command(), &mut flags);
        let mut found = Vec::new();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        sources(&here.join("src"), &mut found);
        sources(&here.join("../pixgen-edge/src"), &mut found);
        let mut seen = 0;
        for (path, source) in &found {
            let code = source.split("#[cfg(test)]").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for rest in line.split("--").skip(1) {
                    let flag: String = rest
                        .chars()
                        .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
                        .collect();
                    if flag.len() > 1 {
                        seen += 1;
                        assert!(flags.contains(&flag), "{path}: --{flag}: {line}");
                    }
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }
}
