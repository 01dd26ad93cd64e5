//! The ranks of a run, and what they do together.

use super::link::{EndAll, Link, LinkError};
#[cfg(unix)]
use super::mpi::Mpi;
#[cfg(all(unix, feature = "cuda"))]
use super::nccl::{self, Nccl};
use super::placement::{Launcher, Placement};
use super::share::Share;
use super::tcp::Star;
use super::watchdog::Watchdog;
use pixgen_edge::atomic::exit_removing_unfinished;
use pixgen_edge::terminal::note;
use std::fmt::Display;
use std::panic;
use std::process;
#[cfg(all(unix, feature = "cuda"))]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Exit code of a rank that panicked, as without other ranks.
const PANICKED: i32 = 101;
/// Time that a rank with an error gives rank 0 to say that it has one, too: of the same error all ranks need not tell.
const SAME_ERROR: Duration = Duration::from_millis(500);

/// The processes that train together, or this one alone. Clones are the same group.
///
/// All ranks call the same functions in the same order. One that cannot reach the others ends its process with exit code 1 and a sentence on
/// standard error, and those of the others: no rank can go on alone.
#[derive(Clone, Debug, Default)]
pub struct Collective {
    /// None for a process alone, for which everything here does nothing.
    group: Option<Arc<Group>>,
}

#[derive(Debug)]
struct Group {
    placement: Placement,
    link: Mutex<Box<dyn Link>>,
    /// What joins the GPUs of the ranks.
    #[cfg(all(unix, feature = "cuda"))]
    devices: OnceLock<Nccl>,
    watchdog: Watchdog,
    abort: EndAll,
    /// Bytes that went around ([`Collective::sent`]).
    around: AtomicU64,
}

/// Ends what devices wait for, and the other ranks.
fn end(abort: &EndAll, code: i32) {
    #[cfg(all(unix, feature = "cuda"))]
    nccl::end();
    (abort.0)(code);
}

impl Group {
    /// Ends this rank because another one has ended the run.
    fn follow(&self, rank: usize, code: i32) -> ! {
        note(&format!("rank {}: {}", self.placement.rank, LinkError::Ended { rank, code }));
        end(&self.abort, code);
        exit_removing_unfinished(code)
    }
}

impl Collective {
    /// Meets the other ranks; whoever waits longer than `limit` for them gives up, now and later. `command` is what was started: where ranks
    /// meet by TCP, and their job has no name, it tells them from others.
    ///
    /// From now on a panic of any thread ends all ranks.
    ///
    /// # Errors
    /// No engine to communicate by, or ranks that do not come.
    pub fn join(placement: Placement, command: &[String], limit: Duration) -> Result<Self, LinkError> {
        let link: Box<dyn Link> = match &placement.launcher {
            Launcher::Torchrun(at) => Box::new(Star::meet(&placement, at, command, limit)?),
            #[cfg(unix)]
            Launcher::OpenMpi | Launcher::Mpich | Launcher::Slurm => Box::new(Mpi::begin(&placement)?),
            #[cfg(not(unix))]
            _ => return Err(LinkError::NoMpi { details: "this system is not supported".to_owned() }),
        };
        Ok(Self::over(placement, link, limit))
    }

    fn over(placement: Placement, link: Box<dyn Link>, limit: Duration) -> Self {
        let abort = link.abort();
        let before = panic::take_hook();
        let [on_panic, when_late] = [abort.clone(), abort.clone()];
        panic::set_hook(Box::new(move |info| {
            before(info);
            end(&on_panic, PANICKED);
            process::exit(PANICKED);
        }));
        let group = Group {
            watchdog: Watchdog::start(placement.rank, limit, move |code| end(&when_late, code)),
            placement,
            link: Mutex::new(link),
            #[cfg(all(unix, feature = "cuda"))]
            devices: OnceLock::new(),
            abort,
            around: AtomicU64::new(0),
        };
        Self { group: Some(Arc::new(group)) }
    }

