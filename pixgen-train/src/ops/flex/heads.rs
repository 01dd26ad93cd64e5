//! Where the heads of attention lie in a joint projection of q, k and v.

/// Sizes of a joint projection `[images, tokens, 3 width]`.
#[derive(Debug, Clone, Copy)]
pub struct HeadLayout {
    /// Tokens per image.
    pub tokens: usize,
    /// Width of a token, all heads together.
    pub width: usize,
    /// Heads.
    pub heads: usize,
}

/// Where q starts in a row of the projection, as a multiple of the width.
pub const Q: usize = 0;
/// Where k starts.
pub const K: usize = 1;
/// Where v starts.
pub const V: usize = 2;

impl HeadLayout {
    /// Width of a head.
    #[inline(always)]
    pub fn head(self) -> usize {
        self.width / self.heads
    }

    /// Where part `part` of a head starts in a row of the projection.
    #[inline(always)]
    pub fn start(self, part: usize, head: usize) -> usize {
        part * self.width + head * self.head()
    }

    /// Factor of the scores.
    #[inline(always)]
    pub fn scale(self) -> f32 {
        1.0 / (self.head() as f32).sqrt()
    }
}
