//! Resuming: a run that was stopped, interrupted or killed ends bit for bit as one that was not.

use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::model_file::ModelFile;
use pixgen_tests::fixtures::{Bench, CLASSES, PER_CLASS, Stage, checkpoints, contents, metrics};
use pixgen_tests::program::{Done, fails, finish, interrupt, pixgen, start, succeeds, wait_until};
use pixgen_train::data::order::index_at;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// A stage with its bench; all of it (dropout, auxiliary loss, target network, averages) must survive.
fn benches() -> [(Stage, Bench); 4] {
    [
        (Stage::Pretrain, Bench::new()),
        (Stage::Diffusion, Bench::new()),
        (Stage::Finetune, Bench::new().with_encoder()),
        (Stage::Drift, Bench::new().with_encoder().with_generator()),
    ]
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

/// What a run says first.
fn first_line(done: &Done) -> &str {
    done.stderr.lines().next().unwrap_or_default()
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The newest checkpoint (parameters, moments, averages, target network, counters), the model file and the strip are the same bytes.
fn assert_same_end(got: &Path, want: &Path) {
    let newest = |run: &Path| checkpoints(run).pop().unwrap_or_else(|| panic!("no checkpoint in {}", run.display()));
    assert_eq!(newest(got).file_name(), newest(want).file_name());
    // No assert_eq: nobody wants to read the bytes.
    assert!(
        bytes(&newest(got)) == bytes(&newest(want)),
        "the checkpoints of {} and {} differ",
        got.display(),
        want.display()
    );
    assert!(bytes(&got.join("model.safetensors")) == bytes(&want.join("model.safetensors")), "the models differ");
    if want.join("samples/strip.png").exists() {
        assert!(bytes(&got.join("samples/strip.png")) == bytes(&want.join("samples/strip.png")), "the strips differ");
    }
}

#[test]
fn n_and_n_images_equal_2n() {
    for (stage, bench) in benches() {
        let (straight, broken) = (bench.path("straight"), bench.path("broken"));
        let done = succeeds(bench.train(stage, "straight"));
        assert!(first_line(&done).starts_with("fresh run in "), "{}", done.stderr);
        let done = succeeds(with(bench.train(stage, "broken"), &["--stop-at", "256"]));
        assert!(first_line(&done).starts_with("fresh run in "), "{}", done.stderr);
        // Already there: nothing to do.
        let before = contents(&broken);
        succeeds(with(bench.train(stage, "broken"), &["--stop-at", "256"]));
        assert!(contents(&broken) == before, "a run that has reached --stop-at went on");
        assert!(
            bytes(&broken.join("model.safetensors")) != bytes(&straight.join("model.safetensors")),
            "half-way is not the end"
        );
        let done = succeeds(bench.train(stage, "broken"));
        assert!(first_line(&done).starts_with("resuming at 256 images"), "{}", done.stderr);
        assert_same_end(&broken, &straight);
        assert_eq!(metrics(&broken), metrics(&straight));
        assert_eq!(metrics(&straight).len(), 8);
    }
}

/// The checkpoint has the moments of either optimiser, and the run remembers which it is.
#[test]
fn either_optimiser_goes_on_where_it_stopped() {
    let bench = Bench::new().with_encoder();
    let ends = ["muon", "adamw"].map(|kind| {
        let [straight, broken] = ["straight", "broken"].map(|run| format!("{run}-{kind}"));
        let train = |out: &str| with(bench.train(Stage::Finetune, out), &["--optimiser", kind]);
        succeeds(train(&straight));
        succeeds(with(train(&broken), &["--stop-at", "256"]));
        let done = succeeds(bench.train(Stage::Finetune, &broken));
        assert!(first_line(&done).starts_with("resuming at 256 images"), "{}", done.stderr);
        assert_same_end(&bench.path(&broken), &bench.path(&straight));
        bytes(&bench.path(&straight).join("model.safetensors"))
    });
    assert!(ends[0] != ends[1], "the flag was not heard");
    fails(with(bench.train(Stage::Finetune, "broken-muon"), &["--optimiser", "adamw"]), &["optimiser.kind"]);
}

/// A stop between two lines of the log and two checkpoints, and in the middle of an epoch.
#[test]
fn an_uneven_stop_changes_nothing() {
    for (stage, bench) in benches() {
        succeeds(bench.train(stage, "straight"));
        for at in ["40", "312"] {
            let done = succeeds(with(bench.train(stage, "broken"), &["--stop-at", at]));
            assert!(done.stderr.contains("the same command without --stop-at resumes"), "{}", done.stderr);
        }
        let done = succeeds(bench.train(stage, "broken"));
        assert!(first_line(&done).starts_with("resuming at 312 images"), "{}", done.stderr);
        assert_same_end(&bench.path("broken"), &bench.path("straight"));
    }
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let before = contents(&bench.path("run"));
    let done = succeeds(bench.train(Stage::Scratch, "run"));
    assert!(first_line(&done).starts_with("resuming at 512 images"), "{}", done.stderr);
    assert!(contents(&bench.path("run")) == before, "a finished run was changed");
}

/// `kill -9` at random moments, several times in one run: while it starts, and at random places of the log a random while later, so that
/// steps, grids and checkpoints are hit.
#[test]
fn killed_at_random_moments() {
    let long = ["--images", "4096", "--set", "output.log_every=16"];
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    println!("seed of the moments: {seed}");
    let mut draws = Draws::new(Rng::new(seed, stream(Purpose::Test, 0)), 0);
    for (stage, bench) in benches() {
        let (broken, straight) = (bench.path("broken"), bench.path("straight"));
        succeeds(with(bench.train(stage, "straight"), &long));
        let logged = |run: &Path| fs::metadata(run.join("metrics.jsonl")).map_or(0, |m| m.len());
        let (mut killed, mut resumed) = (0, 0);
        for round in 0..8u64 {
            let mut child = start(with(bench.train(stage, "broken"), &long));
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_secs_f32(0.1 * draws.uniform()));
            } else {
                let place = (logged(&straight) as f32 * (round as f32 + draws.uniform()) / 10.0) as u64;
                wait_until("the run comes that far", || logged(&broken) >= place || child.try_wait().expect("a child").is_some());
                std::thread::sleep(Duration::from_secs_f32(0.02 * draws.uniform()));
            }
            child.kill().expect("SIGKILL");
            let done = finish(child);
            assert!(!done.stderr.contains("panicked") && !done.stderr.contains("error"), "{}", done.stderr);
            killed += u32::from(done.code.is_none());
            // Even after a kill the first line says which of the two it is; warnings follow.
            resumed += u32::from(done.stderr.starts_with("resuming at "));
            let known = ["resuming at ", "fresh run in "].iter().any(|start| done.stderr.starts_with(start));
            assert!(known || done.stderr.is_empty(), "{}", done.stderr);
        }
        println!("{stage:?}: {killed} killed, {resumed} of them had resumed");
        assert!(killed >= 4 && resumed >= 2, "{stage:?}: {killed} killed, {resumed} resumed");
        let done = succeeds(with(bench.train(stage, "broken"), &long));
        assert!(first_line(&done).starts_with("resuming at "), "{}", done.stderr);
        assert_same_end(&broken, &straight);
        assert_eq!(metrics(&broken), metrics(&straight));
        // Nothing half-written is left.
        let strange = |name: &Path| name.to_string_lossy().ends_with(".tmp");
        assert!(!contents(&broken).iter().any(|(name, _)| strange(name)));
    }
}

