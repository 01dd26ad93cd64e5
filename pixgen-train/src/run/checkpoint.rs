//! Saving the state of training and finding the one to resume from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint_file::{self, Checkpoint, ReadFailure};
use super::error::{Damage, RunError, Warning};
use super::folder::{CHECKPOINTS, RunFolder};
use pixgen_edge::file_error::FileError;

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";
/// Added to the name of a damaged checkpoint when an older one takes its place.
const SET_ASIDE: &str = ".damaged";

/// A checkpoint found by [`latest`].
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// The state.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// One for each newer checkpoint that is damaged. To be shown.
    pub warnings: Vec<Warning>,
}

/// Saves `checkpoint` into the run and then removes all but the newest `keep`; the one just saved stays in any case. Returns its file.
///
/// # Errors
/// Those of [`Checkpoint::write`], and [`RunError::File`] when an old one cannot be removed (the new one is then safe).
pub fn save(folder: &RunFolder, checkpoint: &Checkpoint, keep: usize) -> Result<PathBuf, RunError> {
    folder.require_lock()?;
    let path = folder.checkpoints().join(file_name(checkpoint.images));
    checkpoint.write(&path)?;
    let saved: Vec<u64> = list(&folder.checkpoints(), SUFFIX)?;
    for &images in expired(&saved, keep) {
        let path = folder.checkpoints().join(file_name(images));
        fs::remove_file(&path).map_err(|source| FileError::Remove { path, source })?;
    }
    Ok(path)
}

