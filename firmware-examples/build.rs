//! Build script of the board examples: puts the model into the firmware.
//!
//! `PIXGEN_MODEL` names the model file, relative to the folder of the example. What a picture needs becomes a constant of the firmware,
//! so the linker refuses a chip whose flash or RAM is too small for the model.

use pixgen_core::pxg::Model;
use pixgen_core::{ALIGN, align};
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Model that is taken when `PIXGEN_MODEL` is not set.
const DEFAULT: &str = "../models/nano-28-grey.pxg";

fn main() {
    if let Err(error) = prepare() {
        println!("cargo::error={error}");
        println!(
            "cargo::error=hint: PIXGEN_MODEL is the path of a .pxg file, relative to the folder of the board; without it {DEFAULT} is taken"
        );
    }
}

fn prepare() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../build.rs");
    println!("cargo::rerun-if-env-changed=PIXGEN_MODEL");
    let folder = env::var("CARGO_MANIFEST_DIR")?;
    // Boards whose library does not know the memory of the chip.
    if fs::exists("memory.x")? {
        println!("cargo::rustc-link-search={folder}");
        println!("cargo::rerun-if-changed=memory.x");
    }

    let path = PathBuf::from(folder).join(env::var("PIXGEN_MODEL").unwrap_or_else(|_| DEFAULT.into()));
    println!("cargo::rerun-if-changed={}", path.display());
    let in_model = |error: &dyn Error| format!("PIXGEN_MODEL: {}: {error}", path.display());
    let file = fs::read(&path).map_err(|error| in_model(&error))?;
    let mut memory = vec![0; file.len() + ALIGN];
    let bytes = &mut align(&mut memory)[..file.len()];
    bytes.copy_from_slice(&file);
    let model = Model::read(bytes).map_err(|error| in_model(&error))?;

    let constants = format!(
        "/// The model file.\npub static FILE: &[u8] = pixgen_core::include_pxg!({path:?});\n\
         /// Bytes of workspace that a picture needs.\npub const WORKSPACE: usize = {};\n",
        model.workspace_len()
    );
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("model.rs"), constants)?;
    Ok(())
}
