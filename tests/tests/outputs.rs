//! Where the verbs of both programs write, and what they say of files that they cannot use.
#![cfg(target_os = "linux")]

use pixgen_tests::program::{Done, fails, finish, pixgen, pixgen_edge, run, start, succeeds};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A model file of nano-28-grey, a .pxg file, and the folder of the run.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/v0.1/model.safetensors");
const PXG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/v0.1/model.pxg");
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/v0.1/run");

/// A verb that writes one stream.
struct Verb {
    name: &'static str,
    extension: &'static str,
    /// What its output holds.
    holds: &'static [u8],
    call: fn(&Path, &Path) -> Command,
}

fn with(mut command: Command, file: &Path, more: &[&str]) -> Command {
    command.arg(file).args(more);
    command
}

fn with_out(mut command: Command, out: &Path) -> Command {
    command.arg("--out").arg(out);
    command
}

/// The first argument of a call is a folder with m.pxg, the second the output.
const VERBS: [Verb; 7] = [
    Verb {
        name: "train sample",
        extension: "png",
        holds: b"\x89PNG",
        call: |_, out| with_out(pixgen(["sample", MODEL, "--class", "0", "--count", "1"]), out),
    },
    Verb {
        name: "train export",
        extension: "safetensors",
        holds: b"patch_embed.proj.weight",
        call: |_, out| with_out(pixgen(["export", MODEL, "--to", "pytorch-safetensors"]), out),
    },
    Verb {
        name: "edge export",
        extension: "pxg",
        holds: b"PIXGEN\r\n",
        call: |_, out| with_out(pixgen_edge(["export", MODEL, "--pictures", "4"]), out),
    },
    Verb {
        name: "edge export --format c-header",
        extension: "h",
        holds: b"_IMPLEMENTATION",
        call: |_, out| with_out(pixgen_edge(["export", MODEL, "--pictures", "4", "--format", "c-header"]), out),
    },
    Verb {
        name: "edge onnx",
        extension: "onnx",
        holds: b"pixgen.form",
        call: |_, out| with_out(pixgen_edge(["onnx", MODEL]), out),
    },
    Verb {
        name: "edge sample",
        extension: "png",
        holds: b"\x89PNG",
        call: |folder, out| with_out(with(pixgen_edge(["sample"]), &folder.join("m.pxg"), &["--class", "0"]), out),
    },
    Verb {
        name: "edge web",
        extension: "html",
        holds: b"data-model",
        call: |folder, out| with_out(with(pixgen_edge(["web"]), &folder.join("m.pxg"), &[]), out),
    },
];

/// A folder with m.pxg.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    succeeds(with_out(pixgen_edge(["export", MODEL, "--pictures", "4"]), &folder.path().join("m.pxg")));
    folder
}

impl Verb {
    fn run(&self, folder: &TempDir, out: &Path) -> Done {
        run((self.call)(folder.path(), out))
    }

    fn succeeds(&self, folder: &TempDir, out: &Path) -> Done {
        println!("{}: {}", self.name, out.display());
        succeeds((self.call)(folder.path(), out))
    }

    fn is_whole(&self, bytes: &[u8]) {
        assert!(bytes.windows(self.holds.len()).any(|at| at == self.holds), "{}: {} bytes", self.name, bytes.len());
    }
}

/// Files that no process has finished.
fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".tmp")).collect()
}

#[test]
fn plain_files_links_and_modes() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("other")).expect("folder");
    for verb in &VERBS {
        let named = |stem: &str| at(&format!("{stem}.{}", verb.extension));
        let long = named(&"n".repeat(254 - verb.extension.len()));
        verb.succeeds(&folder, &long);
        let expected = fs::read(&long).expect("written");
        verb.is_whole(&expected);

        let private = named("private");
        fs::write(&private, "old").expect("file");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("mode");
        verb.succeeds(&folder, &private);
        assert_eq!(fs::metadata(&private).expect("there").permissions().mode() & 0o777, 0o600, "{}", verb.name);

        for (link, target) in [("to-file", "private"), ("dangling", "new"), ("to-folder", "other/far")] {
            let (link, to) = (named(link), format!("{target}.{}", verb.extension));
            symlink(&to, &link).expect("link");
            verb.succeeds(&folder, &link);
            assert!(fs::symlink_metadata(&link).expect("there").is_symlink(), "{}", verb.name);
            verb.is_whole(&fs::read(at(&to)).expect("target"));
        }
        for name in ["private", "new", "to-file", "dangling", "to-folder"] {
            fs::remove_file(named(name)).expect("removed");
        }
        assert_eq!(leftovers(folder.path()), [""; 0]);
    }
}

