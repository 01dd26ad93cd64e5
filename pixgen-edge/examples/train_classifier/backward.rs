//! The gradient of the classifier's network.

use pixgen_edge::eval::network::{Activations, Affine, ClassifierNetwork, KERNEL, MAP2, MAP3, quads, window_rows};
use pixgen_edge::matmul::{Into, Matrix, MatrixMut, Threads, matmul};

/// Adds to `gradient` the gradient of a loss whose derivative by the logits (n x 10) is `d_logits`, for the batch that `kept`
/// was filled with.
///
/// # Panics
/// If `d_logits` and `kept` are of different batches.
pub fn backward(network: &ClassifierNetwork, kept: &Activations, d_logits: &[f32], gradient: &mut ClassifierNetwork) {
    assert_eq!(d_logits.len(), kept.logits.len(), "derivatives of the logits");
    let [_, conv2, hidden, head] = &network.layers;
    let [d_conv1, d_conv2, d_hidden, d_head] = &mut gradient.layers;

    affine(&kept.features, d_logits, d_head);
    let mut d_features = affine_input(head, d_logits);
    for (d, feature) in d_features.iter_mut().zip(&kept.features) {
        *d = if *feature > 0.0 { *d } else { 0.0 };
    }
    affine(&kept.map3, &d_features, d_hidden);
    let d_map3 = affine_input(hidden, &d_features);
    let d_maps = pool_relu_backward(&d_map3, &kept.map3, &kept.conv2, MAP3);
    affine(&kept.windows2, &d_maps, d_conv2);
    let d_map2 = scatter_windows(&affine_input(conv2, &d_maps), MAP2);
    let d_maps = pool_relu_backward(&d_map2, &kept.map2, &kept.conv1, MAP2);
    affine(&kept.windows1, &d_maps, d_conv1);
}

/// Adds the gradient of the parameters to `gradient`.
fn affine(input: &[f32], d_output: &[f32], gradient: &mut Affine) {
    let outputs = gradient.bias.len();
    let inputs = gradient.weight.len() / outputs;
    let rows = input.len() / inputs;
    let output = MatrixMut::new(&mut gradient.weight, inputs, outputs);
    let input = Matrix::new(input, rows, inputs).transposed();
    matmul(output, Into::Accumulate, 1.0, input, Matrix::new(d_output, rows, outputs), Threads::Caller);
    for row in d_output.chunks_exact(outputs) {
        for (sum, d) in gradient.bias.iter_mut().zip(row) {
            *sum += d;
        }
    }
}

/// The gradient of the input.
fn affine_input(layer: &Affine, d_output: &[f32]) -> Vec<f32> {
    let outputs = layer.bias.len();
    let inputs = layer.weight.len() / outputs;
    let rows = d_output.len() / outputs;
    let mut d_input = vec![0.0; rows * inputs];
    let (output, weight) = (MatrixMut::new(&mut d_input, rows, inputs), Matrix::new(&layer.weight, inputs, outputs).transposed());
    matmul(output, Into::Overwrite, 1.0, Matrix::new(d_output, rows, outputs), weight, Threads::Caller);
    d_input
}

/// The transpose of gathering windows: adds every window back into the map it came from.
fn scatter_windows(windows: &[f32], shape: (usize, usize)) -> Vec<f32> {
    let (side, channels) = shape;
    let places = side - KERNEL + 1;
    let n = windows.len() / (places * places * KERNEL * KERNEL * channels);
    let mut maps = vec![0.0; n * side * side * channels];
    for (from, to) in windows.chunks_exact(KERNEL * channels).zip(window_rows(n, shape)) {
        for (sum, value) in maps[to..to + KERNEL * channels].iter_mut().zip(from) {
            *sum += value;
        }
    }
    maps
}

/// The gradient of the larger maps: it goes to the first pixel of the square that is the largest, if that is positive.
fn pool_relu_backward(d_pooled: &[f32], pooled: &[f32], maps: &[f32], shape: (usize, usize)) -> Vec<f32> {
    let (side, channels) = shape;
    let n = pooled.len() / (side * side * channels);
    let mut d_maps = vec![0.0; maps.len()];
    let squares = d_pooled.chunks_exact(channels).zip(pooled.chunks_exact(channels));
    for ((d, largest), quad) in squares.zip(quads(n, shape)) {
        for channel in 0..channels {
            if largest[channel] > 0.0
                && let Some(at) = quad.iter().find(|&&at| maps[at + channel] == largest[channel])
            {
                d_maps[at + channel] = d[channel];
            }
        }
    }
    d_maps
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixgen_core::rng::Rng;
    use pixgen_edge::eval::network::{CLASSES, LAYERS, PIXELS};

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

    #[test]
    fn backward_equals_finite_differences() {
        // The loss is the sum of logits times fixed coefficients.
        let mut network = random_network();
        let images = random_images(2);
        let mut coefficients = vec![0.0; 2 * CLASSES];
        Rng::new(6, 0).fill_gaussian(0, &mut coefficients);
        let loss = |network: &ClassifierNetwork| -> f64 {
            let mut kept = Activations::default();
            network.forward(&images, &mut kept);
            kept.logits.iter().zip(&coefficients).map(|(l, c)| f64::from(*l) * f64::from(*c)).sum()
        };
        let mut kept = Activations::default();
        network.forward(&images, &mut kept);
        let mut gradient = ClassifierNetwork::zeros();
        backward(&network, &kept, &coefficients, &mut gradient);

        for (layer, (name, ..)) in LAYERS.into_iter().enumerate() {
            // Along the gradient itself, where rounding matters least.
            let square: f64 = gradient.layers[layer].weight.iter().map(|g| f64::from(*g).powi(2)).sum();
            assert!(square > 0.0);
            let step = 1e-3 / square.sqrt();
            let start = network.layers[layer].weight.clone();
            let mut moved = |sign: f64| {
                for ((w, s), g) in network.layers[layer].weight.iter_mut().zip(&start).zip(&gradient.layers[layer].weight) {
                    *w = (f64::from(*s) + sign * step * f64::from(*g)) as f32;
                }
                loss(&network)
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            moved(0.0);
            assert!((slope / square - 1.0).abs() < 0.02, "{name}: {slope} {square}");

            for index in 0..network.layers[layer].bias.len() {
                let exact = f64::from(gradient.layers[layer].bias[index]);
                let start = network.layers[layer].bias[index];
                network.layers[layer].bias[index] = start + 1e-3;
                let up = loss(&network);
                network.layers[layer].bias[index] = start - 1e-3;
                let down = loss(&network);
                network.layers[layer].bias[index] = start;
                let slope = (up - down) / 2e-3;
                assert!((slope - exact).abs() < 0.02 * exact.abs().max(1.0), "{name} {index}: {slope} {exact}");
            }
        }
    }
}
