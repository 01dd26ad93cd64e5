//! The bytes of exported files, recorded before the quantiser was rewritten: a change of its code must not change what a chip gets.
//!
//! The table holds length and CRC-32 of each file. Nothing here depends on the machine. Calibration runs the scalar reference in f32, with
//! libm for its functions; no matrix library takes part. Counts are integers. Sums and scales are f64, where another order of addition (the
//! number of threads) or another processor's `exp` and `pow` may change the last of 53 bits; what is written are integers of at most 32
//! bits, rounded once. Each file is built by one thread and by three, and both must give the recorded bytes.
//!
//! To record anew after a change that is meant to alter the bytes: `PIXGEN_RECORD=1 cargo test -p pixgen-edge --test pxg_bytes`.

mod random;

use pixgen_core::config::ModelConfig;
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::presets::preset;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::quantise::RangeMethod;
use pixgen_edge::quantise::{QuantiseOptions, export};
use safetensors::{Dtype, SafeTensors};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const PARAMETRISATIONS: [(&str, Parametrisation); 2] = [("plain-x", Parametrisation::PlainX), ("edm", Parametrisation::Edm)];

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pxg_bytes.txt")
}

/// A model of `tests/golden`, whose weights numpy made.
fn golden(name: &str, parametrisation: Parametrisation) -> ModelFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{name}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("safetensors header");
    let config = &metadata.metadata().as_ref().expect("metadata")["config"];
    let mut config: serde_json::Value = serde_json::from_str(config).expect("config is JSON");
    let model: ModelConfig = serde_json::from_value(config["model"].take()).expect("model config");
    let noise: NoiseConfig = serde_json::from_value(config["noise"].take()).expect("noise config");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut file = random::generator(model, parametrisation);
    file.header.noise = noise;
    for entry in file.set.entries() {
        let view = tensors.tensor(&format!("param.{}", entry.name)).expect("every parameter");
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes")))
                .collect(),
            Dtype::F64 => view
                .data()
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32)
                .collect(),
            other => panic!("{}: unexpected type {other:?}", entry.name),
        };
        file.params[entry.range.clone()].copy_from_slice(&values);
    }
    file
}

/// Every file of the table: its name, the model and how it is exported.
fn files() -> Vec<(String, ModelFile, QuantiseOptions)> {
    let mut files = Vec::new();
    let options = |steps| QuantiseOptions { steps, pictures: 24, tests: 1, name: "recorded".into(), ..QuantiseOptions::default() };
    let mut add = |name: String, file: ModelFile, options: QuantiseOptions| files.push((name, file, options));
    for (form, parametrisation) in PARAMETRISATIONS {
        for steps in [1, 2] {
            for (number, model) in random::shapes().into_iter().enumerate() {
                add(format!("random-{number}-{form}-{steps}"), random::generator(model, parametrisation), options(steps));
            }
            for name in ["tiny_a", "tiny_b"] {
                add(format!("{name}-{form}-{steps}"), golden(name, parametrisation), options(steps));
            }
        }
    }
    // The default count of pictures and of self-tests, for what `random_models` writes.
    for (form, parametrisation) in PARAMETRISATIONS {
        let default = QuantiseOptions { name: "recorded".into(), ..QuantiseOptions::default() };
        add(format!("default-1-{form}"), random::generator(random::shapes()[1], parametrisation), default);
    }
    // Other ways to choose ranges, with and without a bridge.
    for number in [1, 3] {
        let mut other = |name: &str, change: &dyn Fn(&mut QuantiseOptions)| {
            let mut options = options(2);
            change(&mut options);
            let file = random::generator(random::shapes()[number], Parametrisation::Edm);
            add(format!("random-{number}-{name}"), file, options);
        };
        other("min-max", &|o| o.method = RangeMethod::MinMax);
        other("percentile", &|o| o.method = RangeMethod::Percentile(0.01));
        other("site-method", &|o| {
            o.site_methods = vec![("gelu".into(), RangeMethod::MinMax), ("qkv".into(), RangeMethod::Percentile(0.02))]
        });
        other("biased", &|o| o.bias_correction = false);
        other("not-equalised", &|o| o.equalise = None);
        other("equalised", &|o| o.equalise = Some(1.0));
        other("classes", &|o| o.classes = vec![2, 0]);
    }
    // A model of the size that goes to a chip.
    for steps in [1, 2] {
        let model = preset("nano-28-grey").expect("a preset").model;
        let options = QuantiseOptions { pictures: 10, ..options(steps) };
        add(format!("nano-28-grey-{steps}"), random::generator(model, Parametrisation::Edm), options);
    }
    files
}

#[test]
fn files_have_the_recorded_bytes() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let pools = [pool(1), pool(3)];
    let mut lines = String::new();
    for (name, file, options) in files() {
        let [one, three] = pools
            .each_ref()
            .map(|pool| pool.install(|| export(&file, None, &options)).expect("exports").bytes);
        assert!(one == three, "{name}: the bytes depend on the number of threads");
        writeln!(lines, "{name} {} {:08x}", one.len(), crc32fast::hash(&one)).expect("a string");
    }
    if std::env::var_os("PIXGEN_RECORD").is_some() {
        std::fs::write(table(), &lines).expect("writes");
    }
    let want = std::fs::read_to_string(table()).expect("the table");
    for (line, want) in lines.lines().zip(want.lines()) {
        assert_eq!(line, want, "name, length and CRC-32 of a file");
    }
    assert_eq!(lines.lines().count(), want.lines().count(), "files in the table");
}
