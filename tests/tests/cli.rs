//! The program as a user meets it: help, settings and their origins, plans, descriptions, pictures, reports.

use image::GenericImageView;
use pixgen_tests::fixtures::{Bench, CLASSES, PER_CLASS, Stage, contents, flip_bit, metrics, names};
use pixgen_tests::program::{Done, fails, pixgen, pixgen_edge, run, succeeds};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware-examples/models/nano-28-grey.pxg");

fn with<S: AsRef<OsStr>>(mut command: Command, arguments: &[S]) -> Command {
    command.args(arguments);
    command
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

// --- Help ---------------------------------------------------------------------------------------------------------------------------

#[test]
fn help_of_every_verb() {
    for (verb, parts) in [
        (
            &[][..],
            &[
                "quickstart",
                "pretrain",
                "finetune",
                "sample",
                "eval",
                "probe",
                "inspect",
                "data",
                "config",
                "completions",
            ][..],
        ),
        (
            &["quickstart"],
            &[
                "--out",
                "--data",
                "bundled:avatars",
                "--recipe",
                "night",
                "--minutes",
                "--json",
                "Examples:",
            ],
        ),
        (
            &["pretrain"],
            &[
                "--preset",
                "--data",
                "--out",
                "--config",
                "--set",
                "--dry-run",
                "--stop-at",
                "PIXGEN_",
                "Ctrl-C",
                "Example:",
            ],
        ),
        (&["finetune"], &["--encoder", "--objective", "--out"]),
        (&["probe"], &["--sigma", "--neighbours", "--data", "--json", "Example:"]),
        (
            &["sample"],
            &[
                "--class",
                "--seed",
                "--steps",
                "--out",
                "--walk",
                "--ema",
                "How pictures are drawn:",
                "Examples:",
            ],
        ),
        (
            &["eval"],
            &[
                "--count",
                "--ema",
                "--guidance",
                "--network",
                "--reference",
                "--grid",
                "--json",
                "Examples:",
            ],
        ),
        (&["inspect"], &["--preset", "--json", "--sites", "Example:"]),
        (
            &["bench"],
            &[
                "--stage",
                "--ops",
                "--model",
                "--roofline",
                "--precision",
                "--recompute",
                "--interleave",
                "Examples:",
            ],
        ),
        (
            &["data", "get"],
            &[
                "noto-emoji",
                "fashion-mnist",
                "avatars",
                "--styles",
                "--held-out",
                "--mirror",
                "--file",
                "--force",
                "--out",
                "HTTPS_PROXY",
                "Examples:",
            ],
        ),
        (&["report"], &["--eval", "--out", "--pictures", "Example:"]),
        (&["data", "check"], &["--sheet", "--background", "--json"]),
        (&["config", "show"], &["--preset", "--config"]),
        (&["completions"], &["bash", "zsh", "fish"]),
    ] {
        let done = succeeds(with(pixgen(verb), &["--help"]));
        for part in parts {
            assert!(done.text().contains(part), "{verb:?}: no {part} in\n{}", done.text());
        }
        assert!(done.stderr.is_empty(), "{}", done.stderr);
        let widest = done.text().lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{verb:?}: a line of {widest:?} characters");
    }
    let version = succeeds(pixgen(["--version"]));
    assert!(version.text().starts_with("pixgen-train 0."), "{}", version.text());
}

#[test]
fn wrong_usage() {
    for arguments in [
        &["paint"][..],
        &["sample"],
        &["sample", "m", "--steps", "0"],
        &["pretrain", "--out"],
        &["inspect", "--sise"],
        &[],
    ] {
        let done = run(pixgen(arguments));
        assert_eq!(done.code, Some(2), "{arguments:?}: {}", done.stderr);
        assert!(done.stdout.is_empty() && done.stderr.contains("--help"), "{arguments:?}: {}", done.stderr);
    }
    for arguments in [["onnx", "x", "--count", "9"], ["tflite", "x", "--seed", "9"]] {
        let done = run(pixgen_edge(arguments));
        assert!(done.code == Some(2) && done.stderr.contains("--vectors"), "{arguments:?}: {}", done.stderr);
    }
}

#[test]
fn completions_of_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let done = succeeds(pixgen(["completions", shell]));
        assert!(done.text().contains("nano-28-grey") && done.text().contains("EPG-L-16-256"), "{shell} offers no presets");
        let done = succeeds(pixgen_edge(["completions", shell]));
        assert!(done.text().contains("pico2"), "{shell} offers no boards");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let done = succeeds(pixgen(["completions", shell]));
        assert!(done.text().contains("pixgen-train") && done.text().contains("stop-at"), "{shell}");
    }
}

// --- Settings -----------------------------------------------------------------------------------------------------------------------

/// Value and origin of a setting in `config show`.
fn setting(done: &Done, key: &str) -> (String, String) {
    let line = done
        .text()
        .lines()
        .find(|line| line.starts_with(&format!("{key} = ")))
        .unwrap_or_else(|| panic!("no {key}"));
    let (assignment, origin) = line.rsplit_once("# ").expect("an origin");
    let value = assignment.split_once(" = ").expect("a value").1;
    (value.trim().to_owned(), origin.to_owned())
}

fn pair(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

#[test]
fn flag_over_environment_over_file_over_preset() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("my.toml");
    fs::write(&file, "preset = \"nano-28-grey\"\n[train]\nbatch = 16\nseed = 2\nimages = 5000\n").expect("file");
    let show = || with(pixgen(["config", "show", "finetune"]), &[OsStr::new("--config"), file.as_os_str()]);
    let from_file = format!("file {}", file.display());

    let done = succeeds(show());
    assert_eq!(setting(&done, "train.batch"), pair("16", &from_file));
    assert_eq!(setting(&done, "preset"), pair("\"nano-28-grey\"", &from_file));
    assert_eq!(setting(&done, "model.encoder.width"), pair("48", "preset nano-28-grey"));

    let environment = |mut command: Command| {
        command.env("PIXGEN_TRAIN_BATCH", "24").env("PIXGEN_TRAIN_SEED", "3");
        command
    };
    let done = succeeds(environment(show()));
    assert_eq!(setting(&done, "train.batch"), pair("24", "environment PIXGEN_TRAIN_BATCH"));
    assert_eq!(setting(&done, "train.images"), pair("5000", &from_file));

    let done = succeeds(environment(with(show(), &["--batch", "32", "--lr", "0.001", "--images", "8Ki"])));
    assert_eq!(setting(&done, "train.batch"), pair("32", "flag --batch"));
    assert_eq!(setting(&done, "train.seed"), pair("3", "environment PIXGEN_TRAIN_SEED"));
    assert_eq!(setting(&done, "train.images"), pair("8192", "flag --images"));
    assert_eq!(setting(&done, "schedule.peak"), pair("0.001", "flag --lr"));
    assert_eq!(setting(&done, "consistency.huber").1, "preset nano-28-grey");

    // --set is a flag like the others, and the last one wins.
    let done = succeeds(with(show(), &["--batch", "32", "--set", "train.batch=40", "--set", "model.encoder.heads=2"]));
    assert_eq!(setting(&done, "train.batch").0, "40");
    assert_eq!(setting(&done, "model.encoder.heads"), pair("2", "flag --set model.encoder.heads"));

    // The preset, too, has these layers.
    let mut preset = show();
    preset.env("PIXGEN_PRESET", "base-28-grey");
    assert_eq!(setting(&succeeds(preset), "model.encoder.width"), pair("96", "preset base-28-grey"));
    let done = succeeds(with(show(), &["--preset", "small-28-grey"]));
    assert_eq!(setting(&done, "model.encoder.width"), pair("64", "preset small-28-grey"));
}

