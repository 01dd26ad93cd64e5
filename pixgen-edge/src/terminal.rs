//! Standard output for data, standard error for people.

use crate::file_error::write_hint;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Writing to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        write_hint(&self.0)
    }
}

/// Writes to stdout; a reader that went away is no error.
///
/// # Errors
/// [`OutputError`], for example when stdout is a file on a full disk.
pub fn print_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputError(error)),
        _ => Ok(()),
    }
}

/// A line on stdout.
///
/// # Errors
/// Those of [`print_bytes`].
pub fn print_line(text: &str) -> Result<(), OutputError> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// A value as JSON on stdout.
///
/// # Errors
/// Those of [`print_bytes`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), OutputError> {
    print_line(&serde_json::to_string_pretty(value).map_err(io::Error::from)?)
}

/// Writes a line for people to stderr. Unlike `eprintln!` it does not panic when nobody reads stderr any more.
pub fn note(line: &str) {
    write_line(&mut io::stderr(), line);
}

/// A line to `sink`, at once. That nobody reads it any more must not stop a run.
pub fn write_line(sink: &mut dyn Write, line: &str) {
    let _ = writeln!(sink, "{line}").and_then(|()| sink.flush());
}

/// Control characters, which would steer the terminal, as escapes. Names are whatever a file says.
pub fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(shown).collect()
}

/// Says why a program cannot go on and what to try; the exit code is 1.
pub fn fail(error: &impl Display, hint: Option<String>) -> ExitCode {
    note(&format!("error: {error}"));
    if let Some(hint) = hint {
        note(&format!("\nhint: {hint}"));
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_do_not_steer_the_terminal() {
        assert_eq!(printable("caf\u{e9}, \u{1b}[31mred\n\u{9b}1m"), "caf\u{e9}, \\u{1b}[31mred\\n\\u{9b}1m");
    }
}
