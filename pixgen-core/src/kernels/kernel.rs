//! What a kind of core implements.

use super::exponentials::Exponentials;
use super::rows::Rows;
use super::sink::Sink;

/// A matrix product for one kind of core.
pub trait Kernel {
    /// Name of the implementation, for logs.
    const NAME: &'static str;

    /// Passes to `sink`, for every row t of `x` and o of `w`, its start plus the sum over k of x\[t\]\[k\] w\[o\]\[k\], exact modulo 2^32.
    ///
    /// Rows of `x` are as long as those of `w`; where they are not, the shorter length counts. `scratch` holds [`scratch_words`] words
    /// for that length; with fewer the product is slower. Fast where rows lie at multiples of 4 bytes and have a multiple of 4 values.
    fn matmul<S: Sink>(x: Rows<'_>, w: Rows<'_>, scratch: &mut [u32], sink: &mut S);

    /// [`Exponentials::row`].
    fn exponentials(exponentials: &Exponentials<'_>, scores: &[i32], weights: &mut [i8]) -> u32 {
        exponentials.row(scores, weights)
    }
}

/// Words of scratch for [`Kernel::matmul`] over rows of `len` values, as much as the core takes that takes most, so that a workspace does not
/// depend on the core: four rows of weights, two in a word; or 16 rows of up to 64 values as 16-bit values.
pub const fn scratch_words(len: usize) -> usize {
    if len <= 64 { 8 * len } else { 2 * len }
}