#[test]
fn devices_fifos_and_standard_output() {
    let folder = folder();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    for verb in &VERBS {
        verb.succeeds(&folder, Path::new("/dev/null"));
        assert!(fs::metadata("/dev/null").expect("there").file_type().is_char_device());
        let full = verb.run(&folder, Path::new("/dev/full"));
        assert!(full.code == Some(1) && full.stderr.contains("hint: free "), "{}: {}", verb.name, full.stderr);

        let mut cat = Command::new("cat");
        let reader = start({
            cat.arg(&fifo);
            cat
        });
        // A page is larger than what waits in a pipe, so somebody reads what cat prints.
        let read = std::thread::spawn(move || finish(reader).stdout);
        verb.succeeds(&folder, &fifo);
        let read = read.join().expect("read");
        verb.is_whole(&read);
        assert!(fs::metadata(&fifo).expect("there").file_type().is_fifo());

        let printed = verb.succeeds(&folder, Path::new("-")).stdout;
        verb.is_whole(&printed);
        // The name of the model in source code comes from the file.
        assert!(verb.extension == "h" || printed == read, "{}: standard output has the stream and nothing else", verb.name);
        assert!(!Path::new("-").exists());
    }
}

#[test]
fn places_that_take_nothing() {
    let folder = folder();
    let read_only = folder.path().join("read-only");
    fs::create_dir(&read_only).expect("folder");
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o555)).expect("mode");
    let anywhere = fs::write(read_only.join("x"), "").is_ok();
    if anywhere {
        eprintln!("SKIPPED the read-only folder: this user may write anywhere");
    }
    for verb in &VERBS {
        let call = |out: PathBuf| (verb.call)(folder.path(), &out);
        let file = format!("x.{}", verb.extension);
        fails(call(folder.path().join("none").join(&file)), &["none", "its folder is not there"]);
        fails(call(folder.path().join("m.pxg").join(&file)), &["m.pxg", "is a file"]);
        fails(call(folder.path().join(format!("{}.{}", "n".repeat(256), verb.extension))), &["255 bytes"]);
        // Another format than the command writes.
        fails(call(folder.path().join("x.gif")), &["x.gif", "hint: "]);
        if !anywhere {
            fails(call(read_only.join(&file)), &["read-only", "may not write"]);
        }
        assert_eq!(leftovers(folder.path()), [""; 0]);
    }
}

#[test]
fn one_stream_is_one_stream() {
    let folder = folder();
    let pxg = folder.path().join("m.pxg");
    let pxg = pxg.to_str().expect("a plain name");
    for command in [
        pixgen(["export", MODEL, "--card", "--out", "-"]),
        pixgen(["finetune", "--data", "bundled", "--out", "-"]),
        pixgen(["quickstart", "--out", "-"]),
        pixgen_edge(["onnx", MODEL, "--out", "-", "--vectors", "-"]),
        pixgen_edge(["sample", pxg, "--hashes", "--out", "-"]),
        pixgen_edge(["web", pxg, "--format", "npm", "--out", "-"]),
    ] {
        fails(command, &["standard output takes one stream", "give a path"]);
    }
    // A command that is asked for hashes writes no file.
    let mut hashes = pixgen_edge(["sample", pxg, "--hashes", "--class", "0"]);
    hashes.current_dir(folder.path());
    assert!(succeeds(hashes).text().starts_with("class 0 seed 0 number 0 hash "));
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
}

