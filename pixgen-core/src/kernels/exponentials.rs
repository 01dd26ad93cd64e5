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
        let greatest = scores.iter().copied().max().unwrap_or_default();
        let mut sum = 0;
        for (&score, weight) in scores.iter().zip(weights) {
            let value = self.table[usize::from(self.step(greatest, score))];
            *weight = value as i8;
            sum += u32::from(value);
        }
        sum
    }

    /// The same where the caller chose the instructions: all that vectors can do, then the table.
    #[cfg(host_kernels)]
    #[inline(always)]
    pub(super) fn row_inline(&self, scores: &[i32], weights: &mut [i8]) -> u32 {
        let greatest = scores.iter().copied().max().unwrap_or_default();
        let weights = weights.split_at_mut(scores.len().min(weights.len())).0;
        for (&score, weight) in scores.iter().zip(&mut *weights) {
            *weight = self.step(greatest, score) as i8;
        }
        for weight in &mut *weights {
            *weight = self.table[usize::from(*weight as u8)] as i8;
        }
        weights.iter().map(|&weight| u32::from(weight as u8)).sum()
    }

    /// The place in the table.
    #[inline(always)]
    fn step(&self, greatest: i32, score: i32) -> u8 {
        let below = greatest.wrapping_sub(score) << (self.left % 32);
        (multiply_high(below, self.multiplier) as u32).min(255) as u8
    }
}
