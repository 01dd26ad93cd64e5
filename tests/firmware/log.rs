//! The firmware's log, decoded by `tests/tools/read-firmware`, and what it says.

use super::{FirmwareError, Report, Sizes, Slices, cargo};
use serde_json::Value;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `info`, `error`, ...; none for rows of a picture.
    pub level: Option<String>,
    /// The text.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.level {
            Some(level) => write!(f, "{level}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Decodes the bytes that the image `elf` wrote to its console, and takes its size.
pub fn read(elf: &Path, console: &[u8]) -> Result<(Vec<Line>, Sizes), FirmwareError> {
    let answer = ask(elf, console)?;
    let size = |name: &str| answer.get(name).and_then(Value::as_u64);
    let lines = answer.get("log").and_then(Value::as_array).map(|lines| {
        let text = |line: &Value, name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
        lines
            .iter()
            .filter_map(|line| Some(Line { level: text(line, "level"), text: text(line, "text")? }))
            .collect()
    });
    let answer = size("flash").zip(size("ram")).zip(lines);
    let ((flash, ram), lines) = answer.ok_or_else(|| FirmwareError::Log("the answer of read-firmware is not understood".into()))?;
    Ok((lines, Sizes { flash, ram }))
}

/// Runs the decoder on an image and its console.
fn ask(elf: &Path, console: &[u8]) -> Result<Value, FirmwareError> {
    let host = |error: std::io::Error| FirmwareError::Host(format!("read-firmware: {error}"));
    let mut decoder = Command::new(decoder()?)
        .arg(elf)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(host)?;
    if let Some(mut input) = decoder.stdin.take() {
        input.write_all(console).map_err(host)?;
    }
    let output = decoder.wait_with_output().map_err(host)?;
    if !output.status.success() {
        return Err(FirmwareError::Log(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| FirmwareError::Log(error.to_string()))
}

/// The decoder, built on the first call.
fn decoder() -> Result<PathBuf, FirmwareError> {
    static PROGRAM: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut program = PROGRAM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = &*program {
        return Ok(program.clone());
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("build");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/read-firmware");
    let path = cargo::build(command, &folder, |path| Ok(path.to_owned()))?;
    Ok(program.insert(path).clone())
}

/// What the log says.
pub fn report(log: Vec<Line>, sizes: Sizes) -> Result<Report, FirmwareError> {
    match parse(&log) {
        Ok(report) => Ok(Report { sizes, log, ..report }),
        Err(missing) => Err(FirmwareError::Run(format!("the log does not say `{missing}`"), log)),
    }
}

/// The start of the missing line when the log does not say all.
fn parse(log: &[Line]) -> Result<Report, &'static str> {
    let find = |start: &'static str| log.iter().find_map(|line| line.text.strip_prefix(start)).ok_or(start);
    let number = |start: &'static str| find(start)?.split(' ').next().and_then(|word| word.parse().ok()).ok_or(start);

    let machine = "machine ";
    let (name, rest) = find(machine)?.split_once(", kernel ").ok_or(machine)?;
    let (kernel, model) = rest.split_once(", model ").ok_or(machine)?;
    let picture = "picture ";
    let hash = |line: &Line| {
        line.text
            .rsplit_once(' ')
            .and_then(|(_, hash)| u64::from_str_radix(hash, 16).ok())
            .ok_or(picture)
    };
    Ok(Report {
        machine: name.into(),
        kernel: kernel.into(),
        model: model.into(),
        hashes: log
            .iter()
            .filter(|line| line.text.starts_with(picture))
            .map(hash)
            .collect::<Result<_, _>>()?,
        instructions: number("instructions ")?,
        workspace: number("workspace ")?,
        stack: number("stack ")?,
        slices: slices(find("slices ")?).ok_or("slices ")?,
        sizes: Sizes::default(),
        log: Vec::new(),
    })
}

/// `41, longest 211760, all 6635840, hash b3af64afdc43a51e`.
fn slices(text: &str) -> Option<Slices> {
    let mut parts = text.split(", ");
    let count = parts.next()?.parse().ok()?;
    let mut number = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    Some(Slices {
        count,
        longest: number("longest")?.parse().ok()?,
        all: number("all")?.parse().ok()?,
        hash: u64::from_str_radix(&number("hash")?, 16).ok()?,
    })
}
