//! Every kernel that this machine has draws the bytes of the portable one: the trained models, and random ones of every kind of shape.

mod random;

use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;
use pixgen_core::noise::Parametrisation;
use pixgen_core::presets::preset;
use pixgen_core::pxg::Model;
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::engine::{Kernel, KernelError};
use pixgen_edge::pxg_file::PxgFile;
use pixgen_edge::quantise::{QuantiseOptions, export};
use std::path::Path;
use std::process::Command;

/// (class, seed) pairs, all of one picture number each.
fn requests(count: u64, classes: usize) -> Vec<DrawRequest> {
    (0..count)
        .map(|i| DrawRequest { class: (3 * i as usize + 1) % classes, seed: 1 + 7 * i, number: i % 3 })
        .collect()
}

fn all_equal(name: &str, model: &Model<'_>, count: u64) {
    let requests = requests(count, model.config().classes);
    let draw = |kernel: Kernel| {
        let mut panels = kernel.panels(model).expect("memory");
        let drawer = kernel.prepare(model, &mut panels).expect("packs");
        let mut memory = drawer.memory(0).expect("memory");
        drawer.self_test(&mut memory).unwrap_or_else(|error| panic!("{name}, {kernel}: {error}"));
        drawer.draw_many(&requests).expect("draws")
    };
    let kernels = Kernel::all();
    let (portable, others) = kernels.split_first().expect("the portable one");
    let wanted = draw(*portable);
    let distinct: std::collections::HashSet<&[u8]> = wanted.chunks(model.config().image_len()).collect();
    assert!(2 * distinct.len() > requests.len(), "{name}: pictures are alike: {} of {count} differ", distinct.len());
    for kernel in others {
        assert!(draw(*kernel) == wanted, "{name}: {kernel} draws other bytes");
    }
}

/// Says what is not compared here.
fn say_what_is_missing() {
    for name in ["avx2", "vnni"] {
        if Kernel::named(name).is_err() {
            println!("skipped, no {}", name.to_uppercase());
        }
    }
}

#[test]
fn trained_models_are_drawn_alike() {
    say_what_is_missing();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-examples/models");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of models") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "pxg") {
            let file = PxgFile::load(&path).expect("reads");
            all_equal(&path.display().to_string(), &file.model().expect("a model"), 100);
            count += 1;
        }
    }
    assert!(count > 0, "no models in {}", folder.display());
}

fn random_drawn_alike(name: &str, config: ModelConfig, steps: usize, count: u64) {
    let options = QuantiseOptions { steps, pictures: 6, tests: 1, ..QuantiseOptions::default() };
    let exported = export(&random::generator(config, Parametrisation::Edm), None, &options).expect("exports");
    let bytes = AlignedBytes::copy(&exported.bytes);
    all_equal(name, &Model::read(bytes.bytes()).expect("reads"), count);
}

#[test]
fn every_kind_of_shape_is_drawn_alike() {
    say_what_is_missing();
    for (number, config) in random::shapes().into_iter().enumerate() {
        for steps in [1, 2] {
            random_drawn_alike(&format!("shape {number}, {steps} steps"), config, steps, 24);
        }
    }
}

#[test]
fn presets_are_drawn_alike() {
    say_what_is_missing();
    for name in [
        "nano-28-grey",
        "small-28-grey",
        "base-28-grey",
        "nano-16-rgb",
        "nano-32-rgb",
        "small-32-rgb",
        "nano-64-rgb",
    ] {
        random_drawn_alike(name, ModelConfig { classes: 3, ..preset(name).expect("a preset").model }, 1, 10);
    }
}

#[test]
fn names_of_kernels() {
    assert_eq!(Kernel::named("portable").expect("always there").to_string(), "portable");
    let error = Kernel::named("sse9").expect_err("no such kernel");
    assert!(matches!(&error, KernelError::Unknown { asked, variable: false } if asked == "sse9"), "{error}");
    assert!(error.hint().expect("a hint").contains("portable"));
    if let Err(error) = Kernel::named("vnni") {
        assert!(matches!(error, KernelError::Unavailable { .. }), "{error}");
    }
}

/// `bench` on a trained model: its answer and what it says to a kernel that is not there.
#[test]
fn bench_measures_every_kernel_of_this_machine() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-examples/models/nano-28-grey.pxg");
    let bench_with = |variable: &str, arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_pixgen-edge"));
        let done = program
            .env("PIXGEN_KERNEL", variable)
            .args(["bench", "--threads", "2", "--seconds", "1"])
            .arg(&model)
            .args(arguments)
            .output()
            .expect("runs");
        (
            done.status.code(),
            String::from_utf8(done.stdout).expect("text"),
            String::from_utf8(done.stderr).expect("text"),
        )
    };
    let bench = |arguments: &[&str]| bench_with("", arguments);
    let (code, text, errors) = bench(&["--json"]);
    assert_eq!(code, Some(0), "{errors}");
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let kernels = answer["kernels"].as_array().expect("a list");
    let names: Vec<String> = kernels
        .iter()
        .map(|kernel| kernel["kernel"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names, Kernel::all().iter().map(Kernel::to_string).collect::<Vec<_>>());
    assert_eq!((answer["threads"].as_u64(), answer["macs"].as_u64()), (Some(2), Some(3_499_008)));
    assert!(answer["busy"].is_boolean(), "{answer}");
    assert_eq!(answer["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert!(answer["cpu"].is_string() || answer["cpu"].is_null(), "{answer}");
    for kernel in kernels {
        let of = |key: &str| kernel[key].as_f64().expect("a number");
        assert!(0.0 < of("best_ms") && of("best_ms") <= of("median_ms") && of("pictures_per_second") > 0.0, "{kernel}");
        let one = of("pictures_per_second_on_one_thread");
        assert!(0.0 < one && one <= 1e3 / of("best_ms") + 1e-3, "{kernel}");
    }
    let (code, text, errors) = bench(&["--kernel", "portable"]);
    assert_eq!(code, Some(0), "{errors}");
    for part in [
        "3.50 M",
        "portable ",
        "on 1 thread ",
        "on 2 threads",
        "Here pictures are drawn with ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, _, errors) = bench(&["--kernel", "abacus"]);
    assert!(
        code == Some(1) && errors.contains("`abacus`") && errors.contains("hint: this machine has: portable"),
        "{errors}"
    );
    // A kernel that the environment asks for in vain is an error, but not where the command line has another.
    let (code, _, errors) = bench_with("abacus", &[]);
    assert!(code == Some(1) && errors.contains("without PIXGEN_KERNEL it takes the fastest"), "{errors}");
    let (code, text, errors) = bench_with("abacus", &["--kernel", "portable"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(!text.contains("Here pictures are drawn"), "{text}");
    // `info` draws nothing.
    let mut info = Command::new(env!("CARGO_BIN_EXE_pixgen-edge"));
    let done = info.env("PIXGEN_KERNEL", "abacus").arg("info").arg(&model).output().expect("runs");
    let [text, errors] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    assert!(done.status.success() && text.contains("kernel here      none\n"), "{text}");
    assert!(errors.starts_with("warning: there is no kernel `abacus`; this machine has: portable"), "{errors}");
}
