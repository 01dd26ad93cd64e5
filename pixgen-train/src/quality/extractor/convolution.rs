//! What the published feature networks are made of: convolutions with the batch norm folded in, depthwise ones, and pooling.
//!
//! Maps are stored channels last, so that the windows of a convolution are rows of contiguous values, its result is the next map, and
//! everything else runs along contiguous channels.
//!
//! Why not burn's `conv2d`: on the CPU the published networks took two to three times as long with it (docs/results/performance.md section
//! "Features"). Most of that are depthwise windows on small maps and pooling.

use super::weights::Weights;
use crate::quality::error::QualityError;
use pixgen_edge::eval::WeightFault;
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Rows of windows gathered at once: small enough for the cache, large enough for the matrix product.
const STRIP: usize = 256;
/// Of every batch norm in both networks.
const EPSILON: f64 = 1e-3;

/// Feature maps of some images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Maps {
    /// Images.
    pub n: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values at each place.
    pub channels: usize,
    /// n x height x width x channels.
    pub values: Vec<f32>,
}

impl Maps {
    /// Means over all places: n x channels.
    pub(super) fn means(&self) -> Vec<f32> {
        let places = self.height * self.width;
        let mut means = Vec::with_capacity(self.n * self.channels);
        for image in self.values.chunks_exact(places * self.channels) {
            let mut sums = vec![0.0f64; self.channels];
            for place in image.chunks_exact(self.channels) {
                sums.iter_mut().zip(place).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            means.extend(sums.iter().map(|sum| (sum / places as f64) as f32));
        }
        means
    }

    /// The same places of several maps, one's channels behind the other's.
    pub(super) fn concat(parts: &[Self]) -> Self {
        let (n, height, width) = parts.first().map_or((0, 0, 0), |first| (first.n, first.height, first.width));
        let channels = parts.iter().map(|part| part.channels).sum();
        let mut values = Vec::with_capacity(n * height * width * channels);
        for place in 0..n * height * width {
            for part in parts {
                values.extend_from_slice(&part.values[place * part.channels..][..part.channels]);
            }
        }
        Self { n, height, width, channels, values }
    }

    /// Adds maps of the same shape.
    pub(super) fn add(&mut self, other: &Self) {
        self.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
    }
}

/// Zeros around a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// As TensorFlow's "same": the output has a place for every stride; of an odd number of zeros the larger half comes last.
    Same,
    /// So many rows above and below, and columns on the left and on the right.
    Each(usize, usize),
}

/// How a window slides along one side.
#[derive(Clone, Copy, Debug)]
struct Slide {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    before: usize,
}

impl Slide {
    fn new(input: usize, kernel: usize, stride: usize, padding: Padding, rows: bool) -> Self {
        let (before, output) = match padding {
            Padding::Same => {
                let output = input.div_ceil(stride);
                (((output.max(1) - 1) * stride + kernel).saturating_sub(input) / 2, output)
            }
            Padding::Each(row, column) => {
                let each = if rows { row } else { column };
                (each, ((input + 2 * each + stride).saturating_sub(kernel)) / stride)
            }
        };
        Self { input, output, kernel, stride, before }
    }

    /// The first input place of the window of `output`, how many places of the window lie before the map, and how many in it.
    fn window(self, output: usize) -> (usize, usize, usize) {
        let start = output * self.stride;
        let outside = self.before.saturating_sub(start).min(self.kernel);
        let first = (start + outside).saturating_sub(self.before);
        (first, outside, (self.kernel - outside).min(self.input.saturating_sub(first)))
    }
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// Nothing.
    Linear,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Activation {
    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Linear => (),
            Self::Relu => values.iter_mut().for_each(|value| *value = value.max(0.0)),
            Self::Relu6 => values.iter_mut().for_each(|value| *value = value.clamp(0.0, 6.0)),
        }
    }
}

/// The window of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowShape {
    /// Rows and columns of the window.
    pub kernel: (usize, usize),
    /// Step of the window in both directions.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: Padding,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
}

impl WindowShape {
    /// Where the window goes in maps.
    fn slides(&self, maps: &Maps) -> (Slide, Slide) {
        (
            Slide::new(maps.height, self.kernel.0, self.stride, self.padding, true),
            Slide::new(maps.width, self.kernel.1, self.stride, self.padding, false),
        )
    }
}

