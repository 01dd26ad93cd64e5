//! The engine of a host: weights packed for a kernel that its CPU has, and the scratch of a thread.

use super::attention::{self, AttentionBuffers, AttentionScales, HeadShape};
use super::error::DrawError;
use super::exp_table::EXP;
use super::norm::row_scale_inline;
use super::workspace::map_rows;
use crate::config::{MLP_RATIO, ModelConfig};
use crate::kernels::host::HostKernel;
use crate::kernels::host::attention::{Head, HeadScratch, map_stride, strip_rows};
use crate::kernels::host::lanes::{PANEL, Work};
use crate::kernels::host::panels::{Panels, PanelsMut, padded, panels_len};
use crate::kernels::host::product::ProductScratch;
use crate::kernels::{Exponentials, Kernel, Native, Rows, Sink};
use crate::params::{Layer, Side, Site};
use crate::pxg::{Model, Norm};
use bytemuck::Pod;

/// Vectors and lines of the cache begin at multiples of this.
const LINE: usize = 64;
/// Layers that are not in a block.
const WHOLE: [(Side, Layer); 3] = [
    (Side::Encoder, Layer::PatchEmbed),
    (Side::Decoder, Layer::Bridge),
    (Side::Decoder, Layer::Head),
];
/// Layers of a block.
const IN_BLOCK: [Layer; 5] = [Layer::Skip, Layer::Qkv, Layer::Proj, Layer::Fc1, Layer::Fc2];

/// The weights of a model, packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a> {
    kernel: HostKernel,
    places: Places,
    panels: &'a [u8],
}

/// Where the panels of each layer begin.
#[derive(Clone, Copy, Debug)]
struct Places {
    whole: [usize; WHOLE.len()],
    encoder: BlockPlaces,
    decoder: BlockPlaces,
    len: usize,
}

/// Those of the blocks of a tower.
#[derive(Clone, Copy, Debug, Default)]
struct BlockPlaces {
    start: usize,
    len: usize,
    layers: [usize; IN_BLOCK.len()],
}

impl Places {
    fn new(model: &Model<'_>) -> Self {
        let config = model.config();
        let mut len = 0;
        let mut take = |site: Site| {
            let start = len;
            len += model.linear_shape(site).map_or(0, |(inputs, outputs)| panels_len(inputs, outputs));
            start
        };
        let whole = WHOLE.map(|(side, layer)| take(Site::new(side, 0, layer)));
        let mut tower = |side: Side, depth: usize| {
            let layers = IN_BLOCK.map(|layer| take(Site::new(side, 0, layer)));
            let end = take(Site::new(side, 0, Layer::Attend));
            let start = layers[0];
            // All blocks of a tower are alike.
            (BlockPlaces { start, len: end - start, layers: layers.map(|place| place - start) }, depth.saturating_sub(1))
        };
        let (encoder, more) = tower(Side::Encoder, config.encoder.depth);
        let (mut decoder, more_decoder) = tower(Side::Decoder, config.decoder.depth);
        decoder.start += more * encoder.len;
        let len = len + more * encoder.len + more_decoder * decoder.len;
        Self { whole, encoder, decoder, len }
    }

    fn start(&self, site: Site) -> Option<usize> {
        if let Some(number) = WHOLE.iter().position(|&(_, layer)| layer == site.layer) {
            return self.whole.get(number).copied();
        }
        let number = IN_BLOCK.iter().position(|&layer| layer == site.layer)?;
        let blocks = match site.side {
            Side::Encoder => &self.encoder,
            Side::Decoder => &self.decoder,
        };
        Some(blocks.start + site.block * blocks.len + blocks.layers.get(number)?)
    }
}

/// Memory from the first line of the cache on.
fn lines(memory: &mut [u8]) -> &mut [u8] {
    let skipped = memory.as_ptr().align_offset(LINE);
    memory.get_mut(skipped..).unwrap_or_default()
}

/// The same, to read.
fn lines_of(memory: &[u8]) -> &[u8] {
    memory.get(memory.as_ptr().align_offset(LINE)..).unwrap_or_default()
}

impl<'a> Packed<'a> {
    /// Bytes of memory for [`new`](Self::new).
    pub(super) fn len(model: &Model<'_>) -> usize {
        Places::new(model).len + LINE
    }

