//! Tests of all operations together: against a float64 reference, across threads and levels, inside the graph.

mod cases;
mod conformance;
mod determinism;
mod graph;
mod losses;

use std::sync::{Mutex, PoisonError};

use super::implementation::{Implementation, set_implementation};

#[cfg(all(feature = "cuda", not(feature = "vulkan")))]
use crate::device::Cuda as TestGpu;
/// The GPU of the tests: a Vulkan device, a software one included; built with feature `cuda` and without `vulkan`, an NVIDIA GPU.
#[cfg(feature = "vulkan")]
use crate::device::Vulkan as TestGpu;

/// Name of that GPU's backend.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
const GPU: &str = if cfg!(feature = "vulkan") { "vulkan" } else { "cuda" };

static CHOICE: Mutex<()> = Mutex::new(());

/// Runs `work` under an implementation; one caller at a time, as the choice is process-wide.
fn under<R>(choice: Implementation, work: impl FnOnce() -> R) -> R {
    let _guard = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    set_implementation(choice);
    let result = work();
    set_implementation(Implementation::Fused);
    result
}