/// Ctrl-C saves between two checkpoints, exits with 130, and the resumed run does not show it.
#[test]
fn interrupted() {
    let long = ["--images", "4096", "--set", "output.checkpoint_every=100k"];
    for (stage, bench) in benches() {
        succeeds(with(bench.train(stage, "straight"), &long));
        let child = start(with(bench.train(stage, "broken"), &long));
        let broken = bench.path("broken");
        wait_until("the run logs", || fs::metadata(broken.join("metrics.jsonl")).is_ok_and(|m| m.len() > 0));
        assert!(checkpoints(&broken).is_empty());
        interrupt(&child);
        let done = finish(child);
        assert_eq!(done.code, Some(130), "{}", done.stderr);
        assert!(done.stderr.contains("interrupted; saved "), "{}", done.stderr);
        assert_eq!(checkpoints(&broken).len(), 1);
        let done = succeeds(with(bench.train(stage, "broken"), &long));
        assert!(first_line(&done).starts_with("resuming at "), "{}", done.stderr);
        assert_same_end(&broken, &bench.path("straight"));
    }
}

/// A command that has nothing to save, such as the timing of a quick start, ends at once and in the same words.
#[test]
fn interrupted_with_nothing_to_save() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("q");
    let mut command = pixgen(["quickstart", "--minutes", "60", "--out"]);
    command.arg(&out);
    let child = start(command);
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    interrupt(&child);
    let done = finish(child);
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(done.stderr.lines().last().is_some_and(|line| line.starts_with("interrupted; ")), "{}", done.stderr);
}