    /// Packs the weights of a model into `memory`.
    pub(super) fn new(kernel: HostKernel, model: &Model<'_>, memory: &'a mut [u8]) -> Result<Self, DrawError> {
        let places = Places::new(model);
        let error = DrawError::Panels { need: places.len + LINE, have: memory.len() };
        let memory = lines(memory).get_mut(..places.len).ok_or(error)?;
        let config = model.config();
        let blocks = |side: Side, depth: usize| (0..depth).flat_map(move |block| IN_BLOCK.map(|layer| Site::new(side, block, layer)));
        let whole = WHOLE.map(|(side, layer)| Site::new(side, 0, layer)).into_iter();
        let sites = whole.chain(blocks(Side::Encoder, config.encoder.depth));
        for site in sites.chain(blocks(Side::Decoder, config.decoder.depth)) {
            let Ok(weights) = model.linear(site, 0).map(|linear| linear.weights) else {
                continue;
            };
            let panels = places.start(site).and_then(|start| memory.get_mut(start..)).unwrap_or_default();
            let panels = PanelsMut::new(panels, weights.row_len(), weights.count());
            kernel.pack(&mut panels.ok_or(DrawError::Sequence(site))?, weights);
        }
        Ok(Self { kernel, places, panels: memory })
    }

    /// What [`new`](Self::new) has packed into `memory`.
    pub(super) fn at(kernel: HostKernel, model: &Model<'_>, memory: &'a [u8]) -> Result<Self, DrawError> {
        let places = Places::new(model);
        let error = DrawError::Panels { need: places.len + LINE, have: memory.len() };
        let panels = lines_of(memory).get(..places.len).ok_or(error)?;
        Ok(Self { kernel, places, panels })
    }
}

/// Sizes of the scratch, in values. Each grows with the tokens, none with their square, and their sum fits 32 bits for every model that can
/// be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScratchLen {
    tokens: usize,
    /// Widened rows.
    wide: usize,
    /// The longest row of a product.
    inputs: usize,
    keys: usize,
    values: usize,
    /// Rows of a strip of the map.
    strip: usize,
}

impl ScratchLen {
    /// For a picture of a model.
    pub(super) fn new(config: &ModelConfig) -> Self {
        let (tokens, encoder, decoder) = (config.tokens(), &config.encoder, &config.decoder);
        let hidden = MLP_RATIO * encoder.width.max(decoder.width);
        let layers = hidden.max(padded(config.patch_len())).max(encoder.width + decoder.width);
        let head = encoder.head_width().max(decoder.head_width());
        let (map, strip) = (padded(tokens), strip_rows(tokens));
        Self {
            tokens,
            wide: (tokens * layers).max(strip * map),
            inputs: layers.max(map),
            keys: panels_len(head, tokens),
            values: panels_len(tokens, head),
            strip,
        }
    }

    /// In bytes, wherever they begin.
    pub(super) fn bytes(&self) -> usize {
        let products = [2 * self.wide, 4 * self.tokens, 2 * PANEL * self.inputs];
        let attention = [
            self.keys,
            self.values,
            4 * self.strip * map_stride(self.tokens),
            self.tokens,
            4 * self.strip,
        ];
        products.into_iter().chain(attention).map(|len| len.next_multiple_of(LINE)).sum::<usize>() + LINE
    }

    fn carve<'m>(&self, memory: &'m mut [u8]) -> Option<HeadScratch<'m>> {
        let mut rest = memory;
        let product = ProductScratch {
            wide: take(&mut rest, self.wide)?,
            excess: take(&mut rest, self.tokens)?,
            panel: take(&mut rest, PANEL * self.inputs)?,
        };
        Some(HeadScratch {
            product,
            keys: take(&mut rest, self.keys)?,
            values: take(&mut rest, self.values)?,
            scores: take(&mut rest, self.strip * map_stride(self.tokens))?,
            row: take(&mut rest, self.tokens)?,
            multiplier: take(&mut rest, self.strip)?,
        })
    }
}

/// The next `count` values of memory, in whole lines.
fn take<'m, T: Pod>(rest: &mut &'m mut [u8], count: usize) -> Option<&'m mut [T]> {
    let len = (size_of::<T>() * count).next_multiple_of(LINE);
    let (values, behind) = core::mem::take(rest).split_at_mut_checked(len)?;
    *rest = behind;
    bytemuck::try_cast_slice_mut::<u8, T>(values).ok()?.get_mut(..count)
}

/// What the interpreter computes with.
#[derive(Debug)]
pub(super) struct HostEngine<'m> {
    packed: &'m Packed<'m>,
    scratch: HeadScratch<'m>,
}

