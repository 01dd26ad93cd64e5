//! Two weights in each word, for cores that multiply one word at a time.
//!
//! The word of outputs a and b is W = wa + 2^16 wb. Two values of a token times theirs are p = x0 W0 + x1 W1 = sa + 2^16 sb, where sa and
//! sb are in -32,512..=32,768: one value too many for 16 bits with a sign, but q = 2^15 - p has -sb in its upper half, exactly, for every
//! int8. Subtracting the upper halves sums up b. Subtracting q, modulo 2^32, sums up a, once the halves 2^15 are taken off, which is what
//! [`start`] does, and 2^16 times the sum of b, which assembly does at the end of a row.

/// Added to a product so that its lower half does not borrow from the upper one.
pub(super) const HALF: i32 = 1 << 15;

/// What q and its upper halves are subtracted from, for outputs a and b, then c and d, over `len` values, an even number.
pub(super) fn start([a, b, c, d]: [i32; 4], len: usize) -> [i32; 4] {
    let halves = HALF.wrapping_mul((len / 2) as i32);
    let both = |a: i32, b: i32| a.wrapping_add(halves).wrapping_add(b << 16);
    [both(a, b), b, both(c, d), d]
}
