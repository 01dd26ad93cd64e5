//! What can be typed. Declarations only; [`crate::commands`] does the work.

use clap::{Parser, Subcommand};

/// Bring trained image generators to small devices
#[derive(Debug, Parser)]
#[command(name = "pixgen-edge", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Threads for computing; all cores by default
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a shell completion script
    #[command(after_help = "Example:  pixgen-edge completions bash > ~/.local/share/bash-completion/completions/pixgen-edge")]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
}
