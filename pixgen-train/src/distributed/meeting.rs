//! How ranks find rank 0 over TCP: each says who it is, and rank 0 refuses whoever does not belong and waits on.
//!
//! ```text
//! greeting   MAGIC, rank, number of ranks, length, text: the job in its first line, below it what was started
//! answer     MAGIC at once; length, text: why not, or no text once all ranks are there
//! ```

use super::link::{LinkError, list};
use super::placement::{Placement, Rendezvous};
use pixgen_edge::terminal::note;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What ranks that understand each other begin with.
const MAGIC: [u8; 8] = *b"PXRANKS1";
/// The most bytes of a text.
const MOST: usize = 1 << 22;
/// Time between two attempts to meet.
const PAUSE: Duration = Duration::from_millis(10);
/// Time for one process to say who it is, and for one attempt to reach rank 0.
const GREETING: Duration = Duration::from_secs(5);
/// Time after which a rank says what it waits for, and then again.
const SILENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(60);

/// The connections of this rank: at rank 0 with all others in their order, elsewhere with rank 0. `command` is what was started.
///
/// # Errors
/// A host that has no address, a port that is taken, ranks that do not come within `limit`, or a rank 0 that does not want this one.
pub(super) fn meet(placement: &Placement, at: &Rendezvous, command: &[String], limit: Duration) -> Result<Vec<TcpStream>, LinkError> {
    let own = Greeting {
        rank: placement.rank,
        size: placement.size,
        job: at.job.clone(),
        command: command.join("\n"),
    };
    let wait = Wait { rank: own.rank, limit, end: Instant::now() + limit, next: Instant::now() + SILENCE };
    if own.rank > 0 {
        return Ok(vec![find(&own, at, placement.is_one_host(), wait)?]);
    }
    let failed = |source| LinkError::Listen { host: at.host.clone(), port: at.port, source };
    let addresses = if placement.is_one_host() {
        addresses(at)?
    } else {
        // The name of a host may be that of its loopback device there.
        vec![(Ipv6Addr::UNSPECIFIED, at.port).into(), (Ipv4Addr::UNSPECIFIED, at.port).into()]
    };
    let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    accept(&listener, &own, at, wait)
}

/// The first part in which this rank was started unlike rank 0: the part here, and there.
pub(super) fn difference(here: &str, first: &str) -> Option<[String; 2]> {
    let (mut here, mut first) = (here.lines(), first.lines());
    loop {
        match (here.next(), first.next()) {
            (None, None) => return None,
            (here, first) if here == first => {}
            (here, first) => return Some([here, first].map(|part| part.unwrap_or("nothing more").to_owned())),
        }
    }
}

fn addresses(at: &Rendezvous) -> Result<Vec<SocketAddr>, LinkError> {
    let failed = |source| LinkError::NoAddress { host: at.host.clone(), source };
    Ok((at.host.as_str(), at.port).to_socket_addrs().map_err(failed)?.collect())
}

/// How long a rank waits, and when it says so.
struct Wait {
    rank: usize,
    limit: Duration,
    end: Instant,
    next: Instant,
}

impl Wait {
    /// Says what the rank waits for, if it has not for a while.
    fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + AGAIN;
            let left = self.end.saturating_duration_since(now).as_secs();
            note(&format!("rank {}: waits for {}, for {left} s more at most", self.rank, what()));
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.end
    }
}

/// What a rank says first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Greeting {
    rank: usize,
    size: usize,
    job: String,
    command: String,
}

