//! Training by the fused operations and by burn's own goes the same way: the same losses from the same seed, step after step.

use burn_flex::Flex;
use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::presets::preset;
use pixgen_tests::alone;
use pixgen_train::bench::step::Stepper;
use pixgen_train::config::{RunConfig, StageKind};
use pixgen_train::ops::{Implementation, set_implementation};

/// Steps of each run.
const STEPS: usize = 200;
/// The most that two losses may differ by, relative to the loss where that is above 1.
const CLOSE: f64 = 1e-3;

/// Peak learning rate at which rounding stays small. In stage 1 it grows with the rate (see the second test).
const RATE: f64 = 3e-5;

/// A small model of every kind of layer: 18 tokens, a bridge between towers of different widths.
fn config(stage: StageKind, peak: Option<f64>) -> RunConfig {
    let mut config = RunConfig::defaults(stage, preset("nano-28-grey").expect("preset"));
    let tower = |width| Tower { depth: 2, width, heads: 2 };
    config.model = ModelConfig { size: 8, channels: 1, patch: 2, classes: 3, encoder: tower(24), decoder: tower(32) };
    config.train.batch = 32;
    // Halfway, where steps are taken, the rate of the cosine is half its peak; the run is long enough to stay there.
    config.train.images = 1_000_000;
    config.schedule.peak = peak.unwrap_or(config.schedule.peak);
    config
}

/// The losses of a run whose parameters begin as usual, or changed.
fn curve(config: RunConfig, implementation: Implementation, change: Option<fn(f32) -> f32>) -> Vec<f64> {
    set_implementation(implementation);
    let mut stepper = Stepper::<Flex>::new(config, &Default::default()).expect("a valid configuration");
    if let Some(change) = change {
        stepper.change(change);
    }
    let losses = (0..STEPS).map(|_| stepper.step().expect("finite").loss).collect();
    set_implementation(Implementation::Fused);
    losses
}

/// The greatest difference of two runs, relative to the loss where that is above 1, and its step.
fn difference(a: &[f64], b: &[f64]) -> (usize, f64) {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    differences
        .enumerate()
        .fold((0, 0.0), |worst, (i, d)| if d > worst.1 || d.is_nan() { (i, d) } else { worst })
}

#[test]
fn fused_and_plain_training_have_the_same_losses() {
    let _alone = alone();
    for stage in [StageKind::Pretrain, StageKind::Consistency] {
        let [fused, plain] = [Implementation::Fused, Implementation::Plain].map(|choice| curve(config(stage, Some(RATE)), choice, None));
        let (at, worst) = difference(&fused, &plain);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&fused[..20]), mean(&fused[STEPS - 20..]));
        println!("{stage:?}: loss {first:.4} to {last:.4} in {STEPS} steps; greatest difference {worst:.2e} at step {at}");
        assert!(worst <= CLOSE, "{stage:?}: {} and {} at step {at}", fused[at], plain[at]);
        assert!(last < first, "{stage:?}: nothing was learnt, so this test shows little");
        assert_ne!(fused, plain, "{stage:?}: both runs used the same operations");
    }
}

/// At its default rate stage 1 carries any difference on: of two runs with burn's own operations, one of which begins with parameters that
/// are off by one unit in the last place, the losses part as far as those of the fused and the plain run.
#[test]
fn at_its_default_rate_stage_1_amplifies_rounding() {
    let _alone = alone();
    let run = |implementation, change| curve(config(StageKind::Pretrain, None), implementation, change);
    let plain = run(Implementation::Plain, None);
    let (_, fused) = difference(&run(Implementation::Fused, None), &plain);
    let next: fn(f32) -> f32 = |value| {
        if value.to_bits() % 2 == 0 {
            f32::from_bits(value.to_bits() ^ 1)
        } else {
            value
        }
    };
    let (_, rounded) = difference(&run(Implementation::Plain, Some(next)), &plain);
    println!("greatest difference: fused and plain {fused:.2e}, plain and plain from the next numbers {rounded:.2e}");
    assert!(rounded > CLOSE / 10.0, "rounding is not amplified, so {fused:e} is not explained by it");
    assert!(fused < 10.0 * rounded, "{fused:e} is more than rounding, {rounded:e}, explains");
}