/// What a quick start announced holds: another length is another quick start.
#[test]
fn a_plan_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let plan = folder.path().join("plan.toml");
    fs::write(&plan, "minutes = 3.0\npretrain_images = 7000\nfinetune_images = 9000\n").expect("plan");
    let again = |arguments: &[&str]| {
        let mut command = pixgen(["quickstart", "--out"]);
        command.arg(folder.path());
        with(command, arguments)
    };
    fails(
        again(&["--data", "bundled:avatars"]),
        &["--data bundled:avatars", "planned for bundled", "go on with --data bundled"],
    );
    fails(again(&["--recipe", "hour"]), &["--recipe hour", "planned for quick", "go on with --recipe quick"]);
    fails(again(&["--minutes", "7"]), &["--minutes 7", "planned with --minutes 3", "leave --minutes out"]);
    fs::write(&plan, "minutes = 3.0\n").expect("plan");
    fails(again(&[]), &["plan.toml", "pretrain_images"]);
}

/// Pictures in a zip archive and in tar shards, decoded when their turn comes: stops in the middle of an epoch of 36 pictures change nothing,
/// and the run is that of the same pictures in memory, where it may go on, too.
#[test]
fn pictures_in_archives() {
    for stage in [Stage::Pretrain, Stage::Scratch] {
        let bench = Bench::new();
        for archive in ["data.zip", "shards"] {
            bench.pack(archive);
            let on = |memory: &str, out: &str| {
                let memory = format!("data.memory={memory}");
                let data = bench.path(archive).display().to_string();
                with(bench.train(stage, out.to_owned() + archive), &["--data", &data, "--set", &memory])
            };
            succeeds(on("never", "straight"));
            for (at, memory) in [("40", "never"), ("312", "always")] {
                let done = succeeds(with(on(memory, "broken"), &["--stop-at", at]));
                assert!(done.stderr.contains("the same command without --stop-at resumes"), "{}", done.stderr);
            }
            let done = succeeds(on("never", "broken"));
            assert!(first_line(&done).starts_with("resuming at 312 images"), "{}", done.stderr);
            succeeds(on("always", "kept"));
            let [straight, broken, kept] = ["straight", "broken", "kept"].map(|run| bench.path(&(run.to_owned() + archive)));
            assert_same_end(&broken, &straight);
            assert_same_end(&kept, &straight);
            assert_eq!(metrics(&kept), metrics(&straight));
        }
    }
}

