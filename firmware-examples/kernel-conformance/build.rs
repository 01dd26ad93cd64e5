//! Gives the linker the memory of the chosen machine, described in the example `qemu`.

// Not all of it is needed here.
#[allow(dead_code)]
#[path = "../qemu/machines.rs"]
mod machines;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    if let Err(error) = prepare() {
        println!("cargo::error={error}");
    }
}

fn prepare() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=PIXGEN_MACHINE");
    let name = env::var("PIXGEN_MACHINE").map_err(|error| format!("PIXGEN_MACHINE: {error}"))?;
    let machine = machines::machine(&name).ok_or_else(|| format!("PIXGEN_MACHINE: no machine `{name}`"))?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let memory = Path::new("../qemu/memory").join(machine.memory);
    fs::copy(&memory, out.join("memory.x")).map_err(|error| format!("{}: {error}", memory.display()))?;
    fs::write(out.join("settings.rs"), format!("const MACHINE: &str = {name:?};\nconst CLOCK: u64 = {};\n", machine.clock))?;
    println!("cargo::rustc-link-search={}", out.display());
    if machine.target.starts_with("riscv") {
        println!("cargo::rustc-link-arg-bins=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed={}", memory.display());
    Ok(())
}
