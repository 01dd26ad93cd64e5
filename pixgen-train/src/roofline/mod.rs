//! The roofline of a training step: what it costs at best on a GPU, from published peaks. A bound, not a measurement.
//!
//! The calls of fused operations come from [`crate::needs::trace`]. [`step`] adds up their operations and the fewest bytes that they must
//! move, as the settings of a stage say; [`gpu`] holds the published peaks; [`exchange`] adds what several GPUs tell each
//! other; [`report`] divides by the peaks.
//!
//! docs/results/performance.md, section "Roofline", has the equations with their numbers; comments here cite them.

pub mod exchange;
pub mod gpu;
pub mod report;
pub mod step;
