//! Building an image.

use super::{FirmwareError, Machine, cargo};
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// Firmware for a machine, ready to run.
#[derive(Debug)]
pub struct Image {
    pub(super) machine: &'static Machine,
    /// ELF file, with the strings of the log.
    pub(super) file: NamedTempFile,
}

impl Image {
    /// Builds `firmware-examples/qemu` for `machine`, the `.pxg` file `model` and the pictures (class, seed) in `pairs`.
    pub fn build(machine: &'static Machine, model: &Path, pairs: &[(usize, u64)]) -> Result<Self, FirmwareError> {
        let model = model
            .canonicalize()
            .map_err(|error| FirmwareError::Host(format!("{}: {error}", model.display())))?;
        let pairs: Vec<String> = pairs.iter().map(|(class, seed)| format!("{class}:{seed}")).collect();
        let mut command = command(machine);
        command.env("PIXGEN_MODEL", &model).env("PIXGEN_PAIRS", pairs.join(","));
        Self::of_example("qemu", machine, command)
    }

    /// Builds `firmware-examples/kernel-conformance` for `machine`. It writes text, see [`run_text`](Self::run_text).
    pub fn build_conformance(machine: &'static Machine) -> Result<Self, FirmwareError> {
        Self::of_example("kernel-conformance", machine, command(machine))
    }

    fn of_example(name: &str, machine: &'static Machine, command: Command) -> Result<Self, FirmwareError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-examples").join(name);
        let file = cargo::build(command, &folder, |elf| {
            let copy = || {
                let file = NamedTempFile::new()?;
                std::fs::copy(elf, file.path())?;
                Ok(file)
            };
            copy().map_err(|error: std::io::Error| FirmwareError::Host(format!("copy of {}: {error}", elf.display())))
        })?;
        Ok(Self { machine, file })
    }
}

/// The start of a `cargo build` for the machine.
fn command(machine: &Machine) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fw-cargo.sh"));
    command.args(["build", "--target", machine.target]).env("PIXGEN_MACHINE", machine.name);
    if !machine.features.is_empty() {
        command.args(["--features", &machine.features.join(",")]);
    }
    // Flags for the host are not for the machine.
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(flags);
    }
    if let Some(cpu) = machine.cpu {
        command.env("RUSTFLAGS", format!("-Ctarget-cpu={cpu}"));
    }
    command
}
