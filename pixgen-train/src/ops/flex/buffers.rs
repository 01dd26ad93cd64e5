//! Buffers that are used again: the outputs of one operation serve as outputs of a later one.
//!
//! Asking the system for fresh memory means that it is zeroed, page by page, before an operation overwrites it. So tensors that
//! an operation was the last to read leave their memory in a list of the thread, sorted by size, and [`take`] looks there first.

use std::cell::RefCell;
use std::collections::HashMap;

/// Shorter buffers come from the allocator, which is fast for them.
const SHORTEST: usize = 2048;

/// The most elements that a thread keeps, more than a piece of a wide network needs; what comes back beyond that is freed.
const MOST: usize = 1 << 27;

/// Free buffers of a thread by [`class`].
#[derive(Default)]
struct Free {
    classes: HashMap<usize, Vec<Vec<f32>>>,
    elements: usize,
}

thread_local! {
    static FREE: RefCell<Free> = RefCell::default();
}

/// The size that a buffer is made with, at most an eighth more than asked for, so that batches of nearly the same size share buffers.
fn class(length: usize) -> usize {
    length.next_multiple_of(length.next_power_of_two() / 16)
}

/// A buffer whose elements are arbitrary numbers: to be overwritten.
pub fn take(length: usize) -> Vec<f32> {
    if length < SHORTEST {
        return vec![0.0; length];
    }
    let class = class(length);
    let found = FREE.with_borrow_mut(|free| {
        let found = free.classes.get_mut(&class)?.pop()?;
        free.elements -= class;
        Some(found)
    });
    let mut buffer = found.unwrap_or_else(|| Vec::with_capacity(class));
    buffer.resize(length, 0.0);
    buffer
}

/// Gives a buffer back.
pub fn release(buffer: Vec<f32>) {
    if buffer.len() < SHORTEST {
        return;
    }
    let class = class(buffer.len());
    if buffer.capacity() < class {
        return;
    }
    FREE.with_borrow_mut(|free| {
        if free.elements + class <= MOST {
            free.elements += class;
            free.classes.entry(class).or_default().push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_buffer_is_taken_again() {
        let mut first = take(5000);
        assert_eq!(first, vec![0.0; 5000]);
        first.fill(7.0);
        release(first);
        let second = take(5100);
        assert_eq!((second.len(), second[0]), (5100, 7.0), "same class, same memory");
        let third = take(5000);
        assert_eq!(third[0], 0.0, "not handed out twice");
        release(second);
        assert_eq!(take(9000)[0], 0.0, "another class");
    }

    #[test]
    fn classes_hold_their_lengths() {
        for length in (SHORTEST..20_000).step_by(37) {
            let class = class(length);
            assert!(class >= length && class * 8 <= length * 9, "{length}: {class}");
            assert_eq!(super::class(class), class);
        }
    }

    #[test]
    fn foreign_and_short_buffers_are_freed() {
        release(vec![1.0; 10]);
        let foreign = Vec::from([1.0; 5000]);
        release(foreign); // its capacity is not that of its class
        assert_eq!(take(10), vec![0.0; 10]);
    }
}
