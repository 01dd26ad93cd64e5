//! What a picture costs on a chip, from shapes alone: bytes of the file, multiply-accumulates and bytes of workspace of every call.
//!
//! It takes the regions that [`Integer`](super::Integer) takes, in the same order, so its high-water mark is [`workspace_len`].

use super::pace::{LEAST_ROWS, Pieces, SLICE_WORK, SliceCount, work};
use super::workspace::{aligned, attend_scratch_len, map_rows, mlp_rows, padded_tokens, scratch_len, stream_len, workspace_len};
use crate::aligned::ALIGN;
use crate::config::ModelConfig;
use crate::network;
use crate::ops::{Branch, Ops};
use crate::params::{Layer, Side, Site};
use crate::pxg::layout::{Layout, padded};
use crate::workspace::{Region, Stack, WorkspaceError};

/// What one call costs in one step of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChipSiteCost {
    /// The call.
    pub site: Site,
    /// Bytes of the model file that only this call reads, for all classes and steps; padding included.
    pub flash: u64,
    /// Multiply-accumulates, with those between activations.
    pub macs: u64,
    /// Workspace in use at most during the call, bytes.
    pub workspace: usize,
}

/// The sum over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChipTotals {
    /// Bytes of the body of the model file, without self-test vectors.
    pub flash: u64,
    /// Multiply-accumulates of all steps.
    pub macs: u64,
    /// Workspace, bytes: [`workspace_len`].
    pub workspace: usize,
    /// Slices of a picture that [`Drawing`](super::Drawing) draws.
    pub slices: usize,
    /// Work of the longest slice: multiply-accumulates, or what takes as long.
    pub longest_slice: u64,
}

/// Counts a picture drawn in `steps` steps with a [valid](ModelConfig::validate) model, and passes every call of one step to `each`,
/// in order.
pub fn plan_sites(config: &ModelConfig, steps: usize, each: &mut dyn FnMut(&ChipSiteCost)) -> ChipTotals {
    let layout = Layout::new(config, steps);
    let mut macs = 0;
    let mut count = |cost: &ChipSiteCost| {
        macs += cost.macs;
        each(cost);
    };
    let stack = Stack::new(usize::MAX / 2);
    let mut plan = ChipPlan { config, steps, layout, stack, each: &mut count, slices: SliceCount::default() };
    // The stack is as good as endless, so the only error left is a network with too many live activations, which tests exclude.
    let _ = plan.run();
    let slices = plan.slices;
    ChipTotals {
        flash: layout.body_len(0),
        macs: macs * steps as u64,
        workspace: workspace_len(config, steps),
        slices: (slices.full + 1) * steps,
        longest_slice: slices.longest as u64,
    }
}

/// The interpreter behind [`plan_sites`].
struct ChipPlan<'a> {
    config: &'a ModelConfig,
    steps: usize,
    layout: Layout,
    stack: Stack,
    each: &'a mut dyn FnMut(&ChipSiteCost),
    slices: SliceCount,
}

/// A shape and the region it lies in.
struct ChipPlannedAct {
    region: Region,
    tokens: usize,
    width: usize,
}

type Planned<T = ChipPlannedAct> = Result<T, WorkspaceError>;

/// Bytes from the start of one part to the padded end of another.
const fn span(start: usize, end: usize) -> u64 {
    end.next_multiple_of(ALIGN) as u64 - start as u64
}

