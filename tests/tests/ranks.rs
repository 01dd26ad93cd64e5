//! What several processes do beside training as one: divided state, drawing, measuring; and how they end when something goes wrong.

use pixgen_tests::fixtures::{Bench, Stage, checkpoints, contents};
use pixgen_tests::program::{finish, pixgen, start, succeeds, wait_until};
use pixgen_tests::ranks::{alone, as_rank, launched, newest, port};
use pixgen_train::config::RunConfig;
use pixgen_train::distributed::{Collective, Placement};
use pixgen_train::roofline::exchange::bytes_sent;
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of moments and averages in a checkpoint that a rank of several holds.
fn divided(checkpoint: &[u8], ranks: usize) -> usize {
    let file = SafeTensors::deserialize(checkpoint).expect("a checkpoint");
    let names = file.names();
    let mine = names.iter().filter(|name| name.starts_with("adam.") || name.starts_with("ema."));
    mine.map(|name| 4 * (file.tensor(name).expect("a tensor").data().len() / 4).div_ceil(ranks))
        .sum()
}

/// Ranks that divide moments and averages leave the bytes of ranks that do not, resumed by another number as well, and hold their share.
#[test]
fn divided_state_changes_nothing() {
    for stage in [Stage::Pretrain, Stage::Diffusion] {
        let bench = Bench::new();
        let mut held = Vec::new();
        for (out, more) in [("whole", &[][..]), ("divided", &["--shard-state"][..])] {
            for (ranks, until) in [(3, &["--stop-at", "384"][..]), (2, &[][..])] {
                // Three ranks do not share 16 images.
                let done =
                    succeeds(launched("tcp", ranks, &alone(&bench, stage, out, &[more, until, &["--set", "train.batch=24"]].concat())));
                let line = done.stderr.lines().find_map(|line| line.split_once("moments and averages: "));
                let (_, rest) = line.unwrap_or_else(|| panic!("{}", done.stderr));
                held.push((if out == "divided" { ranks } else { 1 }, ranks, rest.to_owned()));
            }
        }
        let [whole, divided_run] = ["whole", "divided"].map(|out| bench.path(out));
        assert!(newest(&whole) == newest(&divided_run), "{stage:?}: other checkpoints");
        let [a, b] = [&whole, &divided_run].map(|run| fs::read(run.join("model.safetensors")).expect("a model"));
        assert!(a == b, "{stage:?}: other models");
        for (parts, ranks, line) in held {
            let bytes = divided(&newest(&whole), parts);
            assert!(line.starts_with(&format!("{bytes} bytes at each of {ranks} ranks")), "{line}, not {bytes}");
        }
    }
}

/// What each rank sends in a step, and holds, is what `bench --roofline --gpus` and `--dry-run` compute.
#[test]
fn ranks_send_and_hold_what_is_planned() {
    const RANKS: usize = 2;
    let bench = Bench::new().with_encoder().with_generator();
    for stage in [Stage::Pretrain, Stage::Finetune, Stage::Drift] {
        // Ranks cannot divide Muon's state. What the encoder's projector puts out is in its file, not in the settings.
        let settings: &[&str] = match stage {
            Stage::Finetune => &["--optimiser", "adamw", "--set", "consistency.auxiliary_feature=class-token"],
            _ => &["--optimiser", "adamw"],
        };
        let plan = alone(&bench, stage, "planned", &[&["--shard-state", "--dry-run", "--json"], settings].concat());
        let plan = succeeds(launched("tcp", RANKS, &plan)).json();
        assert_eq!(plan["processes"], RANKS);
        let mut config: RunConfig = serde_json::from_value(plan["config"].clone()).expect("settings");
        config.train.batch = config.largest_part(RANKS);
        let planned = bytes_sent(&config, RANKS);
        let held = [&[][..], &["--shard-state"]].map(|more| {
            let out = format!("{stage:?}{}", more.len());
            let done = succeeds(launched("tcp", RANKS, &alone(&bench, stage, &out, &[more, settings, &["--stop-at", "64"]].concat())));
            let number = |before: &str| -> f64 {
                let rest = done.stderr.split_once(before).map(|(_, rest)| rest.split(' ').next().expect("a word"));
                rest.and_then(|word| word.parse().ok())
                    .unwrap_or_else(|| panic!("no number after `{before}` in\n{}", done.stderr))
            };
            // Beside it go flags, the terms of the loss, and sums of a few numbers.
            let (sent, held) = (number("in a ring "), number("moments and averages: "));
            let by_tcp = number("told each other in a step: ") + number("by rank 0 and ");
            assert!((2.0..4.0).contains(&(by_tcp / sent)), "{stage:?} {more:?}: {by_tcp} bytes by TCP, {sent} in a ring");
            println!("{stage:?} {more:?}: sent {sent}, planned {planned}; held {held}");
            assert!((0.0..1500.0).contains(&(sent - planned)), "{stage:?} {more:?}: {sent} sent, {planned} planned");
            held
        });
        // Parts are whole values of each buffer.
        let elsewhere = plan["memory"]["elsewhere"].as_f64().expect("bytes");
        assert!(
            (held[0] - held[1] - elsewhere).abs() <= 32.0,
            "{stage:?}: {held:?} held, {elsewhere} planned to lie elsewhere"
        );
    }
}

