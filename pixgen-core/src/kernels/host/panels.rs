//! Weights in panels of 16 outputs, packed in memory that the caller gives.
//!
//! A panel is `[K / GROUP][16 outputs][GROUP]` int8, K padded with zeros to a multiple of 4 and outputs to one of 16. Before the panels
//! stand 16 numbers for each: what the products of each output count too much.

use super::lanes::{Lanes, PANEL};
use crate::kernels::Rows;
use core::array;

/// K with padding.
pub const fn padded(inputs: usize) -> usize {
    inputs.next_multiple_of(4)
}

/// Weights of a layer, packed for `L`.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    /// Values of a row, with padding.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    excess: &'a [i32],
    weights: &'a [i8],
}

/// Memory for them.
#[derive(Debug)]
pub struct PanelsMut<'a> {
    inputs: usize,
    outputs: usize,
    excess: &'a mut [i32],
    weights: &'a mut [i8],
}

/// Bytes of a layer's panels.
pub const fn panels_len(inputs: usize, outputs: usize) -> usize {
    outputs.div_ceil(PANEL) * PANEL * (4 + padded(inputs))
}

impl<'a> Panels<'a> {
    /// Panels that [`PanelsMut`] wrote to `memory`; `None` where that is shorter than [`panels_len`] or does not begin at a word.
    pub fn new(memory: &'a [u8], inputs: usize, outputs: usize) -> Option<Self> {
        let count = outputs.div_ceil(PANEL) * PANEL;
        let (excess, weights) = memory.get(..panels_len(inputs, outputs))?.split_at_checked(4 * count)?;
        Some(Self {
            inputs: padded(inputs),
            outputs,
            excess: bytemuck::try_cast_slice(excess).ok()?,
            weights: bytemuck::cast_slice(weights),
        })
    }

    /// The panels: number of the first output, excess and weights.
    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a [i32; PANEL], &'a [i8])> + use<'a> {
        let excess = self.excess.as_chunks::<PANEL>().0.iter();
        let weights = self.weights.chunks_exact((PANEL * self.inputs).max(1));
        (0..)
            .step_by(PANEL)
            .zip(excess)
            .zip(weights)
            .map(|((first, excess), weights)| (first, excess, weights))
    }
}

impl<'a> PanelsMut<'a> {
    /// Memory for panels, as [`Panels::new`].
    pub fn new(memory: &'a mut [u8], inputs: usize, outputs: usize) -> Option<Self> {
        let count = outputs.div_ceil(PANEL) * PANEL;
        let (excess, weights) = memory.get_mut(..panels_len(inputs, outputs))?.split_at_mut_checked(4 * count)?;
        Some(Self {
            inputs: padded(inputs),
            outputs,
            excess: bytemuck::try_cast_slice_mut(excess).ok()?,
            weights: bytemuck::cast_slice_mut(weights),
        })
    }

    /// Packs weights: a row for each output.
    #[inline(always)]
    pub fn pack_rows<L: Lanes>(&mut self, rows: Rows<'_>) {
        match L::GROUP {
            2 => self.rows_in_groups::<L, 2>(rows),
            _ => self.rows_in_groups::<L, 4>(rows),
        }
    }

    #[inline(always)]
    fn rows_in_groups<L: Lanes, const G: usize>(&mut self, rows: Rows<'_>) {
        let panels = self.weights.chunks_exact_mut((PANEL * self.inputs).max(1));
        let excess = self.excess.as_chunks_mut::<PANEL>().0;
        for (number, (panel, excess)) in panels.zip(excess).enumerate() {
            let steps = panel.as_chunks_mut::<G>().0.as_chunks_mut::<PANEL>().0;
            for (lane, excess) in excess.iter_mut().enumerate() {
                let row = rows.row(PANEL * number + lane);
                let (whole, rest) = row.as_chunks::<G>();
                let mut last = [0; G];
                last.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
                let mut steps = steps.iter_mut().enumerate();
                for (from, (step, to)) in whole.iter().zip(&mut steps) {
                    if let Some(to) = to.get_mut(lane) {
                        *to = flipped::<L, G>(*from, step);
                    }
                }
                for (step, to) in steps {
                    if let Some(to) = to.get_mut(lane) {
                        *to = flipped::<L, G>(last, step);
                    }
                    last = [0; G];
                }
                *excess = if L::CROSSWISE { crosswise(row) } else { 0 };
            }
        }
    }

    /// Packs weights that lie transposed: K rows of a value for each output.
    #[inline(always)]
    pub fn pack_columns<L: Lanes>(&mut self, columns: Rows<'_>) {
        match L::GROUP {
            2 => self.columns_in_groups::<L, 2>(columns),
            _ => self.columns_in_groups::<L, 4>(columns),
        }
    }

    #[inline(always)]
    fn columns_in_groups<L: Lanes, const G: usize>(&mut self, columns: Rows<'_>) {
        let panels = self.weights.chunks_exact_mut((PANEL * self.inputs).max(1));
        let excess = self.excess.as_chunks_mut::<PANEL>().0;
        for (number, (panel, excess)) in panels.zip(excess).enumerate() {
            let first = PANEL * number;
            *excess = [0; PANEL];
            for (step, groups) in panel.as_chunks_mut::<PANEL>().0.chunks_exact_mut(4).enumerate() {
                // Four rows of 16 values; padding is zeros.
                let mut four = [[0; PANEL]; 4];
                for (i, four) in four.iter_mut().enumerate() {
                    let row = columns.row(4 * step + i).get(first..).unwrap_or_default();
                    match row.first_chunk::<PANEL>() {
                        Some(row) => *four = *row,
                        None => four.iter_mut().zip(row).for_each(|(to, &from)| *to = from),
                    }
                }
                let groups = groups.as_flattened_mut().chunks_exact_mut(PANEL * G);
                for ((groups, rows), flip) in groups.zip(four.chunks_exact(G)).zip(L::FLIP.chunks_exact(G)) {
                    for (lane, group) in groups.as_chunks_mut::<G>().0.iter_mut().enumerate().take(PANEL) {
                        *group = array::from_fn(|i| rows[i][lane] ^ flip[i]);
                    }
                }
                if L::CROSSWISE {
                    let [a, b, c, d] = &four;
                    for (lane, excess) in excess.iter_mut().enumerate() {
                        let pair = |x: &[i8; PANEL], y: &[i8; PANEL]| i32::from(x[lane]) * i32::from(y[lane]);
                        *excess = excess.wrapping_add(pair(a, c)).wrapping_add(pair(b, d));
                    }
                }
            }
        }
    }

    /// To read.
    #[inline(always)]
    pub fn panels(&self) -> Panels<'_> {
        Panels { inputs: self.inputs, outputs: self.outputs, excess: self.excess, weights: self.weights }
    }
}

/// The weights of a group, as they are packed.
#[inline(always)]
fn flipped<L: Lanes, const G: usize>(mut group: [i8; G], step: usize) -> [i8; G] {
    // `map` and `from_fn` of arrays are functions of their own and would be compiled without the instructions.
    for (i, weight) in group.iter_mut().enumerate() {
        *weight ^= L::FLIP[(G * step + i) % 4];
    }
    group
}

/// What crosswise products count too much for a row of either factor.
fn crosswise(row: &[i8]) -> i32 {
    let at = |four: &[i8], i: usize| four.get(i).map_or(0, |&value| i32::from(value));
    row.chunks(4)
        .fold(0, |sum, four| sum.wrapping_add(at(four, 0) * at(four, 2)).wrapping_add(at(four, 1) * at(four, 3)))
}