/// The batch norm y = (x - mean) weight / sqrt(variance + epsilon) + bias as a factor and a constant for each channel.
fn folded(weights: &Weights<'_>, norm: &str, channels: usize) -> Result<(Vec<f64>, Vec<f32>), QualityError> {
    let read = |name: &str| weights.tensor(&format!("{norm}.{name}"), &[channels]);
    let (weight, bias, mean, variance) = (read("weight")?, read("bias")?, read("running_mean")?, read("running_var")?);
    let factors: Vec<f64> = weight
        .iter()
        .zip(&variance)
        .map(|(&w, &v)| f64::from(w) / (f64::from(v) + EPSILON).sqrt())
        .collect();
    if factors.iter().any(|factor| !factor.is_finite()) {
        return Err(weights.fault(&format!("{norm}.running_var"), WeightFault::NegativeVariance));
    }
    let constants = bias
        .iter()
        .zip(&mean)
        .zip(&factors)
        .map(|((&b, &m), f)| (f64::from(b) - f64::from(m) * f) as f32)
        .collect();
    Ok((factors, constants))
}

/// A convolution over all channels with its batch norm and activation.
#[derive(Debug)]
pub(super) struct Convolution {
    shape: WindowShape,
    activation: Activation,
    /// (window row, window column, input) x output.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Convolution {
    /// Reads `<convolution>.weight`, (output, input, row, column), and the batch norm `norm`.
    pub fn load(
        weights: &Weights<'_>,
        convolution: &str,
        norm: &str,
        shape: WindowShape,
        activation: Activation,
    ) -> Result<Self, QualityError> {
        let WindowShape { kernel: (rows, columns), inputs, outputs, .. } = shape;
        let stored = weights.tensor(&format!("{convolution}.weight"), &[outputs, inputs, rows, columns])?;
        let (factors, bias) = folded(weights, norm, outputs)?;
        let window = rows * columns;
        let mut weight = vec![0.0; stored.len()];
        for (output, (filter, factor)) in stored.chunks_exact(inputs * window).zip(&factors).enumerate() {
            for (input, taps) in filter.chunks_exact(window).enumerate() {
                for (tap, &value) in taps.iter().enumerate() {
                    weight[(tap * inputs + input) * outputs + output] = (f64::from(value) * factor) as f32;
                }
            }
        }
        Ok(Self { shape, activation, weight, bias })
    }

    /// Maps with the convolution's inputs as channels to maps with its outputs.
    pub fn apply(&self, maps: &Maps) -> Maps {
        let WindowShape { kernel, stride, outputs, .. } = self.shape;
        let (rows, columns) = self.shape.slides(maps);
        let places = maps.n * rows.output * columns.output;
        let mut values = self.bias.repeat(places);
        let window = self.weight.len() / outputs;
        let multiply = |windows: &[f32], out: &mut [f32]| {
            let rows = out.len() / outputs;
            let weight = Matrix::new(&self.weight, window, outputs);
            matmul(
                MatrixMut::new(out, rows, outputs),
                Into::Accumulate,
                1.0,
                Matrix::new(windows, rows, window),
                weight,
                Threads::Caller,
            );
        };
        if kernel == (1, 1) && stride == 1 && places == maps.n * maps.height * maps.width {
            multiply(&maps.values, &mut values);
        } else {
            let mut windows = vec![0.0; STRIP.min(places) * window];
            for (strip, out) in values.chunks_mut(STRIP * outputs).enumerate() {
                let count = out.len() / outputs;
                let windows = &mut windows[..count * window];
                for (place, row) in (strip * STRIP..).zip(windows.chunks_exact_mut(window)) {
                    gather(maps, rows, columns, place, row);
                }
                multiply(windows, out);
            }
        }
        self.activation.apply(&mut values);
        Maps { n: maps.n, height: rows.output, width: columns.output, channels: outputs, values }
    }
}

