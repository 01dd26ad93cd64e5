//! What opening a CUDA device says when something is wrong with the machine, against the stub driver of `tests/cuda`.
//!
//! A process loads a driver once, so each case runs in a process of its own: this test program again, with [`child`] as its only test.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod stubs;

use pixgen_cubecl::device::cuda;
use std::process::Command;

/// Opens device 1 in a new process with the stub driver and these variables, and no CUDA toolkit. Returns what [`child`] found.
fn open_with(variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    stubs::compile("stub_driver.c", &folder.path().join("libcuda.so"));
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env_remove("CUDA_PATH")
        .envs(variables.iter().copied())
        .output()
        .expect("the test starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !stderr.contains("panicked at"), "{stdout}{stderr}");
    stdout
        .lines()
        .find_map(|line| line.strip_prefix("found: "))
        .expect("the child prints what it found")
        .to_owned()
}

#[test]
#[ignore = "runs in a process of its own, started by the other tests"]
fn child() {
    match cuda::open(1) {
        Ok((_, report)) => println!("\nfound: {report}"),
        Err(error) => println!("\nfound: {error}"),
    }
}

#[test]
fn a_driver_without_devices() {
    assert_eq!(open_with(&[("CUDA_STUB_DEVICES", "0")]), "the CUDA driver finds no device");
}

#[test]
fn a_device_that_is_not_there() {
    assert_eq!(open_with(&[("CUDA_STUB_DEVICES", "1")]), "there is no CUDA device 1: this machine has 1, number 0");
}

#[test]
fn a_driver_of_the_last_generation() {
    let found = open_with(&[("CUDA_STUB_DRIVER", "11080"), ("CUDA_STUB_DEVICES", "2")]);
    assert_eq!(found, "the NVIDIA driver speaks CUDA 11.8, and 12.0 or newer is needed");
}

/// The device itself is fine; this machine's own NVRTC is found if it has one.
#[test]
fn a_toolkit_that_is_not_there() {
    let found = open_with(&[("CUDA_STUB_DEVICES", "2"), ("CUDA_PATH", "/nonexistent")]);
    let wanted = [
        "CUDA's run-time compiler is missing: the library libnvrtc was not found",
        "the CUDA headers are missing: there is no cuda_runtime.h in /nonexistent/include",
    ];
    assert!(wanted.contains(&found.as_str()), "{found}");
}
