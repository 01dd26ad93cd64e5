//! The classifier's network: two 5x5 convolutions with ReLU and 2x2 max pooling, then two affine maps.
//!
//! ```text
//! 28x28x1 -conv1-> 24x24x32 -pool, ReLU-> 12x12x32 -conv2-> 8x8x32 -pool, ReLU-> 4x4x32 -hidden, ReLU-> 64 features -head-> 10 logits
//! ```
//!
//! Maps are stored channels last, so that a convolution is one matrix product of the table of 5x5 windows with the weight, its
//! result is the next map, and pooling runs along contiguous channels. Convolutions are not padded.

use crate::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Side of an image in pixels.
pub const SIDE: usize = 28;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Width of the penultimate layer.
pub const FEATURES: usize = 64;
/// Number of classes.
pub const CLASSES: usize = 10;

/// Side of the convolution windows.
pub const KERNEL: usize = 5;
/// Side and channels of the images, which the first convolution sees.
pub const MAP1: (usize, usize) = (SIDE, 1);
/// Side and channels of the map that the second convolution sees.
pub const MAP2: (usize, usize) = (12, 32);
/// Side and channels of the map that the affine layers see.
pub const MAP3: (usize, usize) = (4, 32);
/// Mean and standard deviation of the training pixels on the scale [0, 1].
const PIXEL_MEAN: f32 = 0.286;
const PIXEL_STD: f32 = 0.353;

/// Name, inputs and outputs of each affine map; a convolution's inputs are (window row, window column, channel).
pub const LAYERS: [(&str, usize, usize); 4] = [
    ("conv1", KERNEL * KERNEL * MAP1.1, MAP2.1),
    ("conv2", KERNEL * KERNEL * MAP2.1, MAP3.1),
    ("hidden", MAP3.0 * MAP3.0 * MAP3.1, FEATURES),
    ("head", FEATURES, CLASSES),
];

/// `y = x W + b` for each row x.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// W, row-major, inputs x outputs.
    pub weight: Vec<f32>,
    /// b, one per output.
    pub bias: Vec<f32>,
}

/// The parameters, or something of the same shape: a gradient, a moment of the optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierNetwork {
    /// In the order of [`LAYERS`].
    pub layers: [Affine; 4],
}

/// Every intermediate result of a batch of n images; training reads them again.
#[derive(Default)]
pub struct Activations {
    /// All 5x5 windows of the images: (n x 24 x 24) x 25.
    pub windows1: Vec<f32>,
    /// n x 24 x 24 x 32, before pooling.
    pub conv1: Vec<f32>,
    /// n x 12 x 12 x 32, after pooling and ReLU.
    pub map2: Vec<f32>,
    /// All 5x5 windows of `map2`: (n x 8 x 8) x 800.
    pub windows2: Vec<f32>,
    /// n x 8 x 8 x 32, before pooling.
    pub conv2: Vec<f32>,
    /// n x 4 x 4 x 32, after pooling and ReLU.
    pub map3: Vec<f32>,
    /// n x 64, after the ReLU.
    pub features: Vec<f32>,
    /// n x 10.
    pub logits: Vec<f32>,
}

/// A pixel byte as the network sees it.
pub fn normalise(pixel: u8) -> f32 {
    (f32::from(pixel) / 255.0 - PIXEL_MEAN) / PIXEL_STD
}

impl Affine {
    fn apply(&self, input: &[f32], output: &mut Vec<f32>) {
        let outputs = self.bias.len();
        let inputs = self.weight.len() / outputs;
        let rows = input.len() / inputs;
        output.clear();
        (0..rows).for_each(|_| output.extend_from_slice(&self.bias));
        let weight = Matrix::new(&self.weight, inputs, outputs);
        matmul(
            MatrixMut::new(output, rows, outputs),
            Into::Accumulate,
            1.0,
            Matrix::new(input, rows, inputs),
            weight,
            Threads::Caller,
        );
    }
}

impl ClassifierNetwork {
    /// All zero.
    pub fn zeros() -> Self {
        Self {
            layers: LAYERS.map(|(_, inputs, outputs)| Affine { weight: vec![0.0; inputs * outputs], bias: vec![0.0; outputs] }),
        }
    }

    /// The tensors in a fixed order: weight and bias of each layer.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.layers.iter_mut().flat_map(|layer| [&mut layer.weight, &mut layer.bias])
    }

    /// Features and logits of n images of normalised pixels (n x 28 x 28).
    ///
    /// # Panics
    /// If `images` is not a whole number of images, or a parameter has lost its shape.
    pub fn forward(&self, images: &[f32], kept: &mut Activations) {
        assert!(images.len().is_multiple_of(PIXELS), "{} pixels", images.len());
        let [conv1, conv2, hidden, head] = &self.layers;
        gather_windows(images, MAP1, &mut kept.windows1);
        conv1.apply(&kept.windows1, &mut kept.conv1);
        pool_relu(&kept.conv1, MAP2, &mut kept.map2);
        gather_windows(&kept.map2, MAP2, &mut kept.windows2);
        conv2.apply(&kept.windows2, &mut kept.conv2);
        pool_relu(&kept.conv2, MAP3, &mut kept.map3);
        hidden.apply(&kept.map3, &mut kept.features);
        for feature in &mut kept.features {
            *feature = feature.max(0.0);
        }
        head.apply(&kept.features, &mut kept.logits);
    }
}