/// Copies the window of one output place, with zeros for what lies outside of the map.
fn gather(maps: &Maps, rows: Slide, columns: Slide, place: usize, window: &mut [f32]) {
    let (image, y, x) = (place / (rows.output * columns.output), place / columns.output % rows.output, place % columns.output);
    let (top, above, height) = rows.window(y);
    let (left, before, width) = columns.window(x);
    let row = columns.kernel * maps.channels;
    for (tap, out) in window.chunks_exact_mut(row).enumerate() {
        if tap < above || tap >= above + height {
            out.fill(0.0);
            continue;
        }
        let from = ((image * maps.height + top + tap - above) * maps.width + left) * maps.channels;
        let (start, length) = (before * maps.channels, width * maps.channels);
        out[..start].fill(0.0);
        out[start..start + length].copy_from_slice(&maps.values[from..from + length]);
        out[start + length..].fill(0.0);
    }
}

/// A convolution of every channel with a window of its own, with its batch norm and activation.
#[derive(Debug)]
pub(super) struct Depthwise {
    shape: WindowShape,
    activation: Activation,
    /// (window row, window column) x channel.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Depthwise {
    /// Reads `<convolution>.weight`, (channel, 1, row, column), and the batch norm `norm`; inputs and outputs are equal.
    pub fn load(
        weights: &Weights<'_>,
        convolution: &str,
        norm: &str,
        shape: WindowShape,
        activation: Activation,
    ) -> Result<Self, QualityError> {
        let WindowShape { kernel: (rows, columns), inputs: channels, .. } = shape;
        let stored = weights.tensor(&format!("{convolution}.weight"), &[channels, 1, rows, columns])?;
        let (factors, bias) = folded(weights, norm, channels)?;
        let window = rows * columns;
        let at = |index: usize| (f64::from(stored[index % channels * window + index / channels]) * factors[index % channels]) as f32;
        Ok(Self { shape, activation, weight: (0..stored.len()).map(at).collect(), bias })
    }

    /// Maps to maps with the same channels.
    pub fn apply(&self, maps: &Maps) -> Maps {
        let channels = maps.channels;
        let (rows, columns) = self.shape.slides(maps);
        let mut values = self.bias.repeat(maps.n * rows.output * columns.output);
        each_window(maps, rows, columns, &mut values, |out, tap, input| {
            let weight = &self.weight[tap * channels..][..channels];
            out.iter_mut()
                .zip(weight)
                .zip(input)
                .for_each(|((sum, weight), value)| *sum += weight * value);
        });
        self.activation.apply(&mut values);
        Maps { n: maps.n, height: rows.output, width: columns.output, channels, values }
    }
}

/// For every output place and every place of its window that lies in the map: the output's channels, the number of the place in the
/// window, and the channels there.
fn each_window(maps: &Maps, rows: Slide, columns: Slide, values: &mut [f32], mut see: impl FnMut(&mut [f32], usize, &[f32])) {
    for (place, out) in values.chunks_exact_mut(maps.channels).enumerate() {
        let (image, y, x) = (place / (rows.output * columns.output), place / columns.output % rows.output, place % columns.output);
        let (top, above, height) = rows.window(y);
        let (left, before, width) = columns.window(x);
        for dy in 0..height {
            let from = ((image * maps.height + top + dy) * maps.width + left) * maps.channels;
            for dx in 0..width {
                let tap = (above + dy) * columns.kernel + before + dx;
                see(out, tap, &maps.values[from + dx * maps.channels..][..maps.channels]);
            }
        }
    }
}

/// Which value of a window stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The largest.
    Max,
    /// The mean of those inside of the map.
    Mean,
}

/// Pools windows of 3 x 3 places.
pub(super) fn pool(maps: &Maps, stride: usize, padding: usize, pooling: Pooling) -> Maps {
    let slide = |input, rows| Slide::new(input, 3, stride, Padding::Each(padding, padding), rows);
    let (rows, columns) = (slide(maps.height, true), slide(maps.width, false));
    let start = match pooling {
        Pooling::Max => f32::NEG_INFINITY,
        Pooling::Mean => 0.0,
    };
    let mut values = vec![start; maps.n * rows.output * columns.output * maps.channels];
    each_window(maps, rows, columns, &mut values, |out, _, input| match pooling {
        Pooling::Max => out.iter_mut().zip(input).for_each(|(largest, &value)| *largest = largest.max(value)),
        Pooling::Mean => out.iter_mut().zip(input).for_each(|(sum, &value)| *sum += value),
    });
    if pooling == Pooling::Mean {
        for (place, out) in values.chunks_exact_mut(maps.channels).enumerate() {
            let count = rows.window(place / columns.output % rows.output).2 * columns.window(place % columns.output).2;
            out.iter_mut().for_each(|sum| *sum /= count as f32);
        }
    }
    Maps { n: maps.n, height: rows.output, width: columns.output, channels: maps.channels, values }
}

