//! The settings that a run folder records: what a resumed run takes from them, and what may differ from them.

use super::folder::{CONFIG, is_marked};
use crate::config::{RunConfig, StageKind};
use crate::error::{CheckpointMismatch, Error};
use crate::settings::file::position;
use crate::settings::layers::{dotted_keys, get};
use crate::training::{LrShape, Schedule};
use pixgen_edge::file_error::FileError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::Value;

/// The settings of a run that was started before.
#[derive(Clone, Debug)]
pub struct Recorded {
    folder: PathBuf,
    /// As the run was started, or as it went on last.
    pub config: RunConfig,
}

/// The settings of the run in a folder, if one was begun there. Settings that cannot be read are told when the run goes on.
pub fn begun(folder: &Path) -> Option<RunConfig> {
    Some(Recorded::read(folder).ok()??.config)
}

/// A setting that is another one from here on.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Dotted key.
    pub key: String,
    /// Until now.
    pub was: Value,
    /// From now on.
    pub is: Value,
}

/// What a change does to a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The result stays the same, or another check decides: fingerprints know data and start values again wherever they lie.
    None,
    /// The run goes on in another way from here on.
    FromHere,
    /// It would be another run.
    OtherRun,
}

impl Effect {
    fn of(key: &str) -> Self {
        const NONE: [&str; 5] = [
            "train.micro_batch",
            "train.max_skipped",
            "data.memory",
            "data.skip_bad",
            "data.path",
        ];
        const FROM_HERE: [&str; 2] = ["train.images", "train.batch"];
        let section = |name: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if ["compute", "output", "quality"].into_iter().any(section) || NONE.contains(&key) {
            Self::None
        } else if key == "optimiser.kind" {
            // Each leaves moments that the other cannot go on with.
            Self::OtherRun
        } else if ["schedule", "optimiser"].into_iter().any(section) || FROM_HERE.contains(&key) {
            Self::FromHere
        } else {
            Self::OtherRun
        }
    }
}

impl Recorded {
    /// Reads `config.toml` of a run folder; nothing if there is none, or one of another program.
    ///
    /// # Errors
    /// [`Error::OtherCheckpoint`]: settings that this version does not know.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(CONFIG);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) if is_marked(&bytes) => bytes,
            Err(error) if ![ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Err(FileError::read(&path)(error).into());
            }
            _ => return Ok(None),
        };
        let wrong = |what: String| Error::OtherCheckpoint { path: path.display().to_string(), kind: CheckpointMismatch::Settings(what) };
        let text = str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            wrong(format!("line {line} is not UTF-8 text"))
        })?;
        let config = toml::from_str(text).map_err(|error: toml::de::Error| match error.span() {
            Some(span) => wrong(format!("line {}: {}", position(text, span.start).0, error.message())),
            None => wrong(error.message().to_owned()),
        })?;
        Ok(Some(Self { folder: folder.to_owned(), config }))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stage must be the same.
    ///
    /// # Errors
    /// [`Error::OtherSettings`].
    pub fn check_stage(&self, stage: StageKind) -> Result<(), Error> {
        let was = self.config.stage.kind();
        if was == stage {
            return Ok(());
        }
        Err(self.other("stage", &Value::from(was.name()), &Value::from(stage.name())))
    }

    /// What changes from here on when the run goes on as `now`.
    ///
    /// # Errors
    /// [`Error::OtherSettings`]: a setting that makes another run.
    pub fn changes(&self, now: &RunConfig) -> Result<Vec<Change>, Error> {
        self.check_stage(now.stage.kind())?;
        let (was, is) = (self.config.to_table()?, now.to_table()?);
        let mut changes = Vec::new();
        for key in dotted_keys(&is) {
            let unset = Value::from("unset");
            let [was, is] = [&was, &is].map(|table| get(table, &key).unwrap_or(&unset));
            // A run that started from nothing cannot have started from something, but the same thing may lie elsewhere.
            let path = ["encoder", "from"].contains(&key.as_str());
            let moved = path && [was, is].iter().all(|path| path.as_str().is_some_and(|path| !path.is_empty()));
            if was == is || moved {
                continue;
            }
            match Effect::of(&key) {
                Effect::None => {}
                Effect::FromHere => changes.push(Change { key, was: was.clone(), is: is.clone() }),
                Effect::OtherRun => return Err(self.other(&key, was, is)),
            }
        }
        Ok(changes)
    }

    fn other(&self, key: &str, was: &Value, is: &Value) -> Error {
        Error::OtherSettings {
            folder: self.folder.display().to_string(),
            key: key.to_owned(),
            was: was.to_string(),
            is: is.to_string(),
        }
    }

    /// The changes in words, and what they do to the learning rate of a run that has seen `images`.
    pub fn told(&self, changes: &[Change], now: &RunConfig, images: u64) -> Vec<String> {
        let mut lines: Vec<String> = changes
            .iter()
            .map(|Change { key, was, is }| format!("from here on {key} = {is} (was {was})"))
            .collect();
        if changes
            .iter()
            .any(|change| change.key == "train.images" || change.key.starts_with("schedule."))
        {
            lines.push(learning_rate(&self.config, now, images));
        }
        if changes.iter().any(|change| change.key == "train.images") {
            lines.push("noise levels, stages and averages with a share follow the new length too".to_owned());
        }
        lines
    }
}

