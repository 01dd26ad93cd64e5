//! Interprets the PTX of kernels, so that what they compute can be tested without a GPU.
//!
//! All threads of a block run, 32 lanes to a warp, on shared and global memory that notices mistakes:
//!
//! * **Order.** Warps are stepped in a random order that a seed chooses. A vector clock tells what a warp knows of the others, so two
//!   accesses to shared memory without a barrier between are a fault whatever the order was.
//! * **Copies.** An asynchronous copy lands when it is waited for; until then every access to its target is a fault.
//! * **Bounds.** Buffers lie far apart, and what was never written cannot be read.
//! * **Divergence.** Lanes part at branches and join where their ways join. A barrier or a product that a part of a warp reaches alone is
//!   a fault.
//!
//! A fault says which line of the PTX, which instruction, block, warp and lane ([`Fault`]). An instruction that is not known stops the
//! parser with its line ([`ParseError`]).
//!
//! What it does not show: speed; the order in which tensor cores add (sums are exact here and rounded once) and the last bits of `ex2`
//! and its like; races in global memory; races between lanes of one warp, which run in step; bulk copies (TMA), `wgmma` and clusters.
//!
//! * `source`, `decode`: from text to [`instruction`]s.
//! * `block`, `warp`, `execute`: who runs when, and what an instruction does. `arithmetic` and `matrix` hold what needs no memory.
//! * `buffers`, `shared`, `copies`, `clocks`: memory, and what is known about it.
//! * `kernel`, `run`: from outside. `driver`: from a driver in C, on memory of the process.

pub mod instruction;

mod arithmetic;
mod block;
mod buffers;
mod clocks;
mod copies;
mod decode;
mod driver;
mod execute;
mod fault;
mod kernel;
mod matrix;
mod run;
mod shared;
mod source;
mod warp;

pub use arithmetic::{brain, to_brain};
pub use buffers::{BufferId, Buffers, Memory};
pub use fault::{Fault, FaultKind, Hazard, Space};
pub use kernel::{Kernel, Launch};
pub use run::Statistics;
pub use source::ParseError;
