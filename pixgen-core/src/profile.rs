//! Time or instructions of every operation of another interpreter, by a clock of the caller's.

use crate::ops::{Branch, OpResult, Ops};
use crate::params::{Layer, Side, Site};

/// Something that counts up: cycles, instructions, microseconds.
pub trait Clock {
    /// The current count, which does not wrap before 2^64.
    fn now(&mut self) -> u64;
}

/// Runs `inner` and reports the site and the ticks of every operation that does work to `each`.
///
/// An MLP is reported as a whole under `Fc1`, and the head under `Head`, because interpreters run them in pieces; attention and skip are
/// reported operation by operation. An operation that runs once a step is reported once a step.
pub struct Profile<'a, O, C> {
    inner: O,
    clock: &'a mut C,
    each: &'a mut dyn FnMut(Site, u64),
}

impl<'a, O: Ops, C: Clock> Profile<'a, O, C> {
    /// Wraps an interpreter.
    pub fn new(inner: O, clock: &'a mut C, each: &'a mut dyn FnMut(Site, u64)) -> Self {
        Self { inner, clock, each }
    }

    /// Returns the wrapped interpreter.
    pub fn into_inner(self) -> O {
        self.inner
    }

    fn time<T>(&mut self, site: Site, run: impl FnOnce(&mut O) -> OpResult<T, O>) -> OpResult<T, O> {
        let start = self.clock.now();
        let result = run(&mut self.inner);
        (self.each)(site, self.clock.now().wrapping_sub(start));
        result
    }
}

impl<O: Ops, C: Clock> Ops for Profile<'_, O, C> {
    type Image = O::Image;
    type Condition = O::Condition;
    type Output = O::Output;
    type Act = O::Act;
    type Skip = O::Skip;
    type Error = O::Error;

    fn tokens(&mut self, image: &O::Image, condition: &O::Condition) -> OpResult<O::Act, O> {
        self.time(Site::new(Side::Encoder, 0, Layer::PatchEmbed), |o| o.tokens(image, condition))
    }

    fn add_position(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        self.time(Site::new(Side::Encoder, 0, Layer::Position), |o| o.add_position(x))
    }

    fn layer_norm(&mut self, site: Site, x: &O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.layer_norm(site, x))
    }

    fn layer_norm_in_place(&mut self, site: Site, x: O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.layer_norm_in_place(site, x))
    }

    fn linear(&mut self, site: Site, x: &O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.linear(site, x))
    }

    fn linear_into(&mut self, site: Site, x: &O::Act, out: O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.linear_into(site, x, out))
    }

    fn bridge(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        self.time(Site::new(Side::Decoder, 0, Layer::Bridge), |o| o.bridge(x))
    }

    fn attend(&mut self, site: Site, qkv: &O::Act, out: O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.attend(site, qkv, out))
    }

    fn gelu(&mut self, site: Site, x: O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.gelu(site, x))
    }

    fn add(&mut self, site: Site, x: O::Act, y: O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.add(site, x, y))
    }

    fn keep(&mut self, site: Site, x: &O::Act) -> OpResult<O::Skip, O> {
        self.time(site, |o| o.keep(site, x))
    }

    fn concat(&mut self, site: Site, x: &O::Act, skip: O::Skip) -> OpResult<O::Act, O> {
        self.time(site, |o| o.concat(site, x, skip))
    }

    fn condition(&mut self, condition: &O::Condition) -> OpResult<O::Act, O> {
        self.inner.condition(condition)
    }

    fn modulation(&mut self, site: Site, condition: &O::Act) -> OpResult<O::Act, O> {
        self.time(site, |o| o.modulation(site, condition))
    }

    fn modulated_norm(&mut self, site: Site, x: &O::Act, modulation: &O::Act, branch: Branch) -> OpResult<O::Act, O> {
        self.time(site, |o| o.modulated_norm(site, x, modulation, branch))
    }

    fn gated_add(&mut self, site: Site, x: O::Act, y: O::Act, modulation: &O::Act, branch: Branch) -> OpResult<O::Act, O> {
        self.time(site, |o| o.gated_add(site, x, y, modulation, branch))
    }

    fn dropout(&mut self, site: Site, x: O::Act) -> OpResult<O::Act, O> {
        self.inner.dropout(site, x)
    }

    fn class_token(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        self.inner.class_token(x)
    }

    fn patch_tokens(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        self.inner.patch_tokens(x)
    }

    fn unpatchify(&mut self, site: Site, patches: O::Act) -> OpResult<O::Output, O> {
        self.time(site, |o| o.unpatchify(site, patches))
    }

    fn release(&mut self, x: O::Act) {
        self.inner.release(x);
    }

    fn mlp(&mut self, side: Side, block: usize, x: O::Act) -> OpResult<O::Act, O> {
        self.time(Site::new(side, block, Layer::Fc1), |o| o.mlp(side, block, x))
    }

    fn head(&mut self, site: Site, x: O::Act) -> OpResult<O::Output, O> {
        self.time(site, |o| o.head(site, x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network;
    use crate::presets::PRESETS;
    use crate::reference::{FlatWeights, Reference, ReferenceCondition};
    use std::collections::BTreeMap;
    use std::vec;

    /// Counts its own calls.
    struct Calls(u64);

    impl Clock for Calls {
        fn now(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }
    }

    #[test]
    fn every_block_is_told_and_nothing_changes() {
        let config = PRESETS[0].model;
        let values = vec![0.01; config.parameter_count()];
        let weights = FlatWeights::new(&config, &values).expect("fits");
        let image = vec![0.5; config.image_len()];
        let condition = ReferenceCondition { t: 1.0, class: Some(3) };
        let mut workspace = vec![0.0; config.workspace_len()];
        let mut want = vec![0.0; config.image_len()];
        let mut plain = Reference::new(weights, &mut workspace).expect("binds");
        plain.forward(&image, &condition, &mut want).expect("runs");

        let mut ticks = BTreeMap::new();
        let (mut clock, mut each) = (Calls(0), |site: Site, count: u64| *ticks.entry(site).or_insert(0) += count);
        let mut workspace = vec![0.0; config.workspace_len()];
        let inner = Reference::new(weights, &mut workspace).expect("binds");
        let mut profile = Profile::new(inner, &mut clock, &mut each);
        let rows = network::forward(&mut profile, &config, &image[..], &condition).expect("runs");
        assert_eq!(profile.into_inner().values(&rows), want);
        for block in 0..config.encoder.depth {
            for side in [Side::Encoder, Side::Decoder] {
                for layer in [Layer::Norm1, Layer::Qkv, Layer::Attend, Layer::Proj, Layer::Fc1] {
                    assert_eq!(ticks.get(&Site::new(side, block, layer)), Some(&1), "{side:?} {block} {layer:?}");
                }
            }
        }
        assert_eq!(ticks.get(&Site::new(Side::Decoder, 0, Layer::Head)), Some(&1));
    }
}
