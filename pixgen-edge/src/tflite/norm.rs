//! Norms in the operators of an Ethos-U, with int16 in between.

use super::error::LiteError;
use super::graph::{FINEST_SUM, LiteValue, LiteWeights, Pairwise, Unary};
use super::network::{Done, LiteNetwork};
use super::scales::{Number, wide};
use pixgen_core::config::NORM_EPSILON;
use pixgen_core::params::{Layer, Site};

/// The share of the least variance from which on epsilon is added to it.
const EPSILON_SHARE: f64 = 1e-3;
/// Steps of the variance's scale that the least variance needs.
const LEAST_STEPS: f64 = 1.5;
/// From so many on, its root is exact to 0.6 %.
const FINE_STEPS: f64 = 512.0;
/// How many times too large a root of fewer steps can be: the table's first cell is a line from the greatest root to that of 128 steps.
const ROUGH: f64 = 6.0;
/// How many times too small, by the rounding of squares.
const ROUGH_BELOW: f64 = 1.5;

/// What rows of mean 0 hold before and behind a division by their standard deviation.
#[derive(Clone, Copy, Debug)]
struct Spread {
    /// Greatest magnitude of a value.
    magnitude: f64,
    /// Least variance of a row.
    least: f64,
    /// Greatest variance of a row.
    most: f64,
    /// Greatest magnitude of a result.
    normed: f64,
}

impl LiteNetwork<'_> {
    /// (x - mean) / sqrt(variance + epsilon) of each row.
    pub(super) fn normed(&mut self, site: Site, x: &LiteValue) -> Done<LiteValue> {
        let name = site.name();
        let range = self.ranges.map(|ranges| ranges.norm(site)).transpose()?;
        let (mean, magnitude) = range.map_or((0.0, 0.0), |range| (range.mean, range.centred));
        let mut centred = x.clone();
        // The rows before a norm behind a long skip have a mean of 0: the matrix sees to that.
        if site.layer != Layer::SkipNorm {
            let mean = self.mean(&format!("{name}/mean"), x, wide(mean));
            centred = self.graph.pairwise(Pairwise::Sub, &format!("{name}/centred"), x, &mean, wide(magnitude));
        }
        let Some(range) = range else {
            return Ok(self.divided(&name, &centred, &Spread { magnitude: 0.0, least: 0.0, most: 0.0, normed: 0.0 }));
        };
        let (least, most) = (range.least, range.most);
        let spread = Spread { magnitude, least, most, normed: range.normed.magnitude() };
        let steps = (least + f64::from(NORM_EPSILON)) / wide(most).scale();
        if steps < LEAST_STEPS {
            return Err(LiteError::Variance { site, least, most });
        }
        if steps >= FINE_STEPS {
            return Ok(self.divided(&name, &centred, &spread));
        }
        // The root is read off a table of 128 steps a cell, too coarse for the least variances. What it makes of them has a variance near 1,
        // for which it is exact.
        let rough = self.divided(&format!("{name}/rough"), &centred, &Spread { normed: ROUGH * spread.normed, ..spread });
        let near_one = Spread {
            magnitude: ROUGH * spread.normed,
            least: 1.0 / (ROUGH_BELOW * ROUGH_BELOW),
            most: ROUGH * ROUGH,
            normed: spread.normed,
        };
        Ok(self.divided(&name, &rough, &near_one))
    }

    /// The mean of each row. Of integers it is a product with a row of equal weights, which an Ethos-U computes faster than the operator
    /// MEAN.
    fn mean(&mut self, name: &str, x: &LiteValue, out: Number) -> LiteValue {
        if self.graph.is_real() {
            return self.graph.mean(name, x, out);
        }
        let width = x.width();
        let weights = LiteWeights::Int8(vec![127; width], vec![1.0 / (127 * width) as f64]);
        self.graph
            .fully_connected(name, x, weights, &[0.0], out.at_least(x.number().scale() * FINEST_SUM))
    }

    /// Rows of mean 0 divided by their standard deviation.
    fn divided(&mut self, name: &str, x: &LiteValue, spread: &Spread) -> LiteValue {
        let at = |part: &str| format!("{name}/{part}");
        let epsilon = f64::from(NORM_EPSILON);
        let number = wide(spread.most + epsilon);
        let square = self
            .graph
            .pairwise(Pairwise::Mul, &at("square"), x, x, wide(spread.magnitude * spread.magnitude));
        let mut variance = self.mean(&at("variance"), &square, number);
        if self.graph.is_real() || epsilon >= (EPSILON_SHARE * spread.least).max(number.scale() / 2.0) {
            let epsilon = self.graph.constant(&at("epsilon"), &[1, 1, 1], &[epsilon], number);
            variance = self.graph.pairwise(Pairwise::Add, &at("above"), &variance, &epsilon, number);
        }
        let inverse = self
            .graph
            .unary(Unary::Rsqrt, &at("inverse"), &variance, wide(1.0 / (spread.least + epsilon).sqrt()));
        self.graph.pairwise(Pairwise::Mul, &at("normed"), x, &inverse, wide(spread.normed))
    }
}
