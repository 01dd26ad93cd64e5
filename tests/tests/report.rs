//! `report` and `data get` as a user meets them. Nothing here reaches beyond this machine.

use pixgen_tests::fixtures::{Bench, Stage};
use pixgen_tests::program::{fails, pixgen, run, succeeds};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

fn report(arguments: &[&dyn AsRef<OsStr>], out: &Path) -> Command {
    let mut command = pixgen(["report"]);
    command.args(arguments).arg("--out").arg(out);
    command
}

/// The page; everything that could lead out of it must be missing.
fn page(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("page");
    assert!(text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"));
    for outside in ["http://", "https://", "src=\"/", "<link", "url("] {
        assert!(!text.contains(outside), "{outside}");
    }
    text
}

#[test]
fn runs_become_pages() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    succeeds(bench.train(Stage::Diffusion, "diffusion"));
    let (one, out) = (bench.path("run"), bench.path("page.html"));

    let done = succeeds(report(&[&one, &"--pictures", &"4"], &out));
    assert_eq!(done.text().trim_end(), out.display().to_string(), "the path alone is on stdout");
    let text = page(&out);
    let count = |text: &str, part: &str| text.matches(part).count();
    // Two grids, the strip, and four pairs.
    assert_eq!(count(&text, "src=\"data:image/png;base64,"), 2 + 1 + 2 * 4);
    for part in [
        "2b, one step",
        "after 512 img",
        "learning rate",
        "gradient norm",
        "Median 0.",
        "train.batch",
        "nearest training picture",
    ] {
        assert!(text.contains(part), "no {part}");
    }

    // An encoder draws nothing, and nobody says that it would.
    succeeds(bench.train(Stage::Pretrain, "encoder"));
    let done = succeeds(report(&[&bench.path("encoder")], &bench.path("encoder.html")));
    assert!(!done.stderr.contains("drawing"), "{}", done.stderr);
    fs::remove_dir_all(bench.path("encoder")).expect("removed");

    // A folder of runs is all of them; measurements become a table.
    let eval = bench.path("eval.json");
    fs::write(&eval, "{\"guidance\": 1, \"fd\": 3.5, \"ema\": \"<b>\"}\n{\"guidance\": 2, \"fd\": 2.5, \"ema\": \"<b>\"}\n")
        .expect("numbers");
    succeeds(report(&[&bench.path("."), &"--eval", &eval, &"--title", &"A & B", &"--pictures", &"0"], &out));
    let text = page(&out);
    for part in [
        "<title>A &amp; B</title>",
        "<th>fd</th>",
        "average &lt;b&gt;",
        "2a, diffusion",
        "Settings that differ",
        "diffusion",
    ] {
        assert!(text.contains(part), "no {part}");
    }

    // What is damaged or gone is said, and the rest is shown.
    let mut log = fs::read(one.join("metrics.jsonl")).expect("log");
    log.extend(b"{\"images\":9\n\xff\n");
    fs::write(one.join("metrics.jsonl"), log).expect("log");
    fs::write(one.join("model.safetensors"), b"x").expect("model");
    fs::remove_dir_all(one.join("samples")).expect("samples");
    let done = succeeds(report(&[&one], &out));
    for part in ["2 lines of metrics.jsonl", "model.safetensors is text, not a model file"] {
        assert!(page(&out).contains(part) && done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    fs::rename(bench.path("data"), bench.path("moved")).expect("data");
    let done = succeeds(report(&[&bench.path("diffusion")], &out));
    assert!(done.stderr.contains("no generated pictures: "), "{}", done.stderr);
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("page.html");
    fs::write(folder.path().join("notes.txt"), "x").expect("file");
    fails(report(&[&folder.path()], &out), &["notes.txt", "no configuration of a run"]);
    fails(report(&[&folder.path().join("none")], &out), &["there is no run folder"]);
    fails(
        report(&[&folder.path(), &"--eval", &folder.path().join("notes.txt")], &out),
        &["notes.txt holds no measurements"],
    );
    assert!(!out.exists());
    assert_eq!(run(pixgen(["report"])).code, Some(2), "a run is needed");
}

#[test]
fn data_get_refuses_what_it_must() {
    let folder = tempfile::tempdir().expect("folder");
    let get = |arguments: &[&str]| {
        let mut command = pixgen(["data", "get"]);
        command.args(arguments).current_dir(folder.path());
        // Whatever goes wrong in this test, no request leaves the machine.
        for proxy in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env(proxy, "http://127.0.0.1:9");
        }
        command
    };
    fs::write(folder.path().join("package"), "not it").expect("file");
    let hash = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0";
    fails(get(&["fashion-mnist", "--file", "package"]), &["package is not dataset-fashion-mnist 0.0~git20200523", hash]);
    fails(get(&["fashion-mnist", "--file", "none"]), &["no file none"]);
    fails(get(&["fashion-mnist", "--skin-tones"]), &["--skin-tones is for noto-emoji"]);
    fails(get(&["fashion-mnist", "--mirror", "nowhere"]), &["nowhere/pool/main/d/dataset-fashion-mnist"]);
    fails(get(&["fashion-mnist", "--mirror", "http://mirror.example"]), &["proxy that the environment names"]);
    let mut without_client = get(&["fashion-mnist"]);
    without_client.env("PATH", "");
    fails(
        without_client,
        &[
            "`apt-get download dataset-fashion-mnist=",
            "failed: it is not installed",
            "--mirror",
        ],
    );
    fails(get(&["noto-emoji", "--size", "32"]), &["--size is for avatars, not for noto-emoji"]);
    fails(get(&["avatars", "--file", "package"]), &["no single file", "leave --file out"]);
    let mut without_node = get(&["avatars"]);
    without_node.env("PATH", "");
    fails(
        without_node,
        &[
            "`node --version` failed: it is not installed",
            "apt-get install nodejs npm",
            "bundled:avatars",
        ],
    );
    assert!(!folder.path().join("data/.avatars.unfinished").exists());
    assert!(!folder.path().join("data/fashion-mnist").exists() && !folder.path().join("data/.fashion-mnist.unfinished").exists());
    fs::create_dir_all(folder.path().join("mine/own")).expect("folder");
    fails(get(&["fashion-mnist", "--force", "--out", "mine"]), &["mine exists and was not made by"]);
    fails(get(&["fashion-mnist", "--out", ".."]), &[".. exists and was not made by"]);
    // Weights go to the cache: what lies there and is not ours stays.
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).expect("folder");
    fs::write(cache.join("efficientnet-lite0.safetensors"), "mine").expect("file");
    let mut weights = get(&["efficientnet-lite0"]);
    weights.env("PIXGEN_CACHE", &cache);
    fails(weights, &["efficientnet-lite0.safetensors exists and was not made by"]);
    assert_eq!(run(get(&["imagenet"])).code, Some(2));
}
