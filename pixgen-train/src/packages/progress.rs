//! How far a download is: a bar on a terminal, otherwise a line now and then.

use crate::settings::units::{format_bytes, format_duration};
use indicatif::{ProgressBar, ProgressStyle};
use pixgen_edge::terminal::note;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

const BAR: &str = "[{bar:24}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, ETA {eta}";

/// Shows a download on stderr.
pub(super) struct Progress {
    total: u64,
    started: Instant,
    output: Output,
}

enum Output {
    Quiet,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// `done` of `total` bytes are there already.
    pub(super) fn new(done: u64, total: u64, quiet: bool) -> Self {
        let now = Instant::now();
        let output = if quiet {
            Output::Quiet
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new(total).with_position(done);
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.reset_eta();
            Output::Bar(bar)
        } else {
            Output::Lines { last: now }
        };
        Self { total, started: now, output }
    }

    /// Tells that `done` bytes are there.
    pub(super) fn update(&mut self, done: u64) {
        match &mut self.output {
            Output::Quiet => {}
            Output::Bar(bar) => bar.set_position(done),
            Output::Lines { last } => {
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    note(&format!("{} of {}", format_bytes(done), format_bytes(self.total)));
                }
            }
        }
    }

    /// A line of talk above the bar.
    pub(super) fn message(&self, text: &str) {
        match &self.output {
            Output::Quiet => {}
            Output::Bar(bar) => bar.suspend(|| note(text)),
            Output::Lines { .. } => note(text),
        }
    }

    /// Takes the bar away and says how long `received` bytes took.
    pub(super) fn finish(&self, received: u64) {
        if let Output::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
        self.message(&format!("{} in {}", format_bytes(received), format_duration(self.started.elapsed())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_valid_template() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
