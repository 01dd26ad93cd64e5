//! A package through the ordinary client of its registry, as it is set up on this machine: npm, pip, apt-get or cargo. Mirrors, proxies and
//! certificates are what the client is told; nothing of the package is built or installed.

use super::catalogue::{Package, Registry};
use super::error::PackageError;
use crate::run::atomic::FileError;
use std::env;
use std::fs;
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
            let form = if package.path.ends_with(".whl") {
                "--only-binary"
            } else {
                "--no-binary"
            };
            with("python3", &["-m", "pip", "download", "--quiet", "--no-deps", form, ":all:", &exact("==")])
        }
        Registry::Debian => with("apt-get", &["download", &exact("=")]),
        Registry::Crates => {
            write_manifest(folder, name, version)?;
            with("cargo", &["fetch", "--quiet"])
        }
    };
    run(command.current_dir(folder))?;
    let file = match package.registry {
        Registry::Crates => in_cargo_cache(package.file_name()),
        _ => Some(folder.join(package.file_name())).filter(|file| file.is_file()),
    };
    file.ok_or_else(|| PackageError::Client { command: words(&command), reason: format!("it has brought no {}", package.file_name()) })
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

/// An empty crate with one dependency, because cargo fetches nothing else.
fn write_manifest(folder: &Path, name: &str, version: &str) -> Result<(), PackageError> {
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n[dependencies]\n\
         {name} = {{ version = \"={version}\", default-features = false }}\n"
    );
    for (file, text) in [("Cargo.toml", manifest.as_str()), ("lib.rs", "")] {
        let path = folder.join(file);
        fs::write(&path, text).map_err(FileError::write(&path))?;
    }
    Ok(())
}

/// The file in the cache of any registry that cargo knows.
fn in_cargo_cache(file: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/cache")).ok()?;
    let files = registries.filter_map(|registry| Some(registry.ok()?.path().join(file)));
    files.into_iter().find(|file| file.is_file())
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

    #[test]
    fn cargos_manifest_is_one() {
        let folder = tempfile::tempdir().unwrap();
        write_manifest(folder.path(), "smartcore", "0.7.0").unwrap();
        let table: toml::Table = fs::read_to_string(folder.path().join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(table["dependencies"]["smartcore"]["version"].as_str(), Some("=0.7.0"));
        assert!(table.contains_key("workspace"), "or a workspace above it would claim it");
    }
}