/// Files of pictures and measurements are those of one process.
#[test]
fn pictures_are_drawn_and_measured_by_all() {
    let bench = Bench::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-examples/models/clothes-28.safetensors");
    let sample = |out: &str| {
        let mut command = pixgen(["sample", "--count", "600", "--out"]);
        command.arg(bench.path(out)).arg(&model);
        command
    };
    succeeds(sample("one"));
    succeeds(launched("tcp", 3, &sample("three")));
    assert!(contents(&bench.path("one")) == contents(&bench.path("three")), "other pictures");
    fs::remove_file(bench.path("three/000007.png")).expect("a picture");
    fs::remove_file(bench.path("three/000555.png")).expect("a picture");
    succeeds(launched("tcp", 2, &sample("three")));
    assert!(contents(&bench.path("one")) == contents(&bench.path("three")), "other pictures after two were lost");
    let mut eval = pixgen(["eval", "--data", "bundled", "--count", "300", "--reference-count", "300", "--json"]);
    eval.arg(&model);
    let two = succeeds(launched("tcp", 2, &eval)).json();
    assert_eq!(succeeds(eval).json(), two);
}

/// Only rank 0 has the run folder: it gives its state to the others.
#[test]
fn the_run_folder_need_not_be_shared() {
    let bench = Bench::new();
    let one = |out: &str, more: &[&str]| alone(&bench, Stage::Pretrain, out, more);
    succeeds(launched("tcp", 2, &one("shared", &[])));
    for more in [&["--stop-at", "160"][..], &[]] {
        let port = port();
        let start_at = |rank: usize| {
            let folder = bench.path(&format!("host{rank}"));
            fs::create_dir_all(&folder).expect("a folder");
            let mut process = pixgen(one("run", more).get_args().map(|argument| {
                if argument == bench.path("run").as_os_str() {
                    "run".into()
                } else {
                    argument.to_owned()
                }
            }));
            process.current_dir(folder);
            as_rank(&mut process, rank, 2, &port);
            start(process)
        };
        for process in [start_at(0), start_at(1)] {
            let done = finish(process);
            assert_eq!(done.code, Some(0), "{}", done.stderr);
        }
    }
    assert!(!bench.path("host1/run").exists());
    assert!(newest(&bench.path("host0/run")) == newest(&bench.path("shared")), "resumed with the state of rank 0");
}

/// Not a test of its own: what the rank that panics does, and the one that waits for it.
#[test]
fn a_rank_of_the_test_below() {
    let Some(placement) = Placement::of_environment().expect("variables") else {
        return;
    };
    let rank = placement.rank;
    let ranks = Collective::join(placement, &[], Duration::from_secs(60)).expect("they meet");
    ranks.barrier();
    assert_ne!(rank, 1, "rank 1 panics");
    ranks.barrier();
    ranks.leave();
}