impl ChipPlan<'_> {
    fn run(&mut self) -> Planned<()> {
        if self.steps > 1 {
            self.stack.push_low(aligned(self.config.image_len()))?;
        }
        network::forward(self, self.config, &(), &())
    }

    /// Bytes of a site's parts in the file.
    fn flash(&self, site: Site) -> u64 {
        let linear = self.layout.linear(site, 0).map(|part| span(part.words.start, part.weights.end));
        let norm = self.layout.norm(site).map(|part| span(part.words.start, part.offset.end));
        let words = self.layout.words(site).map(|part| span(part.start, part.end));
        let other = match site.layer {
            Layer::Gelu => span(0, self.layout.table(site).len()),
            Layer::Position => span(0, self.layout.position().len()),
            Layer::PatchEmbed => self.steps as u64 * span(0, self.layout.step(0).len()),
            Layer::ClassToken => (self.steps + self.config.classes) as u64 * span(0, self.layout.class(0).len()),
            Layer::Modulation => {
                let part = self.layout.modulation(0, 0, 0, 0);
                2 * (self.steps * self.config.classes) as u64 * span(part.gain.start, part.gate.end)
            }
            _ => 0,
        };
        [linear, norm, words].into_iter().flatten().sum::<u64>() + other
    }

    fn count(&mut self, site: Site, macs: usize) {
        let cost = ChipSiteCost { site, flash: self.flash(site), macs: macs as u64, workspace: self.stack.in_use() };
        (self.each)(&cost);
    }

    /// Rows that the integer interpreter takes in pieces.
    fn rows(&mut self, least: usize, count: usize, work: usize) {
        self.slices.add(Pieces::within(SLICE_WORK, least, count, work));
    }

    /// Values that it takes at once.
    fn whole(&mut self, count: usize, work: usize) {
        self.slices.add(Pieces::of(count, count, work));
    }

    /// `size` bytes for each of `tokens * width` values.
    fn alloc(&mut self, size: usize, tokens: usize, width: usize) -> Planned {
        let region = self.stack.push(aligned(size * tokens * width))?;
        Ok(ChipPlannedAct { region, tokens, width })
    }

    /// Rows of a matrix product in pieces.
    fn product_rows(&mut self, site: Site, tokens: usize) {
        let work = self.layout.linear(site, 0).map_or(0, |part| part.inputs * part.outputs);
        self.rows(LEAST_ROWS, tokens, work);
    }

    /// The cost of a matrix product over `tokens` rows: returns the width of its result.
    fn count_product(&mut self, site: Site, tokens: usize) -> Planned<usize> {
        let (inputs, outputs) = self.layout.linear(site, 0).map_or((0, 0), |part| (part.inputs, part.outputs));
        let scratch = self.stack.push(scratch_len(inputs))?;
        self.count(site, tokens * inputs * outputs);
        self.stack.release(scratch);
        Ok(outputs)
    }

    fn product(&mut self, site: Site, tokens: usize) -> Planned<usize> {
        self.product_rows(site, tokens);
        self.count_product(site, tokens)
    }

    /// A norm into int8.
    fn norm(&mut self, site: Site, x: &ChipPlannedAct) -> Planned {
        let size = if site.layer == Layer::Norm2 { 2 } else { 1 };
        let y = self.alloc(size, x.tokens, x.width)?;
        self.rows(1, x.tokens, work::NORM * x.width);
        self.count(site, 0);
        Ok(y)
    }
}