/// What `config show` prints is a settings file.
#[test]
fn shown_settings_can_be_read_back() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("shown.toml");
    for stage in ["pretrain", "finetune"] {
        let shown = succeeds(pixgen(["config", "show", stage, "--seed", "77"]));
        fs::write(&file, &shown.stdout).expect("file");
        let again = succeeds(with(pixgen(["config", "show", stage, "--config"]), &[&file]));
        let values = |done: &Done| -> Vec<String> {
            done.text()
                .lines()
                .map(|line| line.rsplit_once("# ").expect("an origin").0.trim().to_owned())
                .collect()
        };
        assert_eq!(values(&again), values(&shown));
        assert!(shown.text().lines().count() > 50);
    }
}

#[test]
fn unknown_names_say_what_was_meant() {
    let show = |arguments: &[&str]| with(pixgen(["config", "show", "pretrain"]), arguments);
    for (arguments, parts) in [
        (
            &["--set", "train.bacth=4"][..],
            &["unknown setting `train.bacth`", "flag --set", "did you mean `train.batch`?"][..],
        ),
        (&["--set", "batch=4"], &["did you mean `train.batch`?"]),
        (&["--set", "qqqq=4"], &["unknown setting `qqqq`", "config show"]),
        (&["--set", "train.batch"], &["no `=`"]),
        (&["--set", "train.batch=many"], &["`train.batch`", "an integer"]),
        (&["--batch", "1.5"], &["`train.batch` from flag --batch", "an integer"]),
        (&["--lr", "fast"], &["`schedule.peak` from flag --lr", "a number"]),
        (&["--preset", "smal-28-grey"], &["there is no preset `smal-28-grey`", "did you mean `small-28-grey`?"]),
        (&["--preset", "epg-xl-16-256"], &["did you mean `EPG-XL-16-256`?"]),
        (&["--preset", "stable-diffusion"], &["inspect --presets"]),
        (&["--set", "stage=bogus"], &["stage = `bogus`", "no such stage", "leave it out"]),
        (&["--set", "stage=consistency"], &["settings of `finetune`", "the command is `pretrain`"]),
        (&["--set", "diffusion.p_mean=1"], &["settings of `finetune --objective diffusion`"]),
    ] {
        fails(show(arguments), parts);
    }
    for (name, value, parts) in [
        (
            "PIXGEN_TRAIN_BACTH",
            "4",
            &[
                "unknown environment variable `PIXGEN_TRAIN_BACTH`",
                "did you mean `PIXGEN_TRAIN_BATCH`?",
            ][..],
        ),
        ("PIXGEN_NONSENSE_AND_MORE", "4", &["`PIXGEN_NONSENSE_AND_MORE`"]),
        ("PIXGEN_TRAIN_BATCH", "lots", &["environment PIXGEN_TRAIN_BATCH", "an integer"]),
        ("PIXGEN_PRESET", "none", &["there is no preset `none`"]),
    ] {
        let mut command = show(&[]);
        command.env(name, value);
        fails(command, parts);
    }
    // Names the model of a firmware, in a shell that may train too.
    let mut command = show(&[]);
    command.env("PIXGEN_MODEL", "model.pxg");
    succeeds(command);
    fails(pixgen(["inspect", "--preset", "EPG-L"]), &["there is no preset `EPG-L`"]);
    fails(pixgen(["pretrain", "--stop-at", "soon", "--out", "/nonexistent/x"]), &["`soon`"]);
    for (arguments, part) in [
        (&["onnx", "x", "--target", "rknn", "--form", "qdq"][..], "--target rknn and --form qdq exclude each other"),
        (&["onnx", "x", "--target", "rknn"], "rows of the class"),
        (&["onnx", "x", "--target", "esp", "--pictures", "9"], "no use for --pictures"),
        (&["onnx", "x", "--weight-bits", "7"], "--form qdq"),
        (&["onnx", "x", "--form", "float", "--pictures", "9"], "no use for --pictures"),
        (&["onnx", "x", "--equalise", "off"], "no use for --equalise"),
        (&["onnx", NANO, "--method", "min-max"], "quantised already"),
        (&["tflite", "x", "--form", "float", "--pictures", "9"], "no use for --pictures"),
        (&["tflite", "x", "--form", "float", "--npu", "u55"], "no use for --npu"),
        (&["plan", "--board", "ra8p1"], "there is no board `ra8p1`"),
        (&["plan", "--board", "esp32-s3-devkitc-1", "--current", "9mA"], "only the accelerator is planned for"),
        (&["plan", "nano-28-grey", "--board", "esp32-s3-devkitc-1", "--steps", "2"], "--steps 2"),
    ] {
        fails(pixgen_edge(arguments), &[part]);
    }
    fails(pixgen(["pretrain"]), &["no run folder"]);
    fails(pixgen(["quickstart", "--minutes=-1"]), &["--minutes"]);
    fails(pixgen(["inspect"]), &["nothing to inspect"]);
}

// --- Plans and descriptions ---------------------------------------------------------------------------------------------------------

#[test]
fn dry_run_writes_nothing() {
    let bench = Bench::new();
    let before = contents(&bench.path(""));
    let text = succeeds(with(bench.train(Stage::Scratch, "run"), &["--dry-run"]));
    for part in [
        "pictures     36 for training, 0 kept out",
        "512 img = 64 steps of 8",
        "parameters ",
        "MACs ",
        "memory ",
        "time ",
    ] {
        assert!(text.text().contains(part), "no `{part}` in\n{}", text.text());
    }
    assert!(!text.text().contains("[train]"), "the settings are printed");
    let json = succeeds(with(bench.train(Stage::Scratch, "run"), &["--dry-run", "--json"])).json();
    assert_eq!(
        keys(&json),
        [
            "attention_macs_per_image",
            "config",
            "drawing",
            "held_out",
            "images_per_second",
            "macs_per_image",
            "memory",
            "parameters",
            "pictures",
            "processes",
            "schema",
            "seconds",
            "steps"
        ]
    );
    assert_eq!(keys(&json["memory"]), ["activations", "data", "elsewhere", "largest_micro_batch", "state", "total"]);
    assert_eq!((&json["schema"], &json["pictures"], &json["config"]["train"]["batch"]), (&1.into(), &36.into(), &8.into()));
    assert_eq!(json["config"]["model"]["classes"], 3, "the classes are those of the data");
    let number = |value: &Value| value.as_f64().expect("a number");
    let memory = &json["memory"];
    assert_eq!(number(&memory["total"]), number(&memory["state"]) + number(&memory["activations"]) + number(&memory["data"]));
    let seconds = number(&json["config"]["train"]["images"]) / number(&json["images_per_second"]);
    assert!((number(&json["seconds"]) / seconds - 1.0).abs() < 1e-9);
    assert!(contents(&bench.path("")) == before, "--dry-run wrote something");
    assert!(!bench.path("run").exists());
}

