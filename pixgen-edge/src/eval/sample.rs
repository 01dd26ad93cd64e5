//! Which real pictures stand beside generated ones: a function of their numbers alone, so that all reports see the same ones.

use pixgen_core::rng::{Draws, Rng};

/// Seed of every random choice of real pictures.
pub const SEED: u64 = 0x7265_616C;
/// Streams of that seed for the choices of [`RealSample`]; those below are free for others.
const TRAINING: u64 = 1 << 32;
const HELD_OUT: u64 = TRAINING + 2;

/// `size` different numbers below `n`, in random order: the first steps of a Fisher-Yates shuffle in the stream `stream` of `seed`.
pub fn sample(n: usize, size: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut draws = Draws::new(Rng::new(seed, stream), 0);
    for i in 0..size.min(n) {
        // Sets of more than 2^32 pictures do not fit in memory.
        let rest = (n - i) as u32;
        order.swap(i, i + draws.below(rest) as usize);
    }
    order.truncate(size);
    order
}

/// Numbers of the real pictures that are measured exactly as generated ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealSample {
    /// Of the held-out pictures.
    pub held_out: Vec<usize>,
    /// Of the training pictures that fill it up; they may not be in a reference.
    pub training: Vec<usize>,
}

impl RealSample {
    /// `size` pictures of `held_out`, and where those are too few, with `top_up` of half of `training` at most.
    pub fn new(size: usize, held_out: usize, training: usize, top_up: bool) -> Self {
        let held_out = sample(held_out, size, SEED, HELD_OUT);
        let missing = if top_up { size - held_out.len() } else { 0 };
        Self { held_out, training: sample(training, missing.min(training / 2), SEED, TRAINING) }
    }

    /// The pixels of the sample, held-out pictures first; a picture has `len` bytes.
    pub fn pixels(&self, held_out: &[u8], training: &[u8], len: usize) -> Vec<u8> {
        [pick(held_out, &self.held_out, len), pick(training, &self.training, len)].concat()
    }

    /// The labels of the sample, in the same order.
    pub fn labels(&self, held_out: &[u16], training: &[u16]) -> Vec<u16> {
        let held_out = self.held_out.iter().map(|&index| held_out[index]);
        held_out.chain(self.training.iter().map(|&index| training[index])).collect()
    }
}

/// The pictures with these numbers, `len` bytes each.
pub fn pick(pixels: &[u8], indices: &[usize], len: usize) -> Vec<u8> {
    indices.iter().flat_map(|&index| &pixels[index * len..][..len]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_no_number_twice() {
        let mut some = sample(50, 50, 3, 1);
        assert_ne!(some, Vec::from_iter(0..50));
        some.sort_unstable();
        assert_eq!(some, Vec::from_iter(0..50));
        assert_eq!(sample(50, 3, 3, 1).len(), 3);
        assert_ne!(sample(50, 20, 3, 1), sample(50, 20, 3, 2));
    }

    #[test]
    fn training_pictures_fill_up_half_of_themselves_at_most() {
        let counts = |sample: RealSample| (sample.held_out.len(), sample.training.len());
        assert_eq!(counts(RealSample::new(20, 50, 100, true)), (20, 0));
        assert_eq!(counts(RealSample::new(70, 50, 100, true)), (50, 20));
        assert_eq!(counts(RealSample::new(500, 50, 100, true)), (50, 50));
        assert_eq!(counts(RealSample::new(70, 50, 100, false)), (50, 0));
        let some = RealSample { held_out: vec![1], training: vec![0, 2] };
        assert_eq!(some.pixels(&[1, 2, 3, 4], &[5, 6, 7, 8, 9, 10], 2), [3, 4, 5, 6, 9, 10]);
        assert_eq!(some.labels(&[0, 1], &[2, 3, 4]), [1, 2, 4]);
    }
}
