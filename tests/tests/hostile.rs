//! Broken and hostile input through the program: each gives its clear error, exit code 1 and a hint, and loses nothing.

use pixgen_tests::fixtures::{Bench, Stage, checkpoints, contents, flip_bit, names};
use pixgen_tests::program::{fails, finish, interrupt, pixgen, run, start, succeeds, wait_until};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn with<S: AsRef<OsStr>>(mut command: Command, arguments: &[S]) -> Command {
    command.args(arguments);
    command
}

/// Another data set than the bench's.
fn on_data(bench: &Bench, data: &Path) -> Command {
    with(bench.train(Stage::Scratch, "run"), &[OsStr::new("--data"), data.as_os_str()])
}

fn data_check(data: &Path) -> Command {
    with(pixgen(["data", "check", "--no-sheet"]), &[data])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary folder has a plain name")
}

// --- Data ---------------------------------------------------------------------------------------------------------------------------

#[test]
fn truncated_png() {
    let bench = Bench::new();
    let victim = bench.path("data/rows/03.png");
    let bytes = fs::read(&victim).expect("picture");
    fs::write(&victim, &bytes[..bytes.len() / 2]).expect("picture");

    fails(bench.train(Stage::Scratch, "run"), &["1 of 36 image files", text(&victim), "cut short"]);
    assert!(!bench.path("run").exists(), "a run folder was made for data that cannot be used");
    let done = run(data_check(&bench.path("data")));
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains(text(&victim)) && done.stderr.contains("hint: "), "{}", done.stderr);
    assert!(done.text().contains("35 usable, 1 bad"), "{}", done.text());

    let done = succeeds(with(bench.train(Stage::Scratch, "run"), &["--skip-bad", "--images", "64"]));
    assert!(done.stderr.contains("left out 1 bad file"), "{}", done.stderr);
    assert_eq!(fs::read(&victim).expect("picture").len(), bytes.len() / 2);
}

#[test]
fn files_that_are_no_pictures() {
    let bench = Bench::new();
    for (bytes, reason) in [
        (&b""[..], "the file is empty"),
        (b"\0\0\0\x1cftypavif", "AVIF is not read, convert it to PNG"),
        (b"GIF89a and so on", "cannot be decoded"),
        (b"a letter", "neither PNG nor JPEG"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cut short"),
    ] {
        fs::write(bench.path("data/dots/00.png"), bytes).expect("file");
        fails(bench.train(Stage::Scratch, "run"), &["data/dots/00.png", reason]);
    }
    // The first in sorted order is named, and the number of all.
    fs::write(bench.path("data/stairs/11.png"), b"").expect("file");
    fails(bench.train(Stage::Scratch, "run"), &["2 of 36", "data/dots/00.png"]);
    assert!(!bench.path("run").exists());
}

#[test]
fn empty_class_folder() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data/waves")).expect("folder");
    fails(bench.train(Stage::Scratch, "run"), &["data/waves", "no usable image"]);
    fails(data_check(&bench.path("data")), &["data/waves"]);
    fs::create_dir(bench.path("nothing")).expect("folder");
    fails(on_data(&bench, &bench.path("nothing")), &["nothing", "no image in"]);
    // All its pictures are bad: skipping them would leave a class without pictures.
    fs::write(bench.path("data/waves/0.png"), b"?").expect("file");
    fails(with(bench.train(Stage::Scratch, "run"), &["--skip-bad"]), &["data/waves", "no usable image"]);
    assert!(!bench.path("run").exists());
}

/// An IDX pair of `count` 8x8 pictures in two classes, with another beginning than it should have.
fn idx_pair(folder: &Path, magic: u32, count: u32, stored: usize) {
    fs::create_dir_all(folder).expect("folder");
    let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
    let mut images = header(&[magic, count, 8, 8]);
    images.extend((0..stored * 64).map(|i| (i % 251) as u8));
    fs::write(folder.join("train-images-idx3-ubyte"), images).expect("file");
    let mut labels = header(&[0x801, count]);
    labels.extend((0..count).map(|i| (i % 2) as u8));
    fs::write(folder.join("train-labels-idx1-ubyte"), labels).expect("file");
}

