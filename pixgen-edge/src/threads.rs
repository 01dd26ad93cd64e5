//! The threads that both programs compute on.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, available_parallelism};

use rayon::{ThreadBuilder, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::terminal::note;
use crate::units::counted;

/// Threads for each core that may be asked for.
const PER_CORE: usize = 8;
/// rayon's own variable.
const VARIABLE: &str = "RAYON_NUM_THREADS";
/// How many may be asked for however few the cores are.
const ALWAYS_FINE: usize = 64;

/// Why there are no threads to compute on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadsError {
    /// Nothing computes without a thread.
    #[error("--threads 0: a command needs a thread to compute on")]
    None,
    /// So many are slower than fewer, or cannot be started at all.
    #[error("{given_by} {asked}: this machine has {}", counted(*.cores, "core", "cores"))]
    TooMany {
        /// Where the number is from.
        given_by: &'static str,
        /// Threads asked for.
        asked: usize,
        /// Cores of this machine.
        cores: usize,
    },
    /// The pool was there before.
    #[error("cannot start threads: {0}")]
    Pool(#[from] ThreadPoolBuildError),
}

impl ThreadsError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::None => Some("give 1 or more, or leave --threads out for one a core".to_owned()),
            Self::TooMany { given_by, cores, .. } => Some(format!("give {} at most, or leave {given_by} out for one a core", most(*cores))),
            Self::Pool(_) => None,
        }
    }
}

fn most(cores: usize) -> usize {
    (PER_CORE * cores).max(ALWAYS_FINE)
}

/// Looks at the number that `--threads` gives, for commands that compute nothing too.
///
/// # Errors
/// [`ThreadsError::None`] and [`ThreadsError::TooMany`].
pub fn check(asked: Option<usize>) -> Result<(), ThreadsError> {
    asked.map_or(Ok(()), |asked| check_number("--threads", asked))
}

fn check_number(given_by: &'static str, asked: usize) -> Result<(), ThreadsError> {
    let cores = cores();
    match asked {
        0 => Err(ThreadsError::None),
        _ if asked > most(cores) => Err(ThreadsError::TooMany { given_by, asked, cores }),
        _ => Ok(()),
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// Starts the threads of the process: as many as `asked` for, or as are `usual`, or one for each core. To be called once, by commands that compute.
///
/// Where the system allows no more threads, there is one, and a line on standard error says so.
///
/// # Errors
/// [`ThreadsError`].
pub fn start(asked: Option<usize>, usual: Option<usize>) -> Result<(), ThreadsError> {
    check(asked)?;
    let of_environment = asked.is_none().then(of_environment).flatten();
    if let Some(count) = of_environment {
        check_number(VARIABLE, count)?;
    }
    let count = asked.or(of_environment).or(usual).unwrap_or_else(cores);
    if pool_of(count)? {
        return Ok(());
    }
    note(&format!("warning: this system does not allow {}: computing on one", counted(count, "thread", "threads")));
    if count > 1 && pool_of(1)? {
        return Ok(());
    }
    // Not even one beside this one.
    Ok(ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?)
}

/// Whether the caller may wait for another thread that computes on the pool: not if the caller is one of its threads, as the main thread is where
/// [`start`] found none to spare. The other thread would then wait for the caller.
pub fn may_wait_for_others() -> bool {
    rayon::current_thread_index().is_none()
}

/// The number in rayon's own variable, where 0 stands for all cores.
fn of_environment() -> Option<usize> {
    std::env::var(VARIABLE).ok()?.parse().ok().filter(|&count| count > 0)
}

/// Makes the pool, or tells that the system does not allow so many threads.
///
/// rayon cannot be asked a second time after a failure, so the threads are started first and are given their work only when all are there.
fn pool_of(count: usize) -> Result<bool, ThreadPoolBuildError> {
    let (give, take) = channel::<ThreadBuilder>();
    let take = Arc::new(Mutex::new(take));
    let started = (0..count).all(|_| {
        let take = Arc::clone(&take);
        Builder::new().spawn(move || work(&take)).is_ok()
    });
    if started {
        let spawn = |thread| give.send(thread).map_err(|_| std::io::ErrorKind::BrokenPipe.into());
        ThreadPoolBuilder::new().num_threads(count).spawn_handler(spawn).build_global()?;
    }
    Ok(started)
}

fn work(take: &Mutex<Receiver<ThreadBuilder>>) {
    // An error means that there is no work, because another thread could not be started.
    let thread = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
    if let Ok(thread) = thread {
        thread.run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_the_pool_waits_for_no_other() {
        let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        assert!(!pool.install(may_wait_for_others));
        let started = std::thread::spawn(|| {
            let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().expect("a pool");
            (may_wait_for_others(), alone)
        });
        assert!(!started.join().expect("no panic").0, "the only thread of its pool");
        assert!(std::thread::spawn(may_wait_for_others).join().expect("no panic"));
    }

    #[test]
    fn the_number_is_bounded() {
        let cores = cores();
        let error = start(Some(most(cores) + 1), None).expect_err("too many");
        assert!(matches!(error, ThreadsError::TooMany { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("--threads {}: ", most(cores) + 1)), "{error}");
        assert!(error.hint().expect("hint").contains(&most(cores).to_string()));
        let none = start(Some(0), None).expect_err("none");
        assert!(matches!(none, ThreadsError::None) && none.hint().expect("hint").contains("1 or more"), "{none}");
        assert!(check(Some(0)).is_err() && check(Some(1)).is_ok() && check(None).is_ok());
        assert!(most(1) >= ALWAYS_FINE && most(1000) > 1000);
    }
}