impl Ops for ChipPlan<'_> {
    type Image = ();
    type Condition = ();
    type Output = ();
    type Act = ChipPlannedAct;
    type Skip = (usize, usize);
    type Error = WorkspaceError;

    fn tokens(&mut self, _: &(), _: &()) -> Planned {
        let (tokens, width) = (self.config.tokens(), self.config.encoder.width);
        let region = self.stack.push(stream_len(self.config))?;
        let patches = self.alloc(1, self.config.patches(), padded(self.config.patch_len()))?;
        self.rows(1, self.config.across(), work::NOISE * self.config.across() * self.config.patch_len());
        self.product(Site::new(Side::Encoder, 0, Layer::PatchEmbed), patches.tokens)?;
        self.release(patches);
        self.whole(4 * width, work::MOVE);
        self.count(Site::new(Side::Encoder, 0, Layer::ClassToken), 0);
        Ok(ChipPlannedAct { region, tokens, width })
    }

    fn add_position(&mut self, x: ChipPlannedAct) -> Planned {
        self.whole(x.tokens * x.width, work::MOVE);
        self.count(Site::new(Side::Encoder, 0, Layer::Position), 0);
        Ok(x)
    }

    fn layer_norm(&mut self, site: Site, x: &ChipPlannedAct) -> Planned {
        self.norm(site, x)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: ChipPlannedAct) -> Planned {
        if site.layer == Layer::FinalNorm && (site.side == Side::Decoder || self.config.has_bridge()) {
            return self.norm(site, &x);
        }
        self.rows(1, x.tokens, work::NORM * x.width);
        self.count(site, 0);
        Ok(x)
    }

    fn linear(&mut self, site: Site, x: &ChipPlannedAct) -> Planned {
        let width = self.layout.linear(site, 0).map_or(0, |part| part.outputs);
        let size = if site.layer == Layer::Proj { 2 } else { 1 };
        let y = self.alloc(size, x.tokens, width)?;
        self.product(site, x.tokens)?;
        Ok(y)
    }

    fn linear_into(&mut self, site: Site, x: &ChipPlannedAct, out: ChipPlannedAct) -> Planned {
        let width = self.product(site, x.tokens)?;
        Ok(ChipPlannedAct { tokens: x.tokens, width, ..out })
    }

    fn bridge(&mut self, x: ChipPlannedAct) -> Planned {
        let width = self.product(Site::new(Side::Decoder, 0, Layer::Bridge), x.tokens)?;
        let stream = ChipPlannedAct { region: self.stack.bottom(stream_len(self.config)), width, ..x };
        self.release(x);
        Ok(stream)
    }

    fn attend(&mut self, site: Site, _: &ChipPlannedAct, out: ChipPlannedAct) -> Planned {
        let tower = match site.side {
            Side::Encoder => self.config.encoder,
            Side::Decoder => self.config.decoder,
        };
        let padded = padded_tokens(self.config);
        let values = self.alloc(1, tower.head_width(), padded)?;
        let scores = self.alloc(4, map_rows(out.tokens), out.tokens)?;
        let weights = self.alloc(1, map_rows(out.tokens), padded)?;
        let scratch = self.stack.push(attend_scratch_len(tower.head_width(), padded))?;
        for _ in 0..tower.heads {
            let work = out.tokens * (2 * tower.head_width() + work::SCORE);
            self.slices.add(Pieces::of(map_rows(out.tokens), out.tokens, work));
        }
        self.count(site, 2 * out.tokens * out.tokens * out.width);
        self.stack.release(scratch);
        for region in [weights, scores, values] {
            self.release(region);
        }
        Ok(out)
    }

    fn gelu(&mut self, _: Site, x: ChipPlannedAct) -> Planned {
        Ok(x)
    }

    fn add(&mut self, site: Site, x: ChipPlannedAct, y: ChipPlannedAct) -> Planned {
        self.whole(x.tokens * x.width, work::MOVE);
        self.count(site, 0);
        self.release(y);
        Ok(x)
    }

    fn keep(&mut self, site: Site, x: &ChipPlannedAct) -> Planned<(usize, usize)> {
        let offset = self.stack.push_low(aligned(x.tokens * x.width))?;
        self.whole(x.tokens * x.width, work::MOVE);
        self.count(site, 0);
        Ok((offset, x.width))
    }

    /// Counted with the linear layer that follows, which has the same site.
    fn concat(&mut self, _: Site, x: &ChipPlannedAct, (offset, width): (usize, usize)) -> Planned {
        let both = self.alloc(1, x.tokens, x.width + width)?;
        self.whole(both.tokens * both.width, work::MOVE);
        self.stack.pop_low(offset);
        Ok(both)
    }

    fn condition(&mut self, _: &()) -> Planned {
        self.alloc(0, 0, 0)
    }

    fn modulation(&mut self, site: Site, _: &ChipPlannedAct) -> Planned {
        self.count(site, 0);
        self.alloc(0, 0, 0)
    }

    fn modulated_norm(&mut self, site: Site, x: &ChipPlannedAct, _: &ChipPlannedAct, _: Branch) -> Planned {
        self.norm(site, x)
    }

    fn gated_add(&mut self, site: Site, x: ChipPlannedAct, y: ChipPlannedAct, _: &ChipPlannedAct, _: Branch) -> Planned {
        self.add(site, x, y)
    }

    fn class_token(&mut self, x: ChipPlannedAct) -> Planned {
        Ok(ChipPlannedAct { tokens: 1, ..x })
    }

    fn patch_tokens(&mut self, x: ChipPlannedAct) -> Planned {
        Ok(ChipPlannedAct { tokens: self.config.patches(), ..x })
    }

    fn unpatchify(&mut self, _: Site, patches: ChipPlannedAct) -> Planned<()> {
        self.release(patches);
        Ok(())
    }

    fn release(&mut self, x: ChipPlannedAct) {
        self.stack.release(x.region);
    }

    fn mlp(&mut self, side: Side, block: usize, x: ChipPlannedAct) -> Planned {
        let [fc1, gelu, fc2] = [Layer::Fc1, Layer::Gelu, Layer::Fc2].map(|layer| Site::new(side, block, layer));
        let width = self.layout.linear(fc1, 0).map_or(0, |part| part.outputs);
        let most = mlp_rows(x.tokens);
        let hidden = self.alloc(1, most, width)?;
        for start in (0..x.tokens).step_by(most.max(1)) {
            let rows = most.min(x.tokens - start);
            self.product_rows(fc1, rows);
            self.product_rows(fc2, rows);
        }
        self.count_product(fc1, x.tokens)?;
        self.count(gelu, 0);
        let width = self.count_product(fc2, x.tokens)?;
        self.release(hidden);
        Ok(ChipPlannedAct { width, ..x })
    }

    fn head(&mut self, site: Site, x: ChipPlannedAct) -> Planned<()> {
        let across = self.config.across();
        let patches = self.alloc(2, across, self.config.patch_len())?;
        let pixels = self.alloc(1, across, self.config.patch_len())?;
        for _ in 0..across {
            self.product_rows(site, across);
            self.whole(across * self.config.patch_len(), work::PIXEL);
        }
        self.count_product(site, x.tokens)?;
        for region in [pixels, patches, x] {
            self.release(region);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tower;
    use crate::presets::PRESETS;
    use crate::rng::{Draws, Rng};

    /// Sums of the sites: flash, workspace at most, multiply-accumulates.
    fn sums(config: &ModelConfig, steps: usize) -> (u64, usize, u64) {
        let (mut flash, mut workspace, mut macs) = (0, 0, 0);
        plan_sites(config, steps, &mut |cost| {
            flash += cost.flash;
            workspace = workspace.max(cost.workspace);
            macs += cost.macs;
        });
        (flash, workspace, macs)
    }

    #[test]
    fn sites_add_up_to_the_file_and_the_workspace() {
        let mut draws = Draws::new(Rng::new(2, 255), 0);
        let mut tower = |depth| {
            let heads = 1 + draws.below(3) as usize;
            Tower { depth, heads, width: heads * 4 * (1 + draws.below(20) as usize) }
        };
        let random = (0..300).map(|i| ModelConfig {
            size: 4 * (1 + i % 9),
            channels: [1, 3][i % 2],
            patch: [1, 2, 4][i % 3],
            classes: 1 + i % 11,
            encoder: tower(1 + i % 5),
            decoder: tower(1 + i % 5),
        });
        let random: std::vec::Vec<_> = random.collect();
        for config in PRESETS.iter().map(|preset| preset.model).chain(random) {
            assert_eq!(config.validate(), Ok(()));
            for steps in 1..=2 {
                let (flash, workspace, macs) = sums(&config, steps);
                assert_eq!(flash, Layout::new(&config, steps).body_len(0), "{config:?}, {steps} steps");
                assert_eq!(workspace, workspace_len(&config, steps), "{config:?}, {steps} steps");
                assert_eq!(plan_sites(&config, steps, &mut |_| ()).macs, macs * steps as u64);
            }
        }
    }

    /// The network's own count, less the modulation, which the file holds as tables; one preset has no padding in its patches.
    #[test]
    fn multiply_accumulates_are_those_of_the_network() {
        let config = PRESETS[4].model;
        let mut expected = 0;
        crate::plan::plan_sites(&config, &mut |cost| {
            if cost.site.layer != Layer::Modulation {
                expected += (cost.macs + cost.attention_macs) as u64;
            }
        });
        assert_eq!(sums(&config, 1).2, expected);
    }
}
