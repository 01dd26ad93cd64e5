//! Node.js: installing the packages that draw, and the process that draws with them.

use super::styles::Style;
use crate::packages::checksum;
use crate::packages::error::{NodeProblem, PackageError};
use pixgen_edge::file_error::FileError;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// The files that say what is installed, byte for byte, and what runs then.
pub const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("package.json")),
    ("package-lock.json", include_str!("package-lock.json")),
    (SCRIPT, include_str!("draw.mjs")),
];
const SCRIPT: &str = "draw.mjs";

/// The oldest version that the packages run on.
const OLDEST: u32 = 18;

/// The programs, as they are called.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Node.js.
    pub node: OsString,
    /// Its installer.
    pub npm: OsString,
}

impl Default for Programs {
    fn default() -> Self {
        Self { node: "node".into(), npm: "npm".into() }
    }
}

impl Programs {
    /// Installs the packages into an empty folder, from the registry that npm is set up for or from that at the address `registry`. npm
    /// compares each package with its SHA-512 in the lock file and runs none of its scripts.
    ///
    /// # Errors
    /// [`PackageError::Node`], [`PackageError::File`].
    pub fn install(&self, folder: &Path, registry: Option<&str>) -> Result<(), PackageError> {
        self.check_version()?;
        for (name, text) in FILES {
            let path = folder.join(name);
            fs::write(&path, text).map_err(FileError::write(&path))?;
        }
        let mut npm = Command::new(&self.npm);
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder);
        if let Some(address) = registry {
            npm.arg(format!("--registry={address}"));
        }
        let output = run(&mut npm, "npm ci")?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed("npm ci", &String::from_utf8_lossy(&output.stderr), &output.status.to_string()))
    }

    fn check_version(&self) -> Result<(), PackageError> {
        const COMMAND: &str = "node --version";
        let output = run(Command::new(&self.node).arg("--version"), COMMAND)?;
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let major = found
            .trim_start_matches('v')
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        match major {
            Some(major) if major >= OLDEST => Ok(()),
            _ => Err(problem(COMMAND, NodeProblem::Old { found, oldest: OLDEST })),
        }
    }

    /// Starts the process that draws, in a folder with installed packages.
    ///
    /// # Errors
    /// [`PackageError::Node`].
    pub fn artist(&self, folder: &Path) -> Result<Artist, PackageError> {
        let mut node = Command::new(&self.node);
        node.arg(SCRIPT).current_dir(folder);
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this program, which then ends that one.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut node, 0);
        let mut child = node.spawn().map_err(|error| not_started(DRAW, &error))?;
        let (requests, pictures) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Artist { child, requests, pictures })
    }
}

const DRAW: &str = "node draw.mjs";

/// A process that draws; it ends with this.
#[derive(Debug)]
pub struct Artist {
    child: Child,
    requests: Option<ChildStdin>,
    pictures: Option<BufReader<ChildStdout>>,
}

impl Artist {
    /// Pictures of a style, size x size pixels of red, green and blue, one for each number. The same number gives the same picture.
    ///
    /// # Errors
    /// [`PackageError::Node`].
    pub fn draw(&mut self, style: Style, size: u16, numbers: Range<u64>) -> Result<Vec<Vec<u8>>, PackageError> {
        let mut request = format!("{style} {size}");
        for number in numbers.clone() {
            request += " ";
            request += &seed(number);
        }
        request += "\n";
        let length = 3 * usize::from(size) * usize::from(size);
        let drawn = self.exchange(&request, (numbers.end - numbers.start) as usize, length);
        drawn.map_err(|error| self.explain(&error))
    }

    fn exchange(&mut self, request: &str, count: usize, length: usize) -> io::Result<Vec<Vec<u8>>> {
        let (Some(requests), Some(pictures)) = (&mut self.requests, &mut self.pictures) else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        requests.write_all(request.as_bytes())?;
        requests.flush()?;
        let mut picture = || {
            let mut bytes = vec![0; length];
            pictures.read_exact(&mut bytes).map(|()| bytes)
        };
        (0..count).map(|_| picture()).collect()
    }

    /// What the process said when it ended.
    fn explain(&mut self, error: &io::Error) -> PackageError {
        (self.requests, self.pictures) = (None, None);
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // Whatever it was; without a word there is the system's.
            let _ = stderr.read_to_string(&mut said);
        }
        failed(DRAW, &said, &error.to_string())
    }
}

impl Drop for Artist {
    fn drop(&mut self) {
        // It may have ended; nobody wants to know how.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a picture is drawn from. Numbers as they are would give pictures that resemble their neighbours.
fn seed(number: u64) -> String {
    let mut digits = checksum::of_bytes(number.to_string().as_bytes());
    digits.truncate(16);
    digits
}

fn run(command: &mut Command, words: &str) -> Result<Output, PackageError> {
    command.stdin(Stdio::null()).output().map_err(|error| not_started(words, &error))
}

fn not_started(command: &str, error: &io::Error) -> PackageError {
    let kind = match error.kind() {
        ErrorKind::NotFound => NodeProblem::Missing,
        _ => NodeProblem::Failed { reason: error.to_string() },
    };
    problem(command, kind)
}

/// The line of what was said that names the error, or else the last one, or `otherwise`.
fn failed(command: &str, said: &str, otherwise: &str) -> PackageError {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines.clone().find(|line| line.contains("Error") || line.contains("failed"));
    let reason = telling.or_else(|| lines.next_back()).unwrap_or(otherwise).to_owned();
    problem(command, NodeProblem::Failed { reason })
}

fn problem(command: &str, kind: NodeProblem) -> PackageError {
    PackageError::Node { command: command.to_owned(), kind }
}
