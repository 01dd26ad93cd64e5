//! What stops a kernel: the kind of mistake, and where it was made.

use std::fmt;

/// A space of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Buffers of the device.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Arguments of the kernel.
    Param,
    /// Variables of the module: constant arrays.
    Module,
}

/// How two accesses of a race touch the memory: the earlier, then the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazard {
    /// A read of what another warp wrote.
    ReadAfterWrite,
    /// A write over what another warp read.
    WriteAfterRead,
    /// A write over what another warp wrote.
    WriteAfterWrite,
}

/// A kind of mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access that is not inside a buffer, shared memory, local memory, the arguments or a variable of the module.
    OutOfBounds {
        /// Where the address points to.
        space: Space,
        /// First byte of the access.
        address: u64,
        /// Its length.
        bytes: usize,
    },
    /// An address that is not a multiple of what the instruction needs.
    Misaligned {
        /// Where the address points to.
        space: Space,
        /// First byte of the access.
        address: u64,
        /// What it must be a multiple of.
        alignment: usize,
    },
    /// A read of bytes that nothing has written.
    Uninitialised {
        /// Where the address points to.
        space: Space,
        /// First byte that was never written.
        address: u64,
    },
    /// An access to the target of an asynchronous copy that was not waited for.
    CopyInFlight {
        /// A byte of the target.
        address: u64,
        /// Line of the PTX that started the copy.
        started: usize,
    },
    /// Two warps touch a byte of shared memory, one of them writes, and no barrier is between them.
    Race {
        /// The byte.
        address: u64,
        /// What happened.
        hazard: Hazard,
        /// The warp of the earlier access.
        other: usize,
    },
    /// A write to a variable of the module, which is not supported.
    VariableWritten {
        /// First byte of the access.
        address: u64,
    },
    /// A barrier, or an instruction of a whole warp, that a part of the warp reached alone.
    Diverged,
    /// A barrier in memory that was used and never initialised.
    NoBarrier {
        /// Its address in shared memory.
        address: u64,
    },
    /// More arrivals at a barrier than it was initialised for.
    TooManyArrivals {
        /// Its address in shared memory.
        address: u64,
    },
    /// Every warp waits for another.
    Deadlock,
    /// A branch to a label that does not exist, or an operand that the instruction cannot take.
    Malformed,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { space, address, bytes } => write!(f, "{bytes} bytes at {space:?} {address:#x} are out of bounds"),
            Self::Misaligned { space, address, alignment } => write!(f, "{space:?} {address:#x} is not a multiple of {alignment}"),
            Self::Uninitialised { space, address } => write!(f, "{space:?} {address:#x} is read and was never written"),
            Self::CopyInFlight { address, started } => {
                write!(f, "Shared {address:#x} is the target of a copy that line {started} started and that was not waited for")
            }
            Self::Race { address, hazard, other } => {
                write!(f, "{hazard:?} of Shared {address:#x} races with warp {other}: no barrier between")
            }
            Self::VariableWritten { address } => {
                write!(f, "Module {address:#x} is written, and variables of a module can only be read here")
            }
            Self::Diverged => f.write_str("a part of the warp is here alone"),
            Self::NoBarrier { address } => write!(f, "there is no barrier at Shared {address:#x}"),
            Self::TooManyArrivals { address } => write!(f, "more arrivals at the barrier at Shared {address:#x} than it counts"),
            Self::Deadlock => f.write_str("every warp waits for another"),
            Self::Malformed => f.write_str("the operands do not fit the instruction"),
        }
    }
}

/// A mistake and where it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Name of the kernel.
    pub kernel: String,
    /// Line of the PTX, from 1.
    pub line: usize,
    /// The instruction there.
    pub instruction: String,
    /// Block of the grid.
    pub block: [u32; 3],
    /// Warp of the block.
    pub warp: usize,
    /// Lane of the warp; `None` where all of it is at fault.
    pub lane: Option<usize>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, kernel, line, instruction, block: [x, y, z], warp, lane } = self;
        write!(f, "{kernel}, line {line}, `{instruction}`: {kind} (block {x}, {y}, {z}, warp {warp}")?;
        match lane {
            Some(lane) => write!(f, ", lane {lane})"),
            None => f.write_str(")"),
        }
    }
}

impl std::error::Error for Fault {}
