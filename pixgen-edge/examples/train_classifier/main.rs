//! Trains the Fashion-MNIST classifier behind `pixgen_edge::eval` and writes its safetensors file.
//!
//! ```text
//! apt-get install dataset-fashion-mnist
//! RAYON_NUM_THREADS=1 cargo run --release -p pixgen-edge --example train_classifier -- \
//!     /usr/share/datasets/fashion-mnist pixgen-edge/data/fashion-classifier/classifier.safetensors
//! ```
//!
//! It prints the accuracy on the real test split, the speed, and the Fréchet distances of real training images and of noise. The
//! forward pass is that of `eval::network`, so what is trained here is exactly what measures.

mod backward;

use std::{env, error::Error, fs, path::Path, time::Instant};

use backward::backward;
use pixgen_core::rng::{Draws, Rng};
use pixgen_edge::data::{
    Dataset,
    idx::{self, DataPart},
};
use pixgen_edge::eval::network::{Activations, CLASSES, ClassifierNetwork, LAYERS, PIXELS, SIDE, normalise};
use pixgen_edge::eval::{Classifier, ClassifierCard, EvalError, frechet};

const SEED: u64 = 20_260;
const EPOCHS: usize = 30;
const BATCH: usize = 128;
/// Images whose intermediate results stay in the cache; a batch is the sum of its blocks.
const BLOCK: usize = 8;
const PEAK_RATE: f32 = 2e-3;
const WARM_UP_STEPS: usize = 200;
const WEIGHT_DECAY: f32 = 1e-2;
/// Share of the target that is spread over all classes.
const SMOOTHING: f32 = 0.05;
/// An image is moved by at most this many pixels each way.
const LARGEST_SHIFT: i32 = 1;

/// Streams of random numbers.
const INIT: u64 = 0;
const ORDER: u64 = 1;
const AUGMENT: u64 = 2;
const REAL_SAMPLE: u64 = 3;
const NOISE: u64 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [data, out] = arguments.as_slice() else {
        return Err("usage: train_classifier DATA_FOLDER OUT.safetensors".into());
    };
    let train = idx::load(Path::new(data), DataPart::Train, false)?;
    let test = idx::load(Path::new(data), DataPart::Test, false)?;
    for data in [&train, &test] {
        Classifier::check_shape(data.shape.channels, data.shape.height, data.shape.width)?;
        if data.class_names.len() > CLASSES {
            return Err(format!("{}: {} classes, the network has {CLASSES}", data.source, data.class_names.len()).into());
        }
    }

    let start = Instant::now();
    let pixels = train.pixels()?;
    let network = train_network(&train, &pixels);
    println!("trained in {:.0} s", start.elapsed().as_secs_f64());

    let classifier = Classifier::new(network, &test.pixels()?)?;
    let start = Instant::now();
    let predicted = classifier.predict(&test.pixels()?)?;
    println!("{} test images classified in {:.2} s", predicted.len(), start.elapsed().as_secs_f64());
    let right = predicted.iter().zip(&test.labels).filter(|(p, l)| u16::from(**p) == **l).count();
    let accuracy = right as f64 / test.len() as f64;
    println!("test accuracy {accuracy:.4}");
    let classifier = classifier.with_card(ClassifierCard::from([
        ("test_accuracy".into(), format!("{accuracy:.4}")),
        (
            "data".into(),
            "Fashion-MNIST: trained on the 60000 training images, reference moments of the 10000 test images".into(),
        ),
        ("command".into(), "cargo run --release -p pixgen-edge --example train_classifier -- DATA_FOLDER OUT".into()),
        ("seed".into(), SEED.to_string()),
        ("epochs".into(), EPOCHS.to_string()),
    ]));

    for n in [1_000, 5_000] {
        let order = shuffled(train.len(), Draws::new(Rng::new(SEED, REAL_SAMPLE), 0));
        let real: Vec<u8> = order.iter().take(n).flat_map(|&index| image(&pixels, index)).copied().collect();
        let rng = Rng::new(SEED, NOISE);
        let noise: Vec<u8> = (0..(n * PIXELS) as u64).map(|index| (rng.u32(index) >> 24) as u8).collect();
        let (real, noise) = (fd(&classifier, &real)?, fd(&classifier, &noise)?);
        println!("FD-fmnist of {n}: real training images {real:.3}, uniform noise {noise:.1}");
    }
    fs::write(out, classifier.to_bytes()?)?;
    Ok(())
}

fn fd(classifier: &Classifier, images: &[u8]) -> Result<f64, EvalError> {
    frechet::distance(&classifier.moments(images)?, classifier.reference())
}

fn image(pixels: &[u8], index: usize) -> &[u8] {
    &pixels[index * PIXELS..][..PIXELS]
}