/// The newest whole checkpoint of the run, or `None` if it has none at all.
///
/// Damaged newer ones are reported in [`LoadedCheckpoint::warnings`]. If the folder is open for training they are also renamed, so that they
/// cannot displace whole ones later.
///
/// # Errors
/// [`RunError::AllDamaged`] if there are checkpoints but no whole one: that is never a fresh start. [`RunError::File`] if one cannot
/// be read at all.
pub fn latest(folder: &RunFolder) -> Result<Option<LoadedCheckpoint>, RunError> {
    let place = folder.checkpoints();
    if !place.exists() {
        return Ok(None);
    }
    let mut damaged: Vec<(String, Damage)> = Vec::new();
    for images in list(&place, SUFFIX)?.into_iter().rev() {
        let name = file_name(images);
        let path = place.join(&name);
        match checkpoint_file::read(&path) {
            Ok(checkpoint) if checkpoint.images == images => {
                return Ok(Some(LoadedCheckpoint { checkpoint, path, warnings: pass_over(folder, damaged)? }));
            }
            Ok(checkpoint) => damaged.push((name, Damage::Name { saved: checkpoint.images })),
            Err(ReadFailure::Damage(damage)) => damaged.push((name, damage)),
            // The training process removed it while this one was looking.
            Err(ReadFailure::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(ReadFailure::Io(source)) => return Err(RunError::read(&path)(source)),
        }
    }
    for images in list(&place, &format!("{SUFFIX}{SET_ASIDE}"))? {
        let name = format!("{}{SET_ASIDE}", file_name(images));
        damaged.push((name, Damage::SetAside));
    }
    if damaged.is_empty() {
        return Ok(None);
    }
    Err(RunError::AllDamaged { folder: place, files: damaged })
}

/// The metadata of the newest checkpoint of the run folder at `path` whose header can be read; nothing in a folder without one.
pub fn newest_metadata(path: &Path) -> Option<BTreeMap<String, String>> {
    let place = path.join(CHECKPOINTS);
    let saved = list(&place, SUFFIX).ok()?;
    saved
        .into_iter()
        .rev()
        .find_map(|images| checkpoint_file::metadata(&place.join(file_name(images))).ok())
}

/// Turns damaged checkpoints into warnings and moves them out of the way.
fn pass_over(folder: &RunFolder, damaged: Vec<(String, Damage)>) -> Result<Vec<Warning>, RunError> {
    let pass_over = |(file, damage): (String, Damage)| {
        let mut set_aside = None;
        if folder.is_locked() {
            let path = folder.checkpoints().join(&file);
            let name = format!("{file}{SET_ASIDE}");
            fs::rename(&path, path.with_file_name(&name)).map_err(RunError::write(&path))?;
            set_aside = Some(name);
        }
        Ok(Warning::DamagedCheckpoint { file, damage, set_aside })
    };
    damaged.into_iter().map(pass_over).collect()
}

/// Wide enough for any run, so that names sort like numbers.
fn file_name(images: u64) -> String {
    format!("{PREFIX}{images:012}{SUFFIX}")
}

/// Whether a file is called as a checkpoint is.
pub(super) fn is_checkpoint_name(name: &str) -> bool {
    images(name, SUFFIX).is_some_and(|images| name == file_name(images))
}

/// The number in a name that ends in `suffix`.
fn images(name: &str, suffix: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(suffix)?.parse().ok()
}

/// The images of all checkpoint files in `folder` whose name ends in `suffix`, oldest first.
fn list(folder: &Path, suffix: &str) -> Result<Vec<u64>, RunError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(RunError::read(folder))? {
        let name = entry.map_err(RunError::read(folder))?.file_name();
        let name = name.to_string_lossy();
        // Only names exactly as we write them, so that a name can be made from the number again.
        if let Some(images) = images(&name, suffix)
            && name.starts_with(&file_name(images))
        {
            found.push(images);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Those of `saved` (oldest first) that are not among the newest `keep`.
fn expired(saved: &[u64], keep: usize) -> &[u64] {
    &saved[..saved.len().saturating_sub(keep.max(1))]
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint_file::NamedTensor;
    use super::*;

    fn state(images: u64) -> Checkpoint {
        Checkpoint {
            images,
            tensors: vec![NamedTensor { name: "w".to_owned(), shape: vec![3], data: vec![images as f32, 1.0, 2.0] }],
            metadata: BTreeMap::from([("stage".to_owned(), "pretrain".to_owned())]),
        }
    }

    const KEEP: usize = 3;

    fn run_with(images: &[u64]) -> (tempfile::TempDir, RunFolder) {
        let parent = tempfile::tempdir().unwrap();
        let run = RunFolder::open(parent.path()).unwrap();
        run.write_config("").unwrap();
        for &images in images {
            save(&run, &state(images), KEEP).unwrap();
        }
        (parent, run)
    }

    fn names(run: &RunFolder) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(run.checkpoints())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn flip_bit(run: &RunFolder, images: u64, from_end: usize) {
        let path = run.checkpoints().join(file_name(images));
        let mut bytes = fs::read(&path).unwrap();
        let index = bytes.len() - from_end;
        bytes[index] ^= 4;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn finds_the_newest() {
        let (_parent, run) = run_with(&[]);
        assert!(latest(&run).unwrap().is_none());
        let (_parent, run) = run_with(&[100, 200]);
        let loaded = latest(&run).unwrap().unwrap();
        assert_eq!(loaded.checkpoint, state(200));
        assert!(loaded.path.ends_with("step-000000000200.safetensors"));
        assert!(loaded.warnings.is_empty());
        assert_eq!(newest_metadata(run.path()).unwrap()["stage"], "pretrain");
        assert!(newest_metadata(&run.path().join("none")).is_none());
    }

    #[test]
    fn keeps_the_newest() {
        let (_parent, run) = run_with(&[100, 200, 300, 400, 500]);
        assert_eq!(list(&run.checkpoints(), SUFFIX).unwrap(), [300, 400, 500]);
        save(&run, &state(600), 1).unwrap();
        assert_eq!(list(&run.checkpoints(), SUFFIX).unwrap(), [600]);
    }

    #[test]
    fn keeping_none_keeps_the_last() {
        assert!(expired(&[], 0).is_empty());
        assert_eq!(expired(&[1, 2, 3], 0), [1, 2]);
        assert!(expired(&[1, 2, 3], 4).is_empty());
    }

    #[test]
    fn a_damaged_newer_one_is_told_set_aside_and_passed_over() {
        let (_parent, run) = run_with(&[100, 200, 300]);
        flip_bit(&run, 300, 1);
        fs::write(run.checkpoints().join(file_name(200)), b"short").unwrap();
        let loaded = latest(&run).unwrap().unwrap();
        assert_eq!(loaded.checkpoint, state(100));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("step-000000000300.safetensors`: its checksum"), "{warnings:?}");
        assert!(warnings[1].contains("step-000000000200.safetensors`: it has 5 bytes"), "{warnings:?}");
        assert!(warnings[1].contains(".damaged`"), "{warnings:?}");

        // The next save must not count them among the newest.
        save(&run, &state(150), 1).unwrap();
        assert_eq!(
            names(&run),
            [
                "step-000000000150.safetensors",
                "step-000000000200.safetensors.damaged",
                "step-000000000300.safetensors.damaged"
            ]
        );
        let loaded = latest(&run).unwrap().unwrap();
        assert_eq!(loaded.checkpoint, state(150));
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn all_damaged_is_an_error_again_and_again() {
        let (_parent, run) = run_with(&[100, 200]);
        flip_bit(&run, 100, 1);
        flip_bit(&run, 200, 40);
        for _ in 0..2 {
            let error = latest(&run).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("000100.safe") && message.contains("000200.safe"), "{message}");
            assert!(error.hint().unwrap().contains("afresh"));
        }
        fs::remove_file(run.checkpoints().join(file_name(100))).unwrap();
        let path = run.checkpoints().join(file_name(200));
        fs::rename(&path, path.with_file_name(format!("{}{SET_ASIDE}", file_name(200)))).unwrap();
        assert!(matches!(latest(&run), Err(RunError::AllDamaged { .. })), "set aside is not gone");
    }

    #[test]
    fn a_renamed_checkpoint_is_not_trusted() {
        let (_parent, run) = run_with(&[100, 200]);
        let path = run.checkpoints().join(file_name(200));
        fs::rename(&path, path.with_file_name(file_name(900))).unwrap();
        let loaded = latest(&run).unwrap().unwrap();
        assert_eq!(loaded.checkpoint.images, 100);
        assert!(loaded.warnings[0].to_string().contains("at 200 images"));
    }

    #[test]
    fn a_kill_in_the_middle_of_the_first_save_leaves_a_fresh_run() {
        let (parent, run) = run_with(&[]);
        let leftover = run.checkpoints().join(".step-000000000100.safetensors.4242.tmp");
        fs::write(&leftover, b"half").unwrap();
        assert!(latest(&run).unwrap().is_none(), "a leftover is no checkpoint");
        drop(run);
        let run = RunFolder::open(parent.path()).unwrap();
        assert!(!leftover.exists());
        assert!(run.warnings()[0].to_string().contains("step-000000000100"));
        assert!(latest(&run).unwrap().is_none());
    }

    #[test]
    fn a_view_touches_nothing() {
        let (parent, run) = run_with(&[100, 200]);
        flip_bit(&run, 200, 1);
        let view = RunFolder::view(parent.path()).unwrap();
        let before = names(&run);
        let loaded = latest(&view).unwrap().unwrap();
        assert_eq!(loaded.checkpoint.images, 100);
        assert_eq!(loaded.warnings.len(), 1);
        assert_eq!(names(&run), before);
        let error = save(&view, &state(300), KEEP).unwrap_err();
        assert!(matches!(error, RunError::ReadOnly { .. }), "{error}");
    }

    #[test]
    fn foreign_names_are_left_alone() {
        let (_parent, run) = run_with(&[100]);
        for name in ["step-7.safetensors", "step-x.safetensors", "notes", "step-000000000900.bin"] {
            fs::write(run.checkpoints().join(name), b"theirs").unwrap();
        }
        assert_eq!(latest(&run).unwrap().unwrap().checkpoint.images, 100);
        save(&run, &state(200), KEEP).unwrap();
        assert_eq!(names(&run).len(), 6);
    }

    /// The process that the next test starts and kills.
    #[cfg(unix)]
    #[test]
    #[ignore = "runs for ever: a process of the next test"]
    fn child_that_saves_for_ever() {
        let path = std::env::var_os("PIXGEN_TEST_CHECKPOINT_CHILD").expect("the folder of the run");
        let run = RunFolder::open(Path::new(&path)).unwrap();
        let first = latest(&run).unwrap().map_or(0, |loaded| loaded.checkpoint.images);
        for images in first + 1.. {
            let mut state = state(images);
            state.tensors[0].shape = vec![300_000];
            state.tensors[0].data = vec![images as f32; 300_000];
            save(&run, &state, 2).unwrap();
            println!("\nsaved");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_kill_at_any_moment_leaves_a_whole_checkpoint() {
        use std::io::{BufRead as _, BufReader};
        use std::process::{Command, Stdio};
        use std::time::Duration;

        let (parent, run) = run_with(&[]);
        drop(run);
        let name = format!("{}::child_that_saves_for_ever", module_path!());
        let (_, name) = name.split_once("::").unwrap();
        let mut before = 0;
        for round in 0..12 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", name, "--nocapture"])
                .env("PIXGEN_TEST_CHECKPOINT_CHILD", parent.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "saved"));
            std::thread::sleep(Duration::from_millis(17 + 7 * round));
            child.kill().unwrap();
            child.wait().unwrap();

            let run = RunFolder::open(parent.path()).unwrap();
            assert!(
                run.warnings()
                    .iter()
                    .any(|w| matches!(w, Warning::StaleLock { pid } if *pid == child.id()))
            );
            let loaded = latest(&run).unwrap().unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            assert!(loaded.checkpoint.images > before, "round {round} lost what was saved");
            assert!(names(&run).iter().all(|name| !name.ends_with(".tmp")));
            before = loaded.checkpoint.images;
        }
    }
}