    /// Number of this process.
    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.placement.rank)
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.group.as_ref().map_or(1, |group| group.placement.size)
    }

    /// The share of this process in what all do.
    pub fn share(&self) -> Share {
        Share { rank: self.rank(), size: self.size() }
    }

    /// Whether this is rank 0, which writes for all.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there are no others.
    pub const fn is_alone(&self) -> bool {
        self.group.is_none()
    }

    /// Where this process is among the others; nothing if it is alone.
    pub fn placement(&self) -> Option<&Placement> {
        self.group.as_ref().map(|group| &group.placement)
    }

    /// Bytes that each rank would have sent so far in a ring: 2 (R - 1)/R of the bytes of a sum over R ranks, and
    /// (R - 1)/R of what is gathered, given out, or of a sum that is left in parts.
    pub fn sent_in_ring(&self) -> u64 {
        let around = self.group.as_ref().map_or(0, |group| group.around.load(Ordering::Relaxed));
        around * (self.size() as u64 - 1) / self.size() as u64
    }

    /// Bytes that this rank has sent so far, where the engine tells: TCP.
    pub fn sent(&self) -> Option<u64> {
        let link = &self.group.as_ref()?.link;
        link.lock().unwrap_or_else(PoisonError::into_inner).sent()
    }

    /// Counts an exchange of so many bytes that takes so many rounds.
    pub(super) fn count(&self, rounds: u64, bytes: usize) {
        if let Some(group) = &self.group {
            group.around.fetch_add(rounds * bytes as u64, Ordering::Relaxed);
        }
    }

    /// From now on the devices of all ranks are joined.
    #[cfg(all(unix, feature = "cuda"))]
    pub(super) fn join_devices(&self, nccl: Nccl) {
        // They are joined once: a process opens one device.
        let _ = self.group.as_ref().map(|group| group.devices.set(nccl));
    }

    /// Calls what joins the devices. `false` if nothing does: then nothing was done.
    #[cfg(all(unix, feature = "cuda"))]
    pub(super) fn on_devices(&self, work: impl FnOnce(&Nccl) -> Result<(), LinkError>) -> bool {
        let Some(nccl) = self.group.as_ref().and_then(|group| group.devices.get()) else {
            return false;
        };
        if let Err(error) = self.waiting(|| work(nccl)) {
            self.fail(&error, error.hint());
        }
        true
    }

    /// Does something that waits for the other ranks.
    #[cfg(all(unix, feature = "cuda"))]
    pub(super) fn waiting<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.group {
            Some(group) => group.watchdog.during(work),
            None => work(),
        }
    }

    /// Calls the engine, if there are others.
    fn with(&self, work: impl FnOnce(&mut dyn Link, &Placement) -> Result<(), LinkError>) {
        let Some(group) = &self.group else { return };
        let mut link = group.link.lock().unwrap_or_else(PoisonError::into_inner);
        let done = group.watchdog.during(|| work(&mut **link, &group.placement));
        match done {
            Ok(()) => {}
            Err(LinkError::Ended { rank, code }) => group.follow(rank, code),
            Err(error) => self.fail(&error, error.hint()),
        }
    }

    /// The sum over all ranks, in the order of an engine that is the same at every call; the same bits everywhere.
    pub fn sum(&self, values: &mut [f32]) {
        self.count(2, size_of_val(values));
        self.with(|link, _| link.sum(values));
    }

    /// The sum over all ranks, cut into parts of `length`, the last ones of which may be shorter: each rank has that of its part afterwards,
    /// and nothing of use elsewhere.
    pub fn sum_parts(&self, values: &mut [f32], length: usize) {
        self.count(1, size_of_val(values));
        self.with(|link, placement| link.sum_parts(values, length, placement.rank));
    }

    /// All `count` values, of which each rank has the part `mine`, of `length` unless it is one of the last.
    pub fn all_parts(&self, mine: &[f32], length: usize, count: usize) -> Vec<f32> {
        let mut padded = mine.to_vec();
        padded.resize(length, 0.0);
        let mut all = self.all_gather(&padded);
        all.truncate(count);
        all
    }

    /// The values of all ranks in their order; each gives as many.
    pub fn all_gather<T: bytemuck::Pod>(&self, mine: &[T]) -> Vec<T> {
        let mut all = mine.to_vec();
        self.count(1, size_of_val(mine) * self.size());
        self.with(|link, placement| {
            all = vec![T::zeroed(); mine.len() * placement.size];
            link.all_gather(bytemuck::cast_slice(mine), bytemuck::cast_slice_mut(&mut all))
        });
        all
    }

    /// Makes `pieces` of work in turns, the ranks side by side, and shows `see` all of them in their order, at every rank.
    ///
    /// # Errors
    /// The first that `see` returns; the others then wait in vain, so whoever gets it ends them ([`fail`](Self::fail)).
    pub fn in_turns<T: bytemuck::Pod, E>(
        &self,
        pieces: usize,
        mut make: impl FnMut(usize) -> Vec<T>,
        mut see: impl FnMut(usize, Vec<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_alone() {
            return (0..pieces).try_for_each(|piece| see(piece, make(piece)));
        }
        for first in (0..pieces).step_by(self.size()) {
            let own = first + self.rank();
            let mut mine = if own < pieces { make(own) } else { Vec::new() };
            let lengths = self.all_gather(&[mine.len() as u64]);
            let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
            mine.resize(longest, T::zeroed());
            let all = self.all_gather(&mine);
            for (piece, (made, &length)) in (first..pieces).zip(all.chunks(longest.max(1)).zip(&lengths)) {
                see(piece, made[..length as usize].to_vec())?;
            }
        }
        Ok(())
    }

    /// Sums of a few numbers, in the order of the ranks.
    pub fn sum_few(&self, values: &mut [f64]) {
        let all = self.all_gather(values);
        let mut rows = all.chunks_exact(values.len().max(1));
        if let Some(first) = rows.next() {
            values.copy_from_slice(first);
        }
        rows.for_each(|row| values.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
    }

    /// Whether it holds at any rank.
    pub fn any(&self, here: bool) -> bool {
        self.all_gather(&[u8::from(here)]).contains(&1)
    }

    /// Gives everyone the bytes of rank 0, of the same number.
    pub fn broadcast(&self, bytes: &mut [u8]) {
        self.count(1, bytes.len());
        self.with(|link, _| link.broadcast(bytes));
    }

    /// What rank 0 has, of any number.
    pub fn broadcast_all<T: bytemuck::Pod>(&self, mut values: Vec<T>) -> Vec<T> {
        let mut len = [values.len() as u64];
        self.broadcast(bytemuck::cast_slice_mut(&mut len));
        values.resize(len[0] as usize, T::zeroed());
        self.broadcast(bytemuck::cast_slice_mut(&mut values));
        values
    }

    /// Gives everyone the text of rank 0.
    pub fn broadcast_text(&self, text: &mut String) {
        let bytes = self.broadcast_all(std::mem::take(text).into_bytes());
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }

    /// Waits for all.
    pub fn barrier(&self) {
        self.any(false);
    }

    /// Ends this rank because of an error, and all others. Where rank 0 has an error, too, that one is told.
    pub fn fail(&self, error: &impl Display, hint: Option<String>) -> ! {
        match &self.group {
            Some(group) => {
                // Whoever calls this while the engine works has its answer.
                let link = (!self.is_first()).then(|| group.link.try_lock().ok()).flatten();
                let ended = link.and_then(|mut link| link.ended(SAME_ERROR));
                if let Some((rank, code)) = ended {
                    group.follow(rank, code);
                }
                note(&format!("error: rank {}: {error}", group.placement.rank));
                hint.iter().for_each(|hint| note(&format!("\nhint: {hint}")));
                end(&group.abort, 1);
            }
            None => note(&format!("error: {error}")),
        }
        exit_removing_unfinished(1)
    }

    /// Leaves when all do; nothing may be called after that.
    pub fn leave(&self) {
        #[cfg(all(unix, feature = "cuda"))]
        nccl::retire();
        self.barrier();
        if let Some(group) = &self.group {
            #[cfg(all(unix, feature = "cuda"))]
            group.devices.get().iter().for_each(|nccl| nccl.leave());
            group.link.lock().unwrap_or_else(PoisonError::into_inner).leave();
        }
    }
}