/// Adam with decoupled weight decay under a one-cycle rate: linear warm-up, then a cosine to 0.
fn train_network(data: &Dataset, images: &[u8]) -> ClassifierNetwork {
    let mut network = initial_network();
    let (mut first, mut second) = (ClassifierNetwork::zeros(), ClassifierNetwork::zeros());
    let steps_per_epoch = data.len() / BATCH;
    let steps = EPOCHS * steps_per_epoch;
    let mut kept = Activations::default();
    let start = Instant::now();
    for epoch in 0..EPOCHS {
        let order = shuffled(data.len(), Draws::new(Rng::new(SEED, ORDER), (epoch * data.len()) as u64));
        let mut loss = 0.0;
        let mut right = 0;
        for (batch, chosen) in order.chunks_exact(BATCH).enumerate() {
            let step = epoch * steps_per_epoch + batch;
            let mut gradient = ClassifierNetwork::zeros();
            for (block, chosen) in chosen.chunks(BLOCK).enumerate() {
                let seen = (step * BATCH + block * BLOCK) as u64;
                let mut pixels = Vec::with_capacity(BLOCK * PIXELS);
                for (i, &index) in chosen.iter().enumerate() {
                    let draws = Draws::new(Rng::new(SEED, AUGMENT), 4 * (seen + i as u64));
                    augmented(image(images, index), draws, &mut pixels);
                }
                network.forward(&pixels, &mut kept);
                let mut d_logits = kept.logits.clone();
                for (row, &index) in d_logits.chunks_exact_mut(CLASSES).zip(chosen) {
                    right += usize::from(row.iter().all(|l| *l <= row[usize::from(data.labels[index])]));
                    loss += cross_entropy(row, usize::from(data.labels[index]));
                }
                backward(&network, &kept, &d_logits, &mut gradient);
            }
            adam_step(&mut network, &mut gradient, &mut first, &mut second, step, steps);
        }
        let seen = (steps_per_epoch * BATCH) as f32;
        let accuracy = right as f32 / seen;
        let seconds = start.elapsed().as_secs_f64();
        println!("epoch {epoch:2}: loss {:.4}, augmented training accuracy {accuracy:.4}, {seconds:.0} s", loss / seen);
    }
    network
}

/// Gaussian weights of variance 2 / inputs (He et al. 2015), zero biases.
fn initial_network() -> ClassifierNetwork {
    let mut network = ClassifierNetwork::zeros();
    for (index, ((_, inputs, _), layer)) in LAYERS.iter().zip(&mut network.layers).enumerate() {
        Rng::new(SEED, INIT).fill_gaussian((index as u64) << 32, &mut layer.weight);
        let scale = (2.0 / *inputs as f32).sqrt();
        layer.weight.iter_mut().for_each(|w| *w *= scale);
    }
    network
}

/// A random order of 0..n (Fisher-Yates).
fn shuffled(n: usize, mut draws: Draws) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, draws.below(i as u32 + 1) as usize);
    }
    order
}

/// Appends the image moved by a few pixels, half of the time mirrored, normalised; black comes in from outside.
fn augmented(image: &[u8], mut draws: Draws, pixels: &mut Vec<f32>) {
    let mut shift = || draws.below(2 * LARGEST_SHIFT as u32 + 1) as i32 - LARGEST_SHIFT;
    let (down, right) = (shift(), shift());
    let mirrored = draws.below(2) == 1;
    let inside = 0..SIDE as i32;
    for y in inside.clone() {
        for x in inside.clone() {
            let x = if mirrored { SIDE as i32 - 1 - x } else { x };
            let (from_y, from_x) = (y - down, x - right);
            let seen = inside.contains(&from_y) && inside.contains(&from_x);
            pixels.push(normalise(if seen { image[from_y as usize * SIDE + from_x as usize] } else { 0 }));
        }
    }
}

/// The smoothed cross-entropy of one image; its logits are replaced by the derivatives of the batch mean.
fn cross_entropy(logits: &mut [f32], label: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = largest + logits.iter().map(|l| (l - largest).exp()).sum::<f32>().ln();
    let mut loss = 0.0;
    for (class, logit) in logits.iter_mut().enumerate() {
        let wanted = SMOOTHING / CLASSES as f32 + if class == label { 1.0 - SMOOTHING } else { 0.0 };
        let log_probability = *logit - log_sum;
        loss -= wanted * log_probability;
        *logit = (log_probability.exp() - wanted) / BATCH as f32;
    }
    loss
}

fn adam_step(
    network: &mut ClassifierNetwork,
    gradient: &mut ClassifierNetwork,
    first: &mut ClassifierNetwork,
    second: &mut ClassifierNetwork,
    step: usize,
    steps: usize,
) {
    const BETA1: f32 = 0.9;
    const BETA2: f32 = 0.999;
    let done = step as f32 / steps as f32;
    let warm_up = ((step + 1) as f32 / WARM_UP_STEPS as f32).min(1.0);
    let rate = PEAK_RATE * warm_up * 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
    let corrected = |beta: f32| 1.0 - beta.powi(step as i32 + 1);
    let (correction1, correction2) = (corrected(BETA1), corrected(BETA2));
    let moments = first.tensors_mut().zip(second.tensors_mut());
    for ((values, gradients), (first, second)) in network.tensors_mut().zip(gradient.tensors_mut()).zip(moments) {
        for (((value, g), m), v) in values.iter_mut().zip(gradients.iter()).zip(first).zip(second) {
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = BETA2 * *v + (1.0 - BETA2) * g * g;
            let update = (*m / correction1) / ((*v / correction2).sqrt() + 1e-8);
            *value -= rate * (update + WEIGHT_DECAY * *value);
        }
    }
}
