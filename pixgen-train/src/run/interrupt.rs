//! Ctrl-C as a flag that the training loop looks at.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::RunError;

/// Exit code of a run that was interrupted, after saving or at the second Ctrl-C: 128 + SIGINT.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Whether someone asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

/// Listens for Ctrl-C, SIGTERM and SIGHUP from now on.
///
/// The first sets the flag, so that the loop can save and stop; the second ends the process at once with [`EXIT_INTERRUPTED`].
/// A file that is being written at that moment stays whole ([`pixgen_edge::atomic`]).
///
/// # Errors
/// [`RunError::Signals`], also when called twice.
pub fn install() -> Result<Interrupt, RunError> {
    let interrupt = Interrupt::default();
    let handler = interrupt.clone();
    ctrlc::set_handler(move || {
        if handler.requested.swap(true, Ordering::SeqCst) {
            process::exit(EXIT_INTERRUPTED);
        }
    })
    .map_err(|source| RunError::Signals { source })?;
    Ok(interrupt)
}

impl Interrupt {
    /// Whether it is time to save and stop.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Asks to stop, as the first Ctrl-C does.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag() {
        let interrupt = Interrupt::default();
        let other = interrupt.clone();
        assert!(!other.requested());
        interrupt.request();
        assert!(other.requested());
    }

    /// The process that the next test interrupts.
    #[cfg(unix)]
    #[test]
    #[ignore = "waits for signals: a process of the next test"]
    fn child_that_saves_slowly() {
        use std::thread::sleep;
        use std::time::Duration;

        let interrupt = install().unwrap();
        assert!(install().is_err(), "only one handler can be installed");
        println!("\nready");
        while !interrupt.requested() {
            sleep(Duration::from_millis(5));
        }
        println!("\nsaving");
        sleep(Duration::from_secs(60));
    }

    #[cfg(unix)]
    #[test]
    fn the_second_signal_ends_the_process_with_130() {
        use std::io::{BufRead as _, BufReader};
        use std::process::{Command, Stdio};

        let name = format!("{}::child_that_saves_slowly", module_path!());
        let name = name.split_once("::").unwrap().1;
        for signal in ["INT", "TERM"] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", name, "--nocapture"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let kill = || {
                let kill = format!("kill -{signal} {}", child.id());
                assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            };
            assert!(lines.any(|line| line.unwrap() == "ready"));
            kill();
            assert!(lines.any(|line| line.unwrap() == "saving"));
            kill();
            assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED));
        }
    }
}