impl Greeting {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let text = format!("{}\n{}", self.job, self.command);
        for number in [self.rank, self.size, text.len()] {
            bytes.extend((number as u32).to_le_bytes());
        }
        bytes.extend(text.as_bytes());
        bytes
    }

    /// What was said, once it is all there.
    fn read(said: &[u8]) -> Result<Option<Self>, String> {
        let none = || Err("what came is no greeting of a rank".to_owned());
        if !said.iter().zip(&MAGIC).all(|(a, b)| a == b) {
            return none();
        }
        let number = |at: usize| {
            let bytes = said.get(MAGIC.len() + 4 * at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes) as usize)
        };
        let (Some(rank), Some(size), Some(length)) = (number(0), number(1), number(2)) else {
            return Ok(None);
        };
        let text = &said[MAGIC.len() + 12..];
        if length > MOST || text.len() > length {
            return none();
        }
        if text.len() < length {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(text);
        let (job, command) = text.split_once('\n').unwrap_or((&text, ""));
        Ok(Some(Self { rank, size, job: job.to_owned(), command: command.to_owned() }))
    }

    /// Why a rank that says `other` does not belong to the ranks of `self`, which is rank 0. A job without a name is known by what was started.
    fn refuses(&self, other: &Self) -> Option<String> {
        let job = |job: &str| {
            if job.is_empty() {
                "a job without a name".to_owned()
            } else {
                format!("job `{job}`")
            }
        };
        if other.job != self.job {
            return Some(format!("it is of {}, and this is {}", job(&other.job), job(&self.job)));
        }
        if other.size != self.size || !(1..self.size).contains(&other.rank) {
            return Some(format!("rank {} of {} has no place among {} ranks", other.rank, other.size, self.size));
        }
        let [theirs, ours] = difference(&other.command, &self.command).filter(|_| self.job.is_empty())?;
        Some(format!("the ranks were not started alike: rank {} with `{theirs}`, rank 0 with `{ours}`", other.rank))
    }
}

/// Who has come, and has not said yet who it is.
struct Guest {
    stream: TcpStream,
    from: SocketAddr,
    said: Vec<u8>,
    until: Instant,
}

impl Guest {
    /// Its greeting, once it is all there; or why it is none.
    fn heard(&mut self) -> Result<Option<Greeting>, String> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("it left without a greeting".to_owned()),
                Ok(count) => self.said.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("it cannot be understood: {error}")),
            }
            if self.said.len() > MOST + 64 {
                break;
            }
        }
        match Greeting::read(&self.said)? {
            None if Instant::now() > self.until => Err(format!("it did not say who it is within {} s", GREETING.as_secs())),
            greeting => Ok(greeting),
        }
    }

    /// Sends it away.
    fn refuse(mut self, why: &str) {
        note(&format!("rank 0: refused {}: {why}; waits on for its own", self.from));
        // Whoever is gone already need not hear it.
        let _ = self.stream.write_all(&answer(why));
    }
}

fn answer(why: &str) -> Vec<u8> {
    [&MAGIC, &(why.len() as u32).to_le_bytes()[..], why.as_bytes()].concat()
}

/// Waits for ranks 1.. of a job; others who come are refused.
fn accept(listener: &TcpListener, own: &Greeting, at: &Rendezvous, mut wait: Wait) -> Result<Vec<TcpStream>, LinkError> {
    let mut peers: Vec<Option<TcpStream>> = (1..own.size).map(|_| None).collect();
    let mut guests: Vec<Guest> = Vec::new();
    loop {
        for peer in &mut peers {
            peer.take_if(|stream| has_left(stream));
        }
        let missing: Vec<usize> = (1..).zip(&peers).filter(|(_, peer)| peer.is_none()).map(|(rank, _)| rank).collect();
        if missing.is_empty() {
            break;
        }
        if wait.is_over() {
            return Err(LinkError::Missing { host: at.host.clone(), port: at.port, waited: wait.limit, ranks: missing });
        }
        wait.tell(|| format!("{} at {}:{}", list(&missing), at.host, at.port));
        match listener.accept() {
            Ok((stream, from)) if stream.set_nonblocking(true).is_ok() => {
                guests.push(Guest { stream, from, said: Vec::new(), until: Instant::now() + GREETING });
            }
            // Nobody is there, or has left again.
            _ => sleep(PAUSE),
        }
        for mut guest in std::mem::take(&mut guests) {
            match guest.heard() {
                Ok(None) => guests.push(guest),
                Ok(Some(greeting)) => match (own.refuses(&greeting), greeting.rank) {
                    (Some(why), _) => guest.refuse(&why),
                    (None, rank) if peers[rank - 1].is_some() => guest.refuse(&format!("rank {rank} is there already")),
                    // Whoever cannot be told has left.
                    (None, rank) => peers[rank - 1] = guest.stream.write_all(&MAGIC).is_ok().then_some(guest.stream),
                },
                Err(why) => guest.refuse(&why),
            }
        }
    }
    let mut peers: Vec<TcpStream> = peers.into_iter().flatten().collect();
    for (peer, rank) in peers.iter_mut().zip(1..) {
        let welcome = |peer: &mut TcpStream| {
            peer.set_nonblocking(false)?;
            peer.set_nodelay(true)?;
            peer.write_all(&answer("")[MAGIC.len()..])
        };
        welcome(peer).map_err(|source| LinkError::Lost { rank, source })?;
    }
    Ok(peers)
}

