//! What 0.1 wrote, later versions open: files that the program of 0.1 left (`tests/data/v0.1`, with the commands that made them) are read,
//! resumed, drawn and exported by the program of today.

use pixgen_edge::model_file::ModelFile;
use pixgen_tests::fixtures::{checkpoints, contents, names};
use pixgen_tests::program::{pixgen, pixgen_edge, succeeds};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Largest difference of a parameter after half a run. CPUs with other vector units sum in another order: 1.2e-7 was measured between one
/// with AVX-512, one with AVX2 and one with SSE4.2. Half a run moves a parameter by 1.4e-2.
const PARAMETER_BOUND: f32 = 1e-5;
/// Largest difference of a pixel that f32 draws, in levels of 0 to 255: the same differences, at an edge of rounding.
const PIXEL_BOUND: u8 = 1;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/v0.1").join(name)
}

/// A copy of the recorded files, which a run may change.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    for (name, bytes) in contents(&recorded("")) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(path, bytes).expect("file");
    }
    folder
}

fn pixels(path: &Path) -> image::DynamicImage {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Half of a run was trained by 0.1 (stage 2b with dropout, the auxiliary loss and averages); the other half is trained now.
#[test]
fn a_run_resumes() {
    let folder = copy();
    let run = folder.path().join("run");
    let before = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let half = ModelFile::load(&run).expect("half-way model").params;
    let mut command = pixgen([
        "finetune",
        "--config",
        "run/config.toml",
        "--encoder",
        "encoder.safetensors",
        "--out",
        "run",
    ]);
    command.current_dir(folder.path());
    let done = succeeds(command);
    assert!(done.stderr.starts_with("resuming at 256 images"), "{}", done.stderr);

    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    assert!(metrics.starts_with(&before) && metrics.lines().count() == 8, "{metrics}");
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["images"].as_u64(), Some(512));
    assert!(last["loss"].as_f64().is_some_and(f64::is_finite), "{last}");

    let now = ModelFile::load(&run).expect("model").params;
    let then = ModelFile::load(&recorded("model.safetensors")).expect("recorded model").params;
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert_eq!(now.len(), then.len());
    println!("{:.1e} from the recorded end", apart(&now, &then));
    assert!(apart(&now, &then) < PARAMETER_BOUND, "{} from the recorded end", apart(&now, &then));
    assert!(apart(&half, &then) > 100.0 * PARAMETER_BOUND, "the second half does nothing, or the bound is loose");

    assert_eq!(checkpoints(&run).len(), 2);
    assert!(names(&run.join("samples")).contains(&"strip.png".to_owned()));
}

#[test]
fn a_model_file_draws_and_exports() {
    let folder = tempfile::tempdir().expect("folder");
    let (grid, chip) = (folder.path().join("grid.png"), folder.path().join("model.pxg"));
    let mut command = pixgen(["sample", "--seed", "7", "--count", "1", "--out"]);
    command.arg(&grid).arg(recorded("model.safetensors"));
    succeeds(command);
    let (now, then) = (pixels(&grid), pixels(&recorded("model.png")));
    // Version 0.1 wrote no names above the pictures.
    let now = now.crop_imm(0, now.height() - then.height(), now.width(), then.height());
    assert_eq!((now.width(), now.height(), now.color()), (then.width(), then.height(), then.color()));
    let worst = now.as_bytes().iter().zip(then.as_bytes()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(PIXEL_BOUND), "{worst:?} levels");

    let mut command = pixgen_edge(["export", "--pictures", "16", "--out"]);
    command.arg(&chip).arg(recorded("model.safetensors"));
    succeeds(command);
    let mut command = pixgen_edge(["selftest"]);
    command.arg(&chip);
    succeeds(command);
}

/// The integer network has no float: the pictures of a file are the same bytes on every machine and in every version.
#[test]
fn a_chip_file_draws_the_recorded_hashes() {
    let folder = tempfile::tempdir().expect("folder");
    let mut command = pixgen_edge(["sample", "--seed", "7", "--count", "3", "--hashes", "--out"]);
    command.arg(folder.path().join("grid.png")).arg(recorded("model.pxg"));
    let done = succeeds(command);
    assert_eq!(done.text(), fs::read_to_string(recorded("hashes.txt")).expect("hashes"));
    assert_eq!(done.text().lines().count(), 30);
    let mut command = pixgen_edge(["selftest"]);
    command.arg(recorded("model.pxg"));
    succeeds(command);
}
