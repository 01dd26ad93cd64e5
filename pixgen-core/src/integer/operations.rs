//! What each operation of the network does in the integer interpreter: book-keeping of the workspace always, work only where it belongs to
//! the slice at hand.

use super::activation::{ActKind, IntegerAct, IntegerSkip};
use super::attention;
use super::error::DrawError;
use super::input::{NoiseSeed, NoiseWalk};
use super::interpreter::{Integer, i16s, parts};
use super::pace::{Pieces, work};
use super::workspace::{aligned, attend_scratch_len, map_rows, mlp_rows, padded_tokens, stream_len};
use crate::config::PREFIX_TOKENS;
use crate::ops::{Branch, Ops};
use crate::params::{Layer, Side, Site};
use crate::pxg::layout::padded;

type DrawResult<T = IntegerAct> = Result<T, DrawError>;

impl Ops for Integer<'_, '_> {
    type Image = NoiseSeed;
    type Condition = ();
    type Output = ();
    type Act = IntegerAct;
    type Skip = IntegerSkip;
    type Error = DrawError;

    fn tokens(&mut self, image: &NoiseSeed, _: &()) -> DrawResult {
        let (model, config) = (self.model, *self.model.config());
        let site = Site::new(Side::Encoder, 0, Layer::PatchEmbed);
        self.input = NoiseWalk::new(*image, self.towards);
        let region = self.stack.push(stream_len(&config))?;
        let offset = self.stack.offset(region);
        let x = IntegerAct { region, offset, tokens: config.tokens(), width: config.encoder.width, kind: ActKind::I16 };
        let patches = self.alloc(ActKind::I8, config.patches(), padded(config.patch_len()))?;
        self.noisy_patches(site, &patches)?;
        let [first, prefix] = [x.rows(&(PREFIX_TOKENS..x.tokens)), x.rows(&(0..PREFIX_TOKENS))];
        self.product(site, config.patches(), patches.bytes(), first, ActKind::I16)?;
        self.release(patches);
        if self.pace.whole(prefix.len(), work::MOVE) {
            let tokens = [model.class_token(self.class), model.time_token(self.step)];
            for (value, &token) in i16s(self.memory, site, prefix)?.iter_mut().zip(tokens.into_iter().flatten()) {
                *value = token;
            }
        }
        Ok(x)
    }

    fn add_position(&mut self, x: IntegerAct) -> DrawResult {
        if self.pace.whole(x.len(), work::MOVE) {
            let table = self.model.position();
            let values = i16s(self.memory, Site::new(Side::Encoder, 0, Layer::Position), x.bytes())?;
            self.engine.add(values, table);
        }
        Ok(x)
    }

    fn layer_norm(&mut self, site: Site, x: &IntegerAct) -> DrawResult {
        self.norm_to_i8(site, x)
    }

    /// i16 in place; int8 in a new region where a linear layer follows.
    fn layer_norm_in_place(&mut self, site: Site, x: IntegerAct) -> DrawResult {
        let before_linear = site.layer == Layer::FinalNorm && (site.side == Side::Decoder || self.model.config().has_bridge());
        if before_linear {
            return self.norm_to_i8(site, &x);
        }
        let mut pieces = self.pace.rows(1, x.tokens, work::NORM * x.width);
        while let Some(rows) = self.pace.next(&mut pieces) {
            let norm = self.norm(site)?;
            for values in i16s(self.memory, site, x.rows(&rows))?.chunks_exact_mut(x.width.max(1)) {
                self.engine.norm_in_place(values, &norm);
            }
        }
        Ok(x)
    }

    fn linear(&mut self, site: Site, x: &IntegerAct) -> DrawResult {
        let (_, width) = self.model.linear_shape(site)?;
        // The head comes here only through an interpreter that takes its default body, to look at its levels.
        let kind = if matches!(site.layer, Layer::Proj | Layer::Head) {
            ActKind::I16
        } else {
            ActKind::I8
        };
        let y = self.alloc(kind, x.tokens, width)?;
        self.product(site, x.tokens, x.bytes(), y.bytes(), kind)?;
        Ok(y)
    }

