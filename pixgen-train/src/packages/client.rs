//! A package through the ordinary client of its registry, as it is set up on this machine: npm, pip or apt-get. Mirrors, proxies and
//! certificates are those of the client; nothing of the package is built or installed.

use super::catalogue::{Package, Registry};
use super::error::PackageError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Brings the package into the empty folder `folder`, which stays the client's; returns its file there, unchecked.
///
/// # Errors
/// [`PackageError::Client`] if the client is missing, fails, or brings another file.
pub fn fetch(package: &Package, folder: &Path) -> Result<PathBuf, PackageError> {
    let (name, version) = package.title.split_once(' ').unwrap_or((package.title, ""));
    let exact = |separator: &str| format!("{name}{separator}{version}");
    let mut command = match package.registry {
        Registry::Npm => with("npm", &["pack", "--silent", &exact("@")]),
        Registry::PyPi => {
            let only_wheels = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"];
            let mut command = with("python3", &only_wheels);
            command.arg(exact("=="));
            command
        }
        Registry::Debian => with("apt-get", &["download", &exact("=")]),
    };
    run(command.current_dir(folder))?;
    let file = folder.join(package.file_name());
    if file.is_file() {
        Ok(file)
    } else {
        Err(PackageError::Client { command: words(&command), reason: format!("it brought no {}", package.file_name()) })
    }
}

fn with(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> Result<(), PackageError> {
    let failed = |command: &Command, reason: String| PackageError::Client { command: words(command), reason };
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            Err(failed(command, last.map_or_else(|| output.status.to_string(), str::to_owned)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(failed(command, "it is not installed".to_owned())),
        Err(error) => Err(failed(command, error.to_string())),
    }
}

/// As a person would type it.
fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    [command.get_program().to_string_lossy().into_owned()]
        .into_iter()
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_missing_or_fails_is_named() {
        let error = run(&mut with("pixgen-no-such-client", &["pack", "a@1"])).unwrap_err();
        assert_eq!(error.to_string(), "`pixgen-no-such-client pack a@1` failed: it is not installed");
        assert!(error.hint().unwrap().contains("--file"));
        let error = run(&mut with("sh", &["-c", "echo one >&2; echo two >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("failed: two"), "{error}");
        assert!(run(&mut with("sh", &["-c", "exit 0"])).is_ok());
    }
}
