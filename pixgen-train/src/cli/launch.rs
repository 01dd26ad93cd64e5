//! `launch`: a command on several processes.

use clap::{Args, ValueEnum};
use std::ffi::OsString;

/// Arguments of `launch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  pixgen-train launch --processes 8 -- finetune --preset EPG-L-16-256 --data imagenet --device cuda --out run\n\n\
    Each process trains on its share of every batch, or draws its share of the pictures. Lines on stderr begin with the number of their process."
)]
pub struct LaunchArgs {
    /// Number of processes
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub processes: u16,
    /// What they communicate by: MPI where there is an `mpirun`, else TCP
    #[arg(long, value_enum, default_value = "auto")]
    pub engine: LaunchEngine,
    /// `pretrain`, `finetune`, `sample` or `eval` with its flags
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What processes communicate by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LaunchEngine {
    /// MPI where there is one, else TCP
    #[default]
    Auto,
    /// MPI
    Mpi,
    /// TCP between processes of one machine
    Tcp,
}
