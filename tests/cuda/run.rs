//! Runs a program under the stub driver and collects the kernels that it loaded.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An architecture that the stub driver can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// A100.
    Sm80,
    /// H100, with the features of exactly this architecture.
    Sm90a,
}

impl Arch {
    /// The name for `ptxas` and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm80 => "sm_80",
            Self::Sm90a => "sm_90a",
        }
    }

    /// The number for `CUDA_STUB_ARCH`.
    fn number(self) -> &'static str {
        match self {
            Self::Sm80 => "80",
            Self::Sm90a => "90",
        }
    }
}

/// Where the tools are.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Folder with the stub's `libcuda.so`.
    pub stub: PathBuf,
    /// Folder with `bin/ptxas`, `include/` and `lib/`, from `toolkit.sh`.
    pub toolkit: PathBuf,
    /// Folder in which CubeCL keeps PTX for later runs of the same program, which must not outlive it: a kernel's key there is its
    /// type and settings, not its code.
    pub cache: Option<PathBuf>,
}

/// A kernel that the program loaded, once for all modules with the same PTX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Name of the entry.
    pub name: String,
    /// Number among the kernels with this name, from 1 in the order of loading: other types, shapes or settings.
    pub variant: usize,
    /// Its PTX.
    pub ptx: PathBuf,
    /// Launches.
    pub launches: u64,
    /// Threads of a block, the largest of all launches.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block, the largest of all launches.
    pub dynamic_shared: u32,
}

/// What a run left.
#[derive(Debug)]
pub struct Collected {
    /// Kernels in the order of loading.
    pub kernels: Vec<Kernel>,
    /// What went wrong in the program itself.
    pub complaints: Vec<String>,
}

/// Texts in a program's output that mean that a kernel did not get through, though the program may go on.
const BAD_SIGNS: [&str; 2] = ["panicked at", "[Compilation Error]"];

/// Runs `command` for `arch`, with `folder` (made anew) for everything that it leaves.
///
/// The program starts in that folder: CubeCL writes what it tunes below the current one, and results of the stub must never be taken for
/// a device's. Its output goes to `stdout.log` and `stderr.log`.
///
/// # Errors
/// Files that cannot be read or written, a program that cannot be started.
pub fn run(command: &[String], arch: Arch, tools: &Tools, folder: &Path) -> io::Result<Collected> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let modules = folder.join("modules");
    fs::create_dir_all(&modules)?;
    let mut config = "[autotune]\ncache = \"local\"\n".to_owned();
    if let Some(cache) = &tools.cache {
        config += &format!("[compilation]\ncache = {{ file = {:?} }}\n", cache.join(arch.name()));
    }
    fs::write(folder.join("cubecl.toml"), config)?;
    let (stdout, stderr) = (folder.join("stdout.log"), folder.join("stderr.log"));
    let [program, arguments @ ..] = command else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    };
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("CUDA_STUB_ARCH", arch.number())
        .env("CUDA_STUB_MODULES", &modules)
        .env("CUDA_PATH", &tools.toolkit)
        .env("LD_LIBRARY_PATH", library_path(tools))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&stdout)?)
        .stderr(fs::File::create(&stderr)?)
        .status()?;
    let mut complaints = Vec::new();
    if !status.success() {
        complaints.push(format!("the program ended with {status}"));
    }
    for log in [&stdout, &stderr] {
        complaints.extend(bad_lines(&String::from_utf8_lossy(&fs::read(log)?)));
    }
    let kernels = match fs::read_to_string(modules.join("launches.tsv")) {
        Ok(launches) => distinct(&launches, &modules)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    if kernels.is_empty() {
        complaints.push("no kernel was loaded: does the program use CUDA?".into());
    }
    Ok(Collected { kernels, complaints })
}

/// The stub before any real driver, then NVRTC, then what was there.
fn library_path(tools: &Tools) -> std::ffi::OsString {
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let ours = [tools.stub.clone(), tools.toolkit.join("lib")];
    let all = ours
        .into_iter()
        .chain(std::env::split_paths(&before).filter(|it| !it.as_os_str().is_empty()));
    // Only a path with a colon cannot be joined; such a folder cannot be in a library path at all.
    std::env::join_paths(all).unwrap_or(before)
}

/// The lines of a log that are a bad sign, each once.
fn bad_lines(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in log.lines().filter(|line| BAD_SIGNS.iter().any(|sign| line.contains(sign))) {
        let line = line.trim().to_owned();
        if !found.contains(&line) {
            found.push(line);
        }
    }
    found
}

/// Reads the stub's list (file, kernel, launches, threads, dynamic shared bytes), newest first, and merges modules with equal PTX.
fn distinct(launches: &str, modules: &Path) -> io::Result<Vec<Kernel>> {
    let malformed = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("launches.tsv: `{line}`"));
    let mut kernels: Vec<Kernel> = Vec::new();
    let mut by_ptx: HashMap<String, usize> = HashMap::new();
    let mut lines: Vec<&str> = launches.lines().collect();
    lines.sort_unstable();
    for line in lines {
        let [file, name, launches, threads, shared] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(malformed(line));
        };
        let (Ok(launches), Ok(threads), Ok(dynamic_shared)) = (launches.parse::<u64>(), threads.parse(), shared.parse()) else {
            return Err(malformed(line));
        };
        let path = modules.join(file);
        let ptx = fs::read_to_string(&path)?;
        if let Some(&known) = by_ptx.get(&ptx) {
            let known = &mut kernels[known];
            known.launches += launches;
            known.threads = known.threads.max(threads);
            known.dynamic_shared = known.dynamic_shared.max(dynamic_shared);
            continue;
        }
        by_ptx.insert(ptx, kernels.len());
        let variant = 1 + kernels.iter().filter(|it| it.name == name).count();
        kernels.push(Kernel { name: name.to_owned(), variant, ptx: path, launches, threads, dynamic_shared });
    }
    Ok(kernels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_modules_are_one_kernel() {
        let folder = tempfile::tempdir().unwrap();
        for (file, ptx) in [("0001.ptx", "a"), ("0002.ptx", "b"), ("0003.ptx", "a")] {
            fs::write(folder.path().join(file), ptx).unwrap();
        }
        let list = "0003.ptx\tk\t5\t64\t0\n0002.ptx\tk\t1\t256\t1024\n0001.ptx\tk\t2\t32\t16\n";
        let kernels = distinct(list, folder.path()).unwrap();
        let kernel = |variant, file: &str, launches, threads, dynamic_shared| Kernel {
            name: "k".into(),
            variant,
            ptx: folder.path().join(file),
            launches,
            threads,
            dynamic_shared,
        };
        assert_eq!(kernels, [kernel(1, "0001.ptx", 7, 64, 16), kernel(2, "0002.ptx", 1, 256, 1024)]);
    }

    #[test]
    fn panics_of_threads_are_found_once() {
        let log = "fine\nthread 'DSD-0-0' panicked at server.rs:1:\nthread 'DSD-0-0' panicked at server.rs:1:\n [Compilation Error] x\n";
        assert_eq!(bad_lines(log), ["thread 'DSD-0-0' panicked at server.rs:1:", "[Compilation Error] x"]);
    }

    #[test]
    fn a_program_without_kernels_is_a_complaint() {
        let folder = tempfile::tempdir().unwrap();
        let tools = Tools { stub: folder.path().into(), toolkit: folder.path().into(), cache: None };
        let collected = run(&["false".into()], Arch::Sm80, &tools, &folder.path().join("run")).unwrap();
        assert_eq!(collected.complaints.len(), 2, "{:?}", collected.complaints);
    }
}
