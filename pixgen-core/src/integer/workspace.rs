//! Bytes of workspace that a picture takes: the exact high-water mark, in closed form, so that a firmware can reserve them in a `static`.

use crate::aligned::ALIGN;
use crate::config::{MLP_RATIO, ModelConfig, Tower};
use crate::kernels::scratch_words;
use crate::pxg::Model;
use crate::pxg::layout::padded;

/// Every region begins at a multiple of [`ALIGN`] bytes.
pub(crate) const fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Rows that the MLP takes at a time. Two halves keep its hidden layer as small as the attention's queries, keys and values; a model
/// of few tokens is not divided, so that its weights are read only once.
pub(crate) const fn mlp_rows(tokens: usize) -> usize {
    if tokens <= 32 {
        tokens
    } else {
        tokens.div_ceil(2).next_multiple_of(2)
    }
}

/// The most rows of the attention map that exist at a time.
pub(crate) const MOST_MAP_ROWS: usize = 32;

/// Rows of the attention map that exist at a time: about a thousand scores, and a multiple of 6, which suits tiles of two and of three
/// rows; all of a small map.
pub(crate) const fn map_rows(tokens: usize) -> usize {
    let rows = max(6, 1024 / max(tokens, 1) / 6 * 6);
    if rows < tokens { rows } else { tokens }
}

/// Bytes of the region of the residual stream, i16, as wide as the wider tower.
pub(crate) const fn stream_len(config: &ModelConfig) -> usize {
    aligned(2 * config.tokens() * max(config.encoder.width, config.decoder.width))
}

/// Bytes of scratch of a matrix product with rows of `inputs` values.
pub(crate) const fn scratch_len(inputs: usize) -> usize {
    aligned(4 * scratch_words(padded(inputs)))
}

/// Bytes of scratch of the products of attention, of queries and of probabilities.
pub(crate) const fn attend_scratch_len(head_width: usize, padded_tokens: usize) -> usize {
    max(scratch_len(head_width), scratch_len(padded_tokens))
}

/// Length of a row of probabilities: one for each token, padded to words.
pub(crate) const fn padded_tokens(config: &ModelConfig) -> usize {
    padded(config.tokens())
}

/// A block above the stream.
const fn block_len(config: &ModelConfig, tower: &Tower) -> usize {
    let (tokens, d) = (config.tokens(), tower.width);
    let (one, two, three) = (aligned(tokens * d), aligned(2 * tokens * d), aligned(3 * tokens * d));
    let tokens_padded = padded_tokens(config);
    let map = aligned(4 * map_rows(tokens) * tokens) + aligned(map_rows(tokens) * tokens_padded);
    let attend = aligned(tower.head_width() * tokens_padded) + map + attend_scratch_len(tower.head_width(), tokens_padded);
    let attention = one + max(three + max(scratch_len(d), attend), two + scratch_len(d));
    let hidden = aligned(mlp_rows(tokens) * MLP_RATIO * d);
    let mlp = two + hidden + max(scratch_len(d), scratch_len(MLP_RATIO * d));
    max(attention, mlp)
}

/// Workspace for pictures of an exportable model drawn in `steps` steps, bytes; a multiple of 16.
pub const fn workspace_len(config: &ModelConfig, steps: usize) -> usize {
    let (tokens, enc, dec) = (config.tokens(), config.encoder.width, config.decoder.width);
    let depth = config.encoder.depth;
    let skip = aligned(tokens * enc);
    let patch_len = padded(config.patch_len());
    let input = aligned(config.patches() * patch_len) + scratch_len(patch_len);
    // The last block of the encoder runs above depth - 1 skips, and its output is then kept.
    let encoder = (depth - 1) * skip + max(block_len(config, &config.encoder), skip);
    let bridge = if config.has_bridge() {
        depth * skip + skip + scratch_len(enc)
    } else {
        0
    };
    // The first block of the decoder: [x ; skip] while the skip is still there, then without it.
    let both = aligned(tokens * (enc + dec));
    let fuse = (depth - 1) * skip + both + max(skip, scratch_len(enc + dec));
    let decoder = (depth - 1) * skip + block_len(config, &config.decoder);
    let across = config.across();
    let band = aligned(2 * across * config.patch_len()) + aligned(across * config.patch_len());
    let output = aligned(config.patches() * dec) + band + scratch_len(dec);
    let picture = if steps > 1 { aligned(config.image_len()) } else { 0 };
    picture + stream_len(config) + max(max(max(input, encoder), max(bridge, fuse)), max(decoder, output))
}

impl Model<'_> {
    /// Workspace for [`draw`](Self::draw), bytes.
    pub const fn workspace_len(&self) -> usize {
        workspace_len(self.config(), self.steps())
    }
}