#[test]
fn wrong_idx_header() {
    let bench = Bench::new();
    let folder = bench.path("idx");
    let file = folder.join("train-images-idx3-ubyte");
    for (magic, count, stored, message) in [
        (0x802, 16, 16, "magic number"),
        (0x803, 16, 9, "cut short"),
        (0x803, 16, 17, "too long"),
        (0x803, u32::MAX, 16, "4294967295 images"),
    ] {
        idx_pair(&folder, magic, count.min(1 << 20), stored);
        if count > 1 << 20 {
            let mut bytes = fs::read(&file).expect("file");
            bytes[4..8].copy_from_slice(&count.to_be_bytes());
            fs::write(&file, bytes).expect("file");
        }
        fails(on_data(&bench, &folder), &[text(&file), message]);
        fails(data_check(&folder), &[text(&file), message]);
    }
    assert!(!bench.path("run").exists());
    // The same files with the right header train.
    idx_pair(&folder, 0x803, 16, 16);
    succeeds(with(on_data(&bench, &folder), &["--images", "64"]));
}

// --- Paths --------------------------------------------------------------------------------------------------------------------------

#[test]
fn missing_paths() {
    let bench = Bench::new();
    let missing = bench.path("missing");
    fails(on_data(&bench, &missing), &[text(&missing)]);
    fails(data_check(&missing), &[text(&missing)]);
    fails(with(pixgen(["sample"]), &[&missing]), &[text(&missing)]);
    fails(with(pixgen(["eval"]), &[&missing]), &[text(&missing)]);
    fails(with(pixgen(["inspect"]), &[&missing]), &[text(&missing)]);
    fails(with(pixgen(["config", "show", "pretrain", "--config"]), &[&missing]), &[text(&missing)]);
    fails(with(bench.train(Stage::Scratch, "run"), &[OsStr::new("--encoder"), missing.as_os_str()]), &[text(&missing)]);
    // A run that has not exported a model yet.
    fs::create_dir(bench.path("empty")).expect("folder");
    fails(with(pixgen(["sample"]), &[bench.path("empty")]), &["empty is a folder, not a model file"]);
    assert!(!bench.path("run").exists() && !missing.exists());
}

/// Paths are bytes on Unix; what is not text can be used where no setting has to hold it.
#[test]
fn paths_that_are_not_utf8() {
    let bench = Bench::new();
    let odd = bench.path("data").with_file_name(OsStr::from_bytes(b"r\xffn"));
    succeeds(with(bench.train(Stage::Scratch, &odd), &["--images", "64"]));
    let picture = bench.path("data").with_file_name(OsStr::from_bytes(b"gr\xfed.png"));
    succeeds(with(pixgen(["sample", "--count", "1"]), &[odd.as_os_str(), OsStr::new("--out"), picture.as_os_str()]));
    assert!(fs::read(&picture).expect("picture").starts_with(b"\x89PNG"));
    succeeds(with(pixgen(["inspect"]), &[&odd]));
    fails(with(pixgen(["sample"]), &[odd.join("x")]), &["r\u{fffd}n/x"]);
    // A setting is text in config.toml, so such data are refused like any other wrong usage.
    let done = run(data_check(&odd));
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("UTF-8"), "{}", done.stderr);
}

#[test]
fn file_in_place_of_run_folder() {
    let bench = Bench::new();
    fs::write(bench.path("run"), "my notes").expect("file");
    fails(bench.train(Stage::Scratch, "run"), &[text(&bench.path("run")), "is a file"]);
    fails(bench.train(Stage::Scratch, "run/below"), &[text(&bench.path("run/below"))]);
    fails(with(pixgen(["quickstart", "--minutes", "0.001", "--out"]), &[bench.path("run")]), &[text(&bench.path("run"))]);
    assert_eq!(fs::read_to_string(bench.path("run")).expect("file"), "my notes");
}

