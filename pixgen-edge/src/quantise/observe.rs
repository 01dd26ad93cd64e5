//! An interpreter that shows what every operation of another one puts out.

use pixgen_core::integer::{self, ActValues, Integer};
use pixgen_core::ops::{Branch, OpResult, Ops};
use pixgen_core::params::{Layer, Side, Site};
use pixgen_core::reference::{self, Reference};

/// An interpreter whose activations can be looked at.
pub trait Peek: Ops {
    /// Width and values of an activation; integers as they are.
    fn peek(&self, x: &Self::Act) -> (usize, Vec<f32>);
}

impl Peek for Reference<'_> {
    fn peek(&self, x: &reference::ReferenceAct) -> (usize, Vec<f32>) {
        (x.width(), self.values(x).to_vec())
    }
}

impl Peek for Integer<'_, '_> {
    fn peek(&self, x: &integer::IntegerAct) -> (usize, Vec<f32>) {
        let values = match self.values(x) {
            ActValues::I8(values) => values.iter().map(|&v| f32::from(v)).collect(),
            ActValues::I16(values) => values.iter().map(|&v| f32::from(v)).collect(),
        };
        (x.width(), values)
    }
}

/// Runs `inner` and shows each result to `see` under the site of its operation. The stream before the first block comes under
/// `Position`, what is added to the stream under `Proj` and `Fc2`, the stream itself under `Add1` and `Add2`.
#[derive(Debug)]
pub struct Observe<O, F> {
    /// Who computes.
    pub inner: O,
    /// Who looks: site, width, values.
    pub see: F,
}

impl<O: Peek, F: FnMut(Site, usize, &[f32])> Observe<O, F> {
    fn show(&mut self, site: Site, x: O::Act) -> OpResult<O::Act, O> {
        let (width, values) = self.inner.peek(&x);
        (self.see)(site, width, &values);
        Ok(x)
    }
}

impl<O: Peek, F: FnMut(Site, usize, &[f32])> Ops for Observe<O, F> {
    type Image = O::Image;
    type Condition = O::Condition;
    type Output = O::Output;
    type Act = O::Act;
    type Skip = O::Skip;
    type Error = O::Error;

    fn tokens(&mut self, image: &O::Image, condition: &O::Condition) -> OpResult<O::Act, O> {
        self.inner.tokens(image, condition)
    }

    fn add_position(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        let x = self.inner.add_position(x)?;
        self.show(Site::new(Side::Encoder, 0, Layer::Position), x)
    }

    fn layer_norm(&mut self, site: Site, x: &O::Act) -> OpResult<O::Act, O> {
        let y = self.inner.layer_norm(site, x)?;
        self.show(site, y)
    }

    fn layer_norm_in_place(&mut self, site: Site, x: O::Act) -> OpResult<O::Act, O> {
        let x = self.inner.layer_norm_in_place(site, x)?;
        self.show(site, x)
    }

    fn linear(&mut self, site: Site, x: &O::Act) -> OpResult<O::Act, O> {
        let y = self.inner.linear(site, x)?;
        self.show(site, y)
    }

    fn linear_into(&mut self, site: Site, x: &O::Act, out: O::Act) -> OpResult<O::Act, O> {
        let y = self.inner.linear_into(site, x, out)?;
        self.show(site, y)
    }

    fn bridge(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        let x = self.inner.bridge(x)?;
        self.show(Site::new(Side::Decoder, 0, Layer::Bridge), x)
    }

    fn attend(&mut self, site: Site, qkv: &O::Act, out: O::Act) -> OpResult<O::Act, O> {
        let x = self.inner.attend(site, qkv, out)?;
        self.show(site, x)
    }

    fn gelu(&mut self, site: Site, x: O::Act) -> OpResult<O::Act, O> {
        let x = self.inner.gelu(site, x)?;
        self.show(site, x)
    }

    fn add(&mut self, site: Site, x: O::Act, y: O::Act) -> OpResult<O::Act, O> {
        let x = self.inner.add(site, x, y)?;
        self.show(site, x)
    }

    fn keep(&mut self, site: Site, x: &O::Act) -> OpResult<O::Skip, O> {
        self.inner.keep(site, x)
    }

    fn concat(&mut self, site: Site, x: &O::Act, skip: O::Skip) -> OpResult<O::Act, O> {
        self.inner.concat(site, x, skip)
    }

    fn condition(&mut self, condition: &O::Condition) -> OpResult<O::Act, O> {
        self.inner.condition(condition)
    }

    fn modulation(&mut self, site: Site, condition: &O::Act) -> OpResult<O::Act, O> {
        self.inner.modulation(site, condition)
    }

    fn modulated_norm(&mut self, site: Site, x: &O::Act, modulation: &O::Act, branch: Branch) -> OpResult<O::Act, O> {
        let y = self.inner.modulated_norm(site, x, modulation, branch)?;
        self.show(site, y)
    }

    fn gated_add(&mut self, site: Site, x: O::Act, y: O::Act, modulation: &O::Act, branch: Branch) -> OpResult<O::Act, O> {
        let x = self.inner.gated_add(site, x, y, modulation, branch)?;
        self.show(site, x)
    }

    fn class_token(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        self.inner.class_token(x)
    }

    fn patch_tokens(&mut self, x: O::Act) -> OpResult<O::Act, O> {
        self.inner.patch_tokens(x)
    }

    fn unpatchify(&mut self, site: Site, patches: O::Act) -> OpResult<O::Output, O> {
        self.inner.unpatchify(site, patches)
    }

    fn release(&mut self, x: O::Act) {
        self.inner.release(x);
    }
}