/// What the learning rate does from here on.
fn learning_rate(was: &RunConfig, now: &RunConfig, images: u64) -> String {
    let rate = |config: &RunConfig| {
        let at = images.min(config.train.images);
        config.schedule.rate(at, config.train.batch as u64, config.train.images)
    };
    let total = now.train.images;
    let Schedule { peak, final_factor, shape, warmup } = now.schedule;
    let course = match shape {
        LrShape::Constant => "stays there".to_owned(),
        LrShape::Cosine => format!("follows the cosine over {total} images down to {}", shown(peak * final_factor)),
        LrShape::Staged => format!("steps down after 4/7 and 5/7 of {total} images"),
    };
    let course = if images >= warmup {
        format!("and {course}")
    } else if warmup >= total {
        "and rises to the end, because the warm-up is as long as the run".to_owned()
    } else {
        format!("and rises until {warmup} images, at the end of the warm-up; then it {course}")
    };
    format!("the learning rate was {}; it goes on at {} {course}", shown(rate(was)), shown(rate(now)))
}

/// `2.400e-4`, or `0`.
fn shown(rate: f64) -> String {
    if rate == 0.0 { "0".to_owned() } else { format!("{rate:.3e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunFolder;
    use crate::training::OptimiserKind;
    use pixgen_core::presets::preset;

    fn config() -> RunConfig {
        RunConfig::defaults(StageKind::Consistency, preset("small-28-grey").unwrap())
    }

    fn recorded(config: &RunConfig) -> (tempfile::TempDir, Recorded) {
        let parent = tempfile::tempdir().unwrap();
        let run = RunFolder::open(parent.path()).unwrap();
        run.write_config(&config.to_toml().unwrap()).unwrap();
        let recorded = Recorded::read(parent.path()).unwrap().unwrap();
        (parent, recorded)
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        let parent = tempfile::tempdir().unwrap();
        assert!(Recorded::read(&parent.path().join("none")).unwrap().is_none());
        std::fs::write(parent.path().join(CONFIG), "stage = \"pretrain\"").unwrap();
        assert!(Recorded::read(parent.path()).unwrap().is_none());
    }

    #[test]
    fn a_setting_changes_from_here_on_or_makes_another_run() {
        let mut start = config();
        start.encoder = "enc".to_owned();
        let (_parent, recorded) = recorded(&start);
        type Edit = fn(&mut RunConfig);
        let free: [Edit; 5] = [
            |c| c.data.path = "elsewhere".into(),
            |c| c.encoder = "./enc".into(),
            |c| c.output.keep = 9,
            |c| c.compute.device = "cuda".into(),
            |c| c.quality.every = 9,
        ];
        for edit in free {
            let mut now = start.clone();
            edit(&mut now);
            assert_eq!(recorded.changes(&now).unwrap(), []);
        }
        let from_here: [(&str, Edit); 4] = [
            ("train.images", |c| c.train.images *= 2),
            ("train.batch", |c| c.train.batch *= 2),
            ("schedule.peak", |c| c.schedule.peak /= 2.0),
            ("optimiser.clip", |c| c.optimiser.clip = 1.0),
        ];
        for (key, edit) in from_here {
            let mut now = start.clone();
            edit(&mut now);
            let changes = recorded.changes(&now).unwrap();
            assert_eq!(changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), [key]);
            assert!(recorded.told(&changes, &now, 1000)[0].contains(key));
        }
        let other: [(&str, Edit); 6] = [
            ("optimiser.kind", |c| c.optimiser.kind = OptimiserKind::Adamw),
            ("train.seed", |c| c.train.seed = 9),
            ("encoder", |c| c.encoder.clear()),
            ("data.hold_out", |c| c.data.hold_out = 0.2),
            ("ema.shares", |c| c.ema.shares = vec![0.5]),
            ("noise.shift", |c| c.noise.shift = 2.0),
        ];
        for (wanted, edit) in other {
            let mut now = start.clone();
            edit(&mut now);
            assert!(matches!(recorded.changes(&now), Err(Error::OtherSettings { key, .. }) if key == wanted), "{wanted}");
        }
    }

    #[test]
    fn a_longer_run_says_what_the_rate_does() {
        let start = config();
        let (_parent, recorded) = recorded(&start);
        let mut now = start.clone();
        now.train.images = 2 * start.train.images;
        let changes = recorded.changes(&now).unwrap();
        let told = recorded.told(&changes, &now, start.train.images).join("\n");
        assert!(told.contains("train.images = 320000 (was 160000)"), "{told}");
        assert!(told.contains("the learning rate was 2.400e-4; it goes on at"), "{told}");
        assert!(told.contains("and follows the cosine over 320000 images down to 2.400e-4"), "{told}");
        // Before the end of the warm-up, and in a run that ends before it.
        let warmup = now.schedule.warmup;
        let told = recorded.told(&changes, &now, warmup - 1).join("\n");
        assert!(
            told.contains(&format!("and rises until {warmup} images")) && told.contains("then it follows the cosine"),
            "{told}"
        );
        now.train.images = warmup;
        let told = recorded.told(&changes, &now, 512).join("\n");
        assert!(told.contains("and rises to the end") && !told.contains("cosine"), "{told}");
    }
}
