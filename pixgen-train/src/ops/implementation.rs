//! The choice between the fused operations and plain burn tensor maths, which tests and benchmarks make for the whole process.

#[cfg(any(test, feature = "testing"))]
use std::sync::atomic::{AtomicBool, Ordering};

/// How the operations of [`crate::ops::FusedOps`] are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// The hand-written kernels, registered as custom autodiff operations.
    Fused,
    /// Compositions of burn's own tensor operations, differentiated by burn: the comparison that speed-ups are stated
    /// against.
    Plain,
}

#[cfg(any(test, feature = "testing"))]
static PLAIN: AtomicBool = AtomicBool::new(false);

/// Chooses the implementation for the whole process from the next operation on. Only with the feature `testing`.
///
/// A forward pass and its backward pass may run under different choices: each node keeps the backward it was made with.
#[cfg(any(test, feature = "testing"))]
pub fn set_implementation(choice: Implementation) {
    PLAIN.store(choice == Implementation::Plain, Ordering::Relaxed);
}

/// The implementation in use: [`Implementation::Fused`], unless a test has said otherwise.
pub fn implementation() -> Implementation {
    #[cfg(any(test, feature = "testing"))]
    if PLAIN.load(Ordering::Relaxed) {
        return Implementation::Plain;
    }
    Implementation::Fused
}