/// What cannot be written is known before anything is computed, so that neither of two files is.
#[test]
fn two_files_or_none() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (verb, out) in [("onnx", "graph.onnx"), ("tflite", "model.tflite")] {
        for (out, vectors) in [(out, "nowhere/x.safetensors"), ("nowhere/x", "x.safetensors")] {
            let mut command = pixgen_edge([verb, MODEL, "--form", "float", "--out", out, "--vectors", vectors]);
            command.current_dir(folder.path());
            fails(command, &["nowhere/x", "folder is not there"]);
            assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);
        }
    }
    for verb in ["export", "tflite"] {
        let mut command = pixgen_edge([verb, MODEL, "--out", "nowhere/x"]);
        command.current_dir(folder.path());
        let run = finish(start(command));
        assert!(run.code == Some(1) && !run.stderr.contains("quantising"), "{verb}: {}", run.stderr);
    }
}

/// A graph and the folder beside it are written both or not at all; the graph may lie in the folder.
#[test]
fn a_graph_that_fails_leaves_no_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let onnx = |graph: &str| {
        let mut command = pixgen_edge(["onnx", MODEL, "--target", "generic", "--calibration", "inputs", "--out", graph]);
        command.current_dir(folder.path());
        command
    };
    fails(onnx("nowhere/graph.onnx"), &["nowhere/graph.onnx", "folder is not there"]);
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);
    succeeds(onnx("inputs/graph.onnx"));
    fails(onnx("graph.onnx"), &["inputs", "there already"]);
    assert!(!folder.path().join("graph.onnx").exists() && folder.path().join("inputs/graph.onnx").exists());
}

