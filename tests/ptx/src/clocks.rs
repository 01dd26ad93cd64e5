//! What happened before what, between the warps of a block: vector clocks.

/// For each warp of a block, how far it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock(Vec<u32>);

impl Clock {
    /// Nothing is known.
    pub fn new(warps: usize) -> Self {
        Self(vec![0; warps])
    }

    /// How far a warp is known.
    pub fn of(&self, warp: usize) -> u32 {
        self.0[warp]
    }

    /// What `warp` does from now on is after what it did.
    pub fn step(&mut self, warp: usize) {
        self.0[warp] += 1;
    }

    /// All that `other` knows is known here too.
    pub fn join(&mut self, other: &Clock) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own = (*own).max(*other);
        }
    }
}

/// The clocks of all warps, each ahead of what the others know.
pub fn start(warps: usize) -> Vec<Clock> {
    let mut clocks = vec![Clock::new(warps); warps];
    for (warp, clock) in clocks.iter_mut().enumerate() {
        clock.step(warp);
    }
    clocks
}

/// All these warps meet.
pub fn meet(clocks: &mut [Clock], warps: impl Iterator<Item = usize> + Clone) {
    let mut all = Clock::new(clocks.len());
    warps.clone().for_each(|warp| all.join(&clocks[warp]));
    for warp in warps {
        clocks[warp].join(&all);
        clocks[warp].step(warp);
    }
}
