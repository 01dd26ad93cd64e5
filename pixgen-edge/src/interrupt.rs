//! Ctrl-C, SIGTERM and SIGHUP, for both programs.
//!
//! A command that has nothing to save ends at once, wherever it computes: files are written whole or not at all, so nothing is lost, and what is
//! half-written goes. One that
//! has something to save listens while it works ([`Interrupt::listen`]); then the first signal sets a flag, and the second ends the process.

use crate::atomic::exit_removing_unfinished;
use crate::terminal::note;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Exit code of an interrupted command, after saving or at once: 128 + SIGINT.
pub const EXIT_INTERRUPTED: i32 = 130;

/// What comes sooner after a first signal is the same one: launchers send one to processes and to their group, and Linux once for each thread
/// of a parent that dies.
const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// When those who listen were told.
static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
/// The flags of those who listen.
static LISTENERS: Mutex<Vec<Weak<AtomicBool>>> = Mutex::new(Vec::new());
/// What the command has saved so far.
static SAVED: Mutex<Option<String>> = Mutex::new(None);
/// Set in one of several processes: its rank.
static RANK: OnceLock<usize> = OnceLock::new();

/// Listens for signals from now on; programs call it first. A second call does nothing.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // A system without a free thread refuses. Then signals end the process as ever, and files in the making stay.
        let _ = ctrlc::set_handler(handle);
    });
}

/// Tells the flags, or ends the process if nobody listens or all have been told before.
fn handle() {
    let mut told = false;
    {
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|flag| flag.strong_count() > 0);
        // Every flag is set, also behind one that was set before.
        for flag in listeners.iter().filter_map(Weak::upgrade) {
            told |= !flag.swap(true, Ordering::SeqCst);
        }
    }
    let mut since = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told {
        *since = Some(Instant::now());
    }
    if since.is_some_and(|since| since.elapsed() < SAME_SIGNAL) {
        return;
    }
    if io::stderr().is_terminal() {
        // Below a progress line, and the ^C that terminals show.
        note("");
    }
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    note(
        &RANK
            .get()
            .map_or_else(|| sentence(saved.as_deref()), |rank| of_rank(*rank, saved.as_deref())),
    );
    exit_removing_unfinished(EXIT_INTERRUPTED);
}

/// Notes what the command has saved, for the sentence of an interrupt that comes while nobody listens.
pub fn saved(what: &str) {
    *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.to_owned());
}

/// This process is one of several. Launchers send a signal to all when one fails, so the sentence of an interrupt does not say who asked.
pub fn is_rank(rank: usize) {
    let _ = RANK.set(rank);
}

/// What a user reads of a rank that a signal ends.
fn of_rank(rank: usize, saved: Option<&str>) -> String {
    let saved = saved.map_or_else(String::new, |what| format!("; saved {what}, go on with the same command"));
    format!("rank {rank}: ended by a signal, of a user or of the launcher after an error of another rank{saved}")
}

/// What a user reads at the end of an interrupted command.
pub fn sentence(saved: Option<&str>) -> String {
    saved.map_or_else(
        || "interrupted; run the same command again".to_owned(),
        |what| format!("interrupted; saved {what}, go on with the same command"),
    )
}

/// Whether someone asked to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes the signals over until the last clone is dropped: the first sets the flag, so that the owner can save and stop; the second ends
    /// the process with [`EXIT_INTERRUPTED`]. A file that is being written at that moment stays whole ([`crate::atomic`]).
    pub fn listen() -> Self {
        install();
        let interrupt = Self::default();
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Arc::downgrade(&interrupt.requested));
        drop(listeners);
        interrupt
    }

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
    use std::process;

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

        let interrupt = Interrupt::listen();
        println!("\nready");
        while !interrupt.requested() {
            sleep(Duration::from_millis(5));
        }
        println!("\nsaving");
        sleep(Duration::from_secs(60));
    }

    /// Another one, which listened and has saved what it had.
    #[cfg(unix)]
    #[test]
    #[ignore = "waits for a signal: a process of the test below"]
    fn child_that_has_saved() {
        drop(Interrupt::listen());
        saved("three pictures");
        println!("\nready");
        std::thread::sleep(std::time::Duration::from_secs(60));
    }

    /// A third, which is one of several.
    #[cfg(unix)]
    #[test]
    #[ignore = "waits for a signal: a process of the test below"]
    fn child_that_is_a_rank() {
        is_rank(1);
        install();
        println!("\nready");
        std::thread::sleep(std::time::Duration::from_secs(60));
    }

    #[cfg(unix)]
    #[test]
    fn the_first_signal_ends_a_process_that_does_not_listen() {
        use std::io::{BufRead as _, BufReader, Read as _};

        for (name, says) in [
            ("child_that_has_saved", "interrupted; saved three pictures, go on with the same command\n"),
            (
                "child_that_is_a_rank",
                "rank 1: ended by a signal, of a user or of the launcher after an error of another rank\n",
            ),
        ] {
            let mut child = child(name);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"));
            kill("INT", &child);
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED));
            assert!(told.contains(says), "{told}");
        }
    }

    #[cfg(unix)]
    fn command(name: &str) -> process::Command {
        let name = format!("{}::{name}", module_path!());
        let mut command = process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", name.split_once("::").unwrap().1, "--nocapture"])
            .stdout(process::Stdio::piped())
            .stderr(process::Stdio::piped());
        command
    }

    #[cfg(unix)]
    fn child(name: &str) -> process::Child {
        command(name).spawn().unwrap()
    }

    #[cfg(unix)]
    fn kill(signal: &str, child: &process::Child) {
        let kill = format!("kill -{signal} {}", child.id());
        assert!(process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// A fourth, in the middle of a file.
    #[cfg(unix)]
    #[test]
    #[ignore = "waits for a signal: a process of the test below"]
    fn child_that_writes() {
        install();
        let path = std::env::var_os("PIXGEN_TEST_FILE").unwrap();
        let written = crate::atomic::write_atomic(path.as_ref(), |out| {
            out.write_all(&[7; 3 << 20])?;
            println!("\nready");
            std::thread::sleep(std::time::Duration::from_secs(60));
            Ok(())
        });
        written.unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_in_the_making_goes_with_the_process() {
        use std::fs;
        use std::io::{BufRead as _, BufReader};

        for signal in ["INT", "TERM", "HUP"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.bin");
            fs::write(&path, "old").unwrap();
            let mut child = command("child_that_writes").env("PIXGEN_TEST_FILE", &path).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the old file and the new one");
            kill(signal, &child);
            assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{signal}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_second_signal_ends_the_process_with_130() {
        use std::io::{BufRead as _, BufReader};

        for signal in ["INT", "TERM"] {
            let mut child = child("child_that_saves_slowly");
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"));
            kill(signal, &child);
            assert!(lines.any(|line| line.unwrap() == "saving"));
            // The same one once more, and a second.
            kill(signal, &child);
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(2 * SAME_SIGNAL);
            kill(signal, &child);
            assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED));
        }
    }
}