/// Every kind of file on every verb that takes a model: an error that says what it is, and a command that takes it.
#[test]
fn other_files_than_models() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    fs::create_dir(at("empty folder")).expect("folder");
    let files: &[(&str, &[u8], &str)] = &[
        ("empty", b"", "an empty file"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        ("page.safetensors", b"<!DOCTYPE html><html>", "`resolve` in place of `blob`"),
        ("picture.pxg", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "data check"),
        ("set.zip", b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.png", "data check"),
        ("set.gz", b"\x1f\x8b\x08\0", "unpack it"),
        ("graph.onnx", b"\x08\x08\x12\x06pixgen", "not read"),
        ("m.npz", b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0mu.npy", "eval MODEL --reference"),
        ("eval.json", b"{\"rows\": []}", "JSON"),
    ];
    for (name, bytes, _) in files {
        fs::write(at(name), bytes).expect("file");
    }
    let safetensors = golden.join("tiny_a.safetensors");
    let mut cases: Vec<(PathBuf, &str)> = files.iter().map(|&(name, _, part)| (at(name), part)).collect();
    cases.extend([
        (safetensors, "pixgen-train import"),
        (golden.join("pytorch/zip.pth"), "pixgen-train import"),
    ]);
    type Call = fn(&Path) -> Command;
    let of_model: [(&str, Call); 6] = [
        ("train sample", |file| with_out(with(pixgen(["sample"]), file, &[]), Path::new("/dev/null"))),
        ("train inspect", |file| with(pixgen(["inspect"]), file, &[])),
        ("train export", |file| with_out(with(pixgen(["export"]), file, &[]), Path::new("/dev/null"))),
        ("train eval", |file| with(pixgen(["eval"]), file, &["--count", "20"])),
        ("edge export", |file| with_out(with(pixgen_edge(["export"]), file, &[]), Path::new("/dev/null"))),
        ("edge onnx", |file| with_out(with(pixgen_edge(["onnx"]), file, &[]), Path::new("/dev/null"))),
    ];
    let of_pxg: [(&str, Call); 6] = [
        ("edge sample", |file| with_out(with(pixgen_edge(["sample"]), file, &[]), Path::new("/dev/null"))),
        ("edge web", |file| with_out(with(pixgen_edge(["web"]), file, &[]), Path::new("/dev/null"))),
        ("edge web --format npm", |file| with(pixgen_edge(["web", "--format", "npm"]), file, &["--out", "/dev/null/x"])),
        ("edge info", |file| with(pixgen_edge(["info"]), file, &[])),
        ("edge selftest", |file| with(pixgen_edge(["selftest"]), file, &[])),
        ("edge bench", |file| with(pixgen_edge(["bench"]), file, &[])),
    ];
    for (name, call) in of_model.iter().chain(&of_pxg) {
        for (file, part) in &cases {
            println!("{name}: {}", file.display());
            fails(call(file), &[part]);
        }
    }
    for (name, call) in &of_model[..4] {
        println!("{name}: m.pxg");
        fails(call(&at("m.pxg")), &["a .pxg file", "`pixgen-edge sample "]);
    }
    for (name, call) in &of_model {
        println!("{name}: empty folder");
        fails(call(&at("empty folder")), &["is a folder", "a run folder"]);
    }
    for (name, call) in &of_pxg {
        println!("{name}: empty folder");
        fails(call(&at("empty folder")), &["is a folder", "`pixgen-edge export "]);
        println!("{name}: model.safetensors");
        fails(call(Path::new(MODEL)), &["a model file of Pixgen", "`pixgen-edge export "]);
        fails(call(Path::new(RUN)), &["a run folder", "`pixgen-edge export "]);
    }
    let import = |file: &Path| with_out(with(pixgen(["import"]), file, &[]), Path::new("/dev/null"));
    fails(import(Path::new(MODEL)), &["a model file of Pixgen", "needs no import"]);
    fails(import(&at("m.pxg")), &["a .pxg file", "`pixgen-edge sample "]);
    for (file, part) in &cases[..files.len() - 1] {
        fails(import(file), &[if file.ends_with("set.zip") { "zip archive" } else { part }]);
    }
    let data = |file: &Path| with(pixgen(["data", "check"]), file, &[]);
    fails(data(Path::new(MODEL)), &["`pixgen-train sample "]);
    fails(data(&at("pointer")), &["git lfs pull"]);
}

/// What goes out with the authors' names comes in as the same model.
#[test]
fn export_and_import_give_the_same_model() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name);
    let (theirs, back) = (at("theirs.safetensors"), at("back.safetensors"));
    succeeds(with_out(pixgen(["export", MODEL, "--to", "pytorch-safetensors"]), &theirs));
    let import = || with_out(with(pixgen(["import"]), &theirs, &[]), &back);
    let done = succeeds(import());
    assert!(done.stderr.contains("settings of the file: "), "{}", done.stderr);
    let header = |file: &Path| succeeds(with(pixgen(["inspect"]), file, &["--json"])).json()["file"].clone();
    let pictures = |file: &Path| succeeds(with_out(with(pixgen(["sample"]), file, &["--count", "1"]), Path::new("-"))).stdout;
    assert_eq!(header(&back), header(Path::new(MODEL)));
    assert!(pictures(&back) == pictures(Path::new(MODEL)), "the same pictures");

    let mut other = import();
    other.args([
        "--set",
        "noise.shift=2",
        "--set",
        "normalisation.mean=[0.1,0.2,0.3]",
        "--set",
        "parametrisation=edm",
    ]);
    succeeds(other);
    let header = header(&back);
    assert_eq!((header["noise"]["shift"].as_f64(), header["parametrisation"].as_str()), (Some(2.0), Some("edm")));
    for (set, parts) in [
        ("noise.shfit=2", ["noise.shfit", "did you mean `noise.shift`?"]),
        ("noise.shift=-1", ["shift", "hint: "]),
        ("noise.shift=many", ["noise.shift", "a number"]),
        ("parametrisation=x", ["parametrisation", "hint: "]),
        ("colour=red", ["colour", "noise.sigma_min"]),
        ("noise.shift", ["no `=`", "noise.shift=4"]),
    ] {
        let mut wrong = import();
        wrong.args(["--set", set]);
        fails(wrong, &parts);
    }
    let mut objective = import();
    objective.args(["--objective", "diffusion"]);
    fails(objective, &["by its metadata", "leave --objective out"]);

    // Names of the classes as editors of Windows write them.
    let classes = header["class_names"].as_array().expect("names").len();
    let names: Vec<String> = (0..classes).map(|class| format!("Gro\u{df}e {class}")).collect();
    let wide: Vec<u8> = format!("\u{feff}{}\r\n", names.join("\r\n"))
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(at("names.txt"), wide).expect("written");
    let mut named = import();
    named.arg("--class-names").arg(at("names.txt"));
    succeeds(named);
    let header = succeeds(with(pixgen(["inspect"]), &back, &["--json"])).json()["file"].clone();
    assert_eq!(header["class_names"], serde_json::json!(names));
    for (line, name, parts) in [
        (1, "", ["line 2 of the class names is empty", "one name a line"]),
        (2, names[0].as_str(), ["lines 1 and 3", "a name of its own"]),
    ] {
        let mut wrong = names.clone();
        wrong[line] = name.to_owned();
        fs::write(at("names.txt"), wrong.join("\n")).expect("written");
        let mut named = import();
        named.arg("--class-names").arg(at("names.txt"));
        fails(named, &parts);
    }
}

