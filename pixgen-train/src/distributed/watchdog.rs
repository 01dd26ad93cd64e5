//! Ends a rank that waits too long for the others: one that hangs says nothing. And one whose devices have lost each other.

#[cfg(all(unix, feature = "cuda"))]
use super::nccl;
use pixgen_edge::atomic::exit_removing_unfinished;
use pixgen_edge::terminal::note;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// Time between two looks, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Since when the rank waits, if it does.
#[derive(Debug)]
pub(super) struct Watchdog {
    waiting: Arc<Mutex<Option<Instant>>>,
}

impl Watchdog {
    /// Watches over rank `rank` until the process ends. `abort` ends what it waits for.
    pub fn start(rank: usize, limit: Duration, abort: impl Fn(i32) + Send + 'static) -> Self {
        let waiting = Arc::new(Mutex::new(None));
        let watched = Arc::downgrade(&waiting);
        // Where no thread is left nobody watches; a rank that dies is noticed all the same.
        let _ = Builder::new().name("watchdog".to_owned()).spawn(move || {
            while let Some(waiting) = watched.upgrade() {
                let since: Option<Instant> = *lock(&waiting);
                drop(waiting);
                if since.is_some_and(|since| since.elapsed() > limit) {
                    note(&format!("error: rank {rank}: waited {} s for the other ranks, one of which hangs", limit.as_secs()));
                    note("\nhint: the same command goes on from the last checkpoint; --rank-limit lets ranks wait longer");
                    abort(1);
                    exit_removing_unfinished(1);
                }
                #[cfg(all(unix, feature = "cuda"))]
                if let Some(error) = nccl::fault() {
                    note(&format!("error: rank {rank}: {error}"));
                    error.hint().iter().for_each(|hint| note(&format!("\nhint: {hint}")));
                    abort(1);
                    exit_removing_unfinished(1);
                }
                sleep(LOOK.min(limit / 4));
            }
        });
        Self { waiting }
    }

    /// Does something that waits for others.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        *lock(&self.waiting) = Some(Instant::now());
        let done = work();
        *lock(&self.waiting) = None;
        done
    }
}

fn lock(waiting: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
