//! A star of TCP connections around rank 0, for a few processes of one host without MPI.
//!
//! Rank 0 adds what the others send in the order of their ranks, and sends everyone the same bytes, so that sums do not depend on timing. A tag
//! goes before what is sent: a rank that ends because of an error says so instead.

use super::link::{EndAll, Link, LinkError};
use super::meeting::meet;
use super::placement::{Placement, Rendezvous};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Values that are added at once: as many as stay in a cache.
const CHUNK: usize = 1 << 14;
/// Bytes that are sent together with their tag.
const SHORT: usize = 1 << 12;
/// What follows: what the engine is to carry, or the rank that ends the run, and its exit code.
const DATA: u8 = 0;
const ENDS: u8 = 1;
/// Time for others to hear that the run ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The connections of a rank.
#[derive(Debug)]
pub(super) struct Star {
    wires: Arc<Wires>,
    sent: u64,
}

#[derive(Debug)]
struct Wires {
    rank: usize,
    /// At rank 0 the others in their order, elsewhere rank 0 alone.
    peers: Vec<TcpStream>,
    /// Held while something is sent: nothing comes in between.
    sending: Mutex<()>,
    /// This rank ends.
    ending: AtomicBool,
    /// The rank that ended the run, and its exit code, once it has said so.
    ended: OnceLock<(usize, i32)>,
}

impl Wires {
    /// What happened to the connection with peer number `peer`.
    fn lost(&self, peer: usize, source: io::Error) -> LinkError {
        if self.ending.load(Ordering::Acquire) {
            // Another thread has said why, and is about to end the process.
            sleep(2 * LAST_WORDS);
        }
        LinkError::Lost { rank: if self.rank == 0 { peer + 1 } else { 0 }, source }
    }

    fn send(&self, peer: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = &self.peers[peer];
        let done = if bytes.len() <= SHORT {
            stream.write_all(&[&[DATA], bytes].concat())
        } else {
            stream.write_all(&[DATA]).and_then(|()| stream.write_all(bytes))
        };
        drop(sending);
        // Whoever takes nothing any more may have said why.
        done.map_err(|source| match self.hear_end(peer, LAST_WORDS) {
            Some((rank, code)) => LinkError::Ended { rank, code },
            None => self.lost(peer, source),
        })
    }

    /// The tag of what comes next.
    fn begin(&self, peer: usize) -> Result<(), LinkError> {
        let mut tag = [0];
        self.rest(peer, &mut tag)?;
        if tag[0] == DATA {
            return Ok(());
        }
        let mut last = [0; 8];
        self.rest(peer, &mut last)?;
        let number = |at: usize| u32::from_le_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
        let &(rank, code) = self.ended.get_or_init(|| (number(0) as usize, number(4) as i32));
        Err(LinkError::Ended { rank, code })
    }

    fn rest(&self, peer: usize, bytes: &mut [u8]) -> Result<(), LinkError> {
        (&self.peers[peer]).read_exact(bytes).map_err(|source| self.lost(peer, source))
    }

    /// Whether what comes next from a peer, within this time, is that the run ends.
    fn hear_end(&self, peer: usize, within: Duration) -> Option<(usize, i32)> {
        let stream = &self.peers[peer];
        stream.set_read_timeout(Some(within)).ok()?;
        let mut tag = [DATA];
        let heard = matches!(stream.peek(&mut tag), Ok(1)) && tag[0] == ENDS;
        let ended = heard.then(|| self.begin(peer).err());
        stream.set_read_timeout(None).ok()?;
        match ended.flatten() {
            Some(LinkError::Ended { rank, code }) => Some((rank, code)),
            _ => None,
        }
    }

    /// Tells the others that the run ends, and gives them some time to hear it.
    fn end(&self, code: i32) {
        // In the middle of something nothing can be said; the others see the connection end.
        let Ok(_sending) = self.sending.try_lock() else { return };
        if self.ending.swap(true, Ordering::AcqRel) {
            return;
        }
        let &(rank, code) = self.ended.get().unwrap_or(&(self.rank, code));
        let last = [&[ENDS][..], &(rank as u32).to_le_bytes(), &(code as u32).to_le_bytes()].concat();
        for mut stream in &self.peers {
            let _ = stream.set_write_timeout(Some(LAST_WORDS)).and_then(|()| stream.write_all(&last));
            let _ = stream.shutdown(Shutdown::Write);
        }
        // A connection that is closed with something unread takes the last words with it.
        let (until, mut unread) = (Instant::now() + LAST_WORDS, [0; 4096]);
        for mut stream in &self.peers {
            let left = || until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
            while let Some(left) = left()
                && stream.set_read_timeout(Some(left)).is_ok()
                && stream.read(&mut unread).is_ok_and(|count| count > 0)
            {}
        }
    }
}

