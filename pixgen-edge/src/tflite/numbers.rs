//! What the integers of each value mean, from what calibration saw; real numbers in the float form.

use super::network::{Done, LiteNetwork};
use super::ranges::LiteRanges;
use super::scales::{Number, int8, wide};
use crate::quantise::scale::Quantisation;
use pixgen_core::params::{Layer, Side, Site};

impl LiteNetwork<'_> {
    /// int16 for values up to what `magnitude` says; real numbers in the float form.
    pub(super) fn wide(&self, magnitude: impl FnOnce(&LiteRanges<'_>) -> Done<f64>) -> Done<Number> {
        self.ranges.map_or(Ok(Number::Real), |ranges| Ok(wide(magnitude(ranges)?)))
    }

    /// int16 for the values of sites.
    pub(super) fn wide_sites(&self, sites: impl IntoIterator<Item = Site>) -> Done<Number> {
        self.wide(|ranges| {
            let mut magnitudes = sites.into_iter().map(|site| Ok(ranges.stats(site, 0)?.magnitude()));
            magnitudes.try_fold(0.0f64, |most, magnitude: Done<f64>| Ok(most.max(magnitude?)))
        })
    }

    /// int8 for the values of a site.
    pub(super) fn narrow(&self, site: Site, part: usize, symmetric: bool) -> Done<Number> {
        let Some(ranges) = self.ranges else { return Ok(Number::Real) };
        let levels = if symmetric { 255.0 } else { 256.0 };
        let range = ranges.stats(site, part)?.range(ranges.options.method_of(site), levels, symmetric);
        let quantisation = if symmetric {
            Quantisation::symmetric(range, 1)
        } else {
            Quantisation::asymmetric(range, 1)
        };
        Ok(int8(&quantisation))
    }

    /// Mean of each channel of a site.
    pub(super) fn means(&self, site: Site) -> Done<Vec<f64>> {
        self.ranges.map_or(Ok(Vec::new()), |ranges| Ok(ranges.stats(site, 0)?.means()))
    }

    /// The stream of the block of a site; that of the encoder is one for all blocks and for what they add to it.
    pub(super) fn stream(&self, site: Site) -> Done<Number> {
        if site.side == Side::Decoder {
            return self.wide_sites([Layer::SkipNorm, Layer::Add1, Layer::Add2].map(|layer| Site { layer, ..site }));
        }
        let layers = [Layer::Add1, Layer::Add2, Layer::Proj, Layer::Fc2];
        let blocks = (0..self.config.encoder.depth).flat_map(|block| layers.map(|layer| Site::new(Side::Encoder, block, layer)));
        self.wide_sites(blocks.chain([Site::new(Side::Encoder, 0, Layer::Position)]))
    }
}