    fn linear_into(&mut self, site: Site, x: &IntegerAct, out: IntegerAct) -> DrawResult {
        let (_, width) = self.model.linear_shape(site)?;
        let out = IntegerAct { offset: self.stack.offset(out.region), tokens: x.tokens, width, kind: ActKind::I16, ..out };
        self.product(site, x.tokens, x.bytes(), out.bytes(), ActKind::I16)?;
        Ok(out)
    }

    /// The stream's region lies under that of `x`.
    fn bridge(&mut self, x: IntegerAct) -> DrawResult {
        let config = self.model.config();
        let region = self.stack.bottom(stream_len(config));
        let stream = IntegerAct {
            region,
            offset: self.stack.offset(region),
            tokens: x.tokens,
            width: config.decoder.width,
            kind: ActKind::I16,
        };
        self.product(Site::new(Side::Decoder, 0, Layer::Bridge), x.tokens, x.bytes(), stream.bytes(), ActKind::I16)?;
        self.release(x);
        Ok(stream)
    }

    fn attend(&mut self, site: Site, qkv: &IntegerAct, out: IntegerAct) -> DrawResult {
        let config = self.model.config();
        let tower = if site.side == Side::Encoder {
            config.encoder
        } else {
            config.decoder
        };
        let (tokens, d, hd) = (out.tokens, out.width, tower.head_width());
        let strips = Pieces::of(self.engine.map_rows(tokens), tokens, tokens * (2 * hd + work::SCORE));
        if self.pace.passes(strips.len() * tower.heads) {
            return Ok(out);
        }
        let padded = padded_tokens(config);
        let [score, left, mean] = self.model.site_words(site)?;
        let scales = attention::AttentionScales { score, left: left as u32, mean: mean as u32 };
        let values = self.alloc(ActKind::I8, hd, padded)?;
        let scores = self.alloc(ActKind::I8, map_rows(tokens), 4 * tokens)?;
        let weights = self.alloc(ActKind::I8, map_rows(tokens), padded)?;
        let (scratch, scratch_bytes) = self.scratch(attend_scratch_len(hd, padded))?;
        let ranges = [
            qkv.bytes(),
            out.bytes(),
            values.bytes(),
            scores.bytes(),
            weights.bytes(),
            scratch_bytes,
        ];
        let parts = self.memory.get_disjoint_mut(ranges).map_err(|_| DrawError::Sequence(site))?;
        let [qkv_bytes, out_bytes, values_bytes, scores_bytes, weights_bytes, scratch_bytes] = parts;
        let mut buffers = attention::AttentionBuffers {
            qkv: bytemuck::cast_slice(qkv_bytes),
            out: bytemuck::cast_slice_mut(out_bytes),
            values: bytemuck::cast_slice_mut(values_bytes),
            scores: bytemuck::try_cast_slice_mut(scores_bytes).map_err(|_| DrawError::Sequence(site))?,
            weights: bytemuck::cast_slice_mut(weights_bytes),
            scratch: bytemuck::try_cast_slice_mut(scratch_bytes).map_err(|_| DrawError::Sequence(site))?,
        };
        for head in 0..tower.heads {
            let mut strips = strips.clone();
            while let Some(rows) = self.pace.next(&mut strips) {
                if head == 0 && rows.start == 0 {
                    buffers.weights.fill(0);
                }
                self.engine
                    .attend(&mut buffers, &attention::HeadShape { head, hd, tokens, d }, rows, scales);
            }
        }
        for region in [scratch, weights.region, scores.region, values.region] {
            self.stack.release(region);
        }
        Ok(out)
    }

    /// Part of the first linear layer's table.
    fn gelu(&mut self, _: Site, x: IntegerAct) -> DrawResult {
        Ok(x)
    }

    fn add(&mut self, site: Site, x: IntegerAct, y: IntegerAct) -> DrawResult {
        if self.pace.whole(x.len(), work::MOVE) {
            let [to, from] = parts(self.memory, site, [x.bytes(), y.bytes()])?;
            let from: &[i16] = bytemuck::try_cast_slice(from).map_err(|_| DrawError::Sequence(site))?;
            let to: &mut [i16] = bytemuck::try_cast_slice_mut(to).map_err(|_| DrawError::Sequence(site))?;
            self.engine.add(to, from);
        }
        self.release(y);
        Ok(x)
    }