impl Star {
    /// Meets the other ranks, within `limit`; `command` is what was started.
    pub fn meet(placement: &Placement, at: &Rendezvous, command: &[String], limit: Duration) -> Result<Self, LinkError> {
        let wires = Wires {
            rank: placement.rank,
            peers: meet(placement, at, command, limit)?,
            sending: Mutex::default(),
            ending: AtomicBool::new(false),
            ended: OnceLock::new(),
        };
        Ok(Self { wires: Arc::new(wires), sent: 0 })
    }

    fn rank(&self) -> usize {
        self.wires.rank
    }

    fn send(&mut self, peer: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.sent += bytes.len() as u64;
        self.wires.send(peer, bytes)
    }

    fn receive(&self, peer: usize, bytes: &mut [u8]) -> Result<(), LinkError> {
        self.wires.begin(peer)?;
        self.wires.rest(peer, bytes)
    }

    /// Adds what the others send to the values of rank 0.
    fn add_up(&mut self, values: &mut [f32]) -> Result<(), LinkError> {
        if self.rank() > 0 {
            return self.send(0, bytemuck::cast_slice(values));
        }
        let peers = 0..self.wires.peers.len();
        peers.clone().try_for_each(|peer| self.wires.begin(peer))?;
        let mut theirs = vec![0.0f32; CHUNK.min(values.len())];
        for chunk in values.chunks_mut(CHUNK) {
            for peer in peers.clone() {
                let theirs = &mut theirs[..chunk.len()];
                self.wires.rest(peer, bytemuck::cast_slice_mut(theirs))?;
                chunk.iter_mut().zip(theirs).for_each(|(sum, value)| *sum += *value);
            }
        }
        Ok(())
    }

    fn send_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        (0..self.wires.peers.len()).try_for_each(|peer| self.send(peer, bytes))
    }
}

impl Link for Star {
    /// ((x_0 + x_1) + x_2) + ..
    fn sum(&mut self, values: &mut [f32]) -> Result<(), LinkError> {
        self.add_up(values)?;
        if self.rank() > 0 {
            return self.receive(0, bytemuck::cast_slice_mut(values));
        }
        self.send_all(bytemuck::cast_slice(values))
    }

    fn sum_parts(&mut self, values: &mut [f32], length: usize, rank: usize) -> Result<(), LinkError> {
        self.add_up(values)?;
        let parts = values.chunks_mut(length.max(1)).enumerate();
        for (of, part) in parts.filter(|(of, _)| rank == 0 && *of > 0 || rank == *of && rank > 0) {
            if rank > 0 {
                self.receive(0, bytemuck::cast_slice_mut(part))?;
            } else {
                self.send(of - 1, bytemuck::cast_slice(part))?;
            }
        }
        Ok(())
    }

    fn all_gather(&mut self, mine: &[u8], all: &mut [u8]) -> Result<(), LinkError> {
        if self.rank() > 0 {
            self.send(0, mine)?;
            return self.receive(0, all);
        }
        all[..mine.len()].copy_from_slice(mine);
        for (peer, place) in all[mine.len()..].chunks_exact_mut(mine.len().max(1)).enumerate() {
            self.receive(peer, place)?;
        }
        self.send_all(all)
    }

    fn broadcast(&mut self, bytes: &mut [u8]) -> Result<(), LinkError> {
        if self.rank() > 0 {
            self.receive(0, bytes)
        } else {
            self.send_all(bytes)
        }
    }

    fn abort(&self) -> EndAll {
        let wires = Arc::clone(&self.wires);
        EndAll(Arc::new(move |code| wires.end(code)))
    }

    fn sent(&self) -> Option<u64> {
        Some(self.sent)
    }