/// A file that is found to be bad in its turn stops the run, which is saved; repaired, it goes on as if nothing had been. Or the next picture
/// of the class takes its place, always the same one.
#[test]
fn a_bad_file_on_the_way() {
    // Stage 3 takes pictures in another order, class by class.
    for (stage, bench) in benches().into_iter().filter(|(stage, _)| *stage != Stage::Drift) {
        let streamed = ["--set", "data.memory=never", "--set", "data.normalise=simple"];
        let train = |out: &str| with(bench.train(stage, out), &streamed);
        succeeds(train("straight"));
        // The picture at position 20 of the first epoch, in the third step.
        let (classes, per_class) = (CLASSES.len(), PER_CLASS as usize);
        let index = index_at(1, classes * per_class, 20);
        let name = format!("{}/{:02}.png", CLASSES[index / per_class], index % per_class);
        let path = bench.path(&format!("data/{name}"));
        let good = bytes(&path);
        // The size stays, as the fingerprint of a folder is made of names and sizes.
        fs::write(&path, vec![7; good.len()]).expect("file");
        for _ in 0..2 {
            fails(train("broken"), &[&name, "neither PNG nor JPEG", "stopped at 16 images, and saved", "--skip-bad"]);
            assert_eq!(checkpoints(&bench.path("broken")).len(), 1);
        }
        let replaced = succeeds(with(train("replaced"), &["--skip-bad"]));
        let told = replaced.stderr.matches("takes its place").count();
        assert!(told == 1 && replaced.stderr.contains(&name), "{}", replaced.stderr);
        succeeds(with(train("broken too"), &["--skip-bad", "--stop-at", "64"]));
        succeeds(with(train("broken too"), &["--skip-bad"]));
        assert_same_end(&bench.path("broken too"), &bench.path("replaced"));

        fs::write(&path, &good).expect("file");
        let done = succeeds(train("broken"));
        assert!(first_line(&done).starts_with("resuming at 16 images"), "{}", done.stderr);
        assert_same_end(&bench.path("broken"), &bench.path("straight"));
        assert!(bytes(&bench.path("replaced/model.safetensors")) != bytes(&bench.path("straight/model.safetensors")));
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    for (stage, bench) in benches() {
        for threads in ["1", "2", "3"] {
            // A batch that is shared out to the threads in unequal parts.
            succeeds(with(bench.train(stage, threads), &["--threads", threads, "--batch", "100", "--images", "800"]));
        }
        for threads in ["2", "3"] {
            assert_same_end(&bench.path(threads), &bench.path("1"));
        }
    }
}

/// The same model but for rounding, and it may change when a run goes on.
#[test]
fn micro_batches_give_nearly_the_same() {
    for (stage, bench) in benches() {
        let short = ["--images", "128"];
        succeeds(with(bench.train(stage, "whole"), &short));
        succeeds(with(bench.train(stage, "pieces"), &[&short[..], &["--micro-batch", "3"]].concat()));
        let read = |run: &str| ModelFile::load(&bench.path(run)).expect("model").params;
        let (whole, pieces) = (read("whole"), read("pieces"));
        let worst = whole.iter().zip(&pieces).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "{stage:?}: {worst}");
        assert!(whole != pieces, "other sums round in another way, or the option does nothing");
        for (whole, pieces) in metrics(&bench.path("whole")).iter().zip(metrics(&bench.path("pieces"))) {
            let (whole, pieces) = (whole["loss"].as_f64().expect("loss"), pieces["loss"].as_f64().expect("loss"));
            assert!((whole - pieces).abs() < 1e-3 * whole.abs(), "{stage:?}: {whole} {pieces}");
        }
        succeeds(with(bench.train(stage, "mixed"), &[&short[..], &["--stop-at", "64"]].concat()));
        succeeds(with(bench.train(stage, "mixed"), &[&short[..], &["--micro-batch", "4"]].concat()));
    }
}

/// Recomputation may change when a run goes on. It has no influence on the numbers of stage 1; in stage 2b sums of three gradients round in
/// another way.
#[test]
fn recomputation_gives_the_same() {
    for (stage, bench) in benches() {
        let short = ["--images", "256"];
        succeeds(with(bench.train(stage, "kept"), &short));
        succeeds(with(bench.train(stage, "mixed"), &[&short[..], &["--stop-at", "128"]].concat()));
        let done = succeeds(with(bench.train(stage, "mixed"), &[&short[..], &["--recompute"]].concat()));
        assert!(first_line(&done).starts_with("resuming at 128 images"), "{}", done.stderr);
        if stage == Stage::Pretrain {
            assert_same_end(&bench.path("mixed"), &bench.path("kept"));
            assert_eq!(metrics(&bench.path("mixed")), metrics(&bench.path("kept")));
        }
        let read = |run: &str| ModelFile::load(&bench.path(run)).expect("model").params;
        let worst = read("kept").iter().zip(&read("mixed")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "{stage:?}: {worst}");
    }
}

#[test]
fn other_settings_are_refused_by_name() {
    let bench = Bench::new();
    let stopped = succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "128"]));
    assert!(stopped.stderr.contains("stopped and saved"), "{}", stopped.stderr);
    let before = contents(&bench.path("run"));
    for (arguments, key) in [
        (&["--seed", "9"][..], "train.seed"),
        (&["--set", "noise.shift=2"], "noise.shift"),
        (&["--set", "consistency.huber=0.1"], "consistency.huber"),
        (&["--set", "ema.shares=[0.02, 0.5]"], "ema.shares"),
    ] {
        fails(with(bench.train(Stage::Scratch, "run"), arguments), &["was started with", key]);
    }
    // Another stage is another run, too.
    fails(bench.train(Stage::Pretrain, "run"), &["was started with"]);
    assert!(contents(&bench.path("run")) == before, "a refused command changed the run");
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--set", "output.log_every=32", "--set", "output.keep=1"]));
    assert_eq!(checkpoints(&bench.path("run")).len(), 1);
}