#[test]
fn foreign_folder() {
    let bench = Bench::new();
    for file in ["holiday.jpg", "config.toml", "model.safetensors"] {
        let folder = bench.path("theirs");
        fs::create_dir(&folder).expect("folder");
        fs::write(folder.join(file), "theirs").expect("file");
        fails(bench.train(Stage::Scratch, "theirs"), &[text(&folder), file]);
        assert_eq!(names(&folder), [file]);
        assert_eq!(fs::read_to_string(folder.join(file)).expect("file"), "theirs");
        fs::remove_dir_all(folder).expect("folder");
    }
}

#[test]
fn two_processes_in_one_run_folder() {
    let bench = Bench::new();
    let endless = [
        "--images",
        "10M",
        "--set",
        "output.checkpoint_every=1M",
        "--set",
        "output.sample_every=1M",
    ];
    let first = start(with(bench.train(Stage::Scratch, "run"), &endless));
    let log = bench.path("run/metrics.jsonl");
    wait_until("the first process trains", || fs::metadata(&log).is_ok_and(|m| m.len() > 0));
    let process = format!("process {}", first.id());
    fails(with(bench.train(Stage::Scratch, "run"), &endless), &["in use by", &process, text(&bench.path("run"))]);
    interrupt(&first);
    let done = finish(first);
    assert_eq!(done.code, Some(130), "the first process was disturbed: {}", done.stderr);
    // The folder is free again, and nothing was lost.
    let done = succeeds(with(bench.train(Stage::Scratch, "run"), &[&endless[..], &["--stop-at", "1"]].concat()));
    assert!(done.stderr.starts_with("resuming at "), "{}", done.stderr);
}

// --- Settings -----------------------------------------------------------------------------------------------------------------------

#[test]
fn config_file_with_errors() {
    let bench = Bench::new();
    let file = bench.path("bad.toml");
    for (bytes, parts) in [
        (&b"[train]\nbatch = = 8\n"[..], &["bad.toml:2:9"][..]),
        (b"[train]\nbatch = 8\nbatch = 9\n", &["bad.toml:3:1", "duplicate key"]),
        (b"[train]\nbacth = 8\n", &["`train.bacth`", "bad.toml", "did you mean `train.batch`?"]),
        (b"zzz = 8\n", &["`zzz`", "bad.toml"]),
        (b"[train]\nbatch = \"8\"\n", &["`train.batch`", "bad.toml", "an integer", "a string"]),
        (b"train = 8\n", &["`train`", "bad.toml", "a table"]),
        (b"[train]\nbatch = -8\n", &["-8"]),
        (b"[train]\nbatch = 1\n", &["train.batch", "at least 2"]),
        (b"[model]\npatch = 5\n", &["model.patch", "divide"]),
        (b"preset = \"small\"\n", &["there is no preset `small`"]),
        (b"stage = \"consistency\"\n", &["bad.toml", "`finetune`"]),
        (b"\xff\xfe", &["bad.toml", "UTF-8"]),
    ] {
        fs::write(&file, bytes).expect("file");
        let call = || with(pixgen(["config", "show", "pretrain", "--config"]), &[&file]);
        let out = bench.path("run");
        let train = with(pixgen(["pretrain", "--config"]), &[file.as_os_str(), OsStr::new("--out"), out.as_os_str()]);
        fails(train, parts);
        // What can be read is shown, with a warning of what training refuses.
        let shown = run(call());
        let warned = shown.stderr.contains("training would refuse");
        let readable = ["train.batch", "model.patch"].contains(&parts[0]);
        assert_eq!((shown.code, warned), (Some(i32::from(!readable)), readable), "{}", String::from_utf8_lossy(bytes));
    }
    assert!(!bench.path("run").exists());
}

