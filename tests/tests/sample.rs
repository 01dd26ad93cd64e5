//! `sample` for other people's tools: folders, archives, averages and checkpoints.

use image::AnimationDecoder;
use pixgen_tests::fixtures::{Bench, Stage, checkpoints, names};
use pixgen_tests::program::{fails, finish, interrupt, pixgen, start, succeeds, wait_until};
use pixgen_train::quality::npz;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

fn sample(model: &Path, out: &Path, arguments: &[&str]) -> Command {
    let mut command = pixgen([OsStr::new("sample"), model.as_os_str(), OsStr::new("--out"), out.as_os_str()]);
    command.args(arguments);
    command
}

/// Decoded pixels of a grey PNG.
fn pixels(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    image::load_from_memory(&bytes).expect("a PNG").into_luma8().into_raw()
}

#[test]
fn a_picture_is_its_seed_and_number() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let (run, all) = (bench.path("run"), bench.path("all"));
    let done = succeeds(sample(&run, &all, &["--count", "301", "--seed", "5"]));
    assert!(done.stderr.contains("picture N is of class N mod 3"), "{}", done.stderr);
    let whole = names(&all);
    assert_eq!((whole.len(), whole[0].as_str(), whole[300].as_str()), (303, "000000.png", "000300.png"));

    // Fewer, on one thread; holes and a file that was cut off are filled again; more are added.
    let few = bench.path("few");
    succeeds(sample(&run, &few, &["--count", "9", "--seed", "5", "--threads", "1"]));
    for number in [0, 8] {
        assert_eq!(pixels(&few.join(format!("{number:06}.png"))), pixels(&all.join(format!("{number:06}.png"))), "{number}");
    }
    fs::remove_file(few.join("000003.png")).expect("removed");
    fs::write(few.join("000004.png"), &fs::read(few.join("000005.png")).expect("png")[..40]).expect("cut");
    let done = succeeds(sample(&run, &few, &["--count", "301", "--seed", "5"]));
    assert!(done.stderr.contains("7 of 301 pictures are there"), "{}", done.stderr);
    for number in 0..301 {
        let name = format!("{number:06}.png");
        assert_eq!(fs::read(few.join(&name)).expect("png"), fs::read(all.join(&name)).expect("png"), "{name}");
    }

    // One class draws the same noise: number 4 of all classes is of class 1.
    let rows = bench.path("rows");
    succeeds(sample(&run, &rows, &["--class", "rows", "--count", "5", "--seed", "5"]));
    assert_eq!(pixels(&rows.join("000004.png")), pixels(&all.join("000004.png")));
    assert_ne!(pixels(&rows.join("000003.png")), pixels(&all.join("000003.png")));

    // Nothing of another seed, model or way of drawing goes into the same folder.
    for (arguments, key) in [
        (["--seed", "6", "--steps", "1"], "seed = 5, now it is 6"),
        (["--seed", "5", "--steps", "2"], "drawing"),
        (["--class", "rows", "--seed", "5"], "class_names"),
        (["--ema", "raw", "--seed", "5"], "ema"),
    ] {
        fails(sample(&run, &all, &[&arguments[..], &["--count", "301"]].concat()), &[key]);
    }
    fails(sample(&run, &all, &["--count", "9", "--seed", "5"]), &["holds picture 300", "--count 301"]);
    fails(sample(&run, &bench.path("data"), &["--count", "9"]), &["not a folder of drawn pictures", "dots"]);
    fails(sample(&run, &bench.path("new"), &[]), &["how many pictures", "--count N"]);
    fails(sample(&run, &bench.path("x.jpg"), &["--count", "9"]), &["not written as .jpg", "x.jpg/"]);
    fails(sample(&run, &bench.path("x.png"), &["--count", "50000"]), &["a grid has at most 1000", "--out samples/"]);
    assert!(!bench.path("new").exists() && !bench.path("x.jpg").exists());
}

