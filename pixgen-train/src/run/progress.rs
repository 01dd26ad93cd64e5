//! How far a run or a download is: a bar on a terminal, otherwise a line now and then.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pixgen_edge::terminal::write_line;

use pixgen_edge::units::{format_bytes, format_duration, format_images, format_rate};

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Time over which the speed is averaged.
const SPEED_WINDOW: Duration = Duration::from_secs(30);

/// The message is cut to the width of the terminal; the bar is at its end, where nobody misses it.
const BAR: &str = "{prefix} {wide_msg}";
/// Characters of the bar.
const BAR_WIDTH: usize = 24;

/// Whether nothing is shown.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Shows no progress from now on, of whatever.
pub fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

/// What is counted.
#[derive(Clone, Copy)]
enum Unit {
    Images,
    Bytes,
}

impl Unit {
    fn amount(self, count: u64) -> String {
        match self {
            Self::Images => format_images(count),
            Self::Bytes => format_bytes(count),
        }
    }

    fn rate(self, per_second: f64) -> String {
        match self {
            Self::Images => format_rate(per_second),
            Self::Bytes => format!("{}/s", format_bytes(per_second as u64)),
        }
    }
}

/// Shows one stage of a run, or a download, on stderr.
pub struct Progress {
    stage: String,
    unit: Unit,
    total: u64,
    speed: Speed,
    output: Output,
}

enum Output {
    Quiet,
    Bar(ProgressBar),
    Lines {
        sink: Box<dyn Write + Send>,
        interval: Duration,
        last: Option<Instant>,
    },
}

impl Progress {
    /// A bar if stderr is a terminal, else a line every ten seconds; nothing if `quiet` or after [`hush`].
    ///
    /// `done` of `total` images are there already (a resumed run).
    pub fn new(stage: &str, done: u64, total: u64, quiet: bool) -> Self {
        let output = if quiet || HUSHED.load(Ordering::Relaxed) {
            Output::Quiet
        } else if io::stderr().is_terminal() {
            Output::Bar(bar(stage, done, total))
        } else {
            Output::Lines { sink: Box::new(io::stderr()), interval: LINE_INTERVAL, last: None }
        };
        Self::with_output(stage, Unit::Images, done, total, output)
    }

    /// The same for a download: `done` of `total` bytes were received before.
    pub fn of_bytes(name: &str, done: u64, total: u64, quiet: bool) -> Self {
        Self { unit: Unit::Bytes, ..Self::new(name, done, total, quiet) }
    }

    /// Lines to `sink`, at most one per `interval`.
    pub fn lines(stage: &str, done: u64, total: u64, interval: Duration, sink: Box<dyn Write + Send>) -> Self {
        let output = Output::Lines { sink, interval, last: None };
        Self::with_output(stage, Unit::Images, done, total, output)
    }

    fn with_output(stage: &str, unit: Unit, done: u64, total: u64, output: Output) -> Self {
        Self { stage: stage.to_owned(), unit, total, speed: Speed::new(done, Instant::now()), output }
    }

    /// Tells that `done` of the total is reached, and the loss if there is one.
    pub fn update(&mut self, done: u64, loss: impl Into<Option<f64>>) {
        self.update_at(Instant::now(), done, loss.into());
    }

    fn update_at(&mut self, now: Instant, images: u64, loss: Option<f64>) {
        self.speed.update(now, images);
        let status = self.status(images, loss);
        match &mut self.output {
            Output::Quiet => {}
            Output::Bar(bar) => {
                bar.set_position(images);
                bar.set_message(format!("{status}  [{}]", drawn(images, self.total)));
            }
            Output::Lines { sink, interval, last } => {
                let due = last.is_none_or(|last| now.duration_since(last) >= *interval);
                if due || images >= self.total {
                    write_line(sink, &format!("{} {status}", self.stage));
                    *last = Some(now);
                }
            }
        }
    }

    /// Prints a line of talk above the bar; not in quiet mode.
    pub fn message(&mut self, text: &str) {
        if !matches!(self.output, Output::Quiet) {
            self.print(text);
        }
    }

    /// Prints `warning: ...` in any mode.
    pub fn warn(&mut self, text: &str) {
        self.print(&format!("warning: {text}"));
    }

    /// Takes the bar away and says what was done in how much time.
    pub fn finish(&mut self) {
        if let Output::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
        let seen = self.speed.images - self.speed.first_images;
        let took = self.speed.at.duration_since(self.speed.first_at);
        let text = format!("{}: {} in {}", self.stage, self.unit.amount(seen), format_duration(took));
        self.message(&text);
    }

    fn print(&mut self, line: &str) {
        match &mut self.output {
            Output::Quiet => write_line(&mut io::stderr(), line),
            Output::Bar(bar) => bar.suspend(|| write_line(&mut io::stderr(), line)),
            Output::Lines { sink, .. } => write_line(sink, line),
        }
    }

    /// `1.25 Mimg of 8 Mimg (15%), 812 img/s, ETA 3 h 10 min, loss 0.1234`.
    fn status(&self, images: u64, loss: Option<f64>) -> String {
        let percent = 100.0 * images as f64 / self.total.max(1) as f64;
        let mut status = format!("{} of {} ({percent:.0}%)", self.unit.amount(images), self.unit.amount(self.total));
        if let Some(rate) = self.speed.rate {
            status += &format!(", {}", self.unit.rate(rate));
            let left = self.total.saturating_sub(images) as f64 / rate;
            if let Ok(left) = Duration::try_from_secs_f64(left) {
                status += &format!(", ETA {}", format_duration(left));
            }
        }
        status + &loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"))
    }
}

