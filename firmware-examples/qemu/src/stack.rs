//! How much stack was used: free stack is painted at the start, and later the lowest word that has lost its paint is looked for.

/// A word that code is unlikely to write.
const PAINT: u32 = 0xfeed_c0de;
/// Bytes below the caller's frame that are left alone: `paint` itself stands there.
const MARGIN: usize = 256;

unsafe extern "C" {
    /// End of static data; the stack grows down to it. From the linker script.
    static mut __sheap: u32;
    /// Top of the stack. From the linker script.
    static mut _stack_start: u32;
}

/// Paints the stack that is not in use. To be called once, early in `main`.
#[inline(never)]
pub fn paint() {
    let here = 0_u32;
    let end = (&raw const here as usize - MARGIN) & !3;
    let mut word = &raw mut __sheap;
    while (word as usize) < end {
        // SAFETY: aligned words between static data and the frames in use, which nothing refers to.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}

/// Most bytes of stack that were in use at once since [`paint`]; `None` when the stack reached static data.
pub fn used() -> Option<usize> {
    let top = &raw const _stack_start as usize;
    let mut word = &raw const __sheap;
    let mut free = 0;
    // SAFETY: aligned words of RAM; the frame of this function, which is not painted, ends the search.
    unsafe {
        while word.read_volatile() == PAINT {
            word = word.add(1);
            free += 1;
        }
    }
    (free > 0).then_some(top - word as usize)
}
