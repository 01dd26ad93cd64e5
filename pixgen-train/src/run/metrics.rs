//! The log of a run, `metrics.jsonl`: one JSON object per line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{RunError, Warning};
use super::folder::RunFolder;
use super::tensorboard::EventFile;
use pixgen_edge::atomic::write_atomic;
use pixgen_edge::file_error::FileError;

/// Appends to the log.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Length of the whole lines in bytes.
    length: u64,
    warnings: Vec<Warning>,
    /// Gets the same numbers.
    mirror: Option<EventFile>,
}

/// A line: the images seen, then the caller's fields.
#[derive(Serialize)]
struct Line<'a, T> {
    images: u64,
    #[serde(flatten)]
    fields: &'a T,
}

/// What has to be known of a line to keep or cut it.
#[derive(Deserialize)]
struct Images {
    images: u64,
}

impl MetricsLog {
    /// Opens the log of a run that resumes at `resumed_at` images, or starts afresh with `None`.
    ///
    /// Lines after that many images are cut off, so the log ends up the same as without the interruption. For that, everything
    /// about a number of images has to be appended before the checkpoint of that number is saved. Lines that are no JSON objects,
    /// such as a half-written last one, are dropped; [`MetricsLog::warnings`] tells.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn open(folder: &RunFolder, resumed_at: Option<u64>) -> Result<Self, RunError> {
        folder.require_lock()?;
        let path = folder.metrics();
        let warnings = cut(&path, resumed_at)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(RunError::write(&path))?;
        let length = file.metadata().map_err(RunError::read(&path))?.len();
        Ok(Self { path, file, length, warnings, mirror: None })
    }

    /// Appends to `events` too from now on.
    pub fn mirror(&mut self, events: EventFile) {
        self.mirror = Some(events);
    }

    /// What was dropped when the log was opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Appends `{"images": images, ...fields}`; numbers that are not finite become `null`.
    ///
    /// # Errors
    /// [`RunError::File`], after which the log ends with its last whole line; [`RunError::Record`] if `fields` is no struct or map.
    pub fn append(&mut self, images: u64, fields: &impl Serialize) -> Result<(), RunError> {
        let record = |source| RunError::Record { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(&Line { images, fields }).map_err(record)?;
        line.push(b'\n');
        match self.file.write_all(&line) {
            Ok(()) => {
                self.length += line.len() as u64;
                let Some(mirror) = &mut self.mirror else { return Ok(()) };
                let fields = serde_json::from_slice(&line).map_err(|source| RunError::Record { path: self.path.clone(), source })?;
                mirror.append(images, &fields)
            }
            Err(source) => {
                // If this fails too, the half line is dropped when the log is opened next.
                let _ = self.file.set_len(self.length);
                Err(FileError::Write { path: self.path.clone(), needed: Some(line.len() as u64), source }.into())
            }
        }
    }

    /// Makes what was appended survive a loss of power; to be called before a checkpoint is saved.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(RunError::write(&self.path))
    }
}