/// `======>         `
fn drawn(done: u64, total: u64) -> String {
    let filled = (BAR_WIDTH as f64 * done as f64 / total.max(1) as f64).min(BAR_WIDTH as f64) as usize;
    let tip = if filled < BAR_WIDTH { ">" } else { "" };
    format!("{:BAR_WIDTH$}", format!("{}{tip}", "=".repeat(filled)))
}

fn bar(stage: &str, done: u64, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_position(done);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar.set_prefix(stage.to_owned());
    bar
}

/// Images per second, averaged over the recent past.
struct Speed {
    first_images: u64,
    first_at: Instant,
    images: u64,
    at: Instant,
    rate: Option<f64>,
}

impl Speed {
    fn new(images: u64, now: Instant) -> Self {
        Self { first_images: images, first_at: now, images, at: now, rate: None }
    }

    fn update(&mut self, now: Instant, images: u64) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        if seconds <= 0.0 || images <= self.images {
            return;
        }
        let rate = (images - self.images) as f64 / seconds;
        // An exponential average whose weight grows with the time that the new value covers.
        let weight = 1.0 - (-seconds / SPEED_WINDOW.as_secs_f64()).exp();
        self.rate = Some(self.rate.map_or(rate, |before| before + weight * (rate - before)));
        self.images = images;
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn progress(done: u64, total: u64) -> (Progress, Shared) {
        let shared = Shared::default();
        let interval = Duration::from_secs(30);
        let progress = Progress::lines("pretrain", done, total, interval, Box::new(shared.clone()));
        (progress, shared)
    }

    #[test]
    fn writes_a_line_per_interval_and_the_last() {
        let (mut progress, shared) = progress(1_000, 10_000);
        let start = progress.speed.first_at;
        for second in 1..=90 {
            progress.update_at(start + Duration::from_secs(second), 1_000 + second * 100, Some(0.5));
        }
        progress.finish();
        let text = shared.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "pretrain 1.1 kimg of 10 kimg (11%), 100 img/s, ETA 1 min 29 s, loss 0.5000",
                "pretrain 4.1 kimg of 10 kimg (41%), 100 img/s, ETA 59 s, loss 0.5000",
                "pretrain 7.1 kimg of 10 kimg (71%), 100 img/s, ETA 29 s, loss 0.5000",
                "pretrain 10 kimg of 10 kimg (100%), 100 img/s, ETA 0 s, loss 0.5000",
                "pretrain: 9 kimg in 1 min 30 s",
            ]
        );
    }

    #[test]
    fn a_download_counts_bytes() {
        let (progress, shared) = progress(0, 4 << 20);
        let mut progress = Progress { unit: Unit::Bytes, ..progress };
        let start = progress.speed.first_at;
        progress.update_at(start + Duration::from_secs(1), 1 << 20, None);
        progress.update_at(start + Duration::from_secs(4), 4 << 20, None);
        progress.finish();
        let text = shared.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "pretrain 1 MiB of 4 MiB (25%), 1 MiB/s, ETA 3 s",
                "pretrain 4 MiB of 4 MiB (100%), 1 MiB/s, ETA 0 s",
                "pretrain: 4 MiB in 4 s",
            ]
        );
    }

    #[test]
    fn the_speed_follows_changes() {
        let start = Instant::now();
        let mut speed = Speed::new(0, start);
        for second in 1..=10 {
            speed.update(start + Duration::from_secs(second), second);
        }
        assert!((speed.rate.unwrap() - 1.0).abs() < 1e-9);
        for second in 1..=300 {
            speed.update(start + Duration::from_secs(10 + second), 10 + 50 * second);
        }
        assert!((speed.rate.unwrap() - 50.0).abs() < 0.1);
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let (mut progress, shared) = progress(0, 0);
        progress.update(0, f64::NAN);
        progress.update(u64::MAX, f64::INFINITY);
        progress.update(5, 0.0);
        progress.finish();
        assert!(shared.text().contains("loss NaN"));
    }

    #[test]
    fn messages_and_warnings_go_to_the_sink() {
        let (mut progress, shared) = progress(0, 10);
        progress.message("saved");
        progress.warn("odd");
        assert_eq!(shared.text(), "saved\nwarning: odd\n");
    }

    #[test]
    fn a_bar_shows_the_same_text() {
        let bar = bar("tune", 0, 100);
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        let mut progress = Progress::with_output("tune", Unit::Images, 0, 100, Output::Bar(bar.clone()));
        let start = progress.speed.first_at;
        progress.update_at(start + Duration::from_secs(1), 50, Some(0.25));
        assert_eq!((bar.prefix().as_str(), bar.position()), ("tune", 50));
        assert_eq!(bar.message(), "50 img of 100 img (50%), 50 img/s, ETA 1 s, loss 0.2500  [============>           ]");
        assert_eq!([drawn(0, 0), drawn(9, 9)], [format!("{:24}", ">"), "=".repeat(24)]);
        progress.finish();
        assert!(bar.is_finished());
    }

    #[test]
    fn the_bar_has_a_valid_template() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