    fn ended(&mut self, within: Duration) -> Option<(usize, i32)> {
        self.wires.hear_end(0, within)
    }
}

#[cfg(test)]
mod tests {
    use super::super::placement::Launcher;
    use super::*;
    use std::net::TcpListener;
    use std::thread::spawn;

    /// Ranks of a job, each in a thread of its own.
    fn together<T: Send + 'static>(size: usize, work: impl Fn(Star) -> T + Copy + Send + 'static) -> Vec<T> {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let at = Rendezvous { host: "127.0.0.1".to_owned(), port, job: "a test".to_owned() };
        let ranks = (0..size).map(|rank| {
            let launcher = Launcher::Torchrun(at.clone());
            let (at, placement) = (at.clone(), Placement { rank, size, local_rank: rank, local_size: size, launcher });
            spawn(move || work(Star::meet(&placement, &at, &[], Duration::from_secs(20)).expect("they meet")))
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    }

    /// Sums run in the order of the ranks, in which 1 gets lost beside 2^24 or does not, and everyone gets the same.
    #[test]
    fn sums_are_those_of_the_order_of_ranks() {
        let len = 3 * CHUNK + 17;
        let found = together(3, move |mut star| {
            let mut values: Vec<f32> = (0..len).map(|i| [16_777_216.0, 1.0, 1.0][(star.rank() + i) % 3]).collect();
            star.sum(&mut values).expect("a sum");
            values
        });
        let of = |a: f32, b: f32, c: f32| a + b + c;
        let large = 16_777_216.0;
        let wanted = [of(large, 1.0, 1.0), of(1.0, 1.0, large), of(1.0, large, 1.0)];
        assert_ne!(wanted[0], wanted[1]);
        for values in found {
            assert!(values.iter().enumerate().all(|(i, value)| *value == wanted[i % 3]));
        }
    }

    #[test]
    fn bytes_are_gathered_in_order_and_given_out() {
        let found = together(4, |mut star| {
            let (mine, mut all, mut given) = ([star.rank() as u8; 3], [9; 12], [star.rank() as u8 + 5; 2]);
            star.all_gather(&mine, &mut all).expect("gathered");
            star.broadcast(&mut given).expect("given");
            (all, given)
        });
        assert!(found.iter().all(|found| *found == ([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [5, 5])));
    }

    #[test]
    fn a_rank_that_is_gone_is_named() {
        let found = together(3, |mut star| match star.rank() {
            1 => None,
            _ => Some(star.sum(&mut [1.0]).expect_err("rank 1 is gone").to_string()),
        });
        assert!(found[0].as_ref().is_some_and(|text| text.starts_with("rank 1 is gone: ")), "{found:?}");
        assert!(found[2].as_ref().is_some_and(|text| text.starts_with("rank 0 is gone: ")), "{found:?}");
    }

    /// Everyone hears who ended the run, wherever it was: the one that sums up, and those that wait for it.
    #[test]
    fn the_rank_that_ends_the_run_says_so() {
        for ends in 0..3 {
            let found = together(3, move |star| last_words(star, ends));
            for (rank, found) in found.into_iter().enumerate().filter(|(rank, _)| *rank != ends) {
                assert_eq!(found, Some((ends, 7)), "rank {rank}");
            }
        }
    }

    /// Rank `ends` ends the run, and the others pass it on.
    fn last_words(mut star: Star, ends: usize) -> Option<(usize, i32)> {
        if star.rank() == ends {
            (star.abort().0)(7);
            return None;
        }
        let error = star.sum(&mut vec![1.0; 1 << 20]).expect_err("no sum");
        (star.abort().0)(1);
        match error {
            LinkError::Ended { rank, code } => Some((rank, code)),
            _ => None,
        }
    }

    /// Rank 0 sends what all others get, and each of them what is its own.
    #[test]
    fn bytes_are_counted() {
        let found = together(3, |mut star| {
            star.sum(&mut [0.0; 100]).expect("a sum");
            star.all_gather(&[0; 10], &mut [0; 30]).expect("gathered");
            star.broadcast(&mut [0; 7]).expect("given");
            star.sent()
        });
        assert_eq!(found, [Some(2 * (400 + 30 + 7)), Some(410), Some(410)]);
    }
}
