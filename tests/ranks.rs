//! Runs of fifty steps on several processes.

use crate::fixtures::{Bench, Stage, checkpoints};
use crate::program::{pixgen, start};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};

/// Fifty steps of 16 images, each in the log.
const FIFTY: [&str; 10] = [
    "--batch",
    "16",
    "--images",
    "800",
    "--set",
    "output.log_every=16",
    "--set",
    "output.checkpoint_every=160",
    "--set",
    "output.sample_every=10k",
];

/// The command of one process.
pub fn alone(bench: &Bench, stage: Stage, out: &str, more: &[&str]) -> Command {
    let mut command = bench.train(stage, out);
    command.args(FIFTY).args(more);
    command
}

/// The same on `ranks` processes.
pub fn launched(engine: &str, ranks: usize, command: &Command) -> Command {
    let mut launch = pixgen(["launch", "--engine", engine, "--processes", &ranks.to_string(), "--"]);
    launch.args(command.get_args());
    launch
}

/// A port that nobody has, for now.
pub fn port() -> String {
    let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    address.expect("a port").port().to_string()
}

/// A command as one rank of several, without a launcher: with the variables of torchrun.
pub fn as_rank(command: &mut Command, rank: usize, size: usize, port: &str) {
    let (rank, size) = (rank.to_string(), size.to_string());
    command.envs([
        ("RANK", &rank),
        ("LOCAL_RANK", &rank),
        ("WORLD_SIZE", &size),
        ("LOCAL_WORLD_SIZE", &size),
    ]);
    command
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port)
        .env("TORCHELASTIC_RUN_ID", "a test");
}

/// Rank by rank, without a launcher.
pub fn ranks(size: usize, command: &Command) -> Vec<Child> {
    let port = port();
    let rank = |rank: usize| {
        let mut process = pixgen(command.get_args());
        as_rank(&mut process, rank, size, &port);
        start(process)
    };
    (0..size).map(rank).collect()
}

/// The bytes of the last checkpoint.
pub fn newest(run: &Path) -> Vec<u8> {
    fs::read(checkpoints(run).pop().expect("a checkpoint")).expect("its bytes")
}