/// Whether nobody is at the other end any more of a connection that does not block.
fn has_left(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Reaches rank 0, and waits until all others have.
fn find(own: &Greeting, at: &Rendezvous, one_host: bool, mut wait: Wait) -> Result<TcpStream, LinkError> {
    let Rendezvous { host, port, .. } = at;
    let failed = |source| LinkError::Meet { host: host.clone(), port: *port, source };
    let mut nameless = false;
    let mut stream = loop {
        let error = match addresses(at) {
            Ok(addresses) => match reach(&addresses) {
                Ok(stream) => break stream,
                Err(source) if wait.is_over() => {
                    let waited = wait.limit.as_secs_f32();
                    return Err(failed(io::Error::new(source.kind(), format!("{source}, for {waited} s"))));
                }
                Err(source) => failed(source),
            },
            Err(error) if one_host => return Err(error),
            Err(error) => {
                // Clusters may learn the names of their hosts while ranks start.
                wait.next = if nameless { wait.next } else { Instant::now() };
                nameless = true;
                error
            }
        };
        if wait.is_over() {
            return Err(error);
        }
        wait.tell(|| format!("rank 0 ({error})"));
        sleep(PAUSE);
    };
    stream.set_nodelay(true).map_err(failed)?;
    stream.write_all(&own.bytes()).map_err(failed)?;
    let silent = || {
        (
            format!("rank 0: what listens at {host}:{port} has not answered"),
            "what listens there does not answer as rank 0 does",
        )
    };
    let mut head = [0; MAGIC.len()];
    read_by(&mut stream, &mut head, &mut wait, silent).map_err(failed)?;
    let others = || (format!("other ranks, as rank 0 at {host}:{port} does"), "it waits for other ranks, which have not come");
    let mut length = [0; 4];
    if head == MAGIC {
        read_by(&mut stream, &mut length, &mut wait, others).map_err(failed)?;
    }
    let length = u32::from_le_bytes(length) as usize;
    if head != MAGIC || length > MOST {
        return Err(LinkError::Stranger { host: host.clone(), port: *port });
    }
    let mut why = vec![0; length];
    read_by(&mut stream, &mut why, &mut wait, others).map_err(failed)?;
    if length > 0 {
        let why = String::from_utf8_lossy(&why).into_owned();
        return Err(LinkError::Refused { host: host.clone(), port: *port, why });
    }
    stream.set_read_timeout(None).map_err(failed)?;
    Ok(stream)
}

fn reach(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(address, GREETING) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads all of it before the end of the wait. `what` says what is waited for, and what is wrong if it does not come.
fn read_by(stream: &mut TcpStream, mut bytes: &mut [u8], wait: &mut Wait, what: impl Fn() -> (String, &'static str)) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    while !bytes.is_empty() {
        match stream.read(bytes) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it has left")),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind()) => {
                if wait.is_over() {
                    let why = format!("{}, for {} s", what().1, wait.limit.as_secs_f32());
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                wait.tell(|| what().0);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::placement::Launcher;
    use super::*;
    use std::thread::spawn;

    fn own(rank: usize, job: &str, command: &str) -> Greeting {
        Greeting { rank, size: 3, job: job.to_owned(), command: command.to_owned() }
    }

    #[test]
    fn greetings_are_read_when_all_is_there() {
        let greeting = own(2, "a job", "train\n--lr");
        let bytes = greeting.bytes();
        for end in 0..bytes.len() {
            assert_eq!(Greeting::read(&bytes[..end]), Ok(None), "{end}");
        }
        assert_eq!(Greeting::read(&bytes), Ok(Some(greeting)));
        for bad in [
            &b"GET / HTTP/1.1"[..],
            b"\0",
            &[&bytes[..], b"x"].concat(),
            &[&MAGIC[..], &[255; 12]].concat(),
        ] {
            assert!(Greeting::read(bad).is_err(), "{bad:?}");
        }
    }

    /// Whoever does not belong hears why, a rank that left comes again, and the job meets.
    #[test]
    fn others_are_refused_and_the_job_meets() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("an address");
        let wait = || Wait {
            rank: 0,
            limit: Duration::from_secs(20),
            end: Instant::now() + Duration::from_secs(20),
            next: Instant::now() + Duration::from_secs(20),
        };
        let at = Rendezvous { host: "127.0.0.1".to_owned(), port: address.port(), job: String::new() };
        let first = spawn(move || accept(&listener, &own(0, "", "train"), &at, wait()).map(|peers| peers.len()));
        let say = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(address).expect("somebody listens");
            stream.write_all(bytes).expect("it takes them");
            stream
        };
        drop(say(&own(1, "", "train").bytes()));
        let silent = say(b"");
        let one = say(&own(1, "", "train").bytes());
        sleep(Duration::from_millis(100));
        let two = Greeting { size: 2, ..own(1, "", "train") };
        for (bytes, why) in [
            (own(1, "", "train").bytes(), "rank 1 is there already"),
            (own(2, "other", "train").bytes(), "it is of job `other`, and this is a job without a name"),
            (two.bytes(), "rank 1 of 2 has no place among 3 ranks"),
            (own(3, "", "train").bytes(), "rank 3 of 3 has no place among 3 ranks"),
            (own(0, "", "train").bytes(), "rank 0 of 3 has no place among 3 ranks"),
            (
                own(2, "", "train\n--lr").bytes(),
                "the ranks were not started alike: rank 2 with `--lr`, rank 0 with `nothing more`",
            ),
            (b"SSH-2.0-OpenSSH".to_vec(), "what came is no greeting of a rank"),
        ] {
            let mut stream = say(&bytes);
            let mut said = Vec::new();
            stream.read_to_end(&mut said).expect("an answer");
            assert_eq!(said, answer(why), "{why}");
        }
        let two = say(&own(2, "", "train").bytes());
        for mut stream in [one, two] {
            let mut said = [0; 12];
            stream.read_exact(&mut said).expect("an answer");
            assert_eq!(said[..], answer(""));
        }
        assert_eq!(first.join().expect("no panic").expect("they meet"), 2);
        drop(silent);
    }

    /// A name that nobody has, a port that is taken, somebody else at the port, and nobody.
    #[test]
    fn rank_0_that_cannot_be_met_is_an_error() {
        let meets = |rank: usize, host: &str, port: u16| {
            let at = Rendezvous { host: host.to_owned(), port, job: String::new() };
            let placement = Placement { rank, size: 2, local_rank: rank, local_size: 2, launcher: Launcher::Torchrun(at.clone()) };
            let error = meet(&placement, &at, &[], Duration::from_millis(300)).expect_err("nobody to meet");
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error}");
            error.to_string()
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for rank in [0, 1] {
            assert!(meets(rank, "nohost.invalid", port).starts_with("MASTER_ADDR=nohost.invalid: no address is known: "));
        }
        assert!(meets(0, "127.0.0.1", port).starts_with(&format!("cannot listen at 127.0.0.1:{port}, where the other ranks come: ")));
        let silent = meets(1, "127.0.0.1", port);
        assert!(silent.ends_with("what listens there does not answer as rank 0 does, for 0.3 s"), "{silent}");
        // The call above, which gave up, comes first.
        let other = spawn(move || {
            for (mut stream, _) in [listener.accept(), listener.accept()].into_iter().flatten() {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        assert_eq!(meets(1, "127.0.0.1", port), format!("what listens at 127.0.0.1:{port} is no rank 0 of this program"));
        other.join().expect("no panic");
    }
}