/// `y = x W + b` for each row x: a classifier's last layer.
#[derive(Debug)]
pub(super) struct Linear {
    /// inputs x outputs.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// Reads `<name>.weight`, (output, input), and `<name>.bias`.
    pub fn load(weights: &Weights<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Self, QualityError> {
        let stored = weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let weight = (0..stored.len())
            .map(|index| stored[index % outputs * inputs + index / outputs])
            .collect();
        Ok(Self { weight, bias: weights.tensor(&format!("{name}.bias"), &[outputs])? })
    }

    /// n x inputs to n x outputs.
    pub fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let outputs = self.bias.len();
        let inputs = self.weight.len() / outputs;
        let n = rows.len() / inputs;
        let mut out = self.bias.repeat(n);
        let weight = Matrix::new(&self.weight, inputs, outputs);
        matmul(
            MatrixMut::new(&mut out, n, outputs),
            Into::Accumulate,
            1.0,
            Matrix::new(rows, n, inputs),
            weight,
            Threads::Caller,
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;

    fn random(stream: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        Rng::new(21, stream).fill_gaussian(0, &mut values);
        values
    }

    fn maps(height: usize, width: usize, channels: usize) -> Maps {
        Maps { n: 2, height, width, channels, values: random(0, 2 * height * width * channels) }
    }

    /// Weights by formula; variances are positive.
    fn weights() -> Weights<'static> {
        Weights::from_fn(|name, dims| {
            let values = random(u64::from(crc32fast::hash(name.as_bytes())), dims.iter().product());
            if name.ends_with("var") {
                values.iter().map(|v| v * v + 0.1).collect()
            } else {
                values
            }
        })
    }

    /// Zeros to the left and in all, by the definition of TensorFlow and PyTorch.
    fn padding(input: usize, kernel: usize, stride: usize, padding: Padding, rows: bool) -> (usize, usize) {
        match padding {
            Padding::Same => {
                let all = ((input.div_ceil(stride) - 1) * stride + kernel).saturating_sub(input);
                (all / 2, all)
            }
            Padding::Each(row, column) => {
                let each = if rows { row } else { column };
                (each, 2 * each)
            }
        }
    }

    /// A padded convolution written out over places, in f64; `depthwise` windows see their own channel only.
    fn naive(maps: &Maps, shape: WindowShape, depthwise: bool) -> (usize, usize, Vec<f64>) {
        let weights = weights();
        let (rows, columns) = shape.kernel;
        let inputs = if depthwise { 1 } else { shape.inputs };
        let filter = weights.tensor("c.weight", &[shape.outputs, inputs, rows, columns]).unwrap();
        let norm =
            ["weight", "bias", "running_mean", "running_var"].map(|name| weights.tensor(&format!("n.{name}"), &[shape.outputs]).unwrap());
        let (top, tall) = padding(maps.height, rows, shape.stride, shape.padding, true);
        let (left, wide) = padding(maps.width, columns, shape.stride, shape.padding, false);
        let height = (maps.height + tall - rows) / shape.stride + 1;
        let width = (maps.width + wide - columns) / shape.stride + 1;
        let at = |n: usize, y: usize, x: usize, c: usize| {
            let (y, x) = (y.checked_sub(top)?, x.checked_sub(left)?);
            (y < maps.height && x < maps.width)
                .then(|| f64::from(maps.values[((n * maps.height + y) * maps.width + x) * maps.channels + c]))
        };
        let mut out = Vec::new();
        for (n, y, x, o) in (0..maps.n)
            .flat_map(|n| (0..height).flat_map(move |y| (0..width).flat_map(move |x| (0..shape.outputs).map(move |o| (n, y, x, o)))))
        {
            let mut sum = 0.0;
            for i in 0..inputs {
                for ky in 0..rows {
                    for kx in 0..columns {
                        let channel = if depthwise { o } else { i };
                        let value = at(n, y * shape.stride + ky, x * shape.stride + kx, channel).unwrap_or(0.0);
                        sum += value * f64::from(filter[((o * inputs + i) * rows + ky) * columns + kx]);
                    }
                }
            }
            let [weight, bias, mean, variance] = norm.each_ref().map(|values| f64::from(values[o]));
            out.push((sum - mean) / (variance + 1e-3).sqrt() * weight + bias);
        }
        (height, width, out)
    }

    fn compare(found: &Maps, (height, width, expected): &(usize, usize, Vec<f64>), activate: impl Fn(f64) -> f64) {
        assert_eq!((found.height, found.width, found.values.len()), (*height, *width, expected.len()));
        for (index, (&value, &expected)) in found.values.iter().zip(expected).enumerate() {
            assert!((f64::from(value) - activate(expected)).abs() < 2e-4, "value {index}: {value} {expected}");
        }
    }

    #[test]
    fn convolutions_are_those_of_the_definition() {
        for (height, width, kernel, stride, padding) in [
            (7, 9, (3, 3), 1, Padding::Same),
            (7, 9, (3, 3), 2, Padding::Same),
            (8, 6, (5, 5), 2, Padding::Same),
            // Windows larger than the map, and a strip that ends inside of an image.
            (2, 2, (5, 5), 1, Padding::Same),
            (20, 19, (3, 3), 1, Padding::Each(1, 1)),
            (9, 8, (3, 3), 2, Padding::Each(0, 0)),
            (9, 8, (1, 7), 1, Padding::Each(0, 3)),
            (9, 8, (7, 1), 1, Padding::Each(3, 0)),
            (4, 5, (1, 1), 1, Padding::Each(0, 0)),
        ] {
            let maps = maps(height, width, 5);
            let shape = WindowShape { kernel, stride, padding, inputs: 5, outputs: 6 };
            let layer = Convolution::load(&weights(), "c", "n", shape, Activation::Relu).unwrap();
            compare(&layer.apply(&maps), &naive(&maps, shape, false), |v| v.max(0.0));
            let shape = WindowShape { outputs: 5, ..shape };
            let layer = Depthwise::load(&weights(), "c", "n", shape, Activation::Relu6).unwrap();
            compare(&layer.apply(&maps), &naive(&maps, shape, true), |v| v.clamp(0.0, 6.0));
        }
    }

    #[test]
    fn pools_by_hand() {
        let maps = Maps { n: 1, height: 3, width: 3, channels: 1, values: (1..10u8).map(f32::from).collect() };
        assert_eq!(pool(&maps, 2, 0, Pooling::Max).values, [9.0]);
        let largest = pool(&maps, 1, 1, Pooling::Max);
        assert_eq!(largest.values, [5.0, 6.0, 6.0, 8.0, 9.0, 9.0, 8.0, 9.0, 9.0]);
        // A corner's window holds four places, an edge's six: zeros outside do not count.
        let means = pool(&maps, 1, 1, Pooling::Mean);
        assert_eq!(means.values, [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]);
        assert_eq!(maps.means(), [5.0]);
        // 149 -> 74, as in the network.
        let large = Maps { n: 1, height: 149, width: 5, channels: 1, values: vec![0.0; 149 * 5] };
        let pooled = pool(&large, 2, 0, Pooling::Max);
        assert_eq!((pooled.height, pooled.width), (74, 2));
    }

    #[test]
    fn channels_stand_behind_each_other() {
        let a = Maps { n: 1, height: 1, width: 2, channels: 1, values: vec![1.0, 2.0] };
        let b = Maps { channels: 2, values: vec![3.0, 4.0, 5.0, 6.0], ..a.clone() };
        let both = Maps::concat(&[a.clone(), b]);
        assert_eq!((both.channels, &both.values[..]), (3, &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0][..]));
        let mut sum = a.clone();
        sum.add(&a);
        assert_eq!(sum.values, [2.0, 4.0]);
    }
}
