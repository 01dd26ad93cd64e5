//! Memory of the instance, and globals of its one thread.

use core::arch::wasm32::memory_grow;
use core::slice;

/// Bytes of a page of memory.
const PAGE: usize = 1 << 16;

/// A global of a program with one thread.
pub struct Single<T>(pub T);

// SAFETY: the crate is built without the `atomics` feature, so memory is not shared and no second thread can run in an instance.
#[cfg(not(target_feature = "atomics"))]
unsafe impl<T> Sync for Single<T> {}

/// New memory of `len` bytes, zeroed, at the beginning of a page; `None` where there is no more. Nobody gives it back: a model is opened once.
pub fn take(len: usize) -> Option<&'static mut [u8]> {
    let before = memory_grow::<0>(len.div_ceil(PAGE));
    let start = before.checked_mul(PAGE).filter(|_| before != usize::MAX)?;
    // SAFETY: these pages did not exist before the call, so nothing else refers to them; they are zeroed, at least `len` bytes, and stay to
    // the end.
    Some(unsafe { slice::from_raw_parts_mut(start as *mut u8, len) })
}