/// Where in the maps each row of each window starts, in the order of the table of windows.
///
/// A row of a window is `KERNEL * channels` contiguous values in the maps and in the table.
pub fn window_rows(maps: usize, (side, channels): (usize, usize)) -> impl Iterator<Item = usize> {
    let places = side - KERNEL + 1;
    (0..maps).flat_map(move |map| {
        (0..places)
            .flat_map(move |y| (0..places).flat_map(move |x| (0..KERNEL).map(move |row| ((map * side + y + row) * side + x) * channels)))
    })
}

/// Copies all windows of all maps: n x side x side x channels to (n * places * places) x (5 * 5 * channels).
fn gather_windows(maps: &[f32], shape: (usize, usize), windows: &mut Vec<f32>) {
    let (side, channels) = shape;
    let places = side - KERNEL + 1;
    let n = maps.len() / (side * side * channels);
    windows.resize(n * places * places * KERNEL * KERNEL * channels, 0.0);
    for (to, from) in windows.chunks_exact_mut(KERNEL * channels).zip(window_rows(n, shape)) {
        to.copy_from_slice(&maps[from..from + KERNEL * channels]);
    }
}

/// Starts of the four pixels that are pooled into one, for every pixel of the smaller maps.
pub fn quads(maps: usize, (side, channels): (usize, usize)) -> impl Iterator<Item = [usize; 4]> {
    let row = 2 * side * channels;
    (0..maps * side).flat_map(move |y| {
        (0..side).map(move |x| {
            let at = 2 * y * row + 2 * x * channels;
            [at, at + channels, at + row, at + row + channels]
        })
    })
}

/// max(0, the largest of each 2x2 square), per channel; `shape` is of the smaller maps.
fn pool_relu(maps: &[f32], shape: (usize, usize), pooled: &mut Vec<f32>) {
    let (side, channels) = shape;
    pooled.resize(maps.len() / 4, 0.0);
    let n = pooled.len() / (side * side * channels);
    for (out, quad) in pooled.chunks_exact_mut(channels).zip(quads(n, shape)) {
        out.fill(0.0);
        for at in quad {
            for (largest, value) in out.iter_mut().zip(&maps[at..at + channels]) {
                *largest = largest.max(*value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;

    fn random_network() -> ClassifierNetwork {
        let mut network = ClassifierNetwork::zeros();
        for (stream, layer) in network.layers.iter_mut().enumerate() {
            let scale = (layer.bias.len() as f32 / layer.weight.len() as f32).sqrt();
            Rng::new(3, stream as u64).fill_gaussian(0, &mut layer.weight);
            Rng::new(4, stream as u64).fill_gaussian(0, &mut layer.bias);
            layer.weight.iter_mut().for_each(|w| *w *= scale);
            layer.bias.iter_mut().for_each(|b| *b *= 0.1);
        }
        network
    }

    fn random_images(n: usize) -> Vec<f32> {
        let mut images = vec![0.0; n * PIXELS];
        Rng::new(5, 0).fill_gaussian(0, &mut images);
        images
    }

    /// A valid convolution, ReLU and pooling written out over pixels, in f64.
    fn naive_stage(map: &[f64], (side, channels): (usize, usize), layer: &Affine) -> Vec<f64> {
        let outputs = layer.bias.len();
        let places = side - KERNEL + 1;
        let mut convolved = vec![0.0; places * places * outputs];
        for y in 0..places {
            for x in 0..places {
                for out in 0..outputs {
                    let mut sum = f64::from(layer.bias[out]);
                    for i in 0..KERNEL {
                        for j in 0..KERNEL {
                            for c in 0..channels {
                                let weight = layer.weight[((i * KERNEL + j) * channels + c) * outputs + out];
                                sum += f64::from(weight) * map[((y + i) * side + x + j) * channels + c];
                            }
                        }
                    }
                    convolved[(y * places + x) * outputs + out] = sum.max(0.0);
                }
            }
        }
        let half = places / 2;
        let mut pooled = vec![0.0; half * half * outputs];
        for (index, value) in convolved.iter().enumerate() {
            let (y, x, out) = (index / outputs / places, index / outputs % places, index % outputs);
            let cell = &mut pooled[((y / 2) * half + x / 2) * outputs + out];
            *cell = f64::max(*cell, *value);
        }
        pooled
    }

    fn naive_affine(input: &[f64], layer: &Affine) -> Vec<f64> {
        let outputs = layer.bias.len();
        let row = |out| input.iter().enumerate().map(move |(i, x)| x * f64::from(layer.weight[i * outputs + out]));
        (0..outputs).map(|out| f64::from(layer.bias[out]) + row(out).sum::<f64>()).collect()
    }

    #[test]
    fn forward_equals_loops_over_pixels() {
        let network = random_network();
        let images = random_images(3);
        let mut kept = Activations::default();
        network.forward(&images, &mut kept);
        for (n, image) in images.chunks_exact(PIXELS).enumerate() {
            let image: Vec<f64> = image.iter().map(|&x| f64::from(x)).collect();
            let map2 = naive_stage(&image, MAP1, &network.layers[0]);
            let map3 = naive_stage(&map2, MAP2, &network.layers[1]);
            let features: Vec<f64> = naive_affine(&map3, &network.layers[2]).into_iter().map(|x| x.max(0.0)).collect();
            let logits = naive_affine(&features, &network.layers[3]);
            for (fast, naive) in kept.features[n * FEATURES..].iter().zip(&features) {
                assert!((f64::from(*fast) - naive).abs() < 1e-4, "feature {fast} {naive}");
            }
            for (fast, naive) in kept.logits[n * CLASSES..].iter().zip(&logits) {
                assert!((f64::from(*fast) - naive).abs() < 1e-4, "logit {fast} {naive}");
            }
        }
    }
}
