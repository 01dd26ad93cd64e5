//! The interpreter: one step of one picture in a workspace of bytes.

use super::activation::{ActKind, ActValues, IntegerAct};
use super::engine::Engine;
use super::error::DrawError;
use super::input::{NoiseSeed, NoiseWalk};
use super::pace::{LEAST_ROWS, Pace, work};
use super::workspace::{aligned, scratch_len};
use crate::aligned::ALIGN;
use crate::kernels::{Lookup, Rows, Scaled};
use crate::ops::Branch;
use crate::params::{Layer, Side, Site};
use crate::pixels::Band;
use crate::pxg::{Model, Norm, StepRecord};
use crate::rng::Blend;
use crate::workspace::{Region, Stack, WorkspaceError};
use core::ops::Range;

/// Receives the bands of a picture.
pub type BandOutput<'o> = &'o mut dyn FnMut(&Band<'_>);

/// Draws one step of one picture in a workspace of [`workspace_len`](super::workspace_len) bytes.
pub struct Integer<'m, 'o> {
    pub(super) engine: Engine<'m>,
    pub(super) model: &'m Model<'m>,
    pub(super) memory: &'m mut [u8],
    pub(super) stack: Stack,
    /// Bytes at the low end that hold the picture between two steps.
    picture: usize,
    pub(super) step: usize,
    pub(super) class: usize,
    parameters: StepRecord,
    pub(super) input: NoiseWalk,
    pub(super) towards: Option<(NoiseSeed, Blend)>,
    output: Option<BandOutput<'o>>,
    pub(super) pace: Pace,
}

/// Parts of a workspace that do not overlap, as bytes.
pub(super) fn parts<const N: usize>(memory: &mut [u8], site: Site, ranges: [Range<usize>; N]) -> Result<[&mut [u8]; N], DrawError> {
    memory.get_disjoint_mut(ranges).map_err(|_| DrawError::Sequence(site))
}

/// i16 values of a workspace.
pub(super) fn i16s(memory: &mut [u8], site: Site, range: Range<usize>) -> Result<&mut [i16], DrawError> {
    let bytes = memory.get_mut(range).ok_or(DrawError::Sequence(site))?;
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| DrawError::Sequence(site))
}

impl<'m, 'o> Integer<'m, 'o> {
    /// Binds model and workspace for step `step` of a picture of class `class`. Without an `output` the picture stays in the workspace,
    /// for the next step.
    pub fn new(
        model: &'m Model<'m>,
        class: usize,
        step: usize,
        workspace: &'m mut [u8],
        output: Option<BandOutput<'o>>,
    ) -> Result<Self, DrawError> {
        model.check_request(class, workspace)?;
        let (config, have) = (model.config(), workspace.len());
        let embed = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        let parameters = model.step(step).ok_or(DrawError::Sequence(embed))?;
        let picture = if model.steps() > 1 { config.image_len() } else { 0 };
        let mut stack = Stack::new(have & !(ALIGN - 1));
        stack.push_low(aligned(picture))?;
        let (input, pace) = (NoiseWalk::new(NoiseSeed { seed: 0, number: 0 }, None), Pace::new(usize::MAX, 0));
        Ok(Self {
            engine: Engine::new(),
            model,
            memory: workspace,
            stack,
            picture,
            step,
            class,
            parameters,
            input,
            towards: None,
            output,
            pace,
        })
    }

    /// Only a slice of the step, with noise on the way `towards` that of another picture.
    pub(super) const fn slice(&mut self, pace: Pace, towards: Option<(NoiseSeed, Blend)>) {
        (self.pace, self.towards) = (pace, towards);
    }

    /// What the slices so far have left over: see [`Pace::rest`].
    pub(super) const fn rest(&self) -> Option<usize> {
        self.pace.rest()
    }

    /// The most bytes of workspace in use so far.
    pub fn high_water_mark(&self) -> usize {
        self.stack.mark()
    }