/// A batch of 8 small pictures fits into any machine that builds this.
#[test]
fn the_micro_batch_follows_from_the_memory() {
    let bench = Bench::new();
    let done = succeeds(with(bench.train(Stage::Scratch, "run"), &["--dry-run", "--json", "--micro-batch", "auto"]));
    assert_eq!(done.json()["config"]["train"]["micro_batch"], 8);
    assert!(done.stderr.contains("micro-batch 8 of 8"), "{}", done.stderr);
    // A resumed run keeps the number that it began with, and with it its bits.
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--micro-batch", "3", "--stop-at", "16"]));
    let resumed = succeeds(with(bench.train(Stage::Scratch, "run"), &["--dry-run", "--json", "--micro-batch", "auto"]));
    assert_eq!(resumed.json()["config"]["train"]["micro_batch"], 3);
    // Every way to give a setting knows the word, and a number that comes later overrides it.
    fs::write(bench.path("auto.toml"), "[train]\nmicro_batch = \"auto\"\n").expect("file");
    let file = bench.path("auto.toml").display().to_string();
    let shown = |arguments: &[&str]| succeeds(with(pixgen(["config", "show", "pretrain"]), arguments));
    for arguments in [
        &["--micro-batch", "auto"][..],
        &["--set", "train.micro_batch=auto"],
        &["--config", &file],
    ] {
        assert_eq!(setting(&shown(arguments), "train.micro_batch").0, "\"auto\"");
    }
    assert_eq!(setting(&shown(&["--config", &file, "--micro-batch", "3"]), "train.micro_batch").0, "3");
    let mut command = with(bench.train(Stage::Scratch, "other"), &["--dry-run", "--json"]);
    command.env("PIXGEN_TRAIN_MICRO_BATCH", "auto");
    assert_eq!(succeeds(command).json()["config"]["train"]["micro_batch"], 8);
    // A plan for a device that is not here says what it can.
    let absent = with(pixgen(["pretrain", "--dry-run", "--device", "cuda:77", "--micro-batch"]), &["auto"]);
    let absent = succeeds(absent);
    assert!(absent.stderr.contains("`auto` needs its memory"), "{}", absent.stderr);
    assert!(!absent.text().contains("largest micro-batch"), "{}", absent.text());
    assert!(absent.text().contains("not measured: the device is not here"), "{}", absent.text());
    let absent = succeeds(with(bench.train(Stage::Scratch, "absent"), &["--dry-run", "--device", "cuda:77"]));
    assert!(absent.text().contains("not measured: the device is not here"), "{}", absent.text());
    fails(pixgen(["pretrain", "--dry-run", "--micro-batch", "some"]), &["train.micro_batch", "must be an integer"]);
}

/// The settings are shown although the encoder that training needs is not named yet.
#[test]
fn shown_settings_may_be_incomplete() {
    for arguments in [&[][..], &["--json"]] {
        let shown = succeeds(with(pixgen(["config", "show", "finetune", "--preset", "EPG-L-16-256"]), arguments));
        assert!(shown.stderr.contains("warning: training would refuse"), "{}", shown.stderr);
        assert!(shown.stderr.contains("consistency.auxiliary") && !shown.stderr.contains("hint"), "{}", shown.stderr);
    }
}

/// The paper's recipes: a global batch of 1024 in micro-batches, and its way to draw with a diffusion model.
#[test]
fn dry_runs_of_paper_recipes() {
    for (preset, steps, guidance) in [
        ("EPG-B-16-256", 1_000_000, 2.5),
        ("EPG-XL-16-256", 1_000_000, 2.5),
        ("EPG-G-16-256", 2_000_000, 2.5),
        ("EPG-XXL-32-512", 1_000_000, 3.2),
    ] {
        let plan = [
            "finetune",
            "--objective",
            "diffusion",
            "--preset",
            preset,
            "--micro-batch",
            "64",
            "--dry-run",
        ];
        let text = succeeds(pixgen(plan));
        for part in [
            format!("= {steps} steps of 1024, each in 16 micro-batches of 64 or fewer\n"),
            format!("75 evaluations = Heun on 32 levels, guidance {guidance} for 0.19 < sigma <= 1.61"),
        ] {
            assert!(text.text().contains(&part), "no `{part}` in\n{}", text.text());
        }
        let json = succeeds(with(pixgen(plan), &["--json"])).json();
        assert_eq!((&json["steps"], &json["drawing"]["evaluations"]), (&steps.into(), &75.into()));
    }
    let json = succeeds(pixgen(["pretrain", "--preset", "EPG-L-16-256", "--dry-run", "--json"])).json();
    assert_eq!((&json["steps"], &json["drawing"]), (&600_000.into(), &Value::Null));
}

/// Stage 1 by each method, and what its encoder knows.
#[test]
fn methods_and_probe() {
    let bench = Bench::new();
    let held_out = ["--set", "data.hold_out=0.25", "--images", "64"];
    for (method, terms) in [
        ("epg", ["consistency", "contrast"].as_slice()),
        ("moco", &["contrast"]),
        ("rrcm", &["consistency", "contrast"]),
    ] {
        succeeds(with(with(bench.train(Stage::Pretrain, method), &["--method", method]), &held_out));
        let line = &metrics(&bench.path(method))[0];
        let found: Vec<&str> = keys(line).into_iter().filter(|key| ["consistency", "contrast"].contains(key)).collect();
        assert_eq!(found, terms, "{method}");
        let text = fs::read_to_string(bench.path(method).join("config.toml")).expect("settings");
        assert!(text.contains(&format!("method = \"{method}\"")), "{text}");
        // The same method goes on, another does not.
        succeeds(with(with(bench.train(Stage::Pretrain, method), &["--method", method]), &held_out));
    }
    let other = with(with(bench.train(Stage::Pretrain, "moco"), &["--method", "epg"]), &held_out);
    fails(other, &["pretrain.method = \"moco\", now it is \"epg\""]);

    let probe = |arguments: &[&str]| with(with(pixgen(["probe"]), &[bench.path("epg")]), arguments);
    let json = succeeds(probe(&["--sigma", "0.002,1", "--neighbours", "3", "--json"])).json();
    assert_eq!((&json["known"], &json["asked"], &json["neighbours"]), (&27.into(), &9.into(), &3.into()));
    let levels = json["levels"].as_array().expect("levels");
    assert_eq!(levels.len(), 2);
    for level in levels {
        assert_eq!(keys(level), ["knn", "linear", "sigma", "untrained_knn", "untrained_linear"]);
        for key in ["knn", "linear", "untrained_knn", "untrained_linear"] {
            assert!((0.0..=1.0).contains(&level[key].as_f64().expect("a share")), "{level}");
        }
    }
    let text = succeeds(probe(&["--sigma", "1"]));
    assert!(text.text().contains("27 pictures with known classes, 9 held-out ones"), "{}", text.text());
    let refused = run(probe(&["--sigma", "0"]));
    assert!(refused.code == Some(2) && refused.stderr.contains("a positive number is needed"), "{}", refused.stderr);
    fails(probe(&["--data", "nowhere"]), &["nowhere"]);
}

