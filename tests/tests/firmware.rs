//! A chip draws the host's picture, byte for byte, in the memory that was computed for it: `firmware-examples/qemu` on every machine.

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::integer::DrawRequest;
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::presets::preset;
use pixgen_core::pxg::layout::{Layout, TEST_LEN};
use pixgen_core::pxg::{Model, encode};
use pixgen_edge::aligned::AlignedBytes;
use pixgen_tests::firmware::{FirmwareError, Image, MACHINES, Machine, Report, STACK, budget, draw, machine, random_model};
use std::ffi::OsStr;
use std::path::Path;
use tempfile::NamedTempFile;

/// Small enough for the smallest machine, with all that a network can have: colours, towers of different widths, long skips, two steps.
const TINY: ModelConfig = ModelConfig {
    size: 16,
    channels: 3,
    patch: 4,
    classes: 2,
    encoder: Tower { depth: 2, width: 32, heads: 4 },
    decoder: Tower { depth: 2, width: 40, heads: 2 },
};

fn written(model: &AlignedBytes) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".pxg").expect("temporary file");
    std::fs::write(file.path(), model.bytes()).expect("written");
    file
}

/// Hashes of the host's pictures, and the bytes of workspace that a picture needs.
fn on_host(file: &AlignedBytes, pairs: &[(usize, u64)]) -> (Vec<u64>, u64) {
    let model = Model::read(file.bytes()).expect("a valid file");
    let mut workspace = AlignedBytes::zeroed(model.workspace_len());
    let mut hash = |&(class, seed)| {
        let request = DrawRequest { class, seed, number: 0 };
        model.picture_hash(&request, workspace.bytes_mut()).expect("a picture")
    };
    (pairs.iter().map(&mut hash).collect(), model.workspace_len() as u64)
}

/// Draws on the machine and compares with the host.
fn compare(machine: &'static Machine, model: &AlignedBytes, pairs: &[(usize, u64)]) -> Report {
    let (hashes, workspace) = on_host(model, pairs);
    let report = draw(machine, written(model).path(), pairs).unwrap_or_else(|error| panic!("{}: {error}", machine.name));
    println!(
        "{:<18} {:<8} {:>10} instructions, {:>6} flash, {:>6} RAM, {:>5} stack",
        report.machine, report.kernel, report.instructions, report.sizes.flash, report.sizes.ram, report.stack
    );
    assert_eq!(report.machine, machine.name);
    assert_eq!(report.hashes, hashes, "{}: the pictures are not the host's", machine.name);
    assert_eq!(report.workspace, workspace, "{}", machine.name);
    let config = *Model::read(model.bytes()).expect("a valid file").config();
    let steps = Model::read(model.bytes()).expect("a valid file").steps();
    let planned = plan_sites(&config, steps, &mut |_| ()).slices;
    assert_eq!(report.slices.hash, hashes[0], "{}: in slices it is another picture", machine.name);
    assert_eq!(report.slices.count, planned as u64, "{}", machine.name);
    assert!(
        report.sizes.ram >= workspace && report.sizes.flash > model.bytes().len() as u64,
        "{}: {:?}",
        machine.name,
        report.sizes
    );
    assert!(report.stack <= STACK, "{}: {} bytes of stack", machine.name, report.stack);
    let width = Model::read(model.bytes()).expect("a valid file").config().size;
    let art: Vec<&str> = report
        .log
        .iter()
        .filter(|line| line.level.is_none())
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!((art.len(), art.first().map(|row| row.len())), (width, Some(2 * width)), "{}", machine.name);
    report
}

#[test]
fn every_machine_draws_the_pictures_of_the_host() {
    let model = random_model(&TINY, 2, 1);
    let pairs = [(0, 1), (1, u64::MAX), (1, 7)];
    assert_ne!(on_host(&model, &pairs[1..2]).0, on_host(&model, &pairs[2..]).0);
    for machine in MACHINES {
        compare(machine, &model, &pairs);
    }
}

/// One machine for each kind of kernel.
const KERNELS: [(&str, &str); 6] = [
    ("mps2-an385-m0plus", "armv6m"),
    ("mps2-an385", "armv7m"),
    ("mps2-an386", "dsp"),
    ("mps2-an505", "dsp"),
    ("mps3-an547", "mve"),
    ("virt", "riscv32"),
];

/// Twenty pictures of two models, and one of a third, on every kind of core: the host's bytes, the planned workspace, and no more
/// instructions, stack or flash than `tests/budgets.json` allows.
#[test]
fn every_core_draws_the_pictures_of_the_host_within_its_budget() {
    println!("{}", budget::HEAD);
    let costs = budget::measure(&mut |cost| println!("{cost}")).unwrap_or_else(|error| panic!("{error}"));
    let text = std::fs::read_to_string(budget::path()).expect("the budget");
    let excess = budget::excess(&text, &costs);
    assert!(
        excess.is_empty(),
        "over budget:\n{}\n(`cargo run --release -p pixgen-tests --bin budgets -- --write`)",
        excess.join("\n")
    );
}

/// Products of all pictures of a model on a machine: what every emulator computes in some seconds.
const PRODUCTS: u64 = 1_000_000_000;

