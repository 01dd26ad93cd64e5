//! The stubs of `tests/cuda`, which stand in for NVIDIA's libraries on machines without a GPU.

use std::path::Path;
use std::process::Command;

/// Compiles a stub, for example `stub_driver.c`, to the shared library at a path.
pub fn compile(source: &str, library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cuda").join(source);
    let compiled = Command::new("cc")
        .args(["-O3", "-shared", "-fPIC", "-o"])
        .args([library, &source])
        .status()
        .expect("cc starts");
    assert!(compiled.success());
}