/// A longer run goes on from the end of a shorter one, and a changed setting is written down; a shorter run than what was seen is refused.
#[test]
fn a_run_goes_on_for_longer_and_in_another_way() {
    for (stage, bench) in benches() {
        succeeds(with(bench.train(stage, "run"), &["--images", "256"]));
        let done = succeeds(with(bench.train(stage, "run"), &["--images", "512"]));
        for part in ["train.images = 512 (was 256)", "the learning rate was", "over 512 images"] {
            assert!(done.stderr.contains(part), "no `{part}` in {}", done.stderr);
        }
        assert_eq!(checkpoints(&bench.path("run")).len(), 2);
        fails(
            with(bench.train(stage, "run"), &["--images", "300"]),
            &["train.images = 300", "has seen 512 images", "at least 512"],
        );
        // Without its options a run keeps its settings.
        let verb = if stage == Stage::Pretrain { "pretrain" } else { "finetune" };
        let mut bare = pixgen([verb, "--images", "520", "--lr", "1e-4", "--batch", "4", "--out"]);
        bare.arg(bench.path("run"));
        let done = succeeds(bare);
        assert!(done.stderr.contains("schedule.peak = 0.0001 (was "), "{}", done.stderr);
        let config = fs::read_to_string(bench.path("run/config.toml")).expect("settings");
        for part in ["images = 520", "batch = 4", "peak = 0.0001"] {
            assert!(config.contains(part), "no `{part}` in {config}");
        }
        let log = metrics(&bench.path("run"));
        let changed: Vec<_> = log.iter().filter(|line| !line["changed"].is_null()).collect();
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert_eq!(changed[1]["changed"]["schedule.peak"]["is"], 0.0001);
        assert_eq!(changed[1]["images"], 512);
    }
}

/// Data and encoder are known by what they are, not by how their path is spelt.
#[test]
fn moved_data_and_encoders_are_known_again() {
    let bench = Bench::new().with_encoder();
    let train = |data: &Path, encoder: &Path, auxiliary: &str| {
        let mut command = pixgen(["finetune", "--config"]);
        command.arg(bench.path("tiny.toml")).arg("--data").arg(data).arg("--encoder").arg(encoder);
        command.args(["--set", auxiliary, "--set", "output.checkpoint_every=64", "--out"]);
        command
    };
    let plain = "consistency.auxiliary=0";
    let with_loss = "consistency.auxiliary=0.5";
    let (data, moved) = (bench.path("data"), bench.path("elsewhere"));
    let on = |mut command: Command, run: &str, stop: &str| {
        command.arg(bench.path(run)).args(["--stop-at", stop]);
        command
    };
    for (run, auxiliary) in [("plain", plain), ("with loss", with_loss)] {
        succeeds(on(train(&data, &bench.path("encoder"), auxiliary), run, "64"));
    }
    // Another folder, a slash, a dot.
    fs::rename(&data, &moved).expect("moved");
    fs::rename(bench.path("encoder"), bench.path("kept")).expect("moved");
    let dotted = bench.path("./elsewhere/");
    for (run, auxiliary) in [("plain", plain), ("with loss", with_loss)] {
        for (stop, data) in [("128", &moved), ("192", &dotted)] {
            let done = succeeds(on(train(data, &bench.path("kept/"), auxiliary), run, stop));
            assert!(first_line(&done).starts_with("resuming at"), "{}", done.stderr);
        }
        let config = fs::read_to_string(bench.path(run).join("config.toml")).expect("settings");
        assert!(config.contains("elsewhere") && config.contains("kept"), "the new paths are recorded: {config}");
    }
    // Another encoder is not taken; where the old one is not needed, nobody looks for it.
    let mut other = bench.train(Stage::Pretrain, "other");
    other.arg("--data").arg(&moved).args(["--seed", "5", "--images", "64"]);
    succeeds(other);
    fails(
        on(train(&moved, &bench.path("other"), plain), "plain", "256"),
        &["not what the run was started from", "fingerprint"],
    );
    fs::rename(bench.path("kept"), bench.path("gone")).expect("moved");
    succeeds(on(train(&moved, &bench.path("kept/"), plain), "plain", "256"));
    fails(on(train(&moved, &bench.path("kept/"), with_loss), "with loss", "256"), &["cannot read the model file"]);
    fs::rename(bench.path("other"), bench.path("kept")).expect("moved");
    fails(
        on(train(&moved, &bench.path("kept/"), with_loss), "with loss", "256"),
        &["not what the run was started from", "fingerprint"],
    );
}