/// The paper's models: parameters in M and GMACs without the attention products.
#[test]
fn inspect_paper_presets() {
    for (name, parameters, macs) in [
        ("EPG-L-16-256", 540.2, Some(113.0)),
        ("EPG-XL-16-256", 583.0, Some(127.5)),
        ("EPG-XXL-16-256", 788.9, Some(175.9)),
        ("EPG-G-16-256", 1391.9, Some(320.5)),
        ("EPG-S-16-256", 115.5, Some(24.1)),
        ("EPG-B-16-256", 228.9, Some(47.8)),
        ("EPG-L-32-512", 544.9, None),
    ] {
        let json = succeeds(pixgen(["inspect", "--preset", name, "--json"])).json();
        let tenths = |key: &str, unit: f64| (json[key].as_u64().expect(key) as f64 / unit * 10.0).round() / 10.0;
        assert_eq!(tenths("parameters", 1e6), parameters, "{name}");
        if let Some(macs) = macs {
            assert_eq!(tenths("macs", 1e9), macs, "{name}");
            let attention = tenths("attention_macs", 1e9);
            assert!((1.2..=5.6).contains(&attention), "{name}: {attention} G in attention products");
        }
        assert_eq!(json["name"], name);
        assert_eq!(json["tokens"], 258);
    }
}

#[test]
fn inspect_lists_presets_and_sites() {
    let json = succeeds(pixgen(["inspect", "--presets", "--json"])).json();
    let names: Vec<&str> = json
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["name"].as_str().expect("name"))
        .collect();
    assert!(names.contains(&"small-28-grey") && names.contains(&"EPG-G-16-256"), "{names:?}");
    let table = succeeds(pixgen(["inspect", "--presets"]));
    assert_eq!(table.text().lines().count(), names.len() + 1);

    let json = succeeds(pixgen(["inspect", "--preset", "nano-28-grey", "--sites", "--json"])).json();
    let sum = |key: &str| {
        json["sites"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row[key].as_u64().expect(key))
            .sum::<u64>()
    };
    assert_eq!(sum("macs"), json["macs"].as_u64().expect("macs"));
    assert_eq!(sum("attention_macs"), json["attention_macs"].as_u64().expect("macs"));
}

#[test]
fn inspect_runs_and_files() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--images", "64", "--seed", "5"]));
    let of_run = succeeds(with(pixgen(["inspect", "--json"]), &[bench.path("run")])).json();
    let of_file = succeeds(with(pixgen(["inspect", "--json"]), &[bench.path("run/model.safetensors")])).json();
    for json in [&of_run, &of_file] {
        let header = &json["file"];
        assert_eq!((&header["images"], &header["seed"], &header["content"]), (&64.into(), &5.into(), &"generator".into()));
        assert_eq!(header["class_names"], serde_json::json!(CLASSES));
        assert_eq!(json["parameters"], of_run["parameters"]);
    }
    let text = succeeds(with(pixgen(["inspect"]), &[bench.path("run")]));
    for part in [
        "8x8x1",
        "2 blocks of 16 channels",
        "64 img seen",
        "share-0.02",
        "dots, rows, stairs",
    ] {
        assert!(text.text().contains(part), "no `{part}` in\n{}", text.text());
    }
}

// --- Pictures -----------------------------------------------------------------------------------------------------------------------

/// A diffusion model from training to guided samples, and what its flags refuse.
#[test]
fn diffusion_models() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Diffusion, "run"), &["--images", "256"]));
    succeeds(with(bench.train(Stage::Diffusion, "weak"), &["--images", "64"]));
    succeeds(with(bench.train(Stage::Scratch, "one-step"), &["--images", "64"]));
    assert!(bench.path("run/samples/strip.png").exists());
    let sample = |model: &str, arguments: &[&str]| {
        let mut command = with(pixgen(["sample", "--class", "1", "--out"]), &[bench.path("grid.png"), bench.path(model)]);
        command.args(arguments);
        command
    };
    let drawn = |arguments: &[&str], evaluations: &str| {
        let done = succeeds(sample("run", arguments));
        assert!(done.stderr.contains(&format!("8 pictures in {evaluations}: ")), "{}", done.stderr);
        fs::read(bench.path("grid.png")).expect("picture")
    };
    let plain = drawn(&[], "63 evaluations");
    let guided = drawn(&["--guidance", "2"], "75 evaluations");
    assert!(plain != guided && guided == drawn(&["--guidance", "2"], "75 evaluations"));
    let weak = bench.path("weak").display().to_string();
    assert!(guided != drawn(&["--guidance", "2", "--weak", &weak], "75 evaluations"));
    drawn(&["--steps", "5", "--sampler", "euler"], "5 evaluations");
    drawn(&["--steps", "1"], "1 evaluation");
    assert!(plain != drawn(&["--sampler", "stochastic"], "63 evaluations"));

    drawn(&["--guidance", "2", "--interval", "0.1,3"], "83 evaluations");
    fails(sample("run", &["--guidance", "inf"]), &["--guidance inf", "hint: "]);
    fails(sample("run", &["--weak", &weak]), &["--weak", "--guidance"]);
    let one_step = bench.path("one-step").display().to_string();
    fails(sample("run", &["--guidance", "2", "--weak", &one_step]), &["one-step generator", "--objective diffusion"]);
    fails(sample("one-step", &["--guidance", "2"]), &["one-step generator", "hint: "]);
    fails(sample("one-step", &["--steps", "3"]), &["--steps 3", "1 or 2"]);
    fails(with(bench.train(Stage::Diffusion, "bad"), &["--set", "diffusion.label_drop=2"]), &["diffusion.label_drop"]);
}

