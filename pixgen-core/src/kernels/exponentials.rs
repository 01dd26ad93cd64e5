//! A row of softmax before its division: exp of every score's distance from the greatest, from a table (docs/reference/numerics.md section
//! 4.5).

use super::multiply_high;

/// Scale and table of the exponentials.
#[derive(Clone, Copy, Debug)]
pub struct Exponentials<'a> {
    /// The function; its last value stands for all that follow.
    pub table: &'a [u8; 256],
    /// Scale of a distance, times 2^(32 - left).
    pub multiplier: i32,
    /// Shift before the multiplication, below 32.
    pub left: u32,
}

impl Exponentials<'_> {
    /// weights\[i\] = table\[min(((greatest - scores\[i\]) << left) multiplier / 2^32, 255)\]; returns their sum. An index below 0, which
    /// only a wrapped difference has, counts as 255.
    pub fn row(&self, scores: &[i32], weights: &mut [i8]) -> u32 {
        self.row_inline(scores, weights)
    }

    /// The same where the caller chose the instructions.
    #[inline(always)]
    pub(super) fn row_inline(&self, scores: &[i32], weights: &mut [i8]) -> u32 {
        let greatest = scores.iter().copied().max().unwrap_or_default();
        let mut sum = 0;
        for (&score, weight) in scores.iter().zip(weights) {
            let below = greatest.wrapping_sub(score) << (self.left % 32);
            let value = self.table[(multiply_high(below, self.multiplier) as u32).min(255) as usize];
            *weight = value as i8;
            sum += u32::from(value);
        }
        sum
    }
}