/// A run without a preset takes that of what it starts from, and values that something else decides are refused.
#[test]
fn models_bring_their_presets() {
    let bench = Bench::new().with_encoder();
    let finetune = |arguments: &[&str]| {
        let mut command = pixgen(["finetune", "--images", "8", "--batch", "8", "--data"]);
        command.arg(bench.path("data")).args(arguments);
        command
    };
    let paths = ["encoder", "generator", "x"].map(|name| bench.path(name).display().to_string());
    let [encoder, generator, x] = paths.each_ref().map(String::as_str);
    let done = succeeds(finetune(&["--encoder", encoder, "--dry-run", "--json"])).json();
    let model = &done["config"]["model"];
    assert_eq!((&done["config"]["preset"], &model["size"]), (&"nano-28-grey".into(), &8.into()));
    fails(
        finetune(&["--encoder", encoder, "--preset", "small-28-grey", "--out", x]),
        &["does not fit this run", "model.size is 8 there and 28 here", "leave --preset out"],
    );
    fails(
        with(bench.train(Stage::Scratch, "x"), &["--set", "model.classes=7"]),
        &["model.classes = 7 from flag --set model.classes", "it is 3 in the data"],
    );
    fails(finetune(&["--config", &format!("{encoder}/config.toml"), "--out", x]), &["settings of `pretrain`"]);
    fails(with(bench.train(Stage::Pretrain, "x"), &["--set", "encoder=y"]), &["encoder", "stage 1 starts from no model"]);

    // Data that nobody named are worth a warning where the model that a run starts from saw others.
    succeeds(finetune(&["--encoder", encoder, "--out", generator]));
    for (start, data, warned) in [
        (["--from", generator], &[][..], true),
        (["--encoder", encoder], &[], true),
        (["--from", generator], &["--data", "bundled"], false),
    ] {
        let plan = with(with(pixgen(["finetune", "--images", "8", "--batch", "8", "--dry-run"]), &start), data);
        let warning = "warning: this run trains on `bundled`, which the model that it starts from has not seen";
        assert_eq!(succeeds(plan).stderr.contains(warning), warned, "{start:?} {data:?}");
    }

    // A generator starts from a generator, and a run that goes on does not need it.
    for objective in ["consistency", "diffusion"] {
        let out = bench.path(objective).display().to_string();
        let from = ["--from", generator, "--objective", objective, "--out", &out];
        succeeds(finetune(&from));
        let [read, started] = [generator, &out].map(|run| ModelFile::load(Path::new(run)).expect("model"));
        assert_eq!(started.header.model, read.header.model);
        fs::rename(generator, x).expect("moved");
        let resumed = succeeds(with(pixgen(["finetune", "--images", "16"]), &from[2..]));
        assert!(first_line(&resumed).starts_with("resuming at 8 images"), "{}", resumed.stderr);
        fs::rename(x, generator).expect("moved");
        let config = fs::read_to_string(bench.path(objective).join("config.toml")).expect("settings");
        assert!(config.contains(&format!("from = {generator:?}")), "{config}");
    }
    fails(
        finetune(&["--from", generator, "--encoder", encoder, "--out", x]),
        &["from: a run starts from", "--from or --encoder"],
    );
    fails(finetune(&["--from", encoder, "--out", x]), &["encoder"]);
    fails(
        finetune(&["--from", generator, "--preset", "nano-16-rgb", "--out", x]),
        &[
            "does not fit this run",
            "model.channels is 1 there and 3 here",
            "model.decoder.width",
        ],
    );
}

#[test]
fn other_data_are_refused() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "128"]));
    let before = contents(&bench.path("run"));
    fs::remove_file(bench.path("data/rows/03.png")).expect("picture");
    fails(bench.train(Stage::Scratch, "run"), &["the data are not those", "fingerprint"]);
    assert!(contents(&bench.path("run")) == before, "a refused command changed the run");
}

/// Two runs with one seed are the same, two seeds are not: otherwise the tests above would prove little.
#[test]
fn the_seed_decides() {
    let bench = Bench::new();
    let short = |seed: &str, out: &str| with(bench.train(Stage::Scratch, out), &["--images", "128", "--seed", seed]);
    for (seed, out) in [("1", "a"), ("1", "b"), ("2", "c")] {
        succeeds(short(seed, out));
    }
    let model = |run: &str| bytes(&bench.path(run).join("model.safetensors"));
    assert!(model("a") == model("b"));
    assert!(model("a") != model("c"));
}
