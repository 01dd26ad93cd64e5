//! A star of TCP connections around rank 0, for a few processes of one host without MPI.
//!
//! Rank 0 adds what the others send in the order of their ranks, and sends everyone the same bytes, so that sums do not depend on timing.

use super::link::{Link, LinkError};
use super::placement::{Placement, Rendezvous};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Values that are added at once: as many as stay in a cache.
const CHUNK: usize = 1 << 14;
/// Time between two attempts to meet.
const PAUSE: Duration = Duration::from_millis(10);
/// Time for one process to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// The connections of a rank.
#[derive(Debug)]
pub(super) struct Star {
    rank: usize,
    /// At rank 0 the others in their order, elsewhere rank 0 alone.
    peers: Vec<TcpStream>,
}

/// What a rank says first: the job's checksum, its rank, and how many it expects.
fn greeting(rank: usize, size: usize, job: &str) -> [u8; 12] {
    let numbers = [crc32fast::hash(job.as_bytes()), rank as u32, size as u32];
    let mut bytes = [0; 12];
    bytes
        .chunks_exact_mut(4)
        .zip(numbers)
        .for_each(|(bytes, number)| bytes.copy_from_slice(&number.to_le_bytes()));
    bytes
}

impl Star {
    /// Meets the other ranks, within `limit`.
    pub fn meet(placement: &Placement, at: &Rendezvous, limit: Duration) -> Result<Self, LinkError> {
        let Placement { rank, size, .. } = *placement;
        let address = (at.host.as_str(), at.port);
        let end = Instant::now() + limit;
        let failed = |source| LinkError::Meet { host: at.host.clone(), port: at.port, source };
        if rank == 0 {
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            return Ok(Self { rank, peers: accept(&listener, size, &at.job, end)? });
        }
        loop {
            match TcpStream::connect(address) {
                Ok(mut stream) => {
                    let mut welcome = [0; 1];
                    stream.set_nodelay(true).map_err(failed)?;
                    stream.write_all(&greeting(rank, size, &at.job)).map_err(failed)?;
                    stream.set_read_timeout(Some(limit)).map_err(failed)?;
                    stream.read_exact(&mut welcome).map_err(failed)?;
                    stream.set_read_timeout(None).map_err(failed)?;
                    return Ok(Self { rank, peers: vec![stream] });
                }
                Err(source) if Instant::now() > end => return Err(failed(source)),
                // Rank 0 is not there yet.
                Err(_) => sleep(PAUSE),
            }
        }
    }

    /// What happened to the connection with peer number `peer`.
    fn lost(&self, peer: usize) -> impl Fn(io::Error) -> LinkError + use<> {
        let rank = if self.rank == 0 { peer + 1 } else { 0 };
        move |source| LinkError::Lost { rank, source }
    }

    fn send(&mut self, peer: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let lost = self.lost(peer);
        self.peers[peer].write_all(bytes).map_err(lost)
    }

    fn receive(&mut self, peer: usize, bytes: &mut [u8]) -> Result<(), LinkError> {
        let lost = self.lost(peer);
        self.peers[peer].read_exact(bytes).map_err(lost)
    }

    /// Adds what the others send to the values of rank 0.
    fn add_up(&mut self, values: &mut [f32]) -> Result<(), LinkError> {
        if self.rank > 0 {
            return self.send(0, bytemuck::cast_slice(values));
        }
        let mut theirs = vec![0.0f32; CHUNK.min(values.len())];
        for chunk in values.chunks_mut(CHUNK) {
            for peer in 0..self.peers.len() {
                let theirs = &mut theirs[..chunk.len()];
                self.receive(peer, bytemuck::cast_slice_mut(theirs))?;
                chunk.iter_mut().zip(theirs).for_each(|(sum, value)| *sum += *value);
            }
        }
        Ok(())
    }

    fn send_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        (0..self.peers.len()).try_for_each(|peer| self.send(peer, bytes))
    }
}

/// Waits for ranks 1.. of a job; others who come are sent away.
fn accept(listener: &TcpListener, size: usize, job: &str, end: Instant) -> Result<Vec<TcpStream>, LinkError> {
    let mut peers: Vec<Option<TcpStream>> = (1..size).map(|_| None).collect();
    while peers.iter().any(Option::is_none) {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Ok(rank) = greeted(&stream, size, job)
                    && let Some(place) = peers.get_mut(rank.wrapping_sub(1))
                {
                    *place = Some(stream);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => sleep(PAUSE),
            Err(_) => {
                let missing = peers.iter().zip(1..).filter(|(peer, _)| peer.is_none()).map(|(_, rank)| rank).collect();
                return Err(LinkError::Missing { ranks: missing });
            }
        }
    }
    let mut peers: Vec<TcpStream> = peers.into_iter().flatten().collect();
    for (peer, rank) in peers.iter_mut().zip(1..) {
        peer.write_all(&[1]).map_err(|source| LinkError::Lost { rank, source })?;
    }
    Ok(peers)
}

/// The rank of a process that belongs to the job.
fn greeted(mut stream: &TcpStream, size: usize, job: &str) -> io::Result<usize> {
    let mut bytes = [0; 12];
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING))?;
    stream.read_exact(&mut bytes)?;
    stream.set_read_timeout(None)?;
    let rank = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if bytes == greeting(rank, size, job) {
        Ok(rank)
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

impl Link for Star {
    /// ((x_0 + x_1) + x_2) + ..
    fn sum(&mut self, values: &mut [f32]) -> Result<(), LinkError> {
        self.add_up(values)?;
        if self.rank > 0 {
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
        if self.rank > 0 {
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
        if self.rank > 0 {
            self.receive(0, bytes)
        } else {
            self.send_all(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::placement::Launcher;
    use super::*;
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
            spawn(move || work(Star::meet(&placement, &at, Duration::from_secs(20)).expect("they meet")))
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    }

    /// Sums run in the order of the ranks, in which 1 gets lost beside 2^24 or does not, and everyone gets the same.
    #[test]
    fn sums_are_those_of_the_order_of_ranks() {
        let len = 3 * CHUNK + 17;
        let found = together(3, move |mut star| {
            let mut values: Vec<f32> = (0..len).map(|i| [16_777_216.0, 1.0, 1.0][(star.rank + i) % 3]).collect();
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
            let (mine, mut all, mut given) = ([star.rank as u8; 3], [9; 12], [star.rank as u8 + 5; 2]);
            star.all_gather(&mine, &mut all).expect("gathered");
            star.broadcast(&mut given).expect("given");
            (all, given)
        });
        assert!(found.iter().all(|found| *found == ([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [5, 5])));
    }

    #[test]
    fn a_rank_that_is_gone_is_named() {
        let found = together(3, |mut star| match star.rank {
            1 => None,
            _ => Some(star.sum(&mut [1.0]).expect_err("rank 1 is gone").to_string()),
        });
        assert!(found[0].as_ref().is_some_and(|text| text.starts_with("rank 1 is gone: ")), "{found:?}");
        assert!(found[2].as_ref().is_some_and(|text| text.starts_with("rank 0 is gone: ")), "{found:?}");
    }

    #[test]
    fn another_job_is_sent_away() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("an address");
        let stranger = spawn(move || TcpStream::connect(address)?.write_all(&greeting(1, 2, "another job")));
        let error = accept(&listener, 2, "a test", Instant::now() + Duration::from_millis(300)).expect_err("nobody of the job");
        assert!(stranger.join().expect("no panic").is_ok());
        assert_eq!(error.to_string(), "no word from rank 1");
    }
}
