//! `ptxas`: assembles the PTX of kernels and says what they take.

use super::run::{Arch, Kernel};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a kernel takes on an architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    pub static_shared: u32,
    /// Bytes of a thread's stack.
    pub stack: u32,
    /// Bytes that a thread stores because registers run out, over all its functions.
    pub spill_stores: u32,
    /// Bytes that it loads again.
    pub spill_loads: u32,
}

/// Assembles all kernels, each into a cubin beside its PTX, on all cores. The results are in the order of the kernels: what a kernel
/// takes, or what the assembler said.
pub fn assemble(kernels: &[Kernel], arch: Arch, toolkit: &Path) -> Vec<Result<Usage, String>> {
    let results: Vec<Mutex<Result<Usage, String>>> = kernels.iter().map(|_| Mutex::new(Err("was not assembled".into()))).collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(kernels.len()) {
            scope.spawn(|| {
                while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|it| *it < kernels.len()) {
                    let result = assemble_one(&kernels[index].ptx, arch, toolkit);
                    // No thread panics while it holds this lock.
                    *results[index].lock().unwrap_or_else(|it| it.into_inner()) = result;
                }
            });
        }
    });
    results
        .into_iter()
        .map(|it| it.into_inner().unwrap_or_else(|it| it.into_inner()))
        .collect()
}

fn assemble_one(ptx: &Path, arch: Arch, toolkit: &Path) -> Result<Usage, String> {
    let output = Command::new(toolkit.join("bin/ptxas"))
        .arg("-v")
        .arg(format!("-arch={}", arch.name()))
        .arg("-o")
        .arg(ptx.with_extension("cubin"))
        .arg(ptx)
        .output()
        .map_err(|error| format!("ptxas cannot be started: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(log.lines().next().unwrap_or("ptxas failed").to_owned());
    }
    parse(&log).ok_or_else(|| format!("ptxas wrote nothing that is known: {log}"))
}

/// Reads the log of `ptxas -v` for a module with one kernel.
fn parse(log: &str) -> Option<Usage> {
    let mut usage = Usage::default();
    for line in log.lines() {
        if let Some(stack) = number_before(line, "bytes stack frame") {
            usage.stack = usage.stack.max(stack);
            usage.spill_stores += number_before(line, "bytes spill stores")?;
            usage.spill_loads += number_before(line, "bytes spill loads")?;
        }
        if let Some(registers) = number_before(line, "registers") {
            usage.registers = usage.registers.max(registers);
            usage.static_shared = usage.static_shared.max(number_before(line, "bytes smem").unwrap_or(0));
        }
    }
    (usage.registers > 0).then_some(usage)
}

/// The whole number right before `words`.
fn number_before(line: &str, words: &str) -> Option<u32> {
    line[..line.find(words)?].trim_end().rsplit([' ', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'matmul' for 'sm_90a'
ptxas info    : Function properties for matmul
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 16384 bytes smem
ptxas info    : Compile time = 88.127 ms
";

    #[test]
    fn a_kernel_that_fits() {
        assert_eq!(parse(PLAIN), Some(Usage { registers: 128, static_shared: 16384, ..Usage::default() }));
    }

    #[test]
    fn spills_of_all_functions_count() {
        let log = "ptxas info    : Function properties for helper
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Function properties for kernel
    64 bytes stack frame, 60 bytes spill stores, 124 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 64 bytes cumulative stack size, 400 bytes cmem[0]
";
        let usage = Usage { registers: 255, static_shared: 0, stack: 64, spill_stores: 64, spill_loads: 128 };
        assert_eq!(parse(log), Some(usage));
    }

    #[test]
    fn another_log_is_not_taken_for_a_kernel_without_spills() {
        assert_eq!(parse("ptxas info    : 0 bytes gmem\n"), None);
        assert_eq!(parse(""), None);
    }
}