/// By its own name and through a link.
#[test]
fn a_model_is_no_output_of_what_reads_it() {
    let folder = folder();
    let (model, link, pxg) = (folder.path().join("model"), folder.path().join("link"), folder.path().join("chip"));
    fs::copy(MODEL, &model).expect("copied");
    fs::copy(folder.path().join("m.pxg"), &pxg).expect("copied");
    symlink(&model, &link).expect("link");
    let of = |command: Command| with(command, &model, &[]);
    for (command, out, input) in [
        (of(pixgen(["sample", "--count", "1"])), &link, &model),
        (of(pixgen(["export", "--to", "pytorch-safetensors"])), &model, &model),
        (of(pixgen_edge(["export", "--pictures", "4"])), &link, &model),
        (of(pixgen_edge(["onnx"])), &model, &model),
        (with(pixgen_edge(["sample", "--class", "0"]), &pxg, &[]), &pxg, &pxg),
        (with(pixgen_edge(["web"]), &pxg, &[]), &pxg, &pxg),
    ] {
        let before = fs::read(input).expect("there");
        fails(with_out(command, out), &["what this command reads", "another name"]);
        assert!(fs::read(input).expect("there") == before, "{} was written to", input.display());
    }
}

/// A link to what is not there yet stays, and what it points to is made.
#[test]
fn sets_and_runs_behind_links() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pictures = folder.path().join("pictures");
    succeeds(with_out(pixgen(["sample", MODEL, "--count", "2"]), &pictures));
    let train = [
        "finetune",
        "--preset",
        "nano-28-grey",
        "--images",
        "64",
        "--batch",
        "32",
        "--seed",
        "1",
    ];
    for (name, call) in [
        ("drawn", pixgen(["sample", MODEL, "--count", "2"])),
        ("shards", with(pixgen(["data", "prepare", "--size", "28", "--grey"]), &pictures, &[])),
        ("set.zip", with(pixgen(["data", "prepare", "--size", "28", "--grey"]), &pictures, &[])),
        ("run", pixgen(train)),
        ("package", pixgen_edge(["web", PXG, "--format", "npm"])),
    ] {
        let (link, target) = (folder.path().join(name), folder.path().join(format!("real-{name}")));
        symlink(&target, &link).expect("link");
        succeeds(with_out(call, &link));
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink(), "{name}");
        assert!(fs::symlink_metadata(&target).expect("there").is_dir() != name.ends_with("zip"), "{name}");
    }
}

/// A number of threads that no command takes is an error for those too that compute nothing.
#[test]
fn threads_are_bounded() {
    for (number, words) in [
        ("100000", ["--threads 100000", "at most"]),
        ("0", ["--threads 0", "give 1 or more"]),
    ] {
        let threads = ["--threads", number];
        let drawing = [MODEL, "--threads", number, "--out", "/dev/null"];
        fails(pixgen([&["inspect", "--presets"], &threads[..]].concat()), &words);
        fails(pixgen_edge([&["plan", "nano-28-grey"], &threads[..]].concat()), &words);
        fails(pixgen([&["sample"], &drawing[..]].concat()), &words);
        fails(pixgen_edge([&["export"], &drawing[..]].concat()), &words);
    }
}