// --- A full disk --------------------------------------------------------------------------------------------------------------------

/// A file system of a few MiB, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where the machine does not let this process mount one.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).expect("folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&at)
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    /// Takes all but `left` bytes.
    fn fill(&self, left: usize) {
        use std::io::Write;
        fs::write(self.0.join("left"), vec![0; left]).expect("room");
        let mut file = fs::File::create(self.0.join("filler")).expect("file");
        while file.write_all(&[0; 4096]).is_ok() {}
        fs::remove_file(self.0.join("left")).expect("file");
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()), "umount {}", self.0.display());
    }
}

#[test]
fn full_disk() {
    let bench = Bench::new();
    let Some(disk) = SmallDisk::mount(bench.path("disk"), "4m") else {
        eprintln!("SKIPPED full_disk: this process cannot mount a tmpfs");
        return;
    };
    succeeds(bench.train(Stage::Scratch, "straight"));
    succeeds(with(bench.train(Stage::Scratch, "disk/run"), &["--stop-at", "128"]));
    let whole = || {
        checkpoints(&bench.path("disk/run"))
            .into_iter()
            .map(|path| (fs::read(&path).expect("file"), path))
            .collect::<Vec<_>>()
    };
    let before = whole();
    assert_eq!(before.len(), 1);
    // Room for nothing; then for everything but the next checkpoint.
    for (left, place) in [(0, "disk/run"), (64 << 10, "disk/run/checkpoints/step-000000000256.safetensors")] {
        disk.fill(left);
        let done = fails(bench.train(Stage::Scratch, "disk/run"), &["cannot write", text(&bench.path(place)), "No space left"]);
        assert!(done.stderr.contains("free ") && done.stderr.contains("on that disk"), "{}", done.stderr);
        assert!(whole() == before, "the full disk cost a checkpoint");
        assert!(!names(&bench.path("disk/run/checkpoints")).iter().any(|name| name.ends_with(".tmp")), "half a file is left");
        disk.empty();
    }
    let done = succeeds(bench.train(Stage::Scratch, "disk/run"));
    assert!(done.stderr.starts_with("resuming at 128 images"), "{}", done.stderr);
    let model = |run: &str| fs::read(bench.path(run).join("model.safetensors")).expect("model");
    assert!(model("disk/run") == model("straight"), "the run after the full disk is another");

    // Full from the start: not even a configuration can be written.
    disk.fill(0);
    fails(bench.train(Stage::Scratch, "disk/other"), &[text(&bench.path("disk/other")), "space"]);
    // Pictures, too.
    let out = bench.path("disk/grid.png");
    let sample = with(pixgen(["sample"]), &[bench.path("straight").as_os_str(), OsStr::new("--out"), out.as_os_str()]);
    fails(sample, &[text(&out), "space"]);
    assert!(!out.exists());
}

// --- Checkpoints --------------------------------------------------------------------------------------------------------------------

#[test]
fn checkpoint_with_flipped_bit() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "straight"));
    let len = |path: &Path| fs::metadata(path).expect("file").len() as usize;
    // In the length, in the header, in the data, at the very end.
    for place in [|_| 1, |_| 60, |len: usize| len / 2, |len: usize| len - 1] as [fn(usize) -> usize; 4] {
        succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "256"]));
        let run = bench.path("run");
        let [older, newest] = checkpoints(&run).try_into().expect("two checkpoints");
        assert!(newest.ends_with("step-000000000256.safetensors"));
        flip_bit(&newest, place(len(&newest)));
        let damaged = fs::read(&newest).expect("file");

        let done = succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "1"]));
        let warning = done.stderr.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
        assert!(warning.contains("step-000000000256.safetensors"), "{}", done.stderr);
        assert!(done.stderr.contains("resuming at 128 images"), "{}", done.stderr);
        assert!(older.exists());
        // The damaged one is set aside, not thrown away.
        let aside = run.join("checkpoints/step-000000000256.safetensors.damaged");
        assert!(fs::read(aside).expect("set aside") == damaged);

        succeeds(bench.train(Stage::Scratch, "run"));
        let model = |run: &str| fs::read(bench.path(run).join("model.safetensors")).expect("model");
        assert!(model("run") == model("straight"), "the run with the flipped bit ends differently");
        fs::remove_dir_all(run).expect("folder");
    }
}

