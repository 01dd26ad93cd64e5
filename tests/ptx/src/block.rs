//! A block: its warps, stepped in a random order, and what they share.

use crate::buffers::Memory;
use crate::clocks::{self, Clock};
use crate::copies::Copies;
use crate::fault::{Fault, FaultKind};
use crate::instruction::Operation;
use crate::kernel::{Kernel, Launch};
use crate::shared::Shared;
use crate::warp::{LANES, Warp, lanes};

/// The most instructions that a warp runs before another is chosen.
const LONGEST_TURN: u64 = 64;

/// Tests of barriers that may fail without anything else happening before every warp is taken to wait for another.
const FRUITLESS: usize = 100_000;

/// What one instruction did to the turn of its warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    GoesOn,
    /// It ends: the warp waits for others.
    Ends,
}

/// What stopped an instruction, and at which lane.
pub type Stop = (FaultKind, Option<usize>);

/// A running block.
pub struct Block<'a> {
    /// What runs.
    pub kernel: &'a Kernel,
    /// How.
    pub launch: &'a Launch,
    /// Bytes of the arguments.
    pub params: &'a [u8],
    /// Global memory.
    pub memory: &'a mut dyn Memory,
    /// Place in the grid.
    pub position: [u32; 3],
    /// Shared memory.
    pub shared: Shared,
    /// Copies and barriers in it.
    pub copies: Copies,
    /// What each warp knows of the others.
    pub clocks: Vec<Clock>,
    /// Tests of barriers that failed since something happened.
    pub fruitless: usize,
    /// Instructions of warps so far.
    pub instructions: u64,
}

impl<'a> Block<'a> {
    /// A block before its first instruction.
    pub fn new(kernel: &'a Kernel, launch: &'a Launch, params: &'a [u8], memory: &'a mut dyn Memory, position: [u32; 3]) -> Self {
        let warps = launch.threads().div_ceil(LANES);
        Self {
            kernel,
            launch,
            params,
            memory,
            position,
            shared: Shared::new(kernel.source.static_shared + launch.dynamic_shared, warps),
            copies: Copies::new(warps),
            clocks: clocks::start(warps),
            fruitless: 0,
            instructions: 0,
        }
    }

    /// Runs to the end, warps in an order that `random` chooses.
    ///
    /// # Errors
    /// The first fault.
    pub fn run(&mut self, random: &mut Random) -> Result<(), Fault> {
        let threads = self.launch.threads();
        let program = &self.kernel.program;
        let mut warps: Vec<Warp> = (0..threads.div_ceil(LANES))
            .map(|warp| Warp::new(warp, threads - warp * LANES, program.registers, self.kernel.source.local_bytes))
            .collect();
        loop {
            let ready: Vec<usize> = (0..warps.len()).filter(|&warp| !warps[warp].waits && warps[warp].live() != 0).collect();
            if ready.is_empty() {
                let waiting: Vec<usize> = (0..warps.len()).filter(|&warp| warps[warp].live() != 0).collect();
                if waiting.is_empty() {
                    return Ok(());
                }
                clocks::meet(&mut self.clocks, waiting.iter().copied());
                waiting.iter().for_each(|&warp| warps[warp].waits = false);
                self.fruitless = 0;
                continue;
            }
            let warp = &mut warps[ready[random.below(ready.len() as u64) as usize]];
            for _ in 0..=random.below(LONGEST_TURN) {
                if self.step(warp)? == Turn::Ends {
                    break;
                }
            }
        }
    }

    /// One instruction of a warp.
    fn step(&mut self, warp: &mut Warp) -> Result<Turn, Fault> {
        let Some((at, mask)) = warp.next() else { return Ok(Turn::Ends) };
        self.instructions += 1;
        let program = &self.kernel.program;
        let Some(instruction) = program.instructions.get(at) else {
            warp.end(mask);
            return Ok(Turn::Ends);
        };
        let active = match instruction.predicate {
            Some((register, negated)) => {
                let values = &warp.registers[register];
                lanes(mask)
                    .filter(|&lane| (values[lane] != 0) != negated)
                    .fold(0, |active, lane| active | 1 << lane)
            }
            None => mask,
        };
        let (kernel, position) = (self.kernel, self.position);
        let stop = |(kind, lane): Stop, warp: &Warp| kernel.fault(kind, at, position, warp.number, lane);
        match instruction.operation {
            Operation::Branch(target) => {
                warp.advance(mask, active, target);
                Ok(Turn::GoesOn)
            }
            Operation::Exit => {
                warp.advance(mask, 0, 0);
                warp.end(active);
                Ok(Turn::GoesOn)
            }
            Operation::BlockBarrier if active != 0 => {
                if active != warp.live() {
                    return Err(stop((FaultKind::Diverged, None), warp));
                }
                warp.advance(mask, 0, 0);
                warp.waits = true;
                Ok(Turn::Ends)
            }
            _ => {
                let turn = match active {
                    0 => Turn::GoesOn,
                    _ => self.execute(instruction, warp, active).map_err(|it| stop(it, warp))?,
                };
                self.fruitless += usize::from(turn == Turn::Ends);
                if self.fruitless > FRUITLESS {
                    return Err(stop((FaultKind::Deadlock, None), warp));
                }
                warp.advance(mask, 0, 0);
                Ok(turn)
            }
        }
    }
}

/// Random numbers: SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }
}
