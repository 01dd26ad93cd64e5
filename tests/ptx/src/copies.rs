//! Asynchronous copies to shared memory, which land when they are waited for and not before, and barriers in shared memory.

use std::collections::HashMap;

use crate::clocks::Clock;
use crate::fault::FaultKind;
use crate::shared::{Shared, Visitor};

/// A copy in flight.
#[derive(Debug, Clone)]
struct Copy {
    /// Target in shared memory.
    to: u64,
    bytes: Vec<u8>,
}

/// Copies of a thread, in the order in which they started.
#[derive(Debug, Clone, Default)]
struct Thread {
    /// Not yet in a group.
    open: Vec<Copy>,
    /// Groups that were committed, oldest first.
    groups: Vec<Vec<Copy>>,
}

/// The copies of a thread that will arrive at a barrier.
#[derive(Debug)]
struct Arrival {
    warp: usize,
    /// What the warp knew when it asked for the arrival.
    clock: Clock,
    copies: Vec<Copy>,
}

/// A barrier in shared memory.
#[derive(Debug)]
struct Barrier {
    /// Arrivals that end a phase.
    expected: u32,
    /// Those that are still missing, and copies that will arrive.
    missing: u32,
    /// Phases that ended.
    phase: u64,
    /// What is known to those who waited for the phase.
    ended: Clock,
    /// What is known to those who arrived since.
    arrived: Clock,
    arrivals: Vec<Arrival>,
}

/// All copies and barriers of a block.
#[derive(Debug)]
pub struct Copies {
    threads: Vec<Thread>,
    barriers: HashMap<u64, Barrier>,
    warps: usize,
}

impl Copies {
    /// None yet, for a block of `warps`.
    pub fn new(warps: usize) -> Self {
        Self { threads: vec![Thread::default(); warps * 32], barriers: HashMap::new(), warps }
    }

    /// A thread starts a copy of these bytes.
    ///
    /// # Errors
    /// Those of [`Shared::start_copy`].
    pub fn start(
        &mut self,
        thread: usize,
        to: u64,
        bytes: Vec<u8>,
        line: usize,
        shared: &mut Shared,
        by: Visitor<'_>,
    ) -> Result<(), FaultKind> {
        shared.start_copy(to, bytes.len(), line, by)?;
        self.threads[thread].open.push(Copy { to, bytes });
        Ok(())
    }

    /// A thread ends a group.
    pub fn commit(&mut self, thread: usize) {
        let Thread { open, groups } = &mut self.threads[thread];
        groups.push(std::mem::take(open));
    }

    /// A thread waits until at most `left` of its groups are in flight.
    pub fn wait(&mut self, thread: usize, left: usize, shared: &mut Shared, by: Visitor<'_>) {
        let groups = &mut self.threads[thread].groups;
        let landed = groups.len().saturating_sub(left);
        for copy in groups.drain(..landed).flatten() {
            shared.land_copy(copy.to, &copy.bytes, by);
        }
    }

    /// A barrier begins.
    pub fn init(&mut self, address: u64, expected: u32) {
        let clock = || Clock::new(self.warps);
        let barrier = Barrier {
            expected,
            missing: expected,
            phase: 0,
            ended: clock(),
            arrived: clock(),
            arrivals: Vec::new(),
        };
        self.barriers.insert(address, barrier);
    }

    fn barrier(&mut self, address: u64) -> Result<&mut Barrier, FaultKind> {
        self.barriers.get_mut(&address).ok_or(FaultKind::NoBarrier { address })
    }

    /// All copies that a thread has started will arrive at a barrier. `counted`: the barrier was told of this arrival when it began.
    ///
    /// # Errors
    /// There is no barrier.
    pub fn arrive_with_copies(&mut self, thread: usize, address: u64, counted: bool, by: Visitor<'_>) -> Result<(), FaultKind> {
        let Thread { open, groups } = &mut self.threads[thread];
        let copies = groups.drain(..).flatten().chain(open.drain(..)).collect();
        let barrier = self.barrier(address)?;
        if !counted {
            barrier.missing += 1;
        }
        barrier.arrivals.push(Arrival { warp: by.warp, clock: by.clock.clone(), copies });
        Ok(())
    }

    /// Arrives `count` times; returns the phase that this belongs to.
    ///
    /// # Errors
    /// There is no barrier, or it has been reached often enough.
    pub fn arrive(&mut self, address: u64, count: u32, by: Visitor<'_>) -> Result<u64, FaultKind> {
        let barrier = self.barrier(address)?;
        let phase = barrier.phase;
        barrier.arrived.join(by.clock);
        barrier.missing = barrier.missing.checked_sub(count).ok_or(FaultKind::TooManyArrivals { address })?;
        barrier.end_phase();
        Ok(phase)
    }

    /// Whether a phase has ended, after the copies that belong to it have landed; then its clock is what the waiting warp learns.
    ///
    /// # Errors
    /// There is no barrier.
    pub fn test(&mut self, address: u64, phase: Phase, shared: &mut Shared) -> Result<Option<Clock>, FaultKind> {
        let barrier = self.barrier(address)?;
        if !barrier.has_ended(phase) {
            for Arrival { warp, clock, copies } in std::mem::take(&mut barrier.arrivals) {
                copies
                    .iter()
                    .for_each(|copy| shared.land_copy(copy.to, &copy.bytes, Visitor { warp, clock: &clock }));
                barrier.arrived.join(&clock);
                barrier.missing = barrier.missing.checked_sub(1).ok_or(FaultKind::TooManyArrivals { address })?;
            }
            barrier.end_phase();
        }
        Ok(barrier.has_ended(phase).then(|| barrier.ended.clone()))
    }
}

/// A phase that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The one that an arrival returned.
    Number(u64),
    /// The latest whose number has this lowest bit.
    Parity(u64),
}

impl Barrier {
    fn has_ended(&self, phase: Phase) -> bool {
        match phase {
            Phase::Number(number) => self.phase > number,
            Phase::Parity(parity) => self.phase & 1 != parity & 1,
        }
    }

    fn end_phase(&mut self) {
        if self.missing == 0 && self.arrivals.is_empty() {
            self.missing = self.expected;
            self.phase += 1;
            self.ended = self.arrived.clone();
        }
    }
}
