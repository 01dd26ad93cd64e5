//! What a forward pass costs, from shapes alone: parameters, multiply-accumulates, activations and workspace, site by site.

use crate::config::{MLP_RATIO, ModelConfig};
use crate::network;
use crate::ops::{Branch, Ops};
use crate::params::{Layer, Side, Site};
use crate::workspace::{Region, Stack, WorkspaceError};
use serde::Serialize;

/// What one call costs, for one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteCost {
    /// The call.
    pub site: Site,
    /// Weights that it reads.
    pub parameters: usize,
    /// Multiply-accumulates with weights.
    pub macs: usize,
    /// Multiply-accumulates between activations: QK^T and PV.
    pub attention_macs: usize,
    /// Values that it writes.
    pub activations: usize,
    /// Workspace in use during the call, values.
    pub workspace: usize,
}

/// The sum over a forward pass of one picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ForwardTotals {
    /// Trained values.
    pub parameters: usize,
    /// Multiply-accumulates without the attention products: what the literature calls GFLOPs.
    pub macs: usize,
    /// Multiply-accumulates of QK^T and PV.
    pub attention_macs: usize,
    /// Values written by all calls: what backpropagation keeps, less what an interpreter fuses away.
    pub activations: usize,
    /// High-water mark of the workspace, values.
    pub workspace: usize,
}

/// Counts a forward pass.
pub fn plan(config: &ModelConfig) -> ForwardTotals {
    plan_sites(config, &mut |_| ())
}

/// Counts a forward pass and passes every call to `each`, in order.
pub fn plan_sites(config: &ModelConfig, each: &mut dyn FnMut(&SiteCost)) -> ForwardTotals {
    let mut plan = ForwardPlan { config: *config, stack: Stack::new(usize::MAX / 2), totals: ForwardTotals::default(), each };
    // The stack is as good as endless, so the only error left is a network with too many live activations, which tests exclude.
    let _ = network::forward(&mut plan, config, &(), &());
    ForwardTotals { parameters: config.parameter_count(), workspace: plan.stack.mark(), ..plan.totals }
}

/// The interpreter behind [`plan`].
struct ForwardPlan<'f> {
    config: ModelConfig,
    stack: Stack,
    totals: ForwardTotals,
    each: &'f mut dyn FnMut(&SiteCost),
}

/// A shape and the region it lies in.
struct PlannedAct {
    region: Region,
    tokens: usize,
    width: usize,
}

impl PlannedAct {
    const fn len(&self) -> usize {
        self.tokens * self.width
    }
}

type Planned<T = PlannedAct> = Result<T, WorkspaceError>;

impl ForwardPlan<'_> {
    fn width(&self, side: Side) -> usize {
        match side {
            Side::Encoder => self.config.encoder.width,
            Side::Decoder => self.config.decoder.width,
        }
    }

    /// Output width of a linear site.
    fn out_width(&self, site: Site) -> usize {
        let d = self.width(site.side);
        match site.layer {
            Layer::Qkv => 3 * d,
            Layer::Fc1 => MLP_RATIO * d,
            Layer::Modulation => 6 * d,
            Layer::Head => self.config.patch_len(),
            _ => d,
        }
    }

    fn alloc(&mut self, tokens: usize, width: usize) -> Planned {
        Ok(PlannedAct { region: self.stack.push(tokens * width)?, tokens, width })
    }

    fn count(&mut self, site: Site, macs: usize, attention_macs: usize, activations: usize) {
        let parameters = self.config.params().filter(|p| p.site == site).map(|p| p.len()).sum();
        self.totals.macs += macs;
        self.totals.attention_macs += attention_macs;
        self.totals.activations += activations;
        let workspace = self.stack.in_use();
        (self.each)(&SiteCost { site, parameters, macs, attention_macs, activations, workspace });
    }
}

