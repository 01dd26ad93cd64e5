//! Standard output for data, standard error for people.

use crate::file_error::stdout_hint;
use clap::Parser;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

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
    print_while_read(bytes).map(|_| ())
}

/// As [`print_bytes`], and whether the reader is still there, for output that goes on.
///
/// # Errors
/// Those of [`print_bytes`].
pub fn print_while_read(bytes: &[u8]) -> Result<bool, OutputError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(OutputError(error)),
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

/// What every line for people begins with.
static TAG: OnceLock<String> = OnceLock::new();

/// From now on every line for people begins with `tag`, for programs that run as several processes.
pub fn tag_lines(tag: String) {
    // Whoever comes first is who this process is.
    let _ = TAG.set(tag);
}

/// Lines for people to `sink`, at once, with control characters as escapes. That nobody reads them any more must not stop a run.
pub fn write_line(sink: &mut dyn Write, line: &str) {
    let text = printable_lines(line);
    let text = match TAG.get() {
        Some(tag) => text.split('\n').map(|line| format!("{tag}{line}")).collect::<Vec<_>>().join("\n"),
        None => text,
    };
    let _ = writeln!(sink, "{text}").and_then(|()| sink.flush());
}

/// Characters that would steer the terminal as escapes. Names are whatever a file says.
pub fn printable(text: &str) -> String {
    replaced(text, steers, |c| c.escape_default().to_string())
}

/// The most names of a file in a message, and the most letters of one.
const MOST_NAMES: usize = 20;
const MOST_LETTERS: usize = 60;

/// Names for a message, as [`printable`], separated by commas. Of many only the first are there, and of long ones their beginnings: a file may
/// hold 65,534 names, or one of as many letters.
pub fn listed(names: &[String]) -> String {
    let first: Vec<_> = names.iter().take(MOST_NAMES).map(|name| printable(&shortened(name))).collect();
    let more = names.len() - first.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    first.join(", ") + &more
}

/// The beginning of a long name.
pub fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}...", &name[..end]).into(),
        None => name.into(),
    }
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

/// The command line. Where there is nothing to run, the text for people is printed, and this is the code to end with.
///
/// # Errors
/// `--help`, `--version`, and a command line that is none.
pub fn arguments<C: Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        let printed = error.print().and_then(|()| io::stdout().flush());
        match printed {
            Err(failed) if !error.use_stderr() && failed.kind() != io::ErrorKind::BrokenPipe => {
                let failed = OutputError(failed);
                fail(&failed, failed.hint())
            }
            _ => ExitCode::from(error.exit_code() as u8),
        }
    })
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
    use super::{listed, printable, shortened, write_line};

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
    fn lists_of_names_end() {
        let names: Vec<String> = (0..22).map(|number| number.to_string()).collect();
        assert!(listed(&names).ends_with(", 18, 19 and 2 more"));
        assert_eq!(listed(&names[..3]), "0, 1, 2");
        let long = "\u{732b}".repeat(61);
        assert_eq!(shortened(&long), format!("{}...", "\u{732b}".repeat(60)));
        assert_eq!(shortened(&long[3..]), long[3..]);
    }

    #[test]
    fn messages_do_not_steer_the_terminal() {
        let mut out = Vec::new();
        write_line(&mut out, "error: two\r\n\tlines\r\u{1b}]0;x\u{7}\u{202e}");
        assert_eq!(String::from_utf8(out).expect("text"), "error: two\n\tlines\\r\\u{1b}]0;x\\u{7}\\u{202e}\n");
    }
}
