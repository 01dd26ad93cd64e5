//! Progress of work whose length depends on what is asked for: nothing while it is short.

use crate::run::progress::Progress;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Time before anything is shown, and between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// One kind of work, done once or several times.
pub(super) struct LongWork {
    open: Box<dyn Fn(u64) -> Progress + Send>,
    patience: Duration,
    current: Option<(Progress, Instant)>,
    shown: bool,
}

impl LongWork {
    /// A bar if stderr is a terminal, else a line every ten seconds, both after ten seconds; nothing if `quiet`.
    pub fn new(name: &'static str, quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let open = move |total| match quiet || terminal {
            true => Progress::new(name, 0, total, quiet),
            false => Progress::lines(name, 0, total, INTERVAL, Box::new(io::stderr())),
        };
        Self { open: Box::new(open), patience: INTERVAL, current: None, shown: false }
    }

    /// `done` of `total` are done. 0 begins, and all of them end it.
    pub fn update(&mut self, done: usize, total: usize) {
        if done == 0 {
            self.current = Some(((self.open)(total as u64), Instant::now()));
            self.shown = false;
        }
        let Some((progress, since)) = &mut self.current else {
            return;
        };
        self.shown |= since.elapsed() >= self.patience && done < total;
        if self.shown && done > 0 {
            progress.update(done as u64, None);
        }
        if done == total {
            if self.shown {
                progress.finish();
            }
            self.current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

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

    fn shown(patience: Duration) -> String {
        let sink = Shared::default();
        let lines = sink.clone();
        let open = move |total| Progress::lines("drawing", 0, total, Duration::ZERO, Box::new(lines.clone()));
        let mut work = LongWork { open: Box::new(open), patience, current: None, shown: false };
        for _ in 0..2 {
            for done in [0, 10, 20] {
                work.update(done, 20);
            }
        }
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn long_work_is_shown_each_time_and_short_work_never() {
        assert_eq!(shown(Duration::from_secs(3600)), "");
        let text = shown(Duration::ZERO);
        assert_eq!(text.matches("drawing 10 img of 20 img (50%)").count(), 2, "{text}");
        assert_eq!(text.matches("drawing: 20 img in").count(), 2, "{text}");
    }
}
