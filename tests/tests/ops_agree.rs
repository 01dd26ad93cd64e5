//! Training by the fused operations and by burn's own goes the same way: the same losses from the same seed, step after step.

use burn_flex::Flex;
use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::presets::preset;
use pixgen_tests::alone;
use pixgen_train::bench::step::Stepper;
use pixgen_train::config::{RunConfig, Stage};
use pixgen_train::ops::{Implementation, set_implementation};

/// Steps of each run.
const STEPS: usize = 200;
/// The most that two losses may differ by, relative to the loss where that is above 1.
const CLOSE: f64 = 1e-3;

/// A small model of every kind of layer: 18 tokens, a bridge between towers of different widths.
fn config(stage: Stage) -> RunConfig {
    let mut config = RunConfig::defaults(stage, preset("nano-28-grey").expect("preset"));
    let tower = |width| Tower { depth: 2, width, heads: 2 };
    config.model = ModelConfig { size: 8, channels: 1, patch: 2, classes: 3, encoder: tower(24), decoder: tower(32) };
    config.train.batch = 32;
    // Halfway, where steps are taken, the rate of the cosine is half its peak; the run is long enough to stay there.
    config.train.images = 1_000_000;
    // In stage 1 rounding grows with the rate: at 1e-4 the curves were 5e-4 apart within 200 steps, at 3e-4 1.2e-3, at 1e-3 8e-3.
    config.schedule.peak = 3e-5;
    config
}

/// The losses of a run.
fn curve(stage: Stage, implementation: Implementation) -> Vec<f64> {
    set_implementation(implementation);
    let mut stepper = Stepper::<Flex>::new(config(stage), &Default::default()).expect("a valid configuration");
    let losses = (0..STEPS).map(|_| stepper.step().expect("finite").loss).collect();
    set_implementation(Implementation::Fused);
    losses
}

#[test]
fn fused_and_plain_training_have_the_same_losses() {
    let _alone = alone();
    for stage in [Stage::Pretrain, Stage::Consistency] {
        let [fused, plain] = [Implementation::Fused, Implementation::Plain].map(|choice| curve(stage, choice));
        let differences = fused.iter().zip(&plain).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
        let (at, worst) = differences
            .enumerate()
            .fold((0, 0.0), |worst, (i, d)| if d > worst.1 || d.is_nan() { (i, d) } else { worst });
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&fused[..20]), mean(&fused[STEPS - 20..]));
        println!("{stage:?}: loss {first:.4} to {last:.4} in {STEPS} steps; greatest difference {worst:.2e} at step {at}");
        assert!(worst <= CLOSE, "{stage:?}: {} and {} at step {at}", fused[at], plain[at]);
        assert!(last < first, "{stage:?}: nothing was learnt, so this test shows little");
        assert_ne!(fused, plain, "{stage:?}: both runs used the same operations");
    }
}
