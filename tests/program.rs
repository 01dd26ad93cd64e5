//! Running the programs `pixgen-train` and `pixgen-edge` as a user would, and looking at what came out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// The program `pixgen-train`, in the target folder of this test and never older than its sources: built on the first call if need be.
pub fn binary() -> &'static Path {
    &binaries()[0]
}

/// Both programs: `pixgen-train`, `pixgen-edge`.
fn binaries() -> &'static [PathBuf; 2] {
    static BINARIES: OnceLock<[PathBuf; 2]> = OnceLock::new();
    BINARIES.get_or_init(|| {
        // target/release/deps/cli-0123456789abcdef
        let test = std::env::current_exe().expect("path of the test");
        let profile = test.parent().and_then(Path::parent).expect("the test lies in target/PROFILE/deps");
        let binaries = ["pixgen-train", "pixgen-edge"].map(|name| profile.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
        if binaries.iter().any(|binary| is_stale(binary)) {
            build(profile);
        }
        for binary in &binaries {
            assert!(binary.exists(), "{} was not built", binary.display());
        }
        binaries
    })
}

/// Whether a source is newer than the program; cargo lists the sources beside it.
fn is_stale(binary: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(built) = modified(binary) else { return true };
    let Ok(list) = std::fs::read_to_string(binary.with_extension("d")) else {
        return true;
    };
    // `target: source source ..`, with spaces inside a path written as `\ `.
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources).replace("\\ ", "\0");
    let newer = |source: &str| modified(Path::new(&source.replace('\0', " "))).is_none_or(|at: SystemTime| at > built);
    sources.split_whitespace().any(newer)
}

/// Builds with the same packages, features and profile as the tests, so that no dependency is built a second time.
fn build(profile: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--workspace", "--bins", "--target-dir"])
        .arg(profile.parent().expect("target folder"));
    for feature in pixgen_train::device::gpu_features() {
        cargo.args(["--features", &format!("pixgen-train/{feature}")]);
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// A call of `pixgen-train` without any `PIXGEN_*` variable of the caller.
pub fn pixgen<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    call(&binaries()[0], arguments)
}

/// The same of `pixgen-edge`.
pub fn pixgen_edge<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    call(&binaries()[1], arguments)
}

fn call<S: AsRef<OsStr>>(binary: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PIXGEN_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a call left.
#[derive(Debug)]
pub struct Done {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Bytes on standard output.
    pub stdout: Vec<u8>,
    /// Text on standard error.
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }
}

impl Done {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is UTF-8")
    }

    /// Standard output as JSON: it must hold that and nothing else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("standard output is not JSON: {e}\n{}", self.text()))
    }
}

/// Runs a call to its end; nothing that it does may look like a crash.
pub fn run(mut command: Command) -> Done {
    let done = Done::from(command.output().expect("the program starts"));
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

/// Runs a call that must succeed.
pub fn succeeds(command: Command) -> Done {
    let call = format!("{command:?}");
    let done = run(command);
    assert_eq!(done.code, Some(0), "{call}\n{}", done.stderr);
    done
}

/// Runs a call that must fail as documented: exit code 1, an error that holds every one of `parts`, a hint.
pub fn fails(command: Command, parts: &[&str]) -> Done {
    let call = format!("{command:?}");
    let done = run(command);
    assert_eq!(done.code, Some(1), "{call}\n{}", done.stderr);
    let error = done
        .stderr
        .split_once("error: ")
        .unwrap_or_else(|| panic!("{call}: no error\n{}", done.stderr))
        .1;
    for part in parts {
        assert!(error.contains(part), "{call}: `{part}` is not in\n{}", done.stderr);
    }
    let hint = done.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    assert!(hint.is_some_and(|hint| !hint.is_empty()), "{call}: no hint in\n{}", done.stderr);
    done
}

/// Waits until `holds`; a minute is enough for everything here.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited a minute until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a call and leaves it running.
pub fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// What a started call left, once it has ended.
pub fn finish(child: Child) -> Done {
    Done::from(child.wait_with_output().expect("the program ends"))
}

/// Ctrl-C.
pub fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}
