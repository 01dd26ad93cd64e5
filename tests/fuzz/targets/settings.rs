//! Any text as a settings file over the settings of a run, and its first line as `--set`. What is accepted reads back the same.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the trainer uses the rest")]
#[path = "../../../pixgen-train/src/settings/mod.rs"]
mod settings;

use libfuzzer_sys::fuzz_target;
use settings::{Origin, SettingsLayer, assign, file, resolve};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use toml::Table;

/// The reader wants a file.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| std::env::temp_dir().join(format!("pixgen-fuzz-{}.toml", std::process::id())));
/// The settings of a real run.
static DEFAULTS: LazyLock<Table> = LazyLock::new(|| include_str!("../seeds/settings/run.toml").parse().expect("settings"));

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*PATH, bytes).expect("a temporary file");
    match file::layer(&PATH) {
        Ok(layer) => lay(layer),
        Err(error) => drop((error.to_string(), error.hint())),
    }
    let Some((key, value)) = str::from_utf8(bytes).ok().and_then(|text| text.lines().next()?.split_once('=')) else {
        return;
    };
    match assign(&DEFAULTS, key.trim(), value, Origin::Flag("--set".to_owned())) {
        Ok(layer) => lay(layer),
        Err(error) => drop((error.to_string(), error.hint())),
    }
});

fn lay(layer: SettingsLayer) {
    match resolve(&DEFAULTS, &[layer]) {
        Ok(resolved) => {
            let back: Table = resolved.explain().parse().expect("what is explained is TOML");
            // Not a number is not equal to itself, so the texts are compared.
            assert_eq!(back.to_string(), resolved.table.to_string());
        }
        Err(error) => drop((error.to_string(), error.hint())),
    }
}