impl<'m> HostEngine<'m> {
    /// An engine for a picture of the model whose weights `packed` are.
    pub(super) fn new(packed: &'m Packed<'m>, config: &ModelConfig, scratch: &'m mut [u8]) -> Result<Self, DrawError> {
        let lens = ScratchLen::new(config);
        let error = DrawError::Scratch { need: lens.bytes(), have: scratch.len() };
        let scratch = lens.carve(lines(scratch)).ok_or(error)?;
        Ok(Self { packed, scratch })
    }

    /// Runs a loop with the instructions of the kernel.
    #[inline(always)]
    pub(super) fn run<W: Work>(&self, work: W) -> W::Output {
        self.packed.kernel.run(work)
    }

    /// The panels of a layer, or the weights of the file where there are none.
    pub(super) fn product<S: Sink>(&mut self, site: Site, x: Rows<'_>, weights: Rows<'_>, sink: &mut S) {
        let Self { packed, scratch } = self;
        let panels = packed.places.start(site).and_then(|start| packed.panels.get(start..));
        let panels = panels.and_then(|panels| Panels::new(panels, weights.row_len(), weights.count()));
        let done = panels.is_some_and(|panels| packed.kernel.matmul(x, panels, &mut scratch.product, sink));
        if !done {
            Native::matmul(x, weights, &mut [], sink);
        }
    }

    /// All of a head.
    pub(super) fn attend(&mut self, buffers: &mut AttentionBuffers<'_>, shape: &HeadShape, scales: AttentionScales) {
        let &HeadShape { head, hd, tokens, d } = shape;
        let qkv = buffers.qkv;
        let part = |part: usize| Rows::new(qkv.get(part * d + head * hd..)?, 3 * d, hd, tokens);
        let exponentials = Exponentials { table: &EXP, multiplier: scales.score, left: scales.left };
        let done = part(0).zip(part(1)).zip(part(2)).is_some_and(|((queries, keys), values)| {
            let head_of = Head { queries, keys, values, exponentials, mean: scales.mean };
            let out = buffers.out.get_mut(head * hd..).unwrap_or_default();
            self.packed.kernel.attend(&head_of, &mut self.scratch, out, d)
        });
        if !done {
            let rows = map_rows(tokens).max(1);
            for first in (0..tokens).step_by(rows) {
                attention::strip(buffers, shape, first..tokens.min(first + rows), scales);
            }
        }
    }

    /// Layer norm of a row into int8.
    #[inline(always)]
    pub(super) fn norm_to_i8(&self, row: &[i16], norm: &Norm<'_>, out: &mut [i8]) {
        self.run(NormToI8(row, norm, out));
    }

    /// Layer norm of a row in place.
    #[inline(always)]
    pub(super) fn norm_in_place(&self, row: &mut [i16], norm: &Norm<'_>) {
        self.run(NormInPlace(row, norm));
    }
}

struct NormToI8<'a>(&'a [i16], &'a Norm<'a>, &'a mut [i8]);

impl Work for NormToI8<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(row, norm, out) = self;
        row_scale_inline(row, norm.epsilon).write_i8_inline(row, &norm.affine(), out);
    }
}

struct NormInPlace<'a>(&'a mut [i16], &'a Norm<'a>);

impl Work for NormInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(row, norm) = self;
        row_scale_inline(row, norm.epsilon).in_place_inline(row, &norm.affine());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tower;
    use crate::presets::PRESETS;
    use crate::pxg::check_size;

    /// Four times the patches take about four times the scratch, and a map that fits the cache is there at once.
    #[test]
    fn scratch_grows_with_the_tokens() {
        let bytes = |size: usize| ScratchLen::new(&ModelConfig { size, patch: 1, ..PRESETS[0].model }).bytes();
        for size in [32, 64, 256, 1024] {
            assert!(bytes(2 * size) < 5 * bytes(size), "{size}: {} and {} bytes", bytes(size), bytes(2 * size));
        }
        assert_eq!([1, 66, 181].map(strip_rows), [1, 66, 180]);
    }

    /// The largest of each shape that a file may have, for engines of 32 bits.
    #[test]
    fn scratch_fits_32_bits() {
        let model = PRESETS[0].model;
        for size in [1, 8, 64, 256, 1024, 4096] {
            for width in (4..=16_384).step_by(4) {
                for heads in [1, width] {
                    let tower = Tower { depth: 1, width, heads };
                    let config = ModelConfig { size, patch: 1, encoder: tower, decoder: tower, ..model };
                    if check_size(&config).is_ok() {
                        let bytes = ScratchLen::new(&config).bytes();
                        assert!(u32::try_from(bytes).is_ok(), "{size}, width {width}, {heads} heads: {bytes} bytes");
                    }
                }
            }
        }
    }
}
