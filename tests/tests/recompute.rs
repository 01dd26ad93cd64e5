//! Recomputation: the gradient of the whole graph, in less memory.

use burn_flex::Flex;
use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::noise::NoiseConfig;
use pixgen_core::presets::preset;
use pixgen_edge::param_set::ParamSet;
use pixgen_tests::alone;
use pixgen_tests::stages::{PROJECTOR, consistency_settings, pretrain_settings, progress, random_weights, source};
use pixgen_train::objective::auxiliary::{FrozenEncoder, FrozenFeature};
use pixgen_train::objective::consistency::Consistency;
use pixgen_train::objective::consistency_config::ConsistencyConfig;
use pixgen_train::objective::pretrain::Pretrain;
use pixgen_train::objective::{Compute, Terms, TrainingProgress};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes in use and remembers the most there were.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: both calls are handed on to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `run` gives, and the bytes that it needed at most.
fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

fn model(depth: usize, [encoder, decoder]: [usize; 2]) -> ModelConfig {
    let model = preset("nano-28-grey").expect("preset").model;
    let tower = |width| Tower { depth, width, heads: 2 };
    ModelConfig { encoder: tower(encoder), decoder: tower(decoder), ..model }
}

type Answer = (Terms, Vec<f32>);

fn pretrain(config: ModelConfig, progress: &TrainingProgress, recompute: bool) -> (Answer, usize) {
    let set = ParamSet::pretraining(&config, &PROJECTOR);
    let params = random_weights(&set, 7);
    let noise = NoiseConfig::with_shift(1.0);
    let objective = Pretrain::<Flex>::new(config, noise, pretrain_settings(), source(), &params, Default::default());
    let mut objective = objective.with_compute(Compute { recompute, ..Compute::default() });
    objective.set_target(&random_weights(&set, 8));
    let batch = objective.sample(progress).expect("pictures");
    let mut gradient = vec![0.0; set.len()];
    let (terms, peak) = peak_of(|| objective.gradient_on(&params, &batch, progress.micro_batch, &mut gradient));
    ((terms, gradient), peak)
}

fn consistency(config: ModelConfig, settings: ConsistencyConfig, progress: &TrainingProgress, recompute: bool) -> (Answer, usize) {
    let set = ParamSet::generator(&config);
    let params = random_weights(&set, 6);
    let frozen = FrozenEncoder::fresh(&config, &PROJECTOR, 4);
    let noise = NoiseConfig::with_shift(1.0);
    let objective = Consistency::<Flex>::new(config, noise, settings, source(), Some(frozen), Default::default());
    let objective = objective.with_compute(Compute { recompute, ..Compute::default() });
    let batch = objective.sample(progress).expect("pictures");
    let mut gradient = vec![0.0; set.len()];
    let (terms, peak) = peak_of(|| objective.gradient_on(&params, &batch, progress, &mut gradient));
    ((terms, gradient), peak)
}

/// The same terms, and gradients within `tolerance` of each tensor's largest.
fn assert_same(name: &str, set: &ParamSet, [(terms, want), (terms_again, got)]: [Answer; 2], tolerance: f32) {
    assert_eq!(terms, terms_again, "{name}");
    let mut worst: f32 = 0.0;
    for entry in set.entries() {
        let (want, got) = (&want[entry.range.clone()], &got[entry.range.clone()]);
        let largest = want.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
        assert!(largest > 0.0, "{name}: {} has no gradient", entry.name);
        let difference = want.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // A gradient of nothing but rounding has no relative error.
        let error = difference / largest.max(1e-5);
        assert!(error <= tolerance, "{name}: {} differs by {error:e}", entry.name);
        worst = worst.max(error);
    }
    println!("{name}: {worst:.1e}");
}

/// The same bits in stage 1, whose batch norms and negatives see the whole batch: in one piece, which keeps its tapes, and in several.
#[test]
fn stage_1_has_the_same_gradient() {
    let _alone = alone();
    let config = model(3, [32, 32]);
    let set = ParamSet::pretraining(&config, &PROJECTOR);
    for micro in [32, 5] {
        let answers = [false, true].map(|recompute| pretrain(config, &progress(micro), recompute).0);
        assert_same(&format!("stage 1, micro {micro}"), &set, answers, 0.0);
    }
}

/// In stage 2b with classes, dropout and auxiliary loss, with towers of one width and of two. What the long skip and both branches of the
/// next block want of a block's output is added up in another order.
#[test]
fn stage_2_has_the_same_gradient() {
    let _alone = alone();
    for (widths, auxiliary_feature) in [([32, 32], FrozenFeature::Projected), ([32, 24], FrozenFeature::ClassToken)] {
        let config = model(3, widths);
        let set = ParamSet::generator(&config);
        let settings = ConsistencyConfig { auxiliary_feature, ..consistency_settings() };
        for micro in [32, 5] {
            let answers = [false, true].map(|recompute| consistency(config, settings, &progress(micro), recompute).0);
            assert_same(&format!("stage 2b, widths {widths:?}, micro {micro}"), &set, answers, 2e-6);
        }
    }
}

/// Stage and recomputation of [`child`].
const CASE: &str = "RECOMPUTE_CASE";

/// Prints the peak of one step: in a process of its own, because buffers that an earlier step gave back are used again and not counted.
#[test]
#[ignore = "started by memory_falls"]
fn child() {
    let case = std::env::var(CASE).expect("started by memory_falls");
    let (stage, recompute) = case.split_once(' ').expect("two words");
    let (config, recompute) = (model(12, [64, 64]), recompute == "true");
    let peak = match stage {
        "1" => pretrain(config, &progress(32), recompute).1,
        _ => consistency(config, consistency_settings(), &progress(32), recompute).1,
    };
    println!("\npeak {peak}");
}

/// Of 12 blocks in each tower, all but one keep their inputs only.
#[test]
fn memory_falls() {
    let peak = |stage: &str, recompute: bool| -> usize {
        let output = std::process::Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CASE, format!("{stage} {recompute}"))
            .output()
            .expect("the test starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let peak = text
            .lines()
            .find_map(|line| line.strip_prefix("peak "))
            .unwrap_or_else(|| panic!("{text}"));
        peak.parse().expect("a number")
    };
    for stage in ["1", "2b"] {
        let [kept, recomputed] = [false, true].map(|recompute| peak(stage, recompute));
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        println!("stage {stage}: {:.1} MiB kept, {:.1} MiB recomputed", mib(kept), mib(recomputed));
        assert!(2 * recomputed < kept, "stage {stage}: {recomputed} bytes with recomputation, {kept} without");
    }
}