#[test]
fn a_rank_that_panics_ends_the_run() {
    let (started, port) = (Instant::now(), port());
    let processes: Vec<_> = (0..2)
        .map(|rank| {
            let mut process = Command::new(std::env::current_exe().expect("this test"));
            process.args(["--exact", "a_rank_of_the_test_below", "--nocapture"]);
            as_rank(&mut process, rank, 2, &port);
            start(process)
        })
        .collect();
    let ends: Vec<_> = processes.into_iter().map(finish).collect();
    println!("after {:.1} s: {:?} and {:?}", started.elapsed().as_secs_f64(), ends[0].code, ends[1].code);
    assert_eq!(ends[0].code, Some(101), "{}", ends[0].stderr);
    assert!(ends[0].stderr.contains("rank 0: rank 1 ended the run and says why"), "{}", ends[0].stderr);
    assert_eq!(ends[1].code, Some(101), "{}", ends[1].stderr);
    assert!(ends[1].stderr.contains("rank 1 panics"), "{}", ends[1].stderr);
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// Rank 0 cannot write a checkpoint: the limit for files takes the place of a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_run() {
    let bench = Bench::new();
    let command = alone(&bench, Stage::Diffusion, "run", &[]);
    let mut all = Command::new("bash");
    let port = port();
    all.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"])
        .arg(command.get_program())
        .args(command.get_args());
    as_rank(&mut all, 0, 2, &port);
    let mut other = pixgen(command.get_args());
    as_rank(&mut other, 1, 2, &port);
    let (started, first, second) = (Instant::now(), start(all), start(other));
    let (first, second) = (finish(first), finish(second));
    println!("after {:.1} s:\n{}{}", started.elapsed().as_secs_f64(), first.stderr, second.stderr);
    assert_eq!((first.code, second.code), (Some(1), Some(1)));
    assert!(first.stderr.contains("error: rank 0: cannot write ") && first.stderr.contains("\nhint: "), "{}", first.stderr);
    assert!(second.stderr.contains("rank 1: rank 0 ended the run and says why"), "{}", second.stderr);
    assert!(!second.stderr.contains("error: ") && !second.stderr.contains("hint: "), "{}", second.stderr);
    assert!(checkpoints(&bench.path("run")).is_empty());
}

/// Ranks outlive their launcher just long enough to save.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_launcher_leaves_nobody() {
    let bench = Bench::new();
    let mut launch = start(launched("tcp", 2, &alone(&bench, Stage::Diffusion, "run", &["--set", "train.images=1M"])));
    let run = bench.path("run");
    wait_until("the run logs", || fs::metadata(run.join("metrics.jsonl")).is_ok_and(|log| log.len() > 0));
    let of_launch = format!("/proc/{0}/task/{0}/children", launch.id());
    let children = fs::read_to_string(of_launch).expect("its children");
    assert_eq!(children.split_whitespace().count(), 2, "{children}");
    launch.kill().expect("SIGKILL");
    launch.wait().expect("it ends");
    let lives = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    wait_until("its ranks end", || !children.split_whitespace().any(lives));
    let saved = newest(&run);
    SafeTensors::deserialize(&saved).expect("a whole checkpoint");
    // Nobody else has the folder.
    succeeds(launched(
        "tcp",
        2,
        &alone(&bench, Stage::Diffusion, "run", &["--set", "train.images=1M", "--stop-at", "1600"]),
    ));
}

/// Ranks of different programs do not begin.
#[cfg(unix)]
#[test]
fn another_program_is_named() {
    let bench = Bench::new();
    let command = alone(&bench, Stage::Diffusion, "run", &[]);
    let copy = bench.path("other");
    let mut bytes = fs::read(command.get_program()).expect("the program");
    bytes.push(0);
    fs::write(&copy, bytes).expect("a copy");
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it may run");
    let port = port();
    let processes = [command.get_program(), copy.as_os_str()].into_iter().zip(0..).map(|(program, rank)| {
        let mut process = Command::new(program);
        process.args(command.get_args());
        as_rank(&mut process, rank, 2, &port);
        start(process)
    });
    let ends: Vec<_> = processes.collect::<Vec<_>>().into_iter().map(finish).collect();
    assert_eq!((ends[0].code, ends[1].code), (Some(1), Some(1)));
    let says = "error: rank 1: the ranks were not started alike: this one with `pixgen-train ";
    assert!(ends[1].stderr.contains(says) && ends[1].stderr.contains(" with checksum "), "{}", ends[1].stderr);
}
