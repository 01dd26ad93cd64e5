//! What a run needs before it starts: memory, and time on this machine.
//!
//! [`trace`] runs core's network through an interpreter that only writes down the calls of fused operations and their shapes. [`memory`]
//! adds up what a step keeps of them, by device and precision. [`dry_run`] puts it beside the settings and a few timed steps.

pub mod dry_run;
pub mod memory;
pub mod trace;