/// The committed models that have no budget, on every kind of core: a hundred pictures of small ones, fewer of large ones. With
/// `PIXGEN_PICTURES=100` it is as many of every committed model, which takes minutes.
#[test]
fn committed_models_are_the_pictures_of_the_host_on_every_core() {
    let asked: Option<usize> = std::env::var("PIXGEN_PICTURES").ok().map(|count| count.parse().expect("a number"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-examples/models");
    let entries = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path());
    for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "pxg")) {
        let name = path.file_stem().and_then(OsStr::to_str).expect("a name");
        if asked.is_none() && budget::MODELS.iter().any(|(model, _)| *model == name) {
            continue;
        }
        let file = AlignedBytes::copy(&std::fs::read(&path).expect("read"));
        let model = Model::read(file.bytes()).expect("a valid file");
        let macs = plan_sites(model.config(), model.steps(), &mut |_| ()).macs;
        let count = asked.unwrap_or_else(|| (PRODUCTS / macs).clamp(2, 100) as usize);
        println!("{name}: {count} pictures");
        let pairs = budget::pairs(count, model.config().classes);
        for (machine_name, _) in KERNELS {
            compare(machine(machine_name).expect("machine"), &file, &pairs);
        }
    }
}

/// The longest slice of the smallest model: below 5 % of its picture, and of a picture in slices no more than a quarter goes into finding the
/// place where the last one stopped.
#[test]
fn a_slice_is_short() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware-examples/models/nano-28-grey.pxg")).expect("the example");
    for name in ["mps2-an386", "virt"] {
        let report = compare(machine(name).expect("machine"), &AlignedBytes::copy(&file), &[(1, 1)]);
        let (slices, whole) = (report.slices, report.instructions);
        println!("{name}: {slices:?} of {whole}");
        assert!(20 * slices.longest < whole, "{name}: {slices:?} of {whole}");
        assert!(4 * slices.all < 5 * whole, "{name}: {slices:?} of {whole}");
    }
}

/// What the desktop computes with `portable` the chips compute with their own: every kernel against plain loops, on the chip.
#[test]
fn every_kernel_computes_the_sums_of_plain_loops() {
    for (name, kernel) in KERNELS {
        let image = Image::build_conformance(machine(name).expect("machine")).expect("an image");
        let lines = image.run_text().unwrap_or_else(|error| panic!("{error}"));
        assert!(lines.iter().any(|line| line.text.starts_with(kernel) && line.text.ends_with("equal")), "{name}: {lines:?}");
    }
}

#[test]
fn colour_on_a_chip_with_128_kilobytes() {
    let model = random_model(&preset("small-32-rgb").expect("preset").model, 1, 3);
    compare(machine("netduinoplus2").expect("machine"), &model, &[(4, 4)]);
}

#[test]
fn a_run_repeats() {
    let model = random_model(&TINY, 1, 4);
    let file = written(&model);
    for name in ["mps2-an386", "virt"] {
        let image = Image::build(machine(name).expect("machine"), file.path(), &[(0, 1)]).expect("an image");
        let first = image.run().expect("a run");
        assert!(first.instructions > 100_000, "{}", first.instructions);
        assert_eq!(first, image.run().expect("a run"));
    }
}

#[test]
fn the_linker_refuses_a_chip_that_is_too_small() {
    // Too many weights for 256 KB of flash; too much workspace for 64 KB of RAM.
    let flash = preset("small-28-grey").expect("preset").model;
    let ram = ModelConfig { size: 32, patch: 2, ..TINY };
    for (name, config) in [("microbit", flash), ("lm3s6965evb", ram)] {
        let error = Image::build(machine(name).expect("machine"), written(&random_model(&config, 1, 5)).path(), &[(0, 1)]).err();
        let error = error.unwrap_or_else(|| panic!("{name}: fits"));
        assert!(error.is_too_large(), "{name}: {error}");
    }
}

#[test]
fn a_damaged_file_is_refused_when_the_firmware_is_built() {
    let file = written(&random_model(&TINY, 1, 6));
    let mut bytes = std::fs::read(file.path()).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file.path(), bytes).expect("written");
    let error = Image::build(machine("mps2-an386").expect("machine"), file.path(), &[(0, 1)]).expect_err("a damaged file");
    assert!(matches!(&error, FirmwareError::Build(output) if output.contains("checksum")), "{error}");
    assert!(!error.is_too_large());
}

#[test]
fn a_picture_that_differs_fails_the_self_test_on_the_chip() {
    let file = random_model(&TINY, 1, 7);
    let model = Model::read(file.bytes()).expect("a valid file");
    let (header, layout) = (*model.header(), Layout::new(model.config(), 1));
    let body_len = usize::try_from(layout.body_len(usize::from(header.tests))).expect("small");
    let mut body = file.bytes()[file.bytes().len() - body_len..].to_vec();
    // The hash is the end of the vector.
    body[layout.test(0).start + TEST_LEN - 1] ^= 1;
    let mut bytes = vec![0; file.bytes().len()];
    encode(&header, &body, &mut bytes).expect("as long as it was");
    let path = written(&file);
    std::fs::write(path.path(), bytes).expect("written");

    let error = draw(machine("mps2-an386").expect("machine"), path.path(), &[(0, 1)]).expect_err("another picture");
    let FirmwareError::Run(reason, log) = &error else {
        panic!("{error}")
    };
    assert!(reason.contains("exit status: 1"), "{error}");
    assert!(
        log.iter()
            .any(|line| line.level.as_deref() == Some("error") && line.text.contains("SelfTest")),
        "{error}"
    );
}

#[test]
fn a_class_that_does_not_exist_is_an_error_on_the_chip() {
    let file = written(&random_model(&TINY, 1, 8));
    let error = draw(machine("virt").expect("machine"), file.path(), &[(2, 1)]).expect_err("no such class");
    assert!(matches!(&error, FirmwareError::Run(_, log) if log.iter().any(|line| line.text.contains("Class"))), "{error}");
}