#[test]
fn archives_hold_what_the_folder_holds() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let (run, folder) = (bench.path("run"), bench.path("folder/"));
    succeeds(sample(&run, &folder, &["--count", "20"]));
    succeeds(sample(&run, &bench.path("set.npz"), &["--count", "20"]));
    succeeds(sample(&run, &bench.path("set.zip"), &["--count", "20"]));
    assert!(!bench.path("set.npz.parts").exists() && !bench.path("set.zip.parts").exists());

    let (shape, bytes) = npz::read(&bench.path("set.npz")).expect("npz").pictures.expect("arr_0");
    assert_eq!((shape.height, shape.width, shape.channels, bytes.len()), (8, 8, 3, 20 * 64 * 3));
    for number in 0..20 {
        let grey: Vec<u8> = bytes[number * 192..][..192].iter().step_by(3).copied().collect();
        assert_eq!(grey, pixels(&folder.join(format!("{number:06}.png"))), "{number}");
    }
    // Labels as numpy wrote them: N, N mod 3, .. as 64-bit integers at the end of arr_1.
    let raw = fs::read(bench.path("set.npz")).expect("npz");
    let labels: Vec<u8> = (0..20i64).flat_map(|number| (number % 3).to_le_bytes()).collect();
    assert!(raw.windows(labels.len()).any(|window| window == labels), "no arr_1");

    // The zip is a data set with the same classes.
    let done = succeeds(pixgen([
        OsStr::new("data"),
        OsStr::new("check"),
        OsStr::new("--no-sheet"),
        OsStr::new("--json"),
        bench.path("set.zip").as_os_str(),
    ]));
    assert!(done.text().contains("stairs"), "{}", done.text());

    // A single class needs no labels.
    succeeds(sample(&run, &bench.path("one.npz"), &["--count", "3", "--class", "2"]));
    assert!(!String::from_utf8_lossy(&fs::read(bench.path("one.npz")).expect("npz")).contains("arr_1"));
}

#[test]
fn an_interrupted_set_goes_on() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let (run, out) = (bench.path("run"), bench.path("set.npz"));
    let arguments = ["--count", "20000"];
    let child = start(sample(&run, &out, &arguments));
    let parts = bench.path("set.npz.parts");
    wait_until("pictures are written", || parts.join("000100.png").exists());
    interrupt(&child);
    let done = finish(child);
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(done.stderr.contains("go on with the same command"), "{}", done.stderr);
    assert!(!out.exists() && parts.join("sample.json").exists());
    let there = names(&parts).len();
    assert!((100..20_000).contains(&there), "{there}");
    let done = succeeds(sample(&run, &out, &arguments));
    assert!(done.stderr.contains("of 20000 pictures are there"), "{}", done.stderr);
    assert!(out.exists() && !parts.exists());
}