    fn keep(&mut self, site: Site, x: &IntegerAct) -> DrawResult<IntegerSkip> {
        let offset = self.stack.push_low(aligned(x.len()))?;
        if self.pace.whole(x.len(), work::MOVE) {
            let words = self.model.site_words(site)?;
            let [to, from] = parts(self.memory, site, [offset..offset + x.len(), x.bytes()])?;
            let from: &[i16] = bytemuck::try_cast_slice(from).map_err(|_| DrawError::Sequence(site))?;
            let to: &mut [i8] = bytemuck::cast_slice_mut(to);
            self.engine.narrow(words, from, to);
        }
        Ok(IntegerSkip { offset, width: x.width })
    }

    fn concat(&mut self, site: Site, x: &IntegerAct, skip: IntegerSkip) -> DrawResult {
        let both = self.alloc(ActKind::I8, x.tokens, x.width + skip.width)?;
        if self.pace.whole(both.len(), work::MOVE) {
            let words = self.model.site_words(site)?;
            let kept = skip.offset..skip.offset + x.tokens * skip.width;
            let [to, from, kept] = parts(self.memory, site, [both.bytes(), x.bytes(), kept])?;
            let from: &[i16] = bytemuck::try_cast_slice(from).map_err(|_| DrawError::Sequence(site))?;
            let (to, kept): (&mut [i8], &[i8]) = (bytemuck::cast_slice_mut(to), bytemuck::cast_slice(kept));
            self.engine.concat(words, [x.width, skip.width], from, kept, to);
        }
        self.stack.pop_low(skip.offset);
        Ok(both)
    }

    fn condition(&mut self, _: &()) -> DrawResult {
        Ok(self.alloc(ActKind::Table, 0, 0)?)
    }

    fn modulation(&mut self, _: Site, _: &IntegerAct) -> DrawResult {
        Ok(self.alloc(ActKind::Table, 0, 0)?)
    }

    fn modulated_norm(&mut self, site: Site, x: &IntegerAct, _: &IntegerAct, _: Branch) -> DrawResult {
        self.norm_to_i8(site, x)
    }

    fn gated_add(&mut self, site: Site, x: IntegerAct, y: IntegerAct, _: &IntegerAct, branch: Branch) -> DrawResult {
        if self.pace.whole(x.len(), work::MOVE) {
            self.add_gated(site, &x, &y, branch)?;
        }
        self.release(y);
        Ok(x)
    }

    fn class_token(&mut self, x: IntegerAct) -> DrawResult {
        Ok(IntegerAct { tokens: 1, ..x })
    }

    fn patch_tokens(&mut self, x: IntegerAct) -> DrawResult {
        let tokens = PREFIX_TOKENS..x.tokens;
        Ok(IntegerAct { offset: x.rows(&tokens).start, tokens: tokens.len(), ..x })
    }

    /// Here the picture leaves the workspace: see [`head`](Ops::head).
    fn unpatchify(&mut self, _: Site, patches: IntegerAct) -> DrawResult<()> {
        self.release(patches);
        Ok(())
    }

    fn release(&mut self, x: IntegerAct) {
        self.stack.release(x.region);
    }

    /// In chunks of rows, each through both layers, so that the hidden layer is never whole in a model of many tokens.
    fn mlp(&mut self, side: Side, block: usize, x: IntegerAct) -> DrawResult {
        let [fc1, fc2] = [Layer::Fc1, Layer::Fc2].map(|layer| Site::new(side, block, layer));
        let ((_, width), (_, out_width)) = (self.model.linear_shape(fc1)?, self.model.linear_shape(fc2)?);
        let out = IntegerAct { offset: self.stack.offset(x.region), width: out_width, kind: ActKind::I16, ..x };
        let most = mlp_rows(x.tokens);
        let hidden = self.alloc(ActKind::I8, most, width)?;
        for start in (0..x.tokens).step_by(most.max(1)) {
            let rows = start..x.tokens.min(start + most);
            let middle = hidden.rows(&(0..rows.len()));
            self.product(fc1, rows.len(), x.rows(&rows), middle.clone(), ActKind::I8)?;
            self.product(fc2, rows.len(), middle, out.rows(&rows), ActKind::I16)?;
        }
        self.release(hidden);
        Ok(out)
    }

    fn head(&mut self, site: Site, x: IntegerAct) -> DrawResult<()> {
        self.bands(site, &x)?;
        self.release(x);
        Ok(())
    }
}