#[test]
fn all_checkpoints_with_flipped_bits() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "256"]));
    let run = bench.path("run");
    let files = checkpoints(&run);
    assert_eq!(files.len(), 2);
    files.iter().for_each(|file| flip_bit(file, 5000));
    let before = contents(&run);
    for _ in 0..2 {
        let named: Vec<&str> = files.iter().map(|file| file.file_name().and_then(OsStr::to_str).expect("name")).collect();
        let done = fails(bench.train(Stage::Scratch, "run"), &[&["no checkpoint", "is whole"], &named[..]].concat());
        assert!(!done.stderr.contains("fresh run"), "{}", done.stderr);
    }
    assert!(contents(&run) == before, "a run without a whole checkpoint was changed");
}

#[test]
fn truncated_checkpoint() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "256"]));
    let newest = checkpoints(&bench.path("run")).pop().expect("checkpoint");
    let bytes = fs::read(&newest).expect("file");
    for len in [0, 7, 300, bytes.len() - 1] {
        fs::write(&newest, &bytes[..len]).expect("file");
        let done = succeeds(with(bench.train(Stage::Scratch, "run"), &["--stop-at", "256"]));
        assert!(done.stderr.contains("resuming at 128 images"), "{len}: {}", done.stderr);
        assert!(fs::read(&newest).expect("file") == bytes, "{len}: the checkpoint came back differently");
    }
}

// --- Model files --------------------------------------------------------------------------------------------------------------------

/// Everything that reads a model file refuses `bytes`.
fn refused(bench: &Bench, bytes: &[u8], parts: &[&str]) {
    let file = bench.path("bad.safetensors");
    fs::write(&file, bytes).expect("file");
    let out = bench.path("grid.png");
    let parts = &[&["bad.safetensors"], parts].concat();
    fails(with(pixgen(["sample"]), &[file.as_os_str(), OsStr::new("--out"), out.as_os_str()]), parts);
    fails(with(pixgen(["inspect"]), &[&file]), parts);
    fails(with(bench.train(Stage::Scratch, "run"), &[OsStr::new("--encoder"), file.as_os_str()]), parts);
    assert!(!out.exists() && !bench.path("run").exists());
}

#[test]
fn damaged_model_file() {
    let bench = Bench::new();
    succeeds(with(bench.train(Stage::Scratch, "good"), &["--images", "64"]));
    let good = fs::read(bench.path("good/model.safetensors")).expect("model");
    refused(&bench, b"", &["an empty file"]);
    for len in [7, 8, 500, good.len() / 2, good.len() - 1] {
        refused(&bench, &good[..len], &["not a whole safetensors file"]);
    }
    refused(&bench, &[&good[..], b"x"].concat(), &["not a whole safetensors file"]);
    let flip = |byte: usize, bit: u8| {
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << bit;
        bytes
    };
    // One bit of the length; one of a number in the header; one of a weight, small and large.
    refused(&bench, &flip(2, 0), &[]);
    let header = String::from_utf8_lossy(&good[..4000]).into_owned();
    let shift = header.find("\\\"shift\\\":1.0").expect("the shift is in the header") + 10;
    refused(&bench, &flip(shift, 1), &["checksum"]);
    refused(&bench, &flip(good.len() - 1, 6), &[]);
    for (byte, bit) in [(good.len() - 4, 0), (good.len() - 9_000, 3)] {
        refused(&bench, &flip(byte, bit), &["checksum"]);
    }
}

