//! The process-wide choice between the fused operations and plain burn tensor maths.

use std::sync::atomic::{AtomicBool, Ordering};

/// How the operations of [`crate::ops::Ops`] are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// The hand-written kernels, registered as custom autodiff operations.
    Fused,
    /// Compositions of burn's own tensor operations, differentiated by burn: the comparison that speed-ups are stated
    /// against.
    Plain,
}

static PLAIN: AtomicBool = AtomicBool::new(false);

/// Chooses the implementation for the whole process from the next operation on.
///
/// A forward pass and its backward pass may run under different choices: each node keeps the backward it was made with.
pub fn set_implementation(choice: Implementation) {
    PLAIN.store(choice == Implementation::Plain, Ordering::Relaxed);
}

/// The implementation in use; [`Implementation::Fused`] until [`set_implementation`] says otherwise.
pub fn implementation() -> Implementation {
    if PLAIN.load(Ordering::Relaxed) {
        Implementation::Plain
    } else {
        Implementation::Fused
    }
}
