//! What a network calls, written down for tests: [`crate::needs::trace`] must list the same calls.

use std::cell::RefCell;

/// A function of [`super::network`] and the dimensions of its large operands, one after another.
pub(crate) type Noted = (&'static str, Vec<usize>);

thread_local! {
    static CALLS: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) };
}

/// Writes a call of this thread down.
pub(super) fn note(operation: &'static str, dims: &[&[usize]]) {
    CALLS.with_borrow_mut(|calls| calls.push((operation, dims.concat())));
}

/// The calls that `run` makes on this thread.
pub(crate) fn record(run: impl FnOnce()) -> Vec<Noted> {
    CALLS.take();
    run();
    CALLS.take()
}