/// Stage 3 from a generator to pictures, and what it refuses.
#[test]
fn drifting() {
    let bench = Bench::new().with_encoder().with_generator();
    let planned = succeeds(with(bench.train(Stage::Drift, "plan"), &["--dry-run", "--json"])).json();
    assert_eq!((&planned["config"]["stage"], &planned["steps"]), (&"drift".into(), &64.into()));
    succeeds(with(bench.train(Stage::Drift, "run"), &["--images", "64"]));
    let line = &metrics(&bench.path("run"))[0];
    for term in ["loss", "patches", "windows", "whole", "encoder", "drift"] {
        assert!(line[term].as_f64().is_some_and(|value| value > 0.0), "{term}: {line}");
    }
    // What is trained is one step.
    assert_eq!(names(&bench.path("run/samples")), ["images-000000000-1step.png", "images-000000064-1step.png", "strip.png"]);
    let described = succeeds(with(pixgen(["inspect"]), &[bench.path("run")]));
    let described = described.text();
    assert!(described.contains("one-step generator") && described.contains("plain-x"), "{described}");
    succeeds(with(
        with(pixgen(["sample", "--class", "1", "--out"]), &[bench.path("grid.png"), bench.path("run")]),
        &["--count", "4"],
    ));

    // Without a preset all that decides over pictures is the generator's.
    succeeds(with(bench.train(Stage::Finetune, "edm"), &["--images", "64", "--set", "noise.shift=2"]));
    let paths = ["data", "edm", "edm too"].map(|name| bench.path(name).display().to_string());
    let [data, edm, out] = paths.each_ref().map(String::as_str);
    let drift =
        |arguments: &[&str]| with(pixgen(["finetune", "--objective", "drift", "--images", "8", "--batch", "8", "--data", data]), arguments);
    let sets = ["--set", "drift.generated=4", "--set", "drift.real=20", "--out", out];
    succeeds(drift(&[&["--from", edm][..], &sets].concat()));
    let config = fs::read_to_string(bench.path("edm too/config.toml")).expect("settings");
    assert!(config.contains("parametrisation = \"edm\"") && config.contains("shift = 2.0"), "{config}");

    let refused =
        |arguments: &[&str], parts: &[&str]| fails(with(bench.train(Stage::Drift, "bad"), arguments), &[parts, &["hint: "]].concat());
    let elsewhere = bench.path("nothing").display().to_string();
    fails(drift(&[&sets[..5], &[elsewhere.as_str()]].concat()), &["from: ", "one-step generator", "--from RUN"]);
    let from = |model: &str| format!("from={}", bench.path(model).display());
    refused(&["--set", &from("edm")], &["draws from other noise, or in another parametrisation"]);
    refused(&["--set", "drift.parametrisation=edm"], &["another parametrisation"]);
    refused(&["--batch", "10"], &["train.batch", "drift.generated = 4", "--batch 12"]);
    refused(&["--set", "drift.generated=1"], &["drift.generated"]);
    refused(&["--set", "drift.real=0"], &["drift.real"]);
    refused(&["--set", "drift.windows=[8, 3]"], &["drift.windows", "3 pixels"]);
    refused(&["--set", "drift.windows=[16, 0]"], &["drift.windows", "up to 8"]);
    refused(&["--set", "drift.temperatures=[0.0, 0.1, 0.2]"], &["drift.temperatures"]);
    refused(&["--set", "drift.guidance=0.9"], &["drift.guidance", "between 1"]);
    refused(&["--set", "consistency.huber=0.1"], &["settings of `finetune`"]);
    let nothing = ["drift.patches=false", "drift.whole=false", "drift.windows=[0, 0]"];
    let nothing: Vec<&str> = nothing.iter().flat_map(|setting| ["--set", setting]).collect();
    refused(&[&nothing[..], &["--set", "encoder="]].concat(), &["nothing to match"]);
    succeeds(with(bench.train(Stage::Diffusion, "diffusion"), &["--images", "64"]));
    for other in ["diffusion", "encoder"] {
        refused(&["--set", &from(other)], &["one-step generator"]);
    }
}

#[test]
fn sample_grids() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--images", "256"]));
    let sample = |name: &str, arguments: &[&str]| {
        let out = bench.path(name);
        let mut command = with(pixgen(["sample"]), &[bench.path("run").as_os_str(), OsStr::new("--out"), out.as_os_str()]);
        command.args(arguments);
        let done = succeeds(command);
        assert!(done.stdout.is_empty(), "no preview without a terminal: {}", done.text());
        assert!(done.stderr.contains(name), "{}", done.stderr);
        fs::read(out).expect("picture")
    };
    let size = |png: &[u8]| image::load_from_memory(png).expect("a PNG").dimensions();

    // A column for each class; 8 pixels, four times as large, and the gap between two.
    let all = sample("all.png", &["--count", "4"]);
    let gap = (size(&all).0 - 3 * 32) / 2;
    assert!((1..=8).contains(&gap), "{:?}", size(&all));
    // Names of the classes above the first row.
    let named = 12;
    assert_eq!(size(&all), (3 * 32 + 2 * gap, named + 4 * 32 + 3 * gap));
    // One class fills rows of ten.
    let rows = sample("rows.png", &["--class", "rows", "--count", "12"]);
    assert_eq!(size(&rows), (10 * 32 + 9 * gap, named + 2 * 32 + gap));
    assert_eq!(size(&sample("few.png", &["--class", "1", "--count", "3"])), (3 * 32 + 2 * gap, named + 32));

    assert!(sample("name.png", &["--class", "1", "--count", "12"]) == rows, "a class by number and by name is the same");
    assert!(sample("case.png", &["--class", "Rows", "--count", "12"]) == rows);
    assert!(sample("again.png", &["--count", "4"]) == all, "the same seed gave other pictures");
    assert!(sample("seed.png", &["--count", "4", "--seed", "1"]) != all, "another seed gave the same pictures");
    assert!(sample("other.png", &["--class", "stairs", "--count", "12"]) != rows, "the class does nothing");
    let two = sample("two.png", &["--count", "4", "--steps", "2"]);
    assert!(two != all && size(&two) == size(&all), "the second step does nothing");

    let unknown = |class: &str| with(pixgen(["sample"]), &[bench.path("run").as_os_str(), OsStr::new(&format!("--class={class}"))]);
    fails(unknown("waves"), &["--class waves", "0 to 2", "dots, rows, stairs"]);
    fails(unknown("3"), &["--class 3"]);
    fails(unknown("-1"), &["--class -1"]);

    let out = bench.path("preview.png");
    let mut preview = with(
        pixgen(["sample", "--preview", "--count", "1"]),
        &[bench.path("run").as_os_str(), OsStr::new("--out"), out.as_os_str()],
    );
    preview.env_remove("NO_COLOR");
    assert!(succeeds(preview).text().contains('\u{2580}'), "no half blocks");
}

#[test]
fn runs_leave_what_they_promise() {
    let bench = Bench::new();
    let done = succeeds(bench.train(Stage::Scratch, "run"));
    assert!(done.stdout.is_empty(), "training writes data to files only: {}", done.text());
    assert!(done.stderr.contains("loss ") && done.stderr.contains("done in "), "{}", done.stderr);
    let files: Vec<String> = contents(&bench.path("run")).iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(
        files,
        [
            ".lock",
            "checkpoints/step-000000000384.safetensors",
            "checkpoints/step-000000000512.safetensors",
            "config.toml",
            "metrics.jsonl",
            "model.safetensors",
            "samples/images-000000000-1step.png",
            "samples/images-000000000-2step.png",
            "samples/images-000000256-1step.png",
            "samples/images-000000256-2step.png",
            "samples/images-000000512-1step.png",
            "samples/images-000000512-2step.png",
            "samples/strip.png",
        ]
    );
    // The configuration of the run is a settings file: it repeats the run.
    let config = bench.path("run/config.toml");
    let out = bench.path("repeated");
    let repeat = with(pixgen(["finetune", "--config"]), &[config.as_os_str(), OsStr::new("--out"), out.as_os_str()]);
    succeeds(repeat);
    let model = |run: &str| fs::read(bench.path(run).join("model.safetensors")).expect("model");
    assert!(model("repeated") == model("run"), "config.toml does not repeat the run");

    let quiet = succeeds(with(bench.train(Stage::Scratch, "quiet"), &["--quiet", "--images", "64"]));
    assert!(!quiet.stderr.contains("loss "), "{}", quiet.stderr);
}

