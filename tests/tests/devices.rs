//! The same verbs on every device of this build: the noise is the same, so the pictures are, but for rounding.

use pixgen_tests::devices;
use pixgen_tests::fixtures::{Bench, Stage};
use pixgen_tests::program::{fails, pixgen, succeeds};
use pixgen_train::device::DeviceChoice;
use std::path::{Path, PathBuf};

/// Largest difference of a pixel, in levels of 0 to 255. Sums of f32 in another order move a value by some 1e-6 of the range, which
/// changes a level only at an edge of rounding.
const LEVELS: u8 = 1;
/// Share of the pixels that may differ at all.
const AT_AN_EDGE: f64 = 1e-3;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into_bytes()
}

/// Largest difference, and the share of pixels that differ.
fn apart(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let many = differences.clone().filter(|d| *d > 0).count();
    (differences.max().unwrap_or(0), many as f64 / a.len() as f64)
}

/// A one-step generator in one and two steps, and a diffusion model with guidance in 31 evaluations and more.
#[test]
fn pictures_agree() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Diffusion, "diffusion"));
    let (generator, denoiser) = (recorded("data/v0.1/model.safetensors"), bench.path("diffusion"));
    let cases: [(&Path, &[&str]); 3] = [
        (&generator, &["--count", "20"]),
        (&generator, &["--steps", "2"]),
        (&denoiser, &["--steps", "16", "--guidance", "2"]),
    ];
    for (model, arguments) in cases {
        let draw = |device: DeviceChoice| {
            let out = bench.path(&format!("{device}.png"));
            let mut command = pixgen(["sample", "--seed", "7", "--device", &device.to_string()]);
            command.args(arguments).arg("--out").arg(&out).arg(model);
            succeeds(command);
            pixels(&out)
        };
        let cpu = draw(DeviceChoice::Cpu);
        for device in devices().into_iter().filter(|device| device.is_gpu()) {
            let (worst, share) = apart(&cpu, &draw(device));
            println!("{device} {arguments:?}: {worst} levels, {share:.1e} of the pixels");
            assert!(worst <= LEVELS && share <= AT_AN_EDGE, "{device} {arguments:?}: {worst} levels, {share} of the pixels");
        }
    }
}

#[test]
fn a_report_draws_on_each_device() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    for device in devices() {
        let out = bench.path("page.html");
        let mut command = pixgen(["report", "--pictures", "4", "--device", &device.to_string(), "--out"]);
        command.arg(&out).arg(bench.path("run"));
        let done = succeeds(command);
        assert!(!done.stderr.contains("no generated pictures"), "{}", done.stderr);
        assert!(std::fs::read_to_string(out).expect("page").contains("nearest training picture"));
    }
}

/// Far more devices than a machine can have, whether or not CUDA is built in.
#[test]
fn a_report_without_its_device_is_an_error_and_no_page() {
    let bench = Bench::new();
    succeeds(bench.train(Stage::Scratch, "run"));
    let out = bench.path("page.html");
    let report = |pictures: &str| {
        let mut command = pixgen(["report", "--device", "cuda:4096", "--pictures", pictures, "--out"]);
        command.arg(&out).arg(bench.path("run"));
        command
    };
    fails(report("4"), &["hint:"]);
    assert!(!out.exists());
    // Without pictures nothing is asked of the device.
    succeeds(report("0"));
}

/// The same pictures but for rounding have the same metrics but for rounding. Shares and accuracies may move by one picture.
#[test]
fn measurements_agree() {
    const COUNT: f64 = 60.0;
    let model = recorded("data/v0.1/model.safetensors");
    let measure = |device: DeviceChoice| {
        let device = device.to_string();
        let mut eval = pixgen(["eval", "--count", "60", "--json", "--device", &device]);
        eval.arg(&model);
        let mut probe = pixgen(["probe", "--sigma", "0.25", "--count", "200", "--json", "--device", &device]);
        probe.arg(&model);
        (succeeds(eval).json(), succeeds(probe).json())
    };
    let (eval, probe) = measure(DeviceChoice::Cpu);
    let metrics = eval["rows"][0]["generated"].as_object().expect("metrics");
    for device in devices() {
        let (on_device, probed) = measure(device);
        assert_eq!(eval["rows"][0]["real"], on_device["rows"][0]["real"], "{device}: real pictures come from no device");
        for (name, value) in metrics.iter().filter(|(_, value)| value.is_f64()) {
            let (a, b) = (value.as_f64().expect("a number"), on_device["rows"][0]["generated"][name].as_f64().expect("a number"));
            println!("{device} {name}: {a} {b}");
            let near = (a - b).abs() <= 1e-4 * a.abs();
            let counted = ["precision", "recall", "density", "coverage", "accuracy"].contains(&name.as_str());
            assert!(near || counted && (a - b).abs() <= 1.01 / COUNT, "{device} {name}: {a} {b}");
        }
        let asked = probe["asked"].as_f64().expect("a number");
        for name in ["knn", "linear", "untrained_knn", "untrained_linear"] {
            let [a, b] = [&probe, &probed].map(|report| report["levels"][0][name].as_f64().expect("a share"));
            assert!((a - b).abs() <= 1.01 / asked, "{device} {name}: {a} {b}");
        }
    }
}

#[test]
fn names_that_are_no_devices_are_refused() {
    let model = recorded("data/v0.1/model.safetensors");
    let model = model.to_str().expect("UTF-8");
    for verb in [
        &["sample", model][..],
        &["eval", model],
        &["probe", model],
        &["quickstart"],
        &["report", model],
        &["import", model],
    ] {
        fails(pixgen([verb, &["--device", "gpu"]].concat()), &["`gpu` is not a device"]);
    }
}
