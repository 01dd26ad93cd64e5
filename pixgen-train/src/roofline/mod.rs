//! The roofline of a training step: what published peaks allow, computed from the network itself. A bound, not a measurement.
//!
//! From the network to hours, each file one step:
//!
//! * [`trace`] runs core's network through an interpreter that only writes down the calls of fused operations and their shapes.
//! * [`cost`] turns a call into kernels: floating-point operations, the fewest bytes that must move, and the bytes that our kernels move.
//! * [`step`] puts the passes, losses and updates of a stage's optimiser step together, as the settings of the run say.
//! * [`memory`] adds up what a step keeps, by device and precision; `--dry-run` uses the same numbers.
//! * [`device`] holds the published peaks, [`report`] divides by them and prints.
//!
//! docs/results/performance.md, section "Roofline", has the equations with their numbers; comments here cite them.

pub mod cost;
pub mod device;
pub mod memory;
pub mod report;
pub mod step;
pub mod trace;

pub use device::Device;
pub use report::{Report, Request};