#[test]
fn a_walk_goes_from_one_picture_to_another() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let (run, set) = (bench.path("run"), bench.path("set"));
    succeeds(sample(&run, &set, &["--count", "9", "--seed", "4"]));
    // Picture 7 is of class 1, rows; picture 3 of class 0, dots.
    let walk = |name: &str, arguments: &[&str]| {
        let out = bench.path(name);
        succeeds(sample(&run, &out, arguments));
        let reader = image::codecs::png::PngDecoder::new(std::io::Cursor::new(fs::read(out).expect("animation"))).expect("PNG");
        let frames = reader.apng().expect("animated").into_frames();
        let grey = |frame: image::Frame| {
            let picture = image::DynamicImage::ImageRgba8(frame.into_buffer()).into_luma8();
            (0..64).map(|i| picture.get_pixel(4 * (i % 8), 4 * (i / 8)).0[0]).collect::<Vec<u8>>()
        };
        frames.map(|frame| grey(frame.expect("frame"))).collect::<Vec<_>>()
    };
    let frames = walk("walk.png", &["--walk", "rows:4:7..0:4:3", "--count", "5"]);
    assert_eq!(frames.len(), 5);
    let close = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1);
    assert!(close(&frames[0], &pixels(&set.join("000007.png"))), "{:?}", frames[0]);
    assert!(close(&frames[4], &pixels(&set.join("000003.png"))), "{:?}", frames[4]);
    assert!(frames.windows(2).all(|pair| pair[0] != pair[1]), "frames repeat");
    assert_eq!(walk("seed.png", &["--walk", "0..1", "--seed", "4", "--steps", "2"]).len(), 60);

    for (text, part) in [
        ("0:1", "two ends"),
        ("0..9", "`9` is not CLASS"),
        ("0:x..1", "`0:x` is not CLASS"),
        ("0:1:2:3..1", "is not CLASS"),
        ("2:5..2:5:0", "the same picture"),
        ("all..1", "`all` is not CLASS"),
    ] {
        fails(sample(&run, &bench.path("bad.png"), &["--walk", text]), &[part, "dots, rows, stairs"]);
    }
    for name in ["folder", "walk.gif", "walk.npz"] {
        fails(sample(&run, &bench.path(name), &["--walk", "0..1"]), &["animated PNG", "walk.png"]);
    }
    fails(sample(&run, &bench.path("bad.png"), &["--walk", "0..1", "--count", "1"]), &["2 to 1000"]);
    assert!(!bench.path("bad.png").exists());
}

#[test]
fn every_average_of_every_checkpoint_draws() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let run = bench.path("run");
    let draw = |model: &Path, name: &str, arguments: &[&str]| {
        let out = bench.path(name);
        succeeds(sample(model, &out, &[&["--count", "2"], arguments].concat()));
        fs::read(out).expect("grid")
    };
    let exported = draw(&run, "exported.png", &[]);
    assert_eq!(draw(&run, "named.png", &["--ema", "share-0.02"]), exported);
    assert_ne!(draw(&run, "raw.png", &["--ema", "raw"]), exported);
    let kept = checkpoints(&run);
    let (first, last) = (kept.first().expect("checkpoint"), kept.last().expect("checkpoint"));
    assert_eq!(draw(last, "last.png", &[]), exported);
    assert_ne!(draw(first, "first.png", &[]), exported, "an earlier checkpoint draws other pictures");
    fails(sample(&run, &bench.path("x.png"), &["--ema", "share-9"]), &["no such average", "share-0.02"]);
    fails(sample(&run, &bench.path("x.png"), &["--ema", "all"]), &["one average is needed"]);
    fails(sample(&run.join("model.safetensors"), &bench.path("x.png"), &["--ema", "raw"]), &["not a run folder"]);

    // While it trains, too.
    let mut training = bench.train(Stage::Scratch, "long");
    training.args(["--images", "1M"]);
    let child = start(training);
    let long = bench.path("long");
    wait_until("a checkpoint is there", || long.join("model.safetensors").exists() && !checkpoints(&long).is_empty());
    draw(&long, "running.png", &[]);
    draw(&long, "running-raw.png", &["--ema", "raw"]);
    interrupt(&child);
    assert_eq!(finish(child).code, Some(130));

    // The other verbs take the same models.
    let early = bench.path("early.safetensors");
    succeeds(pixgen([
        OsStr::new("export"),
        first.as_os_str(),
        OsStr::new("--ema=raw"),
        OsStr::new("--out"),
        early.as_os_str(),
    ]));
    let described = succeeds(pixgen([OsStr::new("inspect"), early.as_os_str(), OsStr::new("--json")]));
    assert!(described.text().contains("\"ema\": \"raw\""), "{}", described.text());
    assert_eq!(draw(&early, "early.png", &[]), draw(first, "early-too.png", &["--ema", "raw"]));
    let page = bench.path("page.html");
    succeeds(pixgen([
        OsStr::new("report"),
        run.as_os_str(),
        OsStr::new("--pictures=2"),
        OsStr::new("--ema=raw"),
        OsStr::new("--out"),
        page.as_os_str(),
    ]));
}
