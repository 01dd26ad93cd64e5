//! Standard output for data, standard error for people.

use crate::file_error::stdout_hint;
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
        stdout_hint(&self.0)
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

/// Text for people on stdout, with control characters as escapes: what a file says may be in it.
///
/// # Errors
/// Those of [`print_bytes`].
pub fn print_text(text: &str) -> Result<(), OutputError> {
    print_bytes(printable_lines(text).as_bytes())
}

/// A line on stdout, as it is: for programs.
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
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    // They stand in strings only: JSON's own blanks are spaces and line ends.
    print_line(&replaced(&text, |c| c != '\n' && steers(c), |c| format!("\\u{:04x}", u32::from(c))))
}

/// Writes a line for people to stderr. Unlike `eprintln!` it does not panic when nobody reads stderr any more.
pub fn note(line: &str) {
    write_line(&mut io::stderr(), line);
}

/// Lines for people to `sink`, at once, with control characters as escapes. That nobody reads them any more must not stop a run.
pub fn write_line(sink: &mut dyn Write, line: &str) {
    let _ = writeln!(sink, "{}", printable_lines(line)).and_then(|()| sink.flush());
}

/// Characters that would steer the terminal as escapes. Names are whatever a file says.
pub fn printable(text: &str) -> String {
    replaced(text, steers, |c| c.escape_default().to_string())
}

/// As [`printable`] for a message, which has line ends, and tabs where it quotes a file.
fn printable_lines(text: &str) -> String {
    replaced(&text.replace("\r\n", "\n"), |c| !matches!(c, '\n' | '\t') && steers(c), |c| c.escape_default().to_string())
}

/// Whether a character steers the terminal, or changes the order in which it shows others (Unicode's Bidi_Control).
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with other text for some characters.
fn replaced(text: &str, some: impl Fn(char) -> bool, by: impl Fn(char) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if some(c) {
            out.push_str(&by(c));
        } else {
            out.push(c);
        }
    }
    out
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
    use super::{printable, write_line};

    #[test]
    fn names_do_not_steer_the_terminal() {
        assert_eq!(printable("caf\u{e9}, \u{1b}[31mred\n\u{9b}1m"), "caf\u{e9}, \\u{1b}[31mred\\n\\u{9b}1m");
        // Overrides, isolates and marks of direction; letters that are written from the right stay.
        assert_eq!(
            printable("\u{202e}gnp\u{2066}\u{200f}\u{61c}\u{5d0}\u{200d}"),
            "\\u{202e}gnp\\u{2066}\\u{200f}\\u{61c}\u{5d0}\u{200d}"
        );
    }

    #[test]
    fn messages_do_not_steer_the_terminal() {
        let mut out = Vec::new();
        write_line(&mut out, "error: two\r\n\tlines\r\u{1b}]0;x\u{7}\u{202e}");
        assert_eq!(String::from_utf8(out).expect("text"), "error: two\n\tlines\\r\\u{1b}]0;x\\u{7}\\u{202e}\n");
    }
}
