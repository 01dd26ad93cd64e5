//! The convolutions here beside burn's `conv2d`: the same maps, and how long both take.
//!
//!     cargo test --release -p pixgen-train --lib beside_burn -- --nocapture

use std::time::{Duration, Instant};

use burn_flex::{Flex, FlexDevice};
use burn_tensor::module::conv2d;
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Tensor, TensorData};

use super::convolution::{Activation, Convolution, Depthwise, Maps, Padding, WindowShape};
use super::weights::Weights;
use pixgen_core::rng::Rng;

/// Runs of each; the median counts.
const RUNS: usize = 5;

fn random(stream: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    Rng::new(22, stream).fill_gaussian(0, &mut values);
    values
}

/// Random filters and a batch norm that does nothing but for its epsilon.
fn weights() -> Weights<'static> {
    Weights::from_fn(|name, dims| match name {
        "c.weight" => random(1, dims.iter().product()),
        "n.weight" | "n.running_var" => vec![1.0; dims[0]],
        _ => vec![0.0; dims[0]],
    })
}

/// Values at `[channel, place]` of values at `[place, channel]`.
fn channels_first(values: &[f32], channels: usize) -> Vec<f32> {
    (0..values.len())
        .map(|at| values[at % (values.len() / channels) * channels + at / (values.len() / channels)])
        .collect()
}

/// One image through a convolution, `RUNS` times: the maps, and the median of the times.
fn timed<T>(mut run: impl FnMut() -> T) -> (T, Duration) {
    let mut last = run();
    let mut times = [Duration::ZERO; RUNS];
    for time in &mut times {
        let start = Instant::now();
        last = run();
        *time = start.elapsed();
    }
    times.sort_unstable();
    (last, times[RUNS / 2])
}

#[test]
fn convolutions_are_burns() {
    // Of EfficientNet-Lite0 at 96 pixels and of Inception: side, channels in and out, window, whether each channel is alone.
    for (name, side, inputs, outputs, kernel, alone) in [
        ("EfficientNet-Lite0, 1x1, wide", 24, 24, 144, (1, 1), false),
        ("EfficientNet-Lite0, depthwise 3x3", 24, 144, 144, (3, 3), true),
        ("EfficientNet-Lite0, depthwise 5x5", 6, 672, 672, (5, 5), true),
        ("EfficientNet-Lite0, 1x1, narrow", 6, 672, 112, (1, 1), false),
        ("Inception, 3x3", 73, 64, 96, (3, 3), false),
        ("Inception, 1x7", 17, 160, 160, (1, 7), false),
    ] {
        let padding = Padding::Each(kernel.0 / 2, kernel.1 / 2);
        let shape = WindowShape { kernel, stride: 1, padding, inputs, outputs };
        let maps = Maps { n: 1, height: side, width: side, channels: inputs, values: random(0, side * side * inputs) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (ours, our_time) = pool.install(|| {
            if alone {
                let layer = Depthwise::load(&weights(), "c", "n", shape, Activation::Relu).unwrap();
                timed(|| layer.apply(&maps))
            } else {
                let layer = Convolution::load(&weights(), "c", "n", shape, Activation::Relu).unwrap();
                timed(|| layer.apply(&maps))
            }
        });
        let groups = if alone { inputs } else { 1 };
        let dims = [outputs, inputs / groups, kernel.0, kernel.1];
        let filters = random(1, dims.iter().product()).into_iter().map(|v| v / (1.0f32 + 1e-3).sqrt()).collect();
        let weight = Tensor::<Flex, 4>::from_data(TensorData::new(filters, dims), &FlexDevice);
        let bias = Tensor::<Flex, 1>::zeros([outputs], &FlexDevice);
        let input = TensorData::new(channels_first(&maps.values, inputs), [1, inputs, side, side]);
        let input = Tensor::<Flex, 4>::from_data(input, &FlexDevice);
        let options = || ConvOptions::new([1, 1], [kernel.0 / 2, kernel.1 / 2], [1, 1], groups);
        let (burns, burn_time) =
            pool.install(|| timed(|| conv2d(input.clone(), weight.clone(), Some(bias.clone()), options()).clamp_min(0.0)));
        println!("{name:36}{our_time:>12.1?}{burn_time:>12.1?}{:>6.2}", burn_time.as_secs_f64() / our_time.as_secs_f64());
        let expected = burns.into_data().into_vec::<f32>().unwrap();
        let found = channels_first(&ours.values, outputs);
        let scale = expected.iter().fold(0.0f32, |largest, value| largest.max(*value));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == expected.len() && worst <= 1e-5 * scale, "{name}: off by {worst} of {scale}");
    }
}