#[test]
fn foreign_model_file() {
    let bench = Bench::new();
    refused(&bench, b"GIF89a", &["a picture (GIF), not a model file"]);
    refused(&bench, b"\x02\0\0\0\0\0\0\0{}", &["a safetensors file of another program"]);
    refused(&bench, b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", &["not a whole safetensors file"]);
    // A checkpoint is a safetensors file, too.
    succeeds(with(bench.train(Stage::Scratch, "good"), &["--images", "64"]));
    let checkpoint = fs::read(checkpoints(&bench.path("good")).pop().expect("checkpoint")).expect("file");
    refused(&bench, &checkpoint, &["a checkpoint of Pixgen", "its run folder"]);
}

#[test]
fn model_file_of_another_model() {
    let bench = Bench::new();
    let short = ["--images", "64"];
    succeeds(with(bench.train(Stage::Pretrain, "encoder"), &short));
    succeeds(with(bench.train(Stage::Scratch, "generator"), &short));
    // The wrong kind of weights.
    let out = bench.path("grid.png");
    let sample = with(pixgen(["sample"]), &[bench.path("encoder").as_os_str(), OsStr::new("--out"), out.as_os_str()]);
    fails(
        sample,
        &[
            text(&bench.path("encoder")),
            "an encoder of stage 1",
            "a one-step generator of stage 2b is needed",
        ],
    );
    let generator = bench.path("generator");
    let finetune = |arguments: &[&OsStr]| with(with(bench.train(Stage::Scratch, "run"), &short), arguments);
    fails(
        finetune(&[OsStr::new("--encoder"), generator.as_os_str()]),
        &[text(&generator), "an encoder of stage 1 is needed"],
    );
    // The right kind of another size.
    let encoder = bench.path("encoder");
    let other = [
        OsStr::new("--encoder"),
        encoder.as_os_str(),
        OsStr::new("--set"),
        OsStr::new("model.encoder.width=24"),
    ];
    fails(
        finetune(&other),
        &[
            text(&encoder),
            "does not fit this run",
            "model.encoder.width is 16 there and 24 here",
        ],
    );
    assert!(!bench.path("run").exists() && !out.exists());
}

// --- Numbers ------------------------------------------------------------------------------------------------------------------------

/// A learning rate that explodes: the first step makes weights of 1e30, then nothing is finite any more.
#[test]
fn exploding_learning_rate() {
    for stage in [Stage::Pretrain, Stage::Scratch] {
        let bench = Bench::new();
        let explode = [
            "--lr",
            "1e30",
            "--set",
            "train.max_skipped=4",
            "--set",
            "output.checkpoint_every=8",
            "--set",
            "schedule.warmup=0",
        ];
        let done = fails(with(bench.train(stage, "run"), &explode), &["4 steps in a row", "was not finite"]);
        let skipped: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with("warning: step before")).collect();
        assert_eq!(skipped.len(), 4, "{}", done.stderr);
        for (number, line) in skipped.iter().enumerate() {
            let counted = format!("({} so far)", number + 1);
            let named = ["encoder.", "decoder.", "class_embed.", "projector."]
                .iter()
                .any(|tensor| line.contains(tensor));
            assert!(line.contains("is not finite") && line.ends_with(&counted) && named, "{line}");
        }
        // The checkpoints of the steps before are whole: the same command goes on from one and fails in the same way.
        let run = bench.path("run");
        assert!(!checkpoints(&run).is_empty());
        for file in checkpoints(&run) {
            let tensors = pixgen_train::run::Checkpoint::read(&file).expect("whole").tensors;
            let finite = |tensor: &pixgen_train::run::NamedTensor| tensor.data.iter().all(|v| v.is_finite());
            assert!(tensors.iter().all(finite), "{}", file.display());
        }
        let done = fails(with(bench.train(stage, "run"), &explode), &["steps in a row"]);
        assert!(done.stderr.starts_with("resuming at "), "{}", done.stderr);
    }
}