/// Removes the lines of `path` that a run resuming at `resumed_at` will write again, and those that cannot be read.
fn cut(path: &Path, resumed_at: Option<u64>) -> Result<Vec<Warning>, RunError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RunError::read(path)(error)),
    };
    let mut kept = Vec::with_capacity(bytes.len());
    let mut unreadable = None;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice::<Images>(line) {
            Ok(Images { images }) if line.ends_with(b"\n") => {
                if resumed_at.is_some_and(|resumed_at| images <= resumed_at) {
                    kept.extend(line);
                }
            }
            _ => unreadable.get_or_insert((index + 1, 0)).1 += 1,
        }
    }
    if kept.len() < bytes.len() {
        write_atomic(path, |out| out.write_all(&kept))?;
    }
    Ok(unreadable
        .map(|(line, count)| Warning::MetricsDropped { path: path.to_owned(), line, count })
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Step {
        loss: f32,
        stage: &'static str,
    }

    fn step(images: u64) -> Step {
        Step { loss: images as f32 / 8.0, stage: "pretrain" }
    }

    fn run() -> (tempfile::TempDir, RunFolder) {
        let parent = tempfile::tempdir().unwrap();
        let run = RunFolder::open(parent.path()).unwrap();
        (parent, run)
    }

    fn log(run: &RunFolder) -> String {
        fs::read_to_string(run.metrics()).unwrap()
    }

    fn append(metrics: &mut MetricsLog, range: impl IntoIterator<Item = u64>) {
        for images in range {
            metrics.append(images, &step(images)).unwrap();
        }
    }

    #[test]
    fn writes_one_object_per_line_at_once() {
        let (_parent, run) = run();
        let mut metrics = MetricsLog::open(&run, None).unwrap();
        append(&mut metrics, [0, 4]);
        assert_eq!(
            log(&run),
            "{\"images\":0,\"loss\":0.0,\"stage\":\"pretrain\"}\n{\"images\":4,\"loss\":0.5,\"stage\":\"pretrain\"}\n"
        );
        metrics.append(8, &std::collections::BTreeMap::from([("loss", f32::NAN)])).unwrap();
        assert!(log(&run).ends_with("{\"images\":8,\"loss\":null}\n"));
        let error = metrics.append(9, &3).unwrap_err();
        assert!(matches!(error, RunError::Record { .. }), "{error}");
        assert!(log(&run).ends_with("null}\n"), "nothing half-written");
        metrics.sync().unwrap();
    }

    #[test]
    fn a_resumed_log_equals_an_uninterrupted_one() {
        let (_parent, straight) = run();
        append(&mut MetricsLog::open(&straight, None).unwrap(), 0..40);

        let (_parent, broken) = run();
        append(&mut MetricsLog::open(&broken, None).unwrap(), 0..33);
        let mut file = OpenOptions::new().append(true).open(broken.metrics()).unwrap();
        file.write_all(b"{\"images\":33,\"lo").unwrap();
        let mut resumed = MetricsLog::open(&broken, Some(20)).unwrap();
        assert!(resumed.warnings()[0].to_string().contains("from line 34"), "{:?}", resumed.warnings());
        append(&mut resumed, 21..40);
        assert_eq!(log(&broken), log(&straight));
    }

    #[test]
    fn a_fresh_start_empties_the_log() {
        let (_parent, run) = run();
        append(&mut MetricsLog::open(&run, None).unwrap(), 0..3);
        let metrics = MetricsLog::open(&run, None).unwrap();
        assert!(metrics.warnings().is_empty());
        assert_eq!(log(&run), "");
    }

    #[test]
    fn a_half_line_that_happens_to_be_json_is_dropped() {
        let (_parent, run) = run();
        fs::write(run.metrics(), "{\"images\":1}\n{\"images\":2}").unwrap();
        let mut metrics = MetricsLog::open(&run, Some(5)).unwrap();
        assert_eq!(metrics.warnings().len(), 1);
        append(&mut metrics, [6]);
        assert_eq!(log(&run), "{\"images\":1}\n{\"images\":6,\"loss\":0.75,\"stage\":\"pretrain\"}\n");
    }

    #[test]
    fn broken_lines_in_the_middle_are_dropped_and_told() {
        let (_parent, run) = run();
        fs::write(run.metrics(), b"{\"images\":1}\n\0\0\xff\n[]\n{\"images\":2}\n").unwrap();
        let metrics = MetricsLog::open(&run, Some(2)).unwrap();
        assert!(metrics.warnings()[0].to_string().contains("dropped 2 unreadable"));
        assert_eq!(log(&run), "{\"images\":1}\n{\"images\":2}\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told() {
        let mut metrics = MetricsLog {
            path: "/dev/full".into(),
            file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
            length: 0,
            warnings: Vec::new(),
            mirror: None,
        };
        let error = metrics.append(1, &step(1)).unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
        assert!(error.hint().unwrap().starts_with("free "), "{error}");
    }

    #[test]
    fn a_folder_in_its_place_is_an_error() {
        let (_parent, run) = run();
        fs::create_dir(run.metrics()).unwrap();
        assert!(MetricsLog::open(&run, None).is_err());
    }
}
