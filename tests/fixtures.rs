//! Small data sets and runs: 8x8 grey pictures in three classes, and a model that trains on them in a blink.

use crate::program::pixgen;
use image::{GrayImage, Luma};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Classes of the tiny data.
pub const CLASSES: [&str; 3] = ["dots", "rows", "stairs"];
/// Pictures of each class.
pub const PER_CLASS: u32 = 12;

/// Writes the tiny data: a folder for each class.
pub fn write_pictures(folder: &Path) {
    for (class, name) in CLASSES.into_iter().enumerate() {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("class folder");
        for number in 0..PER_CLASS {
            let shade = |x: u32, y: u32| {
                let on = match class {
                    0 => (x + y + number).is_multiple_of(3),
                    1 => (y + number) % 4 < 2,
                    _ => x > (y + number) % 8,
                };
                Luma([if on { 230 - 3 * number as u8 } else { 20 + 2 * x as u8 }])
            };
            let path = folder.join(format!("{number:02}.png"));
            GrayImage::from_fn(8, 8, shade).save(path).expect("picture");
        }
    }
}

/// Settings of a tiny model on the pictures in `data`, for both stages.
fn settings(data: &Path) -> String {
    format!(
        "preset = \"nano-28-grey\"\n\
         data.path = {:?}\n\
         data.hold_out = 0.0\n\
         train.images = 512\n\
         train.batch = 8\n\
         schedule.warmup = 64\n\
         output = {{ log_every = 64, sample_every = 256, checkpoint_every = 128, sample_rows = 1 }}\n\
         [model]\n\
         size = 8\n\
         patch = 4\n\
         encoder = {{ depth = 2, width = 16, heads = 2 }}\n\
         decoder = {{ depth = 2, width = 16, heads = 2 }}\n",
        data.display().to_string()
    )
}

/// A folder with the tiny data, their settings, and the runs of a test.
#[derive(Debug)]
pub struct Bench {
    folder: TempDir,
}

/// A stage with the settings that make it tiny and use all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Stage 1.
    Pretrain,
    /// Stage 2b from scratch, plain x.
    Scratch,
    /// Stage 2a from scratch.
    Diffusion,
    /// Stage 2b with the boundary condition, with dropout, and with the auxiliary loss through the encoder in `encoder/`.
    Finetune,
    /// Stage 3 from the generator in `generator/`, with features of the encoder in `encoder/`.
    Drift,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// Makes the folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        write_pictures(&folder.path().join("data"));
        fs::write(folder.path().join("tiny.toml"), settings(&folder.path().join("data"))).expect("settings");
        Self { folder }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that trains `stage` in the folder `out`. Options may be added.
    pub fn train(&self, stage: Stage, out: impl AsRef<Path>) -> Command {
        let verb = if stage == Stage::Pretrain { "pretrain" } else { "finetune" };
        let mut command = pixgen([verb, "--config"]);
        command.arg(self.path("tiny.toml")).arg("--out").arg(self.folder.path().join(out));
        match stage {
            Stage::Pretrain => command.args(["--set", "pretrain.projector.hidden=24", "--set", "pretrain.projector.out=12"]),
            Stage::Scratch => &mut command,
            Stage::Diffusion => command.args(["--objective", "diffusion"]),
            Stage::Finetune => command
                .args(["--set", "consistency.parametrisation=edm", "--set", "consistency.anchor=0"])
                .args(["--set", "consistency.weighting=inverse-gap", "--set", "consistency.dropout=0.3"])
                .args(["--set", "consistency.auxiliary=0.5", "--encoder"])
                .arg(self.path("encoder")),
            Stage::Drift => command
                .args(["--objective", "drift", "--set", "drift.generated=4", "--set", "drift.real=3"])
                .arg("--from")
                .arg(self.path("generator"))
                .arg("--encoder")
                .arg(self.path("encoder")),
        };
        command
    }

    /// Packs the data: into a zip archive, or for any other name into shards of seven pictures.
    pub fn pack(&self, name: &str) {
        let mut command = pixgen(["data", "prepare", "--size", "8", "--grey", "--shard-images", "7", "--out"]);
        command.arg(self.path(name)).arg(self.path("data"));
        crate::program::succeeds(command);
    }

    /// Trains the generator that [`Stage::Drift`] starts from.
    pub fn with_generator(self) -> Self {
        let mut command = self.train(Stage::Scratch, "generator");
        command.args(["--images", "64"]);
        crate::program::succeeds(command);
        self
    }

    /// Trains the encoder that [`Stage::Finetune`] starts from.
    pub fn with_encoder(self) -> Self {
        let mut command = self.train(Stage::Pretrain, "encoder");
        command.args(["--set", "output.checkpoint_every=512"]);
        crate::program::succeeds(command);
        self
    }
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The checkpoints of a run, oldest first.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let folder = run.join("checkpoints");
    let whole = |name: &String| name.starts_with("step-") && name.ends_with(".safetensors");
    names(&folder).into_iter().filter(whole).map(|name| folder.join(name)).collect()
}

/// Every file below a folder with its bytes, by relative path.
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(place) = left.pop() {
        for name in names(&place) {
            let path = place.join(name);
            if path.is_dir() {
                left.push(path);
            } else {
                let bytes = fs::read(&path).expect("file");
                found.push((path.strip_prefix(folder).expect("below").to_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}

/// Flips one bit of a file.
pub fn flip_bit(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).expect("file");
    bytes[byte] ^= 1 << 3;
    fs::write(path, bytes).expect("file");
}

/// The lines of a run's log as JSON, without what the clock decides.
pub fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let parse = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let fields = value.as_object_mut().expect("an object");
        for clock in ["seconds", "images_per_second"] {
            // Lines about changes and about quality have none.
            let expected = fields.contains_key("loss");
            assert_eq!(fields.remove(clock).is_some(), expected, "`{clock}` in {line}");
        }
        value
    };
    text.lines().map(parse).collect()
}