// --- Data ---------------------------------------------------------------------------------------------------------------------------

fn check(data: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    with(with(pixgen(["data", "check"]), &[data]), arguments)
}

#[test]
fn data_check_of_the_bundled_pictures() {
    let done = succeeds(check("bundled", &["--no-sheet"]));
    for part in ["10000 usable, 0 bad", "Ankle boot (1000)", "28x28 (10000)", "mean     0.28"] {
        assert!(done.text().contains(part), "no `{part}` in\n{}", done.text());
    }
    assert!(done.text().ends_with('\n'), "the last line has no end");
    let json = succeeds(check("bundled", &["--no-sheet", "--json"])).json();
    let expected = "bad classes colour_modes content_hash copies images kind mean passed_over sizes source std";
    assert_eq!(keys(&json).join(" "), expected);
    assert_eq!((&json["images"], &json["kind"]), (&10_000.into(), &"bundled".into()));

    let avatars = succeeds(check("bundled:avatars", &["--no-sheet"]));
    for part in [
        "20000 usable, 0 bad",
        "lorelei (4000), notionists (4000)",
        "32x32 (20000)",
        "rgb 20000",
    ] {
        assert!(avatars.text().contains(part), "no `{part}` in\n{}", avatars.text());
    }
    assert!(!avatars.text().contains("copies"), "{}", avatars.text());
    fails(check("bundled:faces", &[]), &["bundled:faces", "bundled:avatars-test"]);
}

#[test]
fn a_contact_sheet_is_no_training_picture() {
    let bench = Bench::new();
    let data = bench.path("data");
    for sheet in [None, Some("stairs/sheet.png")] {
        let mut command = check(".", &[]);
        command.current_dir(&data);
        command.args(sheet.iter().flat_map(|sheet| ["--sheet", sheet]));
        let done = succeeds(command);
        assert!(done.stderr.contains("no contact sheet: "), "{}", done.stderr);
    }
    assert!(!data.join("contact-sheet.png").exists() && !data.join("stairs/sheet.png").exists());
}

#[test]
fn data_check_of_a_folder_with_bad_files() {
    let bench = Bench::new();
    let count = CLASSES.len() as u64 * u64::from(PER_CLASS);
    let sheet = bench.path("sheet.png");
    let on_sheet = |data: &Path| with(check(data, &["--sheet"]), &[&sheet]);
    let done = succeeds(on_sheet(&bench.path("data")));
    assert!(done.text().contains(&format!("{count} usable, 0 bad")), "{}", done.text());
    assert!(done.text().contains("dots (12), rows (12), stairs (12)"), "{}", done.text());
    assert!(done.stderr.contains("sheet.png"), "{}", done.stderr);
    let (width, height) = image::open(&sheet).expect("a PNG").dimensions();
    assert!(width > 10 * 8 && height > 3 * 8, "ten pictures of three classes on {width} x {height} pixels");

    fs::write(bench.path("data/stairs/04.png"), b"").expect("file");
    fs::write(bench.path("data/rows/07.png"), b"text").expect("file");
    let done = fails_with_report(check(bench.path("data"), &["--no-sheet"]), "rows/07.png: the content is neither PNG nor JPEG");
    assert!(done.text().contains(&format!("{} usable, 2 bad", count - 2)), "{}", done.text());
    let done = fails_with_report(check(bench.path("data"), &["--no-sheet", "--json"]), "rows/07.png");
    let json = done.json();
    assert_eq!(json["bad"].as_array().expect("bad files").len(), 2);
    assert!(json["bad"][0]["path"].as_str().expect("a path").ends_with("rows/07.png"), "{json}");
    assert_eq!(json["bad"][1]["reason"]["kind"], "empty");
    fails(check(bench.path("data"), &["--no-sheet", "--background", "white"]), &["white", "#rrggbb"]);
}

/// A failed check prints its report all the same.
fn fails_with_report(command: Command, first: &str) -> Done {
    let done = run(command);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let error = done.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains("2 bad file") && error.contains(first), "{}", done.stderr);
    assert!(done.stderr.contains("hint: "), "{}", done.stderr);
    done
}

/// Without options the sheet lies in the current folder.
#[test]
fn data_check_writes_a_contact_sheet() {
    let bench = Bench::new();
    let mut command = check(bench.path("data"), &[]);
    fs::create_dir(bench.path("here")).expect("folder");
    command.current_dir(bench.path("here"));
    succeeds(command);
    assert!(fs::read(bench.path("here/contact-sheet.png")).expect("sheet").starts_with(b"\x89PNG"));
}

#[test]
fn data_check_of_archives() {
    let bench = Bench::new();
    for (name, kind) in [("data.zip", "zip"), ("shards", "tar")] {
        bench.pack(name);
        let json = succeeds(check(bench.path(name), &["--no-sheet", "--json"])).json();
        assert_eq!((&json["kind"], &json["images"]), (&kind.into(), &36.into()), "{json}");
        let classes: Vec<&str> = json["classes"]
            .as_array()
            .expect("classes")
            .iter()
            .filter_map(|class| class["name"].as_str())
            .collect();
        assert_eq!(classes, CLASSES);
        assert_eq!((&json["sizes"][0]["height"], &json["colour_modes"]["grey"]), (&8.into(), &36.into()));
        let sheet = bench.path("sheet.png");
        succeeds(with(check(bench.path(name), &["--sheet"]), &[&sheet]));
        assert!(image::open(&sheet).expect("a PNG").height() > 3 * 8);
    }
    assert_eq!(names(&bench.path("shards")).len(), 7, "six shards of 36 pictures, and the names of the classes");
    succeeds(check(bench.path("shards/{000000..000005}.tar"), &["--no-sheet"]));
    fails(check(bench.path("shards/{000000..000006}.tar"), &["--no-sheet"]), &["000006.tar"]);

    // A flipped bit in a picture, and archives that end early.
    let zip = fs::read(bench.path("data.zip")).expect("archive");
    let place = zip.windows(4).position(|bytes| bytes == b"IDAT").expect("a picture") + 8;
    flip_bit(&bench.path("data.zip"), place);
    fails(check(bench.path("data.zip"), &["--no-sheet"]), &["1 bad file", "data.zip/00000/img00000000.png", "check sum"]);
    fs::write(bench.path("short.zip"), &zip[..zip.len() / 2]).expect("file");
    fails(check(bench.path("short.zip"), &["--no-sheet"]), &["short.zip", "zip archive cannot be read"]);
    let tar = fs::read(bench.path("shards/000000.tar")).expect("archive");
    fs::write(bench.path("short.tar"), &tar[..600]).expect("file");
    fails(check(bench.path("short.tar"), &["--no-sheet"]), &["short.tar/00000000.png", "cut short"]);
}

