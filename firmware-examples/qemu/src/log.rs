//! Log frames of `defmt`, written to the console of the emulator by semihosting.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use semihosting::io::{Stdout, Write as _, stdout};

#[defmt::global_logger]
struct Logger;

/// What a frame in progress needs. Only [`Logger`] touches it.
struct Console {
    taken: AtomicBool,
    encoder: UnsafeCell<defmt::Encoder>,
    out: UnsafeCell<Option<Stdout>>,
}

// SAFETY: one core, and no interrupt handler logs; `taken` stops a fault that happens inside a frame.
unsafe impl Sync for Console {}

static CONSOLE: Console = Console {
    taken: AtomicBool::new(false),
    encoder: UnsafeCell::new(defmt::Encoder::new()),
    out: UnsafeCell::new(None),
};

// SAFETY: `acquire` never returns while a frame is in progress, so the cells are reached by one frame at a time.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        if CONSOLE.taken.load(Ordering::Relaxed) {
            semihosting::process::abort();
        }
        CONSOLE.taken.store(true, Ordering::Relaxed);
        // SAFETY: `taken` was false, so nobody else holds the encoder.
        unsafe { (*CONSOLE.encoder.get()).start_frame(write) }
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: called between `acquire` and the end of the frame.
        unsafe { (*CONSOLE.encoder.get()).end_frame(write) }
        CONSOLE.taken.store(false, Ordering::Relaxed);
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: called between `acquire` and `release`.
        unsafe { (*CONSOLE.encoder.get()).write(bytes, write) }
    }
}

/// Sends encoded bytes. A log that cannot be written is lost; nothing else could be done with it.
fn write(bytes: &[u8]) {
    // SAFETY: called by `Logger` only, between `acquire` and `release`.
    let out = unsafe { &mut *CONSOLE.out.get() };
    if out.is_none() {
        *out = stdout().ok();
    }
    if let Some(out) = out {
        let _ = out.write_all(bytes);
    }
}
