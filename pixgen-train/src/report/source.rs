//! A run folder as the page shows it. The run may still be training, or may have been interrupted.

use super::error::ReportError;
use super::log::Log;
use crate::config::RunConfig;
use crate::run::{RunError, RunFolder};
use pixgen_edge::model_file::ModelFile;
use std::fs;
use std::path::{Path, PathBuf};

/// Ends of the names of sample grids, and what they show.
const KINDS: [(&str, &str); 3] = [
    ("1step", "drawn in one evaluation"),
    ("2step", "drawn in two evaluations"),
    ("heun", "drawn by the diffusion model, Heun's steps"),
];

/// A run as it is on disk.
#[derive(Debug)]
pub struct RunSource {
    /// The folder as it was named.
    pub name: String,
    /// All settings: dotted names and values.
    pub settings: Vec<(String, String)>,
    /// The settings, if this version understands them.
    pub config: Option<RunConfig>,
    /// The curves.
    pub log: Log,
    /// The newest grid of each kind, and the strip: what it shows, and its PNG.
    pub grids: Vec<(String, Vec<u8>)>,
    /// The weights.
    pub model: Option<ModelFile>,
    /// What cannot be read.
    pub remarks: Vec<String>,
}

/// The runs that a path names: a run folder, or a folder with run folders in it, such as a quick start.
///
/// # Errors
/// [`ReportError`] if there is no run.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let not_a_run = match RunFolder::view(path) {
        Ok(_) if path.join("config.toml").exists() => return Ok(vec![path.to_owned()]),
        Ok(_) => RunError::NoFolder { path: path.join("config.toml") },
        Err(error @ RunError::Foreign { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let entries = fs::read_dir(path).map_err(pixgen_edge::file_error::FileError::read(path))?;
    let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    inside.retain(|path| path.join("config.toml").exists() && RunFolder::view(path).is_ok());
    // The stages of a quick start in their order: its second stage has the later name only by chance.
    inside.sort_by_key(|path| (path.file_name().is_none_or(|name| name != "pretrain"), path.clone()));
    if inside.is_empty() { Err(not_a_run.into()) } else { Ok(inside) }
}

impl RunSource {
    /// Reads a run folder. What is missing or damaged in it becomes a remark.
    ///
    /// # Errors
    /// [`ReportError::Run`] if it is none.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let folder = RunFolder::view(path)?;
        let mut remarks = Vec::new();
        let mut remark = |text: String| remarks.push(text);
        let text = fs::read_to_string(folder.config()).unwrap_or_else(|error| {
            remark(format!("config.toml cannot be read: {error}"));
            String::new()
        });
        let (mut settings, mut config) = (Vec::new(), None);
        match text.parse::<toml::Table>() {
            Ok(table) => {
                flatten("", &table, &mut settings);
                config = table
                    .try_into()
                    .map_err(|error| remark(format!("config.toml is of another version: {error}")))
                    .ok();
            }
            Err(error) => remark(format!("config.toml is damaged: {}", error.message())),
        }
        let log = match fs::read(folder.metrics()) {
            Ok(bytes) => Log::read(&bytes),
            Err(error) => {
                remark(format!("no curves: metrics.jsonl: {error}"));
                Log::default()
            }
        };
        if log.damaged > 0 {
            remark(format!("{} lines of metrics.jsonl cannot be read and are left out", log.damaged));
        }
        let grids = grids(&folder.samples());
        let model = match ModelFile::load(&folder.model()) {
            Ok(model) => Some(model),
            Err(_) if !folder.model().exists() => {
                remark("no model.safetensors yet".to_owned());
                None
            }
            Err(error) => {
                remark(error.to_string());
                None
            }
        };
        Ok(Self { name: path.display().to_string(), settings, config, log, grids, model, remarks })
    }

    /// A setting by its dotted name.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The newest grid of each kind, then the strip.
fn grids(samples: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(samples).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".png") && !name.starts_with('.')).collect();
    names.sort();
    let mut grids = Vec::new();
    for (kind, what) in KINDS {
        let newest = names
            .iter()
            .rfind(|name| name.starts_with("images-") && name.ends_with(&format!("-{kind}.png")));
        let bytes = newest.and_then(|name| Some((name, fs::read(samples.join(name)).ok()?)));
        if let Some((name, bytes)) = bytes {
            let images = name
                .trim_start_matches("images-")
                .split('-')
                .next()
                .and_then(|digits| digits.parse().ok());
            let after = images.map_or_else(String::new, |images| format!("after {}, ", pixgen_edge::units::format_images(images)));
            grids.push((format!("{after}{what}"), bytes));
        }
    }
    if let Ok(bytes) = fs::read(samples.join("strip.png")) {
        grids.push(("the same latents over time, a row for each moment".to_owned(), bytes));
    }
    grids
}

fn flatten(prefix: &str, table: &toml::Table, settings: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, settings),
            toml::Value::String(text) => settings.push((key, text.clone())),
            other => settings.push((key, other.to_string())),
        }
    }
}