/// The limit is raised as far as it may be; beyond that, shards are opened when they are read.
#[cfg(unix)]
#[test]
fn more_shards_than_open_files() {
    let bench = Bench::new();
    let pack = ["data", "prepare", "--size", "8", "--grey", "--shard-images", "1", "--out"];
    succeeds(with(pixgen(pack), &[bench.path("shards"), bench.path("data")]));
    assert_eq!(names(&bench.path("shards")).len(), 37);
    let expected = succeeds(check(bench.path("data"), &["--content-hash"])).text().to_owned();
    for limit in ["ulimit -S -n 24", "ulimit -n 24"] {
        let command = check(bench.path("shards"), &["--content-hash"]);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
        limited.arg(command.get_program()).args(command.get_args());
        assert_eq!(succeeds(limited).text(), expected, "{limit}");
    }
}

#[test]
fn what_was_not_used_is_told() {
    let bench = Bench::new();
    for name in ["notes.txt", "rows/drawing.svg", ".hidden"] {
        fs::write(bench.path("data").join(name), "text").expect("file");
    }
    let told = "passed over: 2 files (1 .svg, 1 .txt), 1 hidden or of the system";
    let done = succeeds(check(bench.path("data"), &["--no-sheet"]));
    assert!(done.text().contains(told), "{}", done.text());
    let json = succeeds(check(bench.path("data"), &["--no-sheet", "--json"])).json();
    assert_eq!((&json["passed_over"]["files"], &json["passed_over"]["extensions"][".svg"]), (&2.into(), &1.into()));
    let done = succeeds(with(bench.train(Stage::Scratch, "run"), &["--images", "64"]));
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

/// Labels that begin at 1, as EMNIST's letters do.
#[test]
fn gaps_in_labels_are_closed_on_demand() {
    let bench = Bench::new();
    let folder = bench.path("mnist-of-an-old-fashioned-kind");
    fs::create_dir(&folder).expect("folder");
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let images = [words(&[0x803, 4, 2, 2]), (0..16).collect()].concat();
    fs::write(folder.join("train-images-idx3-ubyte"), images).expect("file");
    fs::write(folder.join("train-labels-idx1-ubyte"), [words(&[0x801, 4]), vec![1, 2, 4, 1]].concat()).expect("file");
    fails(
        check(folder.clone(), &["--no-sheet"]),
        &["labels go up to 4, but no image has label 0", "data prepare", "--relabel"],
    );
    let prepare =
        |options: &[&str]| with(with(pixgen(["data", "prepare", "--size", "2", "--grey"]), options), std::slice::from_ref(&folder));
    fails(prepare(&["--out", "x.zip"]), &["no image has label 0"]);
    let out = bench.path("new.zip").display().to_string();
    succeeds(prepare(&["--relabel", "--out", &out]));
    let json = succeeds(check(bench.path("new.zip"), &["--no-sheet", "--json"])).json();
    assert_eq!((&json["classes"][2]["name"], &json["classes"][0]["images"]), (&"4".into(), &2.into()), "{json}");
}

#[test]
fn data_prepare_repeats_itself_and_overwrites_nothing() {
    let bench = Bench::new();
    let prepare = |out: &str, options: &[&str]| {
        let command = with(pixgen(["data", "prepare", "--size", "4", "--out"]), &[bench.path(out), bench.path("data")]);
        with(command, options)
    };
    let done = succeeds(prepare("a.zip", &[]));
    assert!(done.stderr.contains("36 pictures of 3 classes"), "{}", done.stderr);
    succeeds(prepare("b.zip", &["--threads", "1"]));
    assert!(fs::read(bench.path("a.zip")).expect("archive") == fs::read(bench.path("b.zip")).expect("archive"));
    succeeds(prepare("jpeg", &["--format", "jpeg", "--quality", "80"]));
    succeeds(check(bench.path("jpeg"), &["--no-sheet"]));
    fails(prepare("a.zip", &[]), &["a.zip is already there"]);
    fails(prepare("none/a.zip", &[]), &["cannot write", "none/a.zip"]);
    fs::write(bench.path("data/rows/03.png"), b"text").expect("file");
    fails(prepare("c.zip", &[]), &["rows/03.png", "neither PNG nor JPEG"]);
    assert!(!names(&bench.path(".")).iter().any(|name| name.contains("c.zip")), "something half-written is left");
    let done = succeeds(prepare("c.zip", &["--skip-bad"]));
    assert!(done.stderr.contains("left out") && done.stderr.contains("35 pictures"), "{}", done.stderr);
}

#[test]
fn data_bench_reports() {
    let bench = Bench::new();
    bench.pack("data.zip");
    let arguments = [
        "data",
        "bench",
        "--preset",
        "nano-28-grey",
        "--pictures",
        "36",
        "--rounds",
        "1",
        "--json",
    ];
    let json = succeeds(with(pixgen(arguments), &[bench.path("data.zip")])).json();
    let rows = json["rows"].as_array().expect("rows");
    assert_eq!((rows.len(), &rows[0]["work"], &rows[0]["of_decoder"]), (6, &"decoder".into(), &1.0.into()));
    assert!(rows.iter().all(|row| row["images_per_second"].as_f64().expect("a number") > 0.0), "{json}");
    assert_eq!((&json["measured"], json["needs"].as_array().map(Vec::len)), (&36.into(), Some(4)));
    let text = succeeds(with(pixgen(&arguments[..8]), &[bench.path("data")]));
    assert!(text.text().contains("reading and decoding") && text.text().contains("8 x h100"), "{}", text.text());
    fails(with(pixgen(arguments), &["bundled"]), &["bundled holds pixels", "nothing to decode"]);
}

// --- Reports ------------------------------------------------------------------------------------------------------------------------

#[test]
fn eval_reports() {
    let bench = Bench::new();
    let out = bench.path("run");
    let train = [
        "finetune",
        "--preset",
        "nano-28-grey",
        "--images",
        "256",
        "--batch",
        "32",
        "--set",
        "output.sample_rows=1",
        "--out",
    ];
    succeeds(with(pixgen(train), &[&out]));
    let json = succeeds(with(pixgen(["eval", "--count", "40", "--json"]), &[&out])).json();
    assert_eq!((keys(&json), &json["schema"]), (vec!["rows", "schema"], &2.into()));
    let row = &json["rows"][0];
    assert_eq!((&row["generated"]["n"], &row["images_seen"], &row["evaluations"]), (&40.into(), &256.into(), &1.into()));
    assert_eq!((&row["arithmetic"], &row["guidance"]), (&"f32".into(), &Value::Null));
    let number = |set: &str, key: &str| row[set][key].as_f64().unwrap_or_else(|| panic!("{set}.{key} of {row}"));
    assert!(number("real", "accuracy") > 0.85, "{json}");
    assert!(number("generated", "accuracy") < 0.6, "256 images teach nobody clothes: {json}");
    assert!(number("generated", "frechet") > number("real", "frechet"), "{json}");
    assert_eq!(row["classes"].as_array().expect("classes").len(), 10);
    let text = succeeds(with(pixgen(["eval", "--count", "40"]), &[&out]));
    for part in [
        "256 images seen",
        "seed 1000000",
        "FD-fmnist",
        "nearest training image, median",
        "Ankle boot",
    ] {
        assert!(text.text().contains(part), "{part}: {}", text.text());
    }
    // A flag changes numbers and adds rows, never the keys.
    documented(row);

    // A list, a grid or a network: a row for each set, against training pictures.
    let nearest = bench.path("nearest.png");
    let arguments = [
        "eval",
        "--count",
        "40",
        "--ema",
        "all",
        "--k",
        "3",
        "--reference-count",
        "300",
        "--json",
        "--grid",
    ];
    let json = succeeds(with(with(pixgen(arguments), &[&nearest]), &[&out])).json();
    let rows = json["rows"].as_array().expect("rows");
    let averages: Vec<&str> = rows.iter().filter_map(|row| row["ema"].as_str()).collect();
    assert_eq!(averages, ["raw", "share-0.02", "decay-0.99"]);
    for row in rows {
        documented(row);
        assert_eq!((&row["network"], &row["layer"], &row["resize"]), (&"fashion".into(), &"64".into(), &"none".into()), "{row}");
        assert_eq!((&row["evaluations"], &row["neighbours"], &row["reference_pictures"]), (&1.into(), &3.into(), &300.into()));
        let number = |set: &str, key: &str| row[set][key].as_f64().unwrap_or_else(|| panic!("{set}.{key} of {row}"));
        assert_eq!((number("generated", "n"), number("real", "n")), (40.0, 40.0));
        for key in ["frechet", "kernel"] {
            assert!(number("generated", key) > number("real", key), "{key}: {row}");
        }
        // Precision and density may be high where all pictures are alike; what is missing shows.
        for key in ["recall", "coverage"] {
            assert!(number("real", key) > 0.8 && number("generated", key) < 0.5, "{key}: {row}");
        }
        assert!(number("real", "precision") > 0.8 && number("real", "density") > 0.8, "{row}");
        assert!(number("real", "accuracy") > 0.8 && number("real", "nearest_median") > 0.05, "{row}");
    }
    assert_ne!(rows[0]["generated"], rows[1]["generated"]);
    let grid = image::open(&nearest).expect("grid");
    // Eight pairs in a row, four times as large, two pixels apart, and the names of their classes.
    assert_eq!(grid.dimensions(), (16 * (4 * 28 + 2) - 2, 4 * (4 * 28 + 2) - 2 + 4 * 12));
    let table = succeeds(with(pixgen(["eval", "--count", "40", "--ema", "raw,decay-0.99"]), &[&out]));
    for part in ["FD-fmnist", "real pictures, n = 40", "decay-0.99, 1 evaluation"] {
        assert!(table.text().contains(part), "{part}: {}", table.text());
    }
    fails(with(pixgen(["eval", "--ema", "share-7"]), &[&out]), &["share-7", "raw, share-0.02, decay-0.99"]);
    fails(with(pixgen(["eval", "--ema", "raw"]), &[out.join("model.safetensors")]), &["not a run folder", "share-0.02"]);
    fails(with(pixgen(["eval", "--network", "inception"]), &[&out]), &["--weights", "safetensors"]);
    fails(with(pixgen(["eval", "--network", "inception", "--layer", "40"]), &[&out]), &["no layer `40`", "768"]);
    let not = [out.join("config.toml"), out.clone()];
    fails(with(pixgen(["eval", "--reference"]), &not), &["config.toml", "mu and sigma"]);
    fails(with(pixgen(["eval", "--network", "efficientnet-lite0", "--weights"]), &not), &["config.toml", "safetensors"]);

    // A model that the classifier cannot judge needs weights that are fetched.
    succeeds(with(bench.train(Stage::Scratch, "tiny"), &["--images", "64"]));
    let mut command = with(pixgen(["eval", "--count", "20"]), &[bench.path("tiny")]);
    command.env("PIXGEN_CACHE", bench.path("empty"));
    fails(command, &["efficientnet-lite0.safetensors", "pixgen-train data get efficientnet-lite0"]);

    // So does a run that measures itself, and it says so before there is a folder.
    let mut command = with(bench.train(Stage::Scratch, "watched"), &["--set", "quality.every=64"]);
    command.env("PIXGEN_CACHE", bench.path("empty"));
    fails(command, &["efficientnet-lite0.safetensors", "pixgen-train data get efficientnet-lite0"]);
    assert!(!bench.path("watched").exists());

    // Two folders; the network does not matter for what is refused.
    fails(pixgen(["eval"]), &["nothing to measure", "--folder"]);
    fails(pixgen(["eval", "--folder", "nowhere", "--against", "nowhere", "--size", "32"]), &["nowhere"]);
    fails(pixgen(["eval", "--folder", "nowhere", "--against", "nowhere"]), &["--size"]);
    // Pictures of an .npz have a size.
    let npz = bench.path("pictures.npz");
    succeeds(with(pixgen(["sample", "--count", "20", "--out"]), &[&npz, &out]));
    fails(with(pixgen(["eval", "--folder"]), &[&npz]), &["nothing to be compared", "--reference"]);
    fails(
        with(pixgen(["eval", "--size", "32", "--against", "nowhere", "--folder"]), &[&npz]),
        &["28x28x3", "--size is 32"],
    );
}

/// A row of a report has the keys of the example in docs/reference/evaluation.md; an object or a list in it those of the example's.
fn documented(row: &Value) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/evaluation.md");
    let text = std::fs::read_to_string(page).expect("page");
    let (before, rest) = text.split_once("```json\n").expect("an example");
    let (example, after) = rest.split_once("```").expect("its end");
    let example: Value = serde_json::from_str(example).expect("JSON");
    let example = &example["rows"][0];
    assert_eq!(keys(row), keys(example));
    for part in ["generated", "real"] {
        assert_eq!(keys(&row[part]), keys(&example[part]), "{part}");
        assert_eq!(keys(&row[part]["kernel_subsets"]), keys(&example[part]["kernel_subsets"]), "{part}");
    }
    assert_eq!(keys(&row["classes"][0]), keys(&example["classes"][0]));
    // The table says what each of them means.
    let described = [before, after].concat();
    let inner = [&row["generated"], &row["generated"]["kernel_subsets"], &row["classes"][0]];
    for key in inner.into_iter().chain([row]).flat_map(keys) {
        assert!(described.contains(&format!("`{key}`")), "`{key}` is not described in {page}");
    }
}

/// A reader that goes away (`| head -1`) is no error and no news.
#[test]
fn a_broken_pipe_is_quiet() {
    for arguments in [
        &["config", "show", "pretrain"][..],
        &["inspect", "--preset", "EPG-G-16-256", "--sites", "--json"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let mut child = pixgen(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("stderr").read_to_string(&mut stderr).expect("UTF-8");
        let status = child.wait().expect("ends");
        assert!(status.success(), "{arguments:?}: {status} {stderr}");
        assert!(stderr.is_empty(), "{arguments:?}: {stderr}");
    }
}

/// A run goes on when nobody reads its messages any more.
#[test]
fn messages_that_nobody_reads() {
    let bench = Bench::new();
    let mut command = bench.train(Stage::Scratch, "run");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stderr.take());
    assert!(child.wait().expect("ends").success());
    assert!(bench.path("run/model.safetensors").exists());
}