impl Ops for ForwardPlan<'_> {
    type Image = ();
    type Condition = ();
    type Output = ();
    type Act = PlannedAct;
    type Skip = (usize, usize);
    type Error = WorkspaceError;

    fn tokens(&mut self, _: &(), _: &()) -> Planned {
        let (tokens, width) = (self.config.tokens(), self.config.encoder.width);
        let region = self.stack.push(self.config.stream_len())?;
        let x = PlannedAct { region, tokens, width };
        let macs = self.config.patches() * self.config.patch_len() * width;
        self.count(Site::new(Side::Encoder, 0, Layer::PatchEmbed), macs, 0, x.len());
        Ok(x)
    }

    fn add_position(&mut self, x: PlannedAct) -> Planned {
        self.count(Site::new(Side::Encoder, 0, Layer::Position), 0, 0, x.len());
        Ok(x)
    }

    fn layer_norm(&mut self, site: Site, x: &PlannedAct) -> Planned {
        let y = self.alloc(x.tokens, x.width)?;
        self.count(site, 0, 0, y.len());
        Ok(y)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: PlannedAct) -> Planned {
        self.count(site, 0, 0, x.len());
        Ok(x)
    }

    fn linear(&mut self, site: Site, x: &PlannedAct) -> Planned {
        let y = self.alloc(x.tokens, self.out_width(site))?;
        self.count(site, x.len() * y.width, 0, y.len());
        Ok(y)
    }

    fn linear_into(&mut self, site: Site, x: &PlannedAct, out: PlannedAct) -> Planned {
        let out = PlannedAct { tokens: x.tokens, width: self.out_width(site), ..out };
        self.count(site, x.len() * out.width, 0, out.len());
        Ok(out)
    }

    fn bridge(&mut self, x: PlannedAct) -> Planned {
        let y = self.alloc(x.tokens, self.config.decoder.width)?;
        self.count(Site::new(Side::Decoder, 0, Layer::Bridge), x.len() * y.width, 0, y.len());
        self.stack.release(y.region);
        Ok(PlannedAct { region: x.region, ..y })
    }

    fn attend(&mut self, site: Site, _: &PlannedAct, out: PlannedAct) -> Planned {
        let scores = self.stack.push(out.tokens)?;
        self.count(site, 0, 2 * out.tokens * out.len(), out.len());
        self.stack.release(scores);
        Ok(out)
    }

    fn gelu(&mut self, site: Site, x: PlannedAct) -> Planned {
        self.count(site, 0, 0, x.len());
        Ok(x)
    }

    fn add(&mut self, site: Site, x: PlannedAct, y: PlannedAct) -> Planned {
        self.count(site, 0, 0, x.len());
        self.release(y);
        Ok(x)
    }

    fn keep(&mut self, _: Site, x: &PlannedAct) -> Planned<(usize, usize)> {
        Ok((self.stack.push_low(x.len())?, x.width))
    }

    fn concat(&mut self, _: Site, x: &PlannedAct, (offset, width): (usize, usize)) -> Planned {
        let both = self.alloc(x.tokens, x.width + width)?;
        self.stack.pop_low(offset);
        Ok(both)
    }

    fn condition(&mut self, _: &()) -> Planned {
        let c = self.alloc(1, self.config.encoder.width)?;
        self.count(Site::new(Side::Encoder, 0, Layer::ClassEmbed), 0, 0, c.len());
        Ok(c)
    }

    fn modulation(&mut self, site: Site, condition: &PlannedAct) -> Planned {
        self.linear(site, condition)
    }

    fn modulated_norm(&mut self, site: Site, x: &PlannedAct, _: &PlannedAct, _: Branch) -> Planned {
        self.layer_norm(site, x)
    }

    fn gated_add(&mut self, site: Site, x: PlannedAct, y: PlannedAct, _: &PlannedAct, _: Branch) -> Planned {
        self.add(site, x, y)
    }

    fn class_token(&mut self, x: PlannedAct) -> Planned {
        Ok(PlannedAct { tokens: 1, ..x })
    }

    fn patch_tokens(&mut self, x: PlannedAct) -> Planned {
        Ok(PlannedAct { tokens: self.config.patches(), ..x })
    }

    fn unpatchify(&mut self, site: Site, patches: PlannedAct) -> Planned<()> {
        let rows = self.alloc(patches.tokens, patches.width)?;
        self.count(site, 0, 0, rows.len());
        self.release(patches);
        self.release(rows);
        Ok(())
    }

    fn release(&mut self, x: PlannedAct) {
        self.stack.release(x.region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tower;
    use crate::presets::{PRESETS, preset};
    use crate::rng::{Draws, Rng};

    /// GMACs without the attention products, in units of 0.1 G (docs/reference/method.md section 2.5), and the products' share.
    #[test]
    #[cfg_attr(not(target_pointer_width = "64"), ignore = "32 bits do not hold the counts of the paper's models")]
    fn paper_mac_counts() {
        for (name, want) in [
            ("EPG-S-16-256", 241),
            ("EPG-B-16-256", 478),
            ("EPG-L-16-256", 1130),
            ("EPG-XL-16-256", 1275),
            ("EPG-XXL-16-256", 1759),
            ("EPG-G-16-256", 3205),
        ] {
            let totals = plan(&preset(name).expect(name).model);
            assert_eq!((totals.macs + 50_000_000) / 100_000_000, want, "{name}: {}", totals.macs);
        }
        let large = plan(&preset("EPG-L-16-256").expect("preset").model);
        assert_eq!(large.attention_macs as u64, 2 * 258 * 258 * 1024 * 32);
    }

    #[test]
    fn closed_form_is_the_mark() {
        for preset in PRESETS {
            assert_eq!(preset.model.workspace_len(), plan(&preset.model).workspace, "{}", preset.name);
        }
        let mut draws = Draws::new(Rng::new(1, 255), 0);
        let mut tower = |depth| {
            let heads = 1 + draws.below(3) as usize;
            Tower { depth, heads, width: heads * 2 * (1 + draws.below(40) as usize) }
        };
        for i in 0..300 {
            let depth = 1 + i % 5;
            let config = ModelConfig {
                size: 4 * (1 + i % 6),
                channels: [1, 3][i % 2],
                patch: [1, 2, 4][i % 3],
                classes: 3,
                encoder: tower(depth),
                decoder: tower(depth),
            };
            assert_eq!(config.validate(), Ok(()));
            assert_eq!(config.workspace_len(), plan(&config).workspace, "{config:?}");
        }
    }

    #[test]
    fn every_weight_belongs_to_a_counted_call() {
        let model = PRESETS[1].model;
        let mut seen = 0;
        let totals = plan_sites(&model, &mut |cost| seen += cost.parameters);
        // The encoder's final norm and everything else is called once; the class token rides with the patch embedding.
        let class_token = model.encoder.width;
        assert_eq!(seen + class_token, totals.parameters);
    }
}
