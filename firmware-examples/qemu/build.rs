//! Gives the linker the memory of the chosen machine, and the firmware its settings and the length of the model's workspace.
//!
//! The length is a constant of the firmware, so the linker refuses a machine whose RAM is too small for the model.

#[path = "machines.rs"]
mod machines;

use pixgen_core::pxg::Model;
use pixgen_core::{ALIGN, align};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    if let Err(error) = prepare() {
        println!("cargo::error={error}");
    }
}

fn prepare() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(setting("OUT_DIR")?);
    let name = setting("PIXGEN_MACHINE")?;
    let machine = machines::machine(&name).ok_or_else(|| {
        let names: Vec<&str> = machines::MACHINES.iter().map(|machine| machine.name).collect();
        format!("PIXGEN_MACHINE: no machine `{name}`; there are: {}", names.join(", "))
    })?;
    let target = setting("TARGET")?;
    if target != machine.target {
        return Err(format!("PIXGEN_MACHINE={name} needs --target {}, not {target}", machine.target).into());
    }
    let apart = link(machine, &out)?;

    let path = PathBuf::from(setting("CARGO_MANIFEST_DIR")?).join(setting("PIXGEN_MODEL")?);
    println!("cargo::rerun-if-changed={}", path.display());
    let file = fs::read(&path).map_err(|error| format!("PIXGEN_MODEL: {}: {error}", path.display()))?;
    let mut memory = vec![0; file.len() + ALIGN];
    let bytes = &mut align(&mut memory)[..file.len()];
    bytes.copy_from_slice(&file);
    let model = Model::read(bytes).map_err(|error| format!("PIXGEN_MODEL: {}: {error}", path.display()))?;
    let model_name = path.file_stem().unwrap_or_default().to_string_lossy();

    println!("cargo::rerun-if-env-changed=PIXGEN_PAIRS");
    let pairs = pairs(&env::var("PIXGEN_PAIRS").unwrap_or_else(|_| "0:1".into()))?;
    let settings = format!(
        "/// Machine that this firmware is for.\npub const MACHINE: &str = {name:?};\n\
         /// Clock of SysTick in Hz, 0 where there is none.\npub const CLOCK: u64 = {clock};\n\
         /// Name of the model file.\npub const MODEL_NAME: &str = {model_name:?};\n\
         {section}static FILE: pixgen_core::Aligned<[u8; {len}]> = pixgen_core::Aligned(*include_bytes!({path:?}));\n\
         /// The model file.\npub static MODEL: &[u8] = &FILE.0;\n\
         /// Bytes that a picture needs.\npub const WORKSPACE: usize = {workspace};\n\
         /// Pictures to draw: class and seed.\npub const PAIRS: &[(usize, u64)] = &{pairs:?};\n",
        section = if apart { "#[unsafe(link_section = \".weights\")]\n" } else { "" },
        len = file.len(),
        clock = machine.clock,
        workspace = model.workspace_len(),
    );
    fs::write(out.join("settings.rs"), settings)?;
    Ok(())
}

/// Linker scripts: memory of the machine, start-up code, log strings. True when the machine has a memory of its own for weights.
fn link(machine: &machines::Machine, out: &Path) -> Result<bool, Box<dyn Error>> {
    let memory = Path::new("memory").join(machine.memory);
    let mut script = fs::read_to_string(&memory).map_err(|error| format!("{}: {error}", memory.display()))?;
    let apart = script.contains("WEIGHTS");
    let stack = machines::STACK;
    script += &format!("ASSERT(_stack_start - __sheap >= {stack}, \"RAM: less than {stack} bytes are left for the stack\");\n");
    fs::write(out.join("memory.x"), script)?;
    println!("cargo::rustc-link-search={}", out.display());
    if machine.target.starts_with("riscv") {
        println!("cargo::rustc-link-arg-bins=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=machines.rs");
    println!("cargo::rerun-if-changed={}", memory.display());
    Ok(apart)
}

/// `class:seed,class:seed,...`
fn pairs(list: &str) -> Result<Vec<(usize, u64)>, Box<dyn Error>> {
    let wrong = || format!("PIXGEN_PAIRS: `{list}` is not CLASS:SEED,CLASS:SEED,...");
    list.split(',')
        .map(|pair| {
            let (class, seed) = pair.split_once(':').ok_or_else(wrong)?;
            Ok((class.parse().map_err(|_| wrong())?, seed.parse().map_err(|_| wrong())?))
        })
        .collect()
}

fn setting(name: &str) -> Result<String, String> {
    if name.starts_with("PIXGEN") {
        println!("cargo::rerun-if-env-changed={name}");
    }
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
