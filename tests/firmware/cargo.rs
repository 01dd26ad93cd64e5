//! Calls of cargo outside the workspace: the firmware, and the program that reads its log.

use super::FirmwareError;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Runs `command`, a `cargo build` in `folder`, hands the path of the executable to `take` and returns what that makes of it.
pub fn build<T>(mut command: Command, folder: &Path, take: impl FnOnce(&Path) -> Result<T, FirmwareError>) -> Result<T, FirmwareError> {
    // One at a time: an executable has to be taken before the next build overwrites it.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);

    let output = command
        .args(["--release", "--locked", "--message-format=json-render-diagnostics"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target_folder()?)
        // Incremental builds inline otherwise, and their counts differ by two percent.
        .env_remove("CARGO_INCREMENTAL")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| FirmwareError::Host(format!("{}: {error}", command.get_program().display())))?;
    if !output.status.success() {
        return Err(FirmwareError::Build(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let path = executable(&output.stdout).ok_or_else(|| FirmwareError::Build("cargo names no executable".into()))?;
    take(&path)
}

/// `firmware` in the target folder of the running program, which lies in `target/PROFILE` or `target/PROFILE/deps`.
fn target_folder() -> Result<PathBuf, FirmwareError> {
    let program = std::env::current_exe().map_err(|error| FirmwareError::Host(format!("path of this program: {error}")))?;
    let profile = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let target = profile
        .and_then(Path::parent)
        .ok_or_else(|| FirmwareError::Host("this program lies in no target folder".into()))?;
    Ok(target.join("firmware"))
}

/// The executable that cargo's messages (one JSON object a line) name.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(messages);
    text.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    })
}
