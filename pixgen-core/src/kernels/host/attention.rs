//! Attention of one head on a host: keys and values are packed as weights are, and the map is there in strips of rows
//! (docs/reference/numerics.md section 4.5).

use super::lanes::{Lanes, PANEL, Work};
use super::panels::PanelsMut;
use super::product::{ProductScratch, WideMut, product};
use crate::kernels::{Exponentials, Raw, RowScaled, Rows};

/// One head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// A row for each token.
    pub queries: Rows<'a>,
    /// A row for each token.
    pub keys: Rows<'a>,
    /// A row for each token.
    pub values: Rows<'a>,
    /// From scores to probabilities.
    pub exponentials: Exponentials<'a>,
    /// Scale of the mean of the values, times 2^28.
    pub mean: u32,
}

/// Memory of a head.
#[derive(Debug)]
pub struct HeadScratch<'a> {
    /// Of its products: [`strip_rows`] rows, as long as the longer of a head and the map.
    pub product: ProductScratch<'a>,
    /// Packed keys: tokens are outputs.
    pub keys: &'a mut [u8],
    /// Packed values: tokens are inputs.
    pub values: &'a mut [u8],
    /// A strip of the map: [`strip_rows`] rows of [`map_stride`].
    pub scores: &'a mut [i32],
    /// A row of probabilities.
    pub row: &'a mut [i8],
    /// A number for each row of a strip.
    pub multiplier: &'a mut [i32],
}

/// Scores from a row of the map to the next.
pub const fn map_stride(tokens: usize) -> usize {
    tokens.next_multiple_of(PANEL)
}

/// Scores that exist at a time, where a strip is not [`LEAST_ROWS`]: as many as a cache near the core holds.
const STRIP_SCORES: usize = 1 << 15;
/// A strip has no fewer rows, and a multiple of them: tiles have 12, 6, 4, 3 or 2.
const LEAST_ROWS: usize = 12;

/// Rows of the map that exist at a time, so that memory grows with the tokens and not with their square; all of a small map.
pub const fn strip_rows(tokens: usize) -> usize {
    let fitting = match STRIP_SCORES.checked_div(tokens) {
        Some(rows) if rows > LEAST_ROWS => rows / LEAST_ROWS * LEAST_ROWS,
        _ => LEAST_ROWS,
    };
    if fitting < tokens { fitting } else { tokens }
}

/// softmax(Q K^T) V into rows of `out` that are `stride` apart. `false` where the scratch is too short; nothing of `out` was then written.
pub fn attend<L: Lanes>(lanes: L, head: &Head<'_>, scratch: &mut HeadScratch<'_>, out: &mut [i8], stride: usize) -> bool {
    lanes.run(Attend { lanes, head, scratch, out, stride }).is_some()
}

struct Attend<'a, 'h, 's, L> {
    lanes: L,
    head: &'a Head<'h>,
    scratch: &'a mut HeadScratch<'s>,
    out: &'a mut [i8],
    stride: usize,
}

impl<L: Lanes> Work for Attend<'_, '_, '_, L> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(self) -> Option<()> {
        let Self { lanes, head, scratch, out, stride } = self;
        let HeadScratch { product: ProductScratch { wide, excess, panel }, keys, values, scores, row, multiplier } = scratch;
        let (tokens, width) = (head.queries.count(), head.queries.row_len());
        let (map, rows) = (map_stride(tokens), strip_rows(tokens));
        let (scores, multiplier) = (scores.get_mut(..rows * map)?, multiplier.get_mut(..rows)?);
        let row = row.get_mut(..tokens)?;

        let mut keys = PanelsMut::new(keys, width, tokens)?;
        keys.pack_rows::<L>(head.keys);
        let mut values = PanelsMut::new(values, tokens, width)?;
        values.pack_columns::<L>(head.values);

        let mut first = 0;
        while first < tokens {
            let count = rows.min(tokens - first);
            let mut queries = WideMut::<L>::new(wide, excess, count, width)?;
            for t in 0..count {
                queries.set(lanes, t, head.queries.row(first + t));
            }
            product(lanes, &queries.done(), keys.panels(), panel, &mut Raw { out: scores, stride: map }).then_some(())?;

            let mut probabilities = WideMut::<L>::new(wide, excess, count, tokens)?;
            let strip = scores.chunks_exact(map.max(1)).zip(&mut *multiplier).take(count);
            for (t, (scores, multiplier)) in strip.enumerate() {
                let sum = head.exponentials.row_inline(scores.get(..tokens)?, row);
                // At most 2^32 / 127 / 16: it fits.
                *multiplier = (head.mean.checked_div(sum).unwrap_or_default() << 4) as i32;
                probabilities.set(lanes, t, row);
            }
            let out = out.get_mut(first * stride..).unwrap_or_default();
            product(lanes, &probabilities.done(), values.panels(), panel, &mut RowScaled { multiplier, out, stride }).then_some(())?;
            first += count;
        }
        Some(())
    }
}