    /// The values of an activation; none of a table's.
    pub fn values(&self, x: &IntegerAct) -> ActValues<'_> {
        let bytes = self.memory.get(x.bytes()).unwrap_or_default();
        match x.kind {
            ActKind::I16 => ActValues::I16(bytemuck::try_cast_slice(bytes).unwrap_or_default()),
            ActKind::I8 | ActKind::Table => ActValues::I8(bytemuck::cast_slice(bytes)),
        }
    }

    pub(super) fn alloc(&mut self, kind: ActKind, tokens: usize, width: usize) -> Result<IntegerAct, WorkspaceError> {
        let size = if kind == ActKind::I16 { 2 } else { 1 };
        let region = self.stack.push(aligned(size * tokens * width))?;
        Ok(IntegerAct { region, offset: self.stack.offset(region), tokens, width, kind })
    }

    /// `len` bytes of scratch: region and bytes.
    pub(super) fn scratch(&mut self, len: usize) -> Result<(Region, Range<usize>), WorkspaceError> {
        let region = self.stack.push(len)?;
        let start = self.stack.offset(region);
        Ok((region, start..start + len))
    }

    /// The matrix product of a site, from the int8 rows at `from` to the i16 or, by way of a table where the site has one, int8 rows at
    /// `to`.
    pub(super) fn product(
        &mut self,
        site: Site,
        tokens: usize,
        from: Range<usize>,
        to: Range<usize>,
        kind: ActKind,
    ) -> Result<(), DrawError> {
        let (inputs, outputs) = self.model.linear_shape(site)?;
        let size = if kind == ActKind::I16 { 2 * outputs } else { outputs };
        let mut pieces = self.pace.rows(LEAST_ROWS, tokens, inputs * outputs);
        while let Some(rows) = self.pace.next(&mut pieces) {
            let from = from.start + rows.start * inputs..from.start + rows.end * inputs;
            let to = to.start + rows.start * size..to.start + rows.end * size;
            self.product_rows(site, rows.len(), from, to, kind)?;
        }
        self.leave(site)
    }

    /// Ends the walk through the network when the slice is full. The error is seen by [`Drawing`](super::Drawing) alone, which asks for
    /// the [`rest`](Self::rest) first.
    fn leave(&self, site: Site) -> Result<(), DrawError> {
        match self.pace.rest() {
            Some(_) => Err(DrawError::Sequence(site)),
            None => Ok(()),
        }
    }

    /// Some rows of a product.
    #[inline(never)]
    fn product_rows(&mut self, site: Site, tokens: usize, from: Range<usize>, to: Range<usize>, kind: ActKind) -> Result<(), DrawError> {
        let layer = self.model.linear(site, self.step)?;
        let table = if site.layer == Layer::Fc1 {
            Some(self.model.table(site)?)
        } else {
            None
        };
        let (inputs, stride) = (layer.weights.row_len(), layer.weights.count());
        let (region, scratch) = self.scratch(scratch_len(inputs))?;
        let [from, to, scratch] = parts(self.memory, site, [from, to, scratch])?;
        let sequence = DrawError::Sequence(site);
        let x = Rows::new(bytemuck::cast_slice(from), inputs, inputs, tokens).ok_or(sequence)?;
        let scratch = bytemuck::try_cast_slice_mut(scratch).map_err(|_| sequence)?;
        let (bias, multiplier, left) = (layer.bias, layer.multiplier, layer.left);
        match (kind, table) {
            (ActKind::I16, _) => {
                let out: &mut [i16] = bytemuck::try_cast_slice_mut(to).map_err(|_| sequence)?;
                self.engine
                    .product(site, x, layer.weights, scratch, &mut Scaled { bias, multiplier, left, out, stride });
            }
            (_, None) => {
                let out: &mut [i8] = bytemuck::cast_slice_mut(to);
                self.engine
                    .product(site, x, layer.weights, scratch, &mut Scaled { bias, multiplier, left, out, stride });
            }
            (_, Some(table)) => {
                let out = bytemuck::cast_slice_mut(to);
                self.engine
                    .product(site, x, layer.weights, scratch, &mut Lookup { bias, multiplier, left, table, out, stride });
            }
        }
        self.stack.release(region);
        Ok(())
    }

    /// A norm, with what class and step make of it.
    pub(super) fn norm(&self, site: Site) -> Result<Norm<'m>, DrawError> {
        let norm = self.model.norm(site)?;
        if site.side == Side::Encoder || !matches!(site.layer, Layer::Norm1 | Layer::Norm2) {
            return Ok(norm);
        }
        let modulation = self.model.modulation(self.step, self.class, site)?;
        Ok(Norm { gain: modulation.gain, offset: modulation.offset, ..norm })
    }

    /// A norm into int8, `[T, d]`. Before an MLP the result lies in the upper half of a region of `2 T d` bytes, so that the MLP's i16
    /// result can grow over it row by row.
    pub(super) fn norm_to_i8(&mut self, site: Site, x: &IntegerAct) -> Result<IntegerAct, DrawError> {
        let len = x.len();
        let above = if site.layer == Layer::Norm2 { len } else { 0 };
        let region = self.stack.push(aligned(len + above))?;
        let offset = self.stack.offset(region) + above;
        let y = IntegerAct { region, offset, kind: ActKind::I8, ..*x };
        let mut pieces = self.pace.rows(1, x.tokens, work::NORM * x.width);
        while let Some(rows) = self.pace.next(&mut pieces) {
            let norm = self.norm(site)?;
            let [from, to] = parts(self.memory, site, [x.rows(&rows), y.rows(&rows)])?;
            let from: &[i16] = bytemuck::try_cast_slice(from).map_err(|_| DrawError::Sequence(site))?;
            let to: &mut [i8] = bytemuck::cast_slice_mut(to);
            let width = x.width.max(1);
            for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
                self.engine.norm_to_i8(from, &norm, to);
            }
        }
        Ok(y)
    }

    /// x + gate y in place of x.
    pub(super) fn add_gated(&mut self, site: Site, x: &IntegerAct, y: &IntegerAct, branch: Branch) -> Result<(), DrawError> {
        let gates = self.model.modulation(self.step, self.class, site)?.gate;
        let norm = match branch {
            Branch::Attention => Layer::Norm1,
            Branch::Mlp => Layer::Norm2,
        };
        let shift = self.model.norm(Site { layer: norm, ..site })?.gate_shift;
        let [to, from] = parts(self.memory, site, [x.bytes(), y.bytes()])?;
        let from: &[i16] = bytemuck::try_cast_slice(from).map_err(|_| DrawError::Sequence(site))?;
        let to: &mut [i16] = bytemuck::try_cast_slice_mut(to).map_err(|_| DrawError::Sequence(site))?;
        self.engine.add_gated(x.width, to, from, gates, shift);
        Ok(())
    }

    /// The noisy picture as int8 `patches`.
    pub(super) fn noisy_patches(&mut self, site: Site, patches: &IntegerAct) -> Result<(), DrawError> {
        let (config, parameters) = (*self.model.config(), self.parameters);
        let (across, band_len) = (config.across(), config.across() * config.patch_len());
        let mut pieces = self.pace.rows(1, across, work::NOISE * band_len);
        while let Some(bands) = self.pace.next(&mut pieces) {
            let pixels = bands.start * band_len..bands.end * band_len;
            let noise = self.input.gaussians(self.step, pixels.start as u64);
            let before = if self.step == 0 || self.picture == 0 { 0..0 } else { pixels };
            let to = patches.rows(&(bands.start * across..bands.end * across));
            let [picture, to] = parts(self.memory, site, [before, to])?;
            self.engine
                .noisy_patches(&config, &parameters, noise, picture, bytemuck::cast_slice_mut(to));
        }
        Ok(())
    }

    /// Draws the bands from the normed patch tokens `x`.
    pub(super) fn bands(&mut self, site: Site, x: &IntegerAct) -> Result<(), DrawError> {
        let config = *self.model.config();
        let across = config.across();
        let (band_len, row_len) = (across * config.patch_len(), config.size * config.channels);
        let patches = self.alloc(ActKind::I16, across, config.patch_len())?;
        let pixels = self.alloc(ActKind::I8, config.patch, row_len)?;
        let skips = self.model.header().skips_input;
        for band in 0..across {
            self.product(site, across, x.rows(&(band * across..(band + 1) * across)), patches.bytes(), ActKind::I16)?;
            if !self.pace.whole(band_len, work::PIXEL) {
                continue;
            }
            let place = band * band_len..(band + 1) * band_len;
            let mut noise = self.input.gaussians(self.step, place.start as u64);
            let kept = if self.picture == 0 { 0..0 } else { place };
            let (first_step, parameters) = (self.step == 0, self.parameters);
            let ranges = [kept, patches.bytes(), pixels.bytes()];
            let parts = self.memory.get_disjoint_mut(ranges);
            let [picture, levels, out] = parts.map_err(|_| DrawError::Sequence(site))?;
            let levels: &[i16] = bytemuck::try_cast_slice(levels).map_err(|_| DrawError::Sequence(site))?;
            let before = if first_step { &[][..] } else { &*picture };
            let skip = if skips { Some((&mut noise, &parameters, before)) } else { None };
            self.engine.to_bytes(&config, levels, skip, out);
            match self.output.as_mut() {
                Some(output) => output(&Band::new(band * config.patch, config.size, config.channels, out)),
                None => picture.iter_mut().zip(out).for_each(|(kept, &mut byte)| *kept = byte),
            }
        }
        self.stack.release(pixels.region);
        self.stack.release(patches.region);
        Ok(())
    }
}
